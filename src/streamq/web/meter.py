"""How fast a client may submit: a bucket of tokens for each, in this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

CLIENTS = 10_000
"""Clients remembered; the one not seen for longest is forgotten first, which gives it a full bucket."""


class Meter:
    """``count`` in ``per`` seconds for each client, refilled evenly; as many may come at once."""

    def __init__(self, count: int, per: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = count
        self.per = per
        self._clock = clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take a token; returns 0.0, or the seconds until there is one."""
        now = self._clock()
        left, seen = self._clients.pop(client, (float(self.count), now))
        left = min(float(self.count), left + (now - seen) * self.count / self.per)
        wait = 0.0 if left >= 1 else (1 - left) * self.per / self.count
        self._clients[client] = (left if wait else left - 1, now)
        while len(self._clients) > CLIENTS:
            self._clients.popitem(last=False)
        return wait
