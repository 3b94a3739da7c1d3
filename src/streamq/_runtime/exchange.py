"""One conversation with the server for one queue: settle, tick, promote, unpark and fetch over one connection, one
exchange at a time.

Because nothing else delivers jobs to this worker, every reply is in the table before the next question is asked: an own
pending entry that is not in the table *is* a ghost. A settle that was not answered is sent again, the same bytes under the
same sequence number, until it is.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from .._core import envelope as _wire
from .._store import verbs as _verbs
from .._store.link import Command, Link, LinkDown, Refused, Reply, ReplyError, redacted
from .._store.session import check_server
from .._store.verbs import MAX_BYTES, MAX_ITEMS, Item, Taken, TickInput, WorkerVerbs
from ..errors import ServerUnfit, StreamqError
from .attempt import Attempt
from .._store.clock import ServerClock
from .slots import Slots

log = logging.getLogger("streamq.worker")

TICK = 2.0
"""Seconds between two ticks: heartbeat, sweep, ghosts, marks. With the bell's pulse below one client call a second."""

GIVE_UP = 600.0
"""Seconds an unanswered settle is sent again: as long as its memo lives. Then the leases decide."""

CLOCK_JUMP_MS = 2000
"""Move of the server's clock against ours that holds the sweep for one lease: a jump would make all leases look old."""


class Joined(Protocol):
    """What the worker joins to an exchange."""

    def accept(self, attempt: Attempt) -> Item | None:
        """Return how to settle an attempt that is not to be run (parked, expired, stalled too often), else None."""
        ...

    def start(self, attempt: Attempt) -> None:
        """Start the attempt's handler."""
        ...

    def undecodable(self, attempt: Attempt, reason: str) -> Item:
        """Return how to settle an entry that is no job of ours."""
        ...

    def cancelled(self, attempt: Attempt) -> Item:
        """Return how to settle an attempt that was cancelled before it started."""
        ...

    def reclaimed(self, attempt: Attempt) -> None:
        """Hear that a stalled job was taken over."""
        ...

    def heartbeat(self) -> bytes:
        """Return what people shall see of this worker."""
        ...

    def names(self) -> Sequence[str]:
        """Return what parked jobs may be called that we can run."""
        ...

    def error_text(self, reply: ReplyError) -> StreamqError:
        """Return an error reply as an error for people."""
        ...


class Limits:
    """What an exchange needs to know of its worker. ``lease`` in seconds."""

    __slots__ = ("dead_age_ms", "dead_count", "lease", "max_stalls")

    def __init__(self, lease: float, max_stalls: int, dead_count: int, dead_age_ms: int) -> None:
        self.lease = lease
        self.max_stalls = max_stalls
        self.dead_count = dead_count
        self.dead_age_ms = dead_age_ms


