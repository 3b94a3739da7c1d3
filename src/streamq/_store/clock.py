"""The server's clock as a worker knows it: the last answer's time plus the own monotonic clock since."""

from __future__ import annotations

import time


class ServerClock:
    """Milliseconds since the epoch by the server; the wall clock until it was heard."""

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = time.time() * 1000 - time.monotonic() * 1000

    def heard(self, now_ms: int) -> float:
        """Note the server's time; returns by how many ms it moved against our monotonic clock."""
        offset = now_ms - time.monotonic() * 1000
        moved = offset - self._offset
        self._offset = offset
        return moved

    def now_ms(self) -> int:
        """Return the server's time now."""
        return int(time.monotonic() * 1000 + self._offset)

    def monotonic(self, ms: int) -> float:
        """Return the monotonic second at which the server's clock reads ``ms``."""
        return (ms - self._offset) / 1000
