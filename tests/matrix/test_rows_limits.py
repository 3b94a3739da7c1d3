"""Rows of the table of pairs about priorities, rates and places: one test each, its sentence as docstring."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamq import Dedup, Fixed, Group, JobState, Priority, RateLimit, RateLimited, Scheduler
from streamq.errors import ConflictingOptions
from tests.matrix.rig import MakeRig, Thing
from tests.worker.helpers import ended, until

LONG = 60.0
"""A period that does not pass while a test runs."""


# -- priority ---------------------------------------------------------------------------------------


async def test_priority_x_rate_or_concurrency(make: MakeRig) -> None:
    """A better lane is served first at the gate and may pass those parked there; it cannot pass the limit."""
    rig = make()
    work = rig.handler(concurrency=1)
    async with rig.working():
        await work.enqueue(1, door="a")
        await rig.has_started(1)
        waiting = [await work.enqueue(2), await work.enqueue(3)]
        await rig.waits(*waiting)
        high = await work.with_options(priority=Priority.HIGH).enqueue(4)
        await rig.waits(high, *waiting)
        rig.open("a")
        for job in waiting:
            await job.result(timeout=10)

    assert rig.started == [1, 4, 2, 3]


async def test_priority_x_group(make: MakeRig) -> None:
    """Lanes first, fairness inside a lane: a CRITICAL job of a hog precedes a NORMAL one of another group."""
    rig = make(group=Group())
    work = rig.handler()
    for n in (1, 2, 3):
        await work.with_options(group="hog").enqueue(n)
    await work.with_options(group="light").enqueue(4)
    last = await work.with_options(group="hog", priority=Priority.CRITICAL).enqueue(5)
    async with rig.working(concurrency=1):
        await until(lambda: len(rig.ended) == 5)

    assert await last.state() is JobState.COMPLETED
    assert rig.started[0] == 5
    assert 4 in rig.started[1:3]


@pytest.mark.parametrize("kind", ["group", "keep_last"])
async def test_priority_x_ordered_group_or_keep_last(make: MakeRig, kind: str) -> None:
    """One priority per line, set by the first job; another is refused."""
    rig = make(group=Group(concurrency=1) if kind == "group" else None)
    options: dict[str, Any] = {"group": "shop"} if kind == "group" else {"dedup": Dedup("shop", mode="keep_last")}
    work = rig.handler().with_options(**options)
    await work.enqueue(1)

    with pytest.raises(ConflictingOptions) as caught:
        await rig.queue.enqueue("work", {"n": 2}, priority=Priority.HIGH, **options)

    assert "'shop' is ordered" in str(caught.value)
    assert "its line runs at NORMAL; priority=HIGH would break the order." in str(caught.value)
    assert (await rig.queue.counts()).waiting == 1


@pytest.mark.parametrize("mode", ["simple", "throttle"])
async def test_priority_x_dedup_simple_or_throttle(make: MakeRig, mode: Any) -> None:
    """The first job's priority stays. `replace_priority=True` raises it."""
    rig = make()
    work = rig.handler()
    ttl = None if mode == "simple" else LONG
    keep, replace = Dedup("k", mode=mode, ttl=ttl), Dedup("k", mode=mode, ttl=ttl, replace_priority=True)
    job = await work.with_options(dedup=keep, group="g").enqueue(1)

    await work.with_options(dedup=keep, group="g", priority=Priority.HIGH).enqueue(2)
    assert (await job.info()).priority is Priority.NORMAL
    met = await work.with_options(dedup=replace, group="g", priority=Priority.HIGH).enqueue(3)
    assert met.met == job.id
    assert (await job.info()).priority is Priority.HIGH
    await work.with_options(dedup=replace, group="g", priority=Priority.LOW).enqueue(4)
    assert (await job.info()).priority is Priority.HIGH


