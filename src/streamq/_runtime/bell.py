"""Waits at the doorbell of one queue while the worker has room and the queue gave less than was asked for.

The bell delivers nothing but the wake-up: jobs come only from the fetch script, where the gates are.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from .._store.dial import open_link
from .._store.link import LinkDown, ReplyError

WAIT = 10
"""Seconds of one BLPOP, after which a dead connection shows. What it swallowed costs two: the tick looks for itself."""


class Bell:
    """``resting`` says whether to wait; ``woken`` is called for a token."""

    def __init__(self, url: str, key: bytes, *, resting: Callable[[], bool], woken: Callable[[], None]) -> None:
        self._link = open_link(url, "streamq:bell")
        self._key = key
        self._resting = resting
        self._woken = woken
        self._changed = asyncio.Event()

    def look(self) -> None:
        """Say that ``resting`` may have become true."""
        self._changed.set()

    async def run(self) -> None:
        """Wait for ever; end by cancellation. Cancelling a BLPOP is harmless: a token can be lost, never a job."""
        try:
            while True:
                while not self._resting():
                    self._changed.clear()
                    await self._changed.wait()
                await self._wait()
        finally:
            await self._link.close()

    async def _wait(self) -> None:
        try:
            await self._link.connect()
            reply = await self._link.call(b"BLPOP", self._key, WAIT, timeout=WAIT + 5)
            if isinstance(reply, ReplyError):
                await asyncio.sleep(random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            elif reply is None:
                return
            elif not self._resting():
                # No room for it any more: whoever else is idle shall have the token.
                await self._link.call(b"LPUSH", self._key, b"1")
                return
        except LinkDown:
            await self._link.close()
            await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - jitter
        self._woken()
