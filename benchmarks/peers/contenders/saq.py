"""saq: lists and BLMOVE by redis-py.

Settings: concurrency=100, max_concurrent_ops=100 (its default of 20 caps the connections, and so what 100 slots can
do). Results are kept 10 minutes, its default; retries=1, its default. A job stands in ``active`` until after its run,
and the sweep (60 s) ends what a crashed worker left as aborted. ``scheduled`` is whole seconds: rounded up, never
early. It has no call for many jobs that does not wait for their results. Source: the docstrings of its Worker and
RedisQueue.
"""

from __future__ import annotations

import math

import peer
from saq import Queue, Worker


def queue() -> Queue:
    return Queue.from_url(peer.URL, name="bench", max_concurrent_ops=100)


def function(job):
    async def run(ctx, *, number, body):
        await job(number, body)

    return run


class Saq(peer.Peer):
    async def open(self) -> None:
        self.queue = queue()
        await self.queue.connect()

    async def enqueue(self, job: str, number: float, due: float | None = None) -> None:
        more = {} if due is None else {"scheduled": math.ceil(due)}
        await self.queue.enqueue(job, number=number, body=peer.BODY, **more)

    def work(self) -> None:
        async def work() -> None:
            functions = [(name, function(job)) for name, job in peer.JOBS.items()]
            await Worker(queue(), functions, concurrency=peer.CONCURRENCY).start()

        peer.run(work())


if __name__ == "__main__":
    peer.main(Saq())
