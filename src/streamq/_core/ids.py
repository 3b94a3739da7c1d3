"""Job ids, made by the client: UUIDv7 with the partition in the last ten bits.

Source: RFC 9562 section 5.7. Ids sort by creation, survive failover (unlike stream ids), and name the partition
their job lives in for ever, so that a look-up by id needs no table.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque

_GENERATED = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")
_YEAR_2020, _YEAR_2100 = 1_577_836_800_000, 4_102_444_800_000
_PARTITION_BITS = 10
_NOISE_BYTES, _NOISE_AHEAD = 9, 128

# Noise for the next ids: a call to the system costs ten times what the rest of an id does. Popping is atomic, so no two
# threads get the same; a child process would inherit it, and must not use it.
_noise: deque[int] = deque()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_noise.clear)


def new_id(partition: int = 0) -> str:
    """Return a new job id of 32 hex digits; 64 random bits beside the millisecond keep it unique."""
    ms = time.time_ns() // 1_000_000
    noise = _some_noise()
    head = (ms << 16) | 0x7000 | (noise >> 60) & 0xFFF
    tail = (0b10 << 62) | ((noise & ((1 << 52) - 1)) << _PARTITION_BITS) | partition
    return f"{head:016x}{tail:016x}"


def _some_noise() -> int:
    try:
        return _noise.pop()
    except IndexError:
        fresh = os.urandom(_NOISE_BYTES * _NOISE_AHEAD)
        some = [int.from_bytes(fresh[at : at + _NOISE_BYTES]) for at in range(0, len(fresh), _NOISE_BYTES)]
        _noise.extend(some[1:])
        return some[0]


def created_ms(job_id: str) -> int | None:
    """Return when a generated id was made (client clock, ms since the epoch); None for a custom id."""
    # A custom id may be 32 hex digits, too (a digest); the years tell nearly all of them apart.
    if _GENERATED.fullmatch(job_id) and _YEAR_2020 <= int(job_id[:12], 16) < _YEAR_2100:
        return int(job_id[:12], 16)
    return None


def partition_of(job_id: str) -> int | None:
    """Return the partition written into a generated id; None for a custom id."""
    if created_ms(job_id) is None:
        return None
    return int(job_id[-3:], 16) & ((1 << _PARTITION_BITS) - 1)
