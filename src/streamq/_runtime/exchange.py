"""One conversation with the server for one queue, over one connection, one exchange at a time.

Settle, tick, promote, unpark and fetch share it. Because nothing else delivers jobs to this worker, every reply is in
the table before the next question is asked: an own pending entry that is not in the table *is* a ghost.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from .._core.beat import next_beat, phase
from .._store import replies
from .._store.clock import ServerClock
from .._store.link import Command, Reply, ReplyError, as_reply_error
from .._store.replies import Taken
from .._store.verbs import MAX_ITEMS, Item, TickInput, WorkerVerbs
from .asking import Asking
from .attempt import Attempt
from .complaints import Complaints
from .demand import Demand
from .due import Due
from .host import Host, Limits
from .lifeline import Lifeline
from .settler import Settler
from .slots import Slots
from .table import Table

log = logging.getLogger("streamq.worker")

TICK = 2.0
"""Seconds between two ticks: heartbeat, sweep, ghosts, marks. With the bell's below one client call a second."""

CLOCK_JUMP_MS = 2000
"""Move of the server's clock against ours that holds the sweep for one lease: a jump would make all leases look old."""

Add = Callable[[Command, Callable[[Reply], None]], None]


class Exchange:
    """Joins one worker to one queue partition."""

    def __init__(self, url: str, verbs: WorkerVerbs, slots: Slots, limits: Limits, clock: ServerClock) -> None:
        self.url = url
        self.clock = clock
        self.host: Host
        self.on_rest: Callable[[], None] = _nothing
        self.on_tick: Callable[[], None] = _nothing
        self.on_restored: Callable[[], None] = _nothing
        self.on_settled: Callable[[Sequence[Item], bytes], None] = _unheard
        self.on_away: Callable[[], Awaitable[None]] | None = None
        self.stopping: bool = False
        self.paused: bool = False
        self.asking: Asking = Asking(verbs)
        self.settler: Settler = Settler(verbs)
        self.table: Table = Table(slots, self.settler, self.wake, limits.lease)
        self._verbs = verbs
        self._slots = slots
        self._limits = limits
        self._line = Lifeline(url, limits.lease, self._line_lost)
        self.demand: Demand = Demand(slots, self.table)
        self._due = Due(clock, verbs.consumer)
        self._defect: Exception | None = None
        self._trouble = False
        self._complaints = Complaints()
        self._is_over = False
        self._calling = False
        self._waker: asyncio.Future[None] | None = None
        self._phase = phase(verbs.consumer)
        self._next_tick = 0.0
        self._next_purge = time.monotonic() + 5.0
        self._no_sweep_before = 0.0
        self._ghosts_suspected = False
        self._listed: set[bytes] | None = None
        self._suspect = b""
        self._sweep_soon = False
        self._room_for_stalled = 0
        self._parked = 0
        self._names_from = 0
        self._asked = 0
        self.hungry = True

    # -- what others tell us ------------------------------------------------------------------------

    @property
    def hungry(self) -> bool:
        """Whether there may be jobs to fetch."""
        return self._is_hungry

    @hungry.setter
    def hungry(self, wants: bool) -> None:
        self._is_hungry = wants
        self._slots.hunger(self, wants=wants)

    def wake(self) -> bool:
        """Go round the loop now; False in the middle of a call, after which we do so anyway."""
        if self._waker is None:
            return False
        if not self._waker.done():
            self._waker.set_result(None)
        return True

    def ring(self) -> None:
        """There may be jobs to fetch."""
        self.hungry = not self.stopping
        self.wake()

    def rests(self) -> bool:
        """Whether the queue gave less than was asked for and there is room: time to wait at the bell."""
        if self.hungry or self.stopping:
            return False
        if self._slots.free <= 0:
            self._slots.when_free(self.on_rest)
            return False
        return True

    def hear(self, word: bytes, argument: bytes) -> None:
        """Hear the control channel."""
        if word == b"cancel":
            self.table.cancel(argument)
        elif word == b"due" and argument.isdigit() and len(argument) < 20:  # anybody may publish anything there
            self._due.heard(int(argument))
            self.wake()
        elif word == b"rules":
            # Jobs are begun under the rules they were taken with, so that this may come late or never.
            self._verbs.knows_lines = True
            self.ring()

    def look_again(self) -> None:
        """Messages may have been missed: ask in the next exchange what they would have said."""
        self._next_tick = 0.0
        self.wake()

    def lost(self, ids: Sequence[bytes]) -> None:
        """The keeper learnt that these are ours no more."""
        self.table.lost(ids)

    def leased(self) -> Sequence[Attempt]:
        """Return what the keeper has to keep; called from its thread."""
        return self.table.all()

    def renew_command(self, jobs: Sequence[tuple[bytes, bytes]]) -> Command:
        """Return the renewal of (id, token)s."""
        return self._verbs.renew(jobs)

    # -- start and stop -----------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect once, for the first time; raises `ServerUnfit` or `LinkDown`."""
        await self._line.open()

    def stop(self) -> None:
        """Fetch no more and hand back at once what has not started."""
        self.stopping = True
        self.hungry = False
        self.table.stop()
        self.wake()

    @property
    def is_empty(self) -> bool:
        """Whether everything was settled and answered, and nothing is on the way; or nothing can be any more."""
        nothing_held = self.table.is_empty and self.settler.is_empty and not self.demand.arrived
        return self._is_over or (nothing_held and not self._calling)

    async def leave(self) -> None:
        """Take our traces away; called last, with nothing held."""
        await self._line.part(self._verbs.leave())

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()

    # -- the loop -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Go on until stopped and empty. Raises `StreamqError` for what waiting does not mend."""
        try:
            await self._talk()
        except Exception:
            self._is_over = True
            raise

    async def _talk(self) -> None:
        while not (self.stopping and self.is_empty):
            if not self._line.is_up and not await self._connected():
                self.demand.land()
                continue
            commands, readers = self._plan()
            if not commands:
                self.demand.land()
                await self._rest()
                continue
            # A stopping worker waits for this answer: jobs that come with it would else lie there for a whole lease.
            self._calling = True
            try:
                replies = await self._call(commands)
                for read, reply in zip(readers, replies, strict=False):
                    read(reply)
            finally:
                self._calling = False
            asked, self._asked = self._asked, 0
            self._slots.unreserve(asked)
            if not self.demand.looks_ahead(may=self._is_steady()):
                self.demand.land()
                # Attempts just begun run up to their first wait; what needs none is settled in the next call.
                await asyncio.sleep(0)
            if self._trouble:
                self._trouble = False
                await asyncio.sleep(random.uniform(0.02, 0.2))  # noqa: S311 - jitter

    async def _call(self, commands: Sequence[Command]) -> Sequence[Reply]:
        # What the last answer brought is begun when the next question is out: it runs while the server works.
        replies = await self._line.call(commands, meanwhile=self._land_meanwhile)
        if self._defect is not None:
            raise self._defect
        if replies is None:
            self._trouble = True
            return ()
        return replies

    def _is_steady(self) -> bool:
        """Whether this queue alone is at work, and nothing but its next jobs is on our mind."""
        busy = self.hungry and not self.stopping and not self._trouble
        # With limits, what ends gives way to what waits: it is to be told first.
        return busy and not self._verbs.knows_lines and self._slots.hungry <= 1

    def _land_meanwhile(self) -> None:
        try:
            self.demand.land()
        except Exception as defect:  # noqa: BLE001 - raised in the exchange: it is no fault of the connection
            self._defect = defect

    async def _connected(self) -> bool:
        away = await self._line.reopen()
        if away is None:
            if self.on_away is not None:
                await self.on_away()
            await self._line.pause()
            return False
        if away:
            # Everybody renews before anybody reclaims: leases did not age by fault of their holders.
            self._no_sweep_before = time.monotonic() + self._limits.lease / 2
            self.on_restored()
        self._next_tick = 0.0
        self._ghosts_suspected = True
        self.hungry = not self.stopping
        return True

    def _line_lost(self) -> None:
        self.table.lose_overdue()
        self.on_tick()  # the loop is alive, although no tick is answered

    async def _rest(self) -> None:
        """Wait until somebody wakes us, the tick is due or a delayed job is."""
        self.on_rest()
        loop = asyncio.get_running_loop()
        self._waker = loop.create_future()
        due = float("inf") if self.stopping else self._due.wake_at  # nothing is promoted any more
        until = min(self._next_tick, due, self.asking.alarm) - time.monotonic()
        timer = loop.call_later(max(0.0, until), self.wake)
        try:
            await self._waker
        finally:
            timer.cancel()
            self._waker = None

    # -- what to ask --------------------------------------------------------------------------------

    def _plan(self) -> tuple[list[Command], list[Callable[[Reply], None]]]:
        now = time.monotonic()
        commands: list[Command] = []
        readers: list[Callable[[Reply], None]] = []

        def add(command: Command, reader: Callable[[Reply], None]) -> None:
            commands.append(command)
            readers.append(reader)

        settle, given_up = self.settler.next(now)
        if given_up:
            self.table.abandon(given_up)
        if settle is not None:
            add(settle, self._settled)
            if self._verbs.knows_lines and not self.stopping:
                self.hungry = True  # it gives places in gates back: others may pass now
        if now >= self._due.wake_at and not self.stopping:
            add(self._verbs.promote(), self._promoted)
            self.hungry = True  # what becomes due is fetched in the same round trip
        if now >= self.asking.alarm:
            self.asking.alarm = float("inf")
            self.hungry = not self.stopping
            if self._want() <= 0:
                # No room for what may go on now: whoever else is idle shall ask.
                add(self._verbs.ring(), self._heard_nothing)
        if now >= self._next_tick:
            add(self._verbs.tick(self._tick_input(now)), lambda reply: self._ticked(reply, now))
        self._plan_rare(now, add, settling=settle is not None)
        want = self._want()
        if want > 0:
            self._asked = self._slots.reserve(self, want)
            self._plan_fetch(want, add)
        return commands, readers

    def _plan_rare(self, now: float, add: Add, *, settling: bool) -> None:
        if self._ghosts_suspected and not settling:
            # A settle whose replay is pending goes first: what it settles is no ghost.
            self._ghosts_suspected = False
            add(self._verbs.own_pending(), self._pending_listed)
        if self._listed is not None:
            self.demand.land()
            # Compared only now: what came with the same round trip is in the table, in whatever order the server ran it
            # (a script it had forgotten is run after the others).
            ghosts, self._listed = self.table.ghosts(self._listed)[:MAX_ITEMS], None
            if ghosts:
                count = len(ghosts)
                log.info("adopting %d jobs of a lost reply", count, extra={"event": "ghosts", "count": count})
                add(self._verbs.adopt(ghosts), lambda reply: self._brought(reply, replies.read_adopted, now))
        limits = self._limits
        if now >= self._next_purge and not self.stopping:
            self._next_purge = now + random.uniform(45, 75)  # noqa: S311 - jitter
            if limits.dead_age_ms or limits.dead_count >= 0:
                before = self.clock.now_ms() - limits.dead_age_ms if limits.dead_age_ms else 0
                add(self._verbs.purge_dead(before, limits.dead_count), self._heard_nothing)

    def _plan_fetch(self, want: int, add: Add) -> None:
        asked = time.monotonic()
        if self._parked:
            self._parked = 0
            names = self.host.names()
            part = names[self._names_from : self._names_from + MAX_ITEMS]
            self._names_from = (self._names_from + MAX_ITEMS) % max(1, len(names)) if len(names) > MAX_ITEMS else 0
            if part:
                suspects = self.table.suspects_allowed if asked < self._next_tick else 0  # a tick may bring it
                taking = self._verbs.unpark(want, part, suspects)
                add(taking, lambda reply: self._brought(reply, replies.read_unparked, asked))
        if self.hungry:
            took = self._verbs.knows_lines
            command = self.asking.command(want, self._slots.free - self.table.ready, self._slots.concurrency, asked)
            add(command, lambda reply: self._fetched(reply, asked, took=took))

    def _want(self) -> int:
        """How many jobs to ask for: for free places, and for those that will be free in a moment (`Pace`)."""
        if self.stopping or not (self.hungry or self._parked):
            return 0
        if self.settler.held_up >= self._slots.concurrency:
            self._slots.hunger(self, wants=False)
            return 0  # what is done cannot be told: no more of it
        self._slots.hunger(self, wants=self.hungry)
        return self.demand.want(keeps_places=self._verbs.knows_lines)

    def _tick_input(self, now: float) -> TickInput:
        self.table.lose_overdue()
        if self._slots.free <= 0 and not self._slots.pace.soon(now):
            self.table.hand_back()  # nothing ends here: somebody else may have room for what waits
        # Some even when all places are taken: under a load that never ends they would else never be run again.
        over = max(1, self._slots.concurrency // 10) - self.table.reclaimed_ready
        self._room_for_stalled = max(0, self.demand.room, over)
        return TickInput(
            self.host.heartbeat(),
            int(self._limits.lease * 1000),
            self._room_for_stalled,
            self._limits.max_stalls,
            self.table.suspects_allowed,
            sweep=now >= self._no_sweep_before and not self.stopping,
            rest_ms=0 if self._sweep_soon else 1000,
        )

    # -- what was answered --------------------------------------------------------------------------

    def _settled(self, reply: Reply) -> None:
        if not isinstance(reply, ReplyError):
            items = self.settler.answered(reply)
            self.on_settled(items, reply)
            self._slots.pace.ended(len(items), time.monotonic())
            self.table.forget(items)
            self._due.settled(items)
            if self._suspect and any(item.id == self._suspect for item in items):
                # The next suspect's turn: at one a tick the neighbours of a poison job would wait for minutes.
                self._suspect, self._sweep_soon, self._next_tick = b"", True, 0.0
        elif reply.passes:
            self._trouble = True
        elif reply.code == "SQVERSION":
            raise self.host.error_text(reply)
        else:
            self._complain(reply, "settle_refused")
            self.table.abandon(self.settler.refused(reply))

    def _fetched(self, reply: Reply, asked: float, *, took: bool) -> None:
        if self._failed(reply):
            return
        fetched = self.asking.read(reply, self.host, asked, took=took)
        if fetched.why == "flow":
            return  # still hungry: asked again in the other way
        self.clock.heard(fetched.now_ms)
        self.paused = fetched.why == "paused"
        self.hungry = fetched.why == "full" and not self.stopping
        if fetched.why not in {"full", "empty", "paused", "gate"}:
            self._complain(as_reply_error(Exception(fetched.why)), "fetch_failed")
        self.demand.arrive(fetched.jobs, asked, full=fetched.why == "full")

    def _brought(self, reply: Reply, read: Callable[[Reply], Sequence[Taken]], asked: float) -> None:
        if not self._failed(reply):
            for job in read(reply):
                self._suspect = job.id if self.table.take(job, asked).is_suspect else self._suspect

    def _ticked(self, reply: Reply, asked: float) -> None:
        now = time.monotonic()
        self._next_tick = next_beat(now, TICK, self._phase)
        self.on_tick()
        if self._failed(reply):
            return
        ticked = replies.read_ticked(reply)
        # An answer that was long on its way tells an old time.
        moved = self.clock.heard(ticked.now_ms) if now - asked < 1 else 0.0
        if abs(moved) > CLOCK_JUMP_MS:
            self._no_sweep_before = now + self._limits.lease
            log.warning("server clock moved by %.1f s", moved / 1000, extra={"event": "clock_moved", "moved_ms": moved})
        self._verbs.knows_lines = self._verbs.knows_lines or ticked.epoch != b"0"
        self._due.turn(ticked.turn)
        self._due.next(ticked.next_due_ms)
        self._parked = ticked.parked
        if (ticked.waiting or self.asking.lacks(ticked.epoch)) and not ticked.paused:
            self.hungry = not self.stopping  # whatever became of the bell
        self.paused = ticked.paused
        if ticked.pending != len(self.table):
            self._ghosts_suspected = True
        for mark in ticked.marks:
            self.table.cancel(mark)
        self._sweep_soon = len(ticked.stalled) >= self._room_for_stalled > 0
        if self._sweep_soon:
            self._next_tick = now + 0.2  # there may be more
        for job in ticked.stalled:
            self._suspect = job.id if self.table.take_stalled(job, asked).is_suspect else self._suspect

    def _promoted(self, reply: Reply) -> None:
        if self._failed(reply):
            self._due.at = time.monotonic() + 1.0
            return
        promoted = replies.read_promoted(reply)
        self._due.promoted(promoted)
        if promoted.left:
            self._verbs.knows_lines, self._due.at = True, time.monotonic()
        if promoted.promoted:
            self.hungry = not self.stopping

    def _pending_listed(self, reply: Reply) -> None:
        if self._failed(reply):
            return
        self._listed = replies.read_own_pending(reply)

    def _heard_nothing(self, reply: Reply) -> None:
        self._failed(reply)

    def _complain(self, reply: ReplyError, event: str) -> None:
        self._complaints.say(event, reply.code, self.host.error_text(reply))

    def _failed(self, reply: Reply) -> bool:
        if not isinstance(reply, ReplyError):
            return False
        if reply.code == "SQVERSION":
            raise self.host.error_text(reply)
        if not reply.passes:
            self._complain(reply, "redis_refused")
        self._trouble = True
        self._next_tick = max(self._next_tick, time.monotonic() + 0.5)
        return True


def _nothing() -> None:
    return


def _unheard(items: Sequence[Item], reply: bytes) -> None:
    del items, reply
