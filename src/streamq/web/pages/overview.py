"""The overview, the workers, the server: what the pulse shows, and what one more look does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from ...errors import RedisUnavailable, StreamqError
from ..views import charts, overview, payload, places, states, workers
from ..views.command import line
from .ground import Ground, Page
from .pulse import QUEUES

WORKERS = 100


async def home(ground: Ground, request: Request) -> Page:
    """Show which queues need somebody."""
    asked = request.query_params.get("page", "")
    page = min(int(asked), 1000) if asked.isascii() and asked.isdigit() else 0
    now = datetime.now(UTC)
    facts = overview.ordered(await ground.pulse.look(page))
    verdicts = [found for one in facts if (found := overview.verdict(one, now)) is not None]
    summed = overview.together(facts)

    def does(one: overview.Verdict) -> str:
        return _does(ground, request, one)

    context: dict[str, Any] = {
        "verdicts": verdicts[: overview.SHOWN],
        "more_verdicts": max(0, len(verdicts) - overview.SHOWN),
        "totals": overview.totals(facts),
        "spark_gap": charts.gap(summed),
        "rows": [overview.row(one) for one in facts],
        "more_queues": max(0, len(ground.site.queues) - (page + 1) * QUEUES),
        "page": page,
        "does": does,
    }
    return Page("overview.html", overview.heading(facts), context, line("stats"), "/")


def _does(ground: Ground, request: Request, verdict: overview.Verdict) -> str:
    """Return where the button of a verdict leads."""
    site, queue = ground.site, verdict.queue
    if verdict.does == "dead":
        return site.url(request, "/dead", queue=queue)
    if verdict.does in states.LISTED or verdict.does == "retrying":
        return site.url(request, "/jobs", queue=queue, state=verdict.does)
    if verdict.does in {"workers", "server"}:
        return site.url(request, f"/{verdict.does}")
    return str(ground.plain(request)["queue_url"](queue))


async def at_work(ground: Ground, request: Request) -> Page:
    """Show the workers and what runs."""
    del request
    now = datetime.now(UTC)
    facts = await ground.pulse.look()
    by_queue = {one.name: one.workers for one in facts}
    rows = workers.rows(by_queue, now)
    waiting = sum(one.counts.waiting + one.counts.due for one in facts if one.counts)
    context = {
        "rows": rows[:WORKERS],
        "cut": f"{WORKERS} of {len(rows)} shown, those with something to say first" if len(rows) > WORKERS else "",
        "under": workers.under(rows, waiting),
        "runs": workers.running(by_queue),
        "busy": sum(one.busy for one in rows if not one.lost),
        "waiting": waiting,
    }
    return Page("workers.html", workers.heading(rows), context, line("top"), "/workers")


async def server(ground: Ground, request: Request) -> Page:
    """Show what to change about the server."""
    del request
    home_ = ground.site.roster.home
    found = await home_.server()
    checks = places.checks(found.checks)
    report = payload.as_json({"server": found.title, "checks": [one._asdict() for _, one in checks]})
    context = {
        "facts": places.server_facts(found),
        "checks": checks,
        "where": home_.where,
        "prefix": home_.prefix,
        "report": report,
    }
    return Page("server.html", places.server_heading(found), context, line("doctor"), "/server")


async def limits(ground: Ground, request: Request) -> Page:
    """Show limits, groups, breakers and blocks of all queues, or of one."""
    now = datetime.now(UTC)
    rows: list[places.Limit] = []
    blocks: list[tuple[str, Any]] = []
    fuses: list[places.Fuse] = []
    asked = request.query_params.get("queue", "")
    queues = [ground.site.named(asked)] if asked else list(ground.site.queues.values())[:QUEUES]
    for queue in queues:
        try:
            found = await queue.limits.list()
            in_force = await queue.blocks()
            breakers = await queue.breakers()
        except RedisUnavailable:
            raise
        except StreamqError:
            continue
        rows += [
            places.limit(queue.name, one, now) for one in _largest(found) if not one.gate.startswith(("x.", "cb."))
        ]
        fuses += [places.fuse(queue.name, one, now) for one in breakers]
        blocks += [(queue.name, one) for one in in_force]
    rows.sort(key=lambda one: (one.waiting == 0, one.state == "open", one.queue, one.gate))
    fuses.sort(key=lambda one: (one.is_closed, one.queue, one.name))
    context = {"rows": rows[:200], "blocks": blocks[:100], "fuses": fuses[:100]}
    heading = places.limits_heading(rows, len(blocks), sum(not one.is_closed for one in fuses))
    command = line("limits", "list", rows[0].queue if rows else queues[0].name) if queues else ""
    return Page("limits.html", heading, context, command, "/limits")


def _largest(found: Sequence[Any]) -> list[Any]:
    """Return all limits but of groups only the 20 with most waiting."""
    groups = sorted((one for one in found if one.gate.startswith("g:")), key=lambda one: -one.waiting)
    return [one for one in found if not one.gate.startswith("g:")] + groups[:20]


KEYS = (
    (("/",), "find a job, queue, error, handler"), (("g", "o"), "overview"), (("g", "j"), "jobs"),
    (("g", "d"), "dead letters"), (("g", "s"), "schedules"), (("g", "w"), "workers"), (("g", "l"), "limits"),
    (("g", "r"), "server"), (("g", "a"), "audit"), (("j", "k"), "next, previous row"), (("enter",), "open"),
    (("x",), "select row"), (("a",), "select all on the page"), (("[", "]"), "from the start, older"),
    (("f",), "edit the filter"), (("r",), "retry, replay or run the row"), (("e",), "retry with changes"),
    (("p",), "pause or resume"), (("c",), "copy this view as a command"), (("h",), "hold the live feed"),
    (("t",), "theme: system, light, dark"), (("?",), "this list"),
)  # fmt: skip


async def keys(ground: Ground, request: Request) -> Page:
    """Show what the keys do."""
    del ground, request
    return Page("keys.html", "Keys", {"all_keys": KEYS}, "", "/keys")
