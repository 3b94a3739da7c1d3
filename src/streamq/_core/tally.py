"""What is counted of jobs: numbered slots, histograms with fixed bounds, and how a batch of settlements is summed up.

A worker sums up its batch by handler and by tenant; the script adds the sums, less those of what it did not apply. So
a batch costs a handful of commands, however many jobs and counters it has. The other half: lua/_tally.lua.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol, cast

import msgspec

BOUNDS_US: Final = tuple(step * 10**power for power in range(3, 10) for step in (1, 2, 5))
"""Upper bounds of the buckets in microseconds: 1, 2, 5, 10 ms and so on, up to 5,000 s. One more bucket holds the rest.

Here and in lua/_tally.lua; never to be changed, what is kept was counted by them."""

BUCKETS: Final = len(BOUNDS_US) + 1

OTHER: Final = "other"
"""Who stands for everybody beyond the bound."""

COUNTERS: Final[Mapping[str, int]] = {
    "arrived": 1,
    "completed": 2,
    "failed": 3,
    "retried": 4,
    "snoozed": 5,
    "limited": 6,
    "dead": 7,
    "cancelled": 8,
    "expired": 9,
    "stalled": 10,
    "deduplicated": 11,
    "dropped": 12,
}
"""Slots of the counters."""

WAIT: Final = 16
RUNS: Final[Mapping[str, int]] = {"completed": 40, "failed": 64, "postponed": 88, "cancelled": 112}
"""Slots of the histograms: of the wait before an attempt, and of its run by outcome.

The sum in microseconds is first, then the buckets."""

REFUSED: Final[Mapping[str, str]] = {"a": "arrived", "d": "deduplicated", "l": "dropped"}
"""Letters of the plain counters that enqueue writes."""

COMPLETED, RETRIED, DIED, BURIED, SNOOZED, LIMITED, CANCELLED, EXPIRED = range(1, 9)
"""What became of an attempt, as a `Fact` says it."""


class Kind(NamedTuple):
    """What one kind of settlement counts: slots of counters, and the histogram of its run (0: it never ran)."""

    counters: tuple[int, ...]
    run: int


_C = COUNTERS
KINDS: Final[Mapping[int, Kind]] = {
    COMPLETED: Kind((_C["completed"],), RUNS["completed"]),
    RETRIED: Kind((_C["failed"], _C["retried"]), RUNS["failed"]),
    DIED: Kind((_C["failed"], _C["dead"]), RUNS["failed"]),
    BURIED: Kind((_C["dead"],), 0),
    SNOOZED: Kind((_C["snoozed"],), RUNS["postponed"]),
    LIMITED: Kind((_C["limited"],), RUNS["postponed"]),
    CANCELLED: Kind((_C["cancelled"],), RUNS["cancelled"]),
    EXPIRED: Kind((_C["expired"],), 0),
}

Fact = tuple[str, str | None, int, int, int]
"""What is to be counted of a settlement: handler, tenant, kind, wait and run in microseconds (-1: there was none).

