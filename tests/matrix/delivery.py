"""A delivery system with every feature in one queue, and its worker process: ``python -m tests.matrix.delivery``.

Tenants are groups, providers have limits, a contact gets one message at a time, messages are deduplicated, events are
collected into digests, a profile keeps its latest change, a heartbeat is scheduled.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from streamq import (
    BatchContext,
    CircuitBreaker,
    Context,
    Dedup,
    Discard,
    Fatal,
    Fixed,
    Group,
    Keep,
    Priority,
    Queue,
    RateLimit,
    RateLimited,
    Scheduler,
    Worker,
)
from streamq._store.verbs import Item
from streamq.handler import BoundHandler, Handler
from tests.ledger import Ledger
from tests.matrix.world import Note, taken, watch

TWILIO = RateLimit(20, per=0.5)
SENDGRID = RateLimit(30, per=0.5, burst=10)
OF_TENANT, OF_QUEUE = 4, 25
DIGEST = 5
TICKS = 8
ONCE = Dedup(by=("n",), mode="throttle", ttl=120)


class Event(msgspec.Struct):
    """An item of a digest."""

    n: int
    contact: str


class Delivery:
    """The queue and its handlers. ``down``: the e-mail provider does not answer while this file is there."""

    def __init__(self, url: str, prefix: str, note: Note, folder: Path) -> None:
        self.down = folder / "down"
        self.note = note
        self.queue = queue = Queue(
            "delivery",
            url=url,
            prefix=prefix,
            global_concurrency=OF_QUEUE,
            group=Group(concurrency=OF_TENANT, size=2_000),
            limits={"twilio": TWILIO, "sendgrid": SENDGRID},
            lanes={"critical": 16, "high": 8, "normal": 4, "low": 2, "background": 1},
            max_wait=5,
            max_pending=5_000,
            max_attempts=10,
            backoff=Fixed(0.05),
            keep_completed=Keep(count=100_000),
        )
        self.breaker = CircuitBreaker("sendgrid", failures=3, open_for=0.2, handlers=("email",))
        queue.use(self.breaker)
        self.sms, self.email, self.profile = self._sms(), self._email(), self._profile()
        self.digest, self.heartbeat = self._digest(), self._heartbeat()
        self.scheduler = Scheduler(queue)
        self.scheduler.every(0.3, id="beat", limit=TICKS)(self.heartbeat)

    def _begin(self, ctx: Context, n: int, **more: object) -> None:
        self.note("start", ctx.job_id, call=ctx.job_id, handler=ctx.name, n=n, taken=taken(ctx), **more)

    def _end(self, ctx: Context) -> None:
        self.note("end", ctx.job_id, call=ctx.job_id)

    def _sms(self) -> Handler[[int, str, str], None]:
        @self.queue.handler("sms", concurrency_key="contact", key_concurrency=1, dedup=ONCE)
        async def sms(ctx: Context, n: int, contact: str, tenant: str) -> None:
            self._begin(ctx, n, contact=contact, tenant=tenant)
            try:
                await asyncio.sleep(0.02)
                if n % 10 == 3 and ctx.attempt == 1:
                    raise ValueError("try again")
                if n % 40 == 7 and ctx.fence >> 20 == 0:
                    raise RateLimited(after=0.1)
                if n % 50 == 9:
                    raise Fatal("no such number")
                if n % 50 == 11:
                    raise Discard("unsubscribed")
            finally:
                self._end(ctx)

        return sms

    def _email(self) -> Handler[[int, str], None]:
        @self.queue.handler("email", priority=Priority.HIGH)
        async def email(ctx: Context, n: int, tenant: str) -> None:
            self._begin(ctx, n, tenant=tenant)
            try:
                await asyncio.sleep(0.01)
                if self.down.exists():
                    raise ConnectionError("no answer")
            finally:
                self._end(ctx)

        return email

    def _profile(self) -> Handler[[int, str], None]:
        @self.queue.handler("profile", priority=Priority.LOW)
        async def profile(ctx: Context, n: int, contact: str) -> None:
            self._begin(ctx, n, contact=contact)
            await asyncio.sleep(0.02)
            self._end(ctx)

        return profile

    def _digest(self) -> BoundHandler[[Event], Any]:
        @self.queue.batch_handler("digest", size=DIGEST, quiet=0.1, max_delay=0.4, key="contact")
        async def digest(ctx: BatchContext, events: list[Event]) -> None:
            self.note("digest", ctx.job_id, events=[(one.n, one.contact) for one in events])
            for one, event in zip(ctx.items, events, strict=True):
                self._begin(one, event.n)
            await asyncio.sleep(0.02)
            for one in ctx.items:
                self._end(one)

        return digest

    def _heartbeat(self) -> Handler[[], None]:
        @self.queue.handler("heartbeat", concurrency=1, priority=Priority.CRITICAL)
        async def heartbeat(ctx: Context) -> None:
            self._begin(ctx, 0)
            await asyncio.sleep(0.02)
            self._end(ctx)

        return heartbeat


async def work(folder: Path, name: str) -> None:
    settings: dict[str, Any] = json.loads((folder / "delivery.json").read_text())
    ledger = Ledger(folder, name)

    def settled(prefix: str, answers: list[tuple[Item, str]]) -> None:
        for item, answer in answers if prefix else ():
            ledger.write("settled", item.id.decode("utf-8", "replace"), verb=item.verb.decode(), answer=answer)

    watch(settled)
    system = Delivery(settings["url"], settings["prefix"], ledger.write, folder)
    worker = Worker(
        system.queue, concurrency=20, lease=1.5, grace=5, max_stalls=20, name=name, scheduler=system.scheduler
    )
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    async with worker:
        ledger.write("ready", worker=worker.name)
        await told.wait()
    await system.queue.aclose()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2]))
