"""The places of a worker, shared by its queues."""

from __future__ import annotations

from collections.abc import Callable


class Slots:
    """``concurrency`` places. Queues that want some are asked in turn, so that none starves the others."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency: int = concurrency
        self.used: int = 0
        self._reserved = 0
        self._wake: list[Callable[[], None]] = []
        self._hungry: list[Callable[[], bool]] = []

    def join(self, wake: Callable[[], None], hungry: Callable[[], bool]) -> None:
        """Add a queue: ``wake`` is called when a place became free, ``hungry`` tells whether it would fetch."""
        self._wake.append(wake)
        self._hungry.append(hungry)

    @property
    def free(self) -> int:
        """Places nobody runs in."""
        return self.concurrency - self.used

    def share(self) -> int:
        """Return how many places a hungry queue may fetch for now: its part of what is free and not asked for yet."""
        left = self.concurrency - self.used - self._reserved
        if left <= 1 or len(self._hungry) == 1:
            return left
        return max(1, left // max(1, sum(1 for hungry in self._hungry if hungry())))

    def reserve(self, count: int) -> None:
        """Note places that were asked for; jobs for them may be on the way."""
        self._reserved += count

    def unreserve(self, count: int) -> None:
        """The answer is here, and its jobs have taken their places."""
        self._reserved -= count
        if count and len(self._wake) > 1:
            self._tell()

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
        if self.free <= 0:
            return
        # Another queue first each time.
        self._wake.append(self._wake.pop(0))
        for wake in tuple(self._wake):
            wake()
