"""Calls that must be refused: each marked line by both checkers, and no other line by either. Never run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from streamq import Alert, AlertRule, Arg, BatchContext, Context, Dedup, Depends, Event, Exponential, Fixed, Group
from streamq import HealthPolicy, Job, JobSpec, Keep, Priority, Queue, RateLimit, Retry, Snooze, Worker
from streamq.testing import Faults, MemoryQueues, assert_enqueued, freeze, perform, run_until_idle

queue = Queue("delivery")


class DB: ...


def get_db() -> DB:
    return DB()


@queue.handler("delivery:send")
async def send(ctx: Context, contact_id: str, body: str, channel: str = "sms") -> str:
    return contact_id + body + channel


@queue.handler("blocking")
def blocking(a: int, *, b: int = 0) -> list[int]:
    return [a, b]


@queue.handler("nothing")
async def nothing() -> None: ...


@queue.handler("anything")
async def anything(event: Any, b: int = 0) -> int:
    return b


async def arguments(db: DB) -> None:
    await send.enqueue("c_1", bdy="hi")  # E: mypy,pyright
    await send.enqueue("c_1", body=5)  # E: mypy,pyright
    await send.enqueue("c_1")  # E: mypy,pyright
    await send.enqueue("c_1", "hi", "sms", "more")  # E: mypy,pyright
    await send.enqueue(1, "hi")  # E: mypy,pyright
    await send.enqueue("c_1", "hi", ctx=None)  # E: mypy,pyright
    await send.with_options(delay=1).enqueue("c_1")  # E: mypy,pyright
    await blocking.enqueue(1, 2)  # E: mypy,pyright
    await blocking.enqueue("1")  # E: mypy,pyright
    await nothing.enqueue(1)  # E: mypy,pyright
    # With a first parameter annotated Any, mypy sees two overloads match and answers Any: it checks no such call.
    await anything.enqueue()  # E: pyright
    await anything.enqueue({}, b="1")  # E: pyright
    await send("c_1")  # E: mypy,pyright
    send.job("c_1", None)  # E: mypy,pyright


@queue.handler("misspelt", max_attempt=3)  # E: mypy,pyright
async def misspelt() -> None: ...


@queue.handler("a number is no backoff", backoff=5)  # E: mypy,pyright
async def number() -> None: ...


@queue.handler("not a tuple", no_retry=ValueError)  # E: mypy,pyright
async def not_a_tuple() -> None: ...


@queue.handler("no exception", no_retry=(int,))  # E: mypy,pyright
async def no_exception() -> None: ...


@queue.handler("no pool", pool="fork")  # E: mypy,pyright
def no_pool() -> None: ...


@queue.handler("delay belongs to a job", delay=3)  # E: mypy,pyright
async def delayed() -> None: ...


@queue.handler("a number is no rate limit", rate_limit=50)  # E: mypy,pyright
async def number_limit() -> None: ...


@queue.handler("no policy", on_limit="raise")  # E: mypy,pyright
async def no_policy() -> None: ...


@queue.handler("no key", rate_limit=RateLimit(5), rate_key=5)  # E: mypy,pyright
async def no_key() -> None: ...


@queue.handler("a key that is no text", concurrency_key=lambda job: 5)  # E: mypy,pyright
async def no_text() -> None: ...


@queue.handler("group belongs to a job", group="shop_42")  # E: mypy,pyright
async def grouped() -> None: ...


@queue.handler(5)  # E: mypy,pyright
async def no_name() -> None: ...


@queue.handler()  # E: mypy,pyright
async def unnamed() -> None: ...


@queue.handler("dependency of another type")
async def dependency(db: str = Depends(get_db)) -> None: ...  # E: mypy,pyright


async def options() -> None:
    send.with_options(dellay=3)  # E: mypy,pyright
    send.with_options(delay="3")  # E: mypy,pyright
    send.with_options(priority=1)  # E: mypy,pyright
    send.with_options(backoff=lambda attempt: 1.0)  # E: mypy,pyright
    send.with_options(at=3.0)  # E: mypy,pyright
    send.with_options(headers={"a": 1})  # E: mypy,pyright
    send.with_options(no_retry=(ValueError,))  # E: mypy,pyright
    send.with_options(30)  # E: mypy,pyright
    await queue.enqueue("delivery:send", {"body": "hi"}, dely=3)  # E: mypy,pyright
    await queue.enqueue("delivery:send", {"body": "hi"}, priority="high")  # E: mypy,pyright
    await queue.enqueue("delivery:send", ["hi"])  # E: mypy,pyright
    await queue.enqueue(send, {"body": "hi"})  # E: mypy,pyright
    queue.spec("delivery:send", timeout="30s")  # E: mypy,pyright
    send.with_options(group=42)  # E: mypy,pyright
    send.with_options(rate_key=RateLimit(5))  # E: mypy,pyright
    send.with_options(cost="2")  # E: mypy,pyright
    send.with_options(dedup="cart:42")  # E: mypy,pyright
    send.with_options(concurrency=5)  # E: mypy,pyright


async def bulk(job: Job[str]) -> None:
    await queue.enqueue_many([job])  # E: mypy,pyright
    await queue.enqueue_many([send])  # E: mypy,pyright
    await queue.enqueue_many([{"contact_id": "c_1"}])  # E: mypy,pyright
    await queue.enqueue_many(send.job("c_1", "hi"))  # E: mypy,pyright
    await queue.enqueue_many([send.job("c_1", "hi")], every="2s", chunk=1)  # E: mypy,pyright


async def results(job: Job[str], spec: JobSpec[str]) -> None:
    await send.job("c_1", "hi").result()  # E: mypy,pyright
    await spec.cancel()  # E: mypy,pyright
    wrong: int = await job.result()  # E: mypy,pyright
    narrow: Job[str] = await blocking.enqueue(1)  # E: mypy,pyright
    await job.result(10)  # E: mypy,pyright
    await job.retry(priority=1)  # E: mypy,pyright
    await job.set_priority("high")  # E: mypy,pyright
    unknown = await queue.job("id")
    await unknown.state()  # E: mypy,pyright
    print(wrong, narrow)


def construction() -> None:
    Queue()  # E: mypy,pyright
    Queue("q", max_attemps=3)  # E: mypy,pyright
    Queue("q", keep_dead=timedelta(days=30))  # E: mypy,pyright
    Queue("q", timeout="30")  # E: mypy,pyright
    Queue("q", lanes="weighted")  # E: mypy,pyright
    Queue("q", lanes={"high": 0.5})  # E: mypy,pyright
    Worker("q")  # E: mypy,pyright
    Worker(queue, 10)  # E: mypy,pyright
    Worker(queue, concurrency="10")  # E: mypy,pyright
    Queue("q", rate_limit=50)  # E: mypy,pyright
    Queue("q", group=5)  # E: mypy,pyright
    Queue("q", limits={"twilio": "80/s"})  # E: mypy,pyright
    Keep(count="10")  # E: mypy,pyright
    RateLimit("50")  # E: mypy,pyright
    RateLimit(50, 1, 10)  # E: mypy,pyright
    RateLimit(50, align="day")  # E: mypy,pyright
    RateLimit(50).count = 60  # E: mypy,pyright
    Group(rate=10)  # E: mypy,pyright
    Group(limit=5)  # E: mypy,pyright
    Dedup("a", "throttle")  # E: mypy,pyright
    Dedup("a", mode="latest")  # E: mypy,pyright
    Dedup(by="contact_id")  # E: mypy,pyright
    Arg(5)  # E: mypy,pyright
    Arg("a") < None  # E: mypy,pyright
    Arg("a").startswith(5)  # E: mypy,pyright
    Arg("a") & (Arg("b") == 1) == 1  # E: pyright
    (Arg("a") == 1) & 5  # E: mypy,pyright
    (Arg("a") == 1) & Arg("b")  # E: pyright
    Fixed("5")  # E: mypy,pyright
    Exponential()  # E: mypy,pyright
    Retry(after="5")  # E: mypy,pyright
    Snooze(until=5.0)  # E: mypy,pyright
    Snooze(datetime.now(UTC))  # E: mypy,pyright
    Priority.URGENT  # E: mypy,pyright


@queue.lifespan  # E: mypy,pyright
async def yields_nothing() -> None: ...


async def reading() -> None:
    await queue.jobs()  # E: mypy,pyright
    await queue.pause("deploy")  # E: mypy,pyright
    await queue.dlq.replay("id", priority="high")  # E: mypy,pyright
    [dead.id for dead in queue.dlq.list()]  # E: mypy,pyright
    (await queue.counts()).waitng  # E: mypy,pyright


# -- schedules -----------------------------------------------------------------------------------------------------

from streamq import Scheduler

scheduler = Scheduler(queue)


@scheduler.every(15, id="needs")  # E: mypy,pyright
async def needs(n: int) -> None: ...


@scheduler.cron("0 2 * * *", id="misfire", misfire="twice")  # E: mypy,pyright
async def misfires() -> None: ...


@scheduler.cron("0 2 * * *")  # E: mypy,pyright
async def nameless() -> None: ...


async def schedules() -> None:
    await scheduler.upsert("x", send, every=15)  # E: mypy,pyright
    await scheduler.upsert("x", send.job("c_1", body="hi"), every="15")  # E: mypy,pyright
    await scheduler.upsert("x", send.job("c_1", body="hi"), at="tomorrow")  # E: mypy,pyright
    await scheduler.upsert("x", send.job("c_1", body="hi"), every=15, misfires="skip")  # E: mypy,pyright
    await scheduler.pause(5)  # E: mypy,pyright
    Worker(queue, scheduler=queue)  # E: mypy,pyright
    Scheduler("delivery")  # E: mypy,pyright


@queue.batch_handler("numbers", wait=1)
async def numbers(items: list[int]) -> list[str]:
    return [str(item) for item in items]


@queue.batch_handler("one item", wait=1)  # E: mypy,pyright
async def one_item(item: str) -> None: ...


@queue.batch_handler("one result", wait=1)  # E: mypy,pyright
async def one_result(items: list[int]) -> int:
    return 1


@queue.batch_handler("size", size="10", wait=1)  # E: mypy,pyright
async def size(items: list[int]) -> None: ...


@queue.batch_handler("no option", wait=1, every=5)  # E: mypy,pyright
async def no_option(items: list[int]) -> None: ...


@queue.batch_handler("no key", wait=1, key=5)  # E: mypy,pyright
async def bad_key(items: list[int]) -> None: ...


@queue.handler("batch context in a plain handler")
async def plain(ctx: BatchContext, n: int) -> None: ...


async def batches() -> None:
    await numbers.enqueue("1")  # E: mypy,pyright
    await numbers.enqueue([1])  # E: mypy,pyright
    await numbers.enqueue(1, 2)  # E: mypy,pyright
    await numbers.enqueue()  # E: mypy,pyright
    await numbers(["1"])  # E: mypy,pyright
    numbers.job(None)  # E: mypy,pyright
    numbers.context(2).fail(0, "text")  # E: mypy,pyright
    await plain.enqueue(1)  # E: mypy,pyright


@queue.on("finished")  # E: mypy,pyright
async def on_finished(event: Event) -> None: ...


@queue.on("dead")  # E: mypy,pyright
async def not_an_event(event: int) -> None: ...


@queue.on_alert  # E: mypy,pyright
async def not_an_alert(alert: str) -> None: ...


@queue.on_alert(severity="bad")  # E: mypy,pyright
async def no_severity(alert: Alert) -> None: ...


@queue.on_dead_letter  # E: mypy,pyright
async def not_a_letter(event: Event) -> None: ...


@queue.health_check("db", level="bad")  # E: mypy,pyright
async def no_level() -> None: ...


HealthPolicy(size=1000)  # E: mypy,pyright
HealthPolicy((1, 2))  # E: mypy,pyright
AlertRule("deadness", above=1)  # E: mypy,pyright
AlertRule("dead", 50)  # E: mypy,pyright
AlertRule("dead", above="50")  # E: mypy,pyright
Queue("q", events={"finished"})  # E: mypy,pyright
Queue("q", health=(1, 2))  # E: mypy,pyright
async def testing_kit(memory_queue: MemoryQueues) -> None:
    memory_queue(queue, max_attempts=3)  # E: mypy,pyright
    memory_queue("name", max_attempts="3")  # E: mypy,pyright
    memory_queue(5)  # E: mypy,pyright
    await run_until_idle("name")  # E: mypy,pyright
    await run_until_idle(queue, expected="ValueError")  # E: mypy,pyright
    await run_until_idle(queue, burst=True)  # E: mypy,pyright
    Faults().crash_worker(after="lunch")  # E: mypy,pyright
    Faults().crash_worker("run")  # E: mypy,pyright
    await assert_enqueued(queue, 5)  # E: mypy,pyright
    await assert_enqueued(queue, "name", delay="soon")  # E: mypy,pyright
    await perform(send)  # E: mypy,pyright
    freeze("2031-01-01")  # E: mypy,pyright
