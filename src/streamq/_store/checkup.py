"""What a server says of itself, and how long it takes to answer; reads only."""

from __future__ import annotations

import re
import time

from .._core.checkup import ServerFacts
from ..errors import StreamqError
from .session import Store

PINGS = 50

_SECTIONS = (b"server", b"memory", b"persistence", b"replication", b"clients", b"cluster")
_CONFIG = (
    b"appendfsync", b"save", b"min-replicas-to-write", b"busy-reply-threshold", b"lua-time-limit", b"timeout",
)  # fmt: skip


async def server_facts(store: Store, *, pings: int = PINGS) -> ServerFacts:
    """Return what there is to know, from ``pings`` round trips.

    Raises what `Store.call` raises; a refused CONFIG GET leaves ``config`` empty.
    """
    found: dict[str, str] = {}
    for section in _SECTIONS:
        text = (await store.call((b"INFO", section))).decode("utf-8", "replace")
        found.update(re.findall(r"^(\w+):(.*?)\r?$", text, re.MULTILINE))
    seconds, micros = await store.call((b"TIME",))
    offset = int(seconds) * 1000 + int(micros) // 1000 - time.time_ns() // 1_000_000
    took: list[float] = []
    for _ in range(pings):
        started = time.perf_counter()
        await store.call((b"PING",))
        took.append((time.perf_counter() - started) * 1000)
    took.sort()
    return ServerFacts(found, await _config(store), offset, took[pings // 2], took[-1])


async def _config(store: Store) -> dict[str, str]:
    try:
        flat = await store.call((b"CONFIG", b"GET", *_CONFIG))
    except StreamqError:
        return {}
    texts = [part.decode("utf-8", "replace") for part in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))
