"""When Redis is away: what was dialled, what came back, and what that means, as facts for a page or a program."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

LOOKUP = 1.0
"""Seconds the resolver gets when somebody wants to read what a name means."""

_WAITS = (1, 2, 4, 8, 10)
"""Seconds between tries of a page that looks again by itself; the last one for ever."""


class Away(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a server that cannot be used.

    dialled: the url, without its password. host, port: from it (host is the path of a unix socket). resolved: addresses
    the name leads to. answer: what came back, in the system's or the server's own words. means: a sentence. kind: which
    of the answers it is ("refused", "name", "timeout", "closed", "password", "permission", "loading", "full",
    "readonly", "unfit", "other"). since, tries: how long this process knows, and how often it asked. again: seconds
    until asking once more makes sense. commands: what to type to find out more.
    """

    dialled: str
    host: str
    port: int
    resolved: Sequence[str] = ()
    answer: str = ""
    means: str = ""
    kind: str = "other"
    since: datetime | None = None
    tries: int = 1
    again: int = 1
    commands: Sequence[str] = ()


class Outage:
    """One time of silence as this process saw it."""

    def __init__(self, reason: str) -> None:
        self.reason: str = reason
        self.since: datetime = datetime.now(UTC)
        self.tries: int = 1
        self.last: float = time.monotonic()

    def once_more(self, reason: str) -> None:
        """Count another try that failed."""
        self.reason = reason
        self.tries += 1
        self.last = time.monotonic()

    @property
    def again(self) -> int:
        """Seconds until the next try makes sense."""
        return _WAITS[min(self.tries, len(_WAITS)) - 1]


_NOT_BROKEN = "Workers keep the jobs they run and reconnect by themselves. Nothing has to be restarted."

_MEANINGS: tuple[tuple[str, str, str], ...] = (
    # what the words of the answer match, kind, what that means
    ("NOAUTH|WRONGPASS|invalid username|wants a password|password", "password",
     "Redis asks for a password, or refused this one. It belongs into the url: redis://:password@host:6379/0."),
    ("NOPERM|lacks a permission|permission denied", "permission",
     "The user of the url may not do this. What it needs is listed in the reference of the scripts."),
    ("LOADING", "loading", "Redis is reading its data from disk. It will answer by itself."),
    (r"\bOOM\b|memory is full", "full",
     "Redis answers but refuses to write: its memory is full. Pages show, actions fail."),
    ("READONLY|MISCONF", "readonly",
     "Redis answers but refuses to write: it is a replica, or it cannot save to its disk."),
    ("refused|Connect call failed", "refused",
     "The machine is up, but nothing listens on port {port}. Redis has stopped, or listens elsewhere."),
    ("No such file", "refused", "There is no socket at {host}. Redis has stopped, or makes its socket elsewhere."),
    ("Name or service|nodename|getaddrinfo|resolution|resolve", "name",
     "No machine is called {host} from here. Check the name, or the DNS of this container."),
    ("timed? ?out|Timeout|no answer|silent", "timeout",
     "Nothing came back in time. A firewall, a wrong address, or a machine that is down."),
    (r"closed|reset|\bEOF\b|hung up|broken pipe", "closed",
     "Something listens but hung up. Often TLS on one side only: try {other}://."),
)  # fmt: skip


def meaning(reason: str, host: str, port: int, scheme: str) -> tuple[str, str]:
    """Return which kind of answer ``reason`` is, and what it means."""
    said = spoken(reason)
    for words, kind, text in _MEANINGS:
        if re.search(words, said, re.IGNORECASE):
            other = "redis" if scheme == "rediss" else "rediss"
            return kind, text.format(host=host or "that", port=port, other=other)
    return "other", "The server could not be used; its own words say why."


def spoken(reason: str) -> str:
    """Return a reason with the system's words for its error number, where it holds nothing but that."""
    number = re.search(r"Err(?:no|or) (\d+)", reason)
    words = os.strerror(int(number[1])) if number else ""
    return reason if words in reason else f"{reason.rstrip('.')} ({words})"


async def describe(url: str, reason: str, outage: Outage | None) -> Away:
    """Return everything that can be said of a server at ``url`` that could not be used for ``reason``."""
    parts = urlsplit(url)
    scheme = parts.scheme or "redis"
    is_socket = scheme == "unix"
    host = parts.path if is_socket else parts.hostname or ""
    try:
        port = 0 if is_socket else parts.port or 6379
    except ValueError:
        port = 6379
    kind, means = meaning(reason, host, port, scheme)
    where = f"-s {host}" if is_socket else f"-h {host} -p {port}"
    return Away(
        dialled=url,
        host=host,
        port=port,
        resolved=[] if is_socket else await _addresses(host, port),
        answer=spoken(reason),
        means=f"{means} {_NOT_BROKEN}",
        kind=kind,
        since=outage.since if outage else None,
        tries=outage.tries if outage else 1,
        again=outage.again if outage else 1,
        commands=(f"redis-cli {where} ping", f"streamq --url {url} health", f"streamq --url {url} doctor"),
    )


async def _addresses(host: str, port: int) -> list[str]:
    found: list[str] = []
    with suppress(OSError, TimeoutError, UnicodeError):
        async with asyncio.timeout(LOOKUP):
            for *_, address in await asyncio.get_running_loop().getaddrinfo(host, port, proto=6):
                text = str(address[0])
                if text not in found:
                    found.append(text)
    return found[:8]
