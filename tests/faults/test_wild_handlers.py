"""Handlers that end in odd ways: each attempt is settled, its place comes back, and the worker survives."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from streamq import Context, Discard, Fatal, JobState, Retry, Snooze
from streamq.errors import JobDead, ResultUnavailable
from tests.faults.scene import Scene, until
from tests.servers import Server


class Mute(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Loud(Exception):
    """Says a lot."""

    def __str__(self) -> str:
        return "x" * 10_000_000


class Odd:
    """A model that cannot be dumped."""

    def model_dump(self, mode: str) -> Any:
        raise KeyError(mode)


class Base(BaseException):
    """No Exception."""


def recurse(n: int) -> int:
    return recurse(n + 1) + 1


FAILURES: list[tuple[str, BaseException]] = [
    ("a text that is no UTF-8", ValueError("file \udcff.txt")),
    ("no text at all", Mute()),
    ("ten megabytes of text", Loud()),
    ("an odd reason", Retry("\udcff")),
    ("an odd fatal reason", Fatal("\udcff\x00")),
    ("no Exception", Base("base")),
    ("an exit", SystemExit(3)),
    ("a stray cancellation", asyncio.CancelledError("stray")),
    ("a group", ExceptionGroup("group", [ValueError("\udcff"), Mute()])),
    ("stop iteration", StopAsyncIteration()),
]


@pytest.mark.parametrize(("_", "error"), FAILURES, ids=[one[0] for one in FAILURES])
@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_however_a_handler_fails(_: str, error: BaseException, kind: str, server: Server, prefix: str) -> None:
    async with Scene(server, server.url, prefix) as scene:
        if kind == "async":

            @scene.queue.handler("wild", max_attempts=2)
            async def wild() -> None:
                raise error

        else:

            @scene.queue.handler("wild", max_attempts=2)
            def wild() -> None:
                raise error

        async with scene.worker(concurrency=1) as worker:
            job = await wild.enqueue()
            with pytest.raises(JobDead):
                await job.result(timeout=8)
            await scene.add(3)
            await scene.settled()
            assert worker.active == 0
            letter = await scene.queue.dlq.get(job.id)
            assert letter is not None
            assert letter.errors
            assert len(str(letter)) < 50_000
            assert (await job.info()).state == JobState.DEAD
        scene.check(also_dead=[job.id])


RESULTS: list[tuple[str, Any]] = [
    ("an object", object()),
    ("a lone surrogate", "\udcff"),
    ("a model that cannot be dumped", Odd()),
    ("a huge integer", 2**100),
    ("too much", "x" * 300_000),
]


@pytest.mark.parametrize(("_", "value"), RESULTS, ids=[one[0] for one in RESULTS])
async def test_a_result_that_cannot_be_kept(_: str, value: Any, server: Server, prefix: str) -> None:
    """The work is done: the job is complete, and whoever asks for the value is told why it is not there."""
    async with Scene(server, server.url, prefix) as scene:

        @scene.queue.handler("wild")
        async def wild() -> Any:
            return value

        async with scene.worker(concurrency=1):
            job = await wild.enqueue()
            with pytest.raises(ResultUnavailable) as caught:
                await job.result(timeout=5)
            assert "result was not kept" in str(caught.value)
            scene.acked.append(job.id)
            await scene.add(2)
            await scene.settled()
        scene.check()


async def test_a_discard_with_an_odd_reason(server: Server, prefix: str) -> None:
    async with Scene(server, server.url, prefix) as scene:

        @scene.queue.handler("wild")
        async def wild() -> None:
            raise Discard("\udcff")

        async with scene.worker(concurrency=1):
            job = await wild.enqueue()
            await until(lambda: not scene.unsettled(), "settled")
            assert await job.state() == JobState.CANCELLED


async def test_endless_recursion(server: Server, prefix: str) -> None:
    async with Scene(server, server.url, prefix) as scene:

        @scene.queue.handler("wild", max_attempts=1)
        async def wild() -> None:
            recurse(0)

        async with scene.worker(concurrency=1):
            job = await wild.enqueue()
            with pytest.raises(JobDead):
                await job.result(timeout=5)
            await scene.add(2)
            await scene.settled()


async def test_a_backoff_function_that_fails(server: Server, prefix: str) -> None:
    """It must not lose the job."""
    async with Scene(server, server.url, prefix) as scene:

        def broken(attempt: int) -> float:
            raise Mute

        @scene.queue.handler("wild", backoff=broken)
        async def wild() -> None:
            raise ValueError("first")

        async with scene.worker(concurrency=1):
            job = await wild.enqueue()
            with pytest.raises(JobDead):
                await job.result(timeout=5)
            await scene.add(2)
            await scene.settled()


async def test_a_middleware_that_fails(server: Server, prefix: str) -> None:
    async with Scene(server, server.url, prefix, max_attempts=1) as scene:

        @scene.queue.middleware
        async def broken(ctx: Context, call_next: Any) -> Any:
            if ctx.name == "flaky":
                raise Mute
            return await call_next(ctx)

        async with scene.worker(concurrency=1):
            ids = await scene.add(2, scene.flaky)
            scene.acked.clear()
            await scene.add(2)
            await scene.settled()
            assert set(scene.dead()) == set(ids)


async def test_handlers_that_swallow_their_cancellation(server: Server, prefix: str) -> None:
    """A timeout that is ignored: the attempt ends when the handler does, and counts as what it says."""
    async with Scene(server, server.url, prefix) as scene:

        @scene.queue.handler("deaf", timeout=0.1)
        async def deaf() -> str:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                return "late"
            return "never"

        async with scene.worker(concurrency=1):
            job = await deaf.enqueue()
            assert await job.result(timeout=5) == "late"
            await scene.add(2)
            await scene.settled()


async def test_cancelled_at_every_moment(server: Server, prefix: str) -> None:
    """Cancel requests race with starts and ends: each job ends exactly once, and no place is lost."""
    async with Scene(server, server.url, prefix) as scene:
        async with scene.worker(concurrency=5) as worker:
            for n in range(60):
                job = await scene.slow.enqueue(0.01)
                await asyncio.sleep(n % 12 / 1000)
                await job.cancel()
            await scene.settled()
            await until(lambda: worker.active == 0, "all places are free")
            await scene.add(10)
            await scene.settled()
            ended = set(scene.completed())
            assert set(scene.acked) <= ended
        assert not int(server.command("HLEN", scene.keys.cancels)), "no mark outlives its job"


async def test_a_worker_stopped_in_the_middle_of_everything(server: Server, prefix: str) -> None:
    """Stop and start again and again, with retries, snoozes, threads and slow jobs: nothing is lost or charged."""
    attempts: dict[str, list[int]] = {}
    async with Scene(server, server.url, prefix) as scene:

        @scene.queue.handler("napping", max_attempts=2)
        async def napping(ctx: Context) -> None:
            attempts.setdefault(ctx.job_id, []).append(ctx.attempt)
            if len(attempts[ctx.job_id]) == 1:
                raise Snooze(0.1)
            await asyncio.sleep(0.05)

        @scene.queue.handler("threaded", timeout=None)
        def threaded(ctx: Context) -> None:
            threading.Event().wait(0.05)

        for handler in (napping, threaded):
            scene.acked += [(await handler.enqueue()).id for _ in range(20)]
        await scene.add(50)
        await scene.add(20, scene.flaky)
        scene.acked += [(await scene.slow.enqueue(0.1)).id for _ in range(20)]
        for _ in range(12):
            async with scene.worker(concurrency=4, grace=0.02):
                await asyncio.sleep(0.1)
        async with scene.worker(concurrency=20):
            await scene.settled()
        scene.check()
        assert {attempt for seen in attempts.values() for attempt in seen} == {1}, "neither snooze nor stop is charged"
        assert not scene.server.command("HGET", scene.keys.meta, "stalled")


async def test_a_defect_of_ours_in_an_outcome(server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even then the place comes back and the job ends, with a trace of what happened."""

    def broken(*_: object, **__: object) -> Any:
        raise AssertionError("a defect")

    async with Scene(server, server.url, prefix) as scene:
        async with scene.worker(concurrency=1) as worker:
            monkeypatch.setattr("streamq._runtime.settling.decide", broken)
            (job,) = await scene.add(1, scene.flaky)
            scene.acked.clear()
            await until(lambda: scene.dead() == {job: "its outcome could not be told; see the worker's log"}, "buried")
            await until(lambda: worker.active == 0, "the place is free")
            await scene.add(2)
            await scene.settled()
        scene.check(also_dead=[job])
