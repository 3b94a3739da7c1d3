"""arq: a sorted set that is polled, by redis-py.

Settings: max_jobs=100 (queue_read_limit follows: 500); poll_delay=0.01 s instead of 0.5, because it reads at most
queue_read_limit jobs a poll, and a job waits for half a poll at the median; log_results=False. Results are kept an
hour, its default. A job stays in the set until after its run; a crashed worker's jobs come back when their in-progress
key expires (job_timeout 300 s + 10, default). It has no call for many jobs. Source: the docstring of its Worker.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import peer
from arq import create_pool, func
from arq.connections import RedisSettings
from arq.worker import Worker

SETTINGS = RedisSettings(port=peer.PORT, host="127.0.0.1")


def function(job):
    async def run(ctx, number, body):
        await job(number, body)

    return run


class Arq(peer.Peer):
    async def open(self) -> None:
        self.pool = await create_pool(SETTINGS)

    async def enqueue(self, job: str, number: float, due: float | None = None) -> None:
        when = None if due is None else datetime.fromtimestamp(due, UTC)
        await self.pool.enqueue_job(job, number, peer.BODY, _defer_until=when)

    def work(self) -> None:
        async def work() -> None:
            functions = [func(function(job), name=name) for name, job in peer.JOBS.items()]
            worker = Worker(
                functions, redis_settings=SETTINGS, max_jobs=peer.CONCURRENCY, poll_delay=0.01, log_results=False
            )
            await worker.async_run()
            await asyncio.Event().wait()

        peer.run(work())


if __name__ == "__main__":
    peer.main(Arq())