class Exchange:
    """Joins one worker to one queue partition. ``table`` holds every job that is ours."""

    def __init__(self, url: str, verbs: WorkerVerbs, slots: Slots, limits: Limits, clock: ServerClock) -> None:
        self.url = url
        self.clock = clock
        self.table: dict[bytes, Attempt] = {}
        self.joined: Joined
        self.on_rest: Callable[[], None] = _nothing
        self.on_tick: Callable[[], None] = _nothing
        self.on_restored: Callable[[], None] = _nothing
        self.hungry = True
        self.stopping = False
        self.paused = False
        self._verbs = verbs
        self._slots = slots
        self._limits = limits
        self._link = Link(url, "streamq:worker")
        self._seq = 0
        self._done: deque[Item] = deque()
        self._batches: deque[list[Item]] = deque()
        self._sent: tuple[list[Item], Command, float] | None = None
        self._refusals: dict[bytes, int] = {}
        self._abandoned: set[bytes] = set()
        self._backlog: deque[Attempt] = deque()
        self._was_full = False
        self._next_tick = 0.0
        self._next_purge = time.monotonic() + 5.0
        self._due = float("inf")
        self._holds_turn = False
        self._no_sweep_before = 0.0
        self._ghosts_suspected = False
        self._ghosts: list[bytes] = []
        self._parked = 0
        self._names_from = 0
        self._waker: asyncio.Future[None] | None = None
        self._client_id = 0
        self._lost_since = 0.0
        self._trouble = False
        slots.on_free.append(self._slot_freed)

    # -- what others tell us --------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Go round the loop now."""
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    def ring(self) -> None:
        """There may be jobs to fetch."""
        self.hungry = True
        self.wake()

    @property
    def is_resting(self) -> bool:
        """Whether the queue gave less than was asked for and there is room: time to wait at the bell."""
        return not self.hungry and not self.stopping and self._slots.free > 0

    def hear(self, word: bytes, argument: bytes) -> None:
        """Hear the control channel."""
        if word == b"cancel":
            self._cancel(argument)
        elif word == b"due":
            self._set_due(int(argument))
            self.wake()

    def ended(self, attempt: Attempt, item: Item | None) -> None:
        """Take the settlement of an attempt that ended; None: the lease was lost, nothing may be told."""
        self._slots.give()
        attempt.task = None
        if item is None:
            if self.table.get(attempt.id) is attempt:
                del self.table[attempt.id]
        else:
            attempt.settling = True
            self._done.append(item)
        if self._backlog and not self.stopping:
            self._start_backlog()
        self.wake()

    def lost(self, ids: Sequence[bytes]) -> None:
        """The keeper learnt that these are ours no more."""
        for job in ids:
            attempt = self.table.get(job)
            if attempt is not None:
                self._lose(attempt)

    def leased(self) -> Sequence[Attempt]:
        """Return all rows; one atomic copy, safe from the keeper's thread."""
        return list(self.table.values())

    def renew_command(self, jobs: Sequence[tuple[bytes, bytes]]) -> Command:
        """Return the renewal of (id, token)s."""
        return self._verbs.renew(jobs)

    # -- stopping -------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Fetch no more and hand back at once what has not started."""
        self.stopping = True
        self.hungry = False
        while self._backlog:
            attempt = self._backlog.popleft()
            attempt.settling = True
            self._done.append(Item(b"u", attempt.id, attempt.token))
        self.wake()

    def cancel_running(self) -> None:
        """Cancel what still runs; it is handed back without charging an attempt."""
        for attempt in list(self.table.values()):
            attempt.cancel("shutdown")

    @property
    def is_empty(self) -> bool:
        """Whether everything was settled and answered."""
        return not self.table and not self._done and not self._batches and self._sent is None

    @property
    def running(self) -> list[Attempt]:
        """Attempts whose handler runs now."""
        return [one for one in self.table.values() if one.started and not one.settling]

    async def leave(self) -> None:
        """Take our traces away; called last, with nothing held."""
        try:
            await self._link.connect()
            await self._link.call(*self._verbs.leave(), timeout=2.0)
        except LinkDown:
            pass
        finally:
            await self._link.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()

    # -- the loop -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Go on until stopped and empty. Raises `StreamqError` for what waiting does not mend."""
        while not (self.stopping and self.is_empty):
            if not self._link.is_up and not await self._connected():
                continue
            commands, readers = self._plan()
            if not commands:
                await self._rest()
                continue
            try:
                replies = await self._link.call_many(commands)
            except LinkDown as problem:
                self._note_lost(problem)
                self._trouble = True
                replies = []
            for read, reply in zip(readers, replies, strict=False):
                read(reply)
            if self._trouble:
                self._trouble = False
                await asyncio.sleep(random.uniform(0.02, 0.2))  # noqa: S311 - jitter

    async def connect(self) -> None:
        """Connect once, for the first time; raises `ServerUnfit` or `LinkDown`."""
        try:
            await self._link.connect()
            await check_server(self._link, strict=True)
            self._client_id = await self._own_id()
        except Refused as problem:
            raise ServerUnfit(redacted(self.url), problem.reason, "check STREAMQ_URL and its credentials") from None

    async def _own_id(self) -> int:
        reply = await self._link.call(b"CLIENT", b"ID")
        return reply if isinstance(reply, int) else 0

    async def _connected(self) -> bool:
        try:
            await self._link.connect()
            old, self._client_id = self._client_id, await self._own_id()
            if old and old != self._client_id:
                # What the dead connection still holds shall not be executed behind our back.
                await self._link.call(b"CLIENT", b"KILL", b"ID", old)
        except Refused as problem:
            raise ServerUnfit(redacted(self.url), problem.reason, "check STREAMQ_URL and its credentials") from None
        except LinkDown as problem:
            self._note_lost(problem)
            away = time.monotonic() - self._lost_since
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(2.0, 0.1 + away / 4))  # noqa: S311 - jitter
            return False
        if self._lost_since:
            away = time.monotonic() - self._lost_since
            log.warning("redis restored after %.1f s", away, extra={"event": "redis.restored", "duration": away})
            self._lost_since = 0.0
            # Everybody renews before anybody reclaims: leases did not age by fault of their holders.
            self._no_sweep_before = time.monotonic() + self._limits.lease / 2
            self.on_restored()
        self._next_tick = 0.0
        self._ghosts_suspected = True
        self.hungry = not self.stopping
        return True

    def _note_lost(self, problem: LinkDown) -> None:
        if not self._lost_since:
            self._lost_since = time.monotonic()
            log.warning(
                "redis lost: %s at %s; jobs in hand go on, trying again",
                problem.reason,
                redacted(self.url),
                extra={"event": "redis.lost", "reason": problem.reason},
            )
        self._lose_overdue()

    async def _rest(self) -> None:
        """Wait until somebody wakes us, the tick is due or a delayed job is."""
        self.on_rest()
        loop = asyncio.get_running_loop()
        self._waker = loop.create_future()
        until = min(self._next_tick, self._due) - time.monotonic()
        timer = loop.call_later(max(0.0, until), self.wake)
        try:
            await self._waker
        finally:
            timer.cancel()
            self._waker = None

    def _plan(self) -> tuple[list[Command], list[Callable[[Reply], None]]]:
        now = time.monotonic()
        commands: list[Command] = []
        readers: list[Callable[[Reply], None]] = []

        def add(command: Command, reader: Callable[[Reply], None]) -> None:
            commands.append(command)
            readers.append(reader)

        settle = self._next_settle(now)
        if settle is not None:
            add(settle, self._settled)
        if now >= self._due and not self.stopping:
            add(self._verbs.promote(), self._promoted)
        if now >= self._next_tick:
            add(self._verbs.tick(self._tick_input(now)), self._ticked)
        if self._ghosts_suspected and not settle:
            self._ghosts_suspected = False
            add(self._verbs.own_pending(), self._pending_listed)
        if self._ghosts:
            ghosts, self._ghosts = self._ghosts, []
            add(self._verbs.adopt(ghosts), lambda reply: self._adopted(reply, now))
        if now >= self._next_purge and not self.stopping:
            self._plan_purge(now, add)
        self._plan_fetch(add)
        return commands, readers

    def _plan_purge(self, now: float, add: Callable[[Command, Callable[[Reply], None]], None]) -> None:
        self._next_purge = now + random.uniform(45, 75)  # noqa: S311 - jitter
        limits = self._limits
        if limits.dead_age_ms or limits.dead_count >= 0:
            before = self.clock.now_ms() - limits.dead_age_ms if limits.dead_age_ms else 0
            add(self._verbs.purge_dead(before, limits.dead_count), self._complain)

    def _plan_fetch(self, add: Callable[[Command, Callable[[Reply], None]], None]) -> None:
        want = self._want()
        if want <= 0:
            return
        if self._parked:
            names = self.joined.names()
            part = names[self._names_from : self._names_from + MAX_ITEMS]
            self._names_from = self._names_from + MAX_ITEMS if self._names_from + MAX_ITEMS < len(names) else 0
            self._parked = 0
            if part:
                sent = time.monotonic()
                add(self._verbs.unpark(want, part), lambda reply: self._unparked(reply, sent))
        if self.hungry:
            asked = time.monotonic()
            add(self._verbs.fetch(want), lambda reply: self._fetched(reply, want, asked))

    def _want(self) -> int:
        """How many jobs to ask for. Saturated workers may hold a tenth more than they run, so that no place waits."""
        if self.stopping or not (self.hungry or self._parked):
            return 0
        free = self._slots.free - len(self._backlog)
        if free <= 0:
            if not self._was_full:
                return 0
            return max(0, self._slots.concurrency // 10 - len(self._backlog))
        if not self._was_full:
            free = max(min(free, 8), free // 2)
        return min(free, MAX_ITEMS)

    # -- settle ---------------------------------------------------------------------------------------------------------

    def _next_settle(self, now: float) -> Command | None:
        if self._sent is not None:
            items, command, since = self._sent
            if now - since < GIVE_UP:
                return command
            log.error("settle given up after %d s; leases decide", int(GIVE_UP), extra={"event": "settle_given_up"})
            self._drop(items)
            self._sent = None
        items = self._batches.popleft() if self._batches else self._batch()
        if not items:
            return None
        self._seq += 1
        command = self._verbs.settle(self._seq, items)
        self._sent = (items, command, now)
        return command

    def _batch(self) -> list[Item]:
        done, items, size = self._done, [], 0
        while done and len(items) < MAX_ITEMS:
            size += done[0].size
            if items and size > MAX_BYTES:
                break
            items.append(done.popleft())
        return items

    def _settled(self, reply: Reply) -> None:
        assert self._sent is not None  # noqa: S101 - one settle at a time, planned by us
        items = self._sent[0]
        if isinstance(reply, ReplyError):
            self._settle_refused(items, reply)
            return
        self._sent = None
        self._drop(items)
        if reply.count(b"a") != len(items):
            lost = [item.id.decode("utf-8", "replace") for item, one in zip(items, reply.decode(), strict=True) if one != "a"]
            log.warning("settlements refused: lease lost", extra={"event": "settle_lost", "jobs": lost[:20], "count": len(lost)})

    def _settle_refused(self, items: list[Item], reply: ReplyError) -> None:
        """Nothing of the failing job was acked. Halve the batch; a job refused three times is left to its lease."""
        if reply.passes:
            self._trouble = True
            return
        self._sent = None
        log.error("settle refused: %s", reply, extra={"event": "settle_refused", "count": len(items)})
        if reply.code == "SQVERSION":
            raise self.joined.error_text(reply)
        if len(items) > 1:
            middle = len(items) // 2
            self._batches.extend((items[:middle], items[middle:]))
            return
        job = items[0].id
        self._refusals[job] = self._refusals.get(job, 0) + 1
        if self._refusals[job] < 3:
            self._batches.append(items)
        else:
            # Left to its lease: not a ghost to be taken over at once, or this would go round without end.
            del self._refusals[job]
            self._abandoned.add(_verbs.place_of(items[0].token))
            self._drop(items)

    def _drop(self, items: list[Item]) -> None:
        """Forget settled attempts; a row that was taken anew meanwhile has another token and stays."""
        table = self.table
        for item in items:
            row = table.get(item.id)
            if row is not None and row.token == item.token:
                del table[item.id]

    # -- jobs coming in -------------------------------------------------------------------------------------------------

    def _fetched(self, reply: Reply, want: int, asked: float) -> None:
        if self._failed(reply):
            return
        fetched = _verbs.read_fetched(reply)
        self.clock.heard(fetched.now_ms)
        self._was_full = fetched.why == "full"
        self.paused = fetched.why == "paused"
        self.hungry = self._was_full and not self.stopping
        if fetched.why not in ("full", "empty", "paused"):
            log.error("a lane cannot be read: %s", fetched.why, extra={"event": "fetch_failed"})
        for job in fetched.jobs:
            self._take(job, asked)

    def _unparked(self, reply: Reply, sent: float) -> None:
        if not self._failed(reply):
            for job in _verbs.read_unparked(reply):
                self._take(job, sent)

    def _take(self, job: Taken, touched: float) -> None:
        attempt = Attempt(job.id, job.token, job.count, touched)
        self.table[job.id] = attempt
        if self._abandoned:
            self._abandoned.discard(_verbs.place_of(job.token))
        if job.body is None:
            self._settle_now(attempt, self.joined.undecodable(attempt, "not a job: fields j and d are missing"))
            return
        try:
            attempt.envelope = _wire.decode(job.body)
        except _wire.MALFORMED as problem:
            self._settle_now(attempt, self.joined.undecodable(attempt, f"undecodable envelope: {problem}"[:300]))
            return
        item = self.joined.accept(attempt)
        if item is not None:
            self._settle_now(attempt, item)
        elif self.stopping:
            self._settle_now(attempt, Item(b"u", attempt.id, attempt.token))
        elif self._slots.free > 0 and not self._backlog:
            self._slots.take()
            self.joined.start(attempt)
        else:
            self._backlog.append(attempt)

    def _settle_now(self, attempt: Attempt, item: Item) -> None:
        attempt.settling = True
        self._done.append(item)

    def _start_backlog(self) -> None:
        while self._backlog and self._slots.free > 0:
            attempt = self._backlog.popleft()
            if self.table.get(attempt.id) is attempt and not attempt.settling:
                self._slots.take()
                self.joined.start(attempt)

    def _slot_freed(self) -> None:
        if self.hungry or self._backlog:
            self.wake()
        else:
            self.on_rest()

    # -- tick, promote, ghosts ------------------------------------------------------------------------------------------

    def _tick_input(self, now: float) -> TickInput:
        self._lose_overdue()
        suspects = sum(1 for one in self.table.values() if one.is_suspect)
        sweep = now >= self._no_sweep_before and not self.stopping
        return TickInput(
            self.joined.heartbeat(),
            int(self._limits.lease * 1000),
            max(0, self._slots.free - len(self._backlog)),
            self._limits.max_stalls,
            max(0, 1 - suspects),
            sweep,
        )

    def _ticked(self, reply: Reply) -> None:
        self._next_tick = time.monotonic() + TICK * random.uniform(0.9, 1.0)  # noqa: S311 - jitter
        self.on_tick()
        if self._failed(reply):
            return
        sent = time.monotonic()
        ticked = _verbs.read_ticked(reply)
        moved = self.clock.heard(ticked.now_ms)
        if abs(moved) > CLOCK_JUMP_MS:
            self._no_sweep_before = sent + self._limits.lease
            log.warning("server clock moved by %.1f s", moved / 1000, extra={"event": "clock_moved", "moved_ms": moved})
        self._holds_turn = ticked.turn == self._verbs.consumer
        self._set_due(ticked.next_due_ms, exact=True)
        self._parked = ticked.parked
        if not ticked.paused and self.paused:
            self.hungry = not self.stopping
        self.paused = ticked.paused
        if ticked.pending != len(self.table) + len(self._abandoned):
            self._ghosts_suspected = True
        for mark in ticked.marks:
            self._cancel(mark)
        for job in ticked.stalled:
            # Stalled with ourselves: the old attempt lost its lease.
            old = self.table.pop(job.id, None)
            if old is not None:
                self._lose(old)
            self._take(job, sent)
            taken = self.table.get(job.id)
            if taken is not None and not taken.settling:
                self.joined.reclaimed(taken)

    def _promoted(self, reply: Reply) -> None:
        if self._failed(reply):
            self._due = time.monotonic() + 1.0
            return
        promoted = _verbs.read_promoted(reply)
        self.clock.heard(promoted.now_ms)
        self._holds_turn = promoted.turn == self._verbs.consumer
        self._set_due(promoted.next_due_ms, exact=True)
        if promoted.promoted:
            self.hungry = not self.stopping

    def _set_due(self, due_ms: int, *, exact: bool = False) -> None:
        """Wake for the next delayed job: its turn holder at once, the others a little later, lest all come at once."""
        if due_ms < 0:
            if exact:
                self._due = float("inf")
            return
        due = self.clock.monotonic(due_ms)
        if not self._holds_turn:
            due += random.uniform(0.02, 0.05)  # noqa: S311 - jitter
        self._due = due if exact else min(self._due, due)

    def _pending_listed(self, reply: Reply) -> None:
        if self._failed(reply):
            return
        known = {_verbs.place_of(one.token) for one in self.table.values()}
        pending = _verbs.read_own_pending(reply)
        self._abandoned &= pending
        self._ghosts = sorted(pending - known - self._abandoned)[:MAX_ITEMS]
        if self._ghosts:
            log.info("adopting jobs of a lost reply", extra={"event": "ghosts", "count": len(self._ghosts)})

    def _adopted(self, reply: Reply, sent: float) -> None:
        if not self._failed(reply):
            for job in _verbs.read_adopted(reply):
                self._take(job, sent)

    def _cancel(self, job: bytes) -> None:
        attempt = self.table.get(job)
        if attempt is None:
            return
        if attempt in self._backlog:
            self._backlog.remove(attempt)
            self._settle_now(attempt, self.joined.cancelled(attempt))
            self.wake()
        attempt.cancel("cancel")

    def _lose(self, attempt: Attempt) -> None:
        if attempt in self._backlog:
            self._backlog.remove(attempt)
        if attempt.settling:
            return
        if self.table.get(attempt.id) is attempt:
            del self.table[attempt.id]
        log.warning("lease lost", extra={"event": "lease_lost", "job_id": attempt.job_id})
        attempt.cancel("lost")

    def _lose_overdue(self) -> None:
        """Past its lease by our own clock a job may run elsewhere: cancel it here and do not send its result."""
        horizon = time.monotonic() - (self._limits.lease - 1.0)
        for attempt in list(self.table.values()):
            if attempt.touched < horizon and not attempt.settling:
                self._lose(attempt)

    def _complain(self, reply: Reply) -> None:
        self._failed(reply)

    def _failed(self, reply: Reply) -> bool:
        if not isinstance(reply, ReplyError):
            return False
        if reply.code == "SQVERSION":
            raise self.joined.error_text(reply)
        if not reply.passes:
            log.error("redis refused a call: %s", reply, extra={"event": "redis_refused", "code": reply.code})
        self._trouble = True
        self._next_tick = max(self._next_tick, time.monotonic() + 0.5)
        return True


def _nothing() -> None:
    return