async def test_priority_x_debounce(make: MakeRig) -> None:
    """Debounce: the last add wins."""
    rig = make()
    work = rig.handler()
    same = Dedup("k", mode="debounce", ttl=LONG)
    job = await work.with_options(dedup=same, priority=Priority.HIGH).enqueue(1)
    await work.with_options(dedup=same, priority=Priority.LOW).enqueue(2)

    info = await job.info()
    assert (info.priority, info.args) == (Priority.LOW, {"n": 2})


async def test_priority_x_batch(make: MakeRig) -> None:
    """Batch: best lane of its items, items by lane."""
    rig = make()
    work = rig.batches(size=3, wait=LONG)
    for n, priority in ((1, Priority.LOW), (2, Priority.NORMAL), (3, Priority.HIGH)):
        await work.with_options(priority=priority).enqueue(Thing(n))
    async with rig.working():
        await until(lambda: rig.together)

    assert rig.together == [[3, 2, 1]]


async def test_priority_x_queue_gate(make: MakeRig) -> None:
    """Lanes are walked in order within the allowance."""
    rig = make(global_concurrency=1)
    work = rig.handler()
    for n, priority in ((1, Priority.LOW), (2, Priority.NORMAL), (3, Priority.HIGH)):
        await work.with_options(priority=priority).enqueue(n)
    async with rig.working():
        await until(lambda: len(rig.ended) == 3)

    assert rig.started == [3, 2, 1]


@pytest.mark.parametrize("how", ["delay", "schedule", "expiry", "pause", "block"])
async def test_priority_x_delay_schedule_expiry_pause_block(make: MakeRig, how: str) -> None:
    """The lane is kept and matters from the moment the job waits."""
    rig = make()
    work = rig.handler()
    kinds: dict[str, dict[str, Any]] = {"delay": {"delay": 0.05}, "expiry": {"expires_in": 60}}
    options = kinds.get(how, {})
    scheduler = Scheduler(rig.queue)
    if how == "pause":
        await rig.queue.pause(handler="work")
    block = await rig.queue.block(name="work") if how == "block" else None
    for n, priority in ((1, Priority.LOW), (2, Priority.HIGH)):
        bound = work.with_options(priority=priority, **options)
        if how == "schedule":
            await scheduler.upsert(f"s{n}", bound.job(n), at=datetime.now(UTC) - timedelta(seconds=1))
        else:
            await bound.enqueue(n)
    if how == "schedule":
        await scheduler.run(burst=True)
    if how == "delay":
        await rig.queue.pause()
        await until_due(rig.queue)
        await rig.queue.resume()
    async with rig.working(concurrency=1):
        if block is not None or how == "pause":
            await rig.is_resting()
            assert rig.started == []
            assert await (block.release() if block is not None else rig.queue.resume(handler="work"))
        await until(lambda: len(rig.ended) == 2)

    assert rig.started == [2, 1]


async def until_due(queue: Any) -> None:
    async def due() -> bool:
        counts = await queue.counts()
        return bool(counts.due == counts.delayed)

    await until(due)


# -- rate -------------------------------------------------------------------------------------------


async def test_rate_x_rate(make: MakeRig) -> None:
    """All must have tokens; taken together."""
    rig = make(rate_limit=RateLimit(100, per=LONG), limits={"provider": RateLimit(5, per=LONG)})
    work = rig.handler(rate_limit=RateLimit(2, per=LONG))
    jobs = [await work.with_options(rate_key="provider").enqueue(n) for n in range(4)]
    async with rig.working():
        await rig.has_started(0, 1)
        await rig.waits(jobs[2])
        told = await rig.explain(jobs[2])
        gates = {one.gate: one.text for one in (await rig.queue.explain(jobs[2].id)).gates}

    assert rig.started == [0, 1]
    assert "parked at h.work" in told
    assert "2/5 starts" in gates["r.provider"], gates


async def test_rate_x_concurrency(make: MakeRig) -> None:
    """A token only when the slot is free too: no token is lost waiting for a slot."""
    rig = make()
    work = rig.handler(concurrency=1, rate_limit=RateLimit(5, per=LONG))
    async with rig.working():
        await work.enqueue(1, door="a")
        await rig.has_started(1)
        waiting = await work.enqueue(2)
        await rig.waits(waiting)
        gates = {one.gate: one.text for one in (await rig.queue.explain(waiting.id)).gates}
        rig.open("a")
        await waiting.result(timeout=10)

    assert "1/1 running, 1/5 starts" in gates["h.work"], gates


