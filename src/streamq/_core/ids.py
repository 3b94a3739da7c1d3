"""Job ids, made by the client: UUIDv7 with the partition in the last ten bits.

Source: RFC 9562 section 5.7. Ids sort by creation, survive failover (unlike stream ids), and name the partition
their job lives in for ever, so that a look-up by id needs no table.
"""

from __future__ import annotations

import os
import re
import time

_GENERATED = re.compile(r"[0-9a-f]{32}")
_PARTITION_BITS = 10


def new_id(partition: int = 0) -> str:
    """Return a new job id of 32 hex digits; 52 random bits beside the millisecond keep it unique."""
    ms = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(9))
    head = (ms << 16) | 0x7000 | (noise >> 60) & 0xFFF
    tail = (0b10 << 62) | ((noise & ((1 << 52) - 1)) << _PARTITION_BITS) | partition
    return f"{head:016x}{tail:016x}"


def created_ms(job_id: str) -> int | None:
    """Return when a generated id was made (client clock, ms since the epoch); None for a custom id."""
    if _GENERATED.fullmatch(job_id) and job_id[12] == "7":
        return int(job_id[:12], 16)
    return None


def partition_of(job_id: str) -> int | None:
    """Return the partition written into a generated id; None for a custom id."""
    if _GENERATED.fullmatch(job_id) and job_id[12] == "7":
        return int(job_id[-3:], 16) & ((1 << _PARTITION_BITS) - 1)
    return None
