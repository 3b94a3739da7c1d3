"""What a handler raises to say how its attempt should end. These are not errors."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..errors import revived
from .units import Seconds, instant_ms, millis


class Steer(Exception):
    """Base of everything a handler may raise to steer."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross from a child process as it is: by default an exception is made anew from its text alone."""
        return revived, (type(self), self.args, self.__dict__)


class Retry(Steer):
    """Run again after ``after`` (None: by the handler's backoff). Uses up an attempt, as a failure does."""

    def __init__(self, reason: str = "", *, after: Seconds | None = None) -> None:
        self.reason = reason
        self.after_ms: int | None = None if after is None else millis("Retry(after)", after)
        super().__init__(reason or "retry asked for")


class Snooze(Steer):
    """Run later, ``after`` a while or ``until`` an aware instant. Uses up no attempt."""

    def __init__(self, after: Seconds | None = None, *, until: datetime | None = None, reason: str = "") -> None:
        if (after is None) == (until is None):
            raise TypeError("Snooze takes exactly one of after= and until=")
        self.reason = reason
        self.after_ms: int | None = None if after is None else millis("Snooze(after)", after)
        self.until_ms: int | None = None if until is None else instant_ms("Snooze(until)", until)
        super().__init__(reason or "snoozed")


class RateLimited(Steer):
    """The provider said "too fast": run again ``after`` seconds. Uses up no attempt."""

    def __init__(self, after: Seconds, *, reason: str = "") -> None:
        self.reason = reason
        self.after_ms: int = millis("RateLimited(after)", after)
        super().__init__(reason or "rate limited")


class Discard(Steer):
    """Stop here for good without calling it a failure: the job ends as cancelled, with this reason."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason or "discarded")


class Fatal(Steer):
    """Give up at once: the job goes to the dead letters whatever attempts are left."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason or "fatal")


class Held(Steer):
    """Not begun after all: back into a line, before this gate. Charges nothing. For middleware of streamq's own."""

    def __init__(self, gate: str) -> None:
        self.gate = gate
        super().__init__(f"held at {gate}")


for _kind in (Steer, Retry, Snooze, RateLimited, Discard, Fatal):
    _kind.__module__ = "streamq"  # the name users import; it stands in every attempt's history
