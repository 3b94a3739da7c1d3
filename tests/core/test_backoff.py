"""Shapes of waiting: exact without jitter, bounded with it, and never an error where a job could be lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq import Exponential, Fixed, Linear
from streamq._core.backoff import Wire, checked, delay_ms
from streamq._core.units import MAX_SECONDS, Seconds
from streamq.errors import ConfigError

MIDDLE = 0.5
"""The noise that moves nothing."""

ATTEMPTS = st.integers(min_value=1, max_value=10_000)
NOISE = st.floats(min_value=0, max_value=1, exclude_max=True)
JITTER = st.floats(min_value=0, max_value=1)
WAITS = st.floats(min_value=0, max_value=MAX_SECONDS)


def squares(attempt: int) -> float:
    return attempt**2


def minutes(attempt: int) -> timedelta:
    return timedelta(minutes=attempt)


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        (Fixed(5), [5, 5, 5, 5, 5]),
        (Fixed(0), [0, 0, 0, 0, 0]),
        (Linear(10, max=35), [10, 20, 30, 35, 35]),
        (Exponential(1), [1, 2, 4, 8, 16]),
        (Exponential(0.5, factor=3, max=10), [0.5, 1.5, 4.5, 10, 10]),
        (Exponential(2, factor=1), [2, 2, 2, 2, 2]),
        (Exponential(0), [0, 0, 0, 0, 0]),
        (squares, [1, 4, 9, 16, 25]),
        (minutes, [60, 120, 180, 240, 300]),
    ],
)
def test_waits_after_the_first_five_attempts(backoff: Wire | Callable[[int], Seconds], waits: list[float]) -> None:
    assert [delay_ms(backoff, attempt, MIDDLE) for attempt in range(1, 6)] == [round(wait * 1000) for wait in waits]


def test_a_timedelta_is_as_good_as_seconds() -> None:
    hour = timedelta(hours=1)
    assert Fixed(timedelta(seconds=5)) == Fixed(5.0)
    assert Linear(timedelta(seconds=5), max=hour) == Linear(5.0, max=3600.0)
    assert Exponential(timedelta(seconds=1), max=hour) == Exponential(1.0)
    assert delay_ms(Exponential(timedelta(seconds=1), max=hour), 30, MIDDLE) == 3_600_000


@given(WAITS, JITTER, ATTEMPTS, NOISE)
def test_jitter_moves_a_fixed_wait_by_its_share_at_most(wait: float, jitter: float, attempt: int, noise: float) -> None:
    found = delay_ms(Fixed(wait, jitter=jitter), attempt, noise)
    assert wait * (1 - jitter) * 1000 - 1 <= found <= wait * (1 + jitter) * 1000 + 1


@given(WAITS, st.floats(min_value=1, max_value=1e6), WAITS, JITTER, ATTEMPTS, NOISE)
def test_an_exponential_wait_stays_within_its_bounds(
    base: float, factor: float, most: float, jitter: float, attempt: int, noise: float
) -> None:
    backoff = Exponential(base, factor=factor, max=most, jitter=jitter)
    found = delay_ms(backoff, attempt, noise)
    assert min(base, most) * (1 - jitter) * 1000 - 1 <= found <= most * 1000 + 1


@given(WAITS, WAITS, JITTER, ATTEMPTS, NOISE)
def test_a_linear_wait_stays_within_its_bounds(
    step: float, most: float, jitter: float, attempt: int, noise: float
) -> None:
    found = delay_ms(Linear(step, max=most, jitter=jitter), attempt, noise)
    assert min(step * attempt, most) * (1 - jitter) * 1000 - 1 <= found <= most * 1000 + 1


@given(st.lists(ATTEMPTS, min_size=2, max_size=2).map(sorted))
def test_later_attempts_never_wait_less(pair: list[int]) -> None:
    for backoff in (Linear(3), Exponential(1, jitter=0), Exponential(1.5, factor=1.1, jitter=0)):
        assert delay_ms(backoff, pair[0], MIDDLE) <= delay_ms(backoff, pair[1], MIDDLE)


@pytest.mark.parametrize("factor", [2, 2.0, 1_000_000, 1e6])
def test_a_power_too_large_for_a_float_is_the_longest_wait(factor: float) -> None:
    assert delay_ms(Exponential(1, factor=factor, max=60, jitter=0), 10_000, MIDDLE) == 60_000
    assert delay_ms(Exponential(0, factor=factor, max=60, jitter=0), 10_000, MIDDLE) == 0


@pytest.mark.parametrize("wrong", [-1, None, "5", float("nan"), float("inf"), True])
def test_a_function_that_returns_no_duration_is_told_so(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"^backoff="):
        delay_ms(lambda _attempt: wrong, 1, MIDDLE)


@pytest.mark.parametrize(
    ("build", "option"),
    [
        (lambda: Fixed(-1), r"Fixed\(wait\)=-1"),
        (lambda: Fixed(float("nan")), r"Fixed\(wait\)=nan"),
        (lambda: Fixed(1, jitter=1.1), r"jitter=1\.1"),
        (lambda: Fixed(1, jitter=-0.1), r"jitter=-0\.1"),
        (lambda: Fixed(1, jitter=float("nan")), "jitter=nan"),
        (lambda: Fixed(1, jitter="a"), "jitter='a'"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        (lambda: Fixed("1"), r"Fixed\(wait\)='1'"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        (lambda: Linear(-1), r"Linear\(step\)=-1"),
        (lambda: Linear(1, max=-1), r"Linear\(max\)=-1"),
        (lambda: Exponential(5_000_000_000), r"Exponential\(base\)=5000000000"),
        (lambda: Exponential(1, max=-1), r"Exponential\(max\)=-1"),
        (lambda: Exponential(1, factor=0.5), r"Exponential\(factor\)=0\.5"),
        (lambda: Exponential(1, factor=float("inf")), r"Exponential\(factor\)=inf"),
        (lambda: Exponential(1, factor=float("nan")), r"Exponential\(factor\)=nan"),
        (lambda: Exponential(1, factor=True), r"Exponential\(factor\)=True"),
    ],
)
def test_a_wrong_value_names_its_option(build: Callable[[], object], option: str) -> None:
    with pytest.raises(ConfigError, match=f"^{option}: "):
        build()


@pytest.mark.parametrize("wrong", [5, 1.5, "exponential", None, (1, 2), timedelta(seconds=1), Exponential, float])
def test_only_a_backoff_is_one(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"give Fixed\(s\), Linear\(s\), Exponential\(s\), or a function"):
        checked("backoff", wrong)


def test_the_three_travel_and_come_back_as_they_were() -> None:
    for backoff in (Fixed(1), Linear(2, max=3), Exponential(timedelta(seconds=4), factor=5, max=6, jitter=0.7)):
        assert checked("backoff", backoff) is backoff
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(backoff), type=Wire) == backoff
