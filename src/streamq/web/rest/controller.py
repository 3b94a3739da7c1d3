"""The names of a BullMQ-style controller: ``/queue/jobs``, ``/queue/stats``, ``/queue/pause``, ``/queue/clean/failed``.

For clients that speak them already. Jobs have a type and data, durations are milliseconds, failed means dead, and a
higher priority number is more urgent (1 low, 5 normal, 10 high, 20 urgent). The queue is ``?queue=``, else the only
one, or the first that the app was given.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.responses import Response

from ..._core.lifecycle import JobState
from ...errors import ConfigError, ResultError
from ...health import Health
from ...queue import Queue
from .jobs import ending, enqueue, job_of, remove
from .live import show_metrics
from .queues import Hold, forget, hold, let_go
from .shapes import Submission
from .table import TEXT, Call, Table
from .words import Level, Name, Needle, Text

table: Table = Table("controller")

Millis = Annotated[float, Meta(ge=0, le=315_000_000_000, description="Milliseconds.")]

DAY = 86_400_000.0


class Which(msgspec.Struct, kw_only=True):
    """Which queue; '' for the only one, or the first."""

    queue: Needle = ""


class Options(msgspec.Struct, kw_only=True):
    """Options of a job. removeOnComplete, removeOnFail: taken, not used; a queue keeps what Queue(keep_...=) says."""

    priority: Annotated[int, Meta(ge=0, le=2_097_152)] | None = None
    delay: Millis | None = None
    attempts: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    job_id: Text | None = msgspec.field(name="jobId", default=None)
    remove_on_complete: bool | int | None = msgspec.field(name="removeOnComplete", default=None)
    remove_on_fail: bool | int | None = msgspec.field(name="removeOnFail", default=None)


class NewJob(msgspec.Struct, kw_only=True):
    """A job to be enqueued: its handler, its arguments by name, its options."""

    type: Name
    data: dict[str, Any] = {}
    options: Options = msgspec.field(default_factory=Options)


class Added(msgspec.Struct, kw_only=True):
    """The job, and whether it is new."""

    id: str
    type: str
    state: str
    created: bool


class Shown(msgspec.Struct, kw_only=True, rename="camel"):
    """A job. state: waiting, active, delayed, completed, failed, cancelled or expired. Times in ms since the epoch."""

    id: str
    type: str
    state: str
    data: dict[str, Any] | None
    attempts: int | None
    attempts_made: int
    failed_reason: str
    result: Any
    timestamp: int | None
    finished_on: int | None


class Numbers(msgspec.Struct, kw_only=True):
    """Jobs by state; completed in all, the others now."""

    queue: str
    waiting: int
    active: int
    completed: int
    failed: int
    delayed: int
    paused: bool


class Removed(msgspec.Struct, kw_only=True):
    """Which job was removed."""

    id: str
    removed: bool


class Paused(msgspec.Struct, kw_only=True):
    """Whether the queue hands out jobs."""

    queue: str
    paused: bool


class Age(msgspec.Struct, kw_only=True):
    """How long ago they ended at least, in ms."""

    older_than: Millis | None = msgspec.field(name="olderThan", default=None)


class Gone(msgspec.Struct, kw_only=True):
    """How many jobs were forgotten."""

    queue: str
    cleaned: int


def queue_of(call: Call, which: Which) -> Queue:
    """Return the queue that is meant; raises `ConfigError` when that cannot be told."""
    if which.queue:
        return call.site.named(which.queue)
    first = call.site.roster.first
    if first is None:
        raise ConfigError("queue", "", f"say which: ?queue=..., of {', '.join(call.site.queues) or 'none yet'}")
    return first


@table.post("/jobs", status=202, also=(200,), errors=(400, 404, 413, 415, 429))
async def add_job(call: Call, query: Which, body: NewJob) -> Added:
    """Enqueue a job."""
    options = body.options
    delay = None if options.delay is None else options.delay / 1000
    submission = Submission(
        name=body.type, payload=body.data, job_id=options.job_id, delay=delay, priority=_lane(options.priority),
        max_attempts=options.attempts,
    )  # fmt: skip
    queue = queue_of(call, query)
    found = await enqueue(call, queue, submission)
    state = "delayed" if delay else "waiting"
    if not found.created:
        call.status = 200
        job = await queue.job(found.id)
        state = state if job is None else _word(await job.state())
    return Added(id=found.id, type=body.type, state=state, created=found.created)


@table.get("/jobs/{job_id:path}", errors=(404,))
async def get_job(call: Call, query: Which) -> Shown:
    """Return a job with its state, and its result once it has one."""
    job = await job_of(queue_of(call, query), call.path("job_id"))
    info = await job.info()
    result: Any = None
    if info.state.is_final:
        try:
            ended = await ending(job, 0.0)
            result = None if ended is None else call.site.redact(ended.result)
        except ResultError:
            pass  # what is known of it has expired since
    last = info.errors[-1] if info.errors else None
    return Shown(
        id=info.id, type=info.name, state=_word(info.state), data=call.site.redact(info.args),
        attempts=info.max_attempts, attempts_made=info.attempts,
        failed_reason=info.reason if last is None else f"{last.type}: {last.message}", result=result,
        timestamp=_ms(info.created_at), finished_on=_ms(info.finished_at),
    )  # fmt: skip


@table.delete("/jobs/{job_id:path}", errors=(404, 409))
async def delete_job(call: Call, query: Which) -> Removed:
    """Remove a job that has not started, or that failed. 409 for one that runs."""
    job = await job_of(queue_of(call, query), call.path("job_id"))
    await remove(call, job)
    return Removed(id=job.id, removed=True)


@table.get("/stats", errors=(404,))
async def get_stats(call: Call, query: Which) -> Numbers:
    """Return how many jobs are where."""
    queue = queue_of(call, query)
    counts = await queue.counts()
    return Numbers(
        queue=queue.name, waiting=counts.waiting + counts.parked, active=counts.active, completed=counts.completed,
        failed=counts.dead, delayed=counts.delayed, paused=counts.paused,
    )  # fmt: skip


@table.post("/pause", errors=(400, 404, 413, 415), body_required=False)
async def pause_queue(call: Call, query: Which, body: Hold) -> Paused:
    """Hand out no more jobs."""
    return Paused(queue=(await hold(call, queue_of(call, query), body)).queue, paused=True)


@table.post("/resume", errors=(400, 404, 413, 415), body_required=False)
async def resume_queue(call: Call, query: Which, body: Hold) -> Paused:
    """Hand out jobs again."""
    return Paused(queue=(await let_go(call, queue_of(call, query), body)).queue, paused=False)


@table.post("/clean/completed", errors=(400, 404, 413, 415), body_required=False)
async def clean_completed(call: Call, query: Which, body: Age) -> Gone:
    """Forget jobs that completed more than ``olderThan`` ms ago (a day)."""
    return await _cleaned(call, query, "completed", DAY if body.older_than is None else body.older_than)


@table.post("/clean/failed", errors=(400, 404, 413, 415), body_required=False)
async def clean_failed(call: Call, query: Which, body: Age) -> Gone:
    """Forget dead letters older than ``olderThan`` ms (two days)."""
    return await _cleaned(call, query, "dead", 2 * DAY if body.older_than is None else body.older_than)


async def _cleaned(call: Call, which: Which, state: Literal["completed", "dead"], ms: float) -> Gone:
    done = await forget(call, queue_of(call, which), state, ms / 1000)
    return Gone(queue=done.queue, cleaned=done.removed)


@table.get("/health", errors=(404,), also=(503,))
async def get_health(call: Call, query: Which) -> Health:
    """Tell how the queue is; 503 when it is critical."""
    found = await queue_of(call, query).health()
    call.status = 200 if found.is_well else 503
    return found


@table.get("/metrics", media=TEXT)
async def get_metrics(call: Call) -> Response:
    """Return the metrics of all queues as Prometheus reads them."""
    return await show_metrics(call)


def _lane(number: int | None) -> Level | None:
    if number is None or number == 0:
        return None
    return "low" if number < 5 else "normal" if number < 10 else "high" if number < 20 else "critical"


_WORDS = {JobState.DEAD: "failed", JobState.PARKED: "waiting", JobState.BLOCKED: "waiting"}


def _word(state: JobState) -> str:
    return _WORDS.get(state, str(state))


def _ms(when: datetime | None) -> int | None:
    return None if when is None else round(when.timestamp() * 1000)
