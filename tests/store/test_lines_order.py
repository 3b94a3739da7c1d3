"""Ordered lines: one by one, in the order they came, whatever becomes of the head."""

from __future__ import annotations

import asyncio

from streamq._core.flow import Flow
from streamq._store import desk
from streamq._store.verbs import Item
from tests.store.stage import Hand, Lined, Outcome, Stage, buried, completed, ended, parked, released, retried

ORDERED = Flow(("g:o",), "g:o", ordered=True)


async def three(stage: Stage) -> Hand:
    await stage.declare("v1", {"g": {"c": 1}})
    await stage.line_up(*[Lined(job, ORDERED) for job in "abc"])
    return stage.hand()


async def rest(hand: Hand) -> str:
    """Complete what is left, one by one; returns the ids in a row."""
    got = ""
    while jobs := await hand.take():
        [job] = jobs
        got += job.id.decode()
        await hand.settle(completed(job))
    return got


async def test_one_at_a_time(stage: Stage) -> None:
    assert await rest(await three(stage)) == "abc"
    assert not stage.look().index


async def test_a_retry_holds_the_line_and_comes_back_first(stage: Stage) -> None:
    hand = await three(stage)
    [a] = await hand.take()
    await hand.settle(retried(a, "+30"))
    offer = await hand.offered()
    assert (offer.fetched.jobs, offer.fetched.why) == ([], "empty")
    assert 0 < offer.alarm_ms <= 31
    assert stage.look().lines.lines["g:o"].state == "h"
    await asyncio.sleep(offer.alarm_ms / 1000)
    [again] = await hand.take()
    assert (again.id, again.body) == (b"a", b"again:a")
    await hand.settle(completed(again))
    assert await rest(hand) == "bc"


async def test_who_rests_is_told_of_a_line_that_is_held(stage: Stage) -> None:
    hand = await three(stage)
    [a] = await hand.take()
    stage.server.command("DEL", stage.keys.bell)
    await hand.settle(retried(a, "+60000"))
    assert stage.look().bell == 1


async def test_every_end_lets_the_next_one_go(stage: Stage) -> None:
    ends: list[Outcome] = [completed, buried, ended, parked]
    hand = stage.hand()
    await stage.declare("v1", {"g": {"c": 1}})
    for number, end in enumerate(ends):
        await stage.line_up(Lined(f"a{number}", ORDERED), Lined(f"b{number}", ORDERED))
        [head] = await hand.take()
        assert await hand.settle(end(head)) == "a"
        [after] = await hand.take()
        assert after.id == b"b%d" % number
        await hand.settle(completed(after))
    stage.look()


async def test_a_release_goes_back_to_the_head(stage: Stage) -> None:
    hand = await three(stage)
    [a] = await hand.take()
    await hand.settle(released(a))
    assert await rest(hand) == "abc"


async def test_a_cancelled_head_holds_nobody_up(stage: Stage) -> None:
    hand = await three(stage)
    [a] = await hand.take()
    await hand.settle(retried(a, "+60000"))
    stage.server.command("DEL", stage.keys.bell)
    assert await desk.cancel(stage.store, ["b"], b"r", result_ms=1000, ask=True) == "c"
    assert await hand.take() == [], "the head still has its backoff"
    assert await desk.cancel(stage.store, ["a"], b"r", result_ms=1000, ask=True) == "c"
    assert stage.look().bell == 1
    assert await rest(hand) == "c"


async def test_a_head_can_be_hurried_by_hand(stage: Stage) -> None:
    hand = await three(stage)
    [a] = await hand.take()
    await hand.settle(retried(a, "+60000"))
    assert await desk.promote(stage.store, ["a"]) == 1
    assert stage.look().bell == 1
    assert await rest(hand) == "abc"


async def test_a_head_is_hurried_past_one_that_expired(stage: Stage) -> None:
    """What expired holds no slot: it can be handed back, to its place, after the next one ran and failed."""
    await stage.declare("v1", {"g": {"c": 1}})
    await stage.line_up(Lined("old", ORDERED, expires_ms=1), Lined("next", ORDERED), Lined("last", ORDERED))
    hand = stage.hand()
    old, next_one = await hand.take()
    await hand.settle(retried(next_one, "+60000"))
    await hand.settle(Item(b"U", old.id, old.token))
    assert await hand.take() == []
    assert await desk.promote(stage.store, ["last"]) == 0
    assert await desk.promote(stage.store, ["next"]) == 1
    assert [job.id for job in await hand.take()] == [b"old", b"next"]
    stage.look()


async def test_only_the_head_is_hurried(stage: Stage) -> None:
    hand = await three(stage)
    assert await desk.promote(stage.store, ["b"]) == 0
    [a] = await hand.take()
    await hand.settle(retried(a, "+60000"))
    assert await desk.promote(stage.store, ["c"]) == 0
    assert await hand.take() == []


async def test_delayed_jobs_take_their_place_when_due(stage: Stage) -> None:
    await stage.declare("v1", {"g": {"c": 1}})
    await stage.line_up(Lined("late", ORDERED, when="+60000"), Lined("now", ORDERED))
    await desk.promote(stage.store, ["late"])
    assert stage.look().lines.of("g:o") == ["now", "late"]


async def test_a_replayed_job_goes_to_the_tail(stage: Stage) -> None:
    hand = await three(stage)
    [a] = await hand.take()
    await hand.settle(buried(a))
    assert await desk.replay(stage.store, [("a", 2, "0", b"again")]) == "a"
    assert await rest(hand) == "bca"


async def test_lines_wait_for_nobody_but_themselves(stage: Stage) -> None:
    hand = await three(stage)
    other = Flow(("g:p",), "g:p", ordered=True)
    await stage.line_up(Lined("x", other), Lined("y", other))
    jobs = await hand.take()
    assert sorted(job.id for job in jobs) == [b"a", b"x"]
    await hand.settle(*[retried(job, "+60000") for job in jobs if job.id == b"a"])
    await hand.settle(*[completed(job) for job in jobs if job.id == b"x"])
    assert [job.id for job in await hand.take()] == [b"y"]
