"""A proxy in front of a server that loses what it is told to lose.

It understands enough RESP2 to tell one command and one reply from the next, so that a rule can say "the reply of the
second settle" and the same bytes are lost in every run. TCP cannot lose one reply out of the middle of a connection,
so a lost one takes the connection with it: reset at once, or silent for ever (half open).
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import deque
from contextlib import suppress
from enum import Enum
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from streamq._store.scripts import LINES, VERBS, lines_script, script


class Fault(Enum):
    """What happens to a request or to its reply."""

    LOSE_REPLY = "the server does it, the connection is reset before the reply"
    MUTE_REPLY = "the server does it, the reply and all that follows never come"
    CUT_REPLY = "the server does it, some bytes of the reply come, then a reset"
    LOSE_REQUEST = "the server never sees it, the connection is reset"
    MUTE_REQUEST = "the server never sees it, the connection stays open and silent"
    RESET_AFTER_REQUEST = "the request is passed on and the connection reset without waiting"
    STALL_REPLY = "the reply waits until the rule is released"


REQUEST_FAULTS = {Fault.LOSE_REQUEST, Fault.MUTE_REQUEST, Fault.RESET_AFTER_REQUEST}


class Rule:
    """``fault`` for the ``nth`` command called ``label`` (from 1), and for the ``times - 1`` after it.

    A label is the name of a script verb (``settle``) or of a command in capitals (``BLPOP``). ``client`` restricts the
    rule to connections of this CLIENT SETNAME. ``keep`` is the number of bytes of the reply that `Fault.CUT_REPLY`
    lets through. ``fired`` is set at the first hit.
    """

    def __init__(
        self, label: str, fault: Fault, *, nth: int = 1, times: int = 1, client: str | None = None, keep: int = 1
    ) -> None:
        self.label = label
        self.fault = fault
        self.keep = keep
        self.hits = 0
        self.fired = asyncio.Event()
        self.released = asyncio.Event()
        self._nth = nth
        self._times = times
        self._client = client
        self._seen = 0

    def release(self) -> None:
        """Let stalled replies go on, now and later."""
        self.released.set()

    def applies(self, label: str, client: str) -> bool:
        """Count a command; whether this one is hit."""
        if label != self.label or (self._client is not None and client != self._client):
            return False
        self._seen += 1
        if not self._nth <= self._seen < self._nth + self._times:
            return False
        self.hits += 1
        self.fired.set()
        return True


class Proxy:
    """Listens on a unix socket (or a TCP port) and passes on to ``upstream``, a server's unix socket.

    ``chunk`` cuts all replies into pieces of so many bytes. ``log`` holds (client name, label) of every command.
    """

    def __init__(self, upstream: Path, *, tcp: bool = False, chunk: int = 0) -> None:
        self.url = ""
        self.rules: list[Rule] = []
        self.log: list[tuple[str, str]] = []
        self.is_refusing = False
        self._upstream = upstream
        self._tcp = tcp
        self.chunk = chunk
        self._folder = Path(tempfile.mkdtemp(prefix="sq-", dir="/tmp"))
        self._server: asyncio.Server | None = None
        self._conversations: set[_Conversation] = set()

    async def __aenter__(self) -> Self:
        if self._tcp:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        else:
            path = self._folder / "p"
            self._server = await asyncio.start_unix_server(self._accept, path)
            self.url = f"unix://{path}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        await self.reset_all()
        shutil.rmtree(self._folder, ignore_errors=True)

    def rule(
        self, label: str, fault: Fault, *, nth: int = 1, times: int = 1, client: str | None = None, keep: int = 1
    ) -> Rule:
        """Add a rule that counts from now on."""
        made = Rule(label, fault, nth=nth, times=times, client=client, keep=keep)
        self.rules.append(made)
        return made

    def seen(self, label: str) -> int:
        """How many commands of this label came so far."""
        return sum(1 for _, one in self.log if one == label)

    async def reset_all(self) -> None:
        """Reset every connection, as a partition that ends does."""
        for one in list(self._conversations):
            await one.reset()

    def judge(self, label: str, client: str) -> Rule | None:
        """Log a command and return the rule that hits it."""
        self.log.append((client, label))
        for rule in self.rules:
            if rule.applies(label, client):
                return rule
        return None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            _abort(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self._upstream)
        except OSError:
            _abort(writer)
            return
        conversation = _Conversation(self, (reader, writer), (far_reader, far_writer), self.chunk)
        self._conversations.add(conversation)
        try:
            await conversation.run()
        finally:
            self._conversations.discard(conversation)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Conversation:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, near: Stream, far: Stream, chunk: int) -> None:
        self._proxy = proxy
        self._near_reader, self._near_writer = near
        self._far_reader, self._far_writer = far
        self._chunk = chunk
        self._client = ""
        self._asked: deque[Rule | None] = deque()
        self._is_mute = False
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Pass on in both directions until either side ends."""
        self._tasks = [asyncio.create_task(self._requests()), asyncio.create_task(self._replies())]
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self.reset()

    async def reset(self) -> None:
        """End both connections at once."""
        for writer in (self._near_writer, self._far_writer):
            _abort(writer)
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
                await task

    async def _requests(self) -> None:
        buffer = b""
        while data := await self._near_reader.read(65_536):
            buffer += data
            while True:
                words, size = read_command(buffer)
                if words is None:
                    break
                request, buffer = buffer[:size], buffer[size:]
                label = label_of(words)
                if label == "CLIENT" and words[1].upper() == b"SETNAME":
                    self._client = words[2].decode()
                rule = self._proxy.judge(label, self._client)
                if self._is_mute:
                    continue
                if rule is not None and rule.fault in REQUEST_FAULTS:
                    if rule.fault is Fault.MUTE_REQUEST:
                        self._is_mute = True
                        continue
                    if rule.fault is Fault.RESET_AFTER_REQUEST:
                        self._is_mute = True
                        _abort(self._near_writer)
                        self._far_writer.write(request)
                        self._far_writer.write_eof()  # the server runs it and ends the connection, and so ends this
                        await asyncio.Event().wait()
                    return
                self._asked.append(rule)
                self._far_writer.write(request)
            await self._far_writer.drain()

    async def _replies(self) -> None:
        buffer = b""
        while data := await self._far_reader.read(65_536):
            buffer += data
            while size := reply_size(buffer):
                reply, buffer = buffer[:size], buffer[size:]
                rule = self._asked.popleft() if self._asked else None
                if self._is_mute:
                    continue
                if rule is not None and not await self._harm(rule, reply):
                    return
                if not self._is_mute:
                    await self._pass_on(reply)

    async def _harm(self, rule: Rule, reply: bytes) -> bool:
        """Apply a reply's rule; False when the connection is over."""
        if rule.fault is Fault.STALL_REPLY:
            await rule.released.wait()
        elif rule.fault is Fault.MUTE_REPLY:
            self._is_mute = True
        elif rule.fault is Fault.CUT_REPLY:
            await self._pass_on(reply[: rule.keep])
            return False
        else:
            return False
        return True

    async def _pass_on(self, reply: bytes) -> None:
        step = self._chunk or len(reply)
        for at in range(0, len(reply), step):
            self._near_writer.write(reply[at : at + step])
            await self._near_writer.drain()
            if self._chunk:
                await asyncio.sleep(0)