async def test_rate_x_group(make: MakeRig) -> None:
    """The limited line parks; other lines of the group go on. The group's own rate: the whole group parks."""
    rig = make(group=Group(rate=RateLimit(3, per=LONG)), limits={"provider": RateLimit(1, per=LONG)})
    work = rig.handler().with_options(group="shop")
    jobs = [await rig.queue.enqueue("work", {"n": n}, group="shop", rate_key="provider") for n in range(2)]
    jobs += [await work.enqueue(n) for n in (2, 3)]
    last = await work.enqueue(4)
    async with rig.working():
        await rig.has_started(0, 2, 3)
        await rig.waits(jobs[1], last)
        assert "parked at" in await rig.explain(last)
        other = await rig.queue.enqueue("work", {"n": 9}, group="other")
        await other.result(timeout=10)

    assert sorted(rig.started) == [0, 2, 3, 9]


async def test_rate_x_ordered_group(make: MakeRig) -> None:
    """The group waits for its head (that is what order means)."""
    rig = make(group=Group(concurrency=1), limits={"provider": RateLimit(1, per=LONG)})
    work = rig.handler()
    await work.with_options(group="shop", rate_key="provider").enqueue(1)
    head = await work.with_options(group="shop", rate_key="provider").enqueue(2)
    behind = await work.with_options(group="shop").enqueue(3)
    async with rig.working():
        await rig.has_started(1)
        await rig.waits(head, behind)
        assert await rig.queue.limits.set("r.provider", rate=None)
        await behind.result(timeout=10)

    assert rig.started == [1, 2, 3]


async def test_rate_x_dedup(make: MakeRig) -> None:
    """Only created jobs spend; `on_limit="drop"` is decided after dedup, and a dropped job does not take the key."""
    rig = make()
    work = rig.handler(rate_limit=RateLimit(2, per=0.5), on_limit="drop")
    first = await work.with_options(dedup=Dedup("a")).enqueue(1, door="a")
    async with rig.working():
        await rig.has_started(1)
        met = [await work.with_options(dedup=Dedup("a")).enqueue(n) for n in range(2, 7)]
        assert {one.met for one in met} == {first.id}
        assert (await work.enqueue(7)).created
        await rig.has_started(7)
        dropped = await work.with_options(dedup=Dedup("b")).enqueue(8)
        assert (dropped.created, dropped.refused) == (False, "limited")
        assert await rig.queue.dedup.get("b") is None
        assert (await work.with_options(dedup=Dedup("a")).enqueue(9)).met == first.id
        rig.open("a")
        await first.result(timeout=10)


async def test_rate_x_batch(make: MakeRig) -> None:
    """One token per batch."""
    rig = make()
    work = rig.batches(size=4, wait=LONG, rate_limit=RateLimit(2, per=LONG))
    jobs = [await work.enqueue(Thing(n)) for n in range(12)]
    async with rig.working():
        await until(lambda: len(rig.together) == 2)
        await rig.waits(*jobs[8:])

    assert rig.together == [[0, 1, 2, 3], [4, 5, 6, 7]]


async def test_rate_x_retry(make: MakeRig) -> None:
    """Every start spends again; `RateLimited` and a release before the start keep the attempt."""
    rig = make()
    work = rig.handler(rate_limit=RateLimit(4, per=LONG))
    rig.fails[1] = 2
    rig.raises[2] = RateLimited(after=0.01)
    async with rig.working():
        await (await work.enqueue(1)).result(timeout=10)
        job = await work.enqueue(2)
        await rig.has_started(2)
        await rig.waits(job)
        info = await job.info()
        assert info.attempts == 0
        assert "4/4 starts" in await rig.explain(job)

    assert rig.started == [1, 1, 1, 2]


