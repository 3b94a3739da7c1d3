"""One connection to the server, used by one caller at a time.

Only public methods of redis-py's Connection are used, its retries are off and it has no socket timeout: redis-py
re-sends a command whose reply was lost (a re-sent XADD is a double job), and only streamq knows which calls may be
repeated. A watchdog per call takes the place of the socket timeout.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, cast

import hiredis

from .address import CONNECT_TIMEOUT, connection_options, redis_asyncio
from .address import redacted as redacted  # noqa: PLC0414 - for those that know links only
from .scripts import by_sha
from .watchdog import Watchdog

Command = Sequence[bytes | str | int]
Reply = Any
Meanwhile = Callable[[], None] | None

CALL_TIMEOUT = 10.0
"""Seconds an answer may take; then the connection counts as dead. Above any pause a healthy server makes."""

TRY_AGAIN = (
    "LOADING",
    "READONLY",
    "TRYAGAIN",
    "MOVED",
    "ASK",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "BUSY",
    "UNBLOCKED",
    "NOREPLICAS",
    "MISCONF",  # the disk is full, say: writes are refused until a snapshot succeeds
    "NOSCRIPT",  # flushed again between loading and calling
)
"""Error replies that pass by themselves: the same call may be sent again after a while."""


_packer: Any = cast("Any", hiredis).pack_command  # its stub says a tuple of one; it takes any


def pack(command: Command) -> bytes:
    """Return a command in the Redis protocol; by hiredis, in C."""
    packed: bytes = _packer(tuple(command))
    return packed


class LinkDown(Exception):
    """The connection failed. ``sent`` tells whether the server may have seen the call."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        self.reason = reason
        self.sent = sent
        super().__init__(reason)


class Refused(LinkDown):
    """The server answered and refused us: wrong password, no permission, not a Redis. Waiting does not help."""


class ReplyError:
    """An error reply, as a value: in a pipeline each reply is handled on its own."""

    __slots__ = ("code", "text")

    def __init__(self, code: str, text: str) -> None:
        self.code: str = code
        self.text: str = text

    @property
    def passes(self) -> bool:
        """Whether the same call may succeed later."""
        return self.code in TRY_AGAIN

    def __repr__(self) -> str:
        """Code and text as the server sent them."""
        return f"{self.code} {self.text}"


@cache
def _codes() -> list[tuple[type, str]]:
    errors = importlib.import_module("redis.exceptions")
    wanted = {
        "NoScriptError": "NOSCRIPT",
        "BusyLoadingError": "LOADING",
        "ReadOnlyError": "READONLY",
        "OutOfMemoryError": "OOM",
        "NoPermissionError": "NOPERM",
        "AuthenticationError": "NOAUTH",
        "TryAgainError": "TRYAGAIN",
        "MovedError": "MOVED",
        "AskError": "ASK",
        "ClusterDownError": "CLUSTERDOWN",
        "MasterDownError": "MASTERDOWN",
    }
    return [(getattr(errors, name), code) for name, code in wanted.items() if hasattr(errors, name)]


def as_reply_error(error: Exception) -> ReplyError:
    """Return an error reply with its code, which redis-py has cut off for the classes it knows."""
    text = str(error)
    for kind, code in _codes():
        if isinstance(error, kind):
            return ReplyError(code, text)
    head = text.split(" ", 1)[0]
    return ReplyError(head if head.isupper() else "ERR", text)


