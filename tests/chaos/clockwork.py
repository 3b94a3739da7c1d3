"""A scheduler process: ``python -m tests.chaos.clockwork``. Fires a tick every second, whoever else does."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from streamq import Queue, Scheduler
from streamq.errors import RedisUnavailable
from tests.chaos import ticks
from tests.chaos.actor import arguments
from tests.ledger import Ledger

PERIOD = 1.0


async def fire(options: Any) -> None:
    ledger = Ledger(Path(options.ledger), options.name)
    queue = Queue("chaos", url=options.url, prefix=options.prefix)
    scheduler = Scheduler(queue)

    @scheduler.every(PERIOD, id=ticks.SCHEDULE, misfire="catch_up", catch_up=1000)
    async def tick() -> None:
        """Run by the workers."""

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, scheduler.stop)
    ledger.write("ready", worker=options.name)
    while True:
        try:
            await scheduler.run()
            break
        except RedisUnavailable:
            await asyncio.sleep(0.2)  # only at start: later it waits by itself
    await queue.aclose()
    ledger.write("stopped")


def main() -> None:
    asyncio.run(fire(arguments(__doc__).parse_args()))


if __name__ == "__main__":
    main()
