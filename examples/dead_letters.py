"""What happens to jobs that are given up on: kept with their history, looked at, replayed."""

import asyncio
import os

from streamq import Fixed, Queue, Worker
from streamq.errors import JobDead

# Without a URL in the environment, streamq starts the server it brings along for development.
os.environ.setdefault("STREAMQ_ENV", "development")

queue = Queue("dead-letters", max_attempts=2, backoff=Fixed(0.05))
provider_is_up = asyncio.Event()


@queue.handler("notify")
async def notify(user: str) -> str:
    if not provider_is_up.is_set():
        raise ConnectionError("provider unreachable")
    return f"{user} notified"


async def main() -> None:
    async with queue, Worker(queue):
        jobs = await queue.enqueue_many([notify.job(user) for user in ("ada", "grace", "edsger")])
        for job in jobs:
            try:
                await job.result(timeout=10)
            except JobDead as dead:
                print(f"Dead: {dead.error_type}: {dead.message} ({dead.reason}).")

        async for letter in queue.dlq.list(error="unreachable"):
            print(
                f"  {letter.name}({letter.payload}) failed {letter.attempts} times, last: {letter.errors[-1].message}"
            )

        provider_is_up.set()
        would = await queue.dlq.replay_all(error="unreachable", dry_run=True)
        print(f"The provider is back. A replay would put back {would.replayed} jobs.")
        done = await queue.dlq.replay_all(error="unreachable", rate=20)
        print(f"Replayed {done.replayed}, at most 20 a second.")
        for job in jobs:
            print(f"  {await job.result(timeout=10)}")
        print(f"Dead letters left: {await queue.dlq.count()}.")


asyncio.run(main())
