"""Which request and which tenant code works for: said once, then on every job, log line and span below it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ._core import context as _context
from ._core import correlation as _correlation
from ._core import names
from ._core.batch_context import BatchContext
from ._core.correlation import REQUEST_ID, Correlation
from ._core.tracing import span_ids


@contextmanager
def correlate(*, request_id: str | None = None, tenant: str | None = None) -> Generator[None]:
    """Say for which request and tenant the code of this block works; what is left out stays as it is around it.

    Jobs enqueued within carry both (the header ``x-request-id``, the option ``tenant``) unless they say otherwise
    themselves, and so do the jobs that their handlers enqueue. `LogContext` puts them into log records. Holds for this
    task and the tasks it starts. Raises `ConfigError` for what is no printable text of at most 200 characters.
    """
    around = _correlation.current()
    headers = dict(around.headers) if around is not None else {}
    if request_id is not None:
        headers[REQUEST_ID] = names.checked_text("request_id", request_id)
    if tenant is not None:
        names.checked_text("tenant", tenant)
    elif around is not None:
        tenant = around.tenant
    token = _correlation.bind(Correlation(headers, tenant))
    try:
        yield
    finally:
        _correlation.unbind(token)


class LogContext(logging.Filter):
    """A filter that lets every record through and adds what it belongs to; for a handler of the root logger.

    Within a job's handler: ``queue``, ``handler``, ``job_id``, ``attempt``. Where they are known: ``request_id``,
    ``tenant``, and with a tracer ``trace_id``, ``span_id``. What a record says itself stays. `streamq worker` puts it
    on its own handler.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is known here; always true."""
        for key, value in _facts().items():
            if getattr(record, key, None) is None:
                setattr(record, key, value)
        return True


def _facts() -> dict[str, Any]:
    found: dict[str, Any] = {}
    running = _context.running()
    if running is not None:
        found = {"queue": running.queue, "handler": running.name}
        if not isinstance(running, BatchContext):
            found |= {"job_id": running.job_id, "attempt": running.attempt}
        found |= {"request_id": running.request_id, "tenant": running.tenant}
    around = _correlation.current()
    if around is not None:
        found["request_id"] = found.get("request_id") or around.request_id
        found["tenant"] = found.get("tenant") or around.tenant
    return {key: value for key, value in (found | _span()).items() if value is not None}


def _span() -> dict[str, str]:
    api = sys.modules.get("opentelemetry.trace")
    return {} if api is None else span_ids(api.get_current_span())