async def test_rate_x_delay_or_schedule(make: MakeRig) -> None:
    """Tokens are taken at the start, never reserved ahead."""
    rig = make()
    work = rig.handler(rate_limit=RateLimit(1, per=LONG))
    late = await work.with_options(delay=0.2).enqueue(1)
    async with rig.working():
        now = await work.enqueue(2)
        await now.result(timeout=10)
        await until(late_is(late, JobState.WAITING))
        await rig.waits(late)

    assert rig.started == [2]


def late_is(job: Any, state: JobState) -> Any:
    async def look() -> bool:
        return bool(await job.state() is state)

    return look


async def test_rate_x_expiry(make: MakeRig) -> None:
    """Expired in line: no token."""
    rig = make()
    work = rig.handler(rate_limit=RateLimit(1, per=LONG))
    expiring = await work.with_options(expires_in=0.02).enqueue(1)
    expires = later(0.05)
    await until(lambda: datetime.now(UTC) > expires)
    last = await work.enqueue(2)
    async with rig.working():
        await last.result(timeout=10)
        await until(late_is(expiring, JobState.EXPIRED))

    assert rig.started == [2]


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


# -- places -----------------------------------------------------------------------------------------


async def test_concurrency_x_concurrency(make: MakeRig) -> None:
    """All or none, so no deadlock by lock order."""
    rig = make()
    work = rig.handler(concurrency=2, concurrency_key="key", key_concurrency=1)
    async with rig.working():
        await work.enqueue(1, "a", door="a")
        await rig.has_started(1)
        waiting = await work.enqueue(2, "a")
        await rig.waits(waiting)
        # The second place of the handler is free: who waits for the key holds nothing.
        await (await work.enqueue(3, "b")).result(timeout=10)
        rig.open("a")
        await waiting.result(timeout=10)

    assert rig.started == [1, 3, 2]


async def test_concurrency_x_group(make: MakeRig) -> None:
    """Both; the per-key limit does not hold up the group's other lines."""
    rig = make(group=Group(concurrency=2))
    work = rig.handler(concurrency_key="key", key_concurrency=1).with_options(group="shop")
    async with rig.working():
        await work.enqueue(1, "a", door="a")
        await rig.has_started(1)
        same = await work.enqueue(2, "a")
        await (await work.enqueue(3, "b", door="b")).state()
        await rig.has_started(3)
        third = await work.enqueue(4, "c")
        await rig.waits(same, third)
        rig.open("b")
        await third.result(timeout=10)
        rig.open("a")
        await same.result(timeout=10)

    assert rig.started == [1, 3, 4, 2]


async def test_concurrency_key_x_ordered_group(make: MakeRig) -> None:
    """Refused unless the key is the group."""
    rig = make(group=Group(concurrency=1))
    work = rig.handler(concurrency_key="key").with_options(group="shop")

    with pytest.raises(ConflictingOptions, match="concurrency_key 'contact' and the ordered group 'shop'"):
        work.job(1, "contact")
    job = await work.enqueue(2, "shop")
    async with rig.working():
        await job.result(timeout=10)


async def test_concurrency_x_dedup(make: MakeRig) -> None:
    """Independent: simple = one unsettled, concurrency 1 = one running."""
    rig = make()
    work = rig.handler(concurrency=1)
    async with rig.working():
        first = await work.with_options(dedup=Dedup("a")).enqueue(1, door="a")
        await rig.has_started(1)
        assert (await work.with_options(dedup=Dedup("a")).enqueue(2)).met == first.id
        other = await work.with_options(dedup=Dedup("b")).enqueue(3)
        assert other.created
        await rig.waits(other)
        rig.open("a")
        await other.result(timeout=10)

    assert rig.started == [1, 3]


async def test_concurrency_x_batch(make: MakeRig) -> None:
    """A batch is one slot; per-key concurrency needs `batch key` = that key, else refused."""
    rig = make()
    with pytest.raises(ConflictingOptions, match="unless the batch has the same key"):
        rig.batches("other", size=2, wait=1, key="n", concurrency_key="key")
    work = rig.batches(size=3, wait=LONG, key="key", concurrency_key="key", key_concurrency=1)
    for n in range(6):
        await work.enqueue(Thing(n, "a"))
    async with rig.working():
        await until(lambda: len(rig.together) == 2)

    assert rig.together == [[0, 1, 2], [3, 4, 5]]


