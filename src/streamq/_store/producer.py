"""The idempotent producer: concurrent enqueues join batches, one in flight at a time, each taken exactly once.

A batch is tagged (producer id, sequence) and its reply is kept by the server beside the jobs, so that a batch whose
reply was lost is sent again, the same bytes, and gets the stored reply. Specification: docs/decisions, producer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final, Protocol

from .._core import tally
from ..errors import EnqueueTimeout, EnqueueUnknown, ServerUnfit, StreamqError
from .backlog import Backlog, Supply
from .clock import ServerClock
from .dial import open_link
from .entry import Entry, Receipt, nobody
from .faults import server_error
from .keys import Keys
from .link import CALL_TIMEOUT, Command, Link, LinkDown, Refused, ReplyError, redacted
from .receipts import refused
from .scripts import PROTOCOL, lines_script, script
from .verbs import MEMO_MS

log = logging.getLogger("streamq.producer")

RESEND_SECONDS: Final = 60.0
"""How long an unanswered batch is sent again: a tenth of the memo's life, so that a replay always meets its memo."""

PATIENCE: Final = 3.0
"""Seconds the first sending waits for its answer, then twice: a silent connection leaves callers time for a second."""

LONGEST_PAUSE: Final = 0.25
"""Seconds between two tries to reach a server that is away: a job enqueued after its return must not wait longer."""

Check = Callable[[Link], Awaitable[None]]
"""Looks at the server once, on the first connection."""


class Site(Protocol):
    """Where the jobs go: a queue partition on a server. ``max_pending`` 0: no bound."""

    url: str
    keys: Keys
    queue: str
    max_pending: int

    async def away(self) -> None:
        """Hear that the server cannot be reached."""
        ...


