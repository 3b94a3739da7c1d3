"""Every correct way to write a handler and to call it. Checked by mypy --strict and pyright strict, never run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, assert_type

import msgspec

from streamq import (
    Alert,
    AlertRule,
    Arg,
    AttemptInfo,
    BatchContext,
    BatchHandler,
    BoundHandler,
    Context,
    Counts,
    DeadLetter,
    Dedup,
    Depends,
    Discard,
    Event,
    Exponential,
    Fatal,
    Fixed,
    Group,
    Handler,
    Health,
    HealthPolicy,
    Job,
    JobInfo,
    JobPage,
    JobSpec,
    JobState,
    Keep,
    Linear,
    Priority,
    Queue,
    RateLimit,
    RateLimited,
    Reason,
    Replayed,
    Retry,
    Snooze,
    Stats,
    Worker,
    WorkerInfo,
    current_context,
)
from streamq.testing import (
    Attempted,
    Clock,
    Faults,
    MemoryQueues,
    Report,
    assert_enqueued,
    assert_not_enqueued,
    enqueued,
    freeze,
    overrides,
    perform,
    run_until_idle,
)

queue = Queue(
    "delivery",
    url=None,
    prefix="streamq",
    max_attempts=5,
    backoff=Exponential(1.0, factor=2, max=3600, jitter=0.1),
    timeout=30,
    max_pending=None,
    max_payload=262_144,
    keep_completed=Keep(count=1000),
    keep_dead=Keep(age=timedelta(days=30)),
    result_ttl=timedelta(hours=1),
    enqueue_timeout=10.0,
    lanes={"critical": 16, "high": 8, "normal": 4, "low": 2, "background": 1},
    max_wait=timedelta(minutes=1),
)
sms = Queue("sms", lanes="strict", max_wait=None)


class Point(msgspec.Struct):
    x: int
    y: int = 0


class DB:
    async def fetch(self) -> int:
        return 1


# -- dependencies: a value, a coroutine, a generator, a context manager, async or not -----------------------------------


def get_value() -> DB:
    return DB()


async def get_coroutine() -> DB:
    return DB()


def get_generator() -> Iterator[DB]:
    yield DB()


async def get_async_generator() -> AsyncIterator[DB]:
    yield DB()


@contextmanager
def get_manager() -> Generator[DB]:
    yield DB()


@asynccontextmanager
async def get_async_manager() -> AsyncGenerator[DB]:
    yield DB()


# -- handlers ----------------------------------------------------------------------------------------------------------


@queue.handler("delivery:send", max_attempts=5, backoff=Exponential(1), timeout=30, no_retry=(ValueError,))
async def send(ctx: Context, contact_id: str, body: str, channel: str = "sms") -> str:
    assert_type(ctx.attempt, int)
    assert_type(ctx.deadline, datetime | None)
    assert_type(current_context(), Context)
    return contact_id + body + channel


@queue.handler("plain", priority=Priority.LOW, keep_result=True, timeout=timedelta(minutes=5))
async def plain(a: int, *, b: float = 1.0) -> Point | None:
    return Point(a, int(b))


@queue.handler("blocking", backoff=lambda attempt: attempt * 2.0, pool="thread", timeout=None)
def blocking(ctx: Context, a: int) -> list[int]:
    return [a]


@queue.handler("process", pool="process", backoff=Linear(2, max=timedelta(hours=1)))
def process(data: bytes) -> int:
    return len(data)


@queue.handler("nothing", backoff=Fixed(timedelta(seconds=5)))
async def nothing() -> None: ...


@queue.handler("only context")
async def only_context(ctx: Context) -> dict[str, int]:
    return {}


@queue.handler("injected")
async def injected(
    ctx: Context,
    a: int,
    db: DB = Depends(get_value),
    db2: DB = Depends(get_coroutine),
    db3: DB = Depends(get_generator),
    db4: DB = Depends(get_async_generator),
    db5: DB = Depends(get_manager),
    db6: DB = Depends(get_async_manager),
) -> int:
    return a + await db.fetch()


@queue.handler("annotated")
async def annotated(age: Annotated[int, msgspec.Meta(ge=0)], point: Point) -> int:
    return age + point.x


# A first parameter annotated Any or object is an argument, not a Context. It becomes positional-only for callers.
@queue.handler("anything")
async def anything(event: Any, b: int = 0) -> int:
    return b


@queue.handler("object")
def an_object(event: object) -> int:
    return 1


@queue.handler("steers")
async def steers(n: int) -> None:
    if n == 1:
        raise Retry("busy", after=1.5)
    if n == 2:
        raise Snooze(until=datetime.now(UTC))
    if n == 3:
        raise Snooze(timedelta(minutes=1), reason="night")
    if n == 4:
        raise RateLimited(30)
    if n == 5:
        raise Discard("stale")
    raise Fatal("no such user")


class Mailer:
    async def deliver(self, ctx: Context, to: str) -> str:
        return to


deliver = queue.handler("method")(Mailer().deliver)

assert_type(nothing, Handler[[], None])
assert_type(only_context, Handler[[], dict[str, int]])
assert_type(send.name, str)


# -- when and how much -------------------------------------------------------------------------------------------------

per_customer = Group(concurrency=5, rate=RateLimit(10), size=10_000, weight=2, reserve=0.1)
limited = Queue(
    "limited",
    rate_limit=RateLimit(50, per=timedelta(seconds=1), burst=10),
    global_concurrency=200,
    group=per_customer,
    limits={"twilio": RateLimit(80), "quota": RateLimit(1000, 86_400, align="clock", tz="Europe/Athens"), "slots": 3},
)


@limited.handler(
    "keyed",
    concurrency=20,
    rate_limit=RateLimit(10, per=1),
    rate_key="channel",
    on_limit="drop",
    concurrency_key=lambda job: f"{job['contact_id']}",
    key_concurrency=2,
    on_conflict="cancel_running",
    dedup=Dedup(by=("contact_id", "channel")),
)
async def keyed(contact_id: str, channel: str = "sms") -> str:
    return contact_id + channel


async def flow() -> None:
    bound = keyed.with_options(group="shop_42", rate_key="twilio", cost=2, dedup=Dedup("cart:42"))
    assert_type(await bound.enqueue("c_1"), Job[str])
    await keyed.with_options(dedup=Dedup("cart:42", mode="debounce", ttl=5, max_wait=timedelta(minutes=1))).enqueue("c")
    await keyed.with_options(dedup=Dedup("a", mode="throttle", ttl=5, scope="group", replace_priority=True)).enqueue("c")
    await limited.enqueue("keyed", {"contact_id": "c_1"}, group="shop_42", dedup=Dedup("a", mode="keep_last"))
    Queue("without", rate_limit=None, global_concurrency=None, group=None, limits={"twilio": RateLimit(80)})
    assert_type(RateLimit(5, timedelta(days=1)).count, int)
    assert_type(per_customer.rate, RateLimit | None)


def conditions() -> None:
    greek = (Arg("country") == "GR") | Arg("address.country").in_("GR", "CY") | Arg("phone").startswith("+30")
    large = ~(Arg("items")[0]["price"] <= 9.5) & (Arg("n") != 5) & (Arg("n") >= 1) & (Arg("done") == None)  # noqa: E711 - it makes a condition
    assert_type(str(greek & large), str)
    assert_type(greek.matches({"country": "GR"}), bool)


# -- enqueueing --------------------------------------------------------------------------------------------------------


async def enqueue() -> None:
    assert_type(await send.enqueue("c_1", "hi"), Job[str])
    assert_type(await send.enqueue("c_1", body="hi"), Job[str])
    assert_type(await send.enqueue(contact_id="c_1", body="hi", channel="mail"), Job[str])
    assert_type(await plain.enqueue(1, b=2), Job[Point | None])
    assert_type(await blocking.enqueue(1), Job[list[int]])
    assert_type(await process.enqueue(b"x"), Job[int])
    assert_type(await nothing.enqueue(), Job[None])
    assert_type(await only_context.enqueue(), Job[dict[str, int]])
    assert_type(await injected.enqueue(1), Job[int])
    assert_type(await annotated.enqueue(1, Point(1)), Job[int])
    assert_type(await deliver.enqueue("a@b.c"), Job[str])
    assert_type(await an_object.enqueue(object()), Job[int])
    await anything.enqueue({"any": "thing"})
    await anything.enqueue(None, b=1)

    bound = send.with_options(delay=30, priority=Priority.HIGH)
    assert_type(await bound.enqueue("c_1", body="hi"), Job[str])
    assert_type(bound.with_options(tenant="shop_42").job("c_1", "hi"), JobSpec[str])
    await nothing.with_options(
        at=datetime.now(UTC),
        max_attempts=3,
        backoff=Fixed(1),
        timeout=timedelta(minutes=1),
        job_id="order-17",
        headers={"x-request-id": "7"},
        tenant="shop_42",
        expires_in=60,
        deadline=datetime.now(UTC),
        keep_result=True,
    ).enqueue()

    assert_type(await queue.enqueue("delivery:send", {"contact_id": "c_1", "body": "hi"}, delay=30), Job[Any])
    assert_type(await queue.enqueue("nothing"), Job[Any])
    assert_type(queue.spec("nothing", job_id="a"), JobSpec[Any])


async def enqueue_many(bodies: list[str]) -> None:
    specs = [send.with_options(tenant="shop_42").job("c_1", body=body) for body in bodies]
    assert_type(await queue.enqueue_many(specs, chunk=25, every=2.0), list[Job[str]])
    assert_type(await queue.enqueue_many(send.job("c_1", body) for body in bodies), list[Job[str]])
    assert_type(await queue.enqueue_many((nothing.job(),), chunk=1, every=timedelta(seconds=1)), list[Job[None]])
    # Mixed results: the checkers name the common type differently, so only the call is shown.
    await queue.enqueue_many([send.job("c_1", "hi"), plain.job(1)])


async def call_here(ctx: Context) -> None:
    # What a handler takes for its job is what calling it takes, too.
    assert_type(await plain(1, b=2.0), Point | None)
    assert_type(await nothing(), None)
    assert_type(await process(b"x"), int)


# -- a job -------------------------------------------------------------------------------------------------------------


async def follow(job: Job[str]) -> None:
    assert_type(await job.state(), JobState)
    assert_type(await job.info(), JobInfo)
    assert_type(await job.result(), str)
    assert_type(await job.result(timeout=10), str)
    assert_type(await job.result(timeout=timedelta(seconds=1)), str)
    assert_type(await job.cancel(), bool)
    await job.promote()
    await job.set_priority(Priority.HIGH)
    await job.retry(delay=5, priority=Priority.CRITICAL)
    await job.remove()
    assert_type(job.id, str)
    assert_type(job.created, bool)
    found = await queue.job(job.id)
    assert_type(found, Job[Any] | None)
    info = await job.info()
    assert_type(info.created_at, datetime | None)
    assert_type([*info.errors], list[AttemptInfo])


# -- a queue -----------------------------------------------------------------------------------------------------------


async def operate() -> None:
    async with queue as opened:
        assert_type(opened, Queue)
    assert_type(await queue.counts(), Counts)
    stats = await queue.stats("24h", by="name")
    assert_type(stats, Stats)
    assert_type(stats.rows[0].wait.p95, float | None)
    assert_type((await queue.stats(timedelta(hours=1))).total.arrived, int)
    assert_type(await queue.jobs("waiting", name="plain", limit=10), JobPage)
    assert_type(await queue.jobs(JobState.DEAD, tenant="shop_42", cursor=""), JobPage)
    assert_type(await queue.workers(), list[WorkerInfo])
    assert_type(await queue.pause(reason="deploy"), bool)
    assert_type(await queue.resume(), bool)
    assert_type(await queue.drain(include_delayed=True), int)
    assert_type(await queue.clean("dead", older_than=timedelta(days=7)), int)
    assert_type(await queue.ping(), float)
    async for dead in queue.dlq.list(name="plain", since=timedelta(days=1)):
        assert_type(dead, DeadLetter)
    assert_type(await queue.dlq.get("id"), DeadLetter | None)
    await queue.dlq.replay("id", delay=5, priority=Priority.HIGH)
    assert_type(await queue.dlq.replay_all(rate=10, dry_run=True), Replayed)
    assert_type(await queue.dlq.purge(older_than=timedelta(days=7)), int)


@queue.middleware
async def timing(ctx: Context, call_next: Any) -> Any:
    return await call_next(ctx)


class Breaker:
    async def __call__(self, ctx: Context, call_next: Any) -> Any:
        return await call_next(ctx)


queue.use(Breaker())


@queue.lifespan
async def lifespan() -> AsyncGenerator[DB]:
    yield DB()


@queue.lifespan
async def as_an_iterator() -> AsyncIterator[DB]:
    yield DB()


async def work() -> None:
    async with Worker(queue, concurrency=100, lease=15, grace=timedelta(seconds=25), max_stalls=2) as worker:
        assert_type(worker, Worker)
    await Worker([queue, sms]).run()
    await Worker(queue).run(burst=True)


# -- variance: handles and specs of a narrower result pass for those of a wider one -------------------------------------


async def wider(job: Job[str], spec: JobSpec[Point], bound: BoundHandler[[], bool]) -> None:
    a: Job[object] = job
    b: Job[str | None] = job
    c: JobSpec[object] = spec
    d: BoundHandler[[], int] = bound
    e: list[JobSpec[object]] = [spec, send.job("c_1", "hi")]
    print(a, b, c, d, e)


# -- schedules -----------------------------------------------------------------------------------------------------

from streamq import ScheduleInfo, Scheduler  # noqa: E402 - beside its use

scheduler = Scheduler(queue, tz="Europe/Athens")


@scheduler.cron("0 2 * * *", id="daily_cleanup", tz="UTC", misfire="fire_once", max_attempts=3)
async def cleanup() -> int:
    return 1


@scheduler.every(15, id="poll", misfire="catch_up", catch_up=5, start=datetime.now(UTC), limit=3)
async def poll(ctx: Context, db: DB = Depends(get_value)) -> str:
    return ctx.job_id


@scheduler.every(timedelta(minutes=1), id="blocking_poll")
def blocking_poll(optional: int = 1) -> bytes:
    return b""


@scheduler.cron("@daily", id="again")
@queue.handler("existing")
async def existing(n: int = 5) -> bool:
    return True


async def schedules() -> None:
    assert_type(cleanup, Handler[[], int])
    assert_type(poll, Handler[[], str])
    assert_type(blocking_poll, Handler[[], bytes])
    assert_type(await cleanup.enqueue(), Job[int])
    assert_type(await scheduler.upsert("welcome", send.job("c_1", body="hi"), cron="0 9 * * MON"), bool)
    await scheduler.upsert("welcome", send.job("c_1", body="hi"), every=15)
    await scheduler.upsert("welcome", send.job("c_1", body="hi"), at=datetime.now(UTC), misfire="skip")
    assert_type(await scheduler.list(), list[ScheduleInfo])
    assert_type(await scheduler.get("welcome"), ScheduleInfo | None)
    assert_type(await scheduler.pause("welcome"), bool)
    assert_type(await scheduler.preview("welcome", 5), list[datetime])
    assert_type(await scheduler.trigger("welcome"), Job[Any])
    async with scheduler as running:
        assert_type(running, Scheduler)
    async with Worker(queue, scheduler=scheduler):
        pass
    await Worker([queue], scheduler=[scheduler]).run()


# -- batches: with and without context, results, failures by index, results with failures among them -------------------


@queue.batch_handler("points", size=100, wait=2.0, key="x")
async def points(items: list[Point]) -> None: ...


@queue.batch_handler("named", wait=timedelta(seconds=2), key=lambda point: point.x, max_attempts=3, concurrency=2)
async def named(ctx: BatchContext, items: Sequence[Point], db: DB = Depends(get_value)) -> list[str]:
    ctx.fail(0, ValueError("none such"))
    ctx.items[1].fail(Retry(after=5))
    ctx.items[2].done("early")
    assert_type(ctx.items[0].attempt, int)
    return [f"{point.x} {await db.fetch()}" for point in items]


@queue.batch_handler("by index", quiet=30, max_delay=300)
def by_index(items: list[int]) -> dict[int, Exception]:
    return {0: ValueError()}


@queue.batch_handler("gathered", wait=1)
async def gathered(items: list[str]) -> list[int | BaseException]:
    async def one(item: str) -> int:
        return len(item)

    return await asyncio.gather(*map(one, items), return_exceptions=True)


@queue.batch_handler("perhaps", wait=1)
def perhaps(ctx: Context, items: list[dict[str, int]]) -> Mapping[int, Exception] | None:
    return None


@queue.batch_handler("threaded", wait=1)
def threaded(items: list[int], db: DB = Depends(get_value)) -> list[bytes]:
    return [b""] * len(items)


async def batches(point: Point) -> None:
    assert_type(await points.enqueue(point), Job[None])
    assert_type(await named.enqueue(point), Job[str])
    assert_type(await by_index.enqueue(5), Job[None])
    assert_type(await gathered.enqueue("s"), Job[int])
    assert_type(await perhaps.enqueue({"a": 1}), Job[None])
    assert_type(await threaded.enqueue(1), Job[bytes])
    assert_type(named.job(point), JobSpec[str])
    assert_type(await named.with_options(priority=Priority.LOW, group="g").enqueue(point), Job[str])
    assert_type(await queue.enqueue_many([threaded.job(n) for n in range(3)]), list[Job[bytes]])
    assert_type(await named([point], named.context(1), db=DB()), Sequence[str])
    assert_type(await gathered(["s"]), list[int | BaseException])
    assert_type(named.context(2), BatchContext)
    await points([point])
    known: BatchHandler[Point, str, Sequence[str]] = named
    assert_type(known.name, str)


# -- what is watched: health, alerts, hooks, events --------------------------------------------------------------------

watched = Queue(
    "watched",
    health=HealthPolicy(size=(1000, 5000), oldest=(60, timedelta(hours=1)), failed=None),
    alerts=[AlertRule("dead", above=50, for_=timedelta(minutes=5)), AlertRule("workers", below=(2, 1), every=None)],
    events={"dead", "completed"},
    keep_events=5000,
)
Queue("all", events=True, alerts=AlertRule("error_rate", above=0.5, severity="critical"))


@watched.health_check("database", timeout=timedelta(seconds=1), level="warning")
async def database() -> None: ...


@watched.health_check("disk")
def disk() -> bool | str:
    return True


@watched.on_alert
async def tell(alert: Alert) -> None:
    assert_type(alert.value, float)
    assert_type(alert.since, datetime)


@watched.on_alert(severity="critical")
def page(alert: Alert) -> None:
    print(alert)


@watched.on("dead", "failed")
async def on_failure(event: Event) -> None:
    assert_type(event.job_id, str)


@watched.on()
def on_anything(event: Event) -> None:
    print(event.json(), event.data.get("error"))


@watched.on_dead_letter
async def on_dead(letter: DeadLetter) -> None:
    assert_type(letter.reason, str)


async def watching() -> None:
    health = await watched.health()
    assert_type(health, Health)
    for reason in health.reasons:
        assert_type(reason, Reason)
        assert_type(reason.value, float | None)
    assert_type(await watched.alerts(), list[Alert])
    async for event in watched.events(after="0", names={"send"}, kinds=["dead"]):
        assert_type(event, Event)
    await tell((await watched.alerts())[0])
    assert_type(disk(), bool | str)
# -- streamq.testing: fixtures, queues in memory, time, assertions, one attempt, faults --------------------------------


def fixtures(memory_queue: MemoryQueues, streamq_clock: Clock) -> None:
    assert_type(memory_queue("name", max_attempts=3, timeout=timedelta(seconds=5)), Queue)
    assert_type(memory_queue(queue, faults=Faults().crash_worker(after="run", times=2)), Queue)
    assert_type(memory_queue(), Queue)
    assert_type(memory_queue.clock, Clock)
    assert_type(streamq_clock.now(), datetime)


async def testing_kit(db: DB) -> None:
    clock = freeze(at=datetime(2031, 1, 1, tzinfo=UTC))
    assert_type(clock, Clock)
    with MemoryQueues(clock=clock) as memory:
        assert_type(memory, MemoryQueues)
    async with MemoryQueues() as memory:
        assert_type(memory.url, str)
    await clock.advance(5)
    await clock.advance(timedelta(days=1), hours=2)
    await clock.advance_to(datetime.now(UTC))
    report = await run_until_idle(
        queue, queue, scheduler=Scheduler(queue), advance=timedelta(hours=1), timeout=5, expected=ConnectionError
    )
    assert_type(report, Report)
    assert_type(report.completed, list[Attempted])
    assert_type(report.left, Mapping[str, Counts])
    await run_until_idle(queue, include_delayed=True, raises=False, expected=(ValueError, KeyError), concurrency=1)
    assert_type(await assert_enqueued(queue, "name", {"count": 1}, n=5, delay=60, count=1), list[JobInfo])
    assert_type(await assert_enqueued(queue, points, at=datetime.now(UTC), priority=Priority.HIGH), list[JobInfo])
    await assert_not_enqueued(queue)
    await assert_not_enqueued(queue, by_index, item=5)
    assert_type(await enqueued(queue, "name"), list[JobInfo])
    assert_type(await perform(queue.spec("name", {}), attempt=2, stalls=1, state=db), Any)
    with overrides(queue, {get_value: lambda: db}):
        pass
    plan = Faults().lose_reply(to="enqueue").drop_connection(before="settle").stall_lease(times=2)
    assert_type(plan, Faults)
    with plan.on(queue) as on:
        assert_type(on.remaining, list[str])
