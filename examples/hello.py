"""The smallest whole: declare a handler, enqueue a job, run a worker, read the result."""

import asyncio
import os

from streamq import Queue, Worker

# Without a URL in the environment, streamq starts the server it brings along for development.
os.environ.setdefault("STREAMQ_ENV", "development")

queue = Queue("hello")


@queue.handler("greet")
async def greet(name: str, punctuation: str = "!") -> str:
    return f"Hello, {name}{punctuation}"


async def main() -> None:
    async with queue, Worker(queue):
        job = await greet.enqueue("Ada")
        print(f"Enqueued job {job.id}.")
        print(await job.result(timeout=10))
        print(f"It is {await job.state()}.")


asyncio.run(main())
