"""What can be told of a queue while it happens: the kinds of events, and one event."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Literal, cast, get_args

import msgspec

from ..errors import ConfigError
from .units import from_ms

EventKind = Literal[
    "added",
    "active",
    "completed",
    "failed",
    "retrying",
    "stalled",
    "dead",
    "cancelled",
    "expired",
    "paused",
    "resumed",
]
"""What may happen. ``failed`` is told of every failed attempt, ``dead`` of the job that has none left."""

KINDS: tuple[EventKind, ...] = get_args(EventKind)

Fact = str | int | float | bool | None
"""A value that JSON knows as it is."""


class Event(msgspec.Struct, frozen=True):
    """Something that happened in a queue.

    id: its place in the stream of events, to go on after it; '' for an event given to a hook of this process. at: when,
    on the server's clock for one read from the stream, else on this machine's; aware, UTC. kind: see
    `Queue.on`. job_id, name: of the job and its handler; '' where there is none, or the process did not know. data:
    more about it, by kind: ``attempt`` and ``worker``; ``seconds`` an attempt took, or until the next; ``error`` (its
    type, never its text), ``reason``, ``stalls``, ``group``, ``handler``. queue: its name.
    """

    id: str
    at: datetime
    kind: EventKind
    job_id: str = ""
    name: str = ""
    data: Mapping[str, Fact] = {}
    queue: str = ""

    def json(self) -> bytes:
        """Return it as a JSON object, as server-sent events and log files want it."""
        return _encode(self)


_encode = msgspec.json.Encoder().encode
_facts = msgspec.json.Decoder(dict[str, Fact])


def encode_data(data: Mapping[str, Fact]) -> bytes:
    """Return the data of an event as it is kept: JSON, b"" for none."""
    return _encode(data) if data else b""


def read(queue: str, entry: str, fields: Mapping[bytes, bytes]) -> Event:
    """Return an event of the stream; one that a newer version wrote keeps its kind, whatever that is."""
    said = {key: fields.get(key, b"").decode("utf-8", "replace") for key in (b"k", b"j", b"n")}
    try:
        data = _facts.decode(fields.get(b"d", b"") or b"{}")
    except msgspec.DecodeError:
        data = {}
    at = from_ms(int(entry.partition("-")[0]))
    return Event(entry, at, cast("EventKind", said[b"k"]), said[b"j"], said[b"n"], data, queue)


def checked_kind(option: str, value: object) -> EventKind:
    """Return a kind of event; raises `ConfigError` for what is none."""
    if value not in KINDS:
        raise ConfigError(option, value, f"is no kind of event; there are {', '.join(KINDS)}")
    return value


def checked_kinds(option: str, value: object) -> frozenset[EventKind]:
    """Return kinds of events: all for True, none for False, else those named."""
    if isinstance(value, bool):
        return frozenset(KINDS) if value else frozenset()
    if isinstance(value, str) or not isinstance(value, Collection):
        raise ConfigError(option, value, f"give True, False, or a set of {', '.join(KINDS)}")
    return frozenset(checked_kind(option, one) for one in cast("Collection[object]", value))


def checked_place(option: str, value: str | None) -> str | None:
    """Return a place in the stream: an event's id, "0" for its beginning, None for its end."""
    if value is None:
        return None
    ms, dash, seq = str(value).partition("-")
    if not ms.isdecimal() or (dash and not seq.isdecimal()) or len(value) > 41:
        raise ConfigError(option, value, 'give the id of an event, "0" for all that are kept, or None for new ones')
    return value
