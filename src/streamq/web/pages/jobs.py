"""Jobs by filter: the address is the filter, a search looks at a bounded window and says so."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ...errors import ConfigError
from ...info import JobInfo
from ...queue import Queue
from ...reading import Counts, JobPage
from ..site import Site
from ..views import filters, jobs, states, words
from ..views.filters import JobFilter
from .finding import options_of
from .ground import Ground, Page

LIMIT = 50

QUEUES = 10
"""Queues searched when none is named."""

SECONDS = 0.08
"""Time after which no further state or queue is looked into."""

DEEDS: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "dead": (("jobs-retry", "Retry", False), ("jobs-remove", "Remove", True)),
    "delayed": (("jobs-promote", "Run now", False), ("jobs-cancel", "Cancel", True)),
    "retrying": (("jobs-promote", "Run now", False), ("jobs-cancel", "Cancel", True)),
    "waiting": (("jobs-cancel", "Cancel", True),),
    "parked": (("jobs-cancel", "Cancel", True),),
    "active": (("jobs-cancel", "Cancel", True),),
}


async def listed(ground: Ground, request: Request) -> Page | Response:
    """Show jobs."""
    wanted, wrong = filters.parsed(request.query_params)
    site = ground.site
    if request.query_params.get("add") and not wrong:
        return RedirectResponse(wanted.url(site.url(request, "/jobs")), 303)
    if not wanted.queue and len(site.queues) == 1:
        wanted = wanted.replaced(queue=next(iter(site.queues)))
    if wanted.id:
        found_in = await _by_id(site, wanted)
        if found_in is not None:
            return RedirectResponse(site.url(request, "/job", queue=found_in, id=wanted.id), 303)
        wrong.append("No queue knows a job of this id. What completed is remembered for a while only.")
    cursor = request.query_params.get("cursor", "")[:200]
    try:
        found, older = await search(site, wanted, cursor)
    except ConfigError as problem:
        wrong.append(f"{problem}.")
        found, older = jobs.Found([], 0, is_whole=True, total=0, ms=0.0), ""
    return _page(ground, request, wanted, wrong, found, (cursor, older), await _counts(ground, wanted))


def _page(
    ground: Ground, request: Request, wanted: JobFilter, wrong: list[str], found: jobs.Found,
    cursors: tuple[str, str], counts: Counts | None,
) -> Page:  # fmt: skip
    site, now = ground.site, datetime.now(UTC)
    path = site.url(request, "/jobs")
    rows = [jobs.row(msgspec.structs.replace(info, args=site.redact(info.args)), now) for info in found.jobs]
    cursor, older = cursors
    deeds = DEEDS.get(wanted.state, ()) if wanted.queue else ()
    exact = found.total if wanted.is_open and found.total is not None else len(found.jobs)
    at_end = found.is_whole and not older and not cursor

    def bulk_url(act: str) -> str:
        return site.url(request, f"/act/{act}", **dict(wanted.given()))

    def url_of(one: JobFilter) -> str:
        return one.url(path)

    context: dict[str, Any] = {
        "wanted": wanted,
        "wrong": wrong,
        "tokens": filters.tokens(wanted, path),
        "strip": jobs.strip(counts, wanted.state),
        "rows": rows,
        "deeds": deeds,
        "whole": at_end or (wanted.is_open and wanted.state != "retrying"),
        "match_count": words.number(exact) if at_end or wanted.is_open else "that match",
        "bulk_url": bulk_url,
        "url_of": url_of,
        "when_head": jobs.WHEN_HEAD.get(wanted.state, "When"),
        "foot": jobs.looked(wanted, found),
        "older": wanted.url(path, cursor=older) if older else "",
        "first": wanted.url(path) if cursor else "",
        "shared_error": jobs.one_error(found.jobs) if wanted.state == "dead" else "",
        "suggestions": _suggestions(site, wanted, found.jobs),
    }
    return Page("jobs.html", jobs.heading(wanted, found), context, filters.command(wanted), "/jobs")


async def search(site: Site, wanted: JobFilter, cursor: str, limit: int = LIMIT) -> tuple[jobs.Found, str]:
    """Return jobs that fit, and the cursor of the next page: state, slash, cursor within it."""
    started = time.perf_counter()
    options = options_of(wanted, site.redaction)
    if not wanted.queue:
        return await _everywhere(site, wanted, options, limit, started)
    queue = site.named(wanted.queue)
    found: list[JobInfo] = []
    looked, inner = 0, cursor
    all_states: list[str] = [wanted.state] if wanted.state else list(states.LISTED)
    at, slash, rest = cursor.partition("/")
    if slash and at in all_states:
        all_states, inner = all_states[all_states.index(at) :], rest
    for place, state in enumerate(all_states):
        page, fits = await _of_state(queue, state, options, limit - len(found), inner)
        found += fits
        looked += page.looked_at
        inner = page.cursor
        over = time.perf_counter() - started > SECONDS
        if inner or ((len(found) >= limit or over) and place + 1 < len(all_states)):
            older = f"{state}/{inner}" if inner else f"{all_states[place + 1]}/"
            return await _told(queue, wanted, found, looked, older, started), older
    return await _told(queue, wanted, found, looked, "", started), ""


async def _of_state(
    queue: Queue, state: str, options: dict[str, Any], limit: int, cursor: str
) -> tuple[JobPage, list[JobInfo]]:
    if state != "retrying":
        page = await queue.jobs(state, limit=limit, cursor=cursor, **options)
        return page, list(page.jobs)
    again: dict[str, Any] = {"attempts": 1, **options}
    page = await queue.jobs("delayed", limit=limit, cursor=cursor, **again)
    return page, list(page.jobs)


async def _told(
    queue: Queue, wanted: JobFilter, found: list[JobInfo], looked: int, older: str, started: float
) -> jobs.Found:
    total: int | None = None
    if wanted.state and wanted.state not in {"retrying", "completed"}:
        total = getattr(await queue.counts(), wanted.state, None)
    ms = (time.perf_counter() - started) * 1000
    return jobs.Found(found, looked, not older, total, ms)


async def _everywhere(
    site: Site, wanted: JobFilter, options: dict[str, Any], limit: int, started: float
) -> tuple[jobs.Found, str]:
    """Search the first queues, each a bounded way; to go further one has to be named."""
    found: list[JobInfo] = []
    looked, is_whole = 0, len(site.queues) <= QUEUES
    for queue in list(site.queues.values())[:QUEUES]:
        for state in [wanted.state] if wanted.state else states.LISTED:
            if len(found) >= limit or time.perf_counter() - started > SECONDS:
                is_whole = False
                break
            page, fits = await _of_state(queue, state, options, limit - len(found), "")
            found += fits
            looked += page.looked_at
            is_whole = is_whole and not page.cursor
    ms = (time.perf_counter() - started) * 1000
    return jobs.Found(found, looked, is_whole, None, ms), ""


async def _counts(ground: Ground, wanted: JobFilter) -> Counts | None:
    facts = await ground.pulse.look()
    known = [one.counts for one in facts if one.counts is not None and wanted.queue in {"", one.name}]
    if not known:
        return await ground.site.named(wanted.queue).counts() if wanted.queue else None
    summed: dict[str, Any] = {name: sum(getattr(one, name) for one in known) for name in states.LISTED}
    return Counts(**summed)


async def _by_id(site: Site, wanted: JobFilter) -> str | None:
    """Return the queue that knows a job of this id."""
    queues = [site.named(wanted.queue)] if wanted.queue else list(site.queues.values())[:50]
    for queue in queues:
        try:
            if await queue.job(wanted.id) is not None:
                return queue.name
        except ConfigError:
            return None
    return None


def _suggestions(site: Site, wanted: JobFilter, found: Any) -> list[str]:
    """Return what may be typed next: names that were seen."""
    names = sorted({info.name for info in found if info.name})[:10]
    tenants = sorted({info.tenant for info in found if info.tenant})[:10]
    seen = [f"name:{name}" for name in names] + [f"tenant:{tenant}" for tenant in tenants]
    queues = [] if wanted.queue else [f"queue:{name}" for name in list(site.queues)[:10]]
    return [*queues, *seen, *(f"state:{state}" for state in filters.STATES), "since:1h", "error:"]
