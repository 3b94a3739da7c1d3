"""Batch handlers: when a batch begins, what is in it, and how each of its jobs ends."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamq import (
    Arg,
    BatchContext,
    BatchItem,
    Context,
    Depends,
    Discard,
    Fatal,
    Job,
    JobState,
    Queue,
    RateLimit,
    RateLimited,
    Retry,
    Snooze,
    Worker,
    current_context,
)
from streamq._runtime.batch import units
from streamq._store.replies import Taken
from streamq.errors import ConfigError, ConflictingOptions, InvalidPayload, JobCancelled, JobDead, JobExpired
from tests.servers import Server
from tests.worker import batchers
from tests.worker.helpers import Gate, MakeQueue, drain, ended, hold_ready, inside, keys_of, loose, until

ROOT = Path(__file__).parents[2]
LONG = 60.0


class Contact(msgspec.Struct):
    id: int
    tenant: str = "a"


@pytest.fixture
def gate() -> Gate:
    return Gate()


async def settled(jobs: list[Job[Any]]) -> list[Any]:
    """Wait for all; their results, or the errors these are."""
    return await asyncio.gather(*(job.result(timeout=15) for job in jobs), return_exceptions=True)


# -- when a batch begins ---------------------------------------------------------------------------------------------


async def test_a_full_batch_begins_at_once_and_the_rest_waits(queue: Queue) -> None:
    calls: list[list[int]] = []

    @queue.batch_handler("sync", size=4, wait=LONG)
    async def sync(items: list[int]) -> None:
        calls.append(items)

    async with Worker(queue):
        jobs = await queue.enqueue_many([sync.job(n) for n in range(10)])
        await settled(jobs[:8])
        assert calls == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert [await job.state() for job in jobs[8:]] == [JobState.WAITING] * 2
        more = [await sync.enqueue(n) for n in (10, 11)]
        await settled([*jobs[8:], *more])
    assert calls[2:] == [[8, 9, 10, 11]]


async def test_a_batch_that_is_not_full_begins_after_its_wait_never_earlier(queue: Queue) -> None:
    calls: list[tuple[float, list[int]]] = []

    @queue.batch_handler("sync", size=100, wait=0.3)
    async def sync(items: list[int]) -> None:
        calls.append((time.monotonic(), items))

    async with Worker(queue):
        began = time.monotonic()
        first = await sync.enqueue(1)
        await asyncio.sleep(0.15)
        second = await sync.enqueue(2)  # the wait counts from the oldest
        await settled([first, second])
    [(at, items)] = calls
    assert items == [1, 2]
    assert 0.3 <= at - began < 1.5


async def test_quiet_waits_for_the_latest_item_and_max_delay_for_no_one(queue: Queue) -> None:
    calls: list[tuple[float, list[int]]] = []

    @queue.batch_handler("digest", size=100, quiet=0.4, max_delay=1.2)
    async def digest(items: list[int]) -> None:
        calls.append((time.monotonic(), items))

    async with Worker(queue):
        began = time.monotonic()
        jobs: list[Job[None]] = []
        while not calls:  # never quiet for long
            jobs.append(await digest.enqueue(len(jobs)))
            await asyncio.sleep(0.05)
        at, items = calls[0]
        assert 1.2 <= at - began < 3
        assert items == list(range(len(items)))
        await settled(jobs)
        calls.clear()
        began = time.monotonic()
        await settled([await digest.enqueue(-1)])
        assert 0.4 <= calls[0][0] - began < 1.2, "quiet at once: no need to wait for max_delay"


async def test_a_batch_never_mixes_keys(queue: Queue) -> None:
    calls: list[list[Contact]] = []

    @queue.batch_handler("sync", size=5, wait=0.2, key="tenant")
    async def sync(items: list[Contact]) -> None:
        calls.append(items)

    @queue.batch_handler("odd", size=5, wait=0.2, key=lambda number: number % 2)
    def odd(items: list[int]) -> list[int]:
        return [sum(items)] * len(items)

    contacts = [Contact(n, "abc"[n % 3]) for n in range(21)]
    async with Worker(queue):
        jobs: list[Job[Any]] = [*await queue.enqueue_many([sync.job(one) for one in contacts])]
        jobs.append(await queue.enqueue("sync", {"item": {"id": 21, "tenant": "a"}}))
        numbers = await queue.enqueue_many([odd.job(n) for n in range(4)])
        await settled(jobs)
        assert await settled([*numbers]) == [2, 4, 2, 4]
    assert all(len({one.tenant for one in call}) == 1 for call in calls)
    assert sorted(len(call) for call in calls) == [2, 2, 3, 5, 5, 5]
    assert sorted(one.id for call in calls for one in call) == list(range(22))


async def test_a_producer_without_the_handler_gets_its_jobs_into_batches_too(
    queue: Queue, make_queue: MakeQueue
) -> None:
    calls: list[list[int]] = []

    @queue.batch_handler("sync", size=3, wait=LONG)
    async def sync(items: list[int]) -> None:
        calls.append(items)

    pure = make_queue()
    jobs = [await pure.enqueue("sync", {"item": n}) for n in range(3)]
    async with Worker(queue):
        await settled([*jobs])
    assert calls == [[0, 1, 2]]


async def test_delayed_jobs_join_when_they_are_due(queue: Queue) -> None:
    calls: list[list[int]] = []

    @queue.batch_handler("sync", size=2, wait=LONG)
    async def sync(items: list[int]) -> None:
        calls.append(items)

    async with Worker(queue):
        late = await sync.with_options(delay=0.3).enqueue(1)
        early = await sync.enqueue(2)
        await settled([late, early])
    assert calls == [[2, 1]]


async def test_a_burst_waits_for_batches_that_are_not_full(queue: Queue) -> None:
    calls: list[list[int]] = []

    @queue.batch_handler("sync", size=10, wait=0.3)
    async def sync(items: list[int]) -> None:
        calls.append(items)

    await queue.enqueue_many([sync.job(n) for n in range(3)])
    await drain(queue)
    assert calls == [[0, 1, 2]]


# -- how each job ends -----------------------------------------------------------------------------------------------


async def test_one_item_fails_and_comes_back_in_a_later_batch(queue: Queue) -> None:
    calls: list[list[int]] = []

    @queue.batch_handler("sync", size=3, wait=0.2)
    async def sync(ctx: BatchContext, items: list[int]) -> None:
        calls.append(items)
        for item, number in zip(ctx.items, items, strict=True):
            if number == 1 and item.attempt == 1:
                item.fail(ValueError("one"))

    jobs = await queue.enqueue_many([sync.job(n) for n in range(3)])
    async with Worker(queue):
        await until(lambda: len(calls) == 1)
        jobs.append(await sync.enqueue(3))
        await settled([*jobs])
    assert calls[0] == [0, 1, 2]
    assert sorted(n for call in calls[1:] for n in call) == [1, 3]
    counts = await queue.counts()
    assert (counts.completed, counts.retried) == (4, 1)


async def test_every_way_to_end_items_differently(queue: Queue) -> None:
    """By the context, by a mapping, by a list; and what is raised is for the others."""
    seen: list[int] = []

    @queue.batch_handler("context", size=7, wait=LONG, max_attempts=1)
    async def context(ctx: BatchContext, items: list[str]) -> list[str]:
        ctx.fail(0, ValueError("bad"))
        ctx.items[1].fail(Fatal("never"))
        ctx.items[2].fail(Discard("not now"))
        ctx.items[4].done("early")
        return [one.upper() for one in items]

    @queue.batch_handler("mapping", size=2, wait=LONG, max_attempts=1)
    async def mapping(items: list[int]) -> dict[int, Exception]:
        return {1: ValueError(str(items[1]))}

    @queue.batch_handler("gathered", size=2, wait=LONG, max_attempts=1)
    async def gathered(items: list[int]) -> list[float | BaseException]:
        async def one(number: int) -> float:
            return 1 / number

        return await asyncio.gather(*map(one, items), return_exceptions=True)

    @queue.batch_handler("raising", size=3, wait=LONG, max_attempts=1)
    async def raising(ctx: BatchContext, items: list[int]) -> None:
        seen.extend(items)
        ctx.items[0].done()
        ctx.items[1].fail(Snooze(3600))
        raise OSError("all the rest")

    async with Worker(queue):
        made = [await context.enqueue(f"n{n}") for n in range(7)]
        by_context = await settled([*made])
        by_mapping = await settled([await mapping.enqueue(n) for n in range(2)])
        by_list = await settled([await gathered.enqueue(n) for n in range(2)])
        raised = [await raising.enqueue(n) for n in range(3)]
        await settled([raised[0], raised[2]])
    dead, fatal, discarded, *fine = by_context
    assert isinstance(dead, JobDead)
    assert (dead.error_type, dead.reason) == ("ValueError", "attempts exhausted")
    assert isinstance(fatal, JobDead)
    assert fatal.reason == "fatal: never"
    assert isinstance(discarded, JobCancelled)
    assert fine == ["N3", "early", "N5", "N6"]
    assert by_mapping[0] is None
    assert isinstance(by_mapping[1], JobDead)
    assert isinstance(by_list[0], JobDead)
    assert by_list[0].error_type == "ZeroDivisionError"
    assert by_list[1] == 1.0
    assert [await job.state() for job in raised] == [JobState.COMPLETED, JobState.DELAYED, JobState.DEAD]
    letter = await queue.dlq.get(raised[2].id)
    assert letter is not None
    assert "all the rest" in letter.errors[-1].traceback


async def test_a_raise_fails_all_and_steering_is_for_all(queue: Queue) -> None:
    attempts: list[list[int]] = []

    @queue.batch_handler("sync", size=3, wait=0.1, max_attempts=3)
    async def sync(ctx: BatchContext, items: list[int]) -> None:
        attempts.append([one.attempt for one in ctx.items])
        if len(attempts) == 1:
            raise OSError("away")
        if len(attempts) == 2:
            raise Snooze(0.01)

    jobs = await queue.enqueue_many([sync.job(n) for n in range(3)])
    async with Worker(queue):
        await settled([*jobs])
    assert attempts[0] == [1, 1, 1]
    assert attempts[1] == [2, 2, 2]
    assert attempts[2] == [2, 2, 2], "a snooze uses up no attempt"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1], "returned 1 results for 2 items"),
        ({2: ValueError()}, "returned index 2 for 2 items"),
        ({0: "text"}, "returned str for item 0, not an exception"),
        (7, "returned int; return None"),
    ],
)
async def test_what_cannot_be_read_fails_all_and_says_why(queue: Queue, returned: Any, message: str) -> None:
    @queue.batch_handler("sync", size=2, wait=LONG, max_attempts=1)
    async def sync(items: list[int]):  # type: ignore[no-untyped-def] # noqa: ANN202 - as people write it
        return returned

    async with Worker(queue):
        found = await settled([await sync.enqueue(n) for n in range(2)])
    assert all(isinstance(one, JobDead) and message in str(one) for one in found), found


async def test_items_have_contexts_of_their_own(queue: Queue) -> None:
    seen: list[BatchContext] = []

    @queue.batch_handler("sync", size=2, wait=LONG)
    async def sync(ctx: BatchContext, items: list[int]) -> None:
        assert current_context() is ctx
        seen.append(ctx)

    async with Worker(queue):
        common = {"headers": {"x-request-id": "r", "n": "1"}, "tenant": "acme"}
        one = await sync.with_options(**common).enqueue(1)  # type: ignore[arg-type]  # wrong on purpose
        two = await sync.with_options(headers={"x-request-id": "r"}, tenant="acme", max_attempts=9).enqueue(2)
        await settled([one, two])
    [ctx] = seen
    first, second = ctx.items
    assert [item.job_id for item in ctx.items] == [one.id, two.id]
    assert (first.headers["n"], first.tenant, second.max_attempts) == ("1", "acme", 9)
    assert first.idempotency_key == f"q:{one.id}"
    assert first.fence >= 0
    assert (ctx.headers, ctx.tenant, ctx.job_id, ctx.name) == ({"x-request-id": "r"}, "acme", one.id, "sync")
    assert ctx.idempotency_key not in {first.idempotency_key, second.idempotency_key}
    assert ctx.idempotency_key == BatchContext([second, first]).idempotency_key
    assert ctx.deadline is not None
    assert ctx.deadline > ctx.now()
    assert ctx.created_at == min(item.created_at for item in ctx.items if item.created_at)


async def test_dependencies_and_middleware_are_for_the_call(queue: Queue) -> None:
    log: list[str] = []

    async def connection() -> AsyncGenerator[str]:
        log.append("up")
        yield "connection"
        log.append("down")

    @queue.middleware
    async def around(ctx: Context, call_next: Any) -> Any:
        log.append(f"{ctx.name} {ctx.attempt} {isinstance(ctx, BatchContext)}")
        return await call_next(ctx)

    @queue.batch_handler("sync", size=3, wait=LONG)
    async def sync(items: list[int], via: str = Depends(connection)) -> list[str]:
        return [f"{n} {via}" for n in items]

    async with Worker(queue):
        found = await settled([await sync.enqueue(n) for n in range(3)])
    assert found == ["0 connection", "1 connection", "2 connection"]
    assert log == ["sync 1 True", "up", "down"]


async def test_a_def_runs_in_a_thread(queue: Queue) -> None:
    threads: list[int] = []

    def value() -> Iterator[int]:
        yield 5

    @queue.batch_handler("sync", size=2, wait=LONG, max_attempts=1)
    def sync(ctx: BatchContext, items: list[int], more: int = Depends(value)) -> list[int]:
        threads.append(threading.get_ident())
        ctx.fail(0, ValueError("zero"))
        return [n + more for n in items]

    async with Worker(queue):
        found = await settled([await sync.enqueue(n) for n in range(2)])
    assert isinstance(found[0], JobDead)
    assert found[1] == 6
    assert threads != [threading.get_ident()]


async def test_the_timeout_bounds_the_call_and_what_is_done_stays_done(queue: Queue) -> None:
    @queue.batch_handler("sync", size=3, wait=LONG, timeout=0.2, max_attempts=1)
    async def sync(ctx: BatchContext, items: list[int]) -> None:
        ctx.items[1].done()
        await asyncio.Event().wait()

    async with Worker(queue):
        found = await settled([await sync.enqueue(n) for n in range(3)])
    assert found[1] is None
    assert isinstance(found[0], JobDead)
    assert isinstance(found[2], JobDead)
    assert found[0].error_type == found[2].error_type == "TimeoutError"


def test_a_reply_is_cut_into_batches() -> None:
    def taken(entry: bytes, mark: bytes = b"") -> Taken:
        return Taken(b"j" + entry, b"t%b:1|record" % entry, b"", 1, mark)

    reply = [
        taken(b"1-0"), taken(b"2-0", b"batch"), taken(b"3-0", b"2-0"), taken(b"4-0", b"2-0"), taken(b"5-0", b"batch"),
        taken(b"6-0", b"limited"), taken(b"7-0", b"5-0"), taken(b"8-0", b"batch"), taken(b"9-0", b"8-0"),
    ]  # fmt: skip
    assert [[job.id for job in unit] for unit in units(reply)] == [
        [b"j1-0"], [b"j2-0", b"j3-0", b"j4-0"], [b"j5-0"], [b"j6-0"], [b"j7-0"], [b"j8-0", b"j9-0"],
    ]  # fmt: skip


# -- items that do not run -------------------------------------------------------------------------------------------


async def test_items_that_may_not_run_are_left_out_and_the_rest_runs(queue: Queue, make_queue: MakeQueue) -> None:
    calls: list[list[Contact]] = []

    @queue.batch_handler("sync", size=5, wait=0.5)
    async def sync(items: list[Contact]) -> list[int]:
        calls.append(items)
        return [one.id for one in items]

    other = make_queue()

    @other.batch_handler("sync", size=5, wait=0.5)
    async def loose_types(items: list[Any]) -> None: ...

    # The first one of a batch is what its limits were taken for; here it cannot even be read.
    unreadable = await loose_types.enqueue("no contact")
    expired = await sync.with_options(expires_in=0.05).enqueue(Contact(1))
    fine = [await sync.enqueue(Contact(n)) for n in (2, 3)]
    async with Worker(queue):
        found = await settled([unreadable, expired, *fine])
    assert isinstance(found[0], JobDead)
    assert found[0].reason == "invalid payload"
    assert isinstance(found[1], JobExpired)
    assert found[2:] == [2, 3]
    assert [[one.id for one in call] for call in calls] == [[2, 3]]


async def test_a_refused_first_item_holds_the_place_of_its_batch_until_the_end(queue: Queue, server: Server) -> None:
    """concurrency=1: no second batch beside one whose first item was an envelope that nobody can read."""
    calls: list[list[int]] = []
    another = asyncio.Event()
    running = most = 0

    @queue.batch_handler("sync", size=2, wait=0.1, concurrency=1)
    async def sync(items: list[int]) -> None:
        nonlocal running, most
        calls.append(items)
        running += 1
        most = max(most, running)
        if running > 1:
            another.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(another.wait(), 0.3)
        running -= 1

    jobs = [await sync.enqueue(n) for n in range(4)]
    server.command("HSET", keys_of(queue).bodies, jobs[0].id, b"\xc1 no envelope")
    async with Worker(queue):
        found = await settled([*jobs])
    assert isinstance(found[0], JobDead)
    assert found[1:] == [None] * 3
    assert calls == [[1], [2, 3]]
    assert most == 1


async def test_one_item_is_cancelled_while_the_batch_runs(queue: Queue, gate: Gate) -> None:
    @queue.batch_handler("sync", size=3, wait=LONG)
    async def sync(items: list[int]) -> None:
        await gate.through(str(items))

    worker = Worker(queue)
    async with worker:
        jobs = [await sync.enqueue(n) for n in range(3)]
        await until(lambda: gate.started)
        assert await jobs[1].cancel()
        await until(lambda: _why(worker, jobs[1]) == "cancel", "the worker has heard")
        assert gate.cancelled == []
        gate.open()
        found = await settled([*jobs])
    assert [type(one) for one in found] == [type(None), JobCancelled, type(None)]
    assert gate.ended == ["[0, 1, 2]"]


def _why(worker: Worker, job: Job[Any]) -> str:
    return str(inside(worker)._joints[0].exchange.table._rows[job.id.encode()].why)


async def test_a_batch_of_cancelled_items_is_cancelled(queue: Queue, gate: Gate) -> None:
    @queue.batch_handler("sync", size=2, wait=LONG)
    async def sync(items: list[int]) -> None:
        await gate.through(str(items))

    async with Worker(queue):
        jobs = [await sync.enqueue(n) for n in range(2)]
        await until(lambda: gate.started)
        for job in jobs:
            assert await job.cancel()
        found = await settled([*jobs])
    assert [type(one) for one in found] == [JobCancelled] * 2
    assert gate.cancelled == ["[0, 1]"]


async def test_waiting_items_are_cancelled_at_once_and_leave_their_batch(queue: Queue) -> None:
    calls: list[list[int]] = []

    @queue.batch_handler("sync", size=3, wait=LONG)
    async def sync(items: list[int]) -> None:
        calls.append(items)

    jobs = [await sync.enqueue(n) for n in range(2)]
    assert await jobs[0].cancel()
    assert await jobs[0].state() is JobState.CANCELLED
    async with Worker(queue):
        more = [await sync.enqueue(n) for n in (2, 3)]
        await settled([jobs[1], *more])
    assert calls == [[1, 2, 3]]


async def test_items_of_a_batch_that_waits_for_a_place_are_cancelled(queue: Queue, gate: Gate) -> None:
    """The batch is in the worker's hands already; both its first item and another one are taken back."""

    @queue.batch_handler("sync", size=4, wait=LONG)
    async def sync(items: list[int]) -> None:
        await gate.through(str(items))

    jobs = await queue.enqueue_many([sync.job(n) for n in range(48)])
    worker = Worker(queue, concurrency=10)
    async with worker:
        await until(lambda: len(gate.started) == 10)
        hold_ready(worker)
        await until(lambda: inside(worker)._joints[0].exchange.table.ready == 1, "one more batch is held ready")
        for number in (40, 42):
            assert await jobs[number].cancel()
        assert isinstance(await ended(jobs[42]), JobCancelled), "at once"
        assert len(gate.started) == 10
        gate.open()
        found = await settled([*jobs])
    assert [number for number, one in enumerate(found) if isinstance(one, JobCancelled)] == [40, 42]
    assert [number for number, one in enumerate(found) if one is None] == [*range(40), 41, 43, *range(44, 48)]
    assert sorted(gate.started[10:]) == ["[41, 43]", "[44, 45, 46, 47]"]


