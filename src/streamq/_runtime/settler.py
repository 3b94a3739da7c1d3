"""What is to be told to the server: finished attempts in batches, one on its way at a time, until it was answered.

Group commit: an attempt that ends joins the next batch, which leaves when the one before was answered. So there is no
timer, no wait at low load, and batches grow by themselves under load. A batch without an answer is sent again, the same
bytes under the same sequence number; the script's memo makes that safe. No I/O here: the exchange sends.
"""

from __future__ import annotations

import logging
import time
from collections import deque

from .._store.link import Command, ReplyError
from .._store.verbs import MAX_BYTES, MAX_ITEMS, Item, WorkerVerbs
from .attempt import Attempt

log = logging.getLogger("streamq.worker")

GIVE_UP = 600.0
"""Seconds an unanswered settle is sent again: as long as its memo lives. Then the leases decide."""

TRIES = 7
"""How often a settlement that the server refuses is tried alone, before its job is left to its lease."""

FIRST_WAIT = 0.5
"""Seconds before it is tried again; then twice as many each time, half a minute in all.

Time to remove what is in the way without any job being run again."""


class Settler:
    """Collects settlements, forms batches, reads answers."""

    def __init__(self, verbs: WorkerVerbs) -> None:
        self._verbs = verbs
        self._seq = 0
        self._done: deque[Item] = deque()
        self._halves: deque[list[Item]] = deque()
        self._sent: tuple[list[Item], Command, float] | None = None
        self._refusals: dict[bytes, int] = {}
        self._later: deque[tuple[float, list[Item]]] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether everything was told and answered."""
        return not self._done and not self._halves and not self._later and self._sent is None

    @property
    def held_up(self) -> int:
        """Settlements that the server refused and that wait to be tried again."""
        return len(self._later)

    def add(self, attempt: Attempt, item: Item) -> None:
        """Settle ``attempt`` so; it stays in the table, leased, until that was answered."""
        attempt.settling = True
        self._done.append(item)

    def next(self, now: float) -> tuple[Command | None, list[Item]]:
        """Return the batch to send now (again, if it was not answered), and the items that were given up."""
        given_up: list[Item] = []
        if self._sent is not None:
            items, command, since = self._sent
            if now - since < GIVE_UP:
                return command, given_up
            log.error("settle given up after %d s; leases decide", int(GIVE_UP), extra={"event": "settle_given_up"})
            given_up = items
            self._sent = None
        items = self._halves.popleft() if self._halves else self._batch() or self._due(now)
        if not items:
            return None, given_up
        self._seq += 1
        command = self._verbs.settle(self._seq, items)
        self._sent = (items, command, now)
        return command, given_up

    def answered(self, reply: bytes) -> list[Item]:
        """Read the answers to the batch on its way; returns its items, which are settled one way or another."""
        items = self._take_sent()
        if self._refusals:
            for item in items:
                self._refusals.pop(item.token, None)
        if reply.count(b"a") != len(items):
            lost = [item.id for item, one in zip(items, reply.decode(), strict=True) if one != "a"]
            extra = {"event": "settle_lost", "jobs": [job.decode("utf-8", "replace") for job in lost[:20]]}
            log.warning("%d settlements refused: lease lost", len(lost), extra=extra)
        return items

    def refused(self, reply: ReplyError) -> list[Item]:
        """Take an error for the whole batch: nothing of the failing job was acked. Returns items that were given up.

        The batch is halved, so that one job nobody can settle does not hold up the others.
        """
        items = self._take_sent()
        now = time.monotonic()
        if len(items) > 1:
            middle = len(items) // 2
            self._halves.extend((items[:middle], items[middle:]))
            return []
        token = items[0].token
        tries = self._refusals.pop(token, 0) + 1
        if tries < TRIES:
            self._refusals[token] = tries
            self._later.append((now + FIRST_WAIT * 2 ** (tries - 1), items))
            return []
        extra = {"event": "settle_given_up", "jobs": [items[0].id.decode("utf-8", "replace")]}
        log.error("settle given up after %d refusals, the last: %s; the lease decides", tries, reply, extra=extra)
        return items

    def _due(self, now: float) -> list[Item]:
        for _ in range(len(self._later)):
            when, items = self._later.popleft()
            if when <= now:
                return items
            self._later.append((when, items))
        return []

    def _take_sent(self) -> list[Item]:
        assert self._sent is not None  # noqa: S101 - one settle at a time, sent by us
        items = self._sent[0]
        self._sent = None
        return items

    def _batch(self) -> list[Item]:
        done = self._done
        items: list[Item] = []
        size = 0
        while done and len(items) < MAX_ITEMS:
            size += done[0].size
            if items and size > MAX_BYTES:
                break
            items.append(done.popleft())
        return items
