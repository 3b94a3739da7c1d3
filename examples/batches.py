"""Many jobs in one call: items of one tenant together, one of them failing, and a digest after a pause."""

import asyncio
import os

import msgspec

from streamq import BatchContext, Fixed, Job, Queue, Worker

# Without a URL in the environment, streamq starts the server it brings along for development.
os.environ.setdefault("STREAMQ_ENV", "development")

queue = Queue("batches", backoff=Fixed(0.1))


class Contact(msgspec.Struct):
    """One item."""

    id: int
    tenant: str


# Three at once, or what there is half a second after the oldest; never contacts of two tenants in one call.
@queue.batch_handler("sync", size=3, wait=0.5, key="tenant")
async def sync(ctx: BatchContext, items: list[Contact]) -> list[str]:
    print(f"  one request for {items[0].tenant}: {[contact.id for contact in items]}")
    for item, contact in zip(ctx.items, items, strict=True):
        if contact.id == 2 and item.attempt == 1:
            item.fail(ConnectionError("refused by the provider"))  # the others are done; this one comes back
    return [f"contact {contact.id} synced at attempt {ctx.items[at].attempt}" for at, contact in enumerate(items)]


# After 0.3 s without a new one, at the latest after two seconds.
@queue.batch_handler("digest", quiet=0.3, max_delay=2)
async def digest(items: list[str]) -> None:
    print(f"  one mail about {len(items)} comments: {', '.join(items)}")


async def main() -> None:
    async with queue, Worker(queue):
        contacts = [*(Contact(number, "acme") for number in range(1, 5)), Contact(9, "globex")]
        jobs = await queue.enqueue_many([sync.job(contact) for contact in contacts])
        for job in jobs:
            print(await job.result(timeout=10))

        comments: list[Job[None]] = []
        for text in ("nice", "very nice", "thanks"):
            comments.append(await digest.enqueue(text))
            await asyncio.sleep(0.1)
        for comment in comments:
            await comment.result(timeout=10)


asyncio.run(main())
