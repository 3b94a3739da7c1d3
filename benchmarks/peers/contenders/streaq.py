"""streaq: Redis Streams by coredis and anyio.

Settings: concurrency=100 instead of 16, and the prefetch that follows from it; silent=True, since it otherwise logs
each task; results stay 5 minutes, its default. Acknowledges after the run; idle_timeout 60 s, its default. uvloop by
anyio_kwargs. Bulk is ``enqueue_many``. Source: the docstrings of its Worker and task.
"""

from __future__ import annotations

from datetime import UTC, datetime

import peer
from streaq import Worker

worker = Worker(
    redis_url=peer.URL, concurrency=peer.CONCURRENCY, anyio_kwargs={"use_uvloop": True} if peer.LOOP == "uvloop" else {}
)
TASKS = {name: worker.task(name=name, silent=True)(job) for name, job in peer.JOBS.items()}


class Streaq(peer.Peer):
    async def open(self) -> None:
        await worker.__aenter__()

    async def enqueue(self, job: str, number: float, due: float | None = None) -> None:
        task = TASKS[job].enqueue(number, peer.BODY)
        await (task if due is None else task.start(schedule=datetime.fromtimestamp(due, UTC)))

    async def bulk(self, job: str, numbers: list[int]) -> None:
        task = TASKS[job]
        await worker.enqueue_many([task.enqueue(number, peer.BODY) for number in numbers])

    def work(self) -> None:
        worker.run_sync()


if __name__ == "__main__":
    peer.main(Streaq())
