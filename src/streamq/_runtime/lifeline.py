"""The exchange's connection: how long an answer may take, how a lost connection is noticed, and how it comes back."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .._store.dial import open_link
from .._store.link import CALL_TIMEOUT, Command, LinkDown, Refused, Reply, redacted
from .._store.session import check_server
from ..errors import ServerUnfit

log = logging.getLogger("streamq.worker")


class _Identity(NamedTuple):
    """Which connection of which server process; a number of 0: unknown."""

    server: bytes
    client: int


_NOBODY = _Identity(b"", 0)


class Lifeline:
    """One connection, opened again and again. ``on_lost`` is called at each failure, first or not; lease in seconds."""

    def __init__(self, url: str, lease: float, on_lost: Callable[[], None]) -> None:
        self._url = url
        self._link = open_link(url, "streamq:worker")
        self._on_lost = on_lost
        self._identity = _NOBODY
        # Well under the lease: jobs of an answer that never comes must be found before somebody reclaims them.
        self._least_patience = min(CALL_TIMEOUT, max(1.0, lease / 4))
        self._patience = self._least_patience
        self._lost_since = 0.0

    @property
    def is_up(self) -> bool:
        """Whether there is a connection that has not failed yet."""
        return self._link.is_up

    async def open(self) -> None:
        """Connect for the first time and look whether the server is fit; raises `ServerUnfit` or `LinkDown`."""
        try:
            await self._link.connect()
            await check_server(self._link, strict=True)
            self._identity = await self._own_identity()
        except Refused as problem:
            raise self._unfit(problem) from None

    async def reopen(self) -> float | None:
        """Try to connect again; returns for how many seconds it was gone, None while it still is."""
        try:
            await self._link.connect()
            old, self._identity = self._identity, await self._own_identity()
            if old.client and old.client != self._identity.client and old.server == self._identity.server:
                # What the dead connection still holds shall not be executed behind our back. Only on the very server
                # process we knew: after a restart the id may be anybody's.
                await self._link.call(b"CLIENT", b"KILL", b"ID", old.client)
        except Refused as problem:
            raise self._unfit(problem) from None
        except LinkDown as problem:
            self._note_lost(problem)
            return None
        away = time.monotonic() - self._lost_since if self._lost_since else 0.0
        if away:
            log.warning("redis restored after %.1f s", away, extra={"event": "redis.restored", "duration": away})
        self._lost_since = 0.0
        return away

    async def pause(self) -> None:
        """Wait before the next try: not long, but not all workers at once, and less often the longer it lasts."""
        away = time.monotonic() - self._lost_since
        await asyncio.sleep(random.uniform(0.5, 1.0) * min(2.0, 0.1 + away / 4))  # noqa: S311 - jitter

    async def call(self, commands: Sequence[Command], *, meanwhile: Callable[[], None]) -> Sequence[Reply] | None:
        """Return the replies; None when the connection failed, and any of the commands may have been run.

        ``meanwhile`` is called when the commands are out, unless that failed.
        """
        asked = time.monotonic()
        try:
            replies = await self._link.call_many(commands, timeout=self._patience, meanwhile=meanwhile)
        except LinkDown as problem:
            self._note_lost(problem)
            if time.monotonic() - asked >= self._patience:
                # A server that is slow rather than gone must get the time to answer.
                self._patience = min(CALL_TIMEOUT, self._patience * 2)
            return None
        self._patience = self._least_patience
        return replies

    async def part(self, command: Command) -> None:
        """Send a last command, if that is possible, and close."""
        try:
            await self._link.connect()
            await self._link.call(*command, timeout=2.0)
        except LinkDown:
            log.debug("left without goodbye", extra={"event": "leave_failed"})
        finally:
            await self._link.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()

    async def _own_identity(self) -> _Identity:
        number, info = await self._link.call_many([(b"CLIENT", b"ID"), (b"INFO", b"server")], timeout=self._patience)
        found = re.search(rb"^run_id:(\w+)", info, re.MULTILINE) if isinstance(info, bytes) else None
        if found is None or not isinstance(number, int):
            return _NOBODY
        return _Identity(found[1], number)

    def _unfit(self, problem: Refused) -> ServerUnfit:
        return ServerUnfit(redacted(self._url), problem.reason, "check STREAMQ_URL and its credentials")

    def _note_lost(self, problem: LinkDown) -> None:
        if not self._lost_since:
            self._lost_since = time.monotonic()
            where = redacted(self._url)
            extra = {"event": "redis.lost", "reason": problem.reason}
            log.warning("redis lost: %s at %s; jobs in hand go on, trying again", problem.reason, where, extra=extra)
        self._on_lost()
