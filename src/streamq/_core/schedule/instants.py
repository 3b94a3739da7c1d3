"""What the values of this room share: the span of time they know, and how instants are kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from ...errors import ConfigError
from ..units import from_ms, instant_ms

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(9998, 1, 1, tzinfo=UTC)
"""Leaves room for every offset before datetime overflows."""


def utc(option: str, value: datetime) -> datetime:
    instant_ms(option, value)  # refuses a naive one
    return EPOCH if value < EPOCH else LAST if value > LAST else value.astimezone(UTC)


def keep_instant(struct: Any, field: str, option: str) -> None:
    value: datetime = getattr(struct, field)
    at_ms = instant_ms(option, value)
    if at_ms <= 0:
        raise ConfigError(option, value, "must be after 1970")
    msgspec.structs.force_setattr(struct, field, from_ms(at_ms))


def is_count(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
