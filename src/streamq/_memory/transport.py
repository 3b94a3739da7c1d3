"""What lies between a client and the broker. This one answers at once; a simulation puts one with faults in its place.

`Broker.transport` is looked up for each call, so that it can be exchanged at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .._store.link import Command, Reply
from .connection import Blocked, Connection, ConnectionGone

if TYPE_CHECKING:
    from .broker import Broker


class Transport:
    """Every way from a link to the broker and back. What goes wrong is told by `LinkDown` or `ConnectionGone`."""

    async def open(self, broker: Broker, name: str) -> Connection:
        """Connect. ``name`` is the link's, as in CLIENT LIST."""
        await asyncio.sleep(0)
        return broker.connect(name)

    async def exchange(
        self,
        connection: Connection,
        commands: Sequence[Command],
        timeout: float,  # noqa: ASYNC109 - told, not kept: the link gives up by itself
        meanwhile: Callable[[], None] | None,
    ) -> list[Reply]:
        """Return the replies to ``commands``; ``meanwhile`` is called when they are on their way.

        The link cancels it after ``timeout`` seconds; then the reply is lost, and the link closes.
        """
        del timeout
        replies: list[Reply] = []
        for command in commands:
            answer = connection.execute(command)
            replies.append(await waited(answer) if isinstance(answer, Blocked) else answer)
        if meanwhile is not None:
            meanwhile()
        await asyncio.sleep(0)
        return replies

    async def post(self, connection: Connection, command: Command) -> None:
        """Send a command whose answers come as messages (SSUBSCRIBE)."""
        await asyncio.sleep(0)
        connection.execute(command)

    def exchange_now(self, connection: Connection, command: Command) -> Reply:
        """Return the reply to a command, for a thread without a loop."""
        answer = connection.execute(command)
        if isinstance(answer, Blocked):
            answer.cancel()
            raise TypeError("a call that waits needs an event loop")
        return answer

    def deliver(self, connection: Connection, message: Reply) -> None:
        """Bring a message of a subscription to its connection. Called within a command: never to be waited for."""
        connection.on_push(message)

    def hang_up(self, connection: Connection) -> None:
        """Close a connection from the client's side."""
        connection.close()


async def waited(blocked: Blocked) -> Reply:
    """Return the answer to a call that waits, None when its time is over. Raises `ConnectionGone`."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Reply] = loop.create_future()

    def done(reply: Reply | ConnectionGone) -> None:
        if future.done():
            return
        if isinstance(reply, ConnectionGone):
            future.set_exception(reply)
        else:
            future.set_result(reply)

    blocked.on_done = lambda reply: in_loop(loop, done, reply)
    timer = None if blocked.seconds is None else loop.call_later(blocked.seconds, blocked.time_out)
    try:
        return await future
    finally:
        if timer is not None:
            timer.cancel()
        blocked.cancel()


def in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[Reply], None], what: Reply) -> None:
    """Call in the loop: at once from its own thread, else as soon as it can."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is loop:
        call(what)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(call, what)
