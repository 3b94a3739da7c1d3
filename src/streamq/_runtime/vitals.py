"""What a worker process shows of itself: where it runs, which release it is, memory and processor time."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .._core import envelope as _wire

RELEASE_LENGTH: Final = 64
"""Characters of a release: one stands with each error that is kept."""

_STATM: Final = Path("/proc/self/statm")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
_OFTEN: Final = 1.0
"""Seconds between two looks: a worker of hundreds of queues is asked as often by each of them."""


class Vitals:
    """The vital signs of this process.

    ``release``: what ``STREAMQ_RELEASE`` says, such as "2.14.0" or a commit; '' without it.
    """

    def __init__(self, host: str, environ: Mapping[str, str]) -> None:
        self.host = host
        # What is no UTF-8 in the environment could not be encoded: no heartbeat, no error may fail for it.
        self.release: str = _wire.text(environ.get("STREAMQ_RELEASE", "").strip()[:RELEASE_LENGTH])
        self._looked_at = time.monotonic()
        self._cpu_then = time.process_time()
        self._last = (0, 0.0)

    def look(self, now: float) -> tuple[int, float]:
        """Return resident bytes (0: this system does not say) and cores in use since the look before.

        ``now``: monotonic seconds.
        """
        passed = now - self._looked_at
        if passed >= _OFTEN:
            cpu = time.process_time()
            self._last = (resident(), round((cpu - self._cpu_then) / passed, 4))
            self._looked_at, self._cpu_then = now, cpu
        return self._last


def resident() -> int:
    """Return the bytes of memory that this process has; 0 where the system does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