class Link:
    """A connection and its life: connect, call, close. ``name`` shows in CLIENT LIST."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name
        self._connection: Any = None
        self._watchdog = Watchdog()

    @property
    def is_up(self) -> bool:
        """Whether there is a connection that has not failed yet."""
        return self._connection is not None

    async def connect(self) -> None:
        """Connect and greet; does nothing when connected. Raises `LinkDown` or `Refused`."""
        if self._connection is not None:
            return
        kind, options = connection_options(self.url, redis_asyncio(), client_name=self.name)
        connection = kind(**options)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await connection.connect()
        except BaseException as problem:
            with suppress(Exception):
                await connection.disconnect(nowait=True)
            if isinstance(problem, Exception):
                raise _connect_failure(problem) from None
            raise
        self._connection = connection

    async def call(
        self,
        *command: bytes | str | int,
        timeout: float = CALL_TIMEOUT,  # noqa: ASYNC109 - a watchdog, not a scope
        meanwhile: Meanwhile = None,
    ) -> Reply:
        """Return the reply to one command; see `call_many`."""
        return (await self.call_many([command], timeout=timeout, meanwhile=meanwhile))[0]

    async def call_many(
        self,
        commands: Sequence[Command],
        *,
        timeout: float = CALL_TIMEOUT,  # noqa: ASYNC109 - a watchdog, not a scope
        meanwhile: Meanwhile = None,
    ) -> list[Reply]:
        """Return the replies to ``commands``, sent in one write; error replies as `ReplyError`.

        ``meanwhile`` is called when they are on their way. Scripts unknown to the server were not run, so they are
        loaded and sent again. Raises `LinkDown` when the connection fails; any of the commands may have been run then.
        """
        replies = await self._exchange(commands, timeout, meanwhile)
        forgotten = [n for n, reply in enumerate(replies) if type(reply) is ReplyError and reply.code == "NOSCRIPT"]
        if forgotten:
            again = [commands[n] for n in forgotten]
            shas = {bytes(command[1]) for command in again}  # type: ignore[arg-type]
            await self._exchange([(b"SCRIPT", b"LOAD", by_sha(sha).source) for sha in shas], timeout)
            for n, reply in zip(forgotten, await self._exchange(again, timeout), strict=True):
                replies[n] = reply
        return replies

    async def _exchange(self, commands: Sequence[Command], seconds: float, meanwhile: Meanwhile = None) -> list[Reply]:
        connection = self._connection
        if connection is None:
            raise LinkDown("not connected", sent=False)
        packed = [pack(command) for command in commands]
        self._watchdog.start(seconds)
        try:
            await connection.send_packed_command(packed, check_health=False)
            if meanwhile is not None:
                meanwhile()
            return [await self._read(connection) for _ in commands]
        except BaseException as problem:  # whatever the client raises, the connection is unusable
            await self.close()
            if self._watchdog.has_fired(asyncio.current_task()):
                raise LinkDown(f"no answer within {seconds:g} s", sent=True) from None
            if not isinstance(problem, Exception):
                raise
            raise _call_failure(problem) from None
        finally:
            self._watchdog.stop()

    async def _read(self, connection: Any) -> Reply:
        try:
            return await connection.read_response(disable_decoding=True)
        except Exception as problem:
            if _is_reply(problem):
                return as_reply_error(problem)
            raise

    async def send(self, *command: bytes | str | int) -> None:
        """Send a command without waiting for a reply (subscriptions answer on the stream)."""
        if self._connection is None:
            raise LinkDown("not connected", sent=False)
        try:
            await self._connection.send_packed_command([pack(command)], check_health=False)
        except Exception as problem:  # noqa: BLE001 - whatever the client raises, the connection is unusable
            await self.close()
            raise _call_failure(problem) from None

    async def receive(self) -> Reply:
        """Return the next message of a subscription; waits as long as it takes."""
        if self._connection is None:
            raise LinkDown("not connected", sent=False)
        try:
            return await self._read(self._connection)
        except asyncio.CancelledError:
            await self.close()
            raise
        except Exception as problem:  # noqa: BLE001 - whatever the client raises, the connection is unusable
            await self.close()
            raise _call_failure(problem) from None

    async def close(self) -> None:
        """Close the connection; does nothing when closed."""
        self._watchdog.close()
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                await connection.disconnect(nowait=True)

    def forget(self) -> Any:
        """Return the connection without closing it: after a fork it is the parent's."""
        connection, self._connection = self._connection, None
        return connection


class SyncLink:
    """The keeper thread's connection: the same manners, without an event loop. Timeouts are the socket's."""

    def __init__(self, url: str, name: str, seconds: float) -> None:
        module = importlib.import_module("redis.connection")
        kind, options = connection_options(url, module, client_name=name)
        options["socket_timeout"] = seconds
        self._connection: Any = kind(**options)

    def call(self, command: Command) -> Reply:
        """Return the reply to one command; raises `LinkDown`. A script the server forgot is loaded first."""
        reply = self._call(command)
        if type(reply) is ReplyError and reply.code == "NOSCRIPT":
            self._call((b"SCRIPT", b"LOAD", by_sha(bytes(command[1])).source))  # type: ignore[arg-type]
            reply = self._call(command)
        return reply

    def _call(self, command: Command) -> Reply:
        try:
            self._connection.connect()
            self._connection.send_packed_command([pack(command)], check_health=False)
            return self._connection.read_response(disable_decoding=True)
        except Exception as problem:  # noqa: BLE001 - sorted into replies and failures here
            if _is_reply(problem):
                return as_reply_error(problem)
            self.close()
            raise LinkDown(str(problem), sent=True) from None

    def close(self) -> None:
        """Close the connection; the next call opens it anew."""
        with suppress(Exception):
            self._connection.disconnect()


def _is_reply(problem: Exception) -> bool:
    errors = importlib.import_module("redis.exceptions")
    return isinstance(problem, errors.ResponseError)


def _connect_failure(problem: Exception) -> LinkDown:
    """Tell a server that is away from one that will never have us."""
    errors = importlib.import_module("redis.exceptions")
    text = str(problem) or type(problem).__name__
    if isinstance(problem, TimeoutError | errors.TimeoutError):
        return LinkDown(f"no answer within {CONNECT_TIMEOUT:g} s", sent=False)
    if isinstance(problem, errors.AuthenticationError | errors.NoPermissionError):
        return Refused(f"it refused user or password: {text}", sent=False)
    if isinstance(problem, errors.InvalidResponse) or "Protocol Error" in text or "Protocol error" in text:
        return Refused("what answers there does not speak the Redis protocol", sent=False)
    if isinstance(problem, errors.ResponseError) and not isinstance(problem, errors.ConnectionError):
        reply = as_reply_error(problem)
        if not reply.passes:
            return Refused(text, sent=False)
    return LinkDown(text, sent=False)


def _call_failure(problem: Exception) -> LinkDown:
    if isinstance(problem, LinkDown):
        return problem
    text = str(problem) or type(problem).__name__
    if "Protocol Error" in text:
        return Refused("what answers there does not speak the Redis protocol", sent=True)
    return LinkDown(text, sent=True)
