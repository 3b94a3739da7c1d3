"""A worker process for the matrix, to be killed: ``python -m tests.matrix.actor FOLDER NAME``. Writes a ledger."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import msgspec

from streamq import Scheduler, Worker
from streamq._store.verbs import Item
from tests.ledger import Ledger
from tests.matrix.world import World, watch

CASTS = "casts.json"


class Casts(msgspec.Struct):
    """What a crew plays: names of features by prefix. ``seconds``: how long a job takes."""

    url: str
    plays: dict[str, list[str]]
    seconds: float = 0.1
    lease: float = 1.5


async def work(folder: Path, name: str) -> None:
    casts = msgspec.json.decode((folder / CASTS).read_bytes(), type=Casts)
    ledger = Ledger(folder, name)

    def settled(prefix: str, answers: list[tuple[Item, str]]) -> None:
        for item, answer in answers:
            job = item.id.decode("utf-8", "replace")
            ledger.write("settled", job, scene=prefix, verb=item.verb.decode(), answer=answer)

    watch(settled)
    worlds = [
        World(casts.url, prefix, names, ledger.write, folder, seconds=casts.seconds)
        for prefix, names in casts.plays.items()
    ]
    worker = Worker(
        [one.queue for one in worlds],
        concurrency=300,
        lease=casts.lease,
        grace=5,
        max_stalls=20,
        name=name,
        scheduler=[Scheduler(one.queue) for one in worlds if "schedule" in one.names],
    )
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    async with worker:
        ledger.write("ready", worker=worker.name)
        await told.wait()
    for one in worlds:
        await one.aclose()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2]))
