"""Reports: windows, rows, percentiles; pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq._core.report import ROWS, Report, Slots, busiest, histogram, plain, span, totals, unpacked
from streamq._core.stats import BOUNDS_MS, checked_by, checked_window
from streamq._core.tally import BOUNDS_US, BUCKETS, COUNTERS, RUNS, WAIT
from streamq.errors import ConfigError

NOW = int(datetime(2030, 1, 1, 12, 34, 56, tzinfo=UTC).timestamp() * 1000)


def packed(**counters: int) -> bytes:
    return msgspec.msgpack.encode({COUNTERS[name]: number for name, number in counters.items()})


@pytest.mark.parametrize(
    ("window", "length"),
    [("1h", 3600), ("90m", 5400), ("1h30m", 5400), ("24h", 86_400), (60, 60), (timedelta(hours=2), 7200), ("120", 120)],
)
def test_windows(window: Any, length: float) -> None:
    assert checked_window(window) == length


@pytest.mark.parametrize("window", ["", "soon", "1y", "25h", 59, "59s", 86_401, timedelta(days=2), True, None])
def test_what_is_no_window_is_refused_with_what_would_be_one(window: Any) -> None:
    with pytest.raises(ConfigError, match="window"):
        checked_window(window)


def test_what_a_report_is_by() -> None:
    assert [checked_by(by) for by in (None, "name", "tenant")] == [None, "name", "tenant"]
    with pytest.raises(ConfigError, match='"name"'):
        checked_by("queue")


def test_a_span_covers_its_window_in_whole_steps() -> None:
    covered = span(3600, None, NOW)
    assert covered.since % 60_000 == 0
    assert 3_600_000 <= NOW - covered.since < 3_660_000
    assert len(covered.buckets) == 7
    wide = span(3600, "tenant", NOW)
    assert wide.since % 600_000 == 0
    assert 3_600_000 <= NOW - wide.since < 4_200_000
    assert len(span(86_400, "name", NOW).buckets) == 145


def report(by: Any, window: float = 600) -> Any:
    covered = span(window, by, NOW)
    found = Report(covered, by)
    last = covered.buckets[-1]
    found.add(last, [(b"a4send", b"7"), (b"s4send", packed(completed=5, failed=1)), (b"d4sync", b"2"), (b"#", b"1")])
    found.add(last, [(b"Tada", packed(arrived=4, completed=3)), (b"s2send", packed(dead=1)), (b"l3sync", b"1")])
    found.add(last - 9, [(b"a0send", b"1000")])  # before the window
    return found.made()


def test_a_report_adds_up() -> None:
    stats = report(None)
    assert (stats.window, stats.step) == (600, 60)
    assert (stats.total.arrived, stats.total.completed, stats.total.failed, stats.total.dead) == (7, 5, 1, 1)
    assert (stats.total.deduplicated, stats.total.dropped) == (2, 1)
    assert stats.rows == (stats.total,)


def test_a_report_by_handler() -> None:
    stats = report("name")
    assert [(row.key, row.arrived, row.completed) for row in stats.rows] == [("send", 7, 5), ("sync", 0, 0)]
    assert stats.rows[1].deduplicated == 2


def test_a_report_by_tenant() -> None:
    stats = report("tenant")
    assert stats.step == 600
    assert [(row.key, row.arrived, row.completed) for row in stats.rows] == [("ada", 4, 3)]
    assert stats.total.arrived == 7


def test_a_series_has_every_minute_in_order() -> None:
    stats = report(None)
    assert [one.at for one in stats.series] == [stats.since + timedelta(minutes=n) for n in range(len(stats.series))]
    assert len(stats.series) == 11
    busy = {
        one.at.minute: (one.arrived, one.completed, one.failed, one.dead) for one in stats.series if any(one_of(one))
    }
    assert busy == {34: (7, 5, 1, 0), 32: (0, 0, 0, 1)}


def one_of(minute: Any) -> tuple[int, ...]:
    return (minute.arrived, minute.completed, minute.failed, minute.dead)


def test_stats_are_json() -> None:
    found = msgspec.json.decode(msgspec.json.encode(report("name")))
    assert found["rows"][0]["key"] == "send"
    assert found["rows"][0]["wait"]["p95"] is None


# -- percentiles ---------------------------------------------------------------------------------------------------


def test_percentiles_are_read_within_a_bucket() -> None:
    buckets = [0] * BUCKETS
    buckets[3] = 100  # 5 to 10 ms
    found = histogram(buckets, 700)
    assert (found.count, found.mean_ms) == (100, 7)
    assert (found.p50, found.p95, found.p99) == (7.5, 9.75, 9.95)


def test_nothing_has_no_percentiles() -> None:
    found = histogram([0] * BUCKETS, 0)
    assert (found.count, found.p50, found.p99, found.mean_ms) == (0, None, None, None)
    assert len(found.bounded) == BUCKETS


def test_beyond_the_last_bound_a_percentile_is_that_bound() -> None:
    buckets = [0] * BUCKETS
    buckets[-1] = 3
    assert histogram(buckets, 1e8).p50 == BOUNDS_MS[-1]


@given(st.lists(st.integers(0, BOUNDS_US[-1]), min_size=1, max_size=300))
def test_a_percentile_is_in_the_bucket_of_the_true_one(values: list[int]) -> None:
    sums = Slots()
    for value in values:
        slot = next(at for at, bound in enumerate(BOUNDS_US) if value <= bound)
        sums.add({WAIT: value, WAIT + 1 + slot: 1})
    found = sums.histogram(WAIT)
    assert found.count == len(values)
    assert found.sum_ms == pytest.approx(sum(values) / 1000)
    ordered = sorted(values)
    for part, told in ((0.5, found.p50), (0.95, found.p95), (0.99, found.p99)):
        true = ordered[max(0, ceil(len(values) * part) - 1)] / 1000
        at = next(at for at, bound in enumerate(BOUNDS_MS) if true <= bound)
        lower = BOUNDS_MS[at - 1] if at else 0.0
        assert told is not None
        assert lower <= told <= BOUNDS_MS[at]


def test_runs_of_all_outcomes_are_one_histogram() -> None:
    sums = Slots().add({RUNS["completed"] + 1: 3, RUNS["completed"]: 900, RUNS["failed"] + 2: 1, RUNS["failed"]: 1500})
    row = sums.row("send")
    assert (row.run.count, row.run.sum_ms) == (4, 2.4)
    assert {outcome: found.count for outcome, found in row.outcomes.items()} == {"completed": 3, "failed": 1}


# -- bounds and what foreign hands write -----------------------------------------------------------------------------


def test_rows_are_bounded_and_the_rest_is_one() -> None:
    many = {f"t{n:03}": Slots().add({COUNTERS["arrived"]: 1000 - n}) for n in range(ROWS + 20)}
    many["other"] = Slots().add({COUNTERS["arrived"]: 5})
    rows = busiest(many)
    assert len(rows) == ROWS + 1
    assert [rows[0].key, rows[-1].key] == ["t000", "other"]
    assert sum(row.arrived for row in rows) == sum(slots.one("arrived") for slots in many.values())


def test_packed_numbers_from_one_on_may_come_as_a_list() -> None:
    assert unpacked(msgspec.msgpack.encode([4, 5])) == {1: 4, 2: 5}
    assert unpacked(msgspec.msgpack.encode({2: 9})) == {2: 9}


@pytest.mark.parametrize("value", [b"", b"\xc1", b"foreign", msgspec.msgpack.encode({"a": 1}), b"\x91" * 3000])
def test_what_nobody_of_us_wrote_counts_nothing(value: bytes) -> None:
    assert unpacked(value) == {}
    assert plain(b"a", value) == {}
    assert totals([(b"s", value), (b"\xff", value), (b"", b"1")]).keys() <= {"", "\ufffd"}
    found = Report(span(60, "name", NOW), "name")
    found.add(NOW // 600_000, [(b"s4\xff", value), (b"x", b"1"), (b"", b""), (b"T", value)])
    assert found.made().total.completed == 0
