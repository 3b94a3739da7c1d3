"""Every metric there is, and the text in which Prometheus reads them. No I/O.

The formats: Prometheus text 0.0.4, and OpenMetrics 1.0.0 for those who ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from .stats import BOUNDS_MS, Histogram

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""Content types."""


class Metric(NamedTuple):
    """One metric: its name, kind, labels, and what it says."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    labels: tuple[str, ...]
    help: str

    @property
    def series(self) -> tuple[str, ...]:
        """Names of its series."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


_QUEUE = ("queue",)
_HANDLER = ("queue", "handler")

CATALOGUE: Final[tuple[Metric, ...]] = (
    Metric("streamq_build_info", "gauge", ("version",), "1; the version of streamq that answers"),
    Metric("streamq_up", "gauge", _QUEUE, "1 if the queue's server answered, else 0 and nothing more of the queue"),
    Metric("streamq_queue_jobs", "gauge", ("queue", "state"), "jobs by state: waiting, active, delayed, parked, dead"),
    Metric("streamq_queue_due_jobs", "gauge", _QUEUE, "delayed jobs whose time has come, not handed on yet"),
    Metric("streamq_queue_oldest_seconds", "gauge", _QUEUE, "age of the oldest waiting job, 0 when none waits"),
    Metric("streamq_queue_paused", "gauge", _QUEUE, "1 while the queue is paused"),
    Metric("streamq_workers", "gauge", _QUEUE, "workers that show signs of life"),
    Metric("streamq_worker_slots", "gauge", _QUEUE, "jobs that these workers can run at once"),
    Metric("streamq_worker_slots_busy", "gauge", _QUEUE, "jobs that they run now"),
    Metric("streamq_schedules", "gauge", _QUEUE, "schedules that are not removed"),
    Metric("streamq_schedule_overdue_seconds", "gauge", _QUEUE, "how late the next tick is, 0 when it is not"),
    Metric("streamq_schedule_missed_total", "counter", _QUEUE, "times a schedule was found later than its grace"),
    Metric("streamq_jobs_arrived_total", "counter", _HANDLER, "jobs enqueued"),
    Metric("streamq_jobs_deduplicated_total", "counter", _HANDLER, "jobs not added: there is such a job"),
    Metric("streamq_jobs_dropped_total", "counter", _HANDLER, "jobs not added: a limit was closed"),
    Metric("streamq_jobs_completed_total", "counter", _HANDLER, "jobs whose handler returned"),
    Metric("streamq_attempts_failed_total", "counter", _HANDLER, "attempts that raised an error"),
    Metric("streamq_jobs_retried_total", "counter", _HANDLER, "failed attempts that are followed by another"),
    Metric("streamq_jobs_snoozed_total", "counter", _HANDLER, "attempts that asked to run later"),
    Metric("streamq_jobs_limited_total", "counter", _HANDLER, "attempts put off, for a provider said: too many"),
    Metric("streamq_jobs_dead_total", "counter", _HANDLER, "jobs that became dead letters"),
    Metric("streamq_jobs_cancelled_total", "counter", _HANDLER, "jobs cancelled or discarded"),
    Metric("streamq_jobs_expired_total", "counter", _HANDLER, "jobs that expired before they could start"),
    Metric("streamq_jobs_reclaimed_total", "counter", _HANDLER, "jobs taken over from workers that vanished"),
    Metric("streamq_jobs_replayed_total", "counter", _QUEUE, "dead letters put back"),
    Metric("streamq_job_wait_seconds", "histogram", _HANDLER, "from being ready to the start of an attempt"),
    Metric(
        "streamq_job_run_seconds", "histogram", ("queue", "handler", "outcome"),
        "from start to end of an attempt; outcome: completed, failed, postponed, cancelled",
    ),
)  # fmt: skip
"""All of them, in the order they are written."""

COUNTED: Final[Mapping[str, str]] = {
    "streamq_jobs_arrived_total": "arrived",
    "streamq_jobs_deduplicated_total": "deduplicated",
    "streamq_jobs_dropped_total": "dropped",
    "streamq_jobs_completed_total": "completed",
    "streamq_attempts_failed_total": "failed",
    "streamq_jobs_retried_total": "retried",
    "streamq_jobs_snoozed_total": "snoozed",
    "streamq_jobs_limited_total": "limited",
    "streamq_jobs_dead_total": "dead",
    "streamq_jobs_cancelled_total": "cancelled",
    "streamq_jobs_expired_total": "expired",
    "streamq_jobs_reclaimed_total": "stalled",
}
"""Counters by handler -> what they are called in `StatRow`."""

_KNOWN = {one.name: one for one in CATALOGUE}
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


class Exposition:
    """Samples, written together by metric."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, value: float, **labels: str) -> None:
        """Add a sample of a gauge or a counter; its labels must be those of the catalogue."""
        self._put(_KNOWN[name], name, labels, _number(value))

    def observe(self, name: str, values: Histogram, **labels: str) -> None:
        """Add a histogram, its bounds in seconds."""
        metric, below = _KNOWN[name], 0
        bounds = [*(_number(bound / 1000) for bound in BOUNDS_MS), "+Inf"]
        for bound, number in zip(bounds, values.buckets, strict=True):
            below += number
            self._put(metric, f"{name}_bucket", {**labels, "le": bound}, str(below))
        self._put(metric, f"{name}_sum", labels, _number(values.sum_ms / 1000))
        self._put(metric, f"{name}_count", labels, str(values.count))

    def _put(self, metric: Metric, series: str, labels: Mapping[str, str], value: str) -> None:
        said = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items())
        self._lines.setdefault(metric.name, []).append(f"{series}{{{said}}} {value}")

    def text(self, *, openmetrics: bool = False) -> str:
        """Return everything as text."""
        parts: list[str] = []
        for metric in CATALOGUE:
            lines = self._lines.get(metric.name)
            if lines is None:
                continue
            family = metric.name.removesuffix("_total") if openmetrics else metric.name
            parts += (f"# HELP {family} {metric.help}", f"# TYPE {family} {metric.kind}", *lines)
        if openmetrics:
            parts.append("# EOF")
        return "\n".join([*parts, ""])


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


def wants_openmetrics(accept: str) -> bool:
    """Whether an ``Accept`` header prefers OpenMetrics to plain text; who says nothing gets plain text."""
    quality = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for one in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in one.split(";"))
        if kind in quality:
            found = re.fullmatch(r"q=(0(?:\.\d*)?|1(?:\.0*)?)", next((p for p in parameters if p[:2] == "q="), "q=1"))
            quality[kind] = max(quality[kind], float(found[1]) if found else 0.0)
    return 0 < quality["application/openmetrics-text"] >= quality["text/plain"]
