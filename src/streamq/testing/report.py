"""What became of the jobs in a test: every attempt in order, and how the worker's settling tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, cast

import msgspec

from .._core import envelope as _wire
from .._core.lifecycle import JobState
from .._core.steer import Steer
from .._core.units import from_ms
from .._runtime.attempt import Attempt, Unreadable
from .._runtime.settling import Settling
from .._store.verbs import Item
from ..errors import InvalidPayload
from ..reading import Counts

Outcome = Literal[
    "completed",
    "retried",
    "snoozed",
    "limited",
    "dead",
    "cancelled",
    "expired",
    "released",
    "parked",
    "held",
    "lost",
    "crashed",
]
"""How an attempt ended. released: handed back; held: not begun, it waits for a limit after all; lost: its lease was
another's by then, and its settlement was refused; crashed: its worker died before it could settle."""

Failures = type[BaseException] | tuple[type[BaseException], ...]


class Attempted(msgspec.Struct, frozen=True):
    """One attempt at a job. ``attempt``: from 1; ``result`` as the handler returned it; ``at``: the queue's time.

    ``error``: what was raised, the very exception; None for none. ``reason`` of a job that ended otherwise than
    completed.
    """

    job_id: str
    queue: str
    name: str
    args: Mapping[str, Any]
    attempt: int
    outcome: Outcome
    result: Any
    error: BaseException | None
    reason: str
    at: datetime


class Report(msgspec.Struct, frozen=True):
    """What `run_until_idle` did: ``attempts`` in the order in which they ended.

    ``unrun``: jobs that ended without a run: expired, cancelled, stalled too often, parked for want of a handler.
    ``crashes``, ``stalls``: workers that a fault plan stopped. ``left``: what is in each queue by now, by its name.
    """

    attempts: Sequence[Attempted]
    unrun: Sequence[Attempted]
    crashes: int
    stalls: int
    left: Mapping[str, Counts]

    @property
    def completed(self) -> list[Attempted]:
        """Attempts that completed their jobs."""
        return [one for one in self.attempts if one.outcome == "completed"]

    @property
    def failed(self) -> list[Attempted]:
        """Attempts that failed, whether or not there was another."""
        return [one for one in self.attempts if one.outcome in {"retried", "dead"}]

    @property
    def dead(self) -> list[Attempted]:
        """Last attempts of jobs that were given up on, and those that were without another run."""
        return [one for one in (*self.attempts, *self.unrun) if one.outcome == "dead"]

    def of(self, name: str) -> list[Attempted]:
        """Return the attempts at jobs of one handler, by its name on the wire."""
        return [one for one in self.attempts if one.name == name]

    def __str__(self) -> str:
        """One line an attempt."""
        lines = [told(one) for one in self.attempts]
        lines += [f"{told(one)}, not run" for one in self.unrun]
        return "\n".join(lines) or "nothing was run"


def told(one: Attempted) -> str:
    """Return an attempt in one line. Not for applications."""
    args = ", ".join(f"{name}={value!r}" for name, value in one.args.items())
    why = f": {one.error!r}" if one.error is not None else f": {one.reason}" if one.reason else ""
    return f"{one.name}({args}) attempt {one.attempt} {one.outcome}{why}"


class Log:
    """Collects attempts as they end. ``bug``: the first error that nobody expected, with its attempt."""

    def __init__(self, expected: Failures) -> None:
        self.rows: list[Attempted] = []
        self.unrun: list[Attempted] = []
        self.bug: tuple[BaseException, Attempted] | None = None
        self._expected = expected
        self._tokens: list[bytes] = []

    def ran(self, attempt: Attempt, made: Attempted) -> None:
        """Take the end of an attempt."""
        self.rows.append(made)
        self._tokens.append(attempt.token)
        if self.bug is None and made.error is not None and self._is_bug(made.error):
            self.bug = (made.error, made)

    def _is_bug(self, error: BaseException) -> bool:
        return not isinstance(error, Steer | asyncio.CancelledError) and not isinstance(error, self._expected)

    def settled(self, tokens: Sequence[bytes], outcome: Outcome) -> None:
        """Hear that attempts ended otherwise than their worker believed: crashed or lost."""
        wanted = set(tokens)
        for at, (row, token) in enumerate(zip(self.rows, self._tokens, strict=True)):
            if token in wanted:
                self.rows[at] = msgspec.structs.replace(row, outcome=outcome)