async def test_concurrency_x_retry(make: MakeRig) -> None:
    """The slot is free during the backoff (ordered lines: held)."""
    rig = make(group=Group(concurrency=1))
    work = rig.handler(concurrency=1, backoff=Fixed(0.15))
    rig.fails.update({1: 1, 3: 1})
    async with rig.working():
        first, second = await work.enqueue(1), await work.enqueue(2)
        assert [await ended(first), await ended(second)] == [None, None]
        assert rig.started == [1, 2, 1]
        ordered = work.with_options(group="shop")
        third, fourth = await ordered.enqueue(3), await ordered.enqueue(4)
        assert [await ended(third), await ended(fourth)] == [None, None]

    assert rig.started == [1, 2, 1, 3, 3, 4]


@pytest.mark.parametrize("how", ["pause", "block"])
async def test_rate_and_concurrency_x_pause_or_block(make: MakeRig, how: str) -> None:
    """A paused line spends and holds nothing; on resume it drains at the rate, no catch-up burst beyond the limit."""
    rig = make()
    work = rig.handler(rate_limit=RateLimit(2, per=LONG), concurrency=5)
    block = await rig.queue.block(name="work") if how == "block" else None
    if block is None:
        await rig.queue.pause(handler="work")
    jobs = [await work.enqueue(n) for n in range(4)]
    async with rig.working():
        await rig.waits(*jobs)
        gates = {one.gate: one.text for one in (await rig.queue.explain(jobs[0].id)).gates}
        assert "0/5 running, 0/2 starts" in gates["h.work"], gates
        assert await (block.release() if block is not None else rig.queue.resume(handler="work"))
        await rig.has_started(0, 1)
        await rig.waits(*jobs[2:])

    assert rig.started == [0, 1]


async def test_concurrency_x_delay_schedule_expiry(make: MakeRig) -> None:
    """Nothing is held while delayed; an expired job never held a slot."""
    rig = make()
    work = rig.handler(concurrency=1)
    late = await work.with_options(delay=30).enqueue(1)
    expiring = await work.with_options(expires_in=0.02).enqueue(2)
    expires = later(0.05)
    await until(lambda: datetime.now(UTC) > expires)
    async with rig.working():
        await (await work.enqueue(3)).result(timeout=10)
        assert await late.state() is JobState.DELAYED
        await until(late_is(expiring, JobState.EXPIRED))
        assert (await rig.gate("h.work")).used == 0

    assert rig.started == [3]


@pytest.mark.parametrize("with_what", ["ordered", "keep_last", "batch"])
async def test_cancel_running_x_ordered_keep_last_or_batch(make: MakeRig, with_what: str) -> None:
    """Refused (it would undo order; a batch has no single victim)."""
    rig = make(group=Group(concurrency=1))
    options: dict[str, Any] = {"concurrency_key": "key", "on_conflict": "cancel_running"}

    def declare() -> None:
        if with_what == "batch":
            rig.batches(size=2, wait=1, **options)
        elif with_what == "ordered":
            rig.handler(**options).with_options(group="shop").job(1, "shop")
        else:
            rig.handler(**options).with_options(dedup=Dedup("a", mode="keep_last")).job(1, "a")

    with pytest.raises(ConflictingOptions, match="cancel_running and"):
        declare()


async def test_cancel_running_the_newest_wins(make: MakeRig) -> None:
    """`cancel_running` asks the holders to stop and waits in line until they have."""
    rig = make()
    work = rig.handler(concurrency_key="key", on_conflict="cancel_running")
    async with rig.working():
        old = await work.enqueue(1, "a", door="never")
        await rig.has_started(1)
        new = await work.enqueue(2, "a")
        assert await new.result(timeout=10) == 2

    assert await old.state() is JobState.CANCELLED