async def test_a_lost_lease_concerns_one_item(queue: Queue, gate: Gate) -> None:
    """What happens to it is not told; the others go on."""

    @queue.batch_handler("sync", size=3, wait=LONG)
    async def sync(items: list[int]) -> None:
        await gate.through(str(items))

    worker = Worker(queue)
    async with worker:
        jobs = [await sync.enqueue(n) for n in range(3)]
        await until(lambda: gate.started)
        table = inside(worker)._joints[0].exchange.table
        table.lost([jobs[1].id.encode()])
        gate.open()
        assert await settled([jobs[0], jobs[2]]) == [None, None]
        # A ghost now: it is adopted, alone.
        await settled([jobs[1]])
    assert gate.started == ["[0, 1, 2]", "[1]"]
    assert (await queue.counts()).completed == 3


# -- stop and crash --------------------------------------------------------------------------------------------------


async def test_stop_hands_batches_back_and_nobody_is_charged(queue: Queue, gate: Gate) -> None:
    seen: list[list[tuple[int, int]]] = []

    @queue.batch_handler("sync", size=4, wait=LONG, max_attempts=1)
    async def sync(ctx: BatchContext, items: list[int]) -> None:
        seen.append([(one.attempt, one.stalls) for one in ctx.items])
        await gate.through(str(items))

    jobs = await queue.enqueue_many([sync.job(n) for n in range(48)])
    worker = Worker(queue, concurrency=10, grace=0.2)
    async with loose(worker) as running:
        await until(lambda: len(gate.started) == 10)
        hold_ready(worker)
        await until(lambda: inside(worker)._joints[0].exchange.table.ready == 1, "one is held ready")
        worker.stop()
        await asyncio.wait_for(running, 10)
    assert len(gate.cancelled) == 10
    assert worker.handed_back == 40
    assert (await queue.counts()).waiting == 48
    gate.open()
    async with Worker(queue):
        await settled([*jobs])
    assert {one for call in seen for one in call} == {(1, 0)}
    assert Counter(len(call) for call in seen[10:]) == {4: 12}


