"""What probes ask of a worker: ``--health-port`` serves /live, /health, /queue/health and /metrics.

The server has a thread and an event loop of its own, so that a worker whose loop is stuck can still be asked, and says
so. It knows GET and HEAD, answers one request per connection, and reads no more than a few kilobytes of it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec

from .. import Health, Queue
from ..health import readiness
from ..metrics import exposition, negotiated
from .alive import STALE
from .say import USAGE, CliError

READ, ANSWER = 5.0, 6.0
"""Seconds a request may take to arrive, and its answer to be found."""

MOST = 64
"""Connections at a time; one more is turned away."""

LINES = 100
"""Lines of a request."""

JSON = "application/json"


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes
    kind: str = JSON


def said(status: int, **facts: Any) -> Answer:
    """Return an answer as JSON."""
    return Answer(status, msgspec.json.encode(facts, enc_hook=str))


class Probes:
    """The server of one worker process. ``work`` is the loop of the worker; ``stopping`` tells whether it drains."""

    def __init__(self, queues: Sequence[Queue], host: str, port: int) -> None:
        self.started: bool = False
        self.stopping: Callable[[], bool] = lambda: False
        self.port: int = port
        self._queues = queues
        self._host = host
        self._turned = time.monotonic()
        self._work = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._problem: OSError | None = None
        self._open = 0
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="streamq-probes", daemon=True)

    def open(self) -> None:
        """Listen; raises `CliError` when the port cannot be had."""
        self._thread.start()
        self._ready.wait()
        if self._problem is not None:
            reason = self._problem.strerror or str(self._problem)
            raise CliError(f"cannot listen on {self._host}:{self.port} ({reason})", "choose another --health-port")

    def touch(self) -> None:
        """Say that the worker's loop turns."""
        self._turned = time.monotonic()

    def close(self) -> None:
        """Listen no more."""
        if self._loop is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # it ended by itself meanwhile
                self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(2.0)

    # -- the server ---------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            asyncio.run(self._listen())
        except OSError as problem:
            self._problem = problem
        finally:
            self._ready.set()

    async def _listen(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, self._host, self.port, limit=8192)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._end.wait()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                writer.write(await self._respond(reader))
                async with asyncio.timeout(READ):
                    await writer.drain()
        finally:
            self._open -= 1
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(READ):
                method, target = await _request(reader)
        except (ValueError, asyncio.LimitOverrunError):
            await _swallow(reader)
            return _response(said(400, problem="no request of HTTP/1.1, or one that is too long"), head=False)
        if self._open > MOST:
            return _response(said(503, problem="too many connections"), head=False)
        return _response(await self._answer(method, target), head=method == "HEAD")

    async def _answer(self, method: str, target: str) -> Answer:
        if method not in {"GET", "HEAD"}:
            return said(405, problem="only GET and HEAD")
        url = urlsplit(target)
        if url.path == "/live":
            return self._live()
        pages: dict[str, Callable[[], Coroutine[Any, Any, Answer]]] = {
            "/health": self._health,
            "/queue/health": lambda: self._queue_health(parse_qs(url.query).get("queue", [])),
            "/metrics": self._metrics,
        }
        page = pages.get(url.path)
        if page is None:
            return said(404, problem="there are /live, /health, /queue/health and /metrics")
        return await self._asked(page)

    async def _asked(self, page: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Ask on the worker's loop: queues and their connections belong to it."""
        # Only when it turns: what it would never come to must not pile up there.
        if self._silent > STALE:
            return self._live()
        asked = asyncio.run_coroutine_threadsafe(page(), self._work)
        try:
            async with asyncio.timeout(ANSWER):
                return await asyncio.wrap_future(asked)
        except TimeoutError:
            asked.cancel()
            return said(503, level="critical", problem=f"the worker's event loop did not answer in {ANSWER:g} s")

    # -- what it says -------------------------------------------------------------------------------

    @property
    def _silent(self) -> float:
        return time.monotonic() - self._turned

    def _live(self) -> Answer:
        """Red only for a loop that is stuck: nothing that a restart would not mend."""
        silent = self._silent
        if silent > STALE:
            return said(503, live=False, problem=f"the event loop has not turned for {silent:.0f} s")
        return said(200, live=True)

    async def _health(self) -> Answer:
        if not self.started or self.stopping():
            problem = "stopping" if self.started else "starting"
            return said(503, level="critical", problem=problem)
        return _judged(await readiness([(queue, queue.checks) for queue in self._queues]))

    async def _queue_health(self, wanted: Sequence[str]) -> Answer:
        queues = [queue for queue in self._queues if not wanted or queue.name in wanted]
        if not queues:
            known = [queue.name for queue in self._queues]
            return said(404, problem=f"this worker does not serve that queue; it serves {', '.join(known)}")
        found = await asyncio.gather(*(queue.health() for queue in queues))
        worst = max(found, key=lambda one: ("ok", "warning", "critical").index(one.level))
        told = {queue.name: one for queue, one in zip(queues, found, strict=True)}
        return said(200 if worst.is_well else 503, level=worst.level, queues=told)

    async def _metrics(self) -> Answer:
        _, kind = negotiated("")
        return Answer(200, (await exposition(self._queues)).encode(), kind)


def _judged(found: Health) -> Answer:
    return Answer(200 if found.is_well else 503, msgspec.json.encode(found, enc_hook=str))


async def _request(reader: asyncio.StreamReader) -> tuple[str, str]:
    """Return method and target; raises `ValueError` for what is no request of HTTP."""
    first = (await reader.readuntil(b"\n")).decode("latin-1").split()
    if len(first) != 3 or not first[2].startswith("HTTP/1."):
        raise ValueError(first)
    for _ in range(LINES):
        if (await reader.readuntil(b"\n")).strip() == b"":
            return first[0], first[1]
    raise ValueError("too many headers")


async def _swallow(reader: asyncio.StreamReader) -> None:
    """Read what is still on its way: closing on top of it would take the answer away from the client."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            while await reader.read(4096):
                pass


def _response(answer: Answer, *, head: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        f"Content-Type: {answer.kind}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if head else answer.body)


def checked(port: int | None, processes: int) -> None:
    """Refuse a port that several processes would have to share."""
    if port is not None and processes > 1:
        raise CliError(
            "--health-port is of one process, --processes makes several",
            "start several workers, each with a port; or probe with: streamq health --live",
            code=USAGE,
        )
