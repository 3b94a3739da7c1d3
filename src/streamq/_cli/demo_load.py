"""The service that ``streamq demo`` runs: notifications to providers that are not always well."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from .. import Context, Fatal, Fixed, JobSpec, Priority, Queue, RateLimited

CHANNELS = ("email:send", "sms:send", "push:send")
SHARES = (5, 3, 4)
DELAYED = 0.06
EVERY_BOUNCE = 300
TICK = 0.05


class MailboxUnknownError(Exception):
    """What a mail server says of an address that does not exist."""


class Load:
    """Handlers on a queue, the jobs for them, and how long the jobs waited for their start."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.waits: deque[float] = deque(maxlen=100_000)
        self.sent = 0
        self._made = 0
        self._dice = random.Random()  # noqa: S311 - chance, not cryptography
        retry = Fixed(0.25, jitter=0.5)
        self._email = queue.handler("email:send", max_attempts=4, backoff=retry)(self._send_email)
        self._sms = queue.handler("sms:send", max_attempts=4, backoff=retry)(self._send_sms)
        self._push = queue.handler("push:send", max_attempts=4, backoff=retry)(self._send_push)

    async def send(self, jobs: int, seconds: float) -> None:
        """Enqueue ``jobs`` notifications, spread evenly over ``seconds``."""
        began = time.monotonic()
        while self.sent < jobs:
            share = min(1.0, (time.monotonic() - began + TICK) / seconds) if seconds else 1.0
            due = max(1, int(jobs * share)) - self.sent
            await self._send(due)
            if self.sent < jobs:
                await asyncio.sleep(TICK)

    async def go_on(self, pace: float) -> None:
        """Enqueue ``pace`` notifications a second until cancelled."""
        began, before = time.monotonic(), self.sent
        while True:
            await self._send(int((time.monotonic() - began) * pace) - (self.sent - before))
            await asyncio.sleep(TICK)

    async def _send(self, number: int) -> None:
        for part in range(0, number, 500):
            await self.queue.enqueue_many(list(self._notifications(min(500, number - part))))
        self.sent += max(0, number)

    def _notifications(self, number: int) -> Iterator[JobSpec[Any]]:
        for _ in range(number):
            self._made += 1
            bounces = self._made % EVERY_BOUNCE == EVERY_BOUNCE // 4
            channel = "email:send" if bounces else self._dice.choices(CHANNELS, SHARES)[0]
            to = "nobody" if bounces else f"customer-{self._dice.randrange(10_000)}"
            delay = self._dice.uniform(0.3, 1.2) if self._dice.random() < DELAYED else 0.0
            payload = {
                "to": to,
                "template": self._dice.choice(("welcome", "receipt", "reminder")),
                "sent": 0.0 if delay else time.monotonic(),
            }
            priority = Priority.HIGH if payload["template"] == "receipt" else Priority.NORMAL
            yield self.queue.spec(channel, payload, delay=delay, priority=priority)

    async def _send_email(self, ctx: Context, to: str, template: str, sent: float) -> None:
        self._note(ctx, sent)
        await asyncio.sleep(self._dice.uniform(0.005, 0.015))
        if to == "nobody":
            raise MailboxUnknownError(f"550 no such mailbox ({template})")
        if self._dice.random() < 0.04:
            raise ConnectionResetError("421 closing, try again later")

    async def _send_sms(self, ctx: Context, to: str, template: str, sent: float) -> None:
        del to, template
        self._note(ctx, sent)
        await asyncio.sleep(self._dice.uniform(0.003, 0.010))
        if self._dice.random() < 0.03:
            raise RateLimited(0.3, reason="429 too many requests")

    async def _send_push(self, ctx: Context, to: str, template: str, sent: float) -> None:
        del to, template
        self._note(ctx, sent)
        await asyncio.sleep(self._dice.uniform(0.001, 0.004))
        if self._dice.random() < 0.002:
            raise Fatal("the device token is no longer registered")
        if self._dice.random() < 0.01:
            raise TimeoutError("no answer from the push gateway")

    def _note(self, ctx: Context, sent: float) -> None:
        """Keep how long a job waited; of first runs without a delay only, since the others wait on purpose."""
        if sent and ctx.attempt == 1:
            self.waits.append(time.monotonic() - sent)


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return the value that ``share`` of ``values`` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None
