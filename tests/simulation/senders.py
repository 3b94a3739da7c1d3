"""Producers of a world: they send the jobs of the plan when it says, and write down what they are told."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

from streamq import Job
from streamq.errors import EnqueueManyError, StreamqError
from tests.simulation.app import App
from tests.simulation.book import Book, Sent
from tests.simulation.scenarios import Plan

BULK: Final = 6
"""Jobs of a bulk call."""


class Sender(Protocol):
    """A process that sends."""

    who: str
    app: App
    book: Book


class Sending:
    """What one producer sends: each ``of``-th job of the plan, beginning with number ``which``."""

    def __init__(self, sender: Sender, plan: Plan, which: int, of: int) -> None:
        self._sender = sender
        self._plan = plan
        self._book = sender.book
        self._queue = sender.app.queue
        self._numbers = [n for n in range(len(plan.hows)) if n % of == which]

    async def run(self) -> None:
        """Send all, and close."""
        await (self._bulk() if self._plan.has("bulk") else self._one_by_one())
        await self._queue.aclose()

    async def _until(self, n: int) -> None:
        await asyncio.sleep(max(0.0, self._plan.times[n] - self._book.now))

    async def _one_by_one(self) -> None:
        sending: list[asyncio.Task[None]] = []
        for n in self._numbers:
            await self._until(n)
            times = 2 if self._plan.has("custom-ids") and n % 4 == 0 else 1  # a second job of the same id
            sending += [asyncio.create_task(self._send(n)) for _ in range(times)]
        await asyncio.gather(*sending)

    async def _send(self, n: int) -> None:
        app = self._sender.app
        self._book.note(self._sender.who, "sends", "", f"number {n} ({self._plan.hows[n]})")
        try:
            job = await app.work.with_options(**app.options(n)).enqueue(*app.arguments(n))
        except StreamqError as problem:
            self._told(n, str(getattr(problem, "job_id", "")), type(problem).__name__)
        else:
            self._told(n, job.id, told_of(job))

    async def _bulk(self) -> None:
        for at in range(0, len(self._numbers), BULK):
            some = self._numbers[at : at + BULK]
            await self._until(some[0])
            try:
                jobs = await self._queue.enqueue_many([self._sender.app.spec(n) for n in some], chunk=3, every=0.5)
            except EnqueueManyError as problem:
                # Which numbers they have is not told.
                for done in problem.done:
                    self._told(-1, done, "ok")
                for unknown in problem.unknown:
                    self._told(-1, unknown, "EnqueueUnknown")
                for refused, error in problem.refused.items():
                    self._told(-1, refused, type(error).__name__)
            except StreamqError as problem:
                self._told(-1, "", type(problem).__name__)
            else:
                for n, job in zip(some, jobs, strict=True):
                    self._told(n, job.id, told_of(job))

    def _told(self, n: int, job: str, told: str) -> None:
        self._book.sent.append(Sent(job, n, self._plan.hows[n] if n >= 0 else "", told))
        self._book.note(self._sender.who, f"is told {told}", job, f"number {n}")


def told_of(job: Job[Any]) -> str:
    """Return what an enqueue was answered."""
    if job.created:
        return "ok"
    if job.met is not None:
        return "met"
    return f"refused: {job.refused}" if job.refused else "exists"
