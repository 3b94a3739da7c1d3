"""Every job that is ours: running, ready to run, settled but unanswered. Decides what becomes of one that comes in."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from .._core import envelope as _wire
from .._store.replies import Taken, place_of
from .._store.verbs import Item
from .attempt import Attempt
from .batch import Told, formed, units
from .settler import Settler
from .slots import Slots

log = logging.getLogger("streamq.worker")


class Joined(Protocol):
    """What the worker joins to a table."""

    def accept(self, attempt: Attempt) -> Item | None:
        """Return how to settle an attempt that is not to be run (parked, expired, stalled too often), else None."""
        ...

    def start(self, attempt: Attempt) -> None:
        """Start the attempt's handler."""
        ...

    def undecodable(self, attempt: Attempt, reason: str) -> Item:
        """Return how to settle an entry that is no job of ours."""
        ...

    def cancelled(self, attempt: Attempt) -> Item:
        """Return how to settle an attempt that was cancelled before it started."""
        ...

    def reclaimed(self, attempt: Attempt) -> None:
        """Hear that a stalled job was taken over."""
        ...


class Table:
    """The jobs of one worker of one queue. ``on_change`` is called when there is something to tell or to fetch."""

    def __init__(self, slots: Slots, settler: Settler, on_change: Callable[[], object], lease: float) -> None:
        self.joined: Joined
        self.stopping: bool = False
        self._rows: dict[bytes, Attempt] = {}
        self._slots = slots
        self._settler = settler
        self._on_change = on_change
        self._backlog: deque[Attempt] = deque()
        self._abandoned: set[bytes] = set()
        # A little less than the lease, so that two never overlap.
        self._ours = lease - min(1.0, lease / 5)

    def __len__(self) -> int:
        """Jobs the server must count as pending for us."""
        return len(self._rows) + len(self._abandoned)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is ours."""
        return not self._rows

    @property
    def ready(self) -> int:
        """Jobs that wait here for a place."""
        return len(self._backlog)

    @property
    def running(self) -> list[Attempt]:
        """Attempts whose handler runs now."""
        return [one for one in self._rows.values() if one.started and not one.settling]

    @property
    def suspects_allowed(self) -> int:
        """How many jobs that workers vanished with twice may come: they run one at a time."""
        return 0 if any(one.is_suspect for one in self._rows.values()) else 1

    def all(self) -> Sequence[Attempt]:
        """Return all rows; one atomic copy, safe from the keeper's thread."""
        return list(self._rows.values())

    # -- in -----------------------------------------------------------------------------------------

    @property
    def reclaimed_ready(self) -> int:
        """Jobs of vanished workers that wait here for a place."""
        return sum(1 for one in self._backlog if one.count > 1)

    def take_all(self, jobs: Sequence[Taken], touched: float) -> list[Attempt]:
        """Take the jobs of a reply; those of a batch begin together and take one place. Returns those alone that began.

        Those in batches and those that have no place yet are not among them.
        """
        if not any(job.mark for job in jobs):
            room = self._slots.free if not self._backlog else 0
            return [self.take(job, touched) for job in jobs][:room]
        for unit in units(jobs):
            if len(unit) == 1:
                self.take(unit[0], touched)
                continue
            received = [(self._received(job, touched), job.body) for job in unit]
            mine = [(one, body) for one, body in received if self._rows.get(one.id) is one]
            begin, settle = formed([(one, self._fate(one, body)) for one, body in mine])
            self._settle(settle)
            for attempt in begin:
                self._begin(attempt)
        return []

    def take(self, job: Taken, touched: float, *, first: bool = False) -> Attempt:
        """Take a job that the server gave us; ``touched`` is when we asked (monotonic), ``first``: before others."""
        attempt = self._received(job, touched)
        if self._rows.get(job.id) is not attempt:
            return attempt
        item = self._fate(attempt, job.body)
        if item is not None:
            self._settler.add(attempt, item)
        else:
            self._begin(attempt, first=first)
        return attempt

    def _received(self, job: Taken, touched: float) -> Attempt:
        """Return the attempt at a job; it gets no row if it came too late, or is here already."""
        attempt = Attempt(job.id, job.token, job.deliveries, touched, job.mark)
        if time.monotonic() - touched > self._ours:
            # The answer was so long on its way that the job may be another's by now. If not, it is found as a ghost.
            log.warning("job came too late to be begun", extra={"event": "late", "job_id": attempt.job_id})
            return attempt
        old = self._rows.get(job.id)
        if old is not None and old.token == job.token:
            return attempt  # the group was made anew, and the entry delivered again: it is ours, and running
        if old is not None:
            self.lose(old)  # somebody put it back, and it came to us again
        self._rows[job.id] = attempt
        if self._abandoned:
            self._abandoned.discard(place_of(job.token))
        return attempt

    def _begin(self, attempt: Attempt, *, first: bool = False) -> None:
        """Start an attempt, or the batch of which it is the first, as soon as there is a place."""
        if self._slots.free > 0 and not self._backlog:
            self._slots.take()
            self.joined.start(attempt)
        elif first:
            self._backlog.appendleft(attempt)
        else:
            self._backlog.append(attempt)
        if self._backlog:
            self._slots.line_up(self.start_ready, waits=True)

    def _fate(self, attempt: Attempt, body: bytes | None) -> Item | None:
        """Return how to settle it without running it, None to run it."""
        if body is None:
            return self.joined.undecodable(attempt, "not a job: fields j and d are missing")
        try:
            attempt.envelope = _wire.decode(body)
        except _wire.MALFORMED as problem:
            newer = _wire.newer(body)
            if newer is None:
                return self.joined.undecodable(attempt, f"undecodable envelope: {problem}"[:300])
            attempt.envelope = newer
        item = self.joined.accept(attempt)
        if item is None and self.stopping:
            return Item(b"u", attempt.id, attempt.token)
        return item

    def take_stalled(self, job: Taken, touched: float) -> Attempt:
        """Take over a job whose lease ran out; if it was our own, the old attempt has lost it."""
        old = self._rows.pop(job.id, None)
        if old is not None:
            self.lose(old)
        attempt = self.take(job, touched, first=True)
        if attempt.spec is not None:
            self.joined.reclaimed(attempt)
        return attempt

    # -- out ----------------------------------------------------------------------------------------

    def ended(self, attempt: Attempt, item: Item | None) -> None:
        """Take the settlement of an attempt that ended; None: the lease was lost, nothing may be told."""
        self.ended_together([(attempt, item)])

    def ended_together(self, ends: Sequence[Told]) -> None:
        """Take the settlements of one place: of an attempt, or of all of a batch."""
        self._slots.give()
        self._settle(ends)
        self.start_ready()
        self._on_change()

    def _settle(self, ends: Sequence[Told]) -> None:
        for attempt, item in ends:
            attempt.task = None
            if item is not None:
                self._settler.add(attempt, item)
            elif self._rows.get(attempt.id) is attempt:
                del self._rows[attempt.id]

    def start_ready(self) -> None:
        """Start what waits here for a place. Another queue of the worker may have given it back."""
        while self._backlog and self._slots.free > 0 and not self.stopping:
            waiting = self._backlog.popleft()
            self._slots.take()
            self.joined.start(waiting)
        if not self._backlog:
            self._slots.line_up(self.start_ready, waits=False)

    def forget(self, items: Sequence[Item]) -> None:
        """Forget settled attempts; a row that was taken anew meanwhile has another token and stays."""
        rows = self._rows
        for item in items:
            row = rows.get(item.id)
            if row is not None and row.token == item.token:
                del rows[item.id]

    def of(self, job: bytes) -> Attempt | None:
        """Return the attempt at a job, None if it is not in our hands."""
        return self._rows.get(job)

    def abandon(self, items: Sequence[Item]) -> None:
        """Leave jobs to their leases: pending for us still, but not ghosts to be taken over at once, without end."""
        self._abandoned |= {place_of(item.token) for item in items}
        self.forget(items)

    def ghosts(self, pending: set[bytes]) -> list[bytes]:
        """Return which of the entries that the server believes we hold we know nothing of."""
        self._abandoned &= pending
        return sorted(pending - {place_of(one.token) for one in self._rows.values()} - self._abandoned)

    # -- against their will -------------------------------------------------------------------------

    def cancel(self, job: bytes) -> None:
        """Somebody asked this job to stop."""
        attempt = self._rows.get(job)
        if attempt is None:
            return
        if self._withdrawn(attempt):
            self._settler.add(attempt, self.joined.cancelled(attempt))
            self._on_change()
        attempt.cancel("cancel")

    def _withdrawn(self, attempt: Attempt) -> bool:
        """Take an attempt out of what waits here for a place; False if it does not, or its batch cannot let it go."""
        if attempt.batch is not None:
            return attempt.batch.lets_go(attempt)
        if attempt not in self._backlog:
            return False
        self._backlog.remove(attempt)
        return True

    def lost(self, ids: Sequence[bytes]) -> None:
        """These are ours no more, the server said."""
        for job in ids:
            attempt = self._rows.get(job)
            if attempt is not None:
                self.lose(attempt)

    def lose(self, attempt: Attempt) -> None:
        """The lease of this attempt is gone: cancel it; its result is not told."""
        if attempt.settling:
            return
        self._withdrawn(attempt)
        if self._rows.get(attempt.id) is attempt:
            del self._rows[attempt.id]
        log.warning("lease lost", extra={"event": "lease_lost", "job_id": attempt.job_id})
        attempt.cancel("lost")

    def lose_overdue(self) -> None:
        """Past its lease by our own clock a job may run elsewhere."""
        horizon = time.monotonic() - self._ours
        for attempt in list(self._rows.values()):
            if attempt.touched < horizon and not attempt.settling:
                self.lose(attempt)

    def stop(self) -> None:
        """Hand back at once what has not started."""
        self.stopping = True
        waiting, self._backlog = self._backlog, deque()
        for attempt in waiting:
            if attempt.batch is not None:
                self._settle(attempt.batch.hand_back(self.joined.cancelled))
            else:
                self._settler.add(attempt, Item(b"u", attempt.id, attempt.token))

    def hand_back(self) -> None:
        """Hand back what waits here for a place; but not batches, and not what workers vanished with."""
        for attempt in [one for one in self._backlog if one.batch is None and one.count == 1]:
            self._backlog.remove(attempt)
            self._settler.add(attempt, Item(b"u", attempt.id, attempt.token))

    def cancel_running(self) -> None:
        """Cancel what runs; it is handed back without charging an attempt."""
        for attempt in list(self._rows.values()):
            attempt.cancel("shutdown")
