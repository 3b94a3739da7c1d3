"""How a worker ends: what runs may finish within the grace, what cannot is handed back, and nobody loses an attempt."""

import asyncio
import os

from streamq import Context, Queue, Worker

# Without a URL in the environment, streamq starts the server it brings along for development.
os.environ.setdefault("STREAMQ_ENV", "development")

queue = Queue("graceful-shutdown")
running = asyncio.Semaphore(0)
may_end = asyncio.Event()


@queue.handler("short")
async def short(ctx: Context) -> int:
    running.release()
    await asyncio.sleep(0.3)  # the work
    return ctx.attempt


@queue.handler("endless")
async def endless(ctx: Context) -> int:
    running.release()
    await may_end.wait()
    return ctx.attempt


async def main() -> None:
    async with queue:
        first = Worker(queue, concurrency=2, grace=1.0)
        async with first:
            jobs = [await handler.enqueue() for handler in (short, endless, short)]
            await running.acquire()
            await running.acquire()
            print("Two jobs run, one waits. The worker is asked to stop, as SIGTERM would do.")
        print(f"After its grace it handed back {first.handed_back}.")
        print(f"The jobs are now: {', '.join([await job.state() for job in jobs])}.")

        may_end.set()
        async with Worker(queue):
            attempts = [await job.result(timeout=10) for job in jobs]
        print(f"The next worker ran the others. All ended at attempt {attempts}.")


asyncio.run(main())
