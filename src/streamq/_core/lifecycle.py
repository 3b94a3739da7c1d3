"""The life of a job: states, the verbs between them, and what an attempt's outcome leads to.

This table is the state machine; the documentation and its diagram are drawn from it. One verb is one Lua file in
``_store/lua``, one row family here, one section of the reference.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from . import backoff as _backoff
from . import envelope as _wire
from .backoff import Backoff
from .envelope import AttemptError, Envelope
from .steer import Discard, Fatal, RateLimited, Retry, Snooze


class JobState(StrEnum):
    """Where a job is. ``UNKNOWN`` is an answer, not a state: the job has left no trace."""

    WAITING = "waiting"
    ACTIVE = "active"
    DELAYED = "delayed"
    PARKED = "parked"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """Whether no worker will touch the job again by itself."""
        return self in _FINAL


_FINAL = frozenset({JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED, JobState.EXPIRED})


class Transition(NamedTuple):
    """One arrow: ``verb`` takes a job from ``source`` (None: from nowhere) to ``target``, done by ``who``."""

    verb: str
    source: JobState | None
    target: JobState
    who: str
    note: str = ""


_S = JobState
TRANSITIONS: tuple[Transition, ...] = (
    Transition("enqueue", None, _S.WAITING, "producer"),
    Transition("enqueue", None, _S.DELAYED, "producer", "delay= or at="),
    Transition("promote", _S.DELAYED, _S.WAITING, "worker", "when due, or by hand"),
    Transition("fetch", _S.WAITING, _S.ACTIVE, "worker"),
    Transition("take", _S.WAITING, _S.ACTIVE, "worker", "fetch, once the queue has limits or lines"),
    Transition("divert", _S.ACTIVE, _S.WAITING, "worker", "it needs gates that it was handed out without"),
    Transition("limited", _S.ACTIVE, _S.WAITING, "worker", "RateLimited: back to its place, its gate is shut"),
    Transition("renew", _S.ACTIVE, _S.ACTIVE, "keeper thread", "the lease starts anew"),
    Transition("complete", _S.ACTIVE, _S.COMPLETED, "worker"),
    Transition("retry", _S.ACTIVE, _S.DELAYED, "worker", "failed with attempts left, snoozed or rate limited"),
    Transition("bury", _S.ACTIVE, _S.DEAD, "worker", "no attempts left, fatal, undecodable, or stalled too often"),
    Transition("end", _S.ACTIVE, _S.CANCELLED, "worker", "discarded, or cancelled while it ran"),
    Transition("end", _S.ACTIVE, _S.EXPIRED, "worker", "expires_in passed before the start"),
    Transition("park", _S.ACTIVE, _S.PARKED, "worker", "no handler of that name here"),
    Transition("unpark", _S.PARKED, _S.ACTIVE, "a worker that has the handler"),
    Transition("release", _S.ACTIVE, _S.WAITING, "worker", "at stop; charges no attempt"),
    Transition("reclaim", _S.ACTIVE, _S.ACTIVE, "another worker", "the lease ran out"),
    Transition("cancel", _S.WAITING, _S.CANCELLED, "anyone"),
    Transition("cancel", _S.DELAYED, _S.CANCELLED, "anyone"),
    Transition("cancel", _S.PARKED, _S.CANCELLED, "anyone"),
    Transition("replay", _S.DEAD, _S.WAITING, "anyone", "from the dead letters"),
    Transition("replay", _S.DEAD, _S.DELAYED, "anyone", "with a delay"),
)


class Policy(msgspec.Struct, frozen=True):
    """A handler's rules for its attempts, after queue defaults were applied. Times in milliseconds."""

    max_attempts: int
    backoff: Backoff
    timeout_ms: int | None
    no_retry: tuple[type[BaseException], ...] = ()


