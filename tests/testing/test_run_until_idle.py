"""run_until_idle: what it runs, what it leaves, what it reports, and that a bug fails the test where it is."""

from __future__ import annotations

import asyncio
import threading
import traceback
from datetime import timedelta

import pytest

from streamq import (
    BatchContext,
    CircuitBreaker,
    Context,
    Dedup,
    Depends,
    Discard,
    Fixed,
    Group,
    Queue,
    RateLimit,
    Retry,
    Snooze,
    Worker,
)
from streamq.errors import ConfigError, InvalidPayload
from streamq.testing import MemoryQueues, freeze, run_until_idle
from tests.servers import Server


async def test_jobs_and_the_jobs_they_enqueue_are_run_in_order(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()

    @queue.handler("second")
    async def second(n: int) -> int:
        return n * 10

    @queue.handler("first")
    async def first(n: int) -> int:
        await second.enqueue(n)
        return n

    jobs = await queue.enqueue_many([first.job(n) for n in range(3)])
    report = await run_until_idle(queue, concurrency=1)

    assert [one.job_id for one in report.of("first")] == [job.id for job in jobs]
    assert [one.result for one in report.of("second")] == [0, 10, 20]
    assert all(one.outcome == "completed" and one.attempt == 1 and one.queue == "test" for one in report.attempts)
    assert [one.args for one in report.of("first")] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert len(report.completed) == 6
    assert report.left["test"].completed == 6
    assert str(report).splitlines()[0] == "first(n=0) attempt 1 completed"


async def test_nothing_to_do_is_reported_as_such(memory_queue: MemoryQueues) -> None:
    report = await run_until_idle(memory_queue())
    assert (report.attempts, report.unrun, report.crashes, report.stalls) == ((), (), 0, 0)
    assert str(report) == "nothing was run"


async def test_several_queues_are_run_by_one_worker(memory_queue: MemoryQueues) -> None:
    mails, texts = memory_queue("mails"), memory_queue("texts")

    @texts.handler("text")
    async def text() -> None: ...

    @mails.handler("mail")
    async def mail() -> None:
        await text.enqueue()

    await mail.enqueue()
    report = await run_until_idle(mails, texts)
    assert [(one.queue, one.name) for one in report.attempts] == [("mails", "mail"), ("texts", "text")]
    assert report.left.keys() == {"mails", "texts"}


async def test_the_first_unexpected_error_is_raised_where_it_is(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()

    def the_bug(user: str) -> None:
        raise LookupError(user)

    @queue.handler("greet")
    async def greet(user: str) -> None:
        the_bug(user)

    await greet.enqueue("ada")
    with pytest.raises(LookupError, match="ada") as caught:
        await run_until_idle(queue)
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-2:] == ["greet", "the_bug"]
    assert "greet(user='ada') attempt 1" in "".join(caught.value.__notes__)
    # The queue treated it as any failure: it is delayed until its retry.
    assert (await queue.counts()).delayed == 1


async def test_errors_are_left_to_the_queue_on_demand(memory_queue: MemoryQueues) -> None:
    queue = memory_queue(backoff=Fixed(0), max_attempts=2)

    @queue.handler("fail")
    async def fail(ctx: Context) -> None:
        raise ValueError(f"number {ctx.attempt}")

    await fail.enqueue()
    report = await run_until_idle(queue, raises=False)
    assert [(one.attempt, one.outcome, str(one.error)) for one in report.attempts] == [
        (1, "retried", "number 1"),
        (2, "dead", "number 2"),
    ]
    assert report.failed == list(report.attempts)
    assert report.dead == [report.attempts[1]]
    assert report.completed == []


async def test_expected_errors_are_not_raised(memory_queue: MemoryQueues) -> None:
    queue = memory_queue(max_attempts=1)

    @queue.handler("fail")
    async def fail(kind: str) -> None:
        raise ConnectionError if kind == "network" else TypeError

    await fail.enqueue("network")
    assert len((await run_until_idle(queue, expected=ConnectionError)).dead) == 1
    await fail.enqueue("code")
    with pytest.raises(TypeError):
        await run_until_idle(queue, expected=(ConnectionError, KeyError))


async def test_what_handlers_raise_to_steer_is_no_bug(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()

    @queue.handler("steer")
    async def steer(how: str) -> None:
        if how == "retry":
            raise Retry(after=60)
        if how == "snooze":
            raise Snooze(after=60)
        raise Discard("nobody needs it")

    for how in ("retry", "snooze", "discard"):
        await steer.enqueue(how)
    report = await run_until_idle(queue, concurrency=1)
    assert [one.outcome for one in report.attempts] == ["retried", "snoozed", "cancelled"]
    assert report.attempts[2].reason == "nobody needs it"


async def test_a_timeout_and_unfit_arguments_are_bugs(memory_queue: MemoryQueues) -> None:
    queue = memory_queue(timeout=0.05)
    sender = memory_queue("test")

    @queue.handler("slow")
    async def slow() -> None:
        await asyncio.Event().wait()

    @queue.handler("typed")
    async def typed(n: int) -> None: ...

    await slow.enqueue()
    with pytest.raises(TimeoutError, match="timed out after"):
        await run_until_idle(queue)
    await sender.enqueue("typed", {"n": "three"})
    with pytest.raises(InvalidPayload, match="typed"):
        await run_until_idle(queue)
    assert (await queue.counts()).dead == 1


async def test_delayed_and_paused_jobs_stay(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()

    @queue.handler("work")
    async def work() -> None: ...

    await work.with_options(delay=60).enqueue()
    assert (await run_until_idle(queue)).left["test"].delayed == 1
    await queue.pause()
    await work.enqueue()
    assert (await run_until_idle(queue)).left["test"].waiting == 1


async def test_jobs_that_a_limit_holds_stay_while_time_stands_still() -> None:
    async with MemoryQueues(clock=freeze()) as memory:
        queue = memory(rate_limit=RateLimit(2, per=60))

        @queue.handler("work")
        async def work() -> None: ...

        await queue.enqueue_many([work.job() for _ in range(5)])
        report = await run_until_idle(queue)
        assert len(report.completed) == 2
        assert report.left["test"].waiting == 3
        report = await run_until_idle(queue, advance=61)  # the log of a rate is exact to a hundredth of its window
        assert len(report.completed) == 2
        assert len((await run_until_idle(queue, include_delayed=True)).completed) == 1


async def test_a_limit_that_opens_by_itself_is_waited_for_while_time_runs(memory_queue: MemoryQueues) -> None:
    queue = memory_queue(rate_limit=RateLimit(2, per=0.2))

    @queue.handler("work")
    async def work() -> None: ...

    await queue.enqueue_many([work.job() for _ in range(5)])
    assert len((await run_until_idle(queue)).completed) == 5


async def test_groups_go_on_by_themselves(memory_queue: MemoryQueues) -> None:
    queue = memory_queue(group=Group(concurrency=1))

    @queue.handler("work")
    async def work(tenant: str) -> None:
        await asyncio.sleep(0.002)

    await queue.enqueue_many([work.with_options(group=tenant).job(tenant) for tenant in "aabbaabb"])
    assert len((await run_until_idle(queue)).completed) == 8


async def test_blocked_jobs_are_left_and_do_not_hang_it(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()

    @queue.handler("work")
    async def work() -> None: ...

    await queue.block(name="work", reason="a test")
    await work.enqueue()
    report = await run_until_idle(queue)
    assert (len(report.attempts), report.left["test"].waiting) == (0, 1)


async def test_what_ended_without_a_run_is_told_apart() -> None:
    clock = freeze()
    async with MemoryQueues(clock=clock) as memory:
        queue = memory()

        @queue.handler("work")
        async def work() -> None: ...

        await work.with_options(expires_in=5).enqueue()
        await clock.advance(seconds=6)
        await memory("test").enqueue("unknown.here")
        report = await run_until_idle(queue)
    assert report.attempts == ()
    assert [(one.name, one.outcome) for one in report.unrun] == [("work", "expired"), ("unknown.here", "parked")]
    assert "not run" in str(report)


async def test_batches_report_each_item(memory_queue: MemoryQueues) -> None:
    queue = memory_queue(max_attempts=1)

    @queue.batch_handler("sync", size=3, wait=60)
    async def sync(ctx: BatchContext, items: list[int]) -> list[int]:
        ctx.fail(1, ValueError("the second"))
        return [item * 2 for item in items]

    await queue.enqueue_many([sync.job(n) for n in range(3)])
    report = await run_until_idle(queue, raises=False)
    assert [(one.args, one.outcome) for one in report.attempts] == [
        ({"item": 0}, "completed"),
        ({"item": 1}, "dead"),
        ({"item": 2}, "completed"),
    ]


async def test_a_batch_that_waits_for_more_is_called_when_its_time_is_over() -> None:
    async with MemoryQueues(clock=freeze()) as memory:
        queue = memory()
        called: list[int] = []

        @queue.batch_handler("sync", size=10, wait=60)
        async def sync(items: list[int]) -> None:
            called.append(len(items))

        await queue.enqueue_many([sync.job(n) for n in range(4)])
        await run_until_idle(queue)
        assert called == []
        await run_until_idle(queue, advance=60)
        assert called == [4]


async def test_it_says_what_still_runs_when_its_time_is_over(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()
    cancelled: list[bool] = []

    @queue.handler("endless", timeout=None)
    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    job = await endless.enqueue()
    with pytest.raises(TimeoutError, match=rf"not idle within 0.2 s: endless \({job.id}\).* still running"):
        await run_until_idle(queue, timeout=0.2)
    assert cancelled == [True]
    assert (await queue.counts()).waiting == 1


async def test_it_works_on_a_server(server: Server, prefix: str) -> None:
    queue = Queue("q", url=server.url, prefix=prefix)
    used: list[str] = []

    def database() -> str:
        return "real"

    @queue.handler("work")
    async def work(n: int, db: str = Depends(database)) -> int:
        used.append(db)
        return n

    async with queue:
        await queue.enqueue_many([work.job(n) for n in range(50)])
        report = await run_until_idle(queue)
        assert sorted(one.result for one in report.completed) == list(range(50))
        assert used == ["real"] * 50
        with pytest.raises(ConfigError, match="moves the time of queues in memory"):
            await run_until_idle(queue, advance=60)
        with pytest.raises(ConfigError, match="moves the time of queues in memory"):
            await run_until_idle(queue, include_delayed=True)


async def test_another_worker_beside_is_waited_for(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()
    begun, door = asyncio.Event(), asyncio.Event()

    @queue.handler("work")
    async def work() -> None:
        begun.set()
        await door.wait()

    async with Worker(queue):
        await work.enqueue()
        await begun.wait()
        running = asyncio.create_task(run_until_idle(queue))
        await asyncio.wait([running], timeout=0.1)
        assert not running.done()
        door.set()
        assert (await running).left["test"].completed == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"advance": timedelta(hours=1), "include_delayed": True}, "two answers to one question"),
        ({"advance": -1}, "at least 0 s"),
        ({"timeout": 0}, "at least 0.001 s"),
    ],
)
async def test_wrong_options_say_so(memory_queue: MemoryQueues, options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        await run_until_idle(memory_queue(), **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_it_needs_a_queue() -> None:
    with pytest.raises(ConfigError, match="at least one Queue"):
        await run_until_idle()


async def test_queues_of_two_clocks_have_no_common_time(memory_queue: MemoryQueues) -> None:
    async with MemoryQueues() as other:
        with pytest.raises(ConfigError, match="by one memory_queue"):
            await run_until_idle(memory_queue("a"), other("b"), advance=1)


async def test_a_handler_may_wait_for_another_job(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()

    @queue.handler("part")
    async def part(n: int) -> int:
        return n * 2

    @queue.handler("whole")
    async def whole() -> list[int]:
        jobs = await queue.enqueue_many([part.job(n) for n in range(3)])
        return [await job.result(timeout=5) for job in jobs]

    await whole.enqueue()
    report = await run_until_idle(queue)
    assert [one.result for one in report.of("whole")] == [[0, 2, 4]]


async def test_plain_functions_run_in_threads(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()

    @queue.handler("thread")
    def thread() -> str:
        return threading.current_thread().name

    await thread.enqueue()
    report = await run_until_idle(queue)
    assert [one.result for one in report.attempts] != [threading.main_thread().name]


async def test_a_circuit_breaker_opens_and_probes_in_the_time_of_the_queue() -> None:
    clock = freeze()
    async with MemoryQueues(clock=clock) as memory:
        queue = memory(backoff=Fixed(1), max_attempts=10)
        down = [True]
        breaker = CircuitBreaker("provider", failures=2, window=60, open_for=300, on=ConnectionError)
        queue.use(breaker)

        @queue.handler("send")
        async def send() -> None:
            if down[0]:
                raise ConnectionError

        await send.enqueue()
        report = await run_until_idle(queue, advance=60, expected=ConnectionError)
        assert [one.outcome for one in report.attempts] == ["retried", "snoozed"]  # attempts untouched once it is open
        down[0] = False
        report = await run_until_idle(queue, advance=600)
        assert [one.outcome for one in report.attempts] == ["completed"]


async def test_what_replaces_a_retry_has_all_attempts_and_a_higher_fence(memory_queue: MemoryQueues) -> None:
    """Debounce: the last call counts. Whoever fences by `Context.fence` elsewhere must not refuse it for that."""
    queue = Queue("debounced", max_attempts=3, backoff=Fixed(60))
    seen: list[tuple[int, int, int]] = []

    @queue.handler("note")
    async def note(ctx: Context, n: int) -> None:
        seen.append((n, ctx.attempt, ctx.fence))
        if n < 4:
            raise ConnectionError

    memory_queue(queue)
    calm = note.with_options(dedup=Dedup("k", mode="debounce", ttl=1))
    first = await calm.enqueue(1)
    await run_until_idle(queue, advance=2, expected=ConnectionError)
    for n in (3, 4):
        job = await calm.enqueue(n)
        assert job.met == first.id
        await run_until_idle(queue, advance=2, expected=ConnectionError)
    assert [(n, attempt) for n, attempt, _ in seen] == [(1, 1), (3, 1), (4, 1)]
    fences = [fence for _, _, fence in seen]
    assert fences == sorted(set(fences))
