"""Durations and instants at the edge: what is refused, and which way milliseconds are rounded."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamq._core.units import MAX_SECONDS, from_ms, instant_ms, millis, seconds
from streamq.errors import ConfigError

MILLISECONDS = st.integers(min_value=0, max_value=4_102_444_800_000)


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [(0, 0.0), (3, 3.0), (0.25, 0.25), (timedelta(minutes=1), 60.0), (timedelta(milliseconds=1), 0.001)],
)
def test_a_number_of_seconds_and_a_timedelta_mean_the_same(given_value: float | timedelta, expected: float) -> None:
    found = seconds("delay", given_value)
    assert found == expected
    assert type(found) is float


@pytest.mark.parametrize(
    "wrong",
    [-1, -0.001, timedelta(seconds=-1), float("nan"), float("-inf"), True, False, "30", None, Decimal(1), [1], 1j],
)
def test_what_is_no_duration_is_refused_by_name_value_and_remedy(wrong: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        seconds("delay", wrong)
    assert caught.value.option == "delay"
    assert str(caught.value).startswith("delay=")
    assert caught.value.remedy


@pytest.mark.parametrize("wrong", [MAX_SECONDS + 1, 30_000 * 86_400, 1_700_000_000_000, float("inf"), timedelta.max])
def test_milliseconds_given_for_seconds_are_noticed(wrong: float | timedelta) -> None:
    with pytest.raises(ConfigError, match="counts in seconds, not milliseconds"):
        seconds("timeout", wrong)


def test_a_least_value_is_part_of_the_message() -> None:
    assert seconds("lease", 1.5, least=1.5) == 1.5
    with pytest.raises(ConfigError, match=r"lease=1\.4: must be at least 1\.5 s"):
        seconds("lease", 1.4, least=1.5)


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [(0, 0), (0.001, 1), (0.0011, 2), (0.0001, 1), (0.1 + 0.2, 300), (1.1, 1100), (timedelta(microseconds=1), 1)],
)
def test_milliseconds_are_rounded_up_but_not_by_noise_of_floats(given_value: float | timedelta, expected: int) -> None:
    assert millis("delay", given_value) == expected


@given(MILLISECONDS.filter(lambda ms: ms <= MAX_SECONDS * 1000))
@example(274_877_906_943)  # as seconds times 1,000 it is not whole any more
def test_whole_milliseconds_stay_what_they_are(ms: int) -> None:
    assert millis("delay", ms / 1000) == ms
    assert millis("delay", timedelta(milliseconds=ms)) == ms


@given(st.floats(min_value=0, max_value=MAX_SECONDS))
def test_no_duration_gets_shorter_and_none_by_more_than_a_millisecond_longer(value: float) -> None:
    noise = max(1e-6, 2 * math.ulp(value * 1000))
    assert -noise <= millis("delay", value) - value * 1000 <= 1 + noise


@given(MILLISECONDS)
def test_an_instant_survives_the_round_trip(ms: int) -> None:
    assert instant_ms("at", from_ms(ms)) == ms


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_an_instant_is_never_moved_to_before_itself(value: datetime) -> None:
    late = from_ms(instant_ms("at", value)) - value
    assert timedelta(0) <= late < timedelta(milliseconds=1, microseconds=1)


def test_instants_of_any_zone_are_the_same_instant() -> None:
    athens = timezone(timedelta(hours=3))
    assert instant_ms("at", datetime(2030, 1, 1, 3, tzinfo=athens)) == instant_ms(
        "at", datetime(2030, 1, 1, tzinfo=UTC)
    )


class Nowhere(tzinfo):
    """A zone that does not know its offset: as naive as none at all."""

    def utcoffset(self, _dt: datetime | None, /) -> timedelta | None:
        return None

    def dst(self, _dt: datetime | None, /) -> timedelta | None:
        return None

    def tzname(self, _dt: datetime | None, /) -> str | None:
        return None


@pytest.mark.parametrize("naive", [datetime(2030, 1, 1), datetime(2030, 1, 1, tzinfo=Nowhere())])  # noqa: DTZ001
def test_a_naive_datetime_is_refused_with_its_remedy(naive: datetime) -> None:
    with pytest.raises(ConfigError, match=r"at=datetime.*is naive; add a time zone"):
        instant_ms("at", naive)


@pytest.mark.parametrize("wrong", [1_700_000_000, 1.5, "2030-01-01", timedelta(days=1), None])
def test_only_a_datetime_is_an_instant(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="give an aware datetime"):
        instant_ms("at", wrong)


@pytest.mark.parametrize(("ms", "year"), [(2**62, 9999), (-(2**62), 1970), (-1, 1970)])
def test_an_instant_nobody_can_write_down_still_shows_as_one(ms: int, year: int) -> None:
    assert from_ms(ms).year == year


def test_instants_are_counted_exactly() -> None:
    """Seconds as a float are off by a few nanoseconds, and rounded up that is a millisecond."""
    assert instant_ms("at", from_ms(33_984_726_255)) == 33_984_726_255
