"""One comparison of a condition: the argument found by its path and compared as it is on the wire; its text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec

from .signature import enc_hook

MOST_TEXT = 1000
"""Characters of a text in a condition, at most."""

_ABSENT = object()
_PLAIN_TYPES = frozenset({bool, int, float, str, list, tuple, dict, type(None)})


def holds(arguments: Mapping[str, Any], path: tuple[str | int, ...], operator: str, value: Any) -> bool:
    """Whether the argument at ``path`` compares so with ``value``; False if it is missing or of another type."""
    try:
        found = _found(arguments, path)
        return found is not _ABSENT and _COMPARE[operator](found, value)
    except Exception:  # noqa: BLE001 - a value of a foreign type must not stop a worker
        return False


def _found(value: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        if not isinstance(value, Mapping):
            value = _plain(value)
        if isinstance(value, Mapping):
            value = cast("Any", value).get(part, _ABSENT)
        elif isinstance(value, list | tuple) and isinstance(part, int):
            items = cast("Sequence[Any]", value)
            value = items[part] if -len(items) <= part < len(items) else _ABSENT
        else:
            return _ABSENT
    return _plain(value)


def _plain(value: Any) -> Any:
    """Return a decoded value as it travels: a model as a dict, an enum or UUID as its text."""
    if value is _ABSENT or type(value) in _PLAIN_TYPES:
        return value
    return msgspec.to_builtins(value, enc_hook=enc_hook)


def _same(found: Any, value: Any) -> bool:
    # True is no 1 on the wire.
    return isinstance(found, bool) == isinstance(value, bool) and bool(found == value)


def _unlike(found: Any, value: Any) -> bool:
    return not _same(found, value)


def _any_of(found: Any, values: tuple[Any, ...]) -> bool:
    return any(_same(found, one) for one in values)


def _begins(found: Any, prefix: str) -> bool:
    return isinstance(found, str) and found.startswith(prefix)


def _in_order(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def comparable(found: Any, value: Any) -> bool:
        if isinstance(found, bool) or isinstance(found, str) != isinstance(value, str):
            return False
        return isinstance(found, str | int | float) and compare(found, value)

    return comparable


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": _same,
    "!=": _unlike,
    "<": _in_order(lambda found, value: found < value),
    "<=": _in_order(lambda found, value: found <= value),
    ">": _in_order(lambda found, value: found > value),
    ">=": _in_order(lambda found, value: found >= value),
    "in": _any_of,
    "startswith": _begins,
}


def text(path: tuple[str | int, ...], operator: str, value: Any) -> str:
    """Return the comparison for people: country == 'GR'."""
    if operator == "in":
        return f"{path_text(path)} in ({', '.join(map(repr, value))})"
    return f"{path_text(path)} {operator.replace('startswith', 'starts with')} {value!r}"


def path_text(path: tuple[str | int, ...]) -> str:
    """Return where a value is, for people: items[0].name."""
    return "".join(_steps(path))


def _steps(path: tuple[str | int, ...]) -> Iterator[str]:
    for at, part in enumerate(path):
        if isinstance(part, int) or not part.isidentifier():
            yield f"[{part!r}]" if at or isinstance(part, int) else part
        else:
            yield f".{part}" if at else part


def problem_of(value: object) -> str:
    """Return why a condition cannot hold this value, "" if it can: it must be the same in msgpack and JSON."""
    if value is None or isinstance(value, bool):
        return ""
    if type(value) is str:
        fits = len(value) <= MOST_TEXT and is_encodable(value)
        return "" if fits else f"text has at most {MOST_TEXT} characters, all of them valid"
    if type(value) is int:
        return "" if is_64_bits(value) else "numbers have at most 64 bits"
    if type(value) is float and math.isfinite(value):
        return ""
    return "compare with text, a number, True, False or None; write dates and enums as text"


def is_64_bits(value: int) -> bool:
    """Whether msgpack can hold it."""
    return -(2**63) <= value < 2**64


def is_encodable(value: str) -> bool:
    """Whether it is free of lone surrogates."""
    return value.encode(errors="ignore").decode() == value
