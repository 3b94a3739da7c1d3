"""What it costs to watch: nothing for who does not, and so much for who does, in commands the server counted."""

import asyncio
from collections.abc import Callable

import pytest

from streamq import AlertRule, Event, HealthPolicy, Queue, Worker
from tests.gates.test_roundtrips import JOBS, Counted, counted, drained, per_job
from tests.servers import Server


@pytest.fixture
def quiet(fresh_server: Callable[..., Server]) -> Server:
    """A server nobody else talks to, or the counters would count others."""
    return fresh_server("valkey")


async def life(quiet: Server, prefix: str, queue: Queue) -> Counted:
    """The commands of JOBS jobs, enqueued and run."""

    @queue.handler("noop")
    async def noop(number: int) -> None:
        del number

    await noop.enqueue(0)  # connects
    await drained(queue)

    async def work() -> None:
        await queue.enqueue_many([noop.job(number) for number in range(JOBS)])
        await queue.notices.flush()
        await drained(queue)

    found = await counted(quiet, work)
    await queue.aclose()
    return found


async def test_hooks_cost_the_server_nothing_and_events_one_command_each(quiet: Server, prefix: str) -> None:
    plain = await life(quiet, prefix, Queue("plain", url=quiet.url, prefix=prefix))
    hooked = Queue("hooked", url=quiet.url, prefix=prefix)
    heard: list[Event] = []

    @hooked.on("added", "active", "completed")
    async def hook(event: Event) -> None:
        heard.append(event)

    assert sum((await life(quiet, prefix, hooked)).values()) == pytest.approx(sum(plain.values()), rel=0.05)
    assert len(heard) == 3 * (JOBS + 1)

    kept = await life(quiet, prefix, Queue("kept", url=quiet.url, prefix=prefix, events=True))
    # One XADD an event, three events a job; what a batch of events shares: EVALSHA, GET, XLEN, SET.
    assert kept["xadd"] - plain["xadd"] == 3 * JOBS
    assert (sum(kept.values()) - sum(plain.values())) / JOBS <= 3.4, per_job(kept)

    some = await life(quiet, prefix, Queue("some", url=quiet.url, prefix=prefix, events={"dead"}))
    assert sum(some.values()) == pytest.approx(sum(plain.values()), rel=0.05)


async def test_health_is_a_handful_of_commands_however_many_jobs_there_are(quiet: Server, prefix: str) -> None:
    queue = Queue("gate", url=quiet.url, prefix=prefix, health=HealthPolicy())
    await queue.health()

    async def commands(jobs: int) -> int:
        await queue.enqueue_many([queue.spec("x") for _ in range(jobs)])
        return sum((await counted(quiet, queue.health)).values())

    few, many = await commands(10), await commands(2000)
    assert few == many <= 60
    await queue.aclose()


async def test_an_idle_worker_with_rules_makes_few_calls(quiet: Server, prefix: str) -> None:
    queue = Queue("gate", url=quiet.url, prefix=prefix, alerts=AlertRule("dead", above=5))
    async with Worker(queue):
        while not quiet.command("HGET", queue_alerts(prefix), "rules"):  # noqa: ASYNC110 - the server's own record
            await asyncio.sleep(0.05)
        loop = asyncio.get_running_loop()
        started = loop.time()
        quiet.command("CONFIG", "RESETSTAT")
        while quiet.commandstats().get("evalsha", 0) < 15:  # noqa: ASYNC110 - the server's own count
            await asyncio.sleep(0.1)
        # Two a second without rules; with them one look every five seconds, of four calls.
        assert 15 / (loop.time() - started) <= 3.0
    await queue.aclose()


def queue_alerts(prefix: str) -> str:
    return f"{prefix}:{{gate:0}}:al"
