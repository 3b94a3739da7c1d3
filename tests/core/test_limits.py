"""RateLimit and Group as users write them, and what stands in Redis of them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq import Group, RateLimit
from streamq._core import limits
from streamq._core.limits import GateConfig
from streamq.errors import ConfigError

DAY = 86_400_000
HOUR = DAY // 24
ATHENS = ZoneInfo("Europe/Athens")


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        (RateLimit(50), "RateLimit(50, per=1)"),
        (RateLimit(50, 60), "RateLimit(50, per=60)"),
        (RateLimit(50, per=timedelta(minutes=1), burst=10), "RateLimit(50, per=60, burst=10)"),
        (
            RateLimit(1000, per=timedelta(days=1), align="clock", tz="Europe/Athens"),
            "RateLimit(1000, per=86400, align='clock', tz='Europe/Athens')",
        ),
        (Group(), "Group()"),
        (Group(concurrency=5), "Group(concurrency=5)"),
        (
            Group(1, RateLimit(10), 10_000, 2, 0),
            "Group(concurrency=1, rate=RateLimit(10, per=1), size=10000, weight=2, reserve=0)",
        ),
    ],
)
def test_it_reads_as_it_was_written(limit: RateLimit | Group, shown: str) -> None:
    assert repr(limit) == shown
    names = {"RateLimit": RateLimit, "Group": Group}
    assert eval(shown, names) == limit  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"count": 0}, r"RateLimit\(count\)=0: give a whole number from 1 to 1,000,000,000"),
        ({"count": True}, r"RateLimit\(count\)=True"),
        ({"count": 1.5}, r"RateLimit\(count\)=1.5"),
        ({"count": "50"}, r"RateLimit\(count\)='50'"),
        ({"count": 1, "per": 0}, r"RateLimit\(per\)=0: must be at least 0.001 s"),
        ({"count": 1, "per": "1s"}, r"RateLimit\(per\)='1s': give seconds"),
        ({"count": 1, "per": 86_400_000_000}, r"RateLimit\(per\)=.*not milliseconds"),
        ({"count": 1, "burst": 0}, r"RateLimit\(burst\)=0"),
        ({"count": 1, "align": "day"}, r"RateLimit\(align\)='day': use \"clock\""),
        ({"count": 1, "tz": "UTC"}, r"RateLimit\(tz\)='UTC': belongs to align=\"clock\""),
        ({"count": 1, "align": "clock", "burst": 2}, r"RateLimit\(burst\)=2: cannot be combined"),
        ({"count": 1, "per": 7, "align": "clock"}, r"RateLimit\(per\)=7.0: .*must divide a day, or be a week"),
        ({"count": 1, "per": timedelta(days=2), "align": "clock"}, r"must divide a day"),
        ({"count": 1, "align": "clock", "tz": "Europe/Atens"}, r"RateLimit\(tz\)='Europe/Atens': use an IANA name"),
        ({"count": 1, "align": "clock", "tz": "Europe"}, r"RateLimit\(tz\)='Europe'"),
        ({"count": 1, "align": "clock", "tz": ""}, r"RateLimit\(tz\)=''"),
        ({"count": 1, "align": "clock", "tz": 2}, r"RateLimit\(tz\)=2"),
    ],
)
def test_a_rate_limit_that_cannot_be_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RateLimit(**arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"concurrency": 0}, r"Group\(concurrency\)=0: give a whole number from 1"),
        ({"concurrency": True}, r"Group\(concurrency\)=True"),
        ({"rate": 50}, r"Group\(rate\)=50: give RateLimit\(count, per=seconds\)"),
        ({"size": -1}, r"Group\(size\)=-1"),
        ({"weight": 0}, r"Group\(weight\)=0: give a number from 0.001 to 1,000"),
        ({"weight": float("nan")}, r"Group\(weight\)=nan"),
        ({"weight": "2"}, r"Group\(weight\)='2'"),
        ({"reserve": 1}, r"Group\(reserve\)=1: give a number from 0 to 0.9"),
        ({"reserve": -0.1}, r"Group\(reserve\)=-0.1"),
    ],
)
def test_a_group_that_cannot_be_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Group(**arguments)


def test_they_are_values() -> None:
    assert RateLimit(50, 60) == RateLimit(50, per=timedelta(minutes=1))
    assert len({RateLimit(50), RateLimit(50, per=1), RateLimit(50, per=2)}) == 2
    with pytest.raises(AttributeError):
        RateLimit(5).count = 6  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue] - frozen: wrong on purpose
    with pytest.raises(AttributeError):
        Group().weight = 6  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue] - frozen: wrong on purpose


def test_a_period_is_counted_longer_never_shorter() -> None:
    assert RateLimit(3, per=1 / 3).per_ms == 334


def test_a_cost_passes_a_bucket_only_if_it_fits() -> None:
    assert RateLimit(50).most_at_once == 50
    assert RateLimit(50, burst=10).most_at_once == 10
    assert RateLimit(50, burst=100).most_at_once == 50


def test_one_at_a_time_is_ordered() -> None:
    assert Group(concurrency=1).ordered
    assert not Group(concurrency=2).ordered
    assert not Group().ordered


# -- boundaries of the clock -------------------------------------------------------------------------------------------


def boundary(limit: RateLimit, instant: datetime) -> datetime:
    """The latest boundary by the offset in force at this instant."""
    now = round(instant.timestamp() * 1000)
    offset = limit.offset_ms(now)
    assert offset is not None
    return datetime.fromtimestamp((now - (now - offset) % limit.per_ms) / 1000, UTC)


def test_a_sliding_window_and_a_bucket_have_none() -> None:
    assert RateLimit(5).offset_ms(0) is None
    assert RateLimit(5, burst=5).offset_ms(0) is None


@pytest.mark.parametrize("zone", ["Europe/Athens", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"])
def test_a_day_begins_at_local_midnight_all_year(zone: str) -> None:
    limit = RateLimit(1000, per=timedelta(days=1), align="clock", tz=zone)
    day = datetime(2026, 1, 1)  # noqa: DTZ001 - naive on purpose
    for number in range(366):
        midnight = (day + timedelta(days=number)).replace(tzinfo=ZoneInfo(zone))
        just_before = midnight.astimezone(UTC) - timedelta(milliseconds=1)
        assert boundary(limit, midnight) == midnight
        assert boundary(limit, just_before) < midnight


def test_the_offset_changes_twice_a_year_and_by_less_than_half_a_period() -> None:
    limit = RateLimit(1000, per=timedelta(days=1), align="clock", tz="Europe/Athens")
    start = round(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
    offsets = [limit.offset_ms(start + hour * HOUR) or 0 for hour in range(365 * 24)]
    changes = [(one, other) for one, other in itertools.pairwise(offsets) if one != other]
    assert [abs(one - other) for one, other in changes] == [HOUR, HOUR]


def test_hours_follow_zones_of_half_an_hour() -> None:
    noon = datetime(2026, 6, 1, 12, 10, tzinfo=UTC)  # 17:40 in Kolkata
    limit = RateLimit(10, per=3600, align="clock", tz="Asia/Kolkata")
    assert boundary(limit, noon) == datetime(2026, 6, 1, 11, 30, tzinfo=UTC)
    assert boundary(RateLimit(10, per=3600, align="clock"), noon) == datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_a_week_begins_on_monday() -> None:
    limit = RateLimit(10, per=timedelta(weeks=1), align="clock", tz="Europe/Athens")
    thursday = datetime(2026, 7, 16, 9, tzinfo=ATHENS)
    assert boundary(limit, thursday) == datetime(2026, 7, 13, tzinfo=ATHENS)


@given(
    st.sampled_from([1, 60, 900, 3600, 6 * 3600, 86_400, 7 * 86_400]),
    st.sampled_from(["UTC", "Europe/Athens", "Asia/Kolkata", "Pacific/Apia", "America/St_Johns"]),
    st.integers(0, 4_000_000_000_000),
)
def test_an_offset_lies_within_its_period(per: float, zone: str, now_ms: int) -> None:
    limit = RateLimit(1, per=per, align="clock", tz=zone)
    offset = limit.offset_ms(now_ms)
    assert offset is not None
    assert 0 <= offset < limit.per_ms


# -- what stands in Redis ----------------------------------------------------------------------------------------------

whole = st.none() | st.integers(-1, 10**9)
share = st.none() | st.floats(0, 1000)
configs = st.builds(
    GateConfig,
    concurrency=whole,
    count=whole,
    per_ms=whole,
    burst=whole,
    offset_ms=whole,
    weight=share,
    size=whole,
    paused=st.none() | st.just(1),
    reserve=share,
)


@given(configs)
def test_a_configuration_survives_the_wire(config: GateConfig) -> None:
    assert limits.decode(limits.encode(config)) == config


def test_what_is_not_said_is_left_out_and_names_are_short() -> None:
    assert msgspec.msgpack.decode(limits.encode(GateConfig())) == {}
    full = GateConfig(concurrency=1, count=2, per_ms=3, burst=4, offset_ms=0, weight=2.0, size=7, paused=1, reserve=0.1)
    assert msgspec.msgpack.decode(limits.encode(full)) == {
        "c": 1, "n": 2, "p": 3, "b": 4, "o": 0, "w": 2.0, "s": 7, "x": 1, "v": 0.1,
    }  # fmt: skip


def test_a_field_of_a_later_version_is_ignored() -> None:
    assert limits.decode(msgspec.msgpack.encode({"c": 3, "later": 1})) == GateConfig(concurrency=3)


def test_the_configuration_of_a_rate_and_of_a_group() -> None:
    assert limits.config(RateLimit(50, 60, burst=10), concurrency=4, now_ms=0) == GateConfig(
        concurrency=4, count=50, per_ms=60_000, burst=10
    )
    assert limits.config(RateLimit(9, per=86_400, align="clock"), now_ms=0).offset_ms == 0
    assert limits.config(group=Group(), now_ms=0) == GateConfig(reserve=0.1)
    assert limits.config(group=Group(5, RateLimit(10), 100, 2, 0), now_ms=0) == GateConfig(
        concurrency=5, count=10, per_ms=1000, size=100, weight=2.0
    )