class Failure(msgspec.Struct, frozen=True):
    """An attempt that ended with an exception, as data plus the exception itself for ``no_retry``."""

    error: BaseException
    traceback: str
    at_ms: int
    duration_ms: int
    worker: str
    release: str = ""

    def as_error(self, attempt: int) -> AttemptError:
        """Return the entry for the job's history."""
        kind = type(self.error)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        return AttemptError(
            attempt,
            f"{module}{kind.__qualname__}",
            _wire.text(message(self.error)[: _wire.MESSAGE_LIMIT]),
            _wire.text(self.traceback[-_wire.TRACEBACK_LIMIT :]),
            self.at_ms,
            self.duration_ms,
            self.worker,
            self.release,
        )


def message(error: BaseException) -> str:
    """Return the text of an exception, whatever its author did."""
    try:
        return str(error)
    except Exception as problem:  # noqa: BLE001 - a user's __str__; its failure must not lose the job
        return f"<str() failed: {type(problem).__name__}>"


class RetryAt(msgspec.Struct, frozen=True):
    """Verdict: back among the delayed. ``when`` is ``+ms`` from now or ``@ms`` absolute; ``count`` is the counter."""

    envelope: Envelope
    when: str
    count: str
    wait_ms: int | None
    reason: str


class Bury(msgspec.Struct, frozen=True):
    """Verdict: to the dead letters."""

    envelope: Envelope
    reason: str


class End(msgspec.Struct, frozen=True):
    """Verdict: over without a dead letter."""

    envelope: Envelope
    state: JobState
    reason: str


Verdict = RetryAt | Bury | End


def decide(envelope: Envelope, policy: Policy, failure: Failure, *, now_ms: int, noise: float) -> Verdict:
    """Return what becomes of a job whose attempt ended with an exception. Every rule about retries is here.

    ``now_ms`` is the server's clock, ``noise`` uniform in [0, 1). A job never outlives its ``deadline_ms``: a retry
    that would start after it is not made.
    """
    error = failure.error
    if isinstance(error, Snooze | RateLimited):
        return _postpone(envelope, error, now_ms)
    if isinstance(error, Discard):
        return End(envelope, JobState.CANCELLED, _wire.text(error.reason) or "discarded")
    attempt = envelope.attempts + 1
    after = _wire.replaced(
        envelope,
        attempts=attempt,
        hop=envelope.hop + 1,
        errors=_wire.with_error(envelope.errors, failure.as_error(attempt)),
    )
    reason = _final(error, policy, attempt, envelope.max_attempts or policy.max_attempts)
    if reason:
        return Bury(after, reason)
    try:
        wait = _wait_ms(envelope, policy, error, attempt, noise)
    except Exception as problem:  # noqa: BLE001 - a user's backoff function; its failure must not lose the job
        return Bury(after, _wire.text(f"backoff failed: {type(problem).__name__}: {message(problem)}"))
    if envelope.deadline_ms is not None and now_ms + wait >= envelope.deadline_ms:
        return Bury(after, "deadline passed")
    return RetryAt(after, f"+{wait}", "retried", wait, "")


def _final(error: BaseException, policy: Policy, attempt: int, limit: int) -> str:
    """Return why there is no further attempt, '' if there is one."""
    if isinstance(error, Fatal):
        return _wire.text(f"fatal: {error.reason}") if error.reason else "fatal"
    if isinstance(error, policy.no_retry) and not isinstance(error, Retry):
        return f"no_retry: {type(error).__name__}"
    return "attempts exhausted" if attempt >= limit else ""


def _wait_ms(envelope: Envelope, policy: Policy, error: BaseException, attempt: int, noise: float) -> int:
    if isinstance(error, Retry) and error.after_ms is not None:
        return error.after_ms
    return _backoff.delay_ms(envelope.backoff or policy.backoff, attempt, noise)


def _postpone(envelope: Envelope, error: Snooze | RateLimited, now_ms: int) -> Verdict:
    after = _wire.replaced(envelope, hop=envelope.hop + 1)
    due = now_ms + error.after_ms if error.after_ms is not None else getattr(error, "until_ms", now_ms)
    if envelope.deadline_ms is not None and due >= envelope.deadline_ms:
        return Bury(after, "deadline passed")
    when = f"+{error.after_ms}" if error.after_ms is not None else f"@{due}"
    count = "snoozed" if isinstance(error, Snooze) else "limited"
    return RetryAt(after, when, count, max(0, due - now_ms), error.reason)
