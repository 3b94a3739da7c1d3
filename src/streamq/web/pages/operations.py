"""Work on many jobs that goes on after its request: paced, watched, stoppable. It lives as long as this process."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NamedTuple

from ...errors import StreamqError
from ..views import words

log: Final = logging.getLogger("streamq.web")

KEPT = 100
"""Operations remembered; the oldest that are over go first."""


class Step(NamedTuple):
    """What one step did: how many it handled, how many it left alone and why."""

    done: int
    skipped: int = 0
    why: str = ""


class Shown(NamedTuple):
    """An operation for a page."""

    id: str
    running: bool
    said: str
    seen: int
    total: int
    href: bool
    path: str
    query: Mapping[str, str]
    label: str


class Operation:
    """One of them. ``verb`` and ``noun``: "replay", "dead letter"; ``total``: how many there were when it began."""

    def __init__(
        self, verb: tuple[str, str], noun: str, total: int, who: str, next_page: tuple[str, Mapping[str, str], str]
    ) -> None:
        self.id: str = secrets.token_urlsafe(9)
        self.verb = verb
        self.noun = noun
        self.total = total
        self.who = who
        self.next_page = next_page
        self.done: int = 0
        self.skipped: int = 0
        self.why: str = ""
        self.problem: str = ""
        self.told: str = ""
        self.stopped: bool = False
        self.running: bool = True
        self.rate: float | None = None
        self.began: datetime = datetime.now(UTC)
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End it after the step under way; what was done stays done."""
        self._stop.set()

    async def run(self, steps: AsyncIterator[Step], ended: Callable[[Operation], Awaitable[None]]) -> None:
        """Take the steps, at ``rate`` jobs a second if that is set."""
        try:
            await self._take(steps)
        except StreamqError as problem:
            self.problem = str(problem)
        except Exception as problem:
            self.problem = type(problem).__name__
            log.exception("an operation of the dashboard failed")
        finally:
            self.running = False
        try:
            await ended(self)
        except StreamqError as problem:
            log.warning("the end of an operation was not noted: %s", problem)

    async def _take(self, steps: AsyncIterator[Step]) -> None:
        async for step in steps:
            self.done += step.done
            self.skipped += step.skipped
            self.why = step.why or self.why
            if self.rate:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), (step.done + step.skipped) / self.rate)
            if self._stop.is_set():
                self.stopped = True
                return

    @property
    def said(self) -> str:
        """Where it is, or how it ended."""
        if self.told and not self.problem:
            return self.told
        doing, done = self.verb
        if self.running:
            left = max(0, self.total - self.done - self.skipped)
            pace = f" at {self.rate:g} a second" if self.rate else ""
            by = f" Started by {self.who} {words.clock(self.began)} UTC." if self.who else ""
            return f"{doing} {self.total:,}: {self.done:,} done, {left:,} to go{pace}.{by}"
        text = f"{words.count(self.done, self.noun)} {done}"
        if self.skipped:
            text += f", {self.skipped:,} skipped" + (f": {self.why}" if self.why else "")
        if self.problem:
            text += f". It ended early: {self.problem}"
        elif self.stopped:
            text += ". Stopped; the others are as they were"
        return f"{text}."


class Operations:
    """Those of a site."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Operation] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(
        self, operation: Operation, steps: AsyncIterator[Step], ended: Callable[[Operation], Awaitable[None]]
    ) -> None:
        """Begin."""
        self._known[operation.id] = operation
        task = asyncio.get_running_loop().create_task(operation.run(steps, ended), name="streamq-operation")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        for key in [key for key, one in self._known.items() if not one.running][: max(0, len(self._known) - KEPT)]:
            del self._known[key]

    def get(self, key: str) -> Operation | None:
        """Return one, None when it is not known (any more, or to this process)."""
        return self._known.get(key)

    def shown(self, key: str) -> Shown | None:
        """Return one for a page."""
        one = self._known.get(key)
        if one is None:
            return None
        path, query, label = one.next_page
        return Shown(one.id, one.running, one.said, one.done + one.skipped, one.total, bool(path), path, query, label)
