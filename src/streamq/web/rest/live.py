"""Operations on everything: events, health, metrics, the audit trail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response, StreamingResponse

from ... import metrics
from ..._core.events import EventKind, checked_kind, checked_place
from ..._core.units import seconds
from ...errors import ResultError
from ...health import Health
from ...job import Job
from ...trail import AuditPage
from .jobs import ending, found_job
from .shapes import Ended
from .table import EVENTS, TEXT, Call, Table, encode
from .words import Cursor, Limit, Needle, lapse

table: Table = Table("operating")

BEAT = 15.0
"""Seconds of silence after which a stream of events says that it is still there."""

LOOK = 1.0
"""Seconds between two looks at a job that somebody follows."""


class EventQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which events: after the one of this id (also by the header Last-Event-ID), of this handler, of these kinds."""

    after: Annotated[str, Meta(max_length=40)] = ""
    name: Needle = ""
    kinds: Needle = ""


class AuditQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which acts: of whom, how the action begins ("dead."), on which queue, with which text, within which age."""

    who: Needle = ""
    action: Needle = ""
    queue: Needle = ""
    text: Needle = ""
    since: Needle = ""
    limit: Limit = 50
    cursor: Cursor = ""


class AllHealth(msgspec.Struct, kw_only=True):
    """How all queues are: the worst of them, and each."""

    level: str
    queues: dict[str, Health]


RANKS = {"ok": 0, "warning": 1, "critical": 2}


@table.get("/queues/{queue}/events", errors=(404,), media=EVENTS)
async def follow_queue(call: Call, query: EventQuery) -> Response:
    """Follow the events of a queue as server-sent events, as far as the queue keeps them (Queue(events=...)).

    Resumable: a browser's EventSource sends Last-Event-ID by itself.
    """
    after = query.after or call.request.headers.get("last-event-id") or None
    checked_place("after", after)
    kinds: list[EventKind] | None = [checked_kind("kinds", one) for one in query.kinds.split(",") if one] or None
    names = [query.name] if query.name else None
    events: AsyncIterator[Any] = call.queue.events(after=after, names=names, kinds=kinds)

    async def told() -> AsyncGenerator[bytes]:
        async for event in events:
            yield _sse(event.kind, event.json(), event.id)

    return _stream(told())


@table.get("/queues/{queue}/jobs/{job_id:path}/events", errors=(404,), media=EVENTS)
async def follow_job(call: Call) -> Response:
    """Follow one job as server-sent events: "state" whenever that changes, then "end" with how it ended."""
    return _stream(_told_of(call, await found_job(call)))


async def _told_of(call: Call, job: Job[Any]) -> AsyncGenerator[bytes]:
    last = ""
    while True:
        state = str(await job.state())
        if state != last:
            last = state
            yield _sse("state", encode({"id": job.id, "state": state}))
        try:
            ended = await ending(job, LOOK)
        except ResultError as problem:
            ended = Ended(id=job.id, state="unknown", finished=True, problem=str(problem))
        if ended is not None:
            ended.result = call.site.redact(ended.result)
            yield _sse("end", encode(ended))
            return


def _sse(kind: str, data: bytes, event_id: str = "") -> bytes:
    head = f"event: {kind}\n" + (f"id: {event_id}\n" if event_id else "")
    return head.encode() + b"data: " + data + b"\n\n"


def _stream(chunks: AsyncGenerator[bytes]) -> Response:
    # X-Accel-Buffering: nginx would keep events until it has a page of them.
    return StreamingResponse(beating(chunks), media_type=EVENTS, headers={"X-Accel-Buffering": "no"})


async def beating(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yield chunks, and a comment when there was none for a while: so that proxies do not hang up."""
    coming: asyncio.Future[bytes] | None = None
    try:
        yield b": streamq\n\n"
        while True:
            coming = coming or asyncio.ensure_future(anext(chunks))
            done, _ = await asyncio.wait((coming,), timeout=BEAT)
            if not done:
                yield b": still here\n\n"
                continue
            try:
                chunk = coming.result()
            except StopAsyncIteration:
                return
            finally:
                coming = None
            yield chunk
    finally:
        if coming is not None:
            coming.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait((coming,))
        if coming is None or coming.done():
            await chunks.aclose()


@table.get("/health", also=(503,))
async def show_health(call: Call) -> AllHealth:
    """Tell how all queues are, with reasons; 503 when one of them is critical."""
    names = list(call.site.queues)
    found = await asyncio.gather(*(call.site.named(name).health() for name in names))
    level = max((one.level for one in found), key=RANKS.__getitem__, default="ok")
    call.status = 503 if level == "critical" else 200
    return AllHealth(level=level, queues=dict(zip(names, found, strict=True)))


@table.get("/metrics", media=TEXT)
async def show_metrics(call: Call) -> Response:
    """Return the metrics of all queues as Prometheus reads them."""
    openmetrics, kind = metrics.negotiated(call.request.headers.get("accept", ""))
    text = await metrics.exposition(list(call.site.queues.values()), openmetrics=openmetrics)
    return Response(text, headers={"Content-Type": kind})


@table.get("/audit")
async def list_audit(call: Call, query: AuditQuery) -> AuditPage:
    """Return what people did, newest first; with filters no more than 2,000 acts are looked at a request."""
    age = lapse("since", query.since)
    since = None if age is None else datetime.now(UTC) - timedelta(seconds=seconds("since", age))
    return await call.site.trail(
        who=query.who or None, action=query.action or None, queue=query.queue or None, text=query.text or None,
        since=since, limit=query.limit, cursor=query.cursor,
    )  # fmt: skip
