"""Jobs that one call of their handler runs: a batch has one place in its worker and one call, and many endings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from .._core.batches import BatchSpec
from .._store.replies import Taken, place_of
from .._store.verbs import Item
from .attempt import Attempt

Told = tuple[Attempt, Item | None]
"""An attempt and how to settle it; None: its lease was lost, nothing may be told."""


AFTER_A_START = {b"u": b"U", b"v": b"V", b"p": b"P"}
"""How going back is told of a job whose tokens were used by others (settle.lua)."""


class Batch:
    """Attempts of one handler that begin and end together; each has its own lease and its own settlement.

    The first one took the gates (limits) for all of them. So it is settled last: with the others, even if it was
    refused before they began (``held``), or the next batch would begin beside this one.
    """

    __slots__ = ("_task", "attempts", "begun", "held")

    def __init__(self, attempts: Sequence[Attempt], held: Sequence[Told] = ()) -> None:
        self.attempts: list[Attempt] = list(attempts)
        self.held: list[Told] = list(held)
        self.begun: bool = False
        self._task: asyncio.Task[None] | None = None
        for one in attempts:
            one.batch = self

    @property
    def is_unwanted(self) -> bool:
        """Whether each of them was asked to stop."""
        return all(one.why for one in self.attempts)

    def runs_in(self, task: asyncio.Task[None]) -> None:
        """Note the call's task. Each attempt gets the batch in its place: one alone cannot stop the call."""
        self._task = task
        for one in self.attempts:
            one.task = self

    def cancel(self) -> None:
        """Hear that one of them is to stop: the call goes on for the others, and is cancelled when none is left."""
        if self._task is not None and self.is_unwanted:
            self._task.cancel()

    def lets_go(self, attempt: Attempt) -> bool:
        """Whether an attempt that is not to run any more can be settled at once: the call has not begun without it."""
        return not self.begun and attempt.mark != b"batch"

    def begin(self, cancelled: Callable[[Attempt], Item]) -> None:
        """Leave out what was lost or cancelled while it waited for a place."""
        self.begun = True
        waiting = [one for one in self.attempts if not one.settling]
        self.held += [(one, cancelled(one)) for one in waiting if one.why == "cancel"]
        self.attempts = [one for one in waiting if not one.why]

    def hand_back(self, cancelled: Callable[[Attempt], Item]) -> list[Told]:
        """Return the settlements of a batch that is not to begin any more."""
        self.begin(cancelled)
        unbegun: list[Told] = [(one, Item(b"u", one.id, one.token)) for one in self.attempts]
        return [*unbegun, *self.endings([])]

    def endings(self, told: Sequence[Told]) -> list[Told]:
        """Return ``told`` with what was held back until now."""
        return [*told, *((one, self._held_back(one, item, has_run=bool(told))) for one, item in self.held)]

    def _held_back(self, attempt: Attempt, item: Item | None, *, has_run: bool) -> Item | None:
        if item is None or attempt.why == "lost":
            return None
        # The others ran on what the first one paid: that start is not given back, whatever becomes of the first one.
        return item._replace(verb=AFTER_A_START.get(item.verb, item.verb)) if has_run else item


def units(jobs: Sequence[Taken]) -> Iterator[list[Taken]]:
    """Cut a reply into jobs that stand alone and batches: a first one, and those marked with its entry behind it."""
    together: list[Taken] = []
    leader = b""
    for job in jobs:
        if together and job.mark != leader:
            yield together
            together = []
        if together:
            together.append(job)
        elif job.mark == b"batch":
            together, leader = [job], place_of(job.token)[1:]
        else:
            yield [job]
    if together:
        yield together


def is_batch(attempt: Attempt) -> bool:
    """Whether its handler takes batches."""
    return isinstance(attempt.spec, BatchSpec)


def begun(first: Attempt, cancelled: Callable[[Attempt], Item]) -> Batch:
    """Return the batch that an attempt is the first of, at its beginning: one of its own if it came alone."""
    batch = first.batch or Batch([first])
    batch.begin(cancelled)
    return batch


def formed(fates: Sequence[Told]) -> tuple[list[Attempt], list[Told]]:
    """Make a batch of the jobs of one unit; ``fates``: each attempt, with its settlement if it is not to run.

    Returns which attempts are to begin, those of the batch by its first one, and what is to be settled now.
    """
    runnable = [one for one, item in fates if item is None]
    refused = [told for told in fates if told[1] is not None]
    together = [one for one in runnable if is_batch(one) and one.spec is runnable[0].spec]
    alone = [one for one in runnable if one.spec is not runnable[0].spec or not together]
    if not together:
        return alone, refused
    held = [pair for pair in refused if pair[0].mark == b"batch"]
    Batch(together, held)
    return [together[0], *alone], [pair for pair in refused if pair not in held]
