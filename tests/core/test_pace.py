"""How many jobs a worker holds that have no place yet: many when they are over in a moment, none when they are slow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamq._core.pace import MOMENT, NEARLY_ALL, ROUND, Outlook, Pace


def busy(pace: Pace, rate: float, *, since: float = 0.0, seconds: float = 1.0, rounds: int = 1000) -> float:
    """Let jobs end at ``rate`` a second; returns the time afterwards."""
    for number in range(rounds):
        pace.ended(round(rate * seconds / rounds), since + (number + 1) * seconds / rounds)
    return since + seconds


def quick(outlook: Outlook, *, rounds: int = 10) -> None:
    for _ in range(rounds):
        outlook.round(100, 100)


def test_at_first_nothing_is_held() -> None:
    pace = Pace()
    outlook = Outlook(pace)
    assert pace.ready(100, 1, 0.0) == 0
    assert outlook.beyond(100, 0.0) == 0


def test_jobs_that_end_within_a_round_trip_are_asked_for_twice() -> None:
    pace = Pace()
    outlook = Outlook(pace)
    now = busy(pace, 30_000)
    quick(outlook)
    assert 95 <= outlook.beyond(100, now) <= 100


def test_one_slow_round_is_enough() -> None:
    pace = Pace()
    outlook = Outlook(pace)
    now = busy(pace, 30_000)
    quick(outlook)
    outlook.round(100, 10)
    assert outlook.beyond(100, now) == 0
    quick(outlook, rounds=2)
    assert outlook.beyond(100, now) >= 75, "two quick ones after it, and it is forgiven"


def test_handlers_that_block_the_loop_are_not_taken_for_quick_ones() -> None:
    """They are over when the next answer is read, since nothing is read while they run: 100 of 5 ms take 0.5 s."""
    pace = Pace()
    outlook = Outlook(pace)
    now = busy(pace, 200, seconds=2.0, rounds=4)
    quick(outlook)
    assert outlook.beyond(100, now) == 0


def test_a_tenth_at_most_waits_for_a_place_besides_what_ends_in_a_round_trip() -> None:
    pace = Pace()
    now = busy(pace, 4_000)
    assert pace.soon(now, ROUND) == 4
    assert pace.ready(100, 1, now) == 10 + 4
    assert pace.ready(9, 1, now) == 2, "a quarter of the places"
    assert pace.ready(100, 4, now) == 3, "over all queues"


def test_however_quick_jobs_are_a_quarter_of_the_places_is_asked_for_before_it_is_free() -> None:
    pace = Pace()
    assert pace.ready(100, 1, busy(pace, 100_000)) == 10 + 25


def test_jobs_that_last_longer_than_a_round_trip_are_no_quarter() -> None:
    """A hundred places, jobs of 0.2 s: none of them will end while the question is on its way."""
    pace = Pace()
    now = busy(pace, 500, seconds=10.0)
    assert pace.soon(now, ROUND) == 0
    assert pace.ready(100, 1, now) in {9, 10}


def test_slow_jobs_are_left_to_whoever_has_room() -> None:
    """A hundred places, jobs of ten seconds: one held back would wait for a tenth of a second at least."""
    pace = Pace()
    now = busy(pace, 10, seconds=10.0, rounds=100)
    assert pace.ready(100, 1, now) == 0


def test_what_was_quick_is_forgotten() -> None:
    pace = Pace()
    outlook = Outlook(pace)
    now = busy(pace, 20_000)
    quick(outlook)
    assert pace.ready(100, 1, now + 2.0) == 0
    assert outlook.beyond(100, now + 2.0) == 0


@given(
    st.lists(st.tuples(st.integers(0, 500), st.floats(0.0001, 2.0)), max_size=50),
    st.lists(st.integers(0, 100), max_size=50),
    st.integers(1, 500),
)
def test_whatever_was_seen_it_stays_within_bounds(ends: list[tuple[int, float]], shares: list[int], begun: int) -> None:
    pace, now = Pace(), 0.0
    outlook = Outlook(pace)
    for count, after in ends:
        now += after
        pace.ended(count, now)
    for share in shares:
        outlook.round(100, share)
    beyond = outlook.beyond(begun, now)
    assert beyond == 0 or begun * NEARLY_ALL <= beyond <= begun
    assert 0 <= pace.ready(begun, 1, now) <= begun // 10 + begun // 4
    rate = sum(count for count, _ in ends) / 0.1
    assert beyond <= rate * MOMENT
