"""What a worker says of the limits in its code, and when it says so again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ._core import flow, gates
from ._core.handler import Registry
from ._store import limits as _store
from ._store.clock import ServerClock
from ._store.session import Store
from .errors import RedisUnavailable, ServerUnfit
from .limits import rate_text

log: Final = logging.getLogger("streamq")

LOOK_EVERY = 3600.0
"""Seconds between two looks whether our limits are others now: those by the clock follow daylight saving."""

TRY_AGAIN = 2.0
"""Seconds after which limits that could not be declared are declared again: until then none are in force."""


class Declaring:
    """Keeps the limits of one worker's code declared. ``by``: who says so, for those who ask later."""

    def __init__(self, store: Store, registry: Registry, clock: ServerClock, by: str) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._by = by
        self._said: str | None = None
        self._next = float("inf")
        self._running: asyncio.Task[None] | None = None

    async def declare(self) -> None:
        """Write what our code says of limits, if that is not what we said last; tries again later if it must."""
        self._next = time.monotonic() + LOOK_EVERY
        try:
            self._said = await declare(self._store, self._registry, self._by, self._clock.now_ms(), self._said)
        except (ServerUnfit, RedisUnavailable) as problem:  # memory is full, say; a worker is what frees it
            self._next = time.monotonic() + TRY_AGAIN
            log.warning("limits are not declared yet: %s", problem, extra={"event": "limits_undeclared"})

    def tick(self) -> None:
        """Say it again when it is time to."""
        if time.monotonic() > self._next:
            self._soon()

    def forgotten(self) -> None:
        """Say it again now: the server lost it."""
        self._said = None
        self._soon()

    def _soon(self) -> None:
        self._running = asyncio.get_running_loop().create_task(self.declare())


async def declare(store: Store, registry: Registry, by: str, now_ms: int, said_before: str | None = None) -> str:
    """Write what this process's code says of limits; returns its digest.

    Of two processes that differ, the last to start is in force. So nothing is written when the digest is that of
    ``said_before``: a process that merely goes on must not bring its limits back.
    """
    handlers = {name: spec.flow for name, spec in registry.handlers.items()}
    found = flow.declared(registry.flow, handlers, now_ms)
    said: dict[str, Any] = {name: msgspec.to_builtins(conf) for name, conf in found.items()}
    digest = hashlib.sha256(msgspec.json.encode(sorted(said.items()))).hexdigest()[:16] if said else ""
    if digest == said_before:
        return digest
    # What this code knows of and does not limit is not limited any more.
    known = [gates.QUEUE, gates.GROUPS]
    for name in handlers:
        known += [gates.handler(name), gates.limit(name), gates.keys(name)]
    whole = {**dict.fromkeys(known, False), **said}
    changed, before = await _store.declare(store, digest, whole, by)
    if changed and before is not None:
        log.warning(
            "limits of %r changed: %s, declared by %s, now %s",
            store.queue, _told(before.gates), before.by, _told(said),
            extra={"event": "limits_changed", "queue": store.queue},
        )  # fmt: skip
    return digest


def _told(found: Mapping[str, Mapping[str, Any]]) -> str:
    parts: list[str] = []
    for gate, conf in sorted(found.items()):
        of_gate = [text for text in (rate_text(conf),) if text]
        if conf.get("c") is not None:
            of_gate.append(f"{conf['c']} at a time")
        parts.append(f"{gate} {', '.join(of_gate) or 'open'}")
    return "; ".join(parts) or "none"
