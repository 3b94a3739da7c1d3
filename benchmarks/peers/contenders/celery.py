"""Celery on Redis.

Settings: task_acks_late=True, so that a task is acknowledged after its run as everybody else's is; ignore_result=True
(no result backend is its default); no gossip, mingle or heartbeat (``--without-...`` of its command line). Pool: 100
threads, because waiting handlers need as many at once, with worker_prefetch_multiplier=1; ``celery:prefork`` is its
default pool, here two processes, with a multiplier of 64, the number its user guide ("Optimizing") names for many short
tasks. visibility_timeout an hour, its default. Its call blocks; it has no call for many tasks. Source: its user guide,
"Optimizing" and "Workers".
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

import peer
from celery import Celery

PREFORK = os.environ.get("PEER_VARIANT") == "prefork"

app = Celery("bench", broker=peer.URL)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=64 if PREFORK else 1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
TASKS = {name: app.task(name=name)(job) for name, job in peer.THREADED.items()}


class Peer(peer.Peer):
    threaded = True

    async def enqueue(self, job: str, number: float, due: float | None = None) -> None:
        TASKS[job].apply_async((number, peer.BODY), eta=None if due is None else datetime.fromtimestamp(due, UTC))

    def work(self) -> None:
        pool = (
            ["--pool=prefork", "--concurrency=2"]
            if PREFORK
            else ["--pool=threads", f"--concurrency={peer.CONCURRENCY}"]
        )
        app.worker_main(
            ["worker", *pool, "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
        )


if __name__ == "__main__":
    peer.main(Peer())
