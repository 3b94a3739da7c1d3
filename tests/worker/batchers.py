"""A worker process with a batch handler, for the tests to kill: ``python -m tests.worker.batchers URL PREFIX FILE``.

Every call writes its items as one line of FILE; while FILE.hold exists, it waits before it ends.
"""

import asyncio
import sys
from pathlib import Path

from streamq import BatchContext, Fixed, Queue, Worker


def make(url: str, prefix: str, file: Path, **options: float) -> Queue:
    """The queue of these processes."""
    queue = Queue("q", url=url, prefix=prefix, backoff=Fixed(0))
    hold = file.with_suffix(".hold")

    @queue.batch_handler("sync", size=5, wait=options.get("wait", 0.1))
    async def sync(ctx: BatchContext, items: list[int]) -> None:
        with file.open("a") as lines:
            lines.write(" ".join(map(str, items)) + f" | {ctx.stalls}\n")
        while hold.exists():  # noqa: ASYNC110 - the test has no other way to reach a process it kills
            await asyncio.sleep(0.01)

    return queue


if __name__ == "__main__":
    asyncio.run(Worker(make(sys.argv[1], sys.argv[2], Path(sys.argv[3])), concurrency=4, lease=1.5).run())
