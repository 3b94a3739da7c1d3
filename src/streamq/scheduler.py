"""Scheduler: jobs at fixed times. Schedules live in Redis; any number of schedulers fire each tick exactly once."""

from __future__ import annotations

import asyncio
import builtins
import difflib
import functools
import logging
from datetime import datetime
from typing import Any, Self, Unpack, cast

from . import timetable
from ._core.options import HandlerOptions
from ._core.schedule import CronSchedule, Definition, Schedule, encode
from ._core.units import Seconds, from_ms
from ._runtime.control import Control
from ._runtime.ticker import Ticker
from ._store import schedules
from ._store.schedules import Row, What
from ._store.session import Store
from .errors import ConfigError, InvalidPayload, ScheduleUnknown, StreamqError
from .handler import Handler
from .job import Job, JobSpec
from .queue import Queue
from .timetable import DecorateTick, ScheduleInfo, ScheduleOptions, TickOptions

log: logging.Logger = logging.getLogger("streamq.scheduler")


class Scheduler:
    """Turns schedules into jobs of ``queue``; ``tz`` is the time zone of cron expressions that name none.

    A decorated schedule is declared when a scheduler starts (`run`, ``async with``, ``Worker(scheduler=)``); the last
    start wins, and a process that merely goes on does not bring an old definition back. `upsert` and the other verbs
    act at once, from any process, whether or not a scheduler runs.
    """

    def __init__(self, queue: Queue, *, tz: str = "UTC") -> None:
        self.queue = queue
        self.tz: str = CronSchedule("0 0 * * *", tz).tz
        self._declared: dict[str, Definition] = {}
        self._stopping = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        """Queue and number of schedules declared here."""
        return f"<Scheduler {self.queue.prefix}:{self.queue.name}, {len(self._declared)} declared>"

    @property
    def declared(self) -> tuple[str, ...]:
        """Ids of the schedules that were decorated on this object; `list` tells what the server knows."""
        return tuple(self._declared)

    # -- declare ------------------------------------------------------------------------------------

    def cron(
        self,
        expression: str,
        /,
        *,
        id: str,  # noqa: A002 - the fixed name
        tz: str | None = None,
        **options: Unpack[TickOptions],
    ) -> DecorateTick:
        """Run the decorated function when local time in ``tz`` matches a cron expression. See `TickOptions`.

        Five fields (minute, hour, day of month, month, day of week) or @hourly, @daily, @weekly, @monthly, @yearly. A
        fixed local time that is skipped when clocks go forward runs once, at the first valid moment; one that comes
        twice runs once, the first time. Raises `ConfigError` for what is no expression, no zone, or never comes.
        """
        return self._decorator(id, timetable.schedule_of(expression, None, None, tz, self.tz), options)

    def every(
        self,
        interval: Seconds,
        /,
        *,
        id: str,  # noqa: A002 - the fixed name
        **options: Unpack[TickOptions],
    ) -> DecorateTick:
        """Run the decorated function at each multiple of ``interval`` since 1970-01-01 00:00 UTC. See `TickOptions`.

        Seconds or timedelta, at least 0.1 s, in whole milliseconds. Aligned to the clock: it neither drifts, nor does a
        restart shift it; ``every(900)`` is due at :00, :15, :30 and :45.
        """
        return self._decorator(id, timetable.schedule_of(None, interval, None, None, self.tz), options)

    def _decorator(self, given: str, schedule: Schedule, options: TickOptions) -> DecorateTick:
        schedule_id = timetable.checked_id(given)
        bounds: dict[str, Any] = {
            name: value for name, value in options.items() if name in ScheduleOptions.__annotations__
        }
        rest = cast("HandlerOptions", {name: value for name, value in options.items() if name not in bounds})

        def register(fn: Any) -> Handler[[], Any]:
            if schedule_id in self._declared:
                raise ConfigError("id", schedule_id, "is declared already on this scheduler; an id names one schedule")
            if isinstance(fn, Handler):
                if rest:
                    raise ConfigError("options", sorted(rest), "belong to @queue.handler: the handler exists already")
                handler = cast("Handler[[], Any]", fn)
            else:
                handler = cast("Handler[[], Any]", self.queue.handler(schedule_id, **rest)(fn))
            try:
                job = handler.job()
            except InvalidPayload as problem:
                remedy = f"a schedule calls it without arguments ({problem.problem}); use scheduler.upsert with a job"
                raise ConfigError("handler", handler.name, remedy) from None
            self._declared[schedule_id] = timetable.definition_of(schedule, job, cast("ScheduleOptions", bounds))
            return handler

        return DecorateTick(register)

    async def declare(self, *, restore: bool = False) -> None:
        """Make the decorated schedules known to the server, as a starting scheduler does; the last to do so wins.

        A removed schedule stays removed, unless its definition is one it never had; ``restore`` brings it back.
        """
        await self._put_all("upsert" if restore else "declare")

    async def _put_all(self, what: What) -> None:
        store = await self._store()
        if self._declared:
            await store.session().announce()
        for schedule_id, definition in self._declared.items():
            answer, _ = await schedules.put(store, what, schedule_id, definition.version, encode(definition))
            extra = {"event": f"schedule.{answer}", "queue": self.queue.name, "schedule": schedule_id}
            if answer == "removed":
                log.warning(
                    "schedule %s was removed and stays so; declare(restore=True) brings it back",
                    schedule_id,
                    extra=extra,
                )
            elif answer != "same":
                log.info("schedule %s: %s, %s", schedule_id, answer, definition.plan.schedule.describe(), extra=extra)

    # -- manage -------------------------------------------------------------------------------------

    async def upsert(
        self,
        id: str,  # noqa: A002 - the fixed name
        job: JobSpec[Any],
        *,
        cron: str | None = None,
        every: Seconds | None = None,
        at: datetime | None = None,
        tz: str | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> bool:
        """Create or change a schedule of ``job``, such as ``send.job("c_1")``; True if that is news.

        Give one of ``cron`` (with ``tz``), ``every`` and ``at`` (once, at an aware datetime; at once if it is past). A
        paused schedule stays paused, a removed one is there again. Raises `ConfigError`, also for options of the job
        without meaning here: delay, at, job_id, and for recurring ones deadline.
        """
        if job.owner is not self.queue:
            raise ConfigError("job", job.name, f"was built for queue {job.owner.name!r}, not {self.queue.name!r}")
        schedule = timetable.schedule_of(cron, every, at, tz, self.tz)
        definition = timetable.definition_of(schedule, job, options)
        store = await self._store()
        await store.session().announce()
        found = await schedules.put(store, "upsert", timetable.checked_id(id), definition.version, encode(definition))
        answer, again = found
        return again or answer != "same"

    async def list(self) -> list[ScheduleInfo]:
        """Return all schedules of the queue by their next tick, paused ones and those that are over last."""
        rows, now_ms = await schedules.every(await self._store())
        now = from_ms(now_ms)
        infos = [timetable.described(row, now) for row in rows]
        return sorted(infos, key=lambda one: (one.next is None, one.next or now, one.id))

    async def get(self, id: str) -> ScheduleInfo | None:  # noqa: A002 - the fixed name
        """Return one schedule, None if there is none of this id."""
        page = await schedules.some(await self._store(), [id])
        found = [row for row in page.rows if row.status != "removed"]
        return timetable.described(found[0], from_ms(page.now_ms)) if found else None

    async def pause(self, id: str) -> bool:  # noqa: A002 - the fixed name
        """Fire no more ticks until `resume`; True if that is news. Jobs that were fired already run.

        Raises `ScheduleUnknown`.
        """
        return await self._put("pause", id)

    async def resume(self, id: str) -> bool:  # noqa: A002 - the fixed name
        """Fire ticks again, from the next one on; True if it was paused. Raises `ScheduleUnknown`."""
        return await self._put("resume", id)

    async def remove(self, id: str) -> bool:  # noqa: A002 - the fixed name
        """Remove a schedule for good; False if it was removed already. Jobs that were fired already run.

        Processes whose code still declares it do not bring it back. Raises `ScheduleUnknown` if there never was one.
        """
        return await self._put("remove", id)

    async def trigger(self, id: str) -> Job[Any]:  # noqa: A002 - the fixed name
        """Enqueue a job of this schedule now, paused or not. Its ticks and their count stay as they are.

        Raises `ScheduleUnknown`, and what an enqueue raises.
        """
        row, _ = await self._row(id)
        return await self.queue.send_spec(timetable.job_of(timetable.readable(row), self.queue), Any)

    async def preview(self, id: str, n: int = 5) -> builtins.list[datetime]:  # noqa: A002 - the fixed name
        """Return the next ``n`` ticks (at most 1000) in UTC, as if it were not paused. Raises `ScheduleUnknown`."""
        row, now = await self._row(id)
        return timetable.upcoming(row, now, n)

    async def _put(self, what: What, schedule_id: str) -> bool:
        answer, again = await schedules.put(await self._store(), what, schedule_id)
        if answer == "unknown" or (answer == "removed" and what != "remove"):
            raise await self._unknown(schedule_id, removed=answer == "removed")
        return again or answer == "changed"

    async def _row(self, schedule_id: str) -> tuple[Row, datetime]:
        page = await schedules.some(await self._store(), [schedule_id])
        if not page.rows or page.rows[0].status == "removed":
            raise await self._unknown(schedule_id, removed=bool(page.rows))
        return page.rows[0], from_ms(page.now_ms)

    async def _unknown(self, schedule_id: str, *, removed: bool) -> ScheduleUnknown:
        rows, _ = await schedules.every(await self._store())
        near = difflib.get_close_matches(schedule_id, [row.id for row in rows], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return ScheduleUnknown(self.queue.name, schedule_id, removed=removed, hint=hint)

    # -- run ----------------------------------------------------------------------------------------

    async def run(self, *, burst: bool = False) -> None:
        """Fire ticks until `stop`, without running jobs; with ``burst`` fire what is due and return.

        Raises `RedisUnavailable` and `ServerUnfit` at start only; later it waits, and ``misfire`` says what becomes of
        ticks that were missed.
        """
        ticker = await self.open()
        if burst:
            await ticker.look()
            return
        await self._run(ticker)

    async def open(self) -> Ticker:
        """Declare, and return what fires the ticks. For a `Worker`. Not for applications."""
        await self.declare()
        ticker = Ticker(await self._store(), self.queue.name, lambda: self._put_all("restore"))
        ticker.on_fired = functools.partial(self.queue.notices.note, "added")
        return ticker

    async def _run(self, ticker: Ticker) -> None:
        store = await self._store()

        def hear(word: bytes, argument: bytes) -> None:
            del argument
            if word == b"schedules":
                ticker.wake()

        control = Control(store.url, {store.keys.control: hear}, ticker.wake)
        loops = [asyncio.create_task(ticker.run()), asyncio.create_task(control.run())]
        stopping = asyncio.create_task(self._stopping.wait())
        extra = {"queue": self.queue.name}
        log.info("scheduler started", extra={"event": "scheduler.started", **extra})
        try:
            done, _ = await asyncio.wait([stopping, *loops], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
                raise StreamqError("a loop of the scheduler ended by itself; this is a defect, please report it")
        finally:
            for task in (stopping, *loops):
                task.cancel()
            await asyncio.gather(stopping, *loops, return_exceptions=True)
            self._stopping = asyncio.Event()  # it may be started again, also in another event loop
            log.info("scheduler stopped", extra={"event": "scheduler.stopped", **extra})

    def stop(self) -> None:
        """End `run`, or the block; a tick is fired in one step or not at all, so nothing is left half done."""
        self._stopping.set()

    async def __aenter__(self) -> Self:
        """Run beside the block; declares first, and raises what stands in the way."""
        ticker = await self.open()
        self._runner = asyncio.create_task(self._run(ticker), name="streamq-scheduler")
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop and wait for it."""
        self.stop()
        if self._runner is not None:
            await self._runner

    async def _store(self) -> Store:
        return (await self.queue.stores())[0]
