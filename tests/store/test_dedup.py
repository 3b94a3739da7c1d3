"""Deduplication: decided by enqueue, in the same step; settling does nothing for it."""

from __future__ import annotations

import asyncio

from streamq._core import envelope
from streamq._core.dedup import DedupPlan, Mode
from streamq._core.flow import Flow
from streamq._store import desk
from streamq._store.verbs import Item
from tests.store.stage import Lined, Outcome, Stage, buried, completed, ended, released, retried


def once(mode: Mode = "simple", ttl: int = 0, most: int = 0, *gates: str, key: str = "k", better: bool = False) -> Flow:
    line = f"d.{key}" if mode == "keep_last" else ""
    own = (*gates, line) if line else gates
    return Flow(own, line, ordered=bool(line), dedup=DedupPlan(mode, key, ttl, most, better))


def met(job: str) -> str:
    return f"met:{job.encode().hex()}"


async def add(stage: Stage, job: str, flow: Flow, lane: str = "2", when: str = "0") -> str:
    return (await stage.line_up(Lined(job, flow, lane, when))).get(0, "")


# -- simple ----------------------------------------------------------------------------------------------------------


async def test_simple_nothing_is_added_while_the_first_is_unsettled(stage: Stage) -> None:
    hand = stage.hand()
    assert await add(stage, "a", once()) == ""
    assert await add(stage, "b", once()) == met("a")
    [a] = await hand.take()
    assert await add(stage, "c", once()) == met("a")
    await hand.settle(retried(a, "+0"))
    assert await add(stage, "d", once()) == met("a")
    await hand.promote()
    [a] = await hand.take()
    await hand.settle(completed(a))
    assert await add(stage, "e", once()) == ""
    assert list(stage.look().index) == ["e"]


async def test_simple_every_end_frees_the_key(stage: Stage) -> None:
    hand = stage.hand()
    ends: list[Outcome] = [completed, buried, ended]
    for number, end in enumerate(ends):
        assert await add(stage, f"j{number}", once()) == ""
        [job] = await hand.take()
        await hand.settle(end(job))
    assert await add(stage, "cancelled", once()) == ""
    await desk.cancel(stage.store, ["cancelled"], b"r", result_ms=1000, ask=True)
    assert await add(stage, "last", once()) == ""


async def test_simple_in_one_batch_the_first_wins(stage: Stage) -> None:
    refused = await stage.line_up(*[Lined(f"j{n}", once()) for n in range(3)], Lined("other", once(key="o")))
    assert refused == {1: met("j0"), 2: met("j0")}
    assert sorted(stage.look().index) == ["j0", "other"]


async def test_a_job_with_nothing_but_a_key_is_a_plain_job(stage: Stage) -> None:
    await add(stage, "a", once())
    now = stage.look()
    assert (now.place("a"), now.index["a"][0], "flow" in now.meta) == ("waiting", "2", False)


async def test_a_better_duplicate_may_raise_the_first(stage: Stage) -> None:
    await add(stage, "a", once("simple", 0, 0, "g:x"), "3")
    await add(stage, "z", Flow(("g:z",)), "2")
    assert await add(stage, "b", once("simple", 0, 0, "g:x"), "1") == met("a")
    assert stage.look().index["a"] == "f3"
    assert await add(stage, "b", once("simple", 0, 0, "g:x", better=True), "1") == met("a")
    assert stage.look().index["a"] == "f1"
    assert await add(stage, "c", once("simple", 0, 0, "g:x", better=True), "4") == met("a")
    assert [job.id for job in await stage.hand().take()] == [b"a", b"z"]


async def test_the_first_may_be_raised_in_its_lane_until_somebody_has_it(stage: Stage) -> None:
    await add(stage, "a", once(), "3")
    await add(stage, "z", once(key="z"), "2")
    assert await add(stage, "b", once(better=True), "1") == met("a")
    now = stage.look()
    assert {lane: [entry.job for entry in now.lanes[lane]] for lane in "123"} == {"1": ["a"], "2": ["z"], "3": []}
    assert [job.id for job in await stage.hand().fetch()] == [b"a", b"z"]
    assert await add(stage, "c", once(better=True), "0") == met("a")
    assert stage.look().index["a"][0] == "1"


async def test_the_first_may_be_raised_while_it_is_delayed(stage: Stage) -> None:
    await add(stage, "a", once(), "3", "+60000")
    await add(stage, "b", once(better=True), "0")
    assert stage.look().index["a"] == "d0"


# -- throttle --------------------------------------------------------------------------------------------------------


async def test_throttle_nothing_is_added_for_its_time_ended_or_not(stage: Stage) -> None:
    flow, hand = once("throttle", 60), stage.hand()
    await add(stage, "a", flow)
    await hand.settle(*[completed(job) for job in await hand.take()])
    assert await add(stage, "b", flow) == met("a")
    await asyncio.sleep(0.065)
    assert await add(stage, "c", flow) == ""


# -- debounce --------------------------------------------------------------------------------------------------------


