"""Rows of the table of pairs about groups, deduplication, batches, times and bounds: one test each, its sentence as
docstring."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamq import CircuitBreaker, Dedup, Fatal, Fixed, Group, Job, JobState, RateLimit, Retry, Scheduler, Snooze
from streamq.errors import ConfigError, ConflictingOptions, GroupFull, QueueFull
from tests.matrix.rig import MakeRig, Rig, Thing
from tests.worker.helpers import ended, until

LONG = 60.0
"""A period that does not pass while a test runs."""


def state_is(job: Job[Any], state: JobState) -> Any:
    async def look() -> bool:
        return await job.state() is state

    return look


async def passed(seconds: float) -> None:
    """Wait until the clock shows so much later."""
    then = datetime.now(UTC) + timedelta(seconds=seconds)
    await until(lambda: datetime.now(UTC) > then)


# -- groups -----------------------------------------------------------------------------------------


async def test_group_x_dedup(make: MakeRig) -> None:
    """The key is per queue; `scope="group"` adds the group. `full` is decided before dedup: a refused job takes no
    key."""
    rig = make(group=Group(size=2))
    work = rig.handler()
    await rig.declared()
    first = await work.with_options(group="a", dedup=Dedup("k")).enqueue(1)
    assert (await work.with_options(group="b", dedup=Dedup("k")).enqueue(2)).met == first.id
    own = [await work.with_options(group=one, dedup=Dedup("k", scope="group")).enqueue(3) for one in ("a", "b")]
    assert all(one.created for one in own)

    with pytest.raises(GroupFull):
        await work.with_options(group="a", dedup=Dedup("new")).enqueue(4)
    assert await rig.queue.dedup.get("new") is None


async def test_group_x_batch(make: MakeRig) -> None:
    """A batch never mixes groups: refused unless the batch key contains the group or is absent."""
    rig = make(group=Group())
    plain = rig.batches("plain", size=4, wait=0.05)
    keyed = rig.batches("keyed", size=4, wait=0.05, key="key")
    for n in range(8):
        await plain.with_options(group=f"g{n % 2}").enqueue(Thing(n))
    with pytest.raises(ConflictingOptions, match="a batch never mixes groups"):
        keyed.with_options(group="shop").job(Thing(1, "other"))
    await keyed.with_options(group="shop").enqueue(Thing(9, "shop/news"))
    async with rig.working():
        await until(lambda: len(rig.together) == 3)

    assert sorted(rig.together) == [[0, 2, 4, 6], [1, 3, 5, 7], [9]]


@pytest.mark.parametrize("how", ["delay", "chunks"])
async def test_group_x_delay_schedule_chunk(make: MakeRig, how: str) -> None:
    """Joins its group when due; order = due order."""
    rig = make(group=Group(concurrency=1))
    work = rig.handler().with_options(group="shop")
    if how == "delay":
        for n, delay in ((1, 0.3), (2, 0.15), (3, 0.0)):
            await rig.queue.enqueue("work", {"n": n}, group="shop", delay=delay)
    else:
        await rig.queue.enqueue_many([work.job(n) for n in (3, 2, 1)], chunk=1, every=0.1)
    async with rig.working():
        await until(lambda: len(rig.ended) == 3)

    assert rig.started == [3, 2, 1]


async def test_group_x_pause(make: MakeRig) -> None:
    """The group's jobs wait; size still counts; expiry goes on."""
    rig = make(group=Group(size=2))
    work = rig.handler().with_options(group="shop")
    await rig.queue.pause(group="shop")
    expiring = await rig.queue.enqueue("work", {"n": 1}, group="shop", expires_in=0.1)
    waiting = await work.enqueue(2)
    async with rig.working():
        await (await rig.queue.enqueue("work", {"n": 9}, group="other")).result(timeout=10)
        await rig.waits(waiting)
        with pytest.raises(GroupFull):
            await work.enqueue(3)
        await passed(0.1)
        assert await rig.queue.resume(group="shop")
        await waiting.result(timeout=10)
        await until(state_is(expiring, JobState.EXPIRED))

    assert rig.started == [9, 2]


