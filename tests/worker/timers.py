"""A scheduler process for the tests to kill: ``python -m tests.worker.timers URL PREFIX``. Fires a tick every 0.1 s."""

import asyncio
import sys

from streamq import Queue, Scheduler

ID, EVERY = "poll", 0.1


def make(url: str, prefix: str) -> Scheduler:
    """The scheduler of these processes."""
    scheduler = Scheduler(Queue("q", url=url, prefix=prefix))

    @scheduler.every(EVERY, id=ID, misfire="catch_up", catch_up=1000)
    async def poll() -> None: ...

    return scheduler


if __name__ == "__main__":
    asyncio.run(make(*sys.argv[1:]).run())
