"""The stream of what happened in a queue: written in batches, read page by page; and what its workers keep there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .scripts import script
from .session import Store
from .verbs import MEMO_MS

PAGE = 500
"""Events written or read in one call."""

EVENTS_FIELD, HEALTH_FIELD = "ev", "hp"
"""Fields of the meta hash: which kinds of events workers keep, by which policy they judge health."""


class Row(NamedTuple):
    """An event as it is written; ``data`` is JSON."""

    kind: str
    job_id: str
    name: str
    data: bytes


async def emit(store: Store, writer: str, seq: int, keep: int, events: Sequence[Row]) -> int:
    """Write a batch of at most `PAGE` events, once per ``seq`` of a writer; returns how many were added."""
    keys = store.keys
    flat = [part for event in events for part in event]
    command = script("emit").call((keys.events, keys.producer_memo(writer.encode())), seq, MEMO_MS, keep, *flat)
    return int(await store.call(command))


async def after(store: Store, place: str) -> list[tuple[str, Mapping[bytes, bytes]]]:
    """Return the events that follow ``place``, at most `PAGE`: id and fields."""
    found = await store.call((b"XRANGE", store.keys.events, f"({place}", "+", "COUNT", PAGE))
    return [(entry.decode(), dict(zip(flat[::2], flat[1::2], strict=True))) for entry, flat in found]


async def last(store: Store) -> str:
    """Return the id of the latest event, "0-0" when there is none."""
    found = await store.call((b"XREVRANGE", store.keys.events, "+", "-", "COUNT", 1))
    return str(found[0][0].decode()) if found else "0-0"


async def declare(store: Store, fields: Mapping[str, str]) -> None:
    """Write down what this queue's workers say of events and health, for processes that do not have the app."""
    flat = [part for pair in fields.items() for part in pair]
    if flat:
        await store.call((b"HSET", store.keys.meta, *flat))


async def declared(store: Store) -> tuple[str, str]:
    """Return what workers said of events and of health; '' for nothing."""
    events, health = await store.call((b"HMGET", store.keys.meta, EVENTS_FIELD, HEALTH_FIELD))
    return (events or b"").decode("utf-8", "replace"), (health or b"").decode("utf-8", "replace")
