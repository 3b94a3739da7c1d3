"""A producer process: ``python -m tests.chaos.sender``. Writes down each job before it is sent, and the answer.

It goes on until it has sent ``--count`` jobs and was told so by SIGUSR1, at ``--rate`` jobs a second until then.
"""

from __future__ import annotations

import asyncio
import random
import signal
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from streamq import Priority, Queue, sending
from streamq._core.ids import new_id
from streamq.errors import EnqueueTimeout, EnqueueUnknown, RedisUnavailable, StreamqError
from tests.chaos.actor import arguments, make_queue, real_time
from tests.ledger import Ledger

AT_ONCE = 50

_expected: ContextVar[dict[str, Any]] = ContextVar("expected")


class Sender:
    """Sends jobs of all kinds, each with an id that stands in the ledger before it is sent."""

    def __init__(self, queue: Queue, ledger: Ledger, name: str, seed: int, *, lines: bool) -> None:
        self.sent = 0
        self._queue = queue
        self._ledger = ledger
        self._name = name
        self._chance = random.Random(f"{name} {seed}")
        self._lines = lines
        self._room = asyncio.Semaphore(AT_ONCE)

        def noting(partition: int = 0) -> str:
            made = new_id(partition)
            self._try(made, _expected.get())
            return made

        # The id is made inside of enqueue(), and must be known if we are killed.
        setattr(sending, "new_id", noting)  # noqa: B010 - it is imported there, not exported

    def _try(self, job_id: str, expected: dict[str, Any]) -> None:
        expected["id"] = job_id
        delay, lane = expected["delay"], expected["lane"]
        more = {"due": real_time() + delay} if delay else {"lane": lane} if lane is not None else {}
        self._ledger.write("try", job_id, **more)

    def draw(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Choose a handler, its arguments and options."""
        chance = self._chance
        payload = {"seconds": round(chance.uniform(0.005, 0.08), 3)}
        kind = chance.random()
        name, options = "work", dict[str, Any]()
        if kind < 0.10:
            name = "flaky"
        elif kind < 0.14:
            name, payload = "block", {"seconds": 0.02}
        elif kind < 0.26:
            options["delay"] = round(chance.uniform(0.1, 2.0), 2)
        elif kind < 0.28:
            options["delay"] = 8.0  # to be cancelled
        elif kind < 0.38 and self._lines:
            options["group"] = f"g{chance.randrange(3)}"
        elif kind < 0.50:
            options["priority"] = chance.choice(list(Priority))
        if chance.random() < 0.5:
            options["job_id"] = f"{self._name}-{self.sent}"
        return name, payload, options

    async def one(self) -> None:
        """Send a job and note what was said; then the next may."""
        self.sent += 1
        name, payload, options = self.draw()
        is_plain = not options.keys() & {"delay", "group"}
        lane = int(options.get("priority", Priority.NORMAL)) if is_plain else None
        expected: dict[str, Any] = {"id": "", "delay": options.get("delay", 0.0), "lane": lane}
        _expected.set(expected)
        if "job_id" in options:
            self._try(options["job_id"], expected)
        try:
            job = await self._queue.enqueue(name, payload, **options)
        except EnqueueUnknown:
            self._ledger.write("unknown", expected["id"])
        except EnqueueTimeout:
            self._ledger.write("unsent", expected["id"])
        except StreamqError as problem:
            self._ledger.write("refused", expected["id"], said=str(problem)[:200])
        else:
            self._ledger.write("ok", job.id)
            if options.get("delay") == 8.0:
                self._ledger.write("cancelling", job.id)  # whoever is killed now does not say what came of it
                try:
                    self._ledger.write("cancelled" if await job.cancel() else "kept", job.id)
                except RedisUnavailable:
                    self._ledger.write("uncertain", job.id)
                except StreamqError as problem:
                    self._ledger.write("uncertain", job.id, said=str(problem)[:200])
        finally:
            self._room.release()

    async def all(self, count: int, rate: float, told: asyncio.Event) -> None:
        """Send until there are enough and we are told."""
        async with asyncio.TaskGroup() as tasks:
            while self.sent < count or not told.is_set():
                await self._room.acquire()
                tasks.create_task(self.one())
                if not told.is_set():
                    await asyncio.sleep(self._chance.expovariate(rate))


async def send(options: Any) -> None:
    ledger = Ledger(Path(options.ledger), options.name)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told.set)
    # Not "async with", which wants the server at once: it may be away, and enqueueing waits for it.
    queue = make_queue(options.url, options.prefix, lines=options.lines, enqueue_timeout=15)
    try:
        sender = Sender(queue, ledger, options.name, options.seed, lines=options.lines)
        ledger.write("ready", worker=options.name)
        await sender.all(options.count, options.rate, told)
    finally:
        await queue.aclose()
    ledger.write("done", sent=sender.sent)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(send(parser.parse_args()))


if __name__ == "__main__":
    main()
