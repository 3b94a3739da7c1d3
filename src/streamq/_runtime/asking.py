"""How a worker asks for jobs: by fetch, or by take once the queue has limits or lines; in which order of lanes."""

from __future__ import annotations

import time

from .._core.lanes import LaneOrder
from .._store import replies
from .._store.link import Command, Reply
from .._store.replies import Fetched
from .._store.verbs import WorkerVerbs
from .host import Host


class Asking:
    """What one worker knows of how to ask one queue.

    ``lanes``: their order. ``alarm``: when to ask again because a limit opens by time (monotonic, inf for never).
    """

    def __init__(self, verbs: WorkerVerbs) -> None:
        self.lanes: LaneOrder = LaneOrder()
        self.alarm: float = float("inf")
        self._verbs = verbs
        self._epoch = b""

    def command(self, want: int, free: int, places: int, now: float) -> Command:
        """Return the call for ``want`` jobs; ``free`` of the worker's ``places`` are."""
        order = self.lanes.next(want, now)
        if self._verbs.knows_lines:
            return self._verbs.take(want, order, max(want, free), places, self._epoch)
        return self._verbs.fetch(want, order)

    def read(self, reply: Reply, host: Host, asked: float, *, took: bool) -> Fetched:
        """Read the answer of a take, or of a fetch; ``why`` "flow" of a fetch says: ask anew, by take."""
        if took:
            return self._read_offer(reply, host, asked)
        fetched = replies.read_fetched(reply)
        if fetched.why == "flow":
            self._verbs.knows_lines = True
        elif not self.lanes.is_plain:
            self.lanes.walked(*replies.read_walk(reply), asked)
        return fetched

    def lacks(self, epoch: bytes) -> bool:
        """Whether the rules in force are others than those we know, or were lost: a take tells."""
        return self._verbs.knows_lines and epoch != self._epoch

    def _read_offer(self, reply: Reply, host: Host, asked: float) -> Fetched:
        offer = replies.read_offer(reply, self._epoch)
        if offer.rules is not None:
            # Learnt before the jobs that came with them are begun: none of them escapes a block.
            if int(offer.epoch) < int(self._epoch or 0):
                host.forgotten()
            self._epoch = offer.epoch
            host.learn(offer.rules)
        if not self.lanes.is_plain:
            adopted = len(offer.fetched.jobs) - sum(one.jobs for one in offer.walk)
            self.lanes.walked(max(0, adopted), offer.walk, asked)
        self.alarm = time.monotonic() + offer.alarm_ms / 1000 if offer.alarm_ms >= 0 else float("inf")
        return offer.fetched
