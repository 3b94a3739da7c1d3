"""Statistics and metrics of a whole system: they equal what the handlers wrote down, whatever went wrong meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from streamq import Context, Dedup, Discard, Fatal, Queue, RateLimited, Scheduler, Snooze, Worker
from streamq.errors import ConfigError
from streamq.metrics import exposition, negotiated
from tests.proxy import Fault, Proxy, Rule
from tests.scrape import samples
from tests.servers import Server
from tests.worker.helpers import Gate, MakeQueue, drain, ended, loose, until

JOBS = 300


def counted(row: Any) -> dict[str, int]:
    names = ("arrived", "completed", "failed", "retried", "dead", "cancelled", "snoozed", "limited", "stalled")
    return {name: getattr(row, name) for name in names if getattr(row, name)}


async def told(*queues: Queue) -> dict[tuple[str, ...], float]:
    """Every sample of the exposition."""
    return samples(await exposition(queues))


def outcomes(queue: Queue, ledger: Counter[str]) -> None:
    """Handlers that end in every way and write down what they did."""

    @queue.handler("plain")
    async def plain(n: int) -> None:
        ledger["plain completed"] += 1
        del n

    @queue.handler("flaky", max_attempts=3)
    async def flaky(ctx: Context, n: int) -> None:
        if ctx.attempt <= n % 4:
            ledger["flaky failed"] += 1
            raise ValueError(n)
        ledger["flaky completed"] += 1

    @queue.handler("steered")
    async def steered(ctx: Context, n: int) -> None:
        if n % 3 == 0:
            ledger["steered cancelled"] += 1
            raise Discard("no")
        if n % 3 == 1:
            ledger["steered dead"] += 1
            raise Fatal("never")
        if ctx.fence >> 20 == 0:  # not put off yet
            name = "snoozed" if n % 2 else "limited"
            ledger[f"steered {name}"] += 1
            raise Snooze(0) if n % 2 else RateLimited(0)
        ledger["steered completed"] += 1


async def test_two_workers_count_what_their_handlers_did(make_queue: MakeQueue) -> None:
    ledger: Counter[str] = Counter()
    sending, first, second = make_queue(), make_queue(), make_queue()
    for queue in (sending, first, second):
        outcomes(queue, ledger)
    specs = [sending.spec(name, {"n": n}) for n in range(JOBS) for name in ("plain", "flaky", "steered")]
    await sending.enqueue_many(specs)
    async with Worker(first, concurrency=20), Worker(second, concurrency=20):

        async def over() -> bool:
            counts = await sending.counts()
            return counts.waiting + counts.active + counts.delayed == 0

        await until(over, "all is done")
    stats = await sending.stats("10m", by="name")
    found = {row.key: counted(row) for row in stats.rows}
    dead = sum(1 for n in range(JOBS) if n % 4 == 3)
    assert found["plain"] == {"arrived": JOBS, "completed": JOBS}
    assert found["flaky"] == {
        "arrived": JOBS,
        "completed": ledger["flaky completed"],
        "failed": ledger["flaky failed"],
        "retried": ledger["flaky failed"] - dead,
        "dead": dead,
    }
    assert found["steered"] == {
        "arrived": JOBS,
        **{name: ledger[f"steered {name}"] for name in ("completed", "cancelled", "dead", "snoozed", "limited")},
        "failed": ledger["steered dead"],
    }
    flaky = next(row for row in stats.rows if row.key == "flaky")
    assert flaky.run.count == flaky.wait.count == flaky.completed + flaky.failed
    assert {name: one.count for name, one in flaky.outcomes.items()} == {
        "completed": flaky.completed,
        "failed": flaky.failed,
    }
    counts = await sending.counts()
    for name in ("completed", "failed", "retried", "snoozed", "limited", "cancelled"):
        assert getattr(stats.total, name) == getattr(counts, name) == sum(getattr(row, name) for row in stats.rows)
    assert stats.total.dead == counts.dead
    assert sum(one.arrived for one in stats.series) == 3 * JOBS
    assert sum(one.completed for one in stats.series) == counts.completed


async def test_lost_replies_count_nothing_twice(server: Server, prefix: str) -> None:
    async with Proxy(server.socket) as proxy:
        queue = Queue("q", url=proxy.url, prefix=prefix)
        done: Counter[int] = Counter()

        @queue.handler("work")
        async def work(n: int) -> None:
            done[n] += 1

        async with Worker(queue, concurrency=10):
            rules: list[Rule] = []
            for batch in range(5):
                rules += [proxy.rule(verb, Fault.LOSE_REPLY, nth=2 - batch % 2) for verb in ("enqueue", "settle")]
                await queue.enqueue_many([work.with_options(tenant="ada").job(100 * batch + n) for n in range(50)])
                await until(lambda: sum(done.values()) >= 50 * (batch + 1), "the batch ran")  # noqa: B023 - awaited here
            await until(lambda: _is_settled(queue), "all is settled")
        assert sum(rule.hits for rule in rules) >= 5
        assert done.total() == len(done) == 250
        stats = await queue.stats(by="tenant")
        [row] = stats.rows
        assert counted(row) == counted(stats.total) == {"arrived": 250, "completed": 250}
        assert row.run.count == 250
        await queue.aclose()


async def _is_settled(queue: Queue) -> bool:
    counts = await queue.counts()
    return counts.waiting + counts.active == 0


async def test_jobs_of_a_vanished_worker_are_stalled_and_counted_once(
    make_queue: MakeQueue, server: Server, prefix: str
) -> None:
    ran: Counter[int] = Counter()
    async with Proxy(server.socket) as proxy:
        queue, gate = Queue("q", url=proxy.url, prefix=prefix), Gate()

        @queue.handler("slow")
        async def slow(n: int) -> None:
            await gate.through(str(n))

        await queue.enqueue_many([slow.with_options(tenant="ada").job(n) for n in range(5)])
        cut = Worker(queue, concurrency=10, lease=2)
        async with loose(cut):
            await until(lambda: len(gate.started) == 5, "all run")
            # Cut off from the server it keeps no lease, and what it did is not told.
            proxy.is_refusing = True
            await proxy.reset_all()
            heir = make_queue()

            @heir.handler("slow")
            async def again(n: int) -> None:
                ran[n] += 1

            async with Worker(heir, lease=2):
                await until(lambda: len(ran) == 5, "the other one ran them")
                await until(lambda: _is_settled(heir), "all is settled")
            gate.open()
        await queue.aclose()
    for row in ((await heir.stats()).total, (await heir.stats(by="tenant")).rows[0]):
        assert (row.arrived, row.completed, row.stalled) == (5, 5, 5)
        assert (row.run.count, row.wait.count) == (5, 0)  # nobody knows when they were ready the second time


async def test_rows_by_tenant_and_what_is_deduplicated(queue: Queue) -> None:
    @queue.handler("mail")
    async def mail(n: int) -> None:
        del n

    for n in range(4):
        await mail.with_options(tenant="ada" if n % 2 else "bob", dedup=Dedup("one")).enqueue(n)
    await mail.with_options(job_id="x").enqueue(1)
    await mail.with_options(job_id="x").enqueue(1)
    await drain(queue)
    stats = await queue.stats("1h", by="tenant")
    assert {row.key: (row.arrived, row.deduplicated, row.completed) for row in stats.rows} == {
        "bob": (1, 1, 1),
        "ada": (0, 2, 0),
    }
    assert (stats.total.arrived, stats.total.deduplicated, stats.total.completed) == (2, 4, 2)


async def test_a_cancelled_job_is_counted_by_its_handler(queue: Queue) -> None:
    @queue.handler("mail")
    async def mail() -> None: ...

    @queue.handler("slow")
    async def slow() -> None:
        await asyncio.sleep(60)

    waiting = await mail.with_options(delay=60).enqueue()
    await waiting.cancel()
    async with Worker(queue):
        running = await slow.enqueue()
        await until(lambda: _active(queue), "it runs")
        await running.cancel()
        await ended(running)
    rows = {row.key: row for row in (await queue.stats(by="name")).rows}
    assert (rows["mail"].cancelled, rows["slow"].cancelled) == (1, 1)
    assert (rows["mail"].run.count, rows["slow"].outcomes["cancelled"].count) == (0, 1)


async def _active(queue: Queue) -> bool:
    return (await queue.counts()).active == 1


async def test_waits_and_runs_are_told(queue: Queue) -> None:
    @queue.handler("nap")
    async def nap() -> None:
        await asyncio.sleep(0.03)

    await queue.enqueue_many([nap.job() for _ in range(10)])
    await asyncio.sleep(0.1)
    await drain(queue, concurrency=10)
    total = (await queue.stats()).total
    assert total.run.p50 is not None
    assert total.wait.p50 is not None
    assert 20 <= total.run.p50 <= 200
    assert total.run.sum_ms >= 300
    assert 50 <= total.wait.p50 <= 5000
    assert total.wait.sum_ms >= 900


async def test_the_wait_of_a_delayed_job_begins_when_it_is_due(queue: Queue) -> None:
    @queue.handler("later")
    async def later() -> None: ...

    async with Worker(queue):
        await ended(await later.with_options(delay=1.0).enqueue())
        total = (await queue.stats()).total
    assert total.wait.count == 1
    assert total.wait.sum_ms < 900


@pytest.mark.parametrize(("window", "by"), [("2d", None), (1, None), ("1h", "queue")])
async def test_what_no_report_can_be_of_is_refused(queue: Queue, window: Any, by: Any) -> None:
    with pytest.raises(ConfigError):
        await queue.stats(window, by=by)


# -- exposition --------------------------------------------------------------------------------------------------------


async def test_the_exposition_says_what_the_queue_says(make_queue: MakeQueue) -> None:
    queue, ledger = make_queue(), Counter[str]()
    outcomes(queue, ledger)
    await queue.enqueue_many([queue.spec("flaky", {"n": n}) for n in range(40)])
    await drain(queue)
    await queue.enqueue("plain", {"n": 1}, delay=60)
    await queue.enqueue("plain", {"n": 1})
    await until(lambda: _has_waited(queue), "it has waited for a while")
    found = await told(queue)
    counts = await queue.counts()
    assert found["streamq_up", "q"] == 1
    for state in ("waiting", "active", "delayed", "parked", "dead"):
        assert found["streamq_queue_jobs", "q", state] == getattr(counts, state)
    assert found["streamq_jobs_arrived_total", "q", "plain"] == 2
    assert found["streamq_jobs_completed_total", "q", "flaky"] == counts.completed
    assert found["streamq_attempts_failed_total", "q", "flaky"] == counts.failed
    assert found["streamq_jobs_dead_total", "q", "flaky"] == counts.dead == 10
    assert found["streamq_job_run_seconds_count", "q", "flaky", "failed"] == counts.failed
    assert found["streamq_job_wait_seconds_count", "q", "flaky"] == counts.failed + counts.completed
    assert found["streamq_job_run_seconds_bucket", "q", "flaky", "completed", "+Inf"] == counts.completed
    assert found["streamq_workers", "q"] == 0
    assert 0 < found["streamq_queue_oldest_seconds", "q"] < 60


async def _has_waited(queue: Queue) -> bool:
    return ((await queue.counts()).oldest or 0) > 0


async def test_workers_pauses_and_schedules_are_told(queue: Queue) -> None:
    scheduler = Scheduler(queue)

    @scheduler.every(3600, id="hourly")
    async def hourly() -> None: ...

    async with Worker(queue, concurrency=7, scheduler=scheduler):
        await until(lambda: _has_worker(queue), "it beats")
        await queue.pause(reason="test")
        found = await told(queue)
    assert hourly.name == "hourly"
    assert found["streamq_workers", "q"] == 1
    assert found["streamq_worker_slots", "q"] == 7
    assert found["streamq_worker_slots_busy", "q"] == 0
    assert found["streamq_queue_paused", "q"] == 1
    assert found["streamq_schedules", "q"] == 1
    assert found["streamq_schedule_overdue_seconds", "q"] == 0
    assert found["streamq_schedule_missed_total", "q"] == 0


async def _has_worker(queue: Queue) -> bool:
    return any(worker.alive for worker in await queue.workers())


async def test_a_server_that_is_away_is_told_beside_those_that_answer(make_queue: MakeQueue) -> None:
    queue = make_queue()
    gone = make_queue("gone", url="redis://127.0.0.1:1/0")
    found = await told(queue, gone)
    assert found["streamq_up", "q"] == 1
    assert [key for key in found if "gone" in key] == [("streamq_up", "gone")]
    assert found["streamq_up", "gone"] == 0


async def test_nothing_to_tell_of_is_still_an_answer() -> None:
    assert list(await told()) != []
    text, kind = negotiated("application/openmetrics-text")
    assert text
    assert kind.startswith("application/openmetrics-text")
    assert (await exposition([], openmetrics=True)).endswith("# EOF\n")