A plain tuple: every job makes one."""

Sums = dict[str, dict[int, int]]
"""Handler or tenant -> slot -> how much more."""

_Groups = dict[tuple[str, int], tuple[list[int], list[int]]]
"""Handler or tenant, and kind -> waits and runs."""

_encode = msgspec.msgpack.Encoder().encode


class Arriving(Protocol):
    """A job on its way to the server. ``name`` '': nobody knows, it is not counted."""

    @property
    def name(self) -> str:
        """Its handler."""
        ...

    @property
    def tenant(self) -> str | None:
        """Whose it is."""
        ...


def settled(facts: Sequence[Fact | None], minute: int) -> tuple[bytes, bytes]:
    """Return what settle is told to count, and each item's part in it; b"" twice when there is nothing to count.

    ``minute``: which of the ten of its bucket it is.
    """
    if facts and None not in facts:
        names, tenants, kinds, waits, runs = zip(*cast("Sequence[Fact]", facts), strict=True)
        if len({*names}) == len({*kinds}) == len({*tenants}) == 1 and not tenants[0]:
            # Of one handler, of nobody's, all of a kind: most batches, and each job of them pays for this.
            name, kind = names[0], kinds[0]
            said = _encode((minute, _summed({(name, kind): ([*waits], [*runs])}), {}))
            return said, _encode(((name,), (), 1, 0, kind, waits, runs))
    return _mixed(facts, minute)


def _mixed(facts: Sequence[Fact | None], minute: int) -> tuple[bytes, bytes]:
    """Return the same for any batch."""
    names, tenants = {"": 0}, {"": 0}
    by_name: _Groups = {}
    by_tenant: _Groups = {}
    parts: list[tuple[int, int, int, int, int]] = []
    for fact in facts:
        if fact is None:
            parts.append((0, 0, 0, -1, -1))
            continue
        name, tenant, kind, wait, run = fact
        group = by_name.get((name, kind))
        if group is None:
            group = by_name[name, kind] = ([], [])
        group[0].append(wait)
        group[1].append(run)
        whose = 0
        if tenant:
            whose = tenants.setdefault(tenant, len(tenants))
            group = by_tenant.setdefault((tenant, kind), ([], []))
            group[0].append(wait)
            group[1].append(run)
        parts.append((names.setdefault(name, len(names)), whose, kind, wait, run))
    if not by_name:
        return b"", b""
    columns = [_column(values) for values in zip(*parts, strict=True)]
    said = _encode((minute, _summed(by_name), _summed(by_tenant)))
    return said, _encode((list(names)[1:], list(tenants)[1:], *columns))


def _column(values: tuple[int, ...]) -> tuple[int, ...] | int:
    """Return one number for many of the same."""
    return values[0] if values.count(values[0]) == len(values) else values


def _summed(groups: _Groups) -> Sums:
    found: Sums = {}
    for (who, number), (waits, runs) in groups.items():
        kind, sums = KINDS[number], found.setdefault(who, {})
        for counter in kind.counters:
            sums[counter] = sums.get(counter, 0) + len(waits)
        _observe(sums, WAIT, waits)
        if kind.run:
            _observe(sums, kind.run, runs)
    return found


def _observe(sums: dict[int, int], base: int, values: list[int]) -> None:
    """Put values into the histogram at ``base``; those below 0 are none."""
    values.sort()
    first = bisect_left(values, 0)
    if first == len(values):
        return
    sums[base] = sums.get(base, 0) + sum(values[first:])
    while first < len(values):
        bucket = bisect_left(BOUNDS_US, values[first])
        # Most of a batch are in few buckets: from the first of one to the first of the next.
        after = bisect_right(values, BOUNDS_US[bucket], first) if bucket < len(BOUNDS_US) else len(values)
        slot = base + 1 + bucket
        sums[slot] = sums.get(slot, 0) + after - first
        first = after


def arrived(batch: Sequence[Arriving], minute: int) -> bytes:
    """Return what enqueue is told of who arrives: the minute and a name if that is all, else a map of it all."""
    first = batch[0].name
    if all(one.name == first and one.tenant is None for one in batch):
        return b"%d%b" % (minute, first.encode()) if first else b""
    names, who = _numbered([one.name for one in batch])
    tenants, whose = _numbered([one.tenant or "" for one in batch])
    return b"\0" + _encode((minute, names, who, tenants, whose))


def minute_of(ms: int) -> int:
    """Return which of the ten minutes of its key ``ms`` is in."""
    return ms // 60_000 % 10


def _numbered(found: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the distinct texts but '', and for each place the number of its text; 0 for ''."""
    numbers: dict[str, int] = {"": 0}
    places = [numbers.setdefault(one, len(numbers)) for one in found]
    return list(numbers)[1:], places
