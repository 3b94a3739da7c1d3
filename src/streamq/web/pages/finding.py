"""From the filter of the jobs page to what `Queue.jobs` takes; and from what somebody typed to the right page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..._core.options import Priority
from ..conditions import condition_of
from ..redaction import Redaction
from ..views import filters, words
from ..views.filters import JobFilter
from .ground import Ground


def options_of(wanted: JobFilter, redaction: Redaction) -> dict[str, Any]:
    """Return what `Queue.jobs` takes; raises `ConfigError` for a payload filter that is none, or of a hidden field."""
    found: dict[str, Any] = {
        key: value
        for key, value in (
            ("name", wanted.name), ("tenant", wanted.tenant), ("error", wanted.error), ("text", wanted.text),
            ("worker", wanted.worker),
        )
        if value
    }  # fmt: skip
    for key in ("since", "until"):
        if given := getattr(wanted, key):
            found[key] = words.since(given, datetime.now(UTC))
    if wanted.priority:
        found["priority"] = Priority[wanted.priority.upper()]
    if wanted.attempts:
        found["attempts"] = int(wanted.attempts[:9])
    if wanted.payload:
        found["where"] = condition_of(wanted.payload, redaction)
    return found


async def find(ground: Ground, request: Request) -> Response:
    """Lead from what was typed into the find box to the page that shows it."""
    typed = request.query_params.get("q", "").strip()[:500]
    site = ground.site
    if typed in site.queues:
        return RedirectResponse(str(ground.plain(request)["queue_url"](typed)), 303)
    wanted, _ = filters.parsed({"add": typed})
    return RedirectResponse(wanted.url(site.url(request, "/jobs")), 303)