async def test_within_the_grace_a_batch_ends(queue: Queue, gate: Gate) -> None:
    @queue.batch_handler("sync", size=2, wait=LONG)
    async def sync(items: list[int]) -> None:
        await gate.through(str(items))

    jobs = [await sync.enqueue(n) for n in range(2)]
    worker = Worker(queue, grace=10)
    async with loose(worker) as running:
        await until(lambda: gate.started)
        worker.stop()
        await until(inside(worker)._stopping.is_set)
        gate.open()
        await asyncio.wait_for(running, 5)
    assert [await job.state() for job in jobs] == [JobState.COMPLETED] * 2


@pytest.mark.timeout(60)
async def test_a_killed_workers_items_run_again_together(server: Server, prefix: str, tmp_path: Path) -> None:
    """Nothing is lost, nothing is settled twice, and no attempt is charged."""
    file = tmp_path / "calls"
    hold = file.with_suffix(".hold")
    hold.touch()
    queue = batchers.make(server.url, prefix, file)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.worker.batchers", server.url, prefix, str(file), cwd=ROOT
    )
    try:
        jobs = [await queue.enqueue("sync", {"item": n}) for n in range(10)]
        await until(lambda: file.exists() and len(file.read_text().splitlines()) == 2, "both batches run")
        process.send_signal(signal.SIGKILL)
        await process.wait()
        hold.unlink()
        async with Worker(queue, lease=1.5):
            await settled([*jobs])
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = [line.split(" | ") for line in file.read_text().splitlines()]
    first, again = lines[:2], lines[2:]
    assert sorted(map(int, " ".join(items for items, _ in first).split())) == list(range(10))
    assert sorted(map(int, " ".join(items for items, _ in again).split())) == list(range(10))
    assert {stalls for _, stalls in again} == {"1"}
    assert len(again) < 10, "in batches"
    counts = await queue.counts()
    assert (counts.completed, counts.failed, counts.waiting, counts.active) == (10, 0, 0, 0)
    await queue.aclose()


