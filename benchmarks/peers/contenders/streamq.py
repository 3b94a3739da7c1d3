"""streamq of this checkout, all defaults.

Settings: Worker(concurrency=100), which is its default; no result is kept of a handler that returns None. uvloop with
PEER_LOOP=uvloop (extra ``fast``). PEER_WORKERS: so many workers in one process, for the cost of idle ones.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime

import peer

from streamq import Queue, Worker

WORKERS = int(os.environ.get("PEER_WORKERS", "1"))


class Streamq(peer.Peer):
    async def open(self) -> None:
        self.queue, self.handlers = declare()

    async def enqueue(self, job: str, number: float, due: float | None = None) -> None:
        handler = self.handlers[job]
        if due is not None:
            handler = handler.with_options(at=datetime.fromtimestamp(due, UTC))
        await handler.enqueue(number, peer.BODY)

    async def bulk(self, job: str, numbers: list[int]) -> None:
        handler = self.handlers[job]
        await self.queue.enqueue_many([handler.job(number, peer.BODY) for number in numbers])

    async def active(self) -> int:
        return (await self.queue.counts()).active

    def work(self) -> None:
        async def work() -> None:
            workers = [Worker(declare()[0], concurrency=peer.CONCURRENCY) for _ in range(WORKERS)]
            await asyncio.gather(*[worker.run() for worker in workers])

        peer.run(work())


def declare():
    queue = Queue("bench", url=peer.URL)
    return queue, {name: queue.handler(name)(job) for name, job in peer.JOBS.items()}


if __name__ == "__main__":
    peer.main(Streamq())
