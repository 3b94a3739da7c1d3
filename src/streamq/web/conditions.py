"""A filter on payload fields, as pages and REST write it: ``contact_id=c_88213``, several joined by commas."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from .._core.condition import Arg, Condition
from ..errors import ConfigError
from .redaction import Redaction

HOW = "write a field and its value: contact_id=c_88213"


def condition_of(text: str, redaction: Redaction) -> Condition:
    """Return the condition that ``text`` asks for; 5 means the number and the text.

    Raises `ConfigError` for what is none, and for a field that is hidden: how many jobs fit would tell its value.
    """
    parts = [one.strip() for one in text.split(",") if one.strip()]
    if not parts:
        raise ConfigError("payload", text, HOW)
    first, *others = [_one(part, redaction) for part in parts]
    for one in others:
        first &= one
    return first


def _one(text: str, redaction: Redaction) -> Condition:
    path, is_given, value = (one.strip() for one in text.partition("="))
    if not is_given or not path:
        raise ConfigError("payload", text, HOW)
    field = Arg(path)
    found: Condition = field == value
    if any(redaction.hides(outer) for outer in _outwards(found.path)):
        raise ConfigError("payload", path, f"{path} is hidden, and cannot be searched")
    try:
        plain = msgspec.json.decode(value.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return found
    return found | (field == plain) if isinstance(plain, int | float) else found


def _outwards(path: tuple[str | int, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the field and all it lies in, positions in lists left out: hidden is what is in something hidden."""
    names = tuple(one for one in path if isinstance(one, str))
    for end in range(len(names), 0, -1):
        yield names[:end]