async def test_debounce_the_last_one_runs_once_it_is_quiet(stage: Stage) -> None:
    flow, hand = once("debounce", 60_000), stage.hand()
    assert await add(stage, "a", flow) == ""
    first = stage.look().delayed["a"]
    await asyncio.sleep(0.005)
    refused = await stage.line_up(Lined("b", flow, body=b"newest"))
    assert refused == {0: met("a")}
    now = stage.look()
    assert now.delayed["a"] > first
    assert now.bodies == {"a": b"newest"}
    await desk.promote(stage.store, ["a"])
    [job] = await hand.take()
    assert (job.id, job.body) == (b"a", b"newest")
    assert await add(stage, "c", flow) == "", "it runs already: the next one waits on its own"


async def test_debounce_waits_no_longer_than_it_may(stage: Stage) -> None:
    flow = once("debounce", 60_000, 90_000)
    await add(stage, "a", flow)
    first = stage.look().delayed["a"]
    stage.server.command("HSET", stage.keys.dedup, "k", _older(stage, "k", 80_000))
    await add(stage, "b", flow)
    # A script may look at the clock twice, and a millisecond may pass between.
    assert abs(stage.look().delayed["a"] - (first - 60_000 - 80_000 + 90_000)) <= 100


def _older(stage: Stage, key: str, ms: int) -> bytes:
    """The record of a key as if its first job had come earlier."""
    raw: bytes = stage.server.command("HGET", stage.keys.dedup, key)
    at = int.from_bytes(raw[-8:], "big")
    return raw[:-8] + (at - ms).to_bytes(8, "big")


async def test_debounce_of_a_retry_keeps_its_fence(stage: Stage) -> None:
    """Who fences by `Context.fence` elsewhere would else refuse the run that replaces the retry."""
    flow, hand = once("debounce", 1), stage.hand()
    new = envelope.encode(envelope.Envelope("send", attempts=0))
    again = envelope.encode(envelope.Envelope("send", attempts=2, hop=70_000))
    await stage.line_up(Lined("a", flow, "2", "0", 0, new))
    await asyncio.sleep(0.005)
    await hand.promote()
    [a] = await hand.take()
    await hand.settle(Item(b"r", a.id, a.token, ("+60000", 2, again, "retried")))
    for _ in range(2):
        assert (await stage.line_up(Lined("b", flow, "2", "0", 0, new))) == {0: met("a")}
        kept = envelope.decode(stage.look().bodies["a"])
        assert (kept.hop, kept.attempts, kept.name) == (70_000, 0, "send")


async def test_debounce_takes_the_gates_of_the_last_one(stage: Stage) -> None:
    await add(stage, "a", once("debounce", 60_000, 0, "r.x"))
    await add(stage, "b", once("debounce", 60_000, 0, "r.y"), "1")
    assert stage.look().lines.records["a"].gates == ("r.y",)
    await desk.promote(stage.store, ["a"])
    assert set(stage.look().lines.lines) == {"r.y"}


# -- keep last -------------------------------------------------------------------------------------------------------


async def test_keep_last_one_runs_and_the_newest_waits(stage: Stage) -> None:
    flow, hand = once("keep_last"), stage.hand()
    assert await add(stage, "a", flow) == ""
    [a] = await hand.take()
    assert await add(stage, "b", flow) == ""
    refused = await stage.line_up(Lined("c", flow, body=b"newest"))
    assert refused == {0: met("b")}
    assert await hand.take() == []
    await hand.settle(retried(a, "+0"))
    [again] = await hand.take()
    assert again.id == b"a", "retries of the one that ran come first"
    await hand.settle(completed(again))
    [last] = await hand.take()
    assert (last.id, last.body) == (b"b", b"newest")


async def test_keep_last_a_job_that_was_handed_out_is_not_replaced(stage: Stage) -> None:
    flow, hand = once("keep_last"), stage.hand()
    await add(stage, "a", flow)
    await hand.settle(*[released(job) for job in await hand.take()])
    assert await add(stage, "b", flow) == ""
    assert stage.look().lines.of("d.k") == ["a", "b"]


# -- with limits -----------------------------------------------------------------------------------------------------


async def test_a_dropped_job_takes_no_key(stage: Stage) -> None:
    await stage.set("r.x", n=1, p=60_000)
    flow = Flow(("r.x",), on_limit="drop", dedup=DedupPlan("simple", "k"))
    hand = stage.hand()
    await stage.line_up(Lined("first", Flow(("r.x",))))
    [first] = await hand.take()
    assert await add(stage, "a", flow) == f"limited:{b'r.x'.hex()}"
    assert await add(stage, "b", once()) == ""
    assert await add(stage, "c", flow) == met("b"), "it learns whom it would have met"
    await hand.settle(completed(first))


async def test_a_full_group_is_told_before_anything_else(stage: Stage) -> None:
    await stage.set("g", s=2)
    flow = once("simple", 0, 0, "g:x")
    await stage.line_up(*[Lined(f"j{n}", Flow(("g:x",))) for n in range(2)])
    assert await add(stage, "a", flow) == f"group:2/2/{b'x'.hex()}"
    assert await add(stage, "b", once()) == "", "the refused one took no key"


async def test_the_hash_grows_with_the_keys_in_use(stage: Stage) -> None:
    hand = stage.hand()
    for number in range(60):
        await add(stage, f"j{number}", once(key=f"k{number}"))
        await hand.settle(*[completed(job) for job in await hand.take()])
    assert len(stage.look().lines.dedup) < 25
