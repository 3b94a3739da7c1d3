"""From a url to redis-py's connection class and our options for it."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ..errors import ConfigError

CONNECT_TIMEOUT = 5.0
"""Seconds a connection attempt may take, the handshake included."""


@cache
def redis_asyncio() -> Any:
    """Return redis-py's asyncio connection module; imported late because it costs 300 ms and `--help` needs none."""
    return importlib.import_module("redis.asyncio.connection")


def redacted(url: str) -> str:
    """Return ``url`` without user and password, for messages and logs."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rsplit("@", 1)[1]))


def connection_options(url: str, module: Any, **more: Any) -> tuple[type[Any], dict[str, Any]]:
    """Return redis-py's connection class for ``url`` and our options for it."""
    try:
        options: dict[str, Any] = dict(module.parse_url(url))
    except ValueError as problem:
        raise ConfigError(
            "url", redacted(url), f"{problem}; write redis://[user:password@]host:6379/0, rediss://... or unix:///path"
        ) from None
    kind = options.pop("connection_class", None) or module.Connection
    if kind.__name__ == "UnixDomainSocketConnection":
        options.pop("host", None)
        options.pop("port", None)
    for foreign in ("max_connections", "timeout", "decode_responses", "retry_on_timeout"):
        options.pop(foreign, None)
    options.update(protocol=2, socket_timeout=None, socket_connect_timeout=CONNECT_TIMEOUT, health_check_interval=0)
    options.update(more)
    return kind, options
