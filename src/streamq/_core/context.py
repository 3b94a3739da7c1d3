"""What a handler may know about the attempt it is running in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from .units import from_ms


class Context:
    """The attempt a handler runs in. Annotate the handler's first parameter with it, or call `current_context`.

    job_id: of the job. queue, name: queue and handler name. attempt: this run, from 1. max_attempts: runs in all.
    headers, tenant: as enqueued. stalls: how often a worker vanished with this job. fence: rises with every take of
    the job's life; give it to a store that refuses older numbers, and a zombie's late write is refused. Monotonic as
    long as Redis loses no acknowledged write. deadline: aware instant this run must end by (timeout or deadline=),
    None if unbounded. state: what the queue's lifespan yielded.
    """

    __slots__ = (
        "_clock",
        "attempt",
        "created_at",
        "deadline",
        "fence",
        "headers",
        "job_id",
        "max_attempts",
        "name",
        "queue",
        "stalls",
        "state",
        "tenant",
        "worker",
    )

    def __init__(
        self,
        *,
        job_id: str,
        queue: str,
        name: str,
        attempt: int,
        max_attempts: int,
        **rest: Any,
    ) -> None:
        self.job_id: str = job_id
        self.queue: str = queue
        self.name: str = name
        self.attempt: int = attempt
        self.max_attempts: int = max_attempts
        self.headers: Mapping[str, str] = rest.get("headers") or {}
        self.tenant: str | None = rest.get("tenant")
        self.stalls: int = rest.get("stalls", 0)
        self.fence: int = rest.get("fence", 0)
        self.deadline: datetime | None = rest.get("deadline")
        self.created_at: datetime | None = rest.get("created_at")
        self.worker: str = rest.get("worker", "")
        self.state: Any = rest.get("state")
        self._clock: Callable[[], int] | None = rest.get("clock")

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure of this run sends the job to the dead letters."""
        return self.attempt >= self.max_attempts

    @property
    def idempotency_key(self) -> str:
        """Key to hand to providers: the same for every run of this job, different for every job."""
        return f"{self.queue}:{self.job_id}"

    @property
    def request_id(self) -> str | None:
        """The ``x-request-id`` header, if the producer set one."""
        return self.headers.get("x-request-id")

    def now(self) -> datetime:
        """Return the server's time (aware, UTC), so that all workers agree; accurate to milliseconds."""
        return datetime.now(UTC) if self._clock is None else from_ms(self._clock())

    def __repr__(self) -> str:
        """Name the job and attempt; no payload."""
        return f"<Context {self.queue}/{self.name} {self.job_id} attempt {self.attempt}/{self.max_attempts}>"


_current: ContextVar[Context | Callable[[], Context]] = ContextVar("streamq_context")


def current_context() -> Context:
    """Return the `Context` of the attempt this code runs in; raises `LookupError` outside of a handler."""
    found = _current.get()
    if not isinstance(found, Context):
        found = found()
        _current.set(found)
    return found


def running() -> Context | None:
    """Return the `Context` of the attempt this code runs in, None outside of a handler."""
    return current_context() if _current.get(None) is not None else None


def bind(context: Context | Callable[[], Context]) -> None:
    """Make ``context`` the current one of this task; a function makes it when somebody asks for it."""
    _current.set(context)