@pytest.mark.parametrize("how", ["retry", "snooze", "release"])
async def test_ordered_group_x_retry_snooze_release(make: MakeRig, how: str) -> None:
    """The head returns to the head; the line is held for the delay."""
    rig = make(group=Group(concurrency=1))
    work = rig.handler(backoff=Fixed(0.1)).with_options(group="shop")
    if how == "retry":
        rig.fails[1] = 1
    elif how == "snooze":
        rig.raises[1] = Snooze(0.1)
    first = await work.enqueue(1, door="a" if how == "release" else "")
    second = await work.enqueue(2)
    if how == "release":
        async with rig.working():
            await rig.has_started(1)  # stopped without grace, the worker hands it back
        rig.open("a")
    async with rig.working():
        assert [await ended(first), await ended(second)] == [None, None]

    assert rig.started == [1, 1, 2]


async def test_ordered_group_x_delay(make: MakeRig) -> None:
    """Delayed jobs take their place when due, not when added."""
    rig = make(group=Group(concurrency=1))
    work = rig.handler().with_options(group="shop")
    late = await rig.queue.enqueue("work", {"n": 1}, group="shop", delay=0.15)
    async with rig.working():
        await work.enqueue(2, door="a")
        await rig.has_started(2)
        await work.enqueue(3)
        await until(state_is(late, JobState.WAITING))
        rig.open("a")
        await late.result(timeout=10)

    assert rig.started == [2, 3, 1]


@pytest.mark.parametrize("how", ["cancel", "bury", "expiry"])
async def test_ordered_group_x_cancel_bury_expiry(make: MakeRig, how: str) -> None:
    """The next one goes."""
    rig = make(group=Group(concurrency=1))
    work = rig.handler()
    options: dict[str, Any] = {"expires_in": 0.05} if how == "expiry" else {}
    head = await work.with_options(group="shop", **options).enqueue(1)
    following = await work.with_options(group="shop").enqueue(2)
    if how == "cancel":
        assert await head.cancel()
    elif how == "bury":
        rig.raises[1] = Fatal("no")
    else:
        await passed(0.06)
    async with rig.working():
        assert await following.result(timeout=10) == 2

    states = {"cancel": JobState.CANCELLED, "bury": JobState.DEAD, "expiry": JobState.EXPIRED}
    assert await head.state() is states[how]


async def test_ordered_group_x_replay(make: MakeRig) -> None:
    """Replayed from the dead letters it is appended at the tail."""
    rig = make(group=Group(concurrency=1))
    work = rig.handler().with_options(group="shop")
    rig.raises[1] = Fatal("not yet")
    dead = await work.enqueue(1)
    await work.enqueue(2, door="a")
    async with rig.working():
        await rig.has_started(2)
        await work.enqueue(3)
        await rig.queue.dlq.replay(dead.id)
        await work.enqueue(4)
        rig.open("a")
        await until(lambda: len(rig.ended) == 4)

    assert rig.started == [1, 2, 3, 1, 4]


# -- the same one -----------------------------------------------------------------------------------


async def test_dedup_x_dedup(make: MakeRig) -> None:
    """One per job: a job's own stands in place of its handler's."""
    rig = make()
    work = rig.handler(dedup=Dedup(by=("n",)))
    first = await work.enqueue(1)
    assert (await work.enqueue(1)).met == first.id
    own = await work.with_options(dedup=Dedup("mine")).enqueue(1)
    assert own.created
    assert await rig.queue.dedup.get("mine") == own.id


@pytest.mark.parametrize("mode", ["simple", "throttle"])
async def test_dedup_simple_or_throttle_x_delay_or_schedule(make: MakeRig, mode: Any) -> None:
    """Decided when added."""
    rig = make()
    work = rig.handler()
    same = Dedup("k", mode=mode, ttl=None if mode == "simple" else LONG)
    late = await work.with_options(dedup=same, delay=LONG).enqueue(1)
    met = await work.with_options(dedup=same).enqueue(2)

    assert (met.created, met.met) == (False, late.id)
    assert (await rig.queue.counts()).delayed == 1


