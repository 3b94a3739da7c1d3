"""dramatiq on Redis, by its command line.

Settings: one process with 100 threads (``--processes 1 --threads 100``; its default is one process a core with 8
threads each); prefetch follows (two messages a thread). No results, its default. Acknowledges after the run; a crashed
worker's messages come back by maintenance, one command in 1,000 after 60 s without a heartbeat, its default. Its call
blocks; it has no call for many messages. Source: ``dramatiq --help`` and the docstring of its RedisBroker.
"""

from __future__ import annotations

import os
import sys
import time

import dramatiq
import peer
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=peer.URL))
ACTORS = {name: dramatiq.actor(actor_name=name)(job) for name, job in peer.THREADED.items()}


class Peer(peer.Peer):
    threaded = True

    async def enqueue(self, job: str, number: float, due: float | None = None) -> None:
        delay = None if due is None else max(0, round((due - time.time()) * 1000 + 0.5))
        ACTORS[job].send_with_options(args=(number, peer.BODY), delay=delay)

    def work(self) -> None:
        command = ["dramatiq", "contenders.dramatiq", "--processes", "1", "--threads", str(peer.CONCURRENCY)]
        os.execv(sys.executable, [sys.executable, "-m", *command])


if __name__ == "__main__":
    peer.main(Peer())
