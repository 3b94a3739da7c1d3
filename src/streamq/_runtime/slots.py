"""The places of a worker, shared by its queues."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from .._core.pace import MOMENT, ROUND, SPELL, Pace


class Member(Protocol):
    """A queue that shares the places."""

    def wake(self) -> bool:
        """Ask for jobs now; False if it is in the middle of a call and will look by itself afterwards."""
        ...


class Slots:
    """``concurrency`` places. Queues that want some are asked in turn, so that none starves the others.

    Nothing here looks at all queues: hundreds of them may share one worker.
    """

    def __init__(self, concurrency: int) -> None:
        self.concurrency: int = concurrency
        self.used: int = 0
        self.pace: Pace = Pace()
        self._reserved = 0
        self._hungry: dict[Member, None] = {}
        self._in_line: dict[Callable[[], None], None] = {}
        self._curious: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def free(self) -> int:
        """Places nobody runs in."""
        return self.concurrency - self.used

    @property
    def hungry(self) -> int:
        """Queues that would take more jobs."""
        return len(self._hungry)

    def hunger(self, member: Member, *, wants: bool) -> None:
        """Hear whether a queue wants jobs: there are some, or there may be."""
        if wants:
            self._hungry[member] = None
        else:
            self._hungry.pop(member, None)

    def line_up(self, start: Callable[[], None], *, waits: bool) -> None:
        """Hear whether jobs in hand wait for a place; ``start`` begins what it can."""
        if waits:
            self._in_line[start] = None
        else:
            self._in_line.pop(start, None)

    def when_free(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` once, when a place is free again."""
        if tell not in self._curious:
            self._curious.append(tell)

    def share(self, *, at_once: bool = False) -> int:
        """Return for how many places a hungry queue may ask: its part of what is free and not asked for yet.

        When jobs are quick, at least what ends within a round trip, or half of all places, and nothing until so many
        are free: with hundreds of queues the parts would be single jobs, each of them with a call of its own.
        ``at_once``: its jobs end as soon as they begin, so that places are free again before others miss them.
        """
        left = self.concurrency - self.used - self._reserved
        if left <= 0 or len(self._hungry) <= 1:
            return left
        bite = min(self.concurrency // 2, self.pace.soon(time.monotonic(), SPELL if at_once else ROUND))
        if left < bite:
            self._look_again()
            return 0
        return max(1, left // len(self._hungry), bite)

    def reserve(self, member: Member, count: int) -> int:
        """Note places that were asked for, jobs for them may be on the way; returns how many to give back."""
        if member in self._hungry:
            del self._hungry[member]
            self._hungry[member] = None  # the others first, next time
        count = max(0, min(count, self.concurrency - self.used - self._reserved))
        self._reserved += count
        return count

    def unreserve(self, count: int) -> None:
        """The answer is here, and its jobs have taken their places."""
        self._reserved -= count
        if count and len(self._hungry) > 1:
            self._ask()

    def take(self) -> None:
        """Use a place."""
        self.used += 1

    def give(self) -> None:
        """Give a place back."""
        was_full = self.used >= self.concurrency
        self.used -= 1
        if was_full:
            self._tell()

    def _tell(self) -> None:
        """A place is free: it goes to what waits here already, then to whoever would ask for more."""
        for start in tuple(self._in_line):
            if self.free <= 0:
                return
            start()
            if start in self._in_line:
                del self._in_line[start]
                self._in_line[start] = None
        curious, self._curious = self._curious, []
        for tell in curious:
            tell()
        self._ask()

    def _ask(self) -> None:
        left, share = self.concurrency - self.used - self._reserved, self.share()
        if share <= 0:
            return
        for member in tuple(self._hungry):
            if left <= 0:
                return
            if member.wake():
                left -= share

    def _look_again(self) -> None:
        """Ask a moment later: should the others turn slow, nobody says so; a few free places are better than none."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(MOMENT, self._moment_passed)

    def _moment_passed(self) -> None:
        self._timer = None
        self._ask()
