"""Which names queues, handlers, jobs and tenants may have, checked where they enter."""

from __future__ import annotations

import re

from ..errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_.:\-/@]{1,200}")
_PREFIX = re.compile(r"[A-Za-z0-9_.:\-]{1,100}")


def checked(option: str, value: object) -> str:
    """Return a queue or handler name; letters, digits and ``_ . : - / @``, 1 to 200 of them.

    Names end up in Redis keys, metrics and log lines; braces would break the cluster hash tag.
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ConfigError(option, value, "use 1 to 200 letters, digits or any of _ . : - / @")
    return value


def is_name(value: str) -> bool:
    """Whether a handler can have this name: a job for any other waits for nobody."""
    return _NAME.fullmatch(value) is not None


def checked_prefix(value: object) -> str:
    """Return a key prefix; as a name, but without ``/ @``."""
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise ConfigError("prefix", value, "use 1 to 100 letters, digits or any of _ . : -")
    return value


def checked_text(option: str, value: object, limit: int = 200) -> str:
    """Return a job id, tenant or header name: printable text of 1 to ``limit`` characters."""
    if not isinstance(value, str) or not 0 < len(value) <= limit or not value.isprintable():
        raise ConfigError(option, value, f"use 1 to {limit} printable characters")
    return value


def checked_headers(value: dict[str, str]) -> dict[str, str]:
    """Return headers: at most 64 text pairs of at most 8 KiB together."""
    if not isinstance(value, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError("headers", value, "give a dict of str to str")
    if len(value) > 64:
        raise ConfigError("headers", f"<{len(value)} pairs>", "at most 64 headers; put data into the arguments")
    size = 0
    for name, text in value.items():
        checked_text("headers", name, 100)
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"headers[{name!r}]", text, "header values are str")
        size += len(name) + len(text)
    if size > 8192:
        raise ConfigError("headers", f"<{size} characters>", "at most 8 KiB; put data into the arguments")
    return value
