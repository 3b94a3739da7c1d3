"""From what became of attempts to events: made only when somebody wants them, and only of what the server applied."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any, Protocol, cast

from .._core import envelope as _wire
from .._core.events import EventKind, Fact
from .._store.verbs import Item
from .attempt import Attempt


class Tell(Protocol):
    """Who takes the events."""

    def __call__(self, kind: EventKind, job_id: str = "", name: str = "", /, **data: Fact) -> None:
        """Tell of something."""
        ...


class Noting:
    """Tells what becomes of one queue's attempts in one worker. ``find``: the attempt of a job in its hands."""

    def __init__(
        self, tell: Tell, wanted: Container[str], worker: str, find: Callable[[bytes], Attempt | None]
    ) -> None:
        self._tell = tell
        self._wanted = wanted
        self._worker = worker
        self._find = find

    def started(self, attempt: Attempt) -> None:
        """Hear that a handler starts."""
        if "active" in self._wanted:
            self._say("active", attempt)

    def reclaimed(self, attempt: Attempt) -> None:
        """Hear that a job was taken over whose worker vanished."""
        self._say("stalled", attempt, stalls=attempt.count - 1)

    def settled(self, items: Sequence[Item], reply: bytes) -> None:
        """Hear which settlements the server applied; called while the attempts are still known."""
        # Most jobs complete; who wants to hear of the others does not pay for these.
        unheard = () if "completed" in self._wanted else (b"c", b"C")
        for item, letter in zip(items, reply, strict=False):
            if letter == 97 and item.verb not in unheard:  # a: applied; else somebody else has the job, or it is gone
                attempt = self._find(item.id)
                if attempt is not None and attempt.token == item.token:
                    self._settled(item, attempt)

    def _settled(self, item: Item, attempt: Attempt) -> None:
        args: tuple[Any, ...] = item.args
        match item.verb:
            case b"c" | b"C":
                if "completed" in self._wanted:
                    self._say("completed", attempt, seconds=int(args[0].split(b" ", 3)[2]) / 1000)
            case b"r":
                if args[3] == "retried":
                    self._retried(attempt, str(args[0]), args[2])
            case b"b":
                self._dead(attempt, str(args[0]), args[1], failed=bool(args[2]))
            case b"x":
                self._say("dead", attempt, reason=str(args[0]))
            case b"e":
                self._say(cast("EventKind", str(args[0])), attempt)
            case _:
                pass

    def _retried(self, attempt: Attempt, when: str, body: bytes) -> None:
        if "failed" not in self._wanted and "retrying" not in self._wanted:
            return
        error = _error(body)
        self._say("failed", attempt, error=error, last=False)
        seconds = int(when[1:]) / 1000 if when[:1] == "+" else None
        self._say("retrying", attempt, error=error, seconds=seconds)

    def _dead(self, attempt: Attempt, reason: str, body: bytes, *, failed: bool) -> None:
        error = _error(body)
        if failed:
            self._say("failed", attempt, error=error, last=True)
        self._say("dead", attempt, error=error, reason=reason)

    def _say(self, kind: EventKind, attempt: Attempt, **data: Fact) -> None:
        envelope = attempt.envelope
        self._tell(kind, attempt.job_id, envelope.name, attempt=envelope.attempts + 1, worker=self._worker, **data)


def _error(body: bytes) -> str:
    """Return the type of the last error in an envelope; '' without one."""
    try:
        errors = _wire.decode(body).errors
    except _wire.MALFORMED:
        return ""
    return errors[-1].type if errors else ""