async def test_dedup_x_schedule(make: MakeRig) -> None:
    """A tick that meets its predecessor is answered "exists", the tick counts as fired."""
    rig = make()
    scheduler = Scheduler(rig.queue)
    work = rig.handler().with_options(dedup=Dedup("k"))
    past = datetime.now(UTC) - timedelta(seconds=1)
    assert await scheduler.upsert("first", work.job(1), at=past)
    await scheduler.run(burst=True)
    assert await scheduler.upsert("second", work.job(2), at=past)
    await scheduler.run(burst=True)

    assert (await rig.queue.counts()).waiting == 1
    assert [one.count for one in await scheduler.list()] == [1, 1]


@pytest.mark.parametrize("option", ["delay", "at"])
async def test_debounce_x_delay_or_at(make: MakeRig, option: str) -> None:
    """Refused (debounce is the delay)."""
    work = make().handler()
    when: Any = 5 if option == "delay" else datetime.now(UTC)

    with pytest.raises(ConflictingOptions, match=f"debounce and {option} cannot be combined: debounce sets the delay"):
        work.with_options(dedup=Dedup("k", mode="debounce", ttl=1), **{option: when}).job(1)


@pytest.mark.parametrize("mode", ["debounce", "keep_last"])
async def test_debounce_or_keep_last_x_batch(make: MakeRig, mode: Any) -> None:
    """Refused: use `quiet=` of the batch handler."""
    rig = make()
    work = rig.batches(size=2, wait=1)
    same = Dedup("k", mode=mode, ttl=1 if mode == "debounce" else None)

    with pytest.raises(ConflictingOptions, match=f"{mode} and batch cannot be combined"):
        work.with_options(dedup=same).job(Thing(1))
    with pytest.raises(ConflictingOptions, match=f"{mode} and batch cannot be combined"):
        rig.batches("other", size=2, wait=1, dedup=same)


async def test_keep_last_x_group(make: MakeRig) -> None:
    """Gates of the group stay, line = the key; with an ordered group refused unless key = group."""
    rig = make(group=Group(concurrency=2))
    work = rig.handler().with_options(group="shop", dedup=Dedup("k", mode="keep_last"))
    job = await work.enqueue(1)
    told = await rig.queue.explain(job.id)
    assert (told.line, [one.gate for one in told.gates]) == ("d.k", ["g:shop", "d.k"])

    ordered = make(group=Group(concurrency=1)).handler().with_options
    with pytest.raises(ConflictingOptions, match="keep_last with key 'k' and the ordered group 'shop'"):
        ordered(group="shop", dedup=Dedup("k", mode="keep_last")).job(1)
    ordered(group="shop", dedup=Dedup("shop", mode="keep_last")).job(1)


async def test_dedup_x_retry(make: MakeRig) -> None:
    """Unsettled all through the retries."""
    rig = make()
    work = rig.handler(backoff=Fixed(0.1)).with_options(dedup=Dedup("k"))
    rig.fails[1] = 2
    async with rig.working():
        job = await work.enqueue(1)
        for attempt in (1, 2):
            await until(lambda attempt=attempt: len(rig.started) == attempt)  # type: ignore[misc]  # a lambda with a default
            assert (await work.enqueue(2)).met == job.id
        await job.result(timeout=10)
        assert (await work.enqueue(3)).created


@pytest.mark.parametrize("how", ["cancel", "remove", "expiry", "bury"])
@pytest.mark.parametrize("mode", ["simple", "throttle"])
async def test_dedup_x_cancel_remove_expiry_bury(make: MakeRig, how: str, mode: Any) -> None:
    """Leaves the index, so the key is free at once (throttle: at its time)."""
    rig = make()
    handler = rig.handler()
    same = Dedup("k", mode=mode, ttl=None if mode == "simple" else LONG)
    options: dict[str, Any] = {"expires_in": 0.03} if how == "expiry" else {}
    rig.raises[1] = Fatal("no")
    job = await handler.with_options(dedup=same, **options).enqueue(1)
    if how == "cancel":
        await job.cancel()
    elif how == "remove":
        await job.remove()
    else:
        await passed(0.04)
        async with rig.working():
            await ended(job)

    again = await handler.with_options(dedup=same).enqueue(2)
    assert (again.created, again.met) == ((True, None) if mode == "simple" else (False, job.id))


