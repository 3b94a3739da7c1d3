"""Which link a url gets: one to a server, or for ``memory://NAME`` one to a broker in this process, for tests."""

from __future__ import annotations

import importlib
from typing import Any, cast

from ..errors import ConfigError
from .clock import ServerClock
from .link import Link, SyncLink

MEMORY = "memory://"


def in_memory(url: str) -> bool:
    """Whether the broker of this url lives in this process, and so on the clock of its event loop."""
    return url.startswith(MEMORY)


def open_link(url: str, name: str) -> Link:
    """Return a link, not connected yet. ``name`` shows in CLIENT LIST."""
    return cast("Link", _memory(url).MemoryLink(url, name)) if in_memory(url) else Link(url, name)


def open_sync_link(url: str, name: str, seconds: float) -> SyncLink:
    """Return a link for a thread; an answer may take ``seconds``."""
    if in_memory(url):
        return cast("SyncLink", _memory(url).SyncMemoryLink(url, name, seconds))
    return SyncLink(url, name, seconds)


def clock_of(url: str) -> ServerClock:
    """Return a new idea of the time of this url's server; a broker in memory may give its very own."""
    return cast("ServerClock", _memory(url).clock_of(url)) if in_memory(url) else ServerClock()


def _memory(url: str) -> Any:
    try:
        return importlib.import_module("streamq._memory.link")
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] != "lupa":
            raise
        raise ConfigError("url", url, "needs the extra testing: pip install 'streamq[testing]'") from None
