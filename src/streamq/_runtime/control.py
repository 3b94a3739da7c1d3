"""Listens to the control channels of queues: cancel, due times, schedules. Correctness never depends on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

from .._store.dial import open_link
from .._store.link import LinkDown, ReplyError

Hear = Callable[[bytes, bytes], None]
"""Called with the word ("cancel", "due", "schedules") and its argument (job id, ms since the epoch, nothing)."""


class Control:
    """One subscription for all queues of a server. ``channels``: control channel -> who wants to hear it.

    ``missed`` is called whenever the subscription stands (again): what was said before that was not heard.
    """

    def __init__(self, url: str, channels: Mapping[bytes, Hear], missed: Callable[[], None]) -> None:
        self.ready = asyncio.Event()
        self._link = open_link(url, "streamq:control")
        self._channels = dict(channels)
        self._missed = missed

    async def run(self) -> None:
        """Listen for ever; end by cancellation."""
        try:
            while True:
                try:
                    await self._link.connect()
                    for channel in self._channels:
                        await self._link.send(b"SSUBSCRIBE", channel)
                    while True:
                        self._hear(await self._link.receive())
                except LinkDown:
                    await self._link.close()
                    await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - jitter
        finally:
            await self._link.close()

    def _hear(self, message: Any) -> None:
        if isinstance(message, ReplyError):
            return
        kind, channel, said = message
        if kind == b"ssubscribe" and said == len(self._channels):
            self.ready.set()
            self._missed()
        elif kind == b"smessage" and channel in self._channels:
            word, _, argument = bytes(said).partition(b" ")
            self._channels[channel](word, argument)
