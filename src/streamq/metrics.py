"""Metrics of queues as text for Prometheus, from any process: everything comes from the server.

``await exposition([queue])`` is what ``GET /metrics`` answers. Every metric: docs/reference/metrics.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from ._core.metrics import COUNTED, OPENMETRICS, TEXT, Exposition, wants_openmetrics
from ._core.report import Slots
from ._core.tally import RUNS, WAIT
from ._store import statistics
from ._store.statistics import Ever
from .errors import StreamqError
from .queue import Queue
from .reading import Counts, WorkerInfo
from .version import VERSION

AT_ONCE = 8
"""Queues asked at once."""

PATIENCE = 4.0
"""Seconds a queue's server may take to answer: a scrape is given ten by default."""

STATES = ("waiting", "active", "delayed", "parked", "dead")
ALWAYS = ("completed", "failed")
"""Outcomes that have a histogram from the first job on, so that a rate has something to begin with."""


class _Facts(NamedTuple):
    counts: Counts
    workers: list[WorkerInfo]
    ever: Ever


async def exposition(queues: Sequence[Queue], *, openmetrics: bool = False) -> str:
    """Return the metrics of queues: Prometheus text 0.0.4, or OpenMetrics 1.0.0 (see `negotiated`).

    A few reads a queue, however many jobs it has. A queue whose server does not answer within four seconds has
    ``streamq_up`` 0 and nothing else.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def asked(queue: Queue) -> _Facts | None:
        async with places:
            return await _facts(queue)

    found = await asyncio.gather(*(asked(queue) for queue in queues))
    page = Exposition()
    page.add("streamq_build_info", 1, version=VERSION)
    for queue, facts in zip(queues, found, strict=True):
        page.add("streamq_up", int(facts is not None), queue=queue.name)
        if facts is not None:
            _fill(page, queue.name, facts)
    return page.text(openmetrics=openmetrics)


def negotiated(accept: str) -> tuple[bool, str]:
    """Return whether an ``Accept`` header asks for OpenMetrics, and the content type of the answer."""
    return (True, OPENMETRICS) if wants_openmetrics(accept) else (False, TEXT)


async def _facts(queue: Queue) -> _Facts | None:
    try:
        async with asyncio.timeout(PATIENCE):
            store = (await queue.stores())[0]
            return _Facts(await queue.counts(), await queue.workers(), await statistics.ever(store))
    except (StreamqError, TimeoutError):
        return None


def _fill(page: Exposition, queue: str, facts: _Facts) -> None:
    counts, ever = facts.counts, facts.ever
    for state in STATES:
        page.add("streamq_queue_jobs", getattr(counts, state), queue=queue, state=state)
    page.add("streamq_queue_due_jobs", counts.due, queue=queue)
    page.add("streamq_queue_oldest_seconds", counts.oldest or 0.0, queue=queue)
    page.add("streamq_queue_paused", int(counts.paused), queue=queue)
    alive = [worker for worker in facts.workers if worker.alive]
    page.add("streamq_workers", len(alive), queue=queue)
    page.add("streamq_worker_slots", sum(worker.concurrency for worker in alive), queue=queue)
    page.add("streamq_worker_slots_busy", sum(worker.active for worker in alive), queue=queue)
    page.add("streamq_schedules", ever.schedules, queue=queue)
    page.add("streamq_schedule_overdue_seconds", ever.overdue_ms / 1000, queue=queue)
    page.add("streamq_schedule_missed_total", ever.missed, queue=queue)
    page.add("streamq_jobs_replayed_total", counts.replayed, queue=queue)
    for handler, slots in sorted(ever.handlers.items()):
        _fill_handler(page, queue, handler, slots)


def _fill_handler(page: Exposition, queue: str, handler: str, slots: Slots) -> None:
    for metric, counter in COUNTED.items():
        page.add(metric, slots.one(counter), queue=queue, handler=handler)
    page.observe("streamq_job_wait_seconds", slots.histogram(WAIT), queue=queue, handler=handler)
    for outcome, base in RUNS.items():
        run = slots.histogram(base)
        if run.count or outcome in ALWAYS:
            page.observe("streamq_job_run_seconds", run, queue=queue, handler=handler, outcome=outcome)
