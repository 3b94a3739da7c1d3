"""``streamq metrics``: metrics of queues for Prometheus, printed once or served over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from .. import Queue
from .._store import inspector
from ..errors import StreamqError
from ..metrics import exposition, negotiated
from .connect import awaited, known, server_url
from .options import Command, chosen, connected
from .say import note
from .signals import asked_to_end

HEAD_BYTES = 16_384
PATIENCE = 10.0
"""Most bytes of a request, and the seconds it may take to come."""

REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


@click.command(cls=Command)
@click.argument("queue_names", nargs=-1, metavar="[QUEUE]...")
@click.option("--port", type=click.IntRange(0, 65_535), help="Serve GET /metrics there, until Ctrl-C.")
@click.option("--host", default="127.0.0.1", help="With --port: where to listen.  [default: 127.0.0.1]")
@click.option("--once", is_flag=True, help="Print them and end; the same as without --port.")
@click.option("--openmetrics", is_flag=True, help="Print OpenMetrics; a server answers as it is asked.")
@connected
@awaited
async def metrics(queue_names: Sequence[str], **options: Any) -> None:
    """Print the metrics of QUEUE, or of every queue, or serve them to Prometheus.

    Any one process will do: what is told is counted by Redis, for all workers together.
    """
    if options["once"] and options["port"] is not None:
        raise click.UsageError("--once prints and --port serves: give one of them")
    source = Source([await known(name, options) for name in queue_names], options)
    try:
        if options["port"] is None:
            click.echo(await source.text(openmetrics=options["openmetrics"]), nl=False)
        else:
            await _serve(source, options["host"], options["port"])
    finally:
        await source.aclose()


class Source:
    """The queues to tell of: those named, or every one there is by the time of asking."""

    def __init__(self, only: Sequence[str], options: dict[str, Any]) -> None:
        self._only = only
        self._url = server_url(options)
        self._prefix: str | None = chosen(options, "prefix")
        self._queues: dict[str, Queue] = {}
        self._lister = self._opened("streamq")  # any name: looking brings no queue about

    def _opened(self, name: str) -> Queue:
        return Queue(name, url=self._url, prefix=self._prefix)

    async def text(self, *, openmetrics: bool = False) -> str:
        """Return the metrics by now. While the server is away, of the queues seen before, that it is."""
        for name in self._only or await self._names():
            if name not in self._queues:
                self._queues[name] = self._opened(name)
        return await exposition([self._queues[name] for name in sorted(self._queues)], openmetrics=openmetrics)

    async def _names(self) -> Sequence[str]:
        if not self._queues:
            return await inspector.queues((await self._lister.stores())[0])
        try:
            async with asyncio.timeout(1.0):
                return await inspector.queues((await self._lister.stores())[0])
        except (StreamqError, TimeoutError):
            return tuple(self._queues)

    async def aclose(self) -> None:
        """Close all connections."""
        for queue in (self._lister, *self._queues.values()):
            await queue.aclose()


async def _serve(source: Source, host: str, port: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Whoever hangs up, or never says what he wants, is no concern of ours.
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
            status, kind, body = await respond(source, head)
            shown = b"" if head.startswith(b"HEAD ") else body
            writer.write(_head(status, kind, len(body)) + shown)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, host, port, limit=HEAD_BYTES)
    bound = server.sockets[0].getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    note(f"metrics at http://{shown}:{bound}/metrics")
    async with server:
        await asked_to_end()


async def respond(source: Source, head: bytes) -> tuple[int, str, bytes]:
    """Return status, content type and body of the answer to a request."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    plain = "text/plain; charset=utf-8"
    if not rest.endswith(("HTTP/1.1", "HTTP/1.0")):
        return 400, plain, b"this is no HTTP request\n"
    if method not in {"GET", "HEAD"}:
        return 405, plain, b"GET /metrics\n"
    if path not in {"/metrics", "/"}:
        return 404, plain, b"GET /metrics\n"
    accept = ",".join(line.partition(":")[2] for line in lines if line.lower().startswith("accept:"))
    openmetrics, kind = negotiated(accept)
    try:
        return 200, kind, (await source.text(openmetrics=openmetrics)).encode()
    except StreamqError as problem:
        return 503, plain, f"{problem}\n".encode()


def _head(status: int, kind: str, length: int) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {REASONS[status]}",
        f"Content-Type: {kind}",
        f"Content-Length: {length}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if status == 405:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join([*lines, "", ""]).encode()
