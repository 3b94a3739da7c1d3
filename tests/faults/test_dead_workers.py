"""Workers as processes that die or freeze in the middle of their jobs."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from streamq import Job, JobState, Queue
from tests.chaos.actor import make_queue
from tests.chaos.crew import Crew
from tests.faults.scene import Scene, until
from tests.servers import Server


async def send(queue: Queue, name: str, seconds: float, count: int = 1) -> list[Job[object]]:
    jobs = [await queue.enqueue(name, {"seconds": seconds}) for _ in range(count)]
    return [*jobs]


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_a_poison_job_among_nineteen_good_ones(server: Server, prefix: str) -> None:
    """It kills its process three times. Nineteen are done, one is buried: no neighbour is punished for the company."""
    scene = Scene(server, server.url, prefix, "chaos")
    async with make_queue(server.url, prefix) as queue:
        with Crew(server.url, prefix, lease=2, concurrency=20) as crew:
            good = await send(queue, "work", 0.5, 10)
            (poison,) = await send(queue, "poison", 0.3)
            good += await send(queue, "work", 0.5, 9)
            crew.start("w1")
            crashes = 0

            async def look_after() -> bool:
                nonlocal crashes
                if crew.died("w1"):
                    crashes += 1
                    await asyncio.to_thread(crew.start, "w1")
                return not scene.unsettled()

            await until(look_after, "all twenty settled", seconds=120, every=0.05)
            assert crashes == 3
            assert scene.dead() == {poison.id: "stalled"}
            assert scene.completed() == {job.id: 1 for job in good}
            assert await poison.state() == JobState.DEAD
            letter = await queue.dlq.get(poison.id)
            assert letter is not None
            assert letter.reason == "stalled"
            assert "3 times" in letter.errors[-1].message
            starts = Counter(line.job for line in crew.lines() if line.what == "start")
            assert starts[poison.id] == 3
            crew.stop()
        assert not scene.pending()


async def test_a_killed_workers_jobs_are_run_by_another(server: Server, prefix: str) -> None:
    scene = Scene(server, server.url, prefix, "chaos")
    async with make_queue(server.url, prefix) as queue:
        with Crew(server.url, prefix, lease=2) as crew:
            crew.start("w1")
            jobs = await send(queue, "work", 1.0, 5)
            await asyncio.to_thread(crew.wait, lambda: crew.starts("w1") == 5, "five runs began")
            crew.kill("w1")
            crew.start("w2")
            took = await scene.settled()
            assert scene.completed() == {job.id: 1 for job in jobs}
            runs = [line for line in crew.lines() if line.what == "start"]
            assert Counter(line.job for line in runs) == {job.id: 2 for job in jobs}
            assert {line.more["stalls"] for line in runs if line.pid == crew.pid("w2")} == {1}
            assert {line.more["attempt"] for line in runs} == {1}, "a vanished worker charges no attempt"
            crew.stop()
        assert took < 2 + 2 + 1 + 3, "lease, sweep, run, and slack"


async def test_a_frozen_worker_loses_its_jobs_and_tells_nothing(server: Server, prefix: str) -> None:
    """Frozen beyond its lease, another takes over; thawed, it is refused and its handlers are cancelled."""
    scene = Scene(server, server.url, prefix, "chaos")
    async with make_queue(server.url, prefix) as queue:
        with Crew(server.url, prefix, lease=2) as crew:
            crew.start("w1")
            quick = await send(queue, "work", 0.5, 5)
            long = await send(queue, "work", 30.0, 2)
            await asyncio.to_thread(crew.wait, lambda: crew.starts("w1") == 7, "seven runs began")
            crew.freeze("w1")
            crew.start("w2")
            await asyncio.to_thread(crew.wait, lambda: crew.starts("w2") == 7, "seven runs began again")
            await until(lambda: len(scene.completed()) == 5, "the quick ones are done")
            crew.thaw("w1")
            frozen = crew.pid("w1")

            def told_off() -> bool:
                lines = [line for line in crew.lines() if line.pid == frozen]
                lost = {line.job for line in lines if line.what == "lost"}
                refused = {line.job for line in lines if line.what == "settled" and line.more["answer"] != "a"}
                return {job.id for job in long} <= lost and {job.id for job in quick} <= lost | refused

            await asyncio.to_thread(crew.wait, told_off, "the thawed worker was told")
            assert scene.completed() == {job.id: 1 for job in quick}
            accepted = [line for line in crew.lines() if line.what == "settled" and line.more["answer"] == "a"]
            assert {line.pid for line in accepted} == {crew.pid("w2")}
            assert {owner.split(":")[0] for owner, _ in scene.pending().values()} == {"w2"}
            for job in long:
                assert await job.cancel()
            await scene.settled()
            crew.stop()


async def test_a_blocked_process_keeps_its_job(server: Server, prefix: str) -> None:
    """A handler that blocks the event loop for three leases, with another worker waiting to take over."""
    scene = Scene(server, server.url, prefix, "chaos")
    async with make_queue(server.url, prefix) as queue:
        with Crew(server.url, prefix, lease=2) as crew:
            crew.start("w1")
            (job,) = await send(queue, "block", 6.0)
            await asyncio.to_thread(crew.wait, lambda: crew.starts("w1") == 1, "it blocks")
            crew.start("w2")
            await scene.settled()
            assert scene.completed() == {job.id: 1}
            assert [line.pid for line in crew.lines() if line.what == "start"] == [crew.pid("w1")]
            crew.stop()
