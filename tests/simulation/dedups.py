"""Deduplication as the server decides it: no job is added beside another that its key should have met."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from tests.store import lined
from tests.store.snapshot import text

HEAD: Final = 6
WIDTH: Final = 6
"""Arguments of enqueue before the jobs, and of each job, in the build that knows of lines."""


class Asked(NamedTuple):
    """What an enqueue asked for; ``mode``: s(imple) t(hrottle) d(ebounce) k(eep last)."""

    mode: str
    key: str
    ttl_ms: int
    at_ms: int


class Dedups:
    """Dedup keys of all jobs, in the order in which they were sent."""

    def __init__(self) -> None:
        self._asked: dict[str, Asked] = {}

    def sent(self, args: Sequence[bytes], now_ms: int) -> None:
        """Note what an enqueue asked for."""
        for at in range(HEAD, len(args), WIDTH):
            if args[at + WIDTH - 1]:
                mode, key, ttl, *_ = msgspec.msgpack.decode(args[at + WIDTH - 1])
                self._asked.setdefault(text(args[at]), Asked(mode, key, ttl, now_ms))

    def wrong(self, job: str, before: Mapping[str, bytes], lived: Collection[str], again: Collection[str]) -> str:
        """Return which job an added one should have met; ''. ``lived``: all that were added, ``again``: replayed."""
        mine = self._asked.get(job)
        if mine is None:
            return ""
        others = [one for one, asked in self._asked.items() if asked.key == mine.key and one != job and one in lived]
        if not others or others[-1] in again:
            return ""
        last = others[-1]
        row, asked = before.get(last, b""), self._asked[last]
        record = lined.record_of(row)
        meets = {
            "s": bool(row),
            "t": mine.at_ms < asked.at_ms + asked.ttl_ms,
            "d": row[:1] == b"d",
            "k": row[:1] in {b"f", b"d"} and record is not None and record.takes == 0,
        }[mine.mode]
        return f"{last} of the same key {mine.key} ({mine.mode})" if meets else ""
