"""Tracebacks cut to the frames of whoever reads them: those of libraries are folded and counted."""

from __future__ import annotations

import re
from collections import Counter

_FRAME = re.compile(r'^\s*File "(?P<file>.*)", line (?P<line>\d+)(?:, in (?P<name>.*))?$')
_LIBRARY = re.compile(r"(?:site-packages|dist-packages)[/\\](?P<package>[^/\\]+)")
_STDLIB = re.compile(r"[/\\]lib(?:64)?[/\\]python3\.\d+[/\\](?P<package>[^/\\]+)")

MOST = 20_000
"""Characters of a traceback that are shown."""


def folded(traceback: str) -> tuple[list[tuple[str, str]], str]:
    """Return the lines to show as (kind, text), and what was folded: "9 library frames folded: httpx 4, anyio 3".

    Kinds: frame ("handlers.py:41  send"), code, raise (the line that raised), error (the last lines), text (anything
    that is no frame). A traceback without a frame of the user's own is shown whole.
    """
    lines = traceback[-MOST:].rstrip().splitlines()
    shown, away = _sorted(lines)
    if away and not any(kind == "frame" for kind, _ in shown):
        return [("text", line) for line in lines], ""
    for at in range(len(shown) - 1, -1, -1):
        if shown[at][0] == "code":
            shown[at] = ("raise", shown[at][1])
            break
    total = sum(away.values())
    parts = ", ".join(f"{name} {number}" for name, number in away.most_common(4))
    return shown, f"{total} library frame{'' if total == 1 else 's'} folded: {parts}" if total else ""


def _sorted(lines: list[str]) -> tuple[list[tuple[str, str]], Counter[str]]:
    """Return the lines of the user's own frames and of the error, and the frames of each library."""
    shown: list[tuple[str, str]] = []
    away: Counter[str] = Counter()
    is_library, is_inside = False, False
    for line in lines:
        frame = _FRAME.match(line)
        if frame is not None:
            package = library(frame["file"])
            is_library, is_inside = package != "", True
            if is_library:
                away[package] += 1
            else:
                shown.append(("frame", f"{_short(frame['file'])}:{frame['line']}  {frame['name'] or ''}".rstrip()))
        elif is_inside and line.startswith("    "):
            if not is_library and set(line) - set("^~ "):
                shown.append(("code", "    " + line.strip()))
        else:
            is_inside = False
            if line.strip() and not line.startswith("Traceback (most recent call last)"):
                shown.append(("error", line))
    return shown, away


def library(file: str) -> str:
    """Return the package a file belongs to when it is not the user's own; '' for theirs."""
    found = _LIBRARY.search(file) or _STDLIB.search(file)
    if found is not None:
        return found["package"].removesuffix(".py")
    if file.startswith("<"):
        return "python"
    return "streamq" if re.search(r"[/\\]streamq[/\\](?:_|worker|joint)", file) else ""


def _short(file: str) -> str:
    """Return the last three parts of a path: enough to find it, little enough to read."""
    parts = re.split(r"[/\\]", file)
    return "/".join(parts[-3:]).lstrip("/")
