"""Limits, blocks and deduplication for people and workers: the verbs limit and explain, and what is read directly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from .._core import gates
from .desk import Counted
from .link import Reply
from .scripts import PROTOCOL, script
from .session import Store


class Layer(msgspec.Struct):
    """An override as it stands in Redis: options by their short names, who set it and when (ms)."""

    conf: dict[str, Any]
    by: str = ""
    at: int = 0


class Declared(msgspec.Struct):
    """What code declares for gates and classes."""

    gates: dict[str, dict[str, Any]]
    digest: str = ""
    by: str = ""
    at: int = 0


class GateSeen(NamedTuple):
    """A gate as explain shows it. ``why``: open, paused, slots or rate; ``wait_ms`` until it opens by time."""

    gate: str
    why: str
    wait_ms: int
    used: int
    waiting: int
    spent: int
    config: dict[str, Any]


class Explained(NamedTuple):
    """Reply of explain. ``state``: r ready, p parked, h held, '' not in a line."""

    now_ms: int
    row: bytes
    line: str
    state: str
    parked_at: str
    ahead: int
    in_line: int
    held_ms: int
    gates: list[GateSeen]


async def declare(
    store: Store, digest: str, said: Mapping[str, dict[str, Any] | bool], by: str
) -> tuple[bool, Declared | None]:
    """Write what this process's code declares; whether that changed anything, and what was declared before."""
    changed, _, before = await _limit(store, by, "declare", digest, msgspec.msgpack.encode(said))
    return bool(changed), _declared(before) if changed and before else None


async def override(store: Store, gate: str, options: Mapping[str, object], *, by: str, rule: bytes = b"") -> bool:
    """Set options of a gate or class over what is declared (False takes one away); True if that changed something."""
    changed, _, _ = await _limit(store, by, "set", gate, msgspec.msgpack.encode(options), rule)
    return bool(changed)


async def clear(store: Store, gate: str, *, by: str) -> bool:
    """Take an override and a rule away; True if there was one."""
    changed, _, _ = await _limit(store, by, "clear", gate)
    return bool(changed)


async def shut(store: Store, gate: str, ms: int, *, by: str) -> None:
    """Shut a gate for ``ms`` from now; 0 opens it."""
    await _limit(store, by, "shut", gate, ms)


async def layers(store: Store) -> tuple[Declared, dict[str, Layer]]:
    """Return what is declared, and the overrides by gate."""
    flat = await store.call((b"HGETALL", store.keys.limit_layers))
    declared, overrides = Declared({}), dict[str, Layer]()
    for name, data in zip(flat[::2], flat[1::2], strict=True):
        if name == b"declared":
            declared = _declared(data)
        else:
            overrides[name[2:].decode("utf-8", "replace")] = _layer(data)
    return declared, overrides


async def rules(store: Store) -> dict[bytes, bytes]:
    """Return the rules in force by gate."""
    flat = await store.call((b"HGETALL", store.keys.rules))
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def explain(store: Store, job_id: str, names: Sequence[str] = ()) -> Explained:
    """Return why a job waits, and the state of its gates and of ``names``."""
    keys = store.keys
    command = script("explain").call((keys.meta, keys.index, *keys.flow), job_id, *names)
    reply = await store.call(command)
    now, row, line, state, parked_at, ahead, in_line, held_ms, *seen = reply
    return Explained(
        int(now),
        row,
        _text(line),
        _text(state),
        _text(parked_at),
        ahead,
        in_line,
        held_ms,
        [_gate(one) for one in seen],
    )


def with_queue(found: Sequence[GateSeen], counted: Counted) -> list[GateSeen]:
    """Return ``found`` with what runs under the queue's own gate: its jobs need no line, so the gate counts none."""
    running = max(0, counted.pending - int(counted.meta.get("released", 0)))
    return [_of_queue(one, running) if one.gate == gates.QUEUE else one for one in found]


def _of_queue(seen: GateSeen, running: int) -> GateSeen:
    full = seen.why == "open" and 0 <= seen.config.get("c", -1) <= running
    return seen._replace(used=running, why="slots" if full else seen.why)


async def dedup_get(store: Store, key: str) -> str | None:
    """Return the id of the job that a dedup key remembers; None if it remembers none."""
    data = await store.call((b"HGET", store.keys.dedup, key))
    return None if data is None else str(msgspec.msgpack.decode(data)[0])


async def dedup_release(store: Store, key: str) -> bool:
    """Forget a dedup key; True if it was known."""
    reply, again = await store.call_noting((b"HDEL", store.keys.dedup, key))
    return bool(reply) or again


async def _limit(store: Store, by: str, what: str, *args: bytes | str | int) -> tuple[int, bytes, bytes]:
    keys = store.keys
    head = (keys.meta, *keys.flow)
    changed, epoch, before = await store.call(script("limit").call(head, PROTOCOL, keys.control, by, what, *args))
    return changed, epoch, before


def _declared(data: bytes) -> Declared:
    found = msgspec.msgpack.decode(data)
    # An empty table is an array to Lua's msgpack.
    confs = {name: dict(conf or {}) for name, conf in dict(found["gates"] or {}).items()}
    return Declared(confs, found["digest"], found["by"], found["at"])


def _layer(data: bytes) -> Layer:
    found = msgspec.msgpack.decode(data)
    return Layer(dict(found["conf"] or {}), found["by"], found["at"])


def _gate(one: Reply) -> GateSeen:
    name, why, wait, used, waiting, spent, config = one
    return GateSeen(_text(name), _text(why), wait, used, waiting, spent, dict(msgspec.msgpack.decode(config) or {}))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
