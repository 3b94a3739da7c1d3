"""How many jobs to ask for, and what came of the last asking. No I/O: the exchange asks."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .._core.pace import Outlook
from .._store.replies import Taken
from .._store.verbs import MAX_ITEMS
from .attempt import Attempt
from .slots import Slots
from .table import Table

FIRST_BITE = 8
"""Jobs an idle worker takes at first, or half its places: a burst shall reach the other idle workers, too."""


class Demand:
    """The appetite of one queue of a worker.

    ``was_full``: the server had all that was asked for. Jobs that arrived are not in the table before they landed; the
    exchange lands them when the next question is out, so that they run while the server works on it.
    """

    def __init__(self, slots: Slots, table: Table) -> None:
        self.was_full: bool = False
        self._outlook = Outlook(slots.pace)
        self._slots = slots
        self._table = table
        self._arrived: Sequence[Taken] = ()
        self._asked_at = 0.0
        self._begun: Sequence[Attempt] = ()
        self._ahead = 0

    @property
    def arrived(self) -> int:
        """Jobs that came and are not in the table yet."""
        return len(self._arrived)

    @property
    def room(self) -> int:
        """Places that neither run a job nor are spoken for by one in hand."""
        return self._slots.free - self._held

    @property
    def _held(self) -> int:
        return self._table.ready + len(self._arrived)

    def arrive(self, jobs: Sequence[Taken], asked_at: float, *, full: bool) -> None:
        """Take the jobs of an answer; ``asked_at`` is when we asked (monotonic)."""
        if self._begun:
            self._outlook.round(len(self._begun), sum(1 for one in self._begun if one.settling))
            self._begun = ()
        self._arrived, self._asked_at, self.was_full = jobs, asked_at, full

    def looks_ahead(self, *, may: bool) -> bool:
        """Whether to ask again before the jobs that arrived are begun, for the places that they will have left."""
        begun = min(len(self._arrived), self._slots.free - self._table.ready) if may else 0
        self._ahead = self._outlook.beyond(begun, time.monotonic()) if begun > 0 else 0
        return self._ahead > 0

    def land(self) -> None:
        """Put what arrived into the table, and begin it where there is a place."""
        if self._arrived:
            jobs, self._arrived = self._arrived, ()
            self._begun = self._table.take_all(jobs, self._asked_at)

    def want(self, *, keeps_places: bool) -> int:
        """Return for how many jobs to ask. ``keeps_places``: the last free ones are for certain jobs only."""
        held, slots = self._held, self._slots
        # With many queues the next answer of one comes late: jobs that stay in their places until then are not quick.
        at_once = self._outlook.is_over_at_once and slots.used <= slots.concurrency // 2
        free = slots.share(at_once=at_once) - held
        if not self.was_full:
            free = max(min(free, FIRST_BITE), free // 2)
        elif at_once and slots.hungry > 1:
            pass  # the others' jobs fill the time until the next answer; a few more would be a call for a few
        elif not keeps_places or slots.free <= held:
            free += max(self._ahead, slots.pace.ready(slots.concurrency, slots.hungry, time.monotonic()))
        return max(0, min(free, MAX_ITEMS))
