"""The places of a worker among its queues, without a server."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamq._core.pace import Pace
from streamq._runtime.demand import Demand
from streamq._runtime.slots import Slots
from tests.worker.helpers import until


class Eater:
    """A queue that takes note of being asked."""

    def __init__(self, slots: Slots, *, in_call: bool = False) -> None:
        self.slots = slots
        self.in_call = in_call
        self.asked = 0
        slots.hunger(self, wants=True)

    def wake(self) -> bool:
        self.asked += not self.in_call
        return not self.in_call


def hurry(slots: Slots) -> None:
    now = time.monotonic()
    for _ in range(100):
        slots.pace.ended(31, now)


def _taken(jobs: list[Any], asked_at: float) -> list[Any]:
    """Take jobs that are over by the time of the next answer."""
    del asked_at
    return [SimpleNamespace(settling=True) for _ in jobs]


def fill(slots: Slots) -> None:
    for _ in range(slots.concurrency):
        slots.take()


def test_one_queue_may_have_everything() -> None:
    slots = Slots(100)
    Eater(slots)
    assert slots.share() == 100


@pytest.mark.parametrize(("queues", "share"), [(2, 50), (10, 10), (200, 1)])
def test_slow_jobs_are_shared_evenly(queues: int, share: int) -> None:
    slots = Slots(100)
    for _ in range(queues):
        Eater(slots)
    assert slots.share() == share


def test_quick_jobs_are_taken_in_larger_portions_by_turns() -> None:
    slots = Slots(100)
    for _ in range(200):
        Eater(slots)
    hurry(slots)
    assert 28 <= slots.share() <= 31, "31,000 jobs end in a second"


def test_jobs_that_are_over_at_once_are_taken_by_halves() -> None:
    slots = Slots(100)
    for _ in range(200):
        Eater(slots)
    hurry(slots)
    assert slots.share(at_once=True) == 50


async def test_a_queue_whose_jobs_are_over_at_once_asks_for_many_or_for_none() -> None:
    """A few beyond the places, as for jobs that stay there, would be a call for a few."""
    slots = Slots(100)
    other = Eater(slots)
    table: Any = SimpleNamespace(ready=0, take_all=_taken)
    demand = Demand(slots, table)
    slots.hunger(Eater(slots), wants=True)
    hurry(slots)
    for _ in range(8):
        demand.arrive([cast("Any", None)] * 50, 0.0, full=True)
        demand.land()
    demand.arrive([], 0.0, full=True)
    demand.land()
    assert demand.want(keeps_places=False) == 50
    slots.reserve(other, 60)
    assert demand.want(keeps_places=False) == 0
    slots.unreserve(60)
    fill(slots)
    assert demand.want(keeps_places=False) > 0, "places that stay taken: a few are kept ready"


async def test_quick_jobs_are_not_asked_for_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until as many are free as end in a round trip nobody asks; should the jobs turn slow meanwhile, somebody does."""
    slots = Slots(100)
    queues = [Eater(slots) for _ in range(3)]
    fill(slots)
    hurry(slots)
    slots.give()
    assert slots.share() == 0
    assert not any(one.asked for one in queues)
    monkeypatch.setattr(slots, "pace", Pace())  # nothing ended for a while
    await until(lambda: sum(one.asked for one in queues) == 1)


def test_a_free_place_goes_to_the_queue_that_asked_longest_ago() -> None:
    slots = Slots(4)
    queues = [Eater(slots) for _ in range(3)]
    fill(slots)
    for _ in range(6):
        slots.give()
        [asked] = [one for one in queues if one.asked]
        asked.asked = 0
        slots.unreserve(slots.reserve(asked, 1))
        for one in queues:
            one.asked = 0
        slots.take()
        queues = [one for one in queues if one is not asked] + [asked]
        assert list(slots._hungry)[-1] is asked  # pyright: ignore[reportPrivateUsage] - the order is what is tested


def test_a_queue_in_a_call_does_not_swallow_the_turn_of_another() -> None:
    slots = Slots(2)
    busy, idle = Eater(slots, in_call=True), Eater(slots)
    fill(slots)
    slots.give()
    assert (busy.asked, idle.asked) == (0, 1)


def test_what_waits_in_hand_goes_before_what_would_be_asked_for() -> None:
    slots = Slots(1)
    hungry, began = Eater(slots), list[str]()

    def start() -> None:
        began.append("one")
        slots.take()
        slots.line_up(start, waits=False)

    fill(slots)
    slots.line_up(start, waits=True)
    slots.give()
    assert began == ["one"]
    assert hungry.asked == 0


def test_reserved_places_are_not_promised_twice() -> None:
    slots = Slots(10)
    first, second = Eater(slots), Eater(slots)
    held = slots.reserve(first, 8)
    assert slots.share() == 1
    assert slots.reserve(second, 5) == 2, "no more than there are"
    slots.unreserve(held)
    assert slots.free == 10


def test_whoever_rests_hears_of_a_free_place_once() -> None:
    slots = Slots(1)
    told: list[str] = []

    def tell() -> None:
        told.append("free")

    fill(slots)
    slots.when_free(tell)
    slots.when_free(tell)
    slots.give()
    fill(slots)
    slots.give()
    assert told == ["free"]


def test_nobody_is_asked_who_is_satisfied() -> None:
    slots = Slots(1)
    queue = Eater(slots)
    slots.hunger(queue, wants=False)
    fill(slots)
    slots.give()
    assert queue.asked == 0
    assert slots.hungry == 0