@pytest.mark.timeout(90)
async def test_an_item_that_two_workers_vanished_with_runs_alone(server: Server, prefix: str, tmp_path: Path) -> None:
    """So that a poisonous one takes no others along."""
    file = tmp_path / "calls"
    hold = file.with_suffix(".hold")
    hold.touch()
    queue = batchers.make(server.url, prefix, file)
    jobs = [await queue.enqueue("sync", {"item": n}) for n in range(3)]
    for stalls in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.worker.batchers", server.url, prefix, str(file), cwd=ROOT
        )
        try:
            begun = f"0 1 2 | {stalls}\n"
            await until(functools.partial(_is_written, file, begun), begun)
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    hold.unlink()
    async with Worker(queue, lease=1.5):
        await settled([*jobs])
    assert sorted(file.read_text().splitlines()[2:]) == ["0 | 2", "1 | 2", "2 | 2"]
    assert (await queue.counts()).completed == 3
    await queue.aclose()


def _is_written(file: Path, line: str) -> bool:
    return file.exists() and line in file.read_text()


# -- limits ----------------------------------------------------------------------------------------------------------


async def test_concurrency_counts_batches(queue: Queue) -> None:
    running = most = 0

    @queue.batch_handler("sync", size=4, wait=0.2, concurrency=2)
    async def sync(items: list[int]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1

    jobs = await queue.enqueue_many([sync.job(n) for n in range(40)])
    async with Worker(queue), Worker(queue):
        await settled([*jobs])
    assert most == 2


async def test_a_rate_counts_a_batch_as_one_start(queue: Queue) -> None:
    starts: list[float] = []

    @queue.batch_handler("sync", size=5, wait=0.1, rate_limit=RateLimit(2, per=0.5))
    async def sync(items: list[int]) -> None:
        starts.append(time.monotonic())
        assert len(items) == 5

    jobs = await queue.enqueue_many([sync.job(n) for n in range(20)])
    async with Worker(queue):
        await settled([*jobs])
    assert len(starts) == 4
    assert 0.4 < starts[2] - starts[0] < 3, "two at once, then two more half a second later"


async def test_one_item_meets_the_limit_of_the_provider(queue: Queue) -> None:
    attempts: list[tuple[int, int]] = []

    @queue.batch_handler("sync", size=3, wait=0.1, rate_limit=RateLimit(100))
    async def sync(ctx: BatchContext, items: list[int]) -> None:
        attempts.extend((number, item.attempt) for number, item in zip(items, ctx.items, strict=True))
        if len(attempts) == 3:
            ctx.fail(1, RateLimited(after=0.3))

    jobs = [await sync.enqueue(n) for n in range(3)]
    async with Worker(queue):
        await settled([jobs[0], jobs[2]])
        again = time.monotonic()
        await settled([jobs[1]])
    assert 0.2 < time.monotonic() - again < 3
    assert attempts == [(0, 1), (1, 1), (2, 1), (1, 1)]


async def test_a_batch_is_one_place_of_its_worker(queue: Queue, gate: Gate) -> None:
    @queue.batch_handler("sync", size=3, wait=LONG)
    async def sync(items: list[int]) -> None:
        await gate.through("batch")

    @queue.handler("plain")
    async def plain() -> None:
        await gate.through("plain")

    worker = Worker(queue, concurrency=3)
    async with worker:
        jobs: list[Job[Any]] = [*await queue.enqueue_many([sync.job(n) for n in range(6)])]
        await until(lambda: gate.started == ["batch", "batch"])
        jobs += await queue.enqueue_many([plain.job() for _ in range(2)])
        await until(lambda: len(gate.started) == 3)
        assert worker.active == 3
        assert (await queue.counts()).active == 7
        gate.open()
        await settled(jobs)
    assert Counter(gate.ended) == {"batch": 2, "plain": 2}


async def test_limits_by_a_field_of_the_items(queue: Queue) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    @queue.batch_handler("sync", size=2, wait=0.1, key="tenant", concurrency_key="tenant")
    async def sync(items: list[Contact]) -> None:
        tenant = items[0].tenant
        running[tenant] += 1
        most[tenant] = max(most[tenant], running[tenant])
        await asyncio.sleep(0.02)
        running[tenant] -= 1

    jobs = await queue.enqueue_many([sync.job(Contact(n, "ab"[n % 2])) for n in range(16)])
    async with Worker(queue):
        await settled([*jobs])
    assert most == {"a": 1, "b": 1}


async def test_many_workers_run_each_item_once(queue: Queue) -> None:
    ran: Counter[int] = Counter()

    @queue.batch_handler("sync", size=7, wait=0.05, key=lambda number: number % 5)
    async def sync(ctx: BatchContext, items: list[int]) -> dict[int, Exception]:
        failed: dict[int, Exception] = {}
        for index, (item, number) in enumerate(zip(ctx.items, items, strict=True)):
            if number % 10 == 0 and item.attempt == 1:
                failed[index] = Retry("later", after=0.05)
            else:
                ran[number] += 1
        await asyncio.sleep(0)
        return failed

    jobs = await queue.enqueue_many([sync.job(n) for n in range(500)])
    async with Worker(queue, concurrency=3), Worker(queue, concurrency=5), Worker(queue):
        await settled([*jobs])
    assert ran == dict.fromkeys(range(500), 1)
    counts = await queue.counts()
    assert (counts.completed, counts.retried, counts.dead) == (500, 50, 0)


# -- the handler itself ----------------------------------------------------------------------------------------------


async def test_a_direct_call_runs_the_function(queue: Queue) -> None:
    def real() -> str:
        return "real"

    @queue.batch_handler("sync", wait=1)
    async def sync(ctx: BatchContext, items: list[int], via: str = Depends(real)) -> list[str]:
        if items[0] == 0:
            ctx.fail(0, ValueError("zero"))
        return [f"{n} {via} {len(ctx.items)}" for n in items]

    assert await sync([1, 2]) == ["1 real 2", "2 real 2"]
    ctx = sync.context(2)
    assert await sync([0, 1], ctx, via="fake") == ["0 fake 2", "1 fake 2"]
    assert isinstance(ctx.items[0].error, ValueError)
    assert not ctx.items[1].is_settled


async def test_items_are_checked_when_they_are_enqueued(queue: Queue) -> None:
    @queue.batch_handler("sync", wait=1, key="tenant")
    async def sync(items: list[Contact]) -> None: ...

    @queue.batch_handler("loose", wait=1, key="tenant")
    async def loose_items(items: list[dict[str, Any]]) -> None: ...

    with pytest.raises(InvalidPayload):
        sync.job("text")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InvalidPayload, match="tenant"):
        loose_items.job({"id": 1})
    with pytest.raises(InvalidPayload, match="key"):
        loose_items.job({"tenant": None})
    with pytest.raises(ConflictingOptions, match="timeout"):
        sync.with_options(timeout=3).job(Contact(1))
    with pytest.raises(TypeError, match="give an exception"):
        BatchItem(job_id="1", queue="q", name="n", attempt=1, max_attempts=1).fail("text")  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 0, "wait": 1}, "size=0"),
        ({"size": 501, "wait": 1}, "at most 500"),
        ({"size": True, "wait": 1}, "size=True"),
        ({}, "give wait="),
        ({"wait": 1, "quiet": 1}, "one of them"),
        ({"wait": 0}, "wait=0"),
        ({"quiet": 0}, "quiet=0"),
        ({"wait": 1, "max_delay": 5}, "bounds quiet="),
        ({"quiet": 10, "max_delay": 5}, "must be at least quiet"),
        ({"wait": 1, "key": "nope"}, "'nope' is no field"),
        ({"wait": 1, "key": 5}, "key=5"),
        ({"wait": 1, "pool": "process"}, "pool='process'"),
        ({"wait": 1, "rate_limit": RateLimit(1), "rate_key": "nope"}, "rate_key='nope'"),
        ({"wait": 1, "concurrency_key": "id"}, "unless the batch has the same key"),
        ({"wait": 1, "concurrency": 1, "on_conflict": "cancel_running"}, "single victim"),
    ],
)
async def test_bad_options_are_refused(queue: Queue, options: dict[str, Any], said: str) -> None:
    def sync(items: list[Contact]) -> None: ...

    with pytest.raises(ConfigError, match=said):
        queue.batch_handler("sync", **options)(sync)


