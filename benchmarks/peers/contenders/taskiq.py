"""taskiq with RedisStreamBroker of taskiq-redis, the one of its brokers that acknowledges.

Settings: max_async_tasks=100 (its default); max_prefetch=100, so that slots need not wait for a read; xread_count=100
(default); no result backend (default). Acknowledges after the run (``when_saved``, default); idle_timeout 10 minutes,
its default. Worker by ``run_receiver_task``, its documented way without the command line, so that the event loop is the
one asked for; its command line takes uvloop wherever that is installed. Delays need its separate scheduler process,
which is not measured. It has no call for many jobs. Source: the docstrings of run_receiver_task and RedisStreamBroker.
"""

from __future__ import annotations

import peer
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker(url=peer.URL, queue_name="bench")
TASKS = {name: broker.register_task(job, task_name=name) for name, job in peer.JOBS.items()}


class Taskiq(peer.Peer):
    async def open(self) -> None:
        await broker.startup()

    async def enqueue(self, job: str, number: float, due: float | None = None) -> None:
        if due is not None:
            raise peer.Unsupported("delays need a separate scheduler")
        await TASKS[job].kiq(number, peer.BODY)

    def work(self) -> None:
        peer.run(
            run_receiver_task(broker, max_async_tasks=peer.CONCURRENCY, max_prefetch=peer.CONCURRENCY, run_startup=True)
        )


if __name__ == "__main__":
    peer.main(Taskiq())
