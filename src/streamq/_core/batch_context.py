"""What a batch handler may know of its call: one context for the batch, and one for each of its items."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from .context import Context


class BatchItem(Context):
    """One job of a batch: everything a `Context` tells, and how this job shall end.

    A job that is neither failed nor done ends as the whole call does.
    """

    __slots__ = ("_error", "_is_settled", "_value")

    def __init__(self, **facts: Any) -> None:
        super().__init__(**facts)
        self._is_settled: bool = False
        self._value: Any = None
        self._error: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """End this job as if its own handler had raised ``error``; `Retry`, `Snooze`, `Discard` and the like, too.

        Raises `TypeError` for what is no exception.
        """
        if not isinstance(error, BaseException):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a checker
            raise TypeError(f"fail({error!r}): give an exception, such as ValueError('no such contact')")
        self._is_settled, self._value, self._error = True, None, error

    def done(self, value: Any = None) -> None:
        """Complete this job, whatever becomes of the rest: a later error or timeout of the call does not concern it."""
        self._is_settled, self._value, self._error = True, value, None

    @property
    def is_settled(self) -> bool:
        """Whether `fail` or `done` was called."""
        return self._is_settled

    @property
    def error(self) -> BaseException | None:
        """What it was failed with."""
        return self._error

    @property
    def value(self) -> Any:
        """What it was done with."""
        return self._value


class BatchContext(Context):
    """The call a batch handler runs in. Annotate the handler's first parameter with it, or call `current_context`.

    items: contexts of the jobs, in the order of the handler's list. As a `Context`, which is what middleware sees of
    it, it stands for all of them: headers and tenant are those that all share, created_at is the oldest, stalls the
    highest, deadline the instant this call must end by; job_id, attempt, max_attempts and fence are those of the first.
    """

    __slots__ = ("items",)

    def __init__(self, items: Sequence[BatchItem]) -> None:
        first = items[0]
        tenants = {one.tenant for one in items}
        made = [one.created_at for one in items if one.created_at is not None]
        super().__init__(
            job_id=first.job_id,
            queue=first.queue,
            name=first.name,
            attempt=first.attempt,
            max_attempts=first.max_attempts,
            headers=_common([one.headers for one in items]),
            tenant=first.tenant if len(tenants) == 1 else None,
            stalls=max(one.stalls for one in items),
            fence=first.fence,
            deadline=_latest([one.deadline for one in items]),
            created_at=min(made, default=None),
            worker=first.worker,
            state=first.state,
        )
        self.items: tuple[BatchItem, ...] = tuple(items)

    def fail(self, index: int, error: BaseException) -> None:
        """End the job of the item at ``index`` as if its own handler had raised ``error``; see `BatchItem.fail`."""
        self.items[index].fail(error)

    @property
    def idempotency_key(self) -> str:
        """Key to hand to providers for the whole call: the same for the same jobs, and for no others."""
        joined = "\n".join(sorted(one.job_id for one in self.items)).encode("utf-8", "replace")
        return f"{self.queue}:{hashlib.blake2b(joined, digest_size=16).hexdigest()}"

    def now(self) -> datetime:
        """Return the server's time, as `Context.now`."""
        return self.items[0].now()

    def __repr__(self) -> str:
        """Name the handler and count the items; no payload."""
        return f"<BatchContext {self.queue}/{self.name} of {len(self.items)}>"


def _common(headers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    shared = dict(headers[0])
    for one in headers[1:]:
        if not shared:
            break
        shared = {name: value for name, value in shared.items() if one.get(name) == value}
    return shared


def _latest(deadlines: Sequence[datetime | None]) -> datetime | None:
    known = [one for one in deadlines if one is not None]
    return max(known) if known and len(known) == len(deadlines) else None
