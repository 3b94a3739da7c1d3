"""Handles: a job that is in a queue (`Job`), and one that is not yet (`JobSpec`)."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

import msgspec

from ._core import envelope as _wire
from ._core import units
from ._core.envelope import Record
from ._core.flow import Flow
from ._core.lanes import lane_of
from ._core.lifecycle import JobState
from ._core.options import Checked, Priority
from ._core.signature import dec_hook
from ._core.units import Seconds
from ._store import desk
from ._store.desk import Look
from ._store.session import Store
from .errors import JobCancelled, JobDead, JobExpired, JobStateError, JobUnknown, ResultExpired, ResultUnavailable
from .events import Notices
from .info import JobInfo, describe, state_of

R_co = TypeVar("R_co", covariant=True)


class JobSpec(Generic[R_co]):
    """A job that is not enqueued yet: a value for bulk calls, flows and schedules. It carries its options along.

    ``flow``: what it waits for besides its turn; None for a plain job.
    """

    __slots__ = ("_owner", "args", "flow", "name", "options")

    def __init__(self, owner: Any, name: str, args: bytes, options: Checked, flow: Flow | None = None) -> None:
        self._owner = owner
        self.name: str = name
        self.args: bytes = args
        self.options: Checked = options
        self.flow: Flow | None = flow

    @property
    def owner(self) -> Any:
        """The queue it was built for."""
        return self._owner

    def __repr__(self) -> str:
        """Handler and options; no payload."""
        return f"<JobSpec {self.name} {self.options}>"


class Home(Protocol):
    """What a handle needs of the queue it belongs to."""

    name: str
    result_ttl: float
    notices: Notices

    async def store_of(self, job_id: str) -> Store:
        """Return the partition the job lives in."""
        ...

    async def replay_dead(self, job_id: str, *, delay: Seconds | None, priority: Priority | None) -> None:
        """Put a dead letter back."""
        ...


class Job(Generic[R_co]):
    """A job in a queue.

    created: False when nothing was added: a job of that custom id exists already, its dedup key was met, or it was
    refused. met: id of the job that its dedup key met, which then is the job of this handle; else None. refused:
    "limited" (``on_limit="drop"``) or "conflict" (``on_conflict="drop"``) when it was dropped, and no job exists; else
    None.
    """

    __slots__ = ("_acknowledged", "_home", "_returns", "created", "id", "met", "refused")

    def __init__(
        self, home: Home, job_id: str, *, returns: Any = Any, created: bool = True, acknowledged: bool = False
    ) -> None:
        self.met: str | None = None
        self.refused: Literal["limited", "conflict"] | None = None
        self._home = home
        self.id: str = job_id
        self.created: bool = created
        self._returns = returns
        # An enqueue this process saw acknowledged is evidence that the job existed (see state()).
        self._acknowledged = time.monotonic() if acknowledged else None

    @property
    def queue(self) -> str:
        """Name of the queue."""
        return self._home.name

    def __repr__(self) -> str:
        """Queue and id."""
        return f"<Job {self._home.name} {self.id}>"

    async def state(self) -> JobState:
        """Return where the job is now.

        A job without trace whose enqueue was acknowledged to this very handle less than ``result_ttl`` ago answers
        COMPLETED: only a plain completion leaves none. (A server that lost data can falsify that.) Otherwise UNKNOWN.
        """
        return self._state(await desk.look(await self._store(), self.id, full=False))

    async def info(self) -> JobInfo:
        """Return everything known of the job; raises `JobUnknown` when it has left no trace."""
        found = await desk.look(await self._store(), self.id)
        if found.place == "absent" and not self._is_recent():
            raise JobUnknown(self.id)
        return describe(self._home.name, self.id, self._state(found), found)

    async def result(self, *, timeout: Seconds | None = None) -> R_co:  # noqa: ASYNC109 - leaves the job alone, no scope
        """Wait for the end and return what the handler returned, decoded by its return annotation.

        ``timeout`` in seconds (None: wait as long as it takes); `TimeoutError` leaves the job alone. Raises `JobDead`,
        `JobCancelled`, `JobExpired` when it ended otherwise, `ResultExpired` when it ended over ``result_ttl`` ago,
        `ResultUnavailable` when its value could not be kept.
        """
        seconds = None if timeout is None else units.seconds("timeout", timeout)
        async with asyncio.timeout(seconds):
            return await self._result()

    async def cancel(self) -> bool:
        """Cancel: a waiting, delayed or parked job is out at once; a running one is asked to stop within two seconds.

        True if it was or will be cancelled, False if it had ended already.
        """
        return await self._cancel(ask=True) in "ca"

    async def remove(self) -> None:
        """Take a job that has not started out of the queue, or a dead letter away.

        Raises `JobStateError` for a running job (cancel it), `JobUnknown` when there is none.
        """
        answer = await self._cancel(ask=False)
        if answer == "s":
            raise JobStateError(self.id, "remove", "active", "cancel it, or wait for its end")
        if answer == "g" and not await desk.purge(await self._store(), ids=[self.id]):
            raise JobUnknown(self.id)

    async def promote(self) -> None:
        """Move a delayed job to its lane now; raises `JobStateError` when it is not delayed."""
        if not await desk.promote(await self._store(), [self.id]):
            raise JobStateError(self.id, "promote", str(await self.state()), "only delayed jobs can be promoted")

    async def set_priority(self, priority: Priority) -> None:
        """Move a job that has not started to another lane, behind those that wait there; its retries stay in it.

        Waiting, delayed or parked; a job that has this priority already is left where it is. Raises `JobStateError`
        for one that runs, waits in an ordered group or has ended, `JobUnknown` when there is no trace of it.
        """
        lane = lane_of(priority)
        store = await self._store()
        while (found := await desk.look(store, self.id)).place == "row":
            try:
                body = _wire.moved(found.body, lane)
            except _wire.MALFORMED:
                raise JobStateError(self.id, "reprioritise", "undecodable", "cancel it") from None
            answer = await desk.reprioritise(store, [(self.id, lane, found.body, body)])
            if answer in "cs":
                return
            if answer == "a":
                raise JobStateError(self.id, "reprioritise", "active", "wait for its end, or for its next attempt")
            if answer == "o":
                raise JobStateError(self.id, "reprioritise", "in an ordered group", "such a group has one priority")
            # It was somewhere else by then: look again.
        state = self._state(found)
        if state is JobState.UNKNOWN:
            raise JobUnknown(self.id)
        raise JobStateError(self.id, "reprioritise", str(state), "a dead job takes another by retry(priority=...)")

    async def retry(self, *, delay: Seconds | None = None, priority: Priority | None = None) -> None:
        """Run a dead job again with all its attempts, or a delayed one now. Raises `JobStateError` for other states."""
        state = await self.state()
        if state is JobState.DEAD:
            await self._home.replay_dead(self.id, delay=delay, priority=priority)
        elif state is JobState.DELAYED and delay is None and priority is None:
            await self.promote()
        else:
            raise JobStateError(
                self.id, "retry", str(state), "only dead jobs, and delayed ones without options, can be retried"
            )

    async def _store(self) -> Store:
        return await self._home.store_of(self.id)

    async def _cancel(self, *, ask: bool) -> str:
        record = _wire.encode(
            Record(
                state=str(JobState.CANCELLED),
                reason="cancelled" if ask else "removed",
                finished_ms=time.time_ns() // 1_000_000,
            )
        )
        store = await self._store()
        answer = await desk.cancel(store, [self.id], record, result_ms=int(self._home.result_ttl * 1000), ask=ask)
        if answer == "c":  # of a running one its worker tells
            self._home.notices.note("cancelled", self.id, reason="cancelled" if ask else "removed")
        return answer

    def _is_recent(self) -> bool:
        return self._acknowledged is not None and time.monotonic() - self._acknowledged < self._home.result_ttl

    def _state(self, found: Look) -> JobState:
        state = state_of(found)
        return JobState.COMPLETED if state is JobState.UNKNOWN and self._is_recent() else state

    async def _result(self) -> R_co:
        store = await self._store()
        waiters = store.session().waiters
        found = await desk.look(store, self.id, full=False)
        if found.place == "row":
            await waiters.subscribe()
        while found.place == "row":
            with waiters.expecting(self.id.encode()) as word:
                found = await desk.look(store, self.id, channel=waiters.suffix, full=False)
                if found.place != "row":
                    break
                done, _ = await asyncio.wait((word,), timeout=2.0)
            if done and word.result() is False:
                return cast("R_co", None)
            found = await desk.look(store, self.id, full=False)
        return self._ended(found)

    def _ended(self, found: Look) -> R_co:
        if found.place == "record":
            record = _wire.decode_record(found.body)
            last = record.errors[-1] if record.errors else None
            if record.state == JobState.DEAD:
                raise JobDead(self.id, record.reason, last.type if last else "", last.message if last else "")
            if record.state == JobState.CANCELLED:
                raise JobCancelled(self.id, record.reason)
            if record.state == JobState.EXPIRED:
                raise JobExpired(self.id)
            if record.problem:
                raise ResultUnavailable(self.id, record.problem)
            return self._decoded(record.result)
        if found.place == "dead":
            raise JobDead(self.id, "see its dead letter")
        if found.place == "window" or self._is_recent():
            return cast("R_co", None)
        raise ResultExpired(self.id, self._home.result_ttl)

    def _decoded(self, data: msgspec.Raw) -> R_co:
        if data == _wire.NIL:
            return cast("R_co", None)
        try:
            return msgspec.msgpack.decode(data, type=self._returns, dec_hook=dec_hook)  # type: ignore[no-any-return]
        except (msgspec.DecodeError, ValueError, TypeError, NotImplementedError) as problem:
            raise ResultUnavailable(self.id, f"it does not fit {self._returns!r}: {problem}") from None