class Producer:
    """One per process, event loop and partition. Never shared over a fork."""

    def __init__(self, site: Site, clock: ServerClock, *, check: Check) -> None:
        self._site = site
        self._url = site.url
        self._keys = site.keys
        self._check = check
        self._clock = clock
        self._link = open_link(site.url, "streamq:producer")
        self._backlog = Backlog()
        self._room: asyncio.Event | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._in_flight: list[Entry] = []
        self._timer: asyncio.TimerHandle | None = None
        self._reason = "no connection yet"
        self._renew_identity()
        keys = site.keys
        self._head = (keys.meta, keys.index, *keys.lanes, keys.delayed, keys.bodies, keys.dead_index, keys.bell)

    def _renew_identity(self) -> None:
        self._memo = self._keys.producer_memo(os.urandom(16).hex().encode())
        self._seq = 0

    async def room(self) -> None:
        """Wait until the buffer has room."""
        while not self._backlog.has_room:
            if self._room is None or self._room.is_set():
                self._room = asyncio.Event()
            await self._room.wait()

    def put(self, entry: Entry) -> None:
        """Add an entry; its ``answer`` is called when the batch it joined was answered."""
        self._backlog.put(entry)
        self._begin(entry.deadline)

    def supply(self, supply: Supply) -> None:
        """Add the jobs of a bulk call. They are made while the server is busy with those before them."""
        self._backlog.supply(supply)
        self._begin(supply.deadline)

    def withhold(self, entries: Iterator[Entry], made: Iterable[Entry]) -> None:
        """Take a bulk call back whose caller gave up: what is not sent, and what is not made yet."""
        self._backlog.withhold(entries)
        for entry in made:
            entry.withdraw()

    def _begin(self, deadline: float) -> None:
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().create_task(self._flush(), name="streamq-producer")
        if self._timer is None:
            self._watch(deadline)

    async def one(self, entry: Entry) -> Receipt:
        """Enqueue one job and return its receipt; a cancelled caller withdraws it if it was not sent yet."""
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        entry.answer = lambda _, receipt: None if future.done() else future.set_result(receipt)
        if not self._backlog.has_room:
            await self._room_in_time(entry)
        self.put(entry)
        try:
            return await future
        except asyncio.CancelledError:
            entry.withdraw()
            raise

    async def _room_in_time(self, entry: Entry) -> None:
        loop = asyncio.get_running_loop()
        left = entry.deadline - loop.time()
        try:
            async with asyncio.timeout(max(0.0, left)):
                await self.room()
        except TimeoutError:
            raise EnqueueTimeout(entry.job_id, entry.timeout, "the send buffer is full: " + self._reason) from None

    async def aclose(self) -> None:
        """Send what is buffered, wait for the answers, close."""
        flusher = self._flusher
        if flusher is not None and not flusher.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(flusher)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._link.close()

    # -- the one flusher ----------------------------------------------------------------------------

    async def _flush(self) -> None:
        try:
            while True:
                await self._connected()
                taken = self._backlog.next()
                if self._room is not None and self._backlog.has_room:
                    self._room.set()
                if not taken:
                    break
                self._in_flight = [entry for entry in taken if not entry.withdrawn]
                if self._in_flight:
                    await self._send(self._in_flight)
                self._in_flight = []
        except BaseException as problem:
            # The loop is closing, or a defect: nobody may be left hanging on a future.
            reason = "the event loop is closing" if isinstance(problem, asyncio.CancelledError) else repr(problem)
            self._fail_all(reason)
            raise
        finally:
            self._flusher = None
            if self._timer is not None and self._backlog.is_empty:
                self._timer.cancel()
                self._timer = None
            if not (self._backlog.is_empty or self._in_flight or asyncio.get_running_loop().is_closed()):
                self._flusher = asyncio.get_running_loop().create_task(self._flush(), name="streamq-producer")

    async def _connected(self) -> None:
        """Connect before a batch is formed: what was never sent can still be withdrawn."""
        pause = 0.02
        while not self._link.is_up and self._backlog.is_wanted:
            try:
                await self._link.connect()
                await self._check(self._link)
            except Refused as problem:
                await self._link.close()
                self._fail_buffer(
                    ServerUnfit(redacted(self._url), problem.reason, "check STREAMQ_URL and its credentials")
                )
            except StreamqError as problem:  # an unfit server, or a url that is none
                await self._link.close()
                self._fail_buffer(problem)
            except LinkDown as problem:
                await self._link.close()
                self._reason = f"cannot reach Redis at {redacted(self._url)}: {problem.reason}"
                await self._site.away()
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                pause = min(pause * 2, LONGEST_PAUSE)

    def _command(self, batch: list[Entry]) -> Command:
        lined = any(entry.record or entry.dedup for entry in batch)
        now, all_keys = self._clock.now_ms(), self._keys
        keys: list[bytes] = [*self._head, self._memo, all_keys.counters, all_keys.minutes(now)]
        keys += all_keys.flow if lined else ()
        args: list[bytes | str | int] = [PROTOCOL, self._seq, MEMO_MS, self._site.max_pending, all_keys.control]
        args.append(tally.arrived(batch, tally.minute_of(now)))
        for entry in batch:
            if entry.custom:
                keys.append(self._keys.record(entry.job_id))
                args += (entry.job_id, f"{entry.lane}c", entry.when, entry.body)
            else:
                args += (entry.job_id, entry.lane, entry.when, entry.body)
            if lined:
                args += (entry.record, entry.dedup)
        return (lines_script("enqueue") if lined else script("enqueue")).call(keys, *args)

    async def _send(self, batch: list[Entry]) -> None:
        self._seq += 1
        for entry in batch:
            entry.sent = True
        command = self._command(batch)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + RESEND_SECONDS
        pause, patience = 0.02, PATIENCE
        self._reason = "it was sent, no answer came"
        while True:
            try:
                if not self._link.is_up:
                    await self._link.connect()
                reply = await self._link.call(*command, timeout=patience, meanwhile=self._backlog.look_ahead)
            except LinkDown as problem:
                patience = min(CALL_TIMEOUT, patience * 2)
                self._reason = problem.reason
                reply = ReplyError("LINK", problem.reason)
            if not isinstance(reply, ReplyError):
                self._answer(batch, reply)
                return
            if reply.code != "LINK" and not reply.passes:
                self._refuse(batch, reply)
                return
            if reply.code != "LINK":
                self._reason = f"it answered {reply.code} {reply.text}"
            if loop.time() >= give_up:
                for entry in batch:
                    reason = f"{self._reason}; gave up after {RESEND_SECONDS:g} s"
                    entry.answer(entry, EnqueueUnknown(entry.job_id, reason))
                self._renew_identity()  # an old sequence number is never used again
                return
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            pause = min(pause * 2, LONGEST_PAUSE)

    def _answer(self, batch: list[Entry], reply: bytes) -> None:
        now, _, refusals = reply.partition(b"|")
        self._clock.heard(int(now))
        receipts = refused(self._site.queue, batch, refusals) if refusals else {}
        for at, entry in enumerate(batch):
            entry.answer(entry, receipts.get(at))

    def _refuse(self, batch: list[Entry], reply: ReplyError) -> None:
        """A whole-batch error: nothing was written, every caller gets it, the next batch goes on."""
        error = server_error(self._url, self._site.queue, reply)
        for entry in batch:
            entry.answer(entry, error)

    # -- callers that run out of time ---------------------------------------------------------------

    def _watch(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        """One timer for all callers: whoever is out of time is answered, the next one is waited for."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        earliest = self._backlog.make_overdue(now)
        for entry in (*self._in_flight, *self._backlog.made()):
            if entry.withdrawn or entry.answer is nobody:
                continue
            if entry.deadline <= now:
                answer = entry.answer
                if entry.withdraw():
                    answer(entry, EnqueueTimeout(entry.job_id, entry.timeout, self._reason))
                else:
                    answer(entry, EnqueueUnknown(entry.job_id, self._reason))
            elif earliest is None or entry.deadline < earliest:
                earliest = entry.deadline
        if earliest is not None:
            self._watch(earliest)

    def _fail_buffer(self, error: StreamqError) -> None:
        """Nothing that was not sent yet can be: everybody gets the error."""
        for entry in self._backlog.clear():
            if not entry.withdrawn:
                entry.answer(entry, error)
        if self._room is not None:
            self._room.set()

    def _fail_all(self, reason: str) -> None:
        for entry in self._in_flight:
            entry.answer(entry, EnqueueUnknown(entry.job_id, reason))
        self._in_flight = []
        for entry in self._backlog.clear():
            if not entry.withdrawn:
                entry.answer(entry, EnqueueTimeout(entry.job_id, 0.0, reason))
