"""streamq: a pure-asyncio job queue for Python on Redis Streams. These are the public names; all load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._core.alerts import Alert, AlertRule
    from ._core.backoff import Exponential, Fixed, Linear
    from ._core.batch_context import BatchContext, BatchItem
    from ._core.condition import Arg
    from ._core.context import Context, current_context
    from ._core.dedup import Dedup
    from ._core.events import Event
    from ._core.health import HealthPolicy, Reason
    from ._core.lifecycle import JobState
    from ._core.limits import Group, RateLimit
    from ._core.options import HandlerOptions, JobOptions, Priority
    from ._core.retention import Keep
    from ._core.stats import Histogram, Minute, StatRow, Stats
    from ._core.steer import Discard, Fatal, RateLimited, Retry, Snooze
    from .batch import BatchHandler
    from .breaker import BreakerInfo, CircuitBreaker
    from .controls import Block
    from .correlation import LogContext, correlate
    from .dlq import DeadLetter, DeadLetters, Replayed
    from .errors import StreamqError
    from .explain import Explanation, GateInfo
    from .handler import BoundHandler, Depends, Handler
    from .health import Health
    from .info import AttemptInfo, JobInfo
    from .job import Job, JobSpec
    from .limits import Deduplication, LimitInfo, Limits
    from .queue import Queue
    from .reading import Counts, JobPage, WorkerInfo
    from .scheduler import Scheduler
    from .search import JobFilter
    from .settings import QueueOptions
    from .timetable import ScheduleInfo, ScheduleOptions
    from .verify import Finding, Recovery, Repair, Verification
    from .worker import Worker

_HOMES = {
    "_core.alerts": ("Alert", "AlertRule"),
    "_core.backoff": ("Exponential", "Fixed", "Linear"),
    "_core.batch_context": ("BatchContext", "BatchItem"),
    "_core.condition": ("Arg",),
    "_core.context": ("Context", "current_context"),
    "_core.dedup": ("Dedup",),
    "_core.events": ("Event",),
    "_core.health": ("HealthPolicy", "Reason"),
    "_core.lifecycle": ("JobState",),
    "_core.limits": ("Group", "RateLimit"),
    "_core.options": ("HandlerOptions", "JobOptions", "Priority"),
    "_core.retention": ("Keep",),
    "_core.stats": ("Histogram", "Minute", "StatRow", "Stats"),
    "_core.steer": ("Discard", "Fatal", "RateLimited", "Retry", "Snooze"),
    "batch": ("BatchHandler",),
    "breaker": ("BreakerInfo", "CircuitBreaker"),
    "controls": ("Block",),
    "correlation": ("LogContext", "correlate"),
    "dlq": ("DeadLetter", "DeadLetters", "Replayed"),
    "errors": ("StreamqError",),
    "explain": ("Explanation", "GateInfo"),
    "handler": ("BoundHandler", "Depends", "Handler"),
    "health": ("Health",),
    "info": ("AttemptInfo", "JobInfo"),
    "job": ("Job", "JobSpec"),
    "limits": ("Deduplication", "LimitInfo", "Limits"),
    "queue": ("Queue",),
    "reading": ("Counts", "JobPage", "WorkerInfo"),
    "scheduler": ("Scheduler",),
    "search": ("JobFilter",),
    "settings": ("QueueOptions",),
    "timetable": ("ScheduleInfo", "ScheduleOptions"),
    "verify": ("Finding", "Recovery", "Repair", "Verification"),
    "worker": ("Worker",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Alert",
    "AlertRule",
    "Arg",
    "AttemptInfo",
    "BatchContext",
    "BatchHandler",
    "BatchItem",
    "Block",
    "BoundHandler",
    "BreakerInfo",
    "CircuitBreaker",
    "Context",
    "Counts",
    "DeadLetter",
    "DeadLetters",
    "Dedup",
    "Deduplication",
    "Depends",
    "Discard",
    "Event",
    "Explanation",
    "Exponential",
    "Fatal",
    "Finding",
    "Fixed",
    "GateInfo",
    "Group",
    "Handler",
    "HandlerOptions",
    "Health",
    "HealthPolicy",
    "Histogram",
    "Job",
    "JobFilter",
    "JobInfo",
    "JobOptions",
    "JobPage",
    "JobSpec",
    "JobState",
    "Keep",
    "LimitInfo",
    "Limits",
    "Linear",
    "LogContext",
    "Minute",
    "Priority",
    "Queue",
    "QueueOptions",
    "RateLimit",
    "RateLimited",
    "Reason",
    "Recovery",
    "Repair",
    "Replayed",
    "Retry",
    "ScheduleInfo",
    "ScheduleOptions",
    "Scheduler",
    "Snooze",
    "StatRow",
    "Stats",
    "StreamqError",
    "Verification",
    "Worker",
    "WorkerInfo",
    "correlate",
    "current_context",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'streamq' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