async def test_dedup_x_custom_job_id(make: MakeRig) -> None:
    """Both checked, id first."""
    rig = make()
    work = rig.handler()
    first = await work.with_options(job_id="one", dedup=Dedup("k")).enqueue(1)
    known = await work.with_options(job_id="one", dedup=Dedup("other")).enqueue(2)
    assert (known.created, known.met, known.id) == (False, None, "one")
    assert await rig.queue.dedup.get("other") is None
    assert (await work.with_options(job_id="two", dedup=Dedup("k")).enqueue(3)).met == first.id


@pytest.mark.parametrize("mode", ["simple", "throttle", "debounce", "keep_last"])
async def test_dedup_x_enqueue_many(make: MakeRig, mode: Any) -> None:
    """Each answers for itself; several of one key in a call: the first wins (debounce, keep_last: the last)."""
    rig = make()
    ttl = {"throttle": LONG, "debounce": 0.05}.get(mode)
    work = rig.handler().with_options(dedup=Dedup("k", mode=mode, ttl=ttl))
    jobs = await rig.queue.enqueue_many([work.job(n) for n in (1, 2, 3)])
    assert [one.created for one in jobs] == [True, False, False]
    assert {one.id for one in jobs} == {jobs[0].id}
    async with rig.working():
        assert await jobs[0].result(timeout=10) == (1 if mode in {"simple", "throttle"} else 3)


# -- batches ----------------------------------------------------------------------------------------


async def test_batch_x_expiry(make: MakeRig) -> None:
    """Expired items are dropped from the batch before it is formed."""
    rig = make()
    work = rig.batches(size=3, wait=LONG)
    first = await work.with_options(expires_in=0.03).enqueue(Thing(1))
    await work.enqueue(Thing(2))
    await passed(0.05)
    await work.enqueue(Thing(3))
    async with rig.working():
        await until(lambda: rig.together)
        await until(state_is(first, JobState.EXPIRED))

    assert rig.together == [[2, 3]]


async def test_batch_x_retry(make: MakeRig) -> None:
    """Failed items return to the line and wait for a later batch."""
    rig = make()
    work = rig.batches(size=2, wait=LONG)
    rig.fails[1] = 1
    jobs = [await work.enqueue(Thing(n)) for n in (1, 2)]
    async with rig.working():
        assert await ended(jobs[1]) is None
        jobs.append(await work.enqueue(Thing(3)))
        assert [await ended(one) for one in jobs] == [None] * 3

    assert [sorted(one) for one in rig.together] == [[1, 2], [1, 3]]


async def test_batch_x_waiting_time(make: MakeRig) -> None:
    """`wait` counts from the oldest item."""
    rig = make()
    work = rig.batches(size=100, wait=0.3)
    began = asyncio.get_running_loop().time()
    async with rig.working():
        for n in range(4):
            await work.enqueue(Thing(n))
            await passed(0.08)
        await until(lambda: rig.together)
        took = asyncio.get_running_loop().time() - began

    assert rig.together[0] == [0, 1, 2, 3]
    assert took >= 0.3


async def test_batch_begins_on_time_where_workers_rest(make: MakeRig) -> None:
    """Nobody asked for the alarm of a batch that begins to wait while workers rest: the bell tells one."""
    rig = make()
    work = rig.batches(size=100, wait=0.05)
    async with rig.working():
        for n in range(6):
            await rig.is_resting()
            await work.enqueue(Thing(n))
            sent = asyncio.get_running_loop().time()
            await until(lambda n=n: len(rig.together) > n)  # type: ignore[misc]  # a lambda with a default
            assert asyncio.get_running_loop().time() - sent < 0.7


async def test_batch_x_delay(make: MakeRig) -> None:
    """An item joins its batch when due."""
    rig = make()
    work = rig.batches(size=2, wait=LONG)
    await work.with_options(delay=0.2).enqueue(Thing(1))
    await work.enqueue(Thing(2))
    async with rig.working():
        await rig.is_resting()
        assert rig.together == []
        await until(lambda: rig.together)

    assert rig.together == [[2, 1]]


