"""BullMQ for Python.

Settings: concurrency=100 (default 1; its one connection carries a call at a time, so it changes little); lockDuration
and stalledInterval 30 s, its defaults; completed jobs are kept for ever, its default. Acknowledges after the run. Bulk
is ``addBulk``. Source: its guide, "Workers: Concurrency", and the defaults in its Worker.
"""

from __future__ import annotations

import asyncio
import time

import peer
from bullmq import Queue, Worker

CONNECTION = {"connection": peer.URL}


async def process(job, token):
    await peer.JOBS[job.name](job.data["number"], job.data["body"])


class Peer(peer.Peer):
    async def open(self) -> None:
        self.queue = Queue("bench", CONNECTION)

    async def enqueue(self, job: str, number: float, due: float | None = None) -> None:
        more = {} if due is None else {"delay": max(0, round((due - time.time()) * 1000 + 0.5))}
        await self.queue.add(job, {"number": number, "body": peer.BODY}, more)

    async def bulk(self, job: str, numbers: list[int]) -> None:
        await self.queue.addBulk([{"name": job, "data": {"number": n, "body": peer.BODY}} for n in numbers])

    def work(self) -> None:
        async def work() -> None:
            worker = Worker("bench", process, {**CONNECTION, "concurrency": peer.CONCURRENCY})
            await asyncio.Event().wait()
            await worker.close()

        peer.run(work())


if __name__ == "__main__":
    peer.main(Peer())
