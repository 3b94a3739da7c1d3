"""A client's connection as the broker sees it, and a call that waits at the broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._store.link import Command, Reply

if TYPE_CHECKING:
    from .broker import Broker


class ConnectionGone(Exception):
    """The broker closed this connection, or crashed."""


def nothing(*what: Any) -> None:
    """Nobody listens."""
    del what


class Blocked:
    """A BLPOP that waits. ``on_done`` is called once, with the reply, None when its time is over, or `ConnectionGone`.

    ``seconds``: how long it may wait, None for ever; who called it keeps the time and calls `time_out`.
    """

    __slots__ = ("_leave", "connection", "key", "on_done", "seconds")

    def __init__(
        self, connection: Connection, key: bytes, seconds: float | None, leave: Callable[[Blocked], None]
    ) -> None:
        self.connection = connection
        self.key = key
        self.seconds = seconds
        self.on_done: Callable[[Reply | ConnectionGone], None] = nothing
        self._leave = leave

    def time_out(self) -> None:
        """Answer that nothing came; does nothing when it was answered."""
        self.finish(None)

    def cancel(self) -> None:
        """Wait no longer; nobody is told."""
        self.on_done = nothing
        self.finish(None)

    def finish(self, reply: Reply | ConnectionGone) -> None:
        """Answer; does nothing when it was answered."""
        if self.connection.waits is self:
            self.connection.waits = None
            self._leave(self)
            self.on_done(reply)


class Connection:
    """Made by `Broker.connect`. ``on_push`` hears messages of subscriptions, ``on_close`` that the broker closed it."""

    def __init__(self, broker: Broker, number: int, name: str) -> None:
        self.broker = broker
        self.number = number
        self.name = name
        self.closed: bool = False
        self.channels: dict[bytes, None] = {}
        self.waits: Blocked | None = None
        self.on_push: Callable[[Reply], None] = nothing
        self.on_close: Callable[[], None] = nothing

    def execute(self, command: Command) -> Reply | Blocked:
        """Run a command to its end and return the reply, `ReplyError` for an error; a `Blocked` for one that waits.

        Raises `ConnectionGone` when the connection is closed.
        """
        return self.broker.execute(self, command)

    def close(self) -> None:
        """Close it from the client's side; does nothing when closed."""
        self.broker.close(self, told=False)
