"""The noun the loops share: one job in a worker's hands, from the reply that brought it to the answer of its settle."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Literal

from .._core.envelope import Envelope
from .._core.handler import HandlerSpec

Why = Literal["", "timeout", "lost", "cancel", "shutdown"]
"""Why an attempt was cancelled by us; '' if it was not."""


class Attempt:
    """A row of the worker's table.

    ``id``, ``token``: job and fence. ``count``: deliveries (count - 1 are stalls). ``touched``: monotonic send time of
    the call that last confirmed the lease. ``limit``: monotonic end of the run, inf for none. ``begun``: its task
    has run its first step. ``settling``: its settlement is on the way; it stays leased until that was answered.
    """

    __slots__ = (
        "begun",
        "bucket",
        "count",
        "envelope",
        "id",
        "limit",
        "settling",
        "spec",
        "started",
        "task",
        "token",
        "touched",
        "why",
    )

    def __init__(self, job: bytes, token: bytes, count: int, touched: float) -> None:
        self.id: bytes = job
        self.token: bytes = token
        self.count: int = count
        self.touched: float = touched
        self.envelope: Envelope = _NO_ENVELOPE
        self.spec: HandlerSpec | None = None
        self.started: float = 0.0
        self.limit: float = math.inf
        self.bucket: int = -1
        self.begun: bool = False
        self.settling: bool = False
        self.why: Why = ""
        self.task: asyncio.Task[Any] | None = None

    @property
    def job_id(self) -> str:
        """Job id as text."""
        return self.id.decode("utf-8", "replace")

    @property
    def is_suspect(self) -> bool:
        """Whether workers vanished with it twice already: such jobs run one at a time."""
        return self.count >= 3

    @property
    def fence(self) -> int:
        """Number that rises with every take of the job's life."""
        return (self.envelope.hop << 20) | int(self.token.rsplit(b":", 1)[1])

    def cancel(self, why: Why) -> None:
        """Ask the running handler to stop; the first reason stands."""
        if self.settling or self.why:
            return
        self.why = why
        # A task cancelled before its first step never runs at all, and nobody would hear how it ended.
        if self.begun and self.task is not None:
            self.task.cancel()


class Unreadable(Exception):
    """The payload does not fit the handler: no run of this job can succeed."""


class Encoded:
    """A result that a child process has encoded already."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


_NO_ENVELOPE = Envelope(name="")
