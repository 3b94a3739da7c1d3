"""Jobs for later: after a while, at an instant, in portions, and called forward."""

import asyncio
import os
from datetime import UTC, datetime, timedelta

from streamq import Context, Queue, Worker

# Without a URL in the environment, streamq starts the server it brings along for development.
os.environ.setdefault("STREAMQ_ENV", "development")

queue = Queue("delays")


@queue.handler("remind")
async def remind(ctx: Context, what: str, due: datetime | None = None) -> str:
    if due is None:
        return what
    late = (ctx.now() - due).total_seconds() * 1000  # by the server's clock, so that all workers agree
    return f"{what}, {'never early' if late >= 0 else 'EARLY'}, {late:.0f} ms late"


async def main() -> None:
    async with queue, Worker(queue):
        at = datetime.now(UTC) + timedelta(seconds=0.5)
        job = await remind.with_options(at=at).enqueue("at an instant", due=at)
        print(f"Now it is {await job.state()}.")
        print(await job.result(timeout=10))

        far = await remind.with_options(delay=timedelta(days=1)).enqueue("tomorrow, called forward")
        await far.promote()
        print(await far.result(timeout=10))

        unwanted = await remind.with_options(delay=3600).enqueue("in an hour")
        await unwanted.cancel()
        print(f"The one in an hour is {await unwanted.state()}.")

        # Two at once, two more 0.3 s later, and the last 0.6 s later: for providers that dislike crowds.
        portions = await queue.enqueue_many([remind.job(f"portion {n // 2 + 1}") for n in range(5)], chunk=2, every=0.3)
        print(", ".join([await one.result(timeout=10) for one in portions]))


asyncio.run(main())
