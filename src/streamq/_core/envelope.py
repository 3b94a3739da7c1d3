"""The job as it travels: one msgpack map in the stream entry, without the id and without defaults.

Short keys and left-out defaults keep a plain job's envelope near 25 bytes around its arguments (design.md section 6).
Readers ignore fields they do not know; a higher ``v`` is parked for a worker that understands it, never failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from .backoff import Wire

WIRE_VERSION = 1
"""Envelope version this streamq writes and the highest it runs."""

ERRORS_KEPT = 10
"""Attempt errors kept with a job: the first and the latest nine, so that a job retried for ever stays bounded."""

TRACEBACK_LIMIT = 4096
"""Characters of a traceback kept for an attempt; the end, where the cause is."""

NORMAL = 2
"""The lane of an envelope that names none."""

MESSAGE_LIMIT = 1024
"""Characters of an error message kept for an attempt."""


class AttemptError(msgspec.Struct, frozen=True, array_like=True):
    """How one attempt failed. Data only: never turned back into an exception class. ``release`` of its worker."""

    attempt: int
    type: str
    message: str
    traceback: str
    at_ms: int
    duration_ms: int
    worker: str = ""
    release: str = ""


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):  # no cycles, nothing to collect
    """Everything about a job but its id and its place.

    ``name`` handler; ``args`` msgpack map of arguments; ``attempts`` runs that have ended; ``hop`` re-entries into the
    queue (fence); ``max_attempts``, ``backoff``, ``timeout_ms`` only when given for this job; ``expires_ms`` must start
    by, ``deadline_ms`` must end by (server clock); ``errors`` history; ``created_ms`` only for custom ids;
    ``lane`` the priority, for places that do not say it.
    """

    # Empty defaults are literals (msgspec makes a new one each time): one from list[X] would not be left out.

    name: str = msgspec.field(name="n")
    args: msgspec.Raw = msgspec.field(name="a", default=msgspec.Raw(b"\x80"))
    version: int = msgspec.field(name="v", default=WIRE_VERSION)
    attempts: int = msgspec.field(name="k", default=0)
    hop: int = msgspec.field(name="h", default=0)
    max_attempts: int | None = msgspec.field(name="m", default=None)
    backoff: Wire | None = msgspec.field(name="b", default=None)
    timeout_ms: int | None = msgspec.field(name="t", default=None)
    headers: dict[str, str] = msgspec.field(name="hd", default={})
    tenant: str | None = msgspec.field(name="tn", default=None)
    expires_ms: int | None = msgspec.field(name="x", default=None)
    deadline_ms: int | None = msgspec.field(name="dl", default=None)
    keep_result: bool = msgspec.field(name="kr", default=False)
    errors: list[AttemptError] = msgspec.field(name="er", default=[])
    created_ms: int | None = msgspec.field(name="c", default=None)
    origin: str | None = msgspec.field(name="o", default=None)
    lane: Annotated[int, msgspec.Meta(ge=0, le=4)] = msgspec.field(name="l", default=NORMAL)


class Head(msgspec.Struct):
    """The two fields that every version of the envelope shares: enough to park a newer one."""

    name: str = msgspec.field(name="n", default="")
    version: int = msgspec.field(name="v", default=1)


NIL = msgspec.Raw(b"\xc0")
"""None in msgpack: the result of a job that has none."""


class Record(msgspec.Struct, omit_defaults=True):
    """What is left of a job after its end, for ``result_ttl``."""

    state: str = msgspec.field(name="s")
    name: str = msgspec.field(name="n", default="")
    result: msgspec.Raw = msgspec.field(name="r", default=NIL)
    problem: str = msgspec.field(name="p", default="")
    reason: str = msgspec.field(name="w", default="")
    attempts: int = msgspec.field(name="k", default=0)
    errors: list[AttemptError] = msgspec.field(name="er", default=[])
    finished_ms: int = msgspec.field(name="f", default=0)
    duration_ms: int = msgspec.field(name="d", default=0)
    tenant: str | None = msgspec.field(name="tn", default=None)
    headers: dict[str, str] = msgspec.field(name="hd", default={})


_encoder = msgspec.msgpack.Encoder()
_envelope = msgspec.msgpack.Decoder(Envelope)
_head = msgspec.msgpack.Decoder(Head)
_record = msgspec.msgpack.Decoder(Record)
_fields = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_hop = msgspec.msgpack.Decoder(int)

encode = _encoder.encode
decode = _envelope.decode
decode_head = _head.decode
decode_record = _record.decode

_HOLE = b"\xc1"
"""A byte that msgpack never uses: stands for arguments."""

MALFORMED = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What decoding hostile bytes may raise; msgspec answers deep nesting with RecursionError."""


@lru_cache(maxsize=1024)
def _around(name: str, lane: int) -> tuple[bytes, bytes]:
    """Return what stands before and behind the arguments of a job without options."""
    head, mark, tail = encode(Envelope(name=name, args=msgspec.Raw(_HOLE), lane=lane)).rpartition(b"\xa1a" + _HOLE)
    return head + mark[:2], tail


def encode_plain(name: str, args: bytes, lane: int) -> bytes:
    """Return the envelope of a job without options: what `encode` returns, for most jobs there are."""
    head, tail = _around(name, lane)
    return b"%b%b%b" % (head, args, tail)


def newer(body: bytes) -> Envelope | None:
    """Return the head of an envelope of a version we do not know, None if it is none."""
    try:
        head = decode_head(body)
    except MALFORMED:
        return None
    if head.version <= WIRE_VERSION:
        return None
    return Envelope(name=head.name, version=head.version)


def plain(data: bytes | msgspec.Raw) -> Any:
    """Return msgpack ``data`` as plain Python values, for people to look at."""
    return msgspec.msgpack.decode(data)


def text(value: str) -> str:
    """Return ``value`` as text that can be encoded: lone surrogates (undecodable file names) become ``?``."""
    return value.encode("utf-8", "replace").decode()


def with_error(errors: Sequence[AttemptError], error: AttemptError) -> list[AttemptError]:
    """Return the history with ``error`` added, bounded to `ERRORS_KEPT`."""
    history = [*errors, error]
    if len(history) > ERRORS_KEPT:
        history = [history[0], *history[-(ERRORS_KEPT - 1) :]]
    return history


def moved(data: bytes, lane: int) -> bytes:
    """Return an encoded envelope with another lane and a higher hop; fields we do not know stay as they are.

    Raises `MALFORMED` for what is no envelope.
    """
    fields: dict[str, Any] = dict(_fields.decode(data))
    fields["h"] = _hop.decode(fields.get("h", b"\x00")) + 1
    fields.pop("l", None)
    if lane != NORMAL:
        fields["l"] = lane
    return encode(fields)


def decoded(data: bytes) -> Envelope | None:
    """Return an envelope, None for what is none."""
    try:
        return decode(data)
    except MALFORMED:
        return None


def revived(envelope: Envelope, lane: int) -> bytes:
    """Return a dead job as one that lives: attempts from zero, a higher hop, no bounds that have passed meanwhile."""
    return encode(replaced(envelope, attempts=0, hop=envelope.hop + 1, lane=lane, expires_ms=None, deadline_ms=None))


def replaced(envelope: Envelope, **changes: Any) -> Envelope:
    """Return a copy of ``envelope`` with fields changed."""
    return msgspec.structs.replace(envelope, **changes)
