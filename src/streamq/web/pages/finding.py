"""From the filter of the jobs page to what `Queue.jobs` takes; and from what somebody typed to the right page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..._core.condition import Arg, Condition
from ..._core.options import Priority
from ...errors import ConfigError
from ..views import filters, words
from ..views.filters import JobFilter
from .ground import Ground


def options_of(wanted: JobFilter) -> dict[str, Any]:
    """Return what `Queue.jobs` takes; raises `ConfigError` for a payload filter that is none."""
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
        first, *others = [_condition(one) for one in _parts(wanted.payload)] or [_condition(wanted.payload)]
        for one in others:
            first &= one
        found["where"] = first
    return found


def _parts(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def payload_fields(text: str) -> list[str]:
    """Return the paths of the fields that a payload filter names."""
    return [one.partition("=")[0].strip() for one in _parts(text)]


def _condition(text: str) -> Condition:
    """Return ``contact_id=c_88213`` as a condition; 5 matches the number and the text."""
    path, is_given, value = text.partition("=")
    if not is_given or not path.strip():
        raise ConfigError("payload", text, "write a field and its value: contact_id=c_88213")
    field = Arg(path.strip())
    found: Condition = field == value.strip()
    try:
        plain = msgspec.json.decode(value.strip().encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        plain = None
    return found | (field == plain) if isinstance(plain, int | float) else found


async def find(ground: Ground, request: Request) -> Response:
    """Lead from what was typed into the find box to the page that shows it."""
    typed = request.query_params.get("q", "").strip()[:500]
    site = ground.site
    if typed in site.queues:
        return RedirectResponse(str(ground.plain(request)["queue_url"](typed)), 303)
    wanted, _ = filters.parsed({"add": typed})
    return RedirectResponse(wanted.url(site.url(request, "/jobs")), 303)
