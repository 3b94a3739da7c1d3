"""Schedules through the front door: every tick once, whoever fires it, and whatever becomes of those who do."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from streamq import (
    Context,
    Dedup,
    Depends,
    Group,
    Priority,
    Queue,
    RateLimit,
    ScheduleInfo,
    Scheduler,
    StreamqError,
    Worker,
)
from streamq._runtime import ticker
from streamq._store import schedules
from streamq.errors import ConfigError, GroupFull, PayloadTooLarge, ScheduleUnknown
from tests.servers import Server, StartServer
from tests.worker import timers
from tests.worker.helpers import MakeQueue, drain, inside, keys_of, until

ROOT = Path(__file__).parents[2]


def tick_of(job_id: str) -> datetime:
    """The tick a job stands for."""
    return datetime.fromisoformat(job_id.rpartition("@")[2])


class Diary:
    """The ids of jobs that ran, as their handler tells."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def note(self, ctx: Context) -> None:
        self.ran.append(ctx.job_id)

    @property
    def ticks(self) -> list[datetime]:
        return sorted(tick_of(job_id) for job_id in self.ran)

    def check(self, every: float) -> None:
        """Each tick once, and none left out."""
        assert [job for job, runs in Counter(self.ran).items() if runs > 1] == []
        steps = {later - earlier for earlier, later in zip(self.ticks, self.ticks[1:], strict=False)}
        assert steps <= {timedelta(seconds=every)}


@pytest.fixture
def diary() -> Diary:
    return Diary()


def rewrite(server: Server, queue: Queue, schedule_id: str, **fields: int) -> None:
    """Set ``last`` tick (ms) or ``since`` when ticks are owed, as if so much time had passed; and have it looked at."""
    keys = keys_of(queue)
    row = server.command("HGET", keys.states, schedule_id).decode().split(" ")
    for name, value in fields.items():
        row[{"last": 2, "total": 3, "since": 4}[name]] = str(value)
    server.command("HSET", keys.states, schedule_id, " ".join(row))
    server.command("ZADD", keys.ticks, 0, schedule_id)


async def info_of(scheduler: Scheduler, schedule_id: str) -> ScheduleInfo:
    found = await scheduler.get(schedule_id)
    assert found is not None
    return found


# -- every tick once -------------------------------------------------------------------------------------------------


async def test_every_tick_once_with_two_schedulers_and_three_workers(make_queue: MakeQueue, diary: Diary) -> None:
    queues = [make_queue() for _ in range(5)]
    for queue in queues:
        queue.handler("note")(diary.note)
    first, second = (Scheduler(queue) for queue in queues[:2])
    one, two = first.queue.handlers["note"], second.queue.handlers["note"]
    assert one.name == two.name
    await first.upsert("poll", first.queue.spec("note"), every=0.1)
    async with first, second, Worker(queues[2]), Worker(queues[3]), Worker(queues[4]):
        await until(lambda: len(diary.ran) >= 25)
    diary.check(0.1)
    assert (await info_of(first, "poll")).count >= 25


async def test_every_tick_once_when_each_worker_fires(make_queue: MakeQueue, diary: Diary) -> None:
    workers: list[Worker] = []
    for _ in range(5):
        scheduler = Scheduler(make_queue())
        scheduler.every(0.1, id="poll")(diary.note)
        workers.append(Worker(scheduler.queue, scheduler=scheduler))
    async with workers[0], workers[1], workers[2]:
        await until(lambda: len(diary.ran) >= 5)
        async with workers[3], workers[4]:
            await until(lambda: len(diary.ran) >= 15)
        await until(lambda: len(diary.ran) >= 25)
    diary.check(0.1)


async def test_schedulers_are_frozen_and_killed_between_any_two_steps(
    server: Server, prefix: str, diary: Diary
) -> None:
    """SIGSTOP and SIGKILL at random moments: nothing fires twice, and with catch_up nothing is left out."""
    scheduler = timers.make(server.url, prefix)
    queue = scheduler.queue
    fired: list[str] = []

    async def look() -> None:
        # Ticks become entries and stay: nobody works here.
        entries = await asyncio.to_thread(server.command, "XRANGE", keys_of(queue).lanes[2], "-", "+")
        fired[:] = [fields[1].decode() for _, fields in entries]

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.worker.timers", server.url, prefix, cwd=ROOT
        )

    running = [await start(), await start()]
    rng = random.Random(7)
    try:
        for _ in range(6):
            await look()
            had = len(fired)

            async def more(had: int = had) -> bool:
                await look()
                return len(fired) > had + 3

            await until(more, "ticks are fired")
            await asyncio.sleep(rng.uniform(0, 0.15))
            # Both are frozen in the middle of something; one wakes up to ticks long gone, the other never.
            for process in running:
                process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.3)
            running[1].send_signal(signal.SIGCONT)
            victim = running.pop(0)
            victim.send_signal(signal.SIGKILL)
            await victim.wait()
            running.append(await start())
    finally:
        for process in running:
            process.kill()
            await process.wait()
    await look()
    diary.ran = fired
    diary.check(0.1)
    assert (await info_of(scheduler, "poll")).count == len(fired)
    await queue.aclose()


