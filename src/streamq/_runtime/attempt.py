"""The noun the loops share: one job in a worker's hands, from the reply that brought it to the answer of its settle."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .._core.envelope import Envelope, text
from .._core.handler import HandlerSpec
from .._core.lifecycle import message
from .._core.signature import encode_value

if TYPE_CHECKING:
    from .batch import Batch

Why = Literal["", "timeout", "lost", "cancel", "shutdown"]
"""Why an attempt was cancelled by us; '' if it was not."""

_NO_ENVELOPE = Envelope(name="")


class Attempt(msgspec.Struct, eq=False):  # a struct is made in C, and a job makes one
    """A row of the worker's table.

    ``id``, ``token``: job and fence. ``count``: deliveries (count - 1 are stalls). ``touched``: monotonic send time of
    the call that last confirmed the lease. ``mark``: what take said of it (take.lua). ``limit``: monotonic end of the
    run, inf for none. ``begun``: its task has run its first step. ``settling``: its settlement is on the way; it stays
    leased until that was answered. ``batch``: with whom it runs in one call, None if alone. ``span``: of OpenTelemetry,
    None unless somebody traces.
    """

    id: bytes
    token: bytes
    count: int
    touched: float
    mark: bytes = b""
    envelope: Envelope = _NO_ENVELOPE
    spec: HandlerSpec | None = None
    started: float = 0.0
    limit: float = math.inf
    begun: bool = False
    settling: bool = False
    why: Why = ""
    task: asyncio.Task[Any] | Batch | None = None
    batch: Batch | None = None
    span: Any = None

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
        return (self.envelope.hop << 20) | int(self.token.partition(b"|")[0].rsplit(b":", 1)[1])

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
    """A result as bytes, or ``problem``: why it cannot be one. Made here or by a child process."""

    __slots__ = ("data", "problem")

    def __init__(self, value: Any) -> None:
        self.data: bytes = b""
        self.problem: str = ""
        try:
            self.data = encode_value(value)
        except Exception as error:  # noqa: BLE001 - a model's own dump may raise anything
            kind = type(value).__qualname__
            self.problem = text(f"{kind} cannot be encoded: {type(error).__name__}: {message(error)[:500]}")