@pytest.mark.parametrize("how", ["pause", "block"])
async def test_batch_x_pause_or_block(make: MakeRig, how: str) -> None:
    """The line parks; `size` may be exceeded in waiting, never in a batch."""
    rig = make()
    work = rig.batches(size=2, wait=0.05)
    block = await rig.queue.block(name="work") if how == "block" else None
    if block is None:
        await rig.queue.pause(handler="work")
    jobs = [await work.enqueue(Thing(n)) for n in range(5)]
    async with rig.working():
        await rig.is_resting()
        assert (rig.together, (await rig.queue.counts()).waiting) == ([], 5)
        assert await (block.release() if block is not None else rig.queue.resume(handler="work"))
        assert [await ended(one) for one in jobs] == [None] * 5

    assert max(map(len, rig.together)) == 2


# -- times ------------------------------------------------------------------------------------------


async def test_expiry_x_delay(make: MakeRig) -> None:
    """`expires_in` counts from the enqueue; due after expiry is refused."""
    rig = make()
    work = rig.handler()
    with pytest.raises(ConfigError, match="is not longer than delay, so the job could never start"):
        work.with_options(delay=1, expires_in=1)
    job = await work.with_options(delay=0.05, expires_in=0.1).enqueue(1)
    await passed(0.12)
    async with rig.working():
        await until(state_is(job, JobState.EXPIRED))

    assert rig.started == []


@pytest.mark.parametrize("how", ["retry", "pause", "block"])
async def test_expiry_x_retry_pause_block(make: MakeRig, how: str) -> None:
    """Time goes on; ends as expired at the next touch."""
    rig = make()
    work = rig.handler().with_options(expires_in=1.5)
    block = await rig.queue.block(name="work") if how == "block" else None
    if how == "pause":
        await rig.queue.pause(handler="work")
    if how == "retry":
        rig.raises[1] = Retry(after=1.6)
    job = await work.enqueue(1)
    async with rig.working():
        if how != "retry":
            await rig.waits(job)
            await passed(1.5)
            assert await (block.release() if block is not None else rig.queue.resume(handler="work"))
        await until(state_is(job, JobState.EXPIRED))

    assert rig.started == ([1] if how == "retry" else [])


@pytest.mark.parametrize("how", ["pause", "pause queue", "block"])
async def test_pause_or_block_x_running(make: MakeRig, how: str) -> None:
    """What runs finishes."""
    rig = make()
    work = rig.handler()
    async with rig.working():
        job = await work.enqueue(1, door="a")
        await rig.has_started(1)
        if how == "block":
            await rig.queue.block(name="work")
        else:
            await rig.queue.pause(handler="work" if how == "pause" else None)
        rig.open("a")
        assert await job.result(timeout=10) == 1


async def test_pause_x_schedule(make: MakeRig) -> None:
    """Ticks fire into the queue and wait; to stop ticks pause the schedule."""
    rig = make()
    scheduler = Scheduler(rig.queue)
    work = rig.handler()
    await rig.queue.pause(handler="work")
    await scheduler.upsert("tick", work.job(1), every=0.1)
    async with rig.working(scheduler=scheduler):
        await until(waiting_at_least(rig, 2))
        assert await scheduler.pause("tick")
        assert rig.started == []
        assert await rig.queue.resume(handler="work")
        await until(lambda: len(rig.ended) >= 2)


def waiting_at_least(rig: Rig, count: int) -> Any:
    async def look() -> bool:
        return (await rig.queue.counts()).waiting >= count

    return look


async def test_block_x_dedup(make: MakeRig) -> None:
    """A held job is unsettled and keeps its key."""
    rig = make()
    work = rig.handler().with_options(dedup=Dedup("k"))
    block = await rig.queue.block(name="work")
    job = await work.enqueue(1)
    async with rig.working():
        await rig.waits(job)
        assert (await work.enqueue(2)).met == job.id
        await block.release()
        await job.result(timeout=10)
        assert (await work.enqueue(3)).created


@pytest.mark.parametrize("what", ["max_pending", "group"])
async def test_schedule_x_max_pending_or_full_group(make: MakeRig, what: str) -> None:
    """The tick is refused; misfire policy applies to it."""
    rig = make(**({"max_pending": 1} if what == "max_pending" else {"group": Group(size=1)}))
    scheduler = Scheduler(rig.queue)
    options: dict[str, Any] = {"group": "shop"} if what == "group" else {}
    work = rig.handler().with_options(**options)
    await rig.declared()
    await work.enqueue(1)
    await scheduler.upsert("tick", work.job(2), at=datetime.now(UTC) - timedelta(seconds=1))
    await scheduler.run(burst=True)
    assert [one.count for one in await scheduler.list()] == [0]
    async with rig.working():
        await rig.has_started(1)
        await until(lambda: rig.ended == [1])
        await scheduler.run(burst=True)
        await rig.has_started(2)


