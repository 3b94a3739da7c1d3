"""The places of a worker, shared by its queues."""

from __future__ import annotations

from collections.abc import Callable


class Slots:
    """``concurrency`` places. ``on_free`` is called when a place becomes free after there was none."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.used: int = 0
        self.on_free: list[Callable[[], None]] = []

    @property
    def free(self) -> int:
        """Places nobody runs in."""
        return self.concurrency - self.used

    def take(self) -> None:
        """Use a place."""
        self.used += 1

    def give(self) -> None:
        """Give a place back."""
        was_full = self.used >= self.concurrency
        self.used -= 1
        if was_full:
            for call in self.on_free:
                call()
