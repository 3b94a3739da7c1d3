"""What a handler can say about its next attempt, and what is kept of the failed ones."""

import asyncio
import os

from streamq import Context, Exponential, Queue, RateLimited, Retry, Worker
from streamq.errors import JobDead

# Without a URL in the environment, streamq starts the server it brings along for development.
os.environ.setdefault("STREAMQ_ENV", "development")

queue = Queue("retries", max_attempts=4, backoff=Exponential(0.1))
asked_too_fast: set[str] = set()


@queue.handler("send", no_retry=(ValueError,))
async def send(ctx: Context, address: str) -> str:
    print(f"  attempt {ctx.attempt} of {ctx.max_attempts} for {address}")
    if "@" not in address:
        raise ValueError(f"{address!r} is no address")  # in no_retry: it would be as wrong next time
    if ctx.job_id not in asked_too_fast:
        asked_too_fast.add(ctx.job_id)
        raise RateLimited(after=0.2)  # not our fault, so it uses up no attempt
    if ctx.attempt == 1:
        raise ConnectionError("the provider hung up")  # any exception: again after the backoff
    if ctx.attempt == 2:
        raise Retry("the provider asked for patience", after=0.3)  # again after this, whatever the backoff
    return f"sent to {address} at attempt {ctx.attempt}"


async def main() -> None:
    async with queue, Worker(queue):
        job = await send.enqueue("ada@example.com")
        print(await job.result(timeout=10))
        for error in (await job.info()).errors:
            print(f"  attempt {error.attempt} failed after {error.duration:.3f} s: {error.type}: {error.message}")

        hopeless = await send.enqueue("nobody")
        try:
            await hopeless.result(timeout=10)
        except JobDead as dead:
            print(f"Given up: {dead.reason}.")
        await queue.dlq.purge(hopeless.id)


asyncio.run(main())