class Watched(Settling):
    """The settling of one queue in a worker, noted in a `Log`. ``crashed`` says whether the worker is dead by now."""

    def __init__(
        self,
        log: Log,
        queue: str,
        worker: str,
        clock: Callable[[], int],
        crashed: Callable[[], bool],
        *,
        max_result: int,
    ) -> None:
        super().__init__(queue, worker, clock, max_result=max_result, log_payload=False)
        self._log = log
        self._name = queue
        self._now = clock
        self._crashed = crashed
        self._inside = False

    def outcome(self, attempt: Attempt, value: Any, error: BaseException | None, trace: str) -> Item | None:
        """Note how an attempt ended."""
        self._inside = True
        try:
            item = super().outcome(attempt, value, error, trace)
        finally:
            self._inside = False
        made = self._made(attempt, attempt.envelope.attempts + 1, item, value, error)
        if made.outcome == "held":
            return item
        self._log.ran(attempt, made)
        return item

    def ended(self, attempt: Attempt, state: JobState, reason: str) -> Item:
        """Note a job that ended without a run."""
        return self._unrun(attempt, super().ended(attempt, state, reason), reason)

    def buried(self, attempt: Attempt, reason: str, message: str, kind: str) -> Item:
        """Note a job that was given up on without another run."""
        return self._unrun(attempt, super().buried(attempt, reason, message, kind), reason)

    def raw(self, attempt: Attempt, reason: str) -> Item:
        """Note an entry that is no job."""
        return self._unrun(attempt, super().raw(attempt, reason), reason)

    def parked(self, attempt: Attempt, name: str) -> Item:
        """Note a job that nobody here can run."""
        return self._unrun(attempt, super().parked(attempt, name), f"no handler {name!r}")

    def _unrun(self, attempt: Attempt, item: Item, reason: str) -> Item:
        if not self._inside:
            made = self._made(attempt, attempt.envelope.attempts, item, None, None)
            self._log.unrun.append(msgspec.structs.replace(made, reason=reason))
        return item

    def _made(
        self, attempt: Attempt, number: int, item: Item | None, value: Any, error: BaseException | None
    ) -> Attempted:
        envelope = attempt.envelope
        if isinstance(error, Unreadable):
            error = InvalidPayload(envelope.name, str(error))
        outcome: Outcome = "crashed" if self._crashed() else outcome_of(item)
        reason = "" if error is None else str(error)
        return Attempted(
            attempt.job_id, self._name, envelope.name, _args(envelope), number, outcome, value, error, reason,
            from_ms(self._now()),
        )  # fmt: skip


_LETTERS: dict[bytes, Outcome] = {
    b"c": "completed",
    b"C": "completed",
    b"l": "limited",
    b"b": "dead",
    b"x": "dead",
    b"u": "released",
    b"U": "released",
    b"p": "parked",
    b"v": "held",
}


def outcome_of(item: Item | None) -> Outcome:
    """Return what a settlement means. Not for applications."""
    if item is None:
        return "lost"
    if item.verb == b"r":
        said = str(item.args[3])
        return "snoozed" if said == "snoozed" else "limited" if said == "limited" else "retried"
    if item.verb == b"e":
        return "expired" if str(item.args[0]) == "expired" else "cancelled"
    return _LETTERS.get(item.verb, "released")


def _args(envelope: _wire.Envelope) -> Mapping[str, Any]:
    try:
        found: Any = _wire.plain(envelope.args)
    except _wire.MALFORMED:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
