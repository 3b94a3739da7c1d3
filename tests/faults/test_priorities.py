"""Jobs change their priority while the workers that run them are killed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from functools import partial

from streamq import Priority
from streamq.errors import JobStateError
from tests.chaos.actor import make_queue
from tests.chaos.crew import Crew
from tests.faults.scene import Scene, until
from tests.servers import Server


async def test_nothing_is_lost_or_done_twice(server: Server, prefix: str) -> None:
    scene = Scene(server, server.url, prefix, "chaos")
    chance = random.Random(11)
    said: Counter[str] = Counter()
    async with make_queue(server.url, prefix) as queue:
        with Crew(server.url, prefix, lease=2, concurrency=5) as crew:
            jobs = [await queue.enqueue("work", {"seconds": 0.1}) for _ in range(200)]

            async def meddle() -> None:
                while scene.unsettled():
                    try:
                        await chance.choice(jobs).set_priority(chance.choice(list(Priority)))
                        said["moved"] += 1
                    except JobStateError as refused:
                        said[refused.state] += 1

            def has_done(some: int) -> bool:
                return len(scene.completed()) >= some

            await asyncio.to_thread(crew.start, "w1", "w2")
            meddlers = asyncio.gather(*(meddle() for _ in range(4)))
            goal = 0
            for victim, heir in (("w1", "w3"), ("w2", "w4")):
                goal += 30
                await until(partial(has_done, goal), "some are done")
                await asyncio.to_thread(crew.kill, victim)
                await asyncio.to_thread(crew.start, heir)
            await scene.settled(seconds=30)
            await meddlers
            assert scene.completed() == {job.id: 1 for job in jobs}
            assert scene.dead() == {}
            assert not scene.pending()
            stalled = {line.job for line in crew.lines() if line.what == "start" and line.more["stalls"]}
            assert stalled, "the killed had jobs"
            assert said["moved"] > 20
            assert said["active"] > 0
            crew.stop()
