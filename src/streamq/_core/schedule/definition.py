"""What is kept of a schedule: its plan and the job of its ticks. Its digest tells one definition from another."""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import lru_cache

import msgspec

from .. import envelope as _wire
from ..envelope import Envelope
from ..flow import Flow
from .plans import Plan

ID_LIMIT = 150
"""Characters of a schedule's id: with a tick behind it, it still is a job id."""

_encoder = msgspec.msgpack.Encoder(order="deterministic")  # one definition, one digest, whatever the order of headers


class Definition(msgspec.Struct, frozen=True, omit_defaults=True):
    """A plan, and the envelope of the job that each tick becomes; what is left at its default is not written.

    ``expires_in_ms`` counts from the moment a tick is fired, as it does from an enqueue. ``flow``: what its jobs wait
    for besides their turn.
    """

    plan: Plan
    job: Envelope
    expires_in_ms: int | None = None
    flow: Flow | None = None

    @property
    def version(self) -> str:
        """Digest of 16 hex digits; the first half is that of the ticks alone (schedule, start, end).

        A definition of which only the job or the handling of misses changed owes what it owed before.
        """
        ticks = (self.plan.schedule, self.plan.start, self.plan.end)
        return _digest(_encoder.encode(ticks)) + _digest(encode(self))

    def expires_ms(self, now_ms: int) -> int | None:
        """Return by when a job fired now must start."""
        return None if self.expires_in_ms is None else now_ms + self.expires_in_ms

    def body(self, now_ms: int) -> bytes:
        """Return the envelope of a job fired now."""
        expires_ms = self.expires_ms(now_ms)
        return _wire.encode(_wire.replaced(self.job, created_ms=now_ms, expires_ms=expires_ms))


def encode(definition: Definition) -> bytes:
    """Return a definition as it is kept."""
    return _encoder.encode(definition)


@lru_cache(maxsize=4096)
def decode(spec: bytes) -> Definition:
    """Return a kept definition; raises one of `envelope.MALFORMED` for what this streamq cannot read."""
    return _decoder.decode(spec)


def tick_id(schedule_id: str, tick: datetime) -> str:
    """Return the id of the job of a tick, such as ``daily@2026-11-22T02:00:00Z``: the same for whoever fires it."""
    ms = f".{tick.microsecond // 1000:03}" if tick.microsecond else ""
    return f"{schedule_id}@{tick:%Y-%m-%dT%H:%M:%S}{ms}Z"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=4).hexdigest()


_decoder = msgspec.msgpack.Decoder(Definition)
