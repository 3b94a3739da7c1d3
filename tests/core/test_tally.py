"""What a worker tells the server to count: sums by handler and by tenant, in histograms with fixed bounds."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import NamedTuple

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streamq._core.report import Slots
from streamq._core.tally import (
    BOUNDS_US,
    BUCKETS,
    BURIED,
    COMPLETED,
    COUNTERS,
    DIED,
    EXPIRED,
    KINDS,
    RETRIED,
    RUNS,
    WAIT,
    Fact,
    arrived,
    minute_of,
    settled,
)

times = st.integers(-1, 10**11)
facts = st.tuples(
    st.sampled_from(["send", "sync", "report"]),
    st.sampled_from([None, "ada", "bob"]),
    st.sampled_from(sorted(KINDS)),
    times,
    times,
)
alike = st.tuples(st.sampled_from(sorted(KINDS)), st.lists(st.tuples(times, times), max_size=60)).map(
    lambda drawn: [("send", None, drawn[0], wait, run) for wait, run in drawn[1]]
)
batches = st.lists(st.none() | facts, max_size=60) | alike


class One(NamedTuple):
    """A job on its way."""

    name: str
    tenant: str | None = None


def one_by_one(given: list[Fact]) -> dict[int, int]:
    """The slots, counted the slow way."""
    found: Counter[int] = Counter()
    for _, _, kind, wait, run in given:
        for counter in KINDS[kind].counters:
            found[counter] += 1
        for base, value in ((WAIT, wait), (KINDS[kind].run, run)):
            if base and value >= 0:
                found[base] += value
                found[base + 1 + bisect_left(BOUNDS_US, value)] += 1
    return {slot: number for slot, number in found.items() if number}


def told(blob: bytes) -> tuple[int, dict[str, dict[int, int]], dict[str, dict[int, int]]]:
    return msgspec.msgpack.decode(blob, type=tuple[int, dict[str, dict[int, int]], dict[str, dict[int, int]]])


@given(batches)
def test_a_batch_is_summed_up_as_one_by_one(batch: list[Fact | None]) -> None:
    said, _ = settled(batch, 7)
    known = [fact for fact in batch if fact is not None]
    if not known:
        assert said == b""
        return
    minute, handlers, tenants = told(said)
    assert minute == 7
    for at, sums in ((0, handlers), (1, tenants)):
        who = {fact[at] for fact in known} - {None}
        assert sums.keys() == who
        for name in who:
            mine = [fact for fact in known if fact[at] == name]
            assert {slot: by for slot, by in sums[str(name)].items() if by} == one_by_one(mine)


@given(batches)
def test_each_item_says_its_part(batch: list[Fact | None]) -> None:
    _, parts = settled(batch, 0)
    if not parts:
        assert not any(batch)
        return
    names, tenants, *columns = msgspec.msgpack.decode(parts)
    found: list[Fact | None] = []
    for at in range(len(batch)):
        name, tenant, kind, wait, run = (one if isinstance(one, int) else one[at] for one in columns)
        found.append((names[name - 1], tenants[tenant - 1] if tenant else None, kind, wait, run) if name else None)
    assert found == batch


def test_no_two_slots_meet() -> None:
    taken = list(COUNTERS.values())
    for base in (WAIT, *RUNS.values()):
        taken += range(base, base + 1 + BUCKETS)
    assert len(taken) == len(set(taken))
    assert all(kind.run in {0, *RUNS.values()} for kind in KINDS.values())


def test_bounds_are_inclusive_and_log_spaced() -> None:
    assert BOUNDS_US[:6] == (1000, 2000, 5000, 10_000, 20_000, 50_000)
    assert BOUNDS_US[-1] == 5_000_000_000
    said, _ = settled([("a", None, COMPLETED, 1000, 1001)], 0)
    sums = Slots().add(told(said)[1]["a"])
    assert sums.histogram(WAIT).buckets[:2] == (1, 0)
    assert sums.histogram(RUNS["completed"]).buckets[:2] == (0, 1)


def test_what_never_ran_is_in_no_histogram() -> None:
    said, _ = settled([("a", None, BURIED, -1, -1), ("a", None, EXPIRED, -1, -1)], 0)
    assert told(said)[1] == {"a": {COUNTERS["dead"]: 1, COUNTERS["expired"]: 1}}


def test_a_failed_attempt_is_counted_beside_what_came_of_it() -> None:
    said, _ = settled([("a", None, RETRIED, -1, 5), ("a", None, DIED, -1, 5)], 0)
    sums = Slots().add(told(said)[1]["a"])
    assert (sums.one("failed"), sums.one("retried"), sums.one("dead")) == (2, 1, 1)
    assert sums.histogram(RUNS["failed"]).count == 2


def test_a_large_batch_of_one_handler_is_told_in_few_bytes() -> None:
    said, parts = settled([("mail.send", None, COMPLETED, 900 + n, 300 + n) for n in range(100)], 3)
    assert len(said) < 60
    assert len(parts) < 700


def test_arrivals_of_one_handler_are_a_digit_and_its_name() -> None:
    assert arrived([One("send"), One("send")], 4) == b"4send"
    assert arrived([One("")], 4) == b""


def test_arrivals_of_several_are_a_map() -> None:
    said = arrived([One("a", "t"), One("b"), One("a", "u"), One("")], 9)
    assert said[:1] == b"\0"
    minute, names, who, tenants, whose = msgspec.msgpack.decode(said[1:])
    assert (minute, names, tenants) == (9, ["a", "b"], ["t", "u"])
    assert (who, whose) == ([1, 2, 1, 0], [1, 0, 2, 0])


def test_two_hundred_handlers_fit_a_batch() -> None:
    said = arrived([One(f"h{n}", f"t{n}") for n in range(200)], 0)
    _, names, who, _, _ = msgspec.msgpack.decode(said[1:])
    assert len(names) == 200
    assert who[-1] == 200


def test_the_minute_of_its_ten() -> None:
    assert [minute_of(ms) for ms in (0, 59_999, 60_000, 599_999, 600_000)] == [0, 0, 1, 9, 0]
