"""Links to a broker in memory, with the manners of those to a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from .._store.clock import ServerClock
from .._store.link import Command, Link, LinkDown, Reply, SyncLink
from .broker import Broker, named
from .connection import Connection, ConnectionGone
from .transport import in_loop


class MemoryLink(Link):
    """A `Link` for urls ``memory://NAME``. A defect of broker or script is raised as it is, never as a lost link."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(url, name)
        self._broker: Broker = named(url)
        self._inbox: asyncio.Queue[Reply | ConnectionGone] = asyncio.Queue()

    async def connect(self) -> None:
        """Connect; does nothing when connected. Raises `LinkDown`."""
        if self._connection is not None:
            return
        try:
            connection = await self._broker.transport.open(self._broker, self.name)
        except ConnectionGone as problem:
            raise LinkDown(str(problem), sent=False) from None
        loop, inbox = asyncio.get_running_loop(), asyncio.Queue[Reply | ConnectionGone]()
        connection.on_push = lambda message: in_loop(loop, inbox.put_nowait, message)
        connection.on_close = lambda: in_loop(loop, inbox.put_nowait, ConnectionGone("the server closed it"))
        self._connection, self._inbox = connection, inbox

    async def _exchange(
        self, commands: Sequence[Command], seconds: float, meanwhile: Callable[[], None] | None = None
    ) -> list[Reply]:
        connection = self._open_one()
        try:
            async with asyncio.timeout(seconds):
                return await self._broker.transport.exchange(connection, commands, seconds, meanwhile)
        except TimeoutError:
            await self.close()
            raise LinkDown(f"no answer within {seconds:g} s", sent=True) from None
        except ConnectionGone as problem:
            await self.close()
            raise LinkDown(str(problem), sent=True) from None
        except BaseException:
            await self.close()
            raise

    async def send(self, *command: bytes | str | int) -> None:
        """Send a command without waiting for a reply (subscriptions answer on the stream)."""
        connection = self._open_one()
        try:
            await self._broker.transport.post(connection, command)
        except ConnectionGone as problem:
            await self.close()
            raise LinkDown(str(problem), sent=True) from None
        except BaseException:
            await self.close()
            raise

    async def receive(self) -> Reply:
        """Return the next message of a subscription; waits as long as it takes."""
        self._open_one()
        try:
            message = await self._inbox.get()
        except asyncio.CancelledError:
            await self.close()
            raise
        if isinstance(message, ConnectionGone):
            await self.close()
            raise LinkDown(str(message), sent=True)
        return message

    async def close(self) -> None:
        """Close the connection; does nothing when closed."""
        connection = self.forget()
        if connection is not None:
            self._broker.transport.hang_up(connection)

    def forget(self) -> Any:
        """Return the connection without closing it."""
        connection: Connection | None = self._connection
        self._connection = None
        return connection

    def _open_one(self) -> Connection:
        connection: Connection | None = self._connection
        if connection is None:
            raise LinkDown("not connected", sent=False)
        return connection


class SyncMemoryLink(SyncLink):
    """A `SyncLink` for urls ``memory://NAME``, for the keeper thread of a worker with queues of both kinds."""

    def __init__(self, url: str, name: str, seconds: float) -> None:
        del seconds  # it never waits
        self._broker = named(url)
        self._name = name
        self._connection: Connection | None = None

    def _call(self, command: Command) -> Reply:
        if self._connection is None:
            self._connection = self._broker.connect(self._name)
        try:
            return self._broker.transport.exchange_now(self._connection, command)
        except ConnectionGone as problem:
            self.close()
            raise LinkDown(str(problem), sent=True) from None

    def close(self) -> None:
        """Close the connection; the next call opens it anew."""
        if self._connection is not None:
            self._broker.transport.hang_up(self._connection)
        self._connection = None


def clock_of(url: str) -> ServerClock:
    """Return a new clock for a client of this broker."""
    return named(url).make_clock()