# -- bounds and the rest ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["delay", "group", "dedup", "batch", "block"])
async def test_max_pending_x_delay_group_dedup_batch_block(make: MakeRig, how: str) -> None:
    """Counts every unsettled job wherever it waits; a duplicate of a known id is answered first; a dedup hit on a full
    queue is refused (back-pressure wins)."""
    rig = make(max_pending=2)
    work = rig.batches(size=10, wait=LONG) if how == "batch" else rig.handler()
    if how == "block":
        await rig.queue.block(name="work")
    kinds: dict[str, dict[str, Any]] = {"delay": {"delay": LONG}, "group": {"group": "shop"}}
    options = kinds.get(how, {})

    async def add(n: int, **more: Any) -> Job[Any]:
        return await work.with_options(**options, **more).enqueue(Thing(n) if how == "batch" else n)

    await add(1, job_id="one")
    await add(2, dedup=Dedup("k"))
    with pytest.raises(QueueFull):
        await add(3)
    assert not (await add(4, job_id="one")).created
    with pytest.raises(QueueFull):
        await add(5, dedup=Dedup("k"))


async def test_circuit_breaker_x_dedup_and_expiry(make: MakeRig) -> None:
    """Is a gate, so every rule for rate applies; dedup keys stay held, expiry goes on."""
    rig = make()
    breaker = CircuitBreaker("provider", open_for=LONG, handlers=("work",))
    rig.queue.use(breaker)
    work = rig.handler(rate_limit=RateLimit(1, per=LONG))
    await breaker.open(rig.queue)
    job = await work.with_options(dedup=Dedup("k")).enqueue(1)
    expiring = await work.with_options(expires_in=0.1).enqueue(2)
    async with rig.working():
        await rig.waits(job)
        assert (await work.with_options(dedup=Dedup("k")).enqueue(3)).met == job.id
        await passed(0.1)
        assert await breaker.close(rig.queue)
        assert await job.result(timeout=10) == 1
        await until(state_is(expiring, JobState.EXPIRED))
        gates = {one.gate: one.used for one in await rig.queue.limits.list()}

    assert rig.started == [1]
    assert gates["h.work"] == 0


@pytest.mark.parametrize("place", ["line", "parked line", "ordered", "delayed", "batch", "blocked"])
async def test_cancel_x_any_waiting_place(make: MakeRig, place: str) -> None:
    """Removed from where the index says; slots and tokens untouched."""
    rig = make(group=Group(concurrency=1 if place == "ordered" else None))
    options: dict[str, Any] = {"concurrency": 1} if place == "parked line" else {}
    work = rig.batches(size=10, wait=LONG) if place == "batch" else rig.handler(**options)
    more: dict[str, Any] = {"group": "shop"} if place in {"line", "ordered"} else {}
    if place == "delayed":
        more = {"delay": LONG}
    block = await rig.queue.block(name="work") if place == "blocked" else None
    async with rig.working():
        if place in {"parked line", "ordered"}:
            await rig.queue.enqueue("work", {"n": 1, "door": "a"}, **more)
            await rig.has_started(1)
        elif place == "line":
            await rig.queue.pause()
        job = await work.with_options(**more).enqueue(Thing(2) if place == "batch" else 2)
        if place not in {"line", "delayed"}:
            await rig.waits(job)
        assert await job.cancel()
        assert await job.state() is JobState.CANCELLED
        if block is not None:
            await block.release()
        await rig.queue.resume()
        rig.open("a")
        if place != "batch":  # whoever comes next is not held up
            more.pop("delay", None)
            assert await (await rig.queue.enqueue("work", {"n": 3}, **more)).result(timeout=10) == 3
        assert [one for one in await rig.queue.limits.list() if one.used or one.waiting] == []

    assert 2 not in rig.started
