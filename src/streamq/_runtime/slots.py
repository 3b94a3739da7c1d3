"""The places of a worker, shared by its queues."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from .._core.pace import Pace


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

    def share(self) -> int:
        """Return for how many places a hungry queue may ask: its part of what is free and not asked for yet.

        More than its part if that is soon free again. With hundreds of queues the parts would be single jobs, each of
        them with a call of its own.
        """
        left = self.concurrency - self.used - self._reserved
        if left <= 1 or len(self._hungry) <= 1:
            return left
        return max(1, left // len(self._hungry), min(left, self.pace.soon(time.monotonic())))

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
        left = self.concurrency - self.used - self._reserved
        share = max(1, self.share())
        for member in tuple(self._hungry):
            if left <= 0:
                return
            if member.wake():
                left -= share
