"""How long a call may take, without a timer for each: one timer looks whether the call of the moment is late.

What `asyncio.timeout` does, and with its manners (a cancellation from outside is not swallowed); but a call that is
answered in time, as nearly all are, costs two assignments instead of a timer that is made, sorted in and cancelled.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any


class Watchdog:
    """Cancels the task of a call that takes too long. One call at a time."""

    def __init__(self) -> None:
        self._deadline = math.inf
        self._task: asyncio.Task[Any] | None = None
        self._cancels = 0
        self._fired = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        """Watch the running task's call: it may take so long from now."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - calls are made by tasks
        self._task, self._cancels, self._fired = task, task.cancelling(), False
        self._deadline = deadline = loop.time() + seconds
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._look)
        elif self._timer.when() > deadline:
            self._timer.cancel()
            self._timer = loop.call_at(deadline, self._look)

    def stop(self) -> None:
        """Note that the call is over."""
        self._deadline, self._task = math.inf, None

    def has_fired(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether a cancellation of ``task`` was ours alone; then it is taken back."""
        fired, self._fired = self._fired, False
        return fired and task is not None and task.uncancel() <= self._cancels

    def close(self) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._task is None:
            return  # nothing to watch: the next call sets it again
        loop = asyncio.get_running_loop()
        if loop.time() < self._deadline:
            self._timer = loop.call_at(self._deadline, self._look)
        else:
            self._fired = True
            self._task.cancel()
