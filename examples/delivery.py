"""One queue for many shops: a provider's limit, fair turns, no doubles, what is urgent, and a digest."""

import asyncio
import os
from time import monotonic

from streamq import Dedup, Group, Priority, Queue, RateLimit, Worker

# Without a URL in the environment, streamq starts the server it brings along for development.
os.environ.setdefault("STREAMQ_ENV", "development")

queue = Queue("delivery", group=Group(concurrency=3), limits={"twilio": RateLimit(10, per=0.5)})
sent: list[tuple[float, str]] = []


@queue.handler("sms")
async def sms(shop: str, text: str) -> None:
    sent.append((monotonic(), f"{shop}: {text}"))
    await asyncio.sleep(0.01)


@queue.batch_handler("digest", size=50, quiet=0.3, max_delay=5)
async def digest(comments: list[str]) -> None:
    print(f"One mail about {len(comments)} comments: {', '.join(comments)}")


async def main() -> None:
    async with queue:
        big, small = (sms.with_options(group=shop, rate_key="twilio") for shop in ("big", "small"))
        jobs = await queue.enqueue_many(big.job("big", f"offer {n}") for n in range(30))
        jobs.append(await small.enqueue("small", "your parcel is here"))

        reminder = sms.with_options(group="small", rate_key="twilio", dedup=Dedup("reminder:c_1"))
        first, again = [await reminder.enqueue("small", "an appointment tomorrow") for _ in range(2)]
        print(f"The second reminder is {'a new job' if again.created else 'the first one'}: {again.id == first.id}")

        code = sms.with_options(group="big", rate_key="twilio", priority=Priority.CRITICAL, expires_in=60)
        jobs += [first, await code.enqueue("big", "your code is 4711")]
        mails = [await digest.with_options(group="small").enqueue(text) for text in ("nice", "very nice", "thanks")]
        print(await queue.explain(jobs[20].id))

        async with Worker(queue, concurrency=20):
            for job in [*jobs, *mails]:
                await job.result(timeout=20)

        order = [text for _, text in sent]
        print(f"Sent first: {order[0]}")
        places = [str(number) for number, text in enumerate(order, 1) if text.startswith("small")]
        print(f"Those of the small shop were number {' and '.join(places)} of {len(order)}.")
        print(f"That took {sent[-1][0] - sent[0][0]:.1f} s: no more than 10 in any half second.")


asyncio.run(main())
