"""When a worker ticks."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamq._core.beat import next_beat, phase

TIMES = st.floats(0, 1e8)
PERIODS = st.floats(0.05, 60)


@given(TIMES, PERIODS, st.binary(max_size=40))
def test_a_beat_is_at_most_a_little_over_a_period_away(now: float, period: float, worker: bytes) -> None:
    wait = next_beat(now, period, phase(worker)) - now
    slack = now * 1e-12 + 1e-9
    assert 0.1 * period - slack <= wait <= 1.1 * period + slack


@given(st.floats(0, 1e6), st.lists(st.floats(0, 0.19), min_size=2, max_size=20), st.binary(max_size=40))
def test_queues_of_one_worker_beat_together_wherever_they_begin(now: float, late: list[float], worker: bytes) -> None:
    """They answer at slightly different times; in the round after the next all ask at once."""
    mine = phase(worker)
    first = next_beat(now, 2.0, mine)
    beats = {round(next_beat(first + more, 2.0, mine), 6) for more in late}
    assert beats == {round(first + 2.0, 6)}


def test_workers_beat_at_different_times() -> None:
    beats = sorted(next_beat(1000.0, 2.0, phase(b"host-%d" % number)) for number in range(100))
    assert beats[-1] - beats[0] > 1.8
    assert max(later - earlier for earlier, later in pairwise(beats)) < 0.3
