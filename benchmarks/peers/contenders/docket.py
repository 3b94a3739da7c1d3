"""docket (pydocket): Redis Streams by redis-py.

Settings: concurrency=100; max_connections=1000 in the url, since redis-py 8 caps a pool at 100 connections and docket
then raises; minimum_check_interval=10 ms instead of 250 (100 by its command line), because it sleeps that long whenever
every slot is busy, which is 400 jobs/s at the default. State is kept 15 minutes, its default. Acknowledges after the
run; redelivery_timeout 5 minutes, its default. Bulk is ``add_many``, its call for a batch. Source: the docstring of its
Worker, and ``docket worker --help``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import peer
from docket import Docket, Worker


def made() -> Docket:
    found = Docket(name="bench", url=f"{peer.URL}?max_connections=1000")
    for name, job in peer.JOBS.items():
        found.register(job, names=[name])
    return found


class Peer(peer.Peer):
    async def open(self) -> None:
        self.docket = await made().__aenter__()

    async def enqueue(self, job: str, number: float, due: float | None = None) -> None:
        when = None if due is None else datetime.fromtimestamp(due, UTC)
        await self.docket.add(job, when=when)(number, peer.BODY)

    async def bulk(self, job: str, numbers: list[int]) -> None:
        call = self.docket.call
        await self.docket.add_many([call(job)(number, peer.BODY) for number in numbers])

    def work(self) -> None:
        async def work() -> None:
            often = timedelta(milliseconds=10)
            async with (
                made() as docket,
                Worker(docket, concurrency=peer.CONCURRENCY, minimum_check_interval=often) as worker,
            ):
                await worker.run_forever()

        peer.run(work())


if __name__ == "__main__":
    peer.main(Peer())
