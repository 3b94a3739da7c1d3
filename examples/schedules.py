"""Jobs that are due: every so often, by the calendar, once; and a look at them."""

import asyncio
import os
from datetime import UTC, datetime

from streamq import Context, Queue, Scheduler, Worker

# Without a URL in the environment, streamq starts the server it brings along for development.
os.environ.setdefault("STREAMQ_ENV", "development")

queue = Queue("schedules")
scheduler = Scheduler(queue, tz="Europe/Athens")
done = asyncio.Queue[str]()


@scheduler.every(0.2, id="poll", limit=3)
async def poll(ctx: Context) -> None:
    await done.put(ctx.job_id)


@scheduler.cron("0 9 * * MON", id="weekly_report")
async def report() -> str:
    return "42 pages"


@queue.handler("remind")
async def remind(what: str) -> None:
    await done.put(what)


async def main() -> None:
    async with queue, Worker(queue, scheduler=scheduler), Worker(queue, scheduler=scheduler):
        ticks = [await done.get() for _ in range(3)]
        print(f"{len(set(ticks))} ticks, {len(ticks)} jobs, although two workers fire.")
        print(f"The job of a tick says which: {ticks[0]}")

        await scheduler.upsert("once", remind.job("dentist"), at=datetime.now(UTC))
        print(f"Once: {await done.get()}")

        for info in await scheduler.list():
            print(f"{info.id}: {info.when}, {f'next {info.next}' if info.next else 'over'}")

        job = await scheduler.trigger("weekly_report")
        print(f"Now, not on Monday: {await job.result(timeout=10)}")

        for schedule in await scheduler.list():
            await scheduler.remove(schedule.id)
        print(f"Left: {await scheduler.list()}")


asyncio.run(main())