def _abort(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        writer.transport.abort()


@cache
def _verb_by_sha() -> dict[bytes, str]:
    return {script(verb).sha: verb for verb in VERBS} | {lines_script(verb).sha: verb for verb in LINES}


def label_of(words: list[bytes]) -> str:
    """Name of a command as rules name it: the verb of a script, else the command in capitals."""
    name = words[0].upper().decode("ascii", "replace")
    if name == "EVALSHA":
        return _verb_by_sha().get(words[1], name)
    return name


def read_command(buffer: bytes) -> tuple[list[bytes] | None, int]:
    """The first command of ``buffer`` and its size in bytes; (None, 0) while it is not complete."""
    if not buffer.startswith(b"*"):
        end = buffer.find(b"\r\n")  # an inline command
        return (None, 0) if end < 0 else (buffer[:end].split() or [b""], end + 2)
    end = buffer.find(b"\r\n")
    if end < 0:
        return None, 0
    words: list[bytes] = []
    at = end + 2
    for _ in range(int(buffer[1:end])):
        end = buffer.find(b"\r\n", at)
        if end < 0:
            return None, 0
        size = int(buffer[at + 1 : end])
        at = end + 2 + size + 2
        if at > len(buffer):
            return None, 0
        words.append(buffer[end + 2 : at - 2])
    return words, at


def reply_size(buffer: bytes, at: int = 0) -> int:
    """Bytes of the reply that starts at ``at``; 0 while it is not complete."""
    end = buffer.find(b"\r\n", at)
    if end < 0:
        return 0
    after = end + 2
    kind = buffer[at : at + 1]
    if kind == b"$":
        size = int(buffer[at + 1 : end])
        after += size + 2 if size >= 0 else 0
        return after - at if after <= len(buffer) else 0
    if kind in {b"*", b">", b"~"}:
        for _ in range(max(0, int(buffer[at + 1 : end]))):
            size = reply_size(buffer, after)
            if not size:
                return 0
            after += size
    return after - at
