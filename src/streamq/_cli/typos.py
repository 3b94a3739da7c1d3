"""Names of handlers as people type them: what no worker knows is most often a mistake."""

from __future__ import annotations

import difflib

from .. import Queue
from .say import note

HEARTBEAT_NAMES = 200
"""Handlers a heartbeat names at most; a worker with that many may have others."""


async def unknown_handler(queue: Queue, name: str) -> str | None:
    """Return what is odd about ``name`` if live workers have handlers and not this one; None if nothing is."""
    alive = [worker for worker in await queue.workers() if worker.alive]
    handlers = sorted({one for worker in alive for one in worker.handlers})
    if not handlers or name in handlers or any(len(worker.handlers) >= HEARTBEAT_NAMES for worker in alive):
        return None
    near = difflib.get_close_matches(name, handlers, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; they have {', '.join(handlers)}"
    return f"no worker of queue {queue.name!r} has a handler {name!r}{hint}"


async def note_unknown_handler(queue: Queue, name: str | None) -> None:
    """Say so, beside the data, when a limit, a pause or a block names a handler that no live worker has."""
    odd = None if name is None else await unknown_handler(queue, name)
    if odd is not None:
        note(f"mind: {odd}")
