"""Reports made of what was counted: slots added up, percentiles read from buckets, rows bounded. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Self, cast

import msgspec

from .stats import BOUNDS_MS, By, Histogram, Minute, StatRow, Stats
from .tally import BUCKETS, COUNTERS, OTHER, REFUSED, RUNS, WAIT
from .units import from_ms

MINUTE_MS: Final = 60_000
BUCKET_MS: Final = 600_000
"""Minutes are kept ten to a key; tenants for the whole of such a key."""

ROWS: Final = 100
"""Most rows of a report; the least busy ones are summed up as "other"."""


class Slots:
    """Sums of slots, while they are added up."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: dict[int, int] = {}

    def add(self, slots: Mapping[int, int]) -> Self:
        """Add what was counted."""
        for slot, number in slots.items():
            self.found[slot] = self.found.get(slot, 0) + number
        return self

    def one(self, counter: str) -> int:
        """Return a counter."""
        return self.found.get(COUNTERS[counter], 0)

    def histogram(self, *bases: int) -> Histogram:
        """Return the histogram at a base, or several as one."""
        buckets = tuple(sum(self.found.get(base + 1 + at, 0) for base in bases) for at in range(BUCKETS))
        return histogram(buckets, sum(self.found.get(base, 0) for base in bases) / 1000)

    def row(self, key: str) -> StatRow:
        """Return them for people."""
        outcomes = {outcome: self.histogram(base) for outcome, base in RUNS.items()}
        return StatRow(
            key,
            **{counter: self.one(counter) for counter in COUNTERS},
            wait=self.histogram(WAIT),
            run=self.histogram(*RUNS.values()),
            outcomes={outcome: found for outcome, found in outcomes.items() if found.count},
        )


class Span(NamedTuple):
    """Which time a report covers, in ms by the server: from ``since``, in steps, until ``now``."""

    window: float
    since: int
    now: int
    step: int

    @property
    def buckets(self) -> range:
        """Numbers of the ten-minute keys."""
        return range(self.since // BUCKET_MS, self.now // BUCKET_MS + 1)


def histogram(buckets: Sequence[int], sum_ms: float) -> Histogram:
    """Return a histogram of these buckets."""
    count = sum(buckets)
    if not count:
        return Histogram()
    p50, p95, p99 = (_percentile(buckets, count * part) for part in (0.5, 0.95, 0.99))
    return Histogram(count, sum_ms, p50, p95, p99, tuple(buckets))


def _percentile(buckets: Sequence[int], rank: float) -> float:
    """Return where the value of this rank is, as if a bucket's values stood at equal distances; as Prometheus does."""
    below = 0
    for at, number in enumerate(buckets[:-1]):
        if number and below + number >= rank:
            lower = BOUNDS_MS[at - 1] if at else 0.0
            return lower + (BOUNDS_MS[at] - lower) * (rank - below) / number
        below += number
    return BOUNDS_MS[-1]


def span(window: float, by: By | None, now_ms: int) -> Span:
    """Return what a report of ``window`` seconds covers: whole steps, so at most one more than was asked for."""
    step = BUCKET_MS if by == "tenant" else MINUTE_MS
    since = max(0, now_ms - int(window * 1000)) // step * step
    return Span(window, since, now_ms, step)


class Report:
    """Adds up what the buckets of a span hold."""

    def __init__(self, covered: Span, by: By | None) -> None:
        self._span = covered
        self._by = by
        self._rows: dict[str, Slots] = {}
        self._total = Slots()
        self._minutes = {
            at: Slots() for at in range(covered.since // MINUTE_MS, covered.now // MINUTE_MS + 1)
        }  # fmt: skip

    def add(self, bucket: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Add a ten-minute key by its number."""
        for field, value in fields:
            letter = field[:1]
            if letter == b"T":
                if self._by == "tenant":
                    self._row(field[1:]).add(unpacked(value))
            elif letter != b"#" and field[1:2].isdigit():
                minute = self._minutes.get(bucket * 10 + int(field[1:2]))
                if minute is not None:
                    self._add_minute(minute, field, value)

    def _add_minute(self, minute: Slots, field: bytes, value: bytes) -> None:
        slots = plain(field[:1], value)
        minute.add(slots)
        self._total.add(slots)
        if self._by == "name":
            self._row(field[2:]).add(slots)

    def _row(self, key: bytes) -> Slots:
        return self._rows.setdefault(key.decode("utf-8", "replace"), Slots())

    def made(self) -> Stats:
        """Return it all for people."""
        covered, total = self._span, self._total.row("")
        series = tuple(
            Minute(from_ms(at * MINUTE_MS), *(slots.one(name) for name in ("arrived", "completed", "failed", "dead")))
            for at, slots in self._minutes.items()
        )
        rows = tuple(busiest(self._rows)) if self._by else (total,)
        since, until = from_ms(covered.since), from_ms(covered.now)
        return Stats(covered.window, since, until, covered.step // 1000, total, rows, series)


def busiest(found: Mapping[str, Slots]) -> list[StatRow]:
    """Return the rows, the busiest first; beyond `ROWS` the rest in one."""
    ranked = sorted(found.items(), key=lambda one: (one[0] == OTHER, -_work(one[1]), one[0]))
    shown, rest = ranked[:ROWS], ranked[ROWS:]
    if not rest:
        return [slots.row(key) for key, slots in shown]
    others = Slots()
    for _, slots in rest:
        others.add(slots.found)
    return [*(slots.row(key) for key, slots in shown), others.row(OTHER)]


def _work(slots: Slots) -> int:
    return slots.one("arrived") + slots.one("completed") + slots.one("failed")


def totals(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, Slots]:
    """Return what was counted since the queue began, by handler."""
    found: dict[str, Slots] = {}
    for field, value in fields:
        found.setdefault(field[1:].decode("utf-8", "replace"), Slots()).add(plain(field[:1], value))
    return found


def plain(letter: bytes, value: bytes) -> dict[int, int]:
    """Return the slots in a field: one number, or many packed; nothing of what nobody here wrote."""
    counter = REFUSED.get(letter.decode("latin-1"))
    if counter is not None:
        return {COUNTERS[counter]: int(value)} if value.isdigit() else {}
    return unpacked(value) if letter == b"s" else {}


def unpacked(value: bytes) -> dict[int, int]:
    """Return packed slots; as the server packs them, numbers from 1 on without a gap are a list."""
    try:
        found = _decode(value)
    except (msgspec.DecodeError, RecursionError):
        return _mended(value)
    return found if isinstance(found, dict) else dict(enumerate(found, 1))


def _mended(value: bytes) -> dict[int, int]:
    """Return what is ours in a map that a foreign hand wrote into."""
    try:
        found: object = msgspec.msgpack.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    pairs = cast("dict[object, object]", found).items()
    return {slot: number for slot, number in pairs if isinstance(slot, int) and isinstance(number, int)}


_decode: Callable[[bytes], dict[int, int] | list[int]] = msgspec.msgpack.Decoder(dict[int, int] | list[int]).decode
