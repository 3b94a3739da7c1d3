"""What of a payload nobody has to see: fields are hidden by name, however deep they are."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence, Sized
from typing import Any, cast

SENSITIVE: tuple[str, ...] = (
    "*password*", "*passwd*", "*secret*", "*token*", "*api_key*", "*apikey*", "*private_key*", "authorization",
    "cookie", "*credential*", "*card_number*", "*cardnumber*", "cvv", "cvc", "iban", "ssn", "pin", "otp",
)  # fmt: skip
"""What is hidden unless something else is asked for."""

DEPTH = 64
"""Levels looked into; what lies deeper is hidden whole."""

_KINDS: dict[type, str] = {str: "text", bytes: "bytes", list: "list", tuple: "list", dict: "object"}


class Hidden(str):
    """What stands in place of a hidden value: says what kind of value it is, and how long."""

    __slots__ = ()


class Redaction:
    """Patterns of names: ``*`` and ``?`` stand for anything, case does not matter.

    A pattern without a dot is compared with the name of a field, wherever it is; with one, with the end of its path
    ("customer.*", "*.card.number"), positions in lists left out.
    """

    def __init__(self, patterns: Sequence[str] = SENSITIVE) -> None:
        self.patterns: tuple[str, ...] = tuple(patterns)
        plain = [one for one in patterns if "." not in one]
        dotted = [one for one in patterns if "." in one]
        self._plain = _compiled(plain)
        self._dotted = _compiled([form for one in dotted for form in (one, f"*.{one}")])

    def hides(self, path: Sequence[str]) -> bool:
        """Whether the field at this path is hidden."""
        if not path:
            return False
        if self._plain is not None and self._plain.match(path[-1].lower()):
            return True
        return self._dotted is not None and self._dotted.match(".".join(path).lower()) is not None

    def clean(self, value: Any) -> Any:
        """Return a copy of ``value`` (maps, lists, plain values) with `Hidden` in place of what is hidden."""
        return self._clean(value, (), 0)

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return headers with the values of hidden names replaced; dashes count as underscores."""
        return {
            name: hidden(text) if self.hides((name.replace("-", "_"),)) or self.hides((name,)) else text
            for name, text in headers.items()
        }

    def _clean(self, value: Any, path: tuple[str, ...], depth: int) -> Any:
        if not isinstance(value, Mapping | list | tuple):
            return value
        if depth > DEPTH:
            return hidden(cast("object", value))
        if isinstance(value, Mapping):
            found = cast("Mapping[object, object]", value)
            return {str(key): self._field(inner, (*path, str(key)), depth) for key, inner in found.items()}
        return [self._clean(one, path, depth + 1) for one in cast("Sequence[object]", value)]

    def _field(self, value: Any, path: tuple[str, ...], depth: int) -> Any:
        if value is not None and self.hides(path):
            return hidden(value)
        return self._clean(value, path, depth + 1)


def hidden(value: object) -> Hidden:
    """Return what stands in place of ``value``."""
    if isinstance(value, bool):
        return Hidden("<hidden: true or false>")
    if isinstance(value, int | float):
        return Hidden("<hidden: number>")
    kind = _KINDS.get(type(value), "value")
    return Hidden(f"<hidden: {kind} of {len(value):,}>" if isinstance(value, Sized) else "<hidden>")


def _compiled(patterns: Sequence[str]) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(fnmatch.translate(one.lower()) for one in patterns), re.DOTALL)
