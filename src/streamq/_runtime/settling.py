"""From how an attempt ended to what the store is told, and to the log line about it. No I/O."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Any

import msgspec

from .._core import envelope as _wire
from .._core import fingerprint
from .._core.envelope import AttemptError, Envelope, Record
from .._core.lifecycle import Bury, End, Failure, JobState, RetryAt, decide, message
from .._core.steer import Held
from .._core.tally import BURIED, CANCELLED, COMPLETED, DIED, EXPIRED, LIMITED, OTHER, RETRIED, SNOOZED, Fact
from .._core.tracing import PREVIOUS, span_ids, traceparent
from .._store.lines import waited
from .._store.verbs import Item
from .attempt import Attempt, Encoded, Unreadable
from .gating import limited_gate, sent_to

log = logging.getLogger("streamq.job")

_KINDS = {"retried": RETRIED, "snoozed": SNOOZED, "limited": LIMITED}


class Settling:
    """Turns the outcomes of one queue's attempts into settlements. ``clock`` is the server's, in ms."""

    def __init__(
        self,
        queue: str,
        worker: str,
        clock: Callable[[], int],
        *,
        max_result: int,
        log_payload: bool,
        release: str = "",
    ) -> None:
        self._queue = queue
        self._worker = worker
        self._release = release
        self._clock = clock
        self.on_started: Callable[[Attempt], None] | None = None
        self.on_reclaimed: Callable[[Attempt], None] | None = None
        self._max_result = max_result
        self._log_payload = log_payload

    def outcome(self, attempt: Attempt, value: Any, error: BaseException | None, trace: str) -> Item | None:
        """Return what to tell the store; None when the lease was lost and nothing may be told."""
        if error is None:
            return self._completed(attempt, value)
        if attempt.why == "lost":
            return None
        if attempt.why == "shutdown" and isinstance(error, asyncio.CancelledError):
            return Item(b"U", attempt.id, attempt.token)  # it had started: what it spent of a rate stays spent
        if attempt.why == "cancel" and isinstance(error, asyncio.CancelledError):
            return self.ended(attempt, JobState.CANCELLED, "cancelled while it ran")
        if isinstance(error, Held | Unreadable):
            return self._unbegun(attempt, error)
        return self._failed(attempt, error, trace)

    def _unbegun(self, attempt: Attempt, error: Held | Unreadable) -> Item:
        if isinstance(error, Unreadable):
            return self.buried(attempt, "invalid payload", str(error), "InvalidPayload")
        self._say(logging.INFO, "job held", "held", attempt, gate=error.gate)
        return sent_to(attempt, error.gate)

    def _completed(self, attempt: Attempt, value: Any) -> Item:
        spec, envelope = attempt.spec, attempt.envelope
        ms = (time.monotonic() - attempt.started) * 1000
        if log.isEnabledFor(logging.INFO):
            self._say(logging.INFO, "job succeeded", "succeeded", attempt, duration=ms / 1000)
        now = self._clock()
        run = int(ms * 1000)
        wait = waited(now, attempt.token, run) if attempt.count == 1 else -1
        fact = (envelope.name, envelope.tenant, COMPLETED, wait, run)
        detail = b"%d %d %d %b" % (now, envelope.attempts + 1, ms, envelope.name.encode())
        # A custom id stays taken for result_ttl, so its job leaves a record in any case; created_ms marks such jobs.
        keep = envelope.keep_result or envelope.created_ms is not None or (spec is not None and spec.keep_result)
        if value is None and not keep:
            return Item(b"c", attempt.id, attempt.token, (detail,), None, fact)
        result, problem = self._encoded(value)
        record = self._record(attempt, JobState.COMPLETED, duration_ms=int(ms))
        record = msgspec.structs.replace(record, result=result, problem=problem, attempts=envelope.attempts + 1)
        if problem:
            self._say(logging.WARNING, "result not kept", "result_not_kept", attempt, problem=problem)
        return Item(b"C", attempt.id, attempt.token, (detail,), _wire.encode(record), fact)

    def _encoded(self, value: Any) -> tuple[msgspec.Raw, str]:
        """Encode a result. One that cannot be kept does not undo the work: the job is complete, the record says why."""
        if value is None:
            return _wire.NIL, ""
        encoded = value if isinstance(value, Encoded) else Encoded(value)
        if len(encoded.data) > self._max_result:
            return _wire.NIL, f"{len(encoded.data):,} bytes, over max_payload={self._max_result:,}"
        return (_wire.NIL if encoded.problem else msgspec.Raw(encoded.data)), encoded.problem

    def _failed(self, attempt: Attempt, error: BaseException, trace: str) -> Item:
        spec, envelope = attempt.spec, attempt.envelope
        assert spec is not None  # noqa: S101 - it ran
        now = self._clock()
        ran = int((time.monotonic() - attempt.started) * 1000)
        failure = Failure(error, trace, now, ran, self._worker, self._release)
        noise = random.random()  # noqa: S311 - jitter, not cryptography
        if attempt.span is not None:
            envelope = _traced(envelope, attempt.span)
        verdict = decide(envelope, spec.policy, failure, now_ms=now, noise=noise)
        attempt_no = envelope.attempts + 1
        if isinstance(verdict, RetryAt):
            fact = self._fact(attempt, _KINDS[verdict.count], now)
            wait = (verdict.wait_ms or 0) / 1000
            if verdict.count == "retried":
                self._say(logging.WARNING, "job retrying", "retrying", attempt, error=error, backoff=wait, trace=trace)
            else:
                self._say(logging.INFO, f"job {verdict.count}", verdict.count, attempt, backoff=wait)
            gate = limited_gate(attempt) if verdict.count == "limited" else None
            if gate is not None:
                # The gate of its provider stays shut as long; the job keeps its place before it.
                args = (verdict.wait_ms or 0, gate, _wire.encode(verdict.envelope))
                return Item(b"l", attempt.id, attempt.token, args, None, fact)
            told = (verdict.when, self._lane(attempt), _wire.encode(verdict.envelope), verdict.count)
            return Item(b"r", attempt.id, attempt.token, told, None, fact)
        if isinstance(verdict, End):
            return self.ended(attempt, verdict.state, verdict.reason)
        self._say(logging.WARNING, "job failed", "failed", attempt, error=error, reason=verdict.reason, trace=trace)
        return self._bury(attempt, verdict, attempts=attempt_no, failed=True)

    def ended(self, attempt: Attempt, state: JobState, reason: str) -> Item:
        """Settle as cancelled or expired."""
        self._say(logging.INFO, f"job {state}", str(state), attempt, reason=reason)
        runs = attempt.envelope.attempts + (1 if attempt.started else 0)
        record = msgspec.structs.replace(self._record(attempt, state), reason=reason, attempts=runs)
        fact = self._fact(attempt, EXPIRED if state is JobState.EXPIRED else CANCELLED, record.finished_ms)
        return Item(b"e", attempt.id, attempt.token, (str(state),), _wire.encode(record), fact)

    def buried(self, attempt: Attempt, reason: str, message: str, kind: str) -> Item:
        """Settle as dead without (another) run: undecodable, or stalled too often."""
        envelope = attempt.envelope
        error = AttemptError(envelope.attempts + 1, kind, message, "", self._clock(), 0, self._worker, self._release)
        after = _wire.replaced(envelope, hop=envelope.hop + 1, errors=_wire.with_error(envelope.errors, error))
        return self._bury(attempt, Bury(after, reason), attempts=envelope.attempts, failed=False)

    def raw(self, attempt: Attempt, reason: str) -> Item:
        """Bury an entry that is no job of ours."""
        self._say(logging.ERROR, "job dead", "dead", attempt, reason=reason)
        fact = (attempt.envelope.name or OTHER, None, BURIED, -1, -1)
        label = fingerprint.died_of("?", reason, None)
        return Item(b"x", attempt.id, attempt.token, (reason, label), None, fact)

    def parked(self, attempt: Attempt, name: str) -> Item:
        """Park a job nobody here can run."""
        self._say(logging.WARNING, "job parked: no handler here", "parked", attempt, parked_as=name)
        return Item(b"p", attempt.id, attempt.token, (self._lane(attempt), name))

    def started(self, attempt: Attempt) -> None:
        """Log the start."""
        if self.on_started is not None:
            self.on_started(attempt)
        if log.isEnabledFor(logging.DEBUG):
            self._say(logging.DEBUG, "job started", "started", attempt)

    def reclaimed(self, attempt: Attempt) -> None:
        """Log that a stalled job was taken over."""
        if self.on_reclaimed is not None:
            self.on_reclaimed(attempt)
        self._say(logging.WARNING, "job reclaimed", "reclaimed", attempt, stalls=attempt.count - 1)

    def _bury(self, attempt: Attempt, verdict: Bury, *, attempts: int, failed: bool) -> Item:
        last = verdict.envelope.errors[-1] if verdict.envelope.errors else None
        self._say(
            logging.ERROR, "job dead", "dead", attempt, reason=verdict.reason, error_type=last.type if last else None
        )
        record = msgspec.structs.replace(
            self._record(attempt, JobState.DEAD),
            reason=verdict.reason,
            attempts=attempts,
            errors=verdict.envelope.errors,
        )
        label = fingerprint.died_of(verdict.envelope.name, verdict.reason, last)
        args = (verdict.reason, _wire.encode(verdict.envelope), int(failed), label)
        fact = self._fact(attempt, DIED if failed else BURIED, record.finished_ms)
        return Item(b"b", attempt.id, attempt.token, args, _wire.encode(record), fact)

    def _fact(self, attempt: Attempt, kind: int, now_ms: int, run_us: int = -1) -> Fact:
        """Return what is to be counted of an attempt: how long it was ready before it began, and how long it ran."""
        wait = -1
        if attempt.started and kind not in {BURIED, EXPIRED}:
            run_us = run_us if run_us >= 0 else int((time.monotonic() - attempt.started) * 1_000_000)
            if attempt.count == 1:  # else somebody had begun it
                wait = waited(now_ms, attempt.token, run_us)
        envelope = attempt.envelope
        return envelope.name or OTHER, envelope.tenant, kind, wait, run_us

    def _record(self, attempt: Attempt, state: JobState, duration_ms: int = 0) -> Record:
        envelope = attempt.envelope
        return Record(
            state=str(state),
            name=envelope.name,
            attempts=envelope.attempts,
            errors=envelope.errors,
            finished_ms=self._clock(),
            duration_ms=duration_ms,
            tenant=envelope.tenant,
            headers=envelope.headers,
        )

    def _lane(self, attempt: Attempt) -> int:
        """Return the lane to go back to: the one it came from, the envelope's for a taken one."""
        place = attempt.token[0]
        return place - 48 if 48 <= place <= 52 else attempt.envelope.lane

    def _say(self, level: int, text: str, event: str, attempt: Attempt, **more: Any) -> None:
        if not log.isEnabledFor(level):
            return
        envelope, spec = attempt.envelope, attempt.spec
        extra: dict[str, Any] = {
            "event": event,
            "queue": self._queue,
            "handler": envelope.name,
            "job_id": attempt.job_id,
            "attempt": envelope.attempts + 1,
            "max_attempts": envelope.max_attempts or (spec.policy.max_attempts if spec else None),
            "request_id": envelope.headers.get("x-request-id"),
            "tenant": envelope.tenant,
            "worker": self._worker,
        }
        if attempt.span is not None:
            extra |= span_ids(attempt.span)
        if extra["max_attempts"] is not None:
            extra["is_last_attempt"] = extra["attempt"] >= extra["max_attempts"]
        error, trace = more.pop("error", None), more.pop("trace", "")
        if error is not None:
            extra["error_type"] = type(error).__qualname__
            extra["error"] = message(error)[:500] if self._log_payload else type(error).__qualname__
        if self._log_payload:
            extra["payload"] = _shown(envelope.args)
            if trace:
                extra["traceback"] = trace
        extra.update(more)
        log.log(level, text, extra=extra)


def _traced(envelope: Envelope, span: Any) -> Envelope:
    """Return the envelope with the span of this attempt, for the next one to link to."""
    return _wire.replaced(envelope, headers={**envelope.headers, PREVIOUS: traceparent(span)})


def _shown(args: msgspec.Raw) -> Any:
    try:
        return _wire.plain(args)
    except _wire.MALFORMED:
        return "<undecodable>"