async def test_a_tick_is_never_early_and_usually_punctual(server: Server, queue: Queue) -> None:
    scheduler = Scheduler(queue)

    @scheduler.every(0.1, id="poll")
    async def poll() -> None: ...

    async with scheduler:
        await until(lambda: server.command("XLEN", keys_of(queue).lanes[2]) >= 20)
    late: list[float] = []
    for entry, fields in server.command("XRANGE", keys_of(queue).lanes[2], "-", "+"):
        late.append(int(entry.split(b"-")[0]) - tick_of(fields[1].decode()).timestamp() * 1000)
    assert min(late) >= 0
    assert sorted(late)[10] < 50


async def test_idle_schedulers_hardly_ask(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: Counter[object] = Counter()
    due = schedules.due
    late: Counter[object] = Counter()

    async def counted(store: Any, *more: Any) -> schedules.Page:
        looks[store] += 1
        page = await due(store, *more)
        late[store] += bool(page.rows)
        return page

    monkeypatch.setattr(schedules, "due", counted)
    crowd = [Scheduler(make_queue()) for _ in range(10)]
    first = crowd[0]

    @first.every(0.1, id="poll")
    async def poll() -> None: ...

    async with first:
        await until(lambda: sum(looks.values()) > 5)
        looks.clear()
        late.clear()
        for scheduler in crowd[1:]:
            await scheduler.__aenter__()
        await asyncio.sleep(4.0)  # what is counted is a rate
        for scheduler in crowd[1:]:
            await scheduler.__aexit__()
    counts = sorted(looks.values())
    firing = max(looks, key=lambda store: looks[store])
    idle = [store for store in looks if store is not firing]
    # Who finds a tick that the other is just about to fire looks again soon, in case that one is gone.
    assert max(looks[store] - late[store] for store in idle) <= 4, "those that do not fire"
    assert sum(counts[:9]) <= 9 * 4
    assert counts[9] >= 30, "the one that does"


async def test_the_next_one_takes_over_from_one_that_is_gone(make_queue: MakeQueue, diary: Diary) -> None:
    one, two = Scheduler(make_queue()), Scheduler(make_queue())
    one.every(0.1, id="poll", misfire="catch_up")(diary.note)
    async with Worker(one.queue), two:
        async with one:
            await until(lambda: len(diary.ran) >= 5)
        had = len(diary.ran)
        await until(lambda: len(diary.ran) >= had + 40, seconds=12)
    diary.check(0.1)


# -- what is missed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("misfire", "expected"), [("skip", 1), ("fire_once", 2), ("catch_up", 4)])
async def test_what_nobody_could_fire(
    server: Server, queue: Queue, diary: Diary, misfire: Any, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An hour away: every ten minutes, grace of a second; the tick after the last is on time only by chance."""
    scheduler = Scheduler(queue)
    scheduler.every(600, id="report", misfire=misfire, catch_up=3, grace=1)(diary.note)
    await scheduler.declare()
    now = datetime.now(UTC)
    long_ago = int((now - timedelta(hours=2)).timestamp() * 1000)
    rewrite(server, queue, "report", since=long_ago)
    server.command("ZADD", keys_of(queue).ticks, long_ago, "report")
    with caplog.at_level(logging.WARNING, logger="streamq.scheduler"):
        await scheduler.run(burst=True)
    await drain(queue)
    # Unless a tick fell into this very second.
    assert len(diary.ran) in {expected - 1, expected}
    assert diary.ticks == sorted(diary.ticks)
    assert "missed its tick" in caplog.text
    had = len(diary.ran)
    await scheduler.run(burst=True)
    await drain(queue)
    assert len(diary.ran) == had
    info = await info_of(scheduler, "report")
    assert info.next is not None
    assert info.next > now


async def test_redis_is_away_for_a_while(fresh_server: StartServer, diary: Diary) -> None:
    # With "everysec" a busy disk delays writes, and the kill would take the answers of the last settles with it.
    server = fresh_server(aof=True, args=("--appendfsync", "always"))
    queue = Queue("q", url=server.url)
    scheduler = Scheduler(queue)
    scheduler.every(0.1, id="poll", misfire="catch_up")(diary.note)
    async with Worker(queue, scheduler=scheduler):
        await until(lambda: len(diary.ran) >= 3)
        server.kill()
        await asyncio.sleep(1.0)
        had = len(diary.ran)
        server.start()
        await until(lambda: len(diary.ran) >= had + 20, seconds=20)
    diary.check(0.1)
    await queue.aclose()


async def test_a_server_that_lost_everything_is_told_again(
    fresh_server: StartServer, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    server = fresh_server()
    queue = Queue("q", url=server.url)
    scheduler = Scheduler(queue)
    scheduler.every(0.1, id="poll")(diary.note)
    async with Worker(queue, scheduler=scheduler):
        await until(lambda: len(diary.ran) >= 3)
        server.command("FLUSHALL")
        had = len(diary.ran)
        await until(lambda: len(diary.ran) >= had + 5, seconds=20)
    assert "schedules were lost" in caplog.text
    await queue.aclose()


async def test_a_full_queue_takes_the_tick_later(make_queue: MakeQueue, diary: Diary) -> None:
    queue = make_queue(max_pending=1)
    scheduler = Scheduler(queue)
    scheduler.every(3600, id="hourly")(diary.note)

    @queue.handler("other")
    async def other() -> None: ...

    await other.enqueue()
    await scheduler.upsert("once", queue.spec("hourly"), at=datetime.now(UTC))
    await scheduler.run(burst=True)
    info = await info_of(scheduler, "once")
    assert (info.count, info.next) == (0, info.at), "it is owed"
    await drain(queue)
    assert diary.ran == []
    await scheduler.run(burst=True)
    await drain(queue)
    assert diary.ran == [info_id(await info_of(scheduler, "once"))]


def info_id(info: ScheduleInfo) -> str:
    assert info.last_job_id is not None
    return info.last_job_id


async def test_a_server_without_memory_takes_the_tick_later(fresh_server: StartServer, diary: Diary) -> None:
    server = fresh_server(args=["--maxmemory-policy", "noeviction"])
    queue = Queue("q", url=server.url)
    scheduler = Scheduler(queue)
    scheduler.every(0.1, id="poll", misfire="catch_up", catch_up=1000)(diary.note)
    async with Worker(queue, scheduler=scheduler):
        await until(lambda: len(diary.ran) >= 3)
        server.command("CONFIG", "SET", "maxmemory", 1)
        await asyncio.sleep(0.5)
        had = len(diary.ran)
        server.command("CONFIG", "SET", "maxmemory", 0)
        await until(lambda: len(diary.ran) >= had + 10)
    diary.check(0.1)
    await queue.aclose()


async def test_a_server_clock_that_was_set_back_fires_nothing_twice(server: Server, queue: Queue, diary: Diary) -> None:
    """The last tick lies in the future then: nothing is due until the clock has passed it again."""
    scheduler = Scheduler(queue)
    scheduler.every(0.5, id="poll", misfire="catch_up")(diary.note)
    await scheduler.declare()
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    rewrite(server, queue, "poll", last=int(ahead.timestamp() * 1000), since=5)
    async with Worker(queue, scheduler=scheduler):
        assert (await info_of(scheduler, "poll")).next == ahead + timedelta(seconds=0.5)
        await until(lambda: len(diary.ran) >= 2)
    assert diary.ticks[:2] == [ahead + timedelta(seconds=0.5), ahead + timedelta(seconds=1)]


async def test_a_thousand_due_at_once_leave_the_loop_room(server: Server, queue: Queue) -> None:
    """All are fired, once, and no look holds the handlers' loop for long."""
    scheduler = Scheduler(queue)
    job = queue.spec("nobody")
    await scheduler.upsert("s0", job, cron="*/5 * * * *")
    store = (await queue.stores())[0]
    (row,) = (await schedules.some(store, ["s0"])).rows
    for n in range(1, 1000):
        await schedules.put(store, "upsert", f"s{n}", row.version, row.spec)
    for n in range(1000):
        rewrite(server, queue, f"s{n}", since=int((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1000))
    longest, over = 0.0, False

    async def watch() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while not over:
            before = loop.time()
            await asyncio.sleep(0.001)
            longest = max(longest, loop.time() - before)

    watching = asyncio.create_task(watch())
    await scheduler.run(burst=True)
    over = True
    await watching
    infos = await scheduler.list()
    assert len(infos) == 1000
    assert {one.count for one in infos} <= {1, 2}, "the last one missed, and one that fell into this minute"
    assert server.command("XLEN", keys_of(queue).lanes[2]) == sum(one.count for one in infos)
    assert longest < 0.5


# -- bounds ----------------------------------------------------------------------------------------------------------


async def test_a_limit_counts_what_was_fired(queue: Queue, diary: Diary) -> None:
    scheduler = Scheduler(queue)
    scheduler.every(0.1, id="poll", limit=3)(diary.note)
    async with Worker(queue, scheduler=scheduler):

        async def over() -> bool:
            return (await info_of(scheduler, "poll")).next is None

        await until(over)
        await until(lambda: len(diary.ran) == 3)
        assert await scheduler.preview("poll") == []
    diary.check(0.1)


async def test_start_and_end(queue: Queue, diary: Diary) -> None:
    scheduler = Scheduler(queue)
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    end = start + timedelta(seconds=0.5)
    scheduler.every(0.1, id="poll", start=start, end=end)(diary.note)
    async with Worker(queue, scheduler=scheduler):
        assert (await info_of(scheduler, "poll")).next == start
        await until(lambda: len(diary.ran) == 5)
        assert (await info_of(scheduler, "poll")).next is None
    assert (diary.ticks[0], diary.ticks[-1]) == (start, end - timedelta(seconds=0.1))


async def test_once_at_an_instant_even_if_it_is_past(queue: Queue, diary: Diary) -> None:
    scheduler = Scheduler(queue)
    queue.handler("note")(diary.note)
    now = datetime.now(UTC).replace(microsecond=0)
    soon, past = now + timedelta(seconds=1), now - timedelta(minutes=5)
    async with Worker(queue, scheduler=scheduler):
        assert await scheduler.upsert("soon", queue.spec("note"), at=soon)
        assert await scheduler.upsert("past", queue.spec("note"), at=past)
        assert not await scheduler.upsert("past", queue.spec("note"), at=past)
        await until(lambda: len(diary.ran) == 2)
        assert not await scheduler.upsert("past", queue.spec("note"), at=past), "it has had its turn"
        await scheduler.upsert("past", queue.spec("note"), at=past + timedelta(seconds=1))
        await until(lambda: len(diary.ran) == 3)
    assert diary.ticks == [past, past + timedelta(seconds=1), soon]
    assert [(one.id, one.next, one.count) for one in await scheduler.list()] == [("past", None, 2), ("soon", None, 1)]


# -- people at the controls ------------------------------------------------------------------------------------------


async def test_pause_and_resume(queue: Queue, diary: Diary) -> None:
    scheduler = Scheduler(queue)
    scheduler.every(0.1, id="poll", misfire="catch_up")(diary.note)
    async with Worker(queue, scheduler=scheduler):
        await until(lambda: len(diary.ran) >= 3)
        assert await scheduler.pause("poll")
        assert not await scheduler.pause("poll")
        info = await info_of(scheduler, "poll")
        assert (info.paused, info.next) == (True, None)
        await until(lambda: len(diary.ran) == info.count)
        await asyncio.sleep(0.5)
        assert len(diary.ran) == info.count
        assert await scheduler.preview("poll", 2) != []
        resumed = datetime.now(UTC)
        assert await scheduler.resume("poll")
        assert not await scheduler.resume("poll")
        await until(lambda: len(diary.ran) >= info.count + 3)
    after = [tick for tick in diary.ticks if tick > resumed - timedelta(milliseconds=100)]
    assert len(after) == len(diary.ran) - info.count, "what came due while it was paused is not made up for"


async def test_a_removed_schedule_does_not_come_back_from_an_old_process(
    make_queue: MakeQueue, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    def process(**options: Any) -> Scheduler:
        scheduler = Scheduler(make_queue())
        scheduler.every(0.1, id="poll", **options)(diary.note)
        return scheduler

    oldest, old, new = process(), process(misfire="skip"), process(misfire="catch_up")
    async with Worker(oldest.queue, scheduler=oldest):
        await old.declare()
        await until(lambda: len(diary.ran) >= 3)
        assert await old.remove("poll")
        assert not await old.remove("poll")
        assert await old.list() == []
        await asyncio.sleep(0.3)
        had = len(diary.ran)
        for one in (oldest, old):
            await one.declare()  # as if it were started again
            assert await one.list() == []
        assert caplog.text.count("was removed and stays so") == 2
        await asyncio.sleep(0.3)
        assert len(diary.ran) == had
        await new.declare()
        await until(lambda: len(diary.ran) > had)
        await new.remove("poll")
        await new.declare(restore=True)
        assert [one.id for one in await new.list()] == ["poll"]


async def test_the_last_start_wins_and_a_process_that_goes_on_changes_nothing(
    make_queue: MakeQueue, diary: Diary
) -> None:
    old, new = Scheduler(make_queue()), Scheduler(make_queue())
    old.every(3600, id="poll")(diary.note)
    new.every(0.1, id="poll")(diary.note)
    async with old, Worker(new.queue):
        assert (await info_of(old, "poll")).every == 3600
        await new.declare()
        # The old process fires what the new one said.
        await until(lambda: len(diary.ran) >= 30)
        assert (await info_of(old, "poll")).every == 0.1
    diary.check(0.1)


async def test_schedules_outlive_those_who_made_them(make_queue: MakeQueue, diary: Diary) -> None:
    maker, other = Scheduler(make_queue()), Scheduler(make_queue())
    maker.queue.handler("note")(diary.note)
    await maker.upsert("poll", maker.queue.spec("note"), every=0.1)
    async with other, Worker(maker.queue):
        await until(lambda: len(diary.ran) >= 3)


async def test_trigger_is_an_extra_run(queue: Queue) -> None:
    scheduler = Scheduler(queue)

    @queue.handler("send")
    async def send(ctx: Context, to: str) -> tuple[str, dict[str, str]]:
        return to, dict(ctx.headers)

    job = send.with_options(priority=Priority.HIGH, headers={"a": "b"}, tenant="acme").job("ada")
    await scheduler.upsert("welcome", job, cron="0 9 * * MON", tz="Europe/Athens")
    await scheduler.pause("welcome")
    before = await info_of(scheduler, "welcome")
    extra = await scheduler.trigger("welcome")
    info = await extra.info()
    assert (info.name, info.priority, info.tenant, info.args) == ("send", Priority.HIGH, "acme", {"to": "ada"})
    async with Worker(queue):
        assert await extra.result(timeout=10) == ["ada", {"a": "b"}]
    assert await info_of(scheduler, "welcome") == before
    assert before.count == 0


async def test_what_is_told(queue: Queue) -> None:
    scheduler = Scheduler(queue, tz="Europe/Athens")

    @queue.handler("send")
    async def send(to: str) -> None: ...

    start = datetime(2030, 1, 1, tzinfo=UTC)
    await scheduler.upsert("welcome", send.job("ada"), cron="0 9 * * MON", start=start, limit=3)
    await scheduler.upsert("poll", send.job("bob"), every=timedelta(minutes=15), misfire="skip")
    first, second = await scheduler.list()
    assert (first.id, first.handler, first.when, first.every) == ("poll", "send", "every 15 minutes", 900.0)
    assert (first.cron, first.tz, first.at, first.misfire, first.args) == (None, None, None, "skip", {"to": "bob"})
    assert (second.id, second.when) == ("welcome", "every Monday at 09:00 Europe/Athens")
    assert (second.cron, second.tz, second.start, second.limit) == ("0 9 * * MON", "Europe/Athens", start, 3)
    assert (second.next, second.last_tick, second.last_job_id, second.count) == (
        datetime(2030, 1, 7, 7, tzinfo=UTC), None, None, 0,
    )  # fmt: skip
    assert await scheduler.preview("welcome", 5) == [datetime(2030, 1, day, 7, tzinfo=UTC) for day in (7, 14, 21)]
    assert second == await scheduler.get("welcome")
    assert await scheduler.get("nobody") is None
    assert repr(scheduler).endswith("0 declared>")


async def test_an_unknown_schedule_is_an_error_that_helps(queue: Queue) -> None:
    scheduler = Scheduler(queue)

    @scheduler.every(60, id="poll")
    async def poll() -> None: ...

    await scheduler.declare()
    for verb in (scheduler.pause, scheduler.resume, scheduler.remove, scheduler.trigger, scheduler.preview):
        with pytest.raises(ScheduleUnknown, match="did you mean 'poll'") as caught:
            await verb("pol")
        assert (caught.value.schedule_id, caught.value.removed) == ("pol", False)
    await scheduler.remove("poll")
    for verb in (scheduler.pause, scheduler.resume, scheduler.trigger, scheduler.preview):
        with pytest.raises(ScheduleUnknown, match="was removed") as caught:
            await verb("poll")
        assert caught.value.removed


async def test_what_cannot_be_read_here_is_left_to_others(
    server: Server, queue: Queue, diary: Diary, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "PAGE", 1)
    scheduler = Scheduler(queue)
    scheduler.every(0.1, id="poll")(diary.note)

    @scheduler.every(60, id="newer")
    async def newer() -> None: ...

    await scheduler.declare()
    server.command("HSET", keys_of(queue).specs, "newer", b"\x81\xa4plan\x80")
    async with Worker(queue, scheduler=scheduler):
        server.command("HSET", keys_of(queue).specs, "newer", b"\x81\xa4plan\x80")
        await until(lambda: len(diary.ran) >= 5)
        found = {one.id: one for one in await scheduler.list()}
        assert "cannot be read here" in found["newer"].problem
        with pytest.raises(StreamqError, match="cannot be read here"):
            await scheduler.trigger("newer")
    assert caplog.text.count("schedule newer cannot be read here") == 1


# -- jobs ------------------------------------------------------------------------------------------------------------


async def test_a_schedule_does_not_depend_on_the_fate_of_its_jobs(queue: Queue) -> None:
    scheduler = Scheduler(queue)
    runs: list[str] = []

    @scheduler.every(0.1, id="poll", max_attempts=2)
    async def poll(ctx: Context) -> None:
        runs.append(ctx.job_id)
        raise RuntimeError("always")

    async with Worker(queue, scheduler=scheduler):
        await until(lambda: len(set(runs)) >= 5)
    dead = [one async for one in queue.dlq.list()]
    assert len(dead) >= 4
    assert all(one.id.startswith("poll@") for one in dead)


async def test_a_decorated_function_is_a_handler_like_any_other(queue: Queue) -> None:
    scheduler = Scheduler(queue)

    def database() -> str:
        return "db"

    @scheduler.cron("0 2 * * *", id="cleanup", priority=Priority.LOW, keep_result=True)
    async def cleanup(ctx: Context, db: str = Depends(database)) -> tuple[str, int]:
        return db, ctx.attempt

    @scheduler.every(3600, id="blocking")
    def blocking() -> str:
        return "from a thread"

    assert (await cleanup.enqueue()).queue == "q"
    async with Worker(queue, scheduler=scheduler):
        job = await scheduler.trigger("cleanup")
        assert await job.result(timeout=10) == ["db", 1]
        assert (await scheduler.trigger("blocking")).queue == "q"
        assert await (await blocking.enqueue()).result(timeout=10) == "from a thread"
        assert scheduler.declared == ("cleanup", "blocking")


async def test_a_handler_that_exists_can_be_scheduled_and_more_than_once(queue: Queue, diary: Diary) -> None:
    scheduler = Scheduler(queue)

    @scheduler.every(0.1, id="often")
    @scheduler.every(0.2, id="seldom")
    @queue.handler("note")
    async def note(ctx: Context, n: int = 1) -> None:
        await diary.note(ctx)

    async with Worker(queue, scheduler=scheduler):
        await until(lambda: {one.partition("@")[0] for one in diary.ran} == {"often", "seldom"})
    assert {one.handler for one in await scheduler.list()} == {"note"}


async def test_a_job_keeps_its_options_at_each_tick(queue: Queue) -> None:
    scheduler = Scheduler(queue)
    seen: list[tuple[str, str | None, dict[str, str], int]] = []

    @queue.handler("send")
    async def send(ctx: Context, to: str) -> None:
        seen.append((to, ctx.tenant, dict(ctx.headers), ctx.max_attempts))

    job = send.with_options(tenant="acme", headers={"a": "b"}, max_attempts=9, expires_in=60).job("ada")
    await scheduler.upsert("once", job, at=datetime.now(UTC))
    await scheduler.run(burst=True)
    info = await (await job_of(queue, scheduler, "once")).info()
    assert info.created_at is not None
    assert info.expires_at is not None
    assert timedelta(seconds=59) < info.expires_at - info.created_at <= timedelta(seconds=60)
    await drain(queue)
    assert seen == [("ada", "acme", {"a": "b"}, 9)]


async def job_of(queue: Queue, scheduler: Scheduler, schedule_id: str) -> Any:
    return await queue.job(info_id(await info_of(scheduler, schedule_id)))


async def test_a_burst_runs_what_is_due(queue: Queue, diary: Diary) -> None:
    scheduler = Scheduler(queue)
    queue.handler("note")(diary.note)
    await scheduler.upsert("past", queue.spec("note"), at=datetime.now(UTC))
    await drain(queue, scheduler=scheduler)
    assert len(diary.ran) == 1


# -- what cannot be right --------------------------------------------------------------------------------------------


async def test_what_cannot_work_is_refused_when_it_is_declared(make_queue: MakeQueue) -> None:
    queue = make_queue()
    scheduler = Scheduler(queue)

    async def nothing() -> None: ...

    async def wants(n: int) -> None: ...

    def declared(fn: Any, id: str = "x", **options: Any) -> Callable[[], object]:  # noqa: A002 - as it is called
        return lambda: scheduler.every(60, id=id, **options)(fn)

    refusals: list[tuple[Callable[[], object], str]] = [
        (lambda: scheduler.cron("99 * * * *", id="x"), "minute '99'"),
        (lambda: scheduler.cron("0 0 30 2 *", id="x"), "never comes"),
        (lambda: scheduler.cron("0 2 * * *", id="x", tz="Europe/Athen"), "did you mean 'Europe/Athens'"),
        (lambda: Scheduler(queue, tz="Mars"), "no known time zone"),
        (lambda: scheduler.every(0.01, id="x"), "at least 0.1"),
        (lambda: scheduler.every(60, id="with space"), "letters, digits"),
        (lambda: scheduler.every(60, id="x" * 151), "at most 150"),
        (declared(wants), "without arguments .*upsert"),
        (declared(nothing, id="y", misfire="fire_twice"), "fire_once"),
        (declared(nothing, id="z", retries=3), "no handler option"),
    ]
    for act, text in refusals:
        with pytest.raises(ConfigError, match=text):
            act()
    scheduler.every(60, id="twice")(nothing)
    with pytest.raises(ConfigError, match="declared already"):
        declared(nothing, id="twice")()
    handler = queue.handler("other")(nothing)
    with pytest.raises(ConfigError, match=r"belong to @queue\.handler"):
        declared(handler, id="w", max_attempts=3)()


async def test_what_has_no_meaning_in_a_schedule_is_refused(make_queue: MakeQueue) -> None:
    queue = make_queue(max_payload=100)
    scheduler = Scheduler(queue)
    at = datetime.now(UTC) + timedelta(hours=1)

    @queue.handler("send")
    async def send(to: str) -> None: ...

    plain = send.job("ada")
    refusals: list[tuple[Any, dict[str, Any], str]] = [
        (plain, {}, "one of cron=, every= and at=, not none"),
        (plain, {"cron": "0 2 * * *", "every": 5}, "not cron and every"),
        (plain, {"every": 5, "tz": "UTC"}, "is for cron="),
        (plain, {"every": 5, "retries": 5}, "no schedule option"),
        (plain, {"at": datetime(2030, 1, 1)}, "naive"),  # noqa: DTZ001 - the mistake itself
        (send.with_options(delay=5).job("ada"), {"every": 5}, "when its jobs start"),
        (send.with_options(at=at).job("ada"), {"every": 5}, "when its jobs start"),
        (send.with_options(job_id="x").job("ada"), {"every": 5}, "id of its own job"),
        (send.with_options(deadline=at).job("ada"), {"every": 5}, "one instant for all ticks"),
        (make_queue("other").spec("send", {"to": "ada"}), {"every": 5}, "was built for queue 'other'"),
    ]
    for job, options, text in refusals:
        with pytest.raises(ConfigError, match=text):
            await scheduler.upsert("x", job, **options)
    with pytest.raises(PayloadTooLarge):
        await scheduler.upsert("x", send.job("a" * 200), every=5)
    assert await scheduler.upsert("x", send.with_options(deadline=at).job("ada"), at=at)
    assert [one.id for one in await scheduler.list()] == ["x"]


async def test_a_worker_refuses_a_scheduler_of_a_queue_it_does_not_serve(make_queue: MakeQueue) -> None:
    one, two = make_queue("one"), make_queue("two")
    with pytest.raises(ConfigError, match="of queue 'two', which this worker does not serve"):
        Worker(one, scheduler=Scheduler(two))
    worker = Worker([one, two], scheduler=[Scheduler(one), Scheduler(two)])
    assert [len(inside(worker).schedulers)] == [2]


async def test_a_scheduler_can_be_stopped_and_started_again(queue: Queue, diary: Diary) -> None:
    scheduler = Scheduler(queue)
    scheduler.every(0.1, id="poll")(diary.note)
    async with Worker(queue):
        for _ in range(2):
            had = len(diary.ran)
            async with scheduler:
                await until(lambda had=had: len(diary.ran) > had)  # type: ignore[misc]  # a lambda with a default
        running = asyncio.create_task(scheduler.run())
        had = len(diary.ran)
        await until(lambda: len(diary.ran) > had)
        scheduler.stop()
        await running


def test_a_scheduler_of_a_module_serves_one_event_loop_after_the_other(server: Server, prefix: str) -> None:
    queue = Queue("q", url=server.url, prefix=prefix)
    scheduler = Scheduler(queue)

    @scheduler.every(60, id="poll")
    async def poll() -> None: ...

    async def once() -> int:
        async with queue, scheduler:
            return len(await scheduler.list())

    assert [asyncio.run(once()) for _ in range(2)] == [1, 1]


# -- limits, groups and deduplication ----------------------------------------------------------------------------------


async def test_a_tick_waits_in_the_line_of_its_group_and_its_limit(make_queue: MakeQueue) -> None:
    queue = make_queue(group=Group(concurrency=1), limits={"sms": RateLimit(2, per=0.5)})
    starts: list[float] = []
    running = most = 0

    @queue.handler("send")
    async def send(to: str) -> None:
        nonlocal running, most
        del to
        starts.append(time.time())
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1

    scheduler = Scheduler(queue)
    await scheduler.upsert("often", send.with_options(group="shop", rate_key="sms").job("ada"), every=0.1)
    async with Worker(queue, scheduler=scheduler):
        await until(lambda: len(starts) >= 6, "six ticks ran")
        assert (await scheduler.list())[0].count >= 6
    assert most == 1
    # Two in half a second, by the server's clock; the handlers' own times are a little later or earlier.
    assert all(third - first >= 0.45 for first, third in zip(starts, starts[2:], strict=False))


async def test_a_tick_that_meets_its_predecessor_counts_and_adds_nothing(make_queue: MakeQueue) -> None:
    queue = make_queue()
    ran: list[str] = []

    @queue.handler("poll", dedup=Dedup("poll"))
    async def poll() -> None:
        ran.append("poll")

    scheduler = Scheduler(queue)
    await scheduler.upsert("poll", poll.job(), every=0.1)
    async with scheduler_running(scheduler):
        await until(counted(scheduler, 4), "four ticks were fired while nobody worked")
    assert (await queue.counts()).waiting == 1
    await drain(queue)
    assert ran == ["poll"]


async def test_a_full_group_refuses_ticks_and_the_schedule_goes_on_after_it(make_queue: MakeQueue) -> None:
    queue = make_queue(group=Group(size=2))
    ran: list[str] = []

    @queue.handler("send")
    async def send(to: str) -> None:
        ran.append(to)

    scheduler = Scheduler(queue)
    await scheduler.upsert("full", send.with_options(group="shop").job("ada"), every=0.1, misfire="fire_once")
    async with scheduler_running(scheduler):
        await until(counted(scheduler, 2), "two ticks are in the group")
    assert (await queue.counts()).waiting == 2
    async with Worker(queue, scheduler=scheduler):
        await until(lambda: len(ran) >= 4, "ticks go on once the group has room")


async def test_a_triggered_job_has_the_limits_of_its_schedule(make_queue: MakeQueue) -> None:
    queue = make_queue(group=Group(size=1))

    @queue.handler("send")
    async def send(to: str) -> None:
        del to

    await drain(queue)  # a worker declares the limits
    scheduler = Scheduler(queue)
    await scheduler.upsert("yearly", send.with_options(group="shop").job("ada"), cron="0 0 1 1 *")
    job = await scheduler.trigger("yearly")
    assert (await queue.explain(job.id)).line == "g:shop"
    with pytest.raises(GroupFull):
        await scheduler.trigger("yearly")


@asynccontextmanager
async def scheduler_running(scheduler: Scheduler) -> AsyncGenerator[None]:
    running = asyncio.create_task(scheduler.run())
    try:
        yield
    finally:
        scheduler.stop()
        await running


def counted(scheduler: Scheduler, count: int) -> Callable[[], Awaitable[bool]]:
    async def fact() -> bool:
        return (await scheduler.list())[0].count >= count

    return fact
