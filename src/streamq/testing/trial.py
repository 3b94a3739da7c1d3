"""The worker of `run_until_idle`: an ordinary one that is watched, and knows when nothing is left to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Literal, NamedTuple

from .._core.units import Seconds
from .._runtime.exchange import Exchange
from ..errors import StreamqError
from ..joint import Joint
from ..queue import Queue
from ..reading import Counts
from ..scheduler import Scheduler
from ..worker import Worker
from .clock import Clock
from .faults import Life, current_life
from .moments import clock_of, moments
from .report import Log, Watched

Ending = Literal["idle", "bug", "crashed", "stalled"]

HELD_LOOKS = 3
"""How often the worker asks in vain before jobs that wait for a limit, or a block, count as held."""

LONGEST_LOOK = 0.01
"""Seconds between two looks, at most."""

SWEEP_REST_US = 1_001_000
"""Time between two sweeps for leases that ran out; more than one may be needed, for jobs of lines and for suspects."""


class Moves(NamedTuple):
    """How time is to be moved: ``until_us`` None for until nothing is delayed."""

    clock: Clock
    until_us: int | None


class Trial(Worker):
    """A worker whose attempts are noted in a log. ``inherits``: a fault ended one before, whose jobs it takes over."""

    def __init__(
        self,
        queues: Sequence[Queue],
        log: Log,
        scheduler: Scheduler | Sequence[Scheduler] | None,
        concurrency: int,
        lease: Seconds,
        *,
        inherits: bool,
    ) -> None:
        super().__init__(queues, scheduler=scheduler, concurrency=concurrency, lease=lease, grace=0, name="test")
        self.life: Life = Life(log.settled)
        self._log = log
        self._whole = AsyncExitStack()
        self._inherits = inherits
        self._held = 0
        self._seen = 0

    @property
    def running(self) -> list[str]:
        """What runs now, in words."""
        rows = [one for joint in self._joints for one in joint.exchange.table.running]
        return [f"{one.envelope.name} ({one.job_id}) for {time.monotonic() - one.started:.1f} s" for one in rows]

    async def begin(self) -> None:
        """Start; what its connections do concerns this worker alone."""
        token = current_life.set(self.life)
        try:
            await self._whole.enter_async_context(self)
        finally:
            current_life.reset(token)
        for joint in self._joints:
            if await clock_of(joint.queue) is not None:
                # Whose turn it was, in a worker before, is gone: this one is the first to know.
                store = (await joint.queue.stores())[0]
                await store.call((b"HDEL", store.keys.meta, b"ticker", b"alarm"))
            for ticker in joint.tickers:
                await ticker.look()  # what is due by now is part of it

    async def end(self) -> None:
        """Stop and wait for it; one that was stalled is given up."""
        if self.life.stalled:
            self.life.crashed = True
            self.life.thaw()
        self.cancel()
        await self._whole.aclose()
        if self._runner is not None:
            await asyncio.wait([self._runner])  # its start was cut off

    async def drive(self, moves: Moves | None, *, raises: bool) -> Ending:
        """Wait until it is idle or something ends it, and move time on if asked to."""
        pause = 0.0
        while True:
            if raises and self._log.bug is not None:
                return "bug"
            if self.life.crashed:
                return "crashed"
            if self.life.stalled:
                return "stalled"
            if self._runner is not None and self._runner.done():
                self._runner.result()
                raise StreamqError("the worker ended by itself; this is a defect, please report it")
            if await self._is_idle():
                if moves is None or not await self._move_on(moves):
                    return "idle"
                pause = 0.0
            await asyncio.sleep(pause)
            pause = min(pause + 0.001, LONGEST_LOOK)

    # -- whether it is idle -------------------------------------------------------------------------

    async def _is_idle(self) -> bool:
        if self._seen != len(self._log.rows):
            self._seen, self._held = len(self._log.rows), 0
        if self._is_busy():
            return False
        counts = [await joint.queue.counts() for joint in self._joints]
        if self._is_busy():
            return False  # since we asked
        for joint, found in zip(self._joints, counts, strict=True):
            if found.active:
                joint.exchange.look_again()  # a worker before left it
                await self._let_sweeps_pass(joint)
            if found.due:
                joint.exchange.hear(b"due", b"%d" % joint.clock.now_ms())
        if any(one.active or one.due for one in counts):
            return False
        return await self._is_held(counts)

    def _is_busy(self) -> bool:
        exchanges = [joint.exchange for joint in self._joints]
        return self.active > 0 or any(one.hungry or not one.is_empty for one in exchanges)

    async def _let_sweeps_pass(self, joint: Joint) -> None:
        clock = await clock_of(joint.queue) if self._inherits else None
        if clock is not None:
            clock.leap(SWEEP_REST_US)

    async def _is_held(self, counts: Sequence[Counts]) -> bool:
        """Whether what waits, if anything does, would not be given out however often it asked."""
        waiting = [joint for joint, one in zip(self._joints, counts, strict=True) if one.waiting and not one.paused]
        if not waiting:
            return True
        self._held += 1
        for joint in waiting:
            joint.exchange.ring()
        return self._held > HELD_LOOKS and not any([await _opens_by_itself(joint) for joint in waiting])

    # -- time ---------------------------------------------------------------------------------------

    async def _move_on(self, moves: Moves) -> bool:
        """Move time to the next instant at which something is due; False if there is none that is wanted."""
        clock, until = moves
        found = await moments(self.queues, clock.now_us() // 1000)
        due_us = (min(found) if self.schedulers else found.jobs) * 1000
        if until is None and found.jobs == float("inf"):
            return False
        if until is not None and due_us > until:
            clock.leap(until - clock.now_us())
            return False
        clock.leap(int(due_us) - clock.now_us())
        self._held = 0
        for joint in self._joints:
            joint.exchange.hear(b"due", b"%d" % joint.clock.now_ms())
            joint.exchange.ring()
            for ticker in joint.tickers:
                await ticker.look()
        return True

    # -- what differs from any worker ---------------------------------------------------------------

    async def _join(self) -> None:
        await super()._join()
        for joint in self._joints:
            joint.settling = Watched(
                self._log, joint.queue.name, self.name, joint.clock.now_ms, lambda: self.life.crashed,
                max_result=joint.wiring.max_payload,
            )  # fmt: skip

    async def _flushed(self, exchanges: Sequence[Exchange]) -> None:
        if not self.life.crashed:
            await super()._flushed(exchanges)
            return
        # The dead tell nothing. Their handlers were cancelled, which is as near to death as one process can get.
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while self.active:  # noqa: ASYNC110 - it becomes true in the executor, which tells nobody
                    await asyncio.sleep(0)


async def _opens_by_itself(joint: Joint) -> bool:
    """Whether a limit opens as real time goes on."""
    clock = await clock_of(joint.queue)
    return joint.exchange.asking.alarm < float("inf") and not (clock is not None and clock.is_frozen)
