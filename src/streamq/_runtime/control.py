"""Listens to the control channels of a worker's queues: cancel, earlier due times. Correctness never depends on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping

from .._store.link import Link, LinkDown

Hear = Callable[[bytes, bytes], None]
"""Called with the word ("cancel", "due") and its argument (job id, ms since the epoch)."""


class Control:
    """One subscription for all queues of a server. ``channels``: control channel -> who wants to hear it."""

    def __init__(self, url: str, channels: Mapping[bytes, Hear]) -> None:
        self._link = Link(url, "streamq:control")
        self._channels = dict(channels)

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

    def _hear(self, message: object) -> None:
        if isinstance(message, list) and len(message) == 3 and message[0] == b"smessage":  # pyright: ignore[reportUnknownArgumentType]
            word, _, argument = bytes(message[2]).partition(b" ")  # pyright: ignore[reportUnknownArgumentType]
            hear = self._channels.get(bytes(message[1]))  # pyright: ignore[reportUnknownArgumentType]
            if hear is not None:
                hear(word, argument)
