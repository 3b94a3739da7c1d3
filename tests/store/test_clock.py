"""The server's clock by its answers: late and cut to whole milliseconds, never ahead."""

from __future__ import annotations

import pytest

from streamq._store import clock as _clock
from streamq._store.clock import JUMP_MS, WINDOW_MS, ServerClock

OFFSET = 1_790_000_000_000.0


class Own:
    """Our own clocks, set by hand; ms."""

    def __init__(self) -> None:
        self.ms = 5_000_000.0

    def monotonic(self) -> float:
        return self.ms / 1000

    def time(self) -> float:
        return (self.ms + OFFSET + 90_000) / 1000  # a wall clock that is wrong


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Own:
    found = Own()
    monkeypatch.setattr(_clock, "time", found)
    return found


def answer(own: Own, clock: ServerClock, *, way: float, offset: float = OFFSET) -> float:
    """Let an answer arrive that was ``way`` ms on its way."""
    return clock.heard(int(own.ms - way + offset))


def test_until_heard_it_is_the_wall_clock(own: Own) -> None:
    assert abs(ServerClock().now_ms() - (own.ms + OFFSET + 90_000)) <= 1


def test_the_first_answer_counts_even_if_it_is_behind(own: Own) -> None:
    clock = ServerClock()
    assert answer(own, clock, way=3) == 0, "that our own clock is wrong is no move of the server's"
    assert abs(clock.now_ms() - (own.ms + OFFSET)) <= 5


def test_the_quickest_answer_counts(own: Own) -> None:
    clock = ServerClock()
    for way in (40.0, 0.2, 12.0, 80.0):
        own.ms += 100.25
        answer(own, clock, way=way)
    due = own.ms + OFFSET + 1000
    error = clock.monotonic(int(due)) * 1000 - (own.ms + 1000)
    assert -1 <= error <= 1.3, "a millisecond for the cut, and the way of the quickest"


def test_it_is_never_ahead(own: Own) -> None:
    clock = ServerClock()
    for step in range(200):
        own.ms += 7.3
        answer(own, clock, way=step % 11)
        assert clock.now_ms() <= own.ms + OFFSET


def test_a_clock_set_back_is_believed_at_once_and_drift_within_two_windows(own: Own) -> None:
    clock = ServerClock()
    answer(own, clock, way=1)
    assert answer(own, clock, way=1, offset=OFFSET - 5000) == -5000
    assert abs(clock.now_ms() - (own.ms + OFFSET - 5000)) <= 2
    slower = OFFSET - 5000 - JUMP_MS / 2
    for _ in range(5):
        own.ms += WINDOW_MS / 2
        answer(own, clock, way=1, offset=slower)
    assert abs(clock.now_ms() - (own.ms + slower)) <= 2


def test_a_clock_set_forward_is_believed_at_once(own: Own) -> None:
    clock = ServerClock()
    answer(own, clock, way=1)
    assert answer(own, clock, way=1, offset=OFFSET + 60_000) == 60_000
    assert abs(clock.now_ms() - (own.ms + OFFSET + 60_000)) <= 2
