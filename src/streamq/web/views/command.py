"""The command echo: the `streamq` line that gives what a page shows, for a POSIX shell."""

from __future__ import annotations

import shlex


def line(*words: str, **options: str | float | None) -> str:
    r"""Return ``streamq`` with words and options; an option that is None or '' is left out.

    Underscores in names of options are dashes. Values are quoted so that pasting them cannot do anything else: control
    characters are written as ``$'\\n'`` is, without making a second line.
    """
    parts = ["streamq", *(quoted(word) for word in words)]
    for name, value in options.items():
        if value not in {None, ""}:
            flag = "--" + name.rstrip("_").replace("_", "-")
            parts.append(f"{flag} {quoted(str(value))}")
    return " ".join(parts)


def quoted(text: str) -> str:
    """Return a word as a shell takes it; one with a control character in the $'...' form."""
    if text.isprintable():
        # A word that begins with a dash would be taken as an option whatever its quotes; the callers put ids after --.
        return shlex.quote(text)
    inside = "".join(_escaped(char) for char in text)
    return f"$'{inside}'"


def _escaped(char: str) -> str:
    if char in "\\'":
        return "\\" + char
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
