"""What waits to be sent: jobs put one by one, and those of bulk calls, which are made when a batch has room. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from .entry import Entry

BATCH_JOBS: Final = 200
BATCH_BYTES: Final = 262_144
BUFFER_JOBS: Final = 10_000
BUFFER_BYTES: Final = 8 * 1024 * 1024


class Supply(NamedTuple):
    """Jobs of a bulk call, made one by one; making them cannot fail. ``deadline`` on the event loop's clock."""

    entries: Iterator[Entry]
    deadline: float


class Backlog:
    """Forms batches: those put one by one first, in order, then those of the bulk calls, one call after the other."""

    def __init__(self) -> None:
        self._buffer: deque[Entry] = deque()
        self._bytes = 0
        self._supplies: deque[Supply] = deque()
        self._ahead: list[Entry] = []

    @property
    def has_room(self) -> bool:
        """Whether another job fits the buffer."""
        return len(self._buffer) < BUFFER_JOBS and self._bytes < BUFFER_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to be sent, but perhaps what was withdrawn."""
        return not (self._buffer or self._ahead or self._supplies)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for anything here."""
        return bool(self._supplies) or any(not entry.withdrawn for entry in self.made())

    def made(self) -> list[Entry]:
        """Return what is encoded already."""
        return [*self._ahead, *self._buffer]

    def put(self, entry: Entry) -> None:
        """Add a job."""
        self._buffer.append(entry)
        self._bytes += len(entry.body)

    def supply(self, supply: Supply) -> None:
        """Add the jobs of a bulk call."""
        self._supplies.append(supply)

    def withhold(self, entries: Iterator[Entry]) -> None:
        """Make no more of a bulk call."""
        self._supplies = deque(one for one in self._supplies if one.entries is not entries)

    def next(self) -> list[Entry]:
        """Take the next batch out; [] when there is nothing. Some of it may have been withdrawn."""
        taken, self._ahead = self._ahead or self._take(), []
        return taken

    def look_ahead(self) -> None:
        """Form the next batch now, if a full one can be."""
        if not self._ahead and (self._supplies or len(self._buffer) >= BATCH_JOBS):
            self._ahead = self._take()

    def clear(self) -> list[Entry]:
        """Take everything out, of bulk calls also what was not made yet."""
        for supply in self._supplies:
            self._buffer.extend(supply.entries)
        unsent = self.made()
        self._supplies.clear()
        self._buffer.clear()
        self._ahead, self._bytes = [], 0
        return unsent

    def make_overdue(self, now: float) -> float | None:
        """Make what bulk calls whose time is over have left, to be told so; returns the next deadline of the others."""
        for supply in self._supplies:
            if supply.deadline <= now:
                for entry in supply.entries:
                    self.put(entry)
        return min((supply.deadline for supply in self._supplies if supply.deadline > now), default=None)

    def _take(self) -> list[Entry]:
        batch: list[Entry] = []
        size = 0
        for entry in self._in_order():
            size += entry.size
            if batch and size > BATCH_BYTES:
                self._buffer.appendleft(entry)
                self._bytes += len(entry.body)
                break
            batch.append(entry)
            if len(batch) == BATCH_JOBS:
                break
        return batch

    def _in_order(self) -> Iterator[Entry]:
        buffer = self._buffer
        while buffer:
            entry = buffer.popleft()
            self._bytes -= len(entry.body)
            if not entry.withdrawn:
                yield entry
        while self._supplies:
            for entry in self._supplies[0].entries:
                yield entry  # not "yield from", which would close what is not all taken
            self._supplies.popleft()
