"""The server's clock as a worker knows it: our own monotonic clock, and how far the server's is from it."""

from __future__ import annotations

import time

WINDOW_MS = 10_000
"""The best answer of this and the window before counts: long enough to hold a quick one, short enough for drift."""

JUMP_MS = 250
"""An answer that tells an earlier time by this much is believed: the server's clock was set back."""


class ServerClock:
    """Milliseconds since the epoch by the server; the wall clock until it was heard.

    An answer was on its way for a while, and its time is cut to whole milliseconds. Both make the server's clock look
    slower than it is, never faster, so the answer that tells the latest time is the best.
    """

    __slots__ = ("_before", "_heard", "_now", "_offset", "_until")

    def __init__(self) -> None:
        self._offset = time.time() * 1000 - time.monotonic() * 1000
        self._heard: float | None = None
        self._now = self._before = float("-inf")
        self._until = 0.0

    def heard(self, now_ms: int) -> float:
        """Note the server's time; returns by how many ms it moved against our monotonic clock, 0.0 at first."""
        own = time.monotonic() * 1000
        offset = now_ms - own
        # That our own clock is not the server's is no move: nobody has set it.
        moved, self._heard = 0.0 if self._heard is None else offset - self._heard, offset
        if offset < self._offset - JUMP_MS:
            self._now = self._before = offset
        elif own >= self._until:
            self._now, self._before, self._until = offset, self._now, own + WINDOW_MS
        elif offset > self._now:
            self._now = offset
        self._offset = max(self._now, self._before)
        return moved

    def now_ms(self) -> int:
        """Return the server's time now."""
        return int(time.monotonic() * 1000 + self._offset)

    def monotonic(self, ms: int) -> float:
        """Return the monotonic second at which the server's clock reads ``ms``."""
        return (ms - self._offset) / 1000
