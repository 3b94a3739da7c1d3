"""run_until_idle: an ordinary worker, until there is nothing left that it could run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NoReturn

from .._core import units
from .._core.units import Seconds
from ..errors import ConfigError
from ..queue import Queue
from ..scheduler import Scheduler
from .moments import clock_of
from .report import Failures, Log, Report, told
from .trial import Ending, Moves, Trial


async def run_until_idle(
    *queues: Queue,
    scheduler: Scheduler | Sequence[Scheduler] | None = None,
    advance: Seconds | None = None,
    include_delayed: bool = False,
    timeout: Seconds = 10.0,  # noqa: ASYNC109 - says what still runs; a scope could not
    raises: bool = True,
    expected: Failures = (),
    concurrency: int = 100,
    lease: Seconds = 15.0,
) -> Report:
    """Run a worker for these queues until nothing is left that it could run now, and report what it did.

    scheduler: whose ticks it fires. advance: time to move on while it runs, stopping at each instant at which something
    falls due. include_delayed: move time on until nothing is delayed any more, retries included. Both need queues in
    memory. timeout: real seconds (10). raises: raise the first error of a handler that is neither a `Retry` or the like
    nor one of the ``expected`` kinds, so that the test fails where the bug is; False leaves errors to the queue.
    concurrency, lease: as of a `Worker`.

    Jobs that are delayed, paused or held by a limit stay; ``report.left`` counts them. Raises `TimeoutError`,
    `ConfigError`, and what the start of a worker raises.
    """
    if not queues:
        raise ConfigError("queues", (), "give at least one Queue")
    run = _Run(queues, scheduler, concurrency, lease, Log(expected))
    seconds = units.seconds("timeout", timeout, least=0.001)
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            await run.go(await _moves(queues, advance, until_none=include_delayed), raises=raises)
    except TimeoutError:
        if scope.expired():
            raise TimeoutError(f"not idle within {seconds:g} s: {run.what}") from None
        raise
    finally:
        await run.close()
    if raises and run.log.bug is not None:
        _raise(run.log.bug[0], told(run.log.bug[1]))
    left = {queue.name: await queue.counts() for queue in queues}
    return Report(tuple(run.log.rows), tuple(run.log.unrun), run.crashes, run.stalls, left)


def _raise(error: BaseException, where: str) -> NoReturn:
    error.add_note(f"in {where}")
    error.add_note("run_until_idle(..., raises=False) leaves it to the queue, expected=... says which are meant to be")
    raise error


async def _moves(queues: Sequence[Queue], advance: Seconds | None, *, until_none: bool) -> Moves | None:
    if advance is None and not until_none:
        return None
    option = "include_delayed" if advance is None else "advance"
    clocks = [await clock_of(queue) for queue in queues]
    clock = clocks[0]
    if clock is None or any(one is not clock for one in clocks):
        raise ConfigError(
            option, advance or until_none, "moves the time of queues in memory; make them by one memory_queue"
        )
    if advance is None:
        return Moves(clock, None)
    if until_none:
        raise ConfigError("include_delayed", until_none, "and advance= are two answers to one question; give one")
    return Moves(clock, clock.now_us() + round(units.seconds("advance", advance) * 1_000_000))


class _Run:
    """One call of `run_until_idle`: one worker, and another for each that a fault ended."""

    def __init__(
        self,
        queues: Sequence[Queue],
        scheduler: Scheduler | Sequence[Scheduler] | None,
        concurrency: int,
        lease: Seconds,
        log: Log,
    ) -> None:
        self.log = log
        self.crashes: int = 0
        self.stalls: int = 0
        self._queues = queues
        self._scheduler = scheduler
        self._concurrency = concurrency
        self._lease = lease
        self._open: list[Trial] = []

    @property
    def what(self) -> str:
        """What keeps it busy."""
        running = [one for trial in self._open for one in trial.running]
        return ", ".join(running) + " still running" if running else "jobs are due that nobody took"

    async def go(self, moves: Moves | None, *, raises: bool) -> None:
        """Work until idle, or until something unexpected was raised."""
        while True:
            trial = Trial(
                self._queues, self.log, self._scheduler, self._concurrency, self._lease,
                inherits=self.crashes + self.stalls > 0,
            )  # fmt: skip
            self._open.append(trial)
            await trial.begin()
            ending = await trial.drive(moves, raises=raises)
            if ending == "idle":
                ending = await self._let_stalled_go_on(raises=raises)
            if ending in {"idle", "bug"}:
                return
            if ending == "stalled":
                self.stalls += 1
            for dead in [one for one in self._open if one.life.crashed]:
                self.crashes += 1
                self._open.remove(dead)
                await dead.end()
            await self._let_leases_run_out(trial.lease)

    async def _let_stalled_go_on(self, *, raises: bool) -> Ending:
        for trial in [one for one in self._open if one.life.stalled]:
            trial.life.thaw()
            ending = await trial.drive(None, raises=raises)
            if ending != "idle":
                return ending
        return "idle"

    async def _let_leases_run_out(self, lease: float) -> None:
        for queue in self._queues:
            clock = await clock_of(queue)
            if clock is not None:
                clock.leap(int((lease + 1) * 1_000_000))
                return

    async def close(self) -> None:
        """End all workers."""
        while self._open:
            await self._open.pop().end()
