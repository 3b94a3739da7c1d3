"""The embedded server: a real Valkey or Redis, one per folder, found by every process of that folder.

    attach() ── users.lock, shared ── start.lock ── PING ── reuse, or start ── EmbeddedServer
                      │
    keeper ── tries users.lock, exclusive, each second ── got it: nobody is left ── SHUTDOWN

Four locks in ``<folder>/.streamq/`` carry the whole promise, and the kernel frees each when its holder dies:

    users.lock    shared by every process that uses the server; exclusive for the keeper while it stops the server
    start.lock    held while somebody looks for the server or starts it, always after ``users.lock``
    server.lock   inherited by the server process itself: held means alive, so two never share one append-only file
    keeper.lock   held by the one keeper

Names are loaded on first use: the keeper runs from this package too and must start fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import EmbeddedServerError
    from .rule import allowed
    from .server import EmbeddedServer, attach, find

__all__ = ["EmbeddedServer", "EmbeddedServerError", "allowed", "attach", "find"]

_HOMES = {
    "EmbeddedServer": "server",
    "EmbeddedServerError": "errors",
    "allowed": "rule",
    "attach": "server",
    "find": "server",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value
