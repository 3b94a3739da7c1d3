"""One job: what became of it, why, and what can be done."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from ...errors import ConfigError, ResultError
from ...info import JobInfo
from ...queue import Queue
from ..links import outward
from ..redaction import Hidden
from ..site import Site
from ..views import job as view
from ..views import payload, states, words
from ..views.command import line
from .ground import Ground, Page

TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
"""What the header ``traceparent`` looks like: version, trace, span, flags."""

REQUESTS = ("x-request-id", "request_id", "request-id")


async def one(ground: Ground, request: Request) -> Page:
    """Show a job."""
    site = ground.site
    queue = site.named(request.query_params.get("queue", ""))
    job_id = request.query_params.get("id", "")
    job = None
    try:
        job = await queue.job(job_id)
        info = None if job is None else await job.info()
    except (ConfigError, ResultError):
        info = None
    if info is None:
        told = {"queue": queue.name, "job_id": words.cut(job_id, 300)}
        return Page("gone.html", "This job is no longer known", told, "", "/jobs", status=404)
    now = datetime.now(UTC)
    state = states.shown(info)
    gates: Any = ()
    why = ""
    if state in {"waiting", "blocked", "parked", "delayed", "retrying"}:
        explained = await queue.explain(job_id)
        gates, why = explained.gates, explained.text
    running = await _running(queue, info) if state == "active" else None
    context: dict[str, Any] = {
        **_facts(site, request, info),
        "state": state,
        "listed": state if state in states.LISTED else "",
        "why": "" if why.startswith("waits") and state == "waiting" else why,
        "explained": why,
        "gates": gates,
        "deeds": view.deeds(info),
        "timeline": view.timeline(info, now, running),
        "attempts": view.attempts(info.errors),
        "unkept": view.unkept(info.errors, info.attempts),
        "result": await _result(site, job, info),
        "is_over": states.is_over(str(info.state)),
    }
    command = line("jobs", "show", info.id, queue=queue.name)
    return Page("job.html", view.heading(info, why, now), context, command, "/jobs")


async def _running(queue: Queue, info: JobInfo) -> float | None:
    """Return for how many seconds it has run, as its worker's heartbeat says."""
    for worker in await queue.workers():
        for job_id, _, seconds in worker.running:
            if job_id == info.id:
                return seconds
    return None


async def _result(site: Site, job: Any, info: JobInfo) -> list[payload.Node]:
    if str(info.state) != "completed":
        return []
    try:
        async with asyncio.timeout(0.5):
            return payload.tree(site.redact(await job.result(timeout=0.4)))
    except (ResultError, TimeoutError):
        return []


def _facts(site: Site, request: Request, info: JobInfo) -> dict[str, Any]:
    cleaned = site.redact(info.args)
    headers = site.redaction.headers(info.headers)
    return {
        "info": info,
        "payload": payload.tree(cleaned),
        "payload_json": "" if info.args is None else payload.as_json(cleaned)[:65_536],
        "headers": sorted(headers.items()),
        "details": _details(site, request, info),
    }


def _details(site: Site, request: Request, info: JobInfo) -> list[tuple[str, str, str]]:
    def at(when: datetime | None) -> str:
        return f"{words.instant(when)}" if when else ""

    trace = TRACE.match(info.headers.get("traceparent", ""))
    trace_id = "" if trace is None else trace[1]
    headers = site.redaction.headers(info.headers)
    request_id = next((headers[name] for name in REQUESTS if name in headers), "")
    logs = "" if isinstance(request_id, Hidden) else outward(site.links, "request_url", request_id)
    origin = info.headers.get("replay_of", "")
    jobs_of = site.url(request, "/jobs", queue=info.queue, tenant=info.tenant or "")
    rows = [
        ("Trace", trace_id, outward(site.links, "trace_url", trace_id)),
        ("Request", request_id, logs),
        ("Tenant", info.tenant or "", jobs_of),
        ("Priority", info.priority.name.lower() if info.priority is not None else "", ""),
        ("Attempts", f"{info.attempts} of {info.max_attempts}" if info.max_attempts else str(info.attempts), ""),
        ("Stalls", str(info.stalls) if info.stalls else "", ""),
        ("Worker", info.worker or "", ""),
        ("Enqueued", at(info.created_at), ""),
        ("Due", at(info.due_at), ""),
        ("Expires", at(info.expires_at), ""),
        ("Deadline", at(info.deadline), ""),
        ("Ended", at(info.finished_at), ""),
        ("Reason", words.cut(info.reason, 300), ""),
        ("Made from", origin, site.url(request, "/job", queue=info.queue, id=origin) if origin else ""),
    ]
    return [row for row in rows if row[1]]
