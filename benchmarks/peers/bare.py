"""The limit: what redis-py does without a queue. XADD; XREADGROUP 100, a task per entry, one pipelined XACK + XDEL.

No retries, no delays, no leases, nothing of a queue: what remains is client, event loop and server. Speaks the
contenders' protocol (peer.py).
"""

from __future__ import annotations

import asyncio
from typing import Any

import peer
import redis.asyncio

CHUNK = 500


def connect() -> Any:
    kind: Any = redis.asyncio.Redis
    return kind.from_url(peer.URL, protocol=2)


class Bare(peer.Peer):
    def __init__(self) -> None:
        self.client: Any = None

    async def open(self) -> None:
        self.client = connect()
        await self.client.xgroup_create("bare", "g", "0", mkstream=True)

    async def enqueue(self, job: str, number: float, due: float | None = None) -> None:
        if due is not None:
            raise peer.Unsupported("a stream has no delays")
        await self.client.xadd("bare", {"j": job, "n": number, "b": peer.BODY})

    async def bulk(self, job: str, numbers: list[int]) -> None:
        for first in range(0, len(numbers), CHUNK):
            pipe = self.client.pipeline(transaction=False)
            for number in numbers[first : first + CHUNK]:
                pipe.xadd("bare", {"j": job, "n": number, "b": peer.BODY})
            await pipe.execute()

    def work(self) -> None:
        peer.run(loop())


async def loop() -> None:
    client = connect()
    jobs = {name.encode(): job for name, job in peer.JOBS.items()}
    while True:
        reply = await client.xreadgroup("g", str(id(client)), {"bare": ">"}, count=peer.CONCURRENCY, block=1000)
        if not reply:
            continue
        entries = reply[0][1]
        await asyncio.gather(
            *[asyncio.create_task(jobs[fields[b"j"]](float(fields[b"n"]), "")) for _, fields in entries]
        )
        ids = [entry for entry, _ in entries]
        pipe = client.pipeline(transaction=False)
        pipe.xack("bare", "g", *ids)
        pipe.xdel("bare", *ids)
        await pipe.execute()


if __name__ == "__main__":
    peer.main(Bare())