async def test_bad_functions_are_refused(queue: Queue) -> None:
    def single(item: Contact) -> None: ...
    def two(items: list[int], more: int) -> None: ...
    def none() -> None: ...
    def returns_text(items: list[int]) -> str:
        return ""

    def returns_number(items: list[int]) -> int:
        return 1

    for function, said in (
        (single, "annotate it list"),
        (two, "items, more"),
        (none, "it takes none"),
        (returns_text, "returns None, list"),
        (returns_number, "returns None, list"),
    ):
        with pytest.raises(ConfigError, match=said):
            queue.batch_handler("sync", wait=1)(function)  # type: ignore[arg-type]  # wrong on purpose

    with pytest.raises(ConfigError, match="use batch_handler"):

        @queue.handler("plain")
        async def plain(ctx: BatchContext, n: int) -> None: ...


async def test_a_batch_whose_first_item_is_sent_elsewhere_has_cost_its_token(make_queue: MakeQueue) -> None:
    """It began on what the first one paid, so the next one waits for the next token."""
    queue = make_queue(limits={"sms": RateLimit(1, per=60)})
    ran: list[list[int]] = []

    @queue.batch_handler("sync", size=2, wait=5)
    async def sync(items: list[int]) -> None:
        ran.append(items)

    limited = sync.with_options(rate_key="sms")
    async with Worker(queue):  # declares the limit
        pass
    await queue.enqueue_many([limited.job(n) for n in range(4)])
    block = await queue.block(where=Arg("item") == 0)
    async with Worker(queue):
        await until(lambda: held_by(queue, block.id, 1), "the first is held")
        await until(lambda: ran == [[1]], "its neighbour ran")
        rate = next(one for one in await queue.limits.list() if one.gate == "r.sms")
    assert (rate.state, ran) == ("rate", [[1]])


async def held_by(queue: Queue, block_id: str, count: int) -> bool:
    return [one.held for one in await queue.blocks() if one.id == block_id] == [count]
