"""Batch lines: handed out in one piece, when there are enough or when it is time."""

from __future__ import annotations

import asyncio

from streamq._core.flow import Batch, Flow
from streamq._store import desk
from streamq._store.lines import held
from streamq._store.replies import Taken
from tests.store.stage import Hand, Lined, Stage, completed, released, retried


def batched(size: int, wait: int = 0, quiet: int = 0, most: int = 0, *gates: str) -> Flow:
    return Flow(gates, "b.h=1", batch=Batch(size, wait, quiet, most))


async def add(stage: Stage, flow: Flow, *jobs: str) -> None:
    assert await stage.line_up(*[Lined(job, flow) for job in jobs]) == {}


async def when_due(hand: Hand) -> tuple[list[Taken], int]:
    """Sleep until the alarm; what there is then, and how long it was."""
    offer = await hand.offered()
    assert offer.fetched.jobs == []
    await asyncio.sleep(offer.alarm_ms / 1000)
    return await hand.take(), offer.alarm_ms


async def test_enough_of_them_go_at_once(stage: Stage) -> None:
    await add(stage, batched(3, 60_000), *"abcde")
    jobs = await stage.hand().take()
    assert "".join(job.id.decode() for job in jobs) == "abc"
    leader = jobs[0].token[1:].split(b":")[0]
    assert [job.mark for job in jobs] == [b"batch", leader, leader]
    now = stage.look().lines
    assert (now.lines["b.h=1"].state, now.waiting) == ("h", ["d", "e"])


async def test_what_is_left_goes_when_its_oldest_has_waited(stage: Stage) -> None:
    await add(stage, batched(3, 40), *"ab")
    jobs, waited = await when_due(stage.hand())
    assert "".join(job.id.decode() for job in jobs) == "ab"
    assert 0 < waited <= 40


async def test_the_wait_of_the_rest_counts_from_its_own_oldest(stage: Stage) -> None:
    await add(stage, batched(3, 60_000), "a", "b")
    await asyncio.sleep(0.05)
    await add(stage, batched(3, 60_000), "c", "d")
    offer = await stage.hand().offered()
    assert len(offer.fetched.jobs) == 3
    assert offer.alarm_ms > 60_000 - 40


async def test_quiet_begins_anew_with_each_job_but_has_an_end(stage: Stage) -> None:
    flow = batched(100, 0, 60_000, 90_000)
    await add(stage, flow, "a")
    first = stage.look().lines.alarms["lb.h=1"]
    await asyncio.sleep(0.01)
    await add(stage, flow, "b")
    assert stage.look().lines.alarms["lb.h=1"] >= first + 10
    capped = batched(100, 0, 60_000, 60_000)
    await desk.cancel(stage.store, ["a", "b"], b"r", result_ms=1000, ask=True)
    await add(stage, capped, "c")
    first = stage.look().lines.alarms["lb.h=1"]
    await add(stage, capped, "d")
    assert stage.look().lines.alarms["lb.h=1"] == first


async def test_a_batch_is_one_start_and_one_slot(stage: Stage) -> None:
    await stage.set("r.x", n=1, p=60_000)
    await stage.set("k.h=1", c=1)
    await add(stage, batched(3, 60_000, 0, 0, "r.x", "k.h=1"), *"abcdef")
    hand = stage.hand()
    jobs = await hand.take()
    assert len(jobs) == 3
    now = stage.look().lines
    assert (now.gate("k.h=1").used, now.gate("r.x").log[1::2]) == (1, [1])
    records = [held(job.token) for job in jobs]
    assert [record.free for record in records if record] == [False, True, True]
    assert await hand.take() == []
    await hand.settle(*[completed(job) for job in jobs[1:]])
    assert stage.look().lines.gate("k.h=1").used == 1, "the slot is that of the first"
    await hand.settle(completed(jobs[0]))
    assert stage.look().lines.gate("k.h=1").used == 0


async def test_a_follower_gives_back_nothing(stage: Stage) -> None:
    await stage.set("r.x", n=2, p=60_000)
    await add(stage, batched(2, 60_000, 0, 0, "r.x"), *"abcd")
    hand = stage.hand()
    jobs = await hand.take()
    await hand.settle(*[released(job) for job in jobs if job.mark != b"batch"])
    assert stage.look().lines.gate("r.x").log[1::2] == [2]


async def test_failed_items_return_and_wait_for_another_batch(stage: Stage) -> None:
    await add(stage, batched(2, 60_000), *"ab")
    hand = stage.hand()
    a, b = await hand.take()
    await hand.settle(completed(a), retried(b, "+0"))
    await hand.promote()
    assert await hand.take() == []
    await add(stage, batched(2, 60_000), "c")
    assert [job.id for job in await hand.take()] == [b"b", b"c"]


async def test_better_items_first_and_the_line_in_their_lane(stage: Stage) -> None:
    flow = batched(2, 60_000)
    await stage.line_up(Lined("low", flow, "4"), Lined("plain", None, "3"))
    await stage.line_up(Lined("high", flow, "0"))
    assert [job.id for job in await stage.hand().take()] == [b"high", b"low", b"plain"]


async def test_a_paused_batch_waits_as_a_whole_and_never_exceeds_its_size(stage: Stage) -> None:
    await stage.set("h.h", x=1)
    await add(stage, batched(2, 0, 0, 0, "h.h"), *"abcde")
    hand = stage.hand()
    assert await hand.take() == []
    await stage.clear("h.h")
    jobs = await hand.take()
    assert [job.mark == b"batch" for job in jobs] == [True, False, True, False]
    assert [job.id for job in await hand.take()] == [b"e"]


async def test_who_rests_is_told_of_a_batch_that_is_held(stage: Stage) -> None:
    await add(stage, batched(9, 60_000), "a")
    assert stage.look().bell == 1
