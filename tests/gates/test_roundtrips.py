"""The deterministic gate: round trips and Redis commands per job, as the server counted them.

Timings cannot gate a change, these can. A change that raises a number here spends what was won; it does so on purpose,
by changing the number, or not at all.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from streamq import Context, Fixed, Queue, Worker
from tests.servers import Server

JOBS = 1000
BATCH = 200
CONCURRENCY = 100

Counted = dict[str, int]


def a_queue(server: Server, prefix: str) -> Queue:
    return Queue("gate", url=server.url, prefix=prefix)


async def counted(server: Server, work: Callable[[], Awaitable[object]]) -> Counted:
    """Return how often each command ran, those inside scripts included, connection set-up left out."""
    server.command("CONFIG", "RESETSTAT")
    await work()
    ignored = {"info", "config|resetstat", "client|setinfo", "client|setname", "client|id", "hello", "select", "ping"}
    return {name: calls for name, calls in server.commandstats().items() if name not in ignored}


def per_job(found: Counted, jobs: int = JOBS) -> dict[str, float]:
    return {name: round(calls / jobs, 4) for name, calls in sorted(found.items())}


@pytest.fixture
def quiet(fresh_server: Callable[..., Server]) -> Server:
    """A server nobody else talks to, or the counters would count others."""
    return fresh_server("valkey")


async def test_enqueue_one_by_one_is_one_call_a_job(quiet: Server, prefix: str) -> None:
    queue = a_queue(quiet, prefix)

    @queue.handler("noop")
    async def noop(number: int) -> None:
        del number

    await noop.enqueue(0)  # connects

    async def work() -> None:
        for number in range(JOBS):
            await noop.enqueue(number)

    found = per_job(await counted(quiet, work))
    assert found["evalsha"] == 1
    assert found["xadd"] == 1
    assert found["hset"] == 1  # the index row
    assert found["set"] == 1  # the producer's memo
    assert found["hincrby"] == 2  # who arrived: since ever, and this minute
    # Reads before the first write, and the bell: they are cheap, but they are counted. A new minute has one more.
    assert sum(found.values()) <= 11.1, found
    await queue.aclose()


async def test_fifty_concurrent_enqueues_share_their_calls(quiet: Server, prefix: str) -> None:
    queue = a_queue(quiet, prefix)

    @queue.handler("noop")
    async def noop(number: int) -> None:
        del number

    await noop.enqueue(0)

    async def one(start: int) -> None:
        for number in range(JOBS // 50):
            await noop.enqueue(start + number)

    async def work() -> None:
        await asyncio.gather(*[one(caller) for caller in range(50)])

    found = per_job(await counted(quiet, work))
    assert found["evalsha"] <= 0.05, found  # at least twenty jobs a call
    assert found["xadd"] == 1
    await queue.aclose()


async def test_bulk_enqueue_is_one_call_for_two_hundred_jobs(quiet: Server, prefix: str) -> None:
    queue = a_queue(quiet, prefix)

    @queue.handler("noop")
    async def noop(number: int) -> None:
        del number

    await noop.enqueue(0)
    specs = [noop.job(number) for number in range(JOBS)]
    found = await counted(quiet, lambda: queue.enqueue_many(specs))
    assert found["evalsha"] == JOBS // BATCH
    assert found["xadd"] == JOBS
    assert found["hset"] == JOBS // BATCH
    assert found["hmget"] == 2 * JOBS // BATCH  # meta, and whether the ids are known
    assert found["hincrby"] == 2 * JOBS // BATCH  # who arrived
    assert sum(found.values()) <= JOBS + 12 * JOBS // BATCH, found
    await queue.aclose()


async def drained(queue: Queue, concurrency: int = CONCURRENCY) -> None:
    await Worker(queue, concurrency=concurrency).run(burst=True)


async def test_drain_settles_and_fetches_a_hundred_jobs_in_one_round_trip(quiet: Server, prefix: str) -> None:
    queue = a_queue(quiet, prefix)

    @queue.handler("noop")
    async def noop(number: int) -> None:
        del number

    await queue.enqueue_many([noop.job(number) for number in range(JOBS)])
    found = await counted(quiet, lambda: drained(queue))
    rounds = JOBS / CONCURRENCY
    # settle and fetch for each batch; the first bite is half; one tick, looks of the burst, goodbye.
    assert found["evalsha"] <= 2 * rounds + 12, found
    assert found["xreadgroup"] <= rounds + 3, found
    assert found["xack"] <= rounds + 3, found
    assert found["xdel"] == found["xack"], found
    assert found["hmget"] <= 5.2 * rounds + 12, found  # two of them read what is counted
    # No command per job: everything a job costs, it shares with its batch. Counting takes 0.04 of it.
    assert sum(found.values()) <= 0.45 * JOBS, per_job(found)
    await queue.aclose()


async def test_a_retry_costs_three_commands_more(quiet: Server, prefix: str) -> None:
    queue = a_queue(quiet, prefix)

    @queue.handler("flaky", max_attempts=2, backoff=Fixed(0))
    async def flaky(ctx: Context, number: int) -> None:
        if ctx.attempt == 1:
            raise ValueError(number)

    await queue.enqueue_many([flaky.job(number) for number in range(JOBS)])
    found = await counted(quiet, lambda: drained(queue))
    assert JOBS <= found["zadd"] <= JOBS + 3, found  # due time; one more a tick, the heartbeat
    assert found["xadd"] == JOBS  # back into its lane
    assert JOBS <= found["hset"] <= JOBS + 0.2 * JOBS, found  # body, one each; index rows, one a batch
    assert sum(found.values()) <= 4.2 * JOBS, per_job(found)
    await queue.aclose()


async def test_a_delayed_job_costs_two_commands_to_delay_and_one_to_promote(quiet: Server, prefix: str) -> None:
    queue = a_queue(quiet, prefix)

    @queue.handler("later")
    async def later(number: int) -> None:
        del number

    await later.enqueue(0)
    await drained(queue)
    specs = [later.with_options(delay=0.01).job(number) for number in range(JOBS)]
    stored = await counted(quiet, lambda: queue.enqueue_many(specs))
    assert stored["zadd"] == JOBS
    assert JOBS <= stored["hset"] <= JOBS + JOBS // BATCH + 1
    assert "xadd" not in stored

    async def work() -> None:
        async with Worker(queue, concurrency=CONCURRENCY):
            while (await queue.counts()).completed < JOBS + 1:  # noqa: ASYNC110 - the server's own count
                await asyncio.sleep(0.05)

    promoted = await counted(quiet, work)
    assert promoted["xadd"] == JOBS
    # 200 a call; the ZREM, HDEL and HSET of a call are one command each.
    assert promoted["zrem"] <= JOBS / 100 + 4, promoted
    await queue.aclose()


async def test_an_idle_worker_makes_at_most_two_calls_a_second(quiet: Server, prefix: str) -> None:
    queue = a_queue(quiet, prefix)

    @queue.handler("noop")
    async def noop() -> None: ...

    async def made(calls: int) -> None:
        while quiet.commandstats().get("evalsha", 0) < calls:  # noqa: ASYNC110 - the server's own count
            await asyncio.sleep(0.1)

    async with Worker(queue):
        await asyncio.wait_for(made(quiet.commandstats().get("evalsha", 0) + 3), 30)  # it has started, and ticked
        started = asyncio.get_running_loop().time()
        quiet.command("CONFIG", "RESETSTAT")
        await asyncio.wait_for(made(3), 30)  # three ticks, two seconds from one to the next
        elapsed = asyncio.get_running_loop().time() - started
        found = quiet.commandstats()
        calls = found.get("evalsha", 0) + found.get("blpop", 0)
        assert calls / elapsed <= 2.0, (calls, elapsed, found)
    await queue.aclose()
