"""Every queue of a prefix at a glance: one write and one read, however many jobs there are.

For those who look once a second. The names of queues and workers are those of the look before, so that they cost no
round trip of their own; what is new shows up with one more, once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..errors import RedisUnavailable, ServerUnfit
from . import desk, inspector
from .address import redacted
from .desk import Counted
from .dial import open_link
from .faults import server_error
from .inspector import Seen
from .keys import Keys, registry_key
from .link import Command, LinkDown, Refused, ReplyError
from .session import check_server

QUEUES = 50
"""Most queues of one look."""

WORKERS = 100
"""Most workers of a queue, those heard of last."""

ANSWER = 5.0
"""Seconds an answer may take before the server counts as away."""


class Glanced(NamedTuple):
    """One queue: its numbers, its workers (consumer, last sign of life in ms, heartbeat), its newest dead letters."""

    queue: str
    counted: Counted
    beats: list[tuple[str, int, bytes]]
    dead: list[Seen]


class Looked(NamedTuple):
    """One look. ``seconds`` the server took; ``more``: queues beyond `QUEUES`; ``info``: what INFO says of it."""

    queues: list[Glanced]
    seconds: float
    more: int
    info: dict[str, str]


class Glancer:
    """A connection for looking. ``dead``: how many of the newest dead letters of each queue."""

    def __init__(self, url: str, prefix: str, *, dead: int = 5) -> None:
        self.url = url
        self._prefix = prefix
        self._dead = dead
        self._link = open_link(url, "streamq:glance")
        self._info: dict[str, str] = {}
        self._queues: list[str] | None = None
        self._workers: dict[str, list[bytes]] = {}

    async def look(self, only: Sequence[str] = ()) -> Looked:
        """Return every queue, or ``only`` these; raises `RedisUnavailable`, and then the next call connects anew."""
        try:
            return await self._look(only)
        except Refused as problem:
            await self.aclose()
            raise ServerUnfit(redacted(self.url), problem.reason, "check STREAMQ_URL and its credentials") from None
        except LinkDown as problem:
            await self.aclose()
            raise RedisUnavailable(redacted(self.url), problem.reason) from None

    async def aclose(self) -> None:
        """Close the connection."""
        await self._link.close()
        self._info.clear()

    async def _look(self, only: Sequence[str]) -> Looked:
        await self._link.connect()
        if not self._info:
            self._info = await check_server(self._link, strict=False)
        if self._queues is None:
            self._queues = _names((await self._call([self._registry]))[0])
        names = [one for one in self._queues if not only or one in only]
        shown = names[:QUEUES]
        started = time.perf_counter()
        replies = iter(await self._call([self._registry, *self._commands(shown)]))
        seconds = time.perf_counter() - started
        self._queues = _names(next(replies))
        found = [self._read(name, replies) for name in shown]
        strange = {one.queue for one in found if any(not blob for _, _, blob in one.beats)}
        if strange:
            found = await self._with_beats(found, strange)
        return Looked(found, seconds, len(names) - len(shown), dict(self._info))

    @property
    def _registry(self) -> Command:
        return (b"SMEMBERS", registry_key(self._prefix))

    def _commands(self, names: Sequence[str]) -> Iterator[Command]:
        for name in names:
            keys = Keys(self._prefix, name)
            yield desk.counting(keys)
            yield (b"XREVRANGE", keys.dead, "+", "-", "COUNT", self._dead)
            yield (b"ZRANGE", keys.beats, 0, WORKERS - 1, "REV", "WITHSCORES")
            yield (b"HMGET", keys.workers, *(self._workers.get(name) or (b"",)))

    def _read(self, name: str, replies: Iterator[Any]) -> Glanced:
        counted, dead, beats, blobs = next(replies), next(replies), next(replies), next(replies)
        known = dict(zip(self._workers.get(name, ()), blobs, strict=False))
        names = beats[::2]
        self._workers[name] = names
        seen = [(one.decode(), int(float(beats[at * 2 + 1])), known.get(one) or b"") for at, one in enumerate(names)]
        return Glanced(name, desk.counted(counted), seen, inspector.letters(dead))

    async def _with_beats(self, found: Sequence[Glanced], strange: set[str]) -> list[Glanced]:
        """Ask for the heartbeats of workers that were not known yet."""
        names = [name for name in self._workers if name in strange]
        commands = [(b"HMGET", Keys(self._prefix, name).workers, *self._workers[name]) for name in names]
        blobs = dict(zip(names, await self._call(commands), strict=True))
        return [
            one._replace(
                beats=[(*beat[:2], blob or b"") for beat, blob in zip(one.beats, blobs[one.queue], strict=True)]
            )
            if one.queue in blobs
            else one
            for one in found
        ]

    async def _call(self, commands: Sequence[Command]) -> list[Any]:
        replies = await self._link.call_many(commands, timeout=ANSWER)
        for reply in replies:
            if isinstance(reply, ReplyError):
                if reply.passes:
                    raise LinkDown(reply.text, sent=True)
                raise server_error(self.url, "", reply)
        return replies


def _names(members: Sequence[bytes]) -> list[str]:
    return sorted(name.decode() for name in members)
