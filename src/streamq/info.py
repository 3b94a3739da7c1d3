"""What is known of a job, for people: shapes, and how they are read from what the store shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ._core import envelope as _wire
from ._core import units
from ._core.envelope import AttemptError, Envelope
from ._core.ids import created_ms
from ._core.lifecycle import JobState
from ._core.options import Priority
from ._store.desk import Look

_PLACES = {"d": JobState.DELAYED, "p": JobState.PARKED, "b": JobState.BLOCKED}


class AttemptInfo(msgspec.Struct, frozen=True):
    """How one attempt failed. ``duration`` in seconds; ``traceback`` holds at most the last 4,096 characters.

    release: of the worker, as ``STREAMQ_RELEASE`` said; '' if it said nothing.
    """

    attempt: int
    type: str
    message: str
    traceback: str
    at: datetime
    duration: float
    worker: str
    release: str = ""


class JobInfo(msgspec.Struct, frozen=True):
    """Everything known of a job. ``attempts`` runs that have ended; ``stalls`` vanished workers; times aware, UTC."""

    id: str
    queue: str
    name: str
    state: JobState
    args: Mapping[str, Any] | None
    attempts: int
    max_attempts: int | None
    errors: Sequence[AttemptInfo]
    headers: Mapping[str, str]
    tenant: str | None = None
    priority: Priority | None = None
    created_at: datetime | None = None
    due_at: datetime | None = None
    expires_at: datetime | None = None
    deadline: datetime | None = None
    finished_at: datetime | None = None
    duration: float | None = None
    worker: str | None = None
    stalls: int = 0
    idle: float | None = None
    reason: str = ""


def state_of(found: Look) -> JobState:
    """Return the state that a look shows."""
    if found.place == "row":
        place = _PLACES.get(found.row[:1])
        if place is not None:
            return place
        return JobState.ACTIVE if found.deliveries else JobState.WAITING
    if found.place == "record":
        return JobState(_wire.decode_record(found.body).state)
    if found.place == "dead":
        return JobState.DEAD
    return JobState.COMPLETED if found.place == "window" else JobState.UNKNOWN


def describe(queue: str, job_id: str, state: JobState, found: Look) -> JobInfo:
    """Return what a look shows, for people."""
    if found.place == "row":
        return _unsettled(queue, job_id, state, found)
    if found.place == "record":
        record = _wire.decode_record(found.body)
        return JobInfo(
            job_id, queue, record.name, state, None, record.attempts, None, _history(record.errors), record.headers,
            tenant=record.tenant, created_at=_made(job_id, None), finished_at=units.from_ms(record.finished_ms),
            duration=record.duration_ms / 1000, reason=record.reason or record.problem,
        )  # fmt: skip
    if found.place == "dead":
        envelope = _body(found.fields.get("d", b""))
        info = from_envelope(queue, job_id, state, envelope)
        died_at = units.from_ms(int(found.entry.split("-")[0]))
        reason = found.fields.get("r", b"").decode("utf-8", "replace")
        return msgspec.structs.replace(info, finished_at=died_at, reason=reason)
    name, attempts = "", 0
    finished: datetime | None = None
    duration: float | None = None
    if found.place == "window":
        finished_ms, attempt, ms, named = found.body.decode("utf-8", "replace").split(" ", 3)
        name, finished, duration, attempts = named, units.from_ms(int(finished_ms)), int(ms) / 1000, int(attempt)
    return JobInfo(
        job_id, queue, name, state, None, attempts, None, (), {}, created_at=_made(job_id, None), finished_at=finished,
        duration=duration,
    )  # fmt: skip


def _unsettled(queue: str, job_id: str, state: JobState, found: Look) -> JobInfo:
    info = from_envelope(queue, job_id, state, _body(found.body))
    # A taken job's row says where it is, not its lane: that is in the envelope.
    lane = found.row[0] if found.row[0].isdigit() else "" if found.row[0] == "t" else found.row[1:2]
    changes: dict[str, Any] = {}
    if lane.isdigit():
        changes["priority"] = Priority(int(lane))
    if found.due_ms:
        changes["due_at"] = units.from_ms(found.due_ms)
    if found.deliveries:
        changes.update(worker=found.consumer, stalls=found.deliveries - 1, idle=found.idle_ms / 1000)
    return msgspec.structs.replace(info, **changes)


def from_envelope(queue: str, job_id: str, state: JobState, envelope: Envelope) -> JobInfo:
    """Return what an envelope says."""
    try:
        args = _wire.plain(envelope.args)
    except _wire.MALFORMED:
        args = None
    return JobInfo(
        job_id, queue, envelope.name, state, args, envelope.attempts, envelope.max_attempts, _history(envelope.errors),
        envelope.headers, tenant=envelope.tenant, priority=Priority(envelope.lane), created_at=_made(job_id, envelope),
        expires_at=None if envelope.expires_ms is None else units.from_ms(envelope.expires_ms),
        deadline=None if envelope.deadline_ms is None else units.from_ms(envelope.deadline_ms),
    )  # fmt: skip


def _history(errors: Sequence[AttemptError]) -> tuple[AttemptInfo, ...]:
    return tuple(
        AttemptInfo(
            one.attempt,
            one.type,
            one.message,
            one.traceback,
            units.from_ms(one.at_ms),
            one.duration_ms / 1000,
            one.worker,
            one.release,
        )
        for one in errors
    )


def _made(job_id: str, envelope: Envelope | None) -> datetime | None:
    ms = (envelope.created_ms if envelope else None) or created_ms(job_id)
    return None if ms is None else units.from_ms(ms)


def _body(data: bytes) -> Envelope:
    try:
        return _wire.decode(data)
    except _wire.MALFORMED:
        return Envelope(name="?")
