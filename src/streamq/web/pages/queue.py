"""One queue: its numbers large, charts, handlers, health, last errors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request

from ..views import jobs, overview, words
from ..views.command import line
from .ground import Ground, Page

HANDLERS = 100


async def one(ground: Ground, request: Request) -> Page:
    """Show a queue."""
    queue = ground.site.queue(request)
    now = datetime.now(UTC)
    counts, workers, stats, health, newest = await asyncio.gather(
        queue.counts(), queue.workers(), queue.stats(3600, by="name"), queue.health(), queue.jobs("dead", limit=10)
    )
    p95 = stats.total.wait.p95
    facts = overview.QueueFacts(
        queue.name, counts, workers, stats.series, health.reasons, None if p95 is None else p95 / 1000
    )
    verdict = overview.verdict(facts, now)
    handlers = sorted(stats.rows, key=lambda row: (-row.dead, -row.failed, -(row.run.p95 or 0), row.key))
    errors = [jobs.row(info, now) for info in newest.jobs]
    context: dict[str, Any] = {
        "queue": queue,
        "row": overview.row(facts),
        "verdict": verdict,
        "paused": counts.paused,
        "strip": jobs.strip(counts, ""),
        "p95": facts.p95,
        "series_charts": _charts(stats.series),
        "handlers": handlers[:HANDLERS],
        "reasons": health.reasons,
        "errors": errors,
    }
    title = _heading(queue.name, facts)
    command = line("stats", queue.name)
    return Page("queue.html", title, context, command, f"queue:{queue.name}", charts=bool(stats.series))


def _heading(name: str, facts: overview.QueueFacts) -> str:
    """Return the page's answer: "delivery is growing by 62 a minute"."""
    grade = overview.level(facts)
    counts = facts.counts
    if counts is None:
        return name
    if grade == "critical":
        return f"{name} needs you now"
    if grade == "warning":
        return f"{name} needs you"
    if counts.paused:
        return f"{name} is paused, {words.count(counts.waiting + counts.due, 'job')} wait"
    return f"{name} is well"


Line = dict[str, Any]


def _charts(series: Sequence[Any]) -> list[tuple[str, str, tuple[list[str], list[list[str]]]]]:
    """Return the charts of a queue: name, what uPlot draws as JSON, and the same as a table."""
    if not series:
        return []
    at = [int(minute.at.timestamp()) for minute in series]
    return [
        _chart(
            "Arrived and completed a minute", at,
            [_line("arrived", "--ink", [one.arrived for one in series]),
             _line("completed", "--completed", [one.completed for one in series], fill="--areafill")],
        ),
        _chart(
            "Failed attempts and deaths a minute", at,
            [_line("failed", "--retrying", [one.failed for one in series], dash=[4, 3]),
             _line("died", "--dead", [one.dead for one in series])],
        ),
    ]  # fmt: skip


def _line(label: str, colour: str, values: list[int], **more: Any) -> Line:
    return {"label": label, "colour": colour, "values": values, **more}


def _chart(name: str, at: list[int], lines: list[Line]) -> tuple[str, str, tuple[list[str], list[list[str]]]]:
    told = msgspec.json.encode({"at": at, "lines": lines}).decode()
    head = ["minute (UTC)", *(str(one["label"]) for one in lines)]
    body = [
        [f"{datetime.fromtimestamp(when, UTC):%H:%M}", *(words.number(one["values"][place]) for one in lines)]
        for place, when in enumerate(at)
    ]
    return name, told, (head, body)
