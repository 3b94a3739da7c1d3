"""streamq of this checkout, all defaults.

Settings: Worker(concurrency=100), which is its default; no result is kept of a handler that returns None. uvloop with
PEER_LOOP=uvloop (extra ``fast``). Only for streamq's own measures: PEER_WORKERS, so many workers in one process, and
PEER_QUEUES, so many queues on each, which get the jobs by turns.
"""

from __future__ import annotations

import asyncio
import gc
import os
from datetime import UTC, datetime

import peer

from streamq import Queue, Worker

WORKERS = int(os.environ.get("PEER_WORKERS", "1"))
QUEUES = int(os.environ.get("PEER_QUEUES", "1"))


class Streamq(peer.Peer):
    async def open(self) -> None:
        self.queues = declare()

    async def enqueue(self, job: str, number: float, due: float | None = None) -> None:
        _, handlers = self.queues[int(number) % QUEUES]
        handler = handlers[job] if due is None else handlers[job].with_options(at=at(due))
        await handler.enqueue(number, peer.BODY)

    async def bulk(self, job: str, numbers: list[int]) -> None:
        for place, (queue, handlers) in enumerate(self.queues):
            await queue.enqueue_many([handlers[job].job(number, peer.BODY) for number in numbers[place::QUEUES]])

    async def bulk_due(self, job: str, numbers: list[int], due: float) -> None:
        for place, (queue, handlers) in enumerate(self.queues):
            handler = handlers[job].with_options(at=at(due))
            await queue.enqueue_many([handler.job(number, peer.BODY) for number in numbers[place::QUEUES]])

    async def active(self) -> int:
        return sum([(await queue.counts()).active for queue, _ in self.queues])

    def work(self) -> None:
        async def work() -> None:
            gc.collect()
            gc.freeze()  # as the command `streamq worker` does
            workers = [Worker([queue for queue, _ in declare()], concurrency=peer.CONCURRENCY) for _ in range(WORKERS)]
            await asyncio.gather(*[worker.run() for worker in workers])

        peer.run(work())


def declare():
    queues = [Queue(f"bench-{number}" if number else "bench", url=peer.URL) for number in range(QUEUES)]
    return [(queue, {name: queue.handler(name)(job) for name, job in peer.JOBS.items()}) for queue in queues]


def at(due):
    return datetime.fromtimestamp(due, UTC)


if __name__ == "__main__":
    peer.main(Streamq())
