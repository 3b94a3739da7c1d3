"""What the operations on jobs and dead letters take and give, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ...dlq import DeadLetter
from ...info import AttemptInfo, JobInfo
from ...job import Job
from ..redaction import Redaction
from .words import Instant, Lapse, Level, Name, Text, level

NEVER: datetime = datetime.fromtimestamp(0, UTC)
"""Stands where no time is known."""

Attempts = Annotated[int, Meta(ge=1, le=10_000)]


class Deduplicate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which jobs are the same one. See `Dedup`."""

    key: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    by: Annotated[list[str], Meta(min_length=1, max_length=16)] | None = None
    mode: Literal["simple", "throttle", "debounce", "keep_last"] = "simple"
    ttl: Lapse | None = None
    max_wait: Lapse | None = None
    scope: Literal["queue", "group"] = "queue"


class Submission(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A job to be enqueued. ``payload``: the handler's arguments by name; the rest as in `JobOptions`."""

    name: Name
    payload: dict[str, Any] = {}
    job_id: Text | None = None
    delay: Lapse | None = None
    at: Instant | None = None
    priority: Level | None = None
    max_attempts: Attempts | None = None
    timeout: Lapse | None = None
    headers: dict[str, str] = {}
    tenant: Text | None = None
    expires_in: Lapse | None = None
    deadline: Instant | None = None
    keep_result: bool = False
    group: Text | None = None
    rate_key: Text | None = None
    cost: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    dedup: Deduplicate | None = None


class Receipt(msgspec.Struct, kw_only=True):
    """What became of a submission.

    created: False when nothing was added: a job of that id is there already, its dedup key was met, or it was refused.
    refused: "limited" or "conflict" when it was dropped and no job exists. result, events: where to wait for its end.
    """

    id: str
    queue: str
    created: bool
    refused: Literal["limited", "conflict"] | None = None
    url: str
    result: str
    events: str


class Attempt(msgspec.Struct, kw_only=True):
    """How one attempt failed. duration: seconds. traceback: its end; '' in lists. release: '' where none was told."""

    attempt: int
    type: str
    message: str
    traceback: str
    at: datetime
    duration: float
    worker: str
    release: str


class JobView(msgspec.Struct, kw_only=True):
    """What is known of a job. payload: None when it ended or cannot be read. errors: in lists the last alone."""

    id: str
    queue: str
    name: str
    state: str
    payload: dict[str, Any] | None
    attempts: int
    max_attempts: int | None
    errors: list[Attempt]
    headers: dict[str, str]
    tenant: str | None
    priority: Level | None
    created_at: datetime | None
    due_at: datetime | None
    expires_at: datetime | None
    deadline: datetime | None
    finished_at: datetime | None
    duration: float | None
    worker: str | None
    stalls: int
    reason: str


class JobList(msgspec.Struct, kw_only=True):
    """Some jobs. looked_at: how many were examined; complete: whether those were all, else ``cursor`` goes on."""

    jobs: list[JobView]
    looked_at: int
    complete: bool
    cursor: str


class Ended(msgspec.Struct, kw_only=True):
    """How a job ended, or that it has not.

    result: what the handler returned, if completed. problem: why not, or why there is no result. finished: whether no
    worker will touch it again by itself.
    """

    id: str
    state: str
    finished: bool
    result: Any = None
    problem: str = ""


class Acted(msgspec.Struct, kw_only=True):
    """What an action on a job did. changed: whether it was news."""

    id: str
    state: str
    changed: bool


class Retrying(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How to run a job again."""

    delay: Lapse | None = None
    priority: Level | None = None


class Letter(msgspec.Struct, kw_only=True):
    """A dead letter. payload: None when it cannot be read. errors: every failed attempt kept; in lists the last."""

    id: str
    queue: str
    name: str
    reason: str
    payload: dict[str, Any] | None
    headers: dict[str, str]
    attempts: int
    errors: list[Attempt]
    died_at: datetime
    created_at: datetime | None
    tenant: str | None
    worker: str
    priority: Level | None


class LetterList(msgspec.Struct, kw_only=True):
    """Some dead letters, newest first. total: how many there are in all. The others as in `JobList`."""

    letters: list[Letter]
    total: int
    looked_at: int
    complete: bool
    cursor: str


def attempts_of(errors: Sequence[AttemptInfo], *, whole: bool) -> list[Attempt]:
    """Return failed attempts; without ``whole`` the last one, without its traceback."""
    return [
        Attempt(
            attempt=one.attempt, type=one.type, message=one.message, traceback=one.traceback if whole else "",
            at=one.at, duration=one.duration, worker=one.worker, release=one.release,
        )
        for one in (errors if whole else errors[-1:])
    ]  # fmt: skip


def job_view(info: JobInfo, redaction: Redaction, *, whole: bool) -> JobView:
    """Return a job as it may be shown."""
    return JobView(
        id=info.id, queue=info.queue, name=info.name, state=str(info.state), payload=_payload(info.args, redaction),
        attempts=info.attempts, max_attempts=info.max_attempts, errors=attempts_of(info.errors, whole=whole),
        headers=redaction.headers(info.headers), tenant=info.tenant, priority=level(info.priority),
        created_at=info.created_at, due_at=info.due_at, expires_at=info.expires_at, deadline=info.deadline,
        finished_at=info.finished_at, duration=info.duration, worker=info.worker, stalls=info.stalls,
        reason=info.reason,
    )  # fmt: skip


def letter_of(info: JobInfo, redaction: Redaction) -> Letter:
    """Return a dead job of a list as a letter."""
    return Letter(
        id=info.id, queue=info.queue, name=info.name, reason=info.reason, payload=_payload(info.args, redaction),
        headers=redaction.headers(info.headers), attempts=info.attempts, errors=attempts_of(info.errors, whole=False),
        died_at=info.finished_at or NEVER, created_at=info.created_at, tenant=info.tenant, worker=info.worker or "",
        priority=level(info.priority),
    )  # fmt: skip


def whole_letter(letter: DeadLetter, redaction: Redaction) -> Letter:
    """Return a dead letter as it may be shown."""
    return Letter(
        id=letter.id, queue=letter.queue, name=letter.name, reason=letter.reason,
        payload=_payload(letter.payload, redaction), headers=redaction.headers(letter.headers),
        attempts=letter.attempts, errors=attempts_of(letter.errors, whole=True), died_at=letter.died_at,
        created_at=letter.created_at, tenant=letter.tenant, worker=letter.worker, priority=level(letter.priority),
    )  # fmt: skip


def receipt(job: Job[Any], url: str) -> Receipt:
    """Return what became of a submission whose job has its page at ``url``."""
    return Receipt(
        id=job.id, queue=job.queue, created=job.created, refused=job.refused, url=url, result=f"{url}/result",
        events=f"{url}/events",
    )  # fmt: skip


def _payload(args: Mapping[str, Any] | None, redaction: Redaction) -> dict[str, Any] | None:
    if args is None:
        return None
    found: dict[str, Any] = redaction.clean(args)
    return found
