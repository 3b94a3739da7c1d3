"""Names of spans and attributes: OpenTelemetry's conventions for messaging, 1.44, and our own. Data only, no API.

The conventions are still in development: their names are copied here, once, and the schema url says which version they
are of. See docs/how-to/tracing.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
"""The version these names are of."""

Mode = Literal["link", "parent", "off"]
"""How an attempt's span hangs together with the span that sent the job: see ``tracing=`` of `QueueOptions`."""

PREVIOUS = "streamq-previous"
"""Header of a job that is tried again: the span of the attempt before, written as a traceparent."""

LINKS = 128
"""Links a span may have before SDKs drop some: more jobs than this at a time share one creation context."""

TASK = "streamq.task.name"
ATTEMPT = "streamq.job.attempt"
MAX_ATTEMPTS = "streamq.job.max_attempts"
DELAY = "streamq.job.delay"
TENANT = "streamq.tenant"
OUTCOME = "streamq.outcome"
WAIT = "streamq.retry.delay"
MESSAGE_ID = "messaging.message.id"
CONVERSATION = "messaging.message.conversation_id"
COUNT = "messaging.batch.message_count"
ERROR = "error.type"

Value = str | int | float | bool


class Settled(NamedTuple):
    """How an attempt was settled: ``operation`` as the conventions name it, ``failed`` whether the span is an error."""

    operation: str
    outcome: str
    failed: bool


ACK = Settled("ack", "completed", failed=False)
LOST = Settled("nack", "lease lost", failed=True)
_BY_VERB = {
    b"c": ACK,
    b"C": ACK,
    b"b": Settled("dead_letter", "dead", failed=True),
    b"x": Settled("dead_letter", "dead", failed=True),
    b"U": Settled("nack", "handed back", failed=False),
    b"l": Settled("retry", "limited", failed=False),
}


def settled(verb: bytes, said: object) -> Settled:
    """Return how an attempt was settled by a verb of settle.lua.

    ``said``: its counter (``r``: retried, snoozed, limited), or the state it ended in (``e``).
    """
    if verb == b"r":
        return Settled("retry", str(said), failed=said == "retried")
    if verb == b"e":
        return Settled("ack", str(said), failed=False)
    return _BY_VERB.get(verb, Settled("nack", "held", failed=False))


@lru_cache(maxsize=64)
def place(url: str) -> Mapping[str, Value]:
    """Return the attributes of a server: its address without credentials; nothing for one in memory."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return {"server.address": parts.path}
    if parts.scheme not in {"redis", "rediss", "valkey", "valkeys"} or not parts.hostname:
        return {}
    return {"server.address": parts.hostname, "server.port": parts.port or 6379}


def operation(name: str, kind: str, queue: str) -> dict[str, Value]:
    """Return the attributes that say what is done, and in which queue."""
    return {
        "messaging.system": "streamq",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": queue,
    }


def span_ids(span: Any) -> dict[str, str]:
    """Return the ids of a span of the API as log records name them; nothing for one that is none."""
    context = span.get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def traceparent(span: Any) -> str:
    """Return the context of a span as W3C Trace Context writes it."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
