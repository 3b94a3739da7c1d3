"""A worker that asks ahead: quick jobs overlap with calls, and nothing of it shows but the speed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from streamq import Queue, Worker
from streamq._core.pace import Outlook
from streamq._runtime.table import Table
from tests.worker.helpers import Gate, drain, hold_ready, inside, loose, until

MANY = 3000


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many jobs were asked for before there were places, by round."""
    seen: list[int] = []
    real = Outlook.beyond

    def noting(self: Outlook, begun: int, now: float) -> int:
        found = real(self, begun, now)
        seen.append(found)
        return found

    monkeypatch.setattr(Outlook, "beyond", noting)
    return seen


async def test_quick_jobs_are_asked_for_ahead_and_never_too_many_run(queue: Queue, ahead: list[int]) -> None:
    running, most, ran = 0, 0, list[int]()

    @queue.handler("quick")
    async def quick(n: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        ran.append(n)

    await queue.enqueue_many([quick.job(n) for n in range(MANY)])
    await drain(queue, concurrency=50)
    assert sum(ahead) > MANY / 4, "it did ask ahead"
    assert most <= 50
    assert sorted(ran) == list(range(MANY))
    assert (await queue.counts()).completed == MANY


async def test_jobs_run_in_the_order_of_their_queue(queue: Queue, ahead: list[int]) -> None:
    ran: list[int] = []

    @queue.handler("quick")
    async def quick(n: int) -> None:
        ran.append(n)

    await queue.enqueue_many([quick.job(n) for n in range(MANY)])
    await drain(queue, concurrency=20)
    assert sum(ahead) > 0
    assert ran == list(range(MANY))


async def test_slow_jobs_are_never_asked_for_ahead(queue: Queue, ahead: list[int]) -> None:
    held: list[int] = []

    @queue.handler("slow")
    async def slow(n: int) -> None:
        del n
        held.append((await queue.counts()).active)
        await asyncio.sleep(0.03)

    await queue.enqueue_many([slow.job(n) for n in range(300)])
    await drain(queue, concurrency=20)
    assert not any(ahead)
    assert max(held) <= 22, "a tenth may be ready"


async def test_a_stop_in_the_middle_loses_and_repeats_nothing(queue: Queue) -> None:
    ran: list[int] = []

    @queue.handler("quick", max_attempts=1)
    async def quick(n: int) -> None:
        ran.append(n)

    await queue.enqueue_many([quick.job(n) for n in range(MANY)])
    worker = Worker(queue, concurrency=50)
    async with loose(worker) as running:
        await until(lambda: len(ran) > MANY / 3)
        worker.stop()
        await asyncio.wait_for(running, 10)
    counts = await queue.counts()
    assert counts.active == 0
    assert counts.waiting == MANY - len(ran)
    await drain(queue)
    assert sorted(ran) == list(range(MANY))
    assert (await queue.counts()).stalled == 0


async def test_a_pause_in_the_middle_lets_the_next_batch_go_on_and_no_more(queue: Queue) -> None:
    ran: list[int] = []

    @queue.handler("quick")
    async def quick(n: int) -> None:
        ran.append(n)

    await queue.enqueue_many([quick.job(n) for n in range(MANY)])
    async with Worker(queue, concurrency=50):
        await until(lambda: len(ran) > MANY / 5)
        await queue.pause()
        handed_out = MANY - (await queue.counts()).waiting
        await until(lambda: len(ran) == handed_out, "what was handed out before runs")
        assert (await queue.counts()).waiting == MANY - handed_out
        await queue.resume()
        await until(lambda: len(ran) == MANY)
    assert sorted(ran) == list(range(MANY))


async def test_what_waits_behind_slow_jobs_is_given_to_a_worker_with_room(queue: Queue, gate: Gate) -> None:
    """Quick jobs turned slow: those held ready go back with the next tick, uncharged."""

    @queue.handler("held")
    async def held(n: int) -> None:
        await gate.through(str(n))

    first = Worker(queue, concurrency=20, lease=60)
    async with first:
        jobs = await queue.enqueue_many([held.job(n) for n in range(22)])
        await until(lambda: len(gate.started) == 20)
        real = inside(first)._slots.pace.ready
        hold_ready(first)
        table: Table = inside(first)._joints[0].exchange.table
        await until(lambda: table.ready == 2, "it holds two jobs ready")
        inside(first)._slots.pace.ready = real
        async with Worker(queue, concurrency=20, lease=60):
            started = time.monotonic()
            await until(lambda: len(gate.started) == 22)
            assert time.monotonic() - started < 5  # far below the lease
            gate.open()
            infos: list[Any] = []
            for job in jobs:
                await job.result(timeout=10)
                infos.append(await job.info())
    counts = await queue.counts()
    assert (counts.stalled, counts.failed, counts.completed) == (0, 0, 22)


async def test_a_defect_while_jobs_are_begun_ends_the_worker_loudly(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for a broken connection, which would be tried again for ever."""

    @queue.handler("quick")
    async def quick(n: int) -> None:
        del n

    real = Table.take_all

    def broken(self: Table, jobs: Any, touched: float) -> Any:
        if self._rows:  # pyright: ignore[reportPrivateUsage] - begun while others are unsettled: ahead
            raise RuntimeError("a defect")
        return real(self, jobs, touched)

    monkeypatch.setattr(Table, "take_all", broken)
    await queue.enqueue_many([quick.job(n) for n in range(MANY)])
    with pytest.raises(RuntimeError, match="a defect"):
        await drain(queue, concurrency=50)
