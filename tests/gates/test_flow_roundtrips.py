"""The same gate for jobs with limits: what each feature adds, in commands a job; and that the others pay nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamq import Dedup, Group, Queue, RateLimit
from tests.gates.test_roundtrips import BATCH, CONCURRENCY, JOBS, Counted, counted, drained, per_job
from tests.servers import Server

WIDE = RateLimit(10_000_000)


@pytest.fixture
def quiet(fresh_server: Callable[..., Server]) -> Server:
    """A server nobody else talks to, or the counters would count others."""
    return fresh_server("valkey")


async def both(
    server: Server, prefix: str, queue_options: dict[str, Any], job: Callable[[int], dict[str, Any]]
) -> tuple[Counted, Counted]:
    """Return the commands of a bulk enqueue and of the drain of `JOBS` jobs with these options."""
    queue = Queue("gate", url=server.url, prefix=prefix, **queue_options)

    @queue.handler("noop")
    async def noop(number: int) -> None:
        del number

    await noop.with_options(**job(JOBS)).enqueue(JOBS)
    await drained(queue)  # declares the limits, loads the scripts
    specs = [noop.with_options(**job(number)).job(number) for number in range(JOBS)]
    stored = await counted(server, lambda: queue.enqueue_many(specs))
    run = await counted(server, lambda: drained(queue))
    assert (await queue.counts()).completed == JOBS + 1
    await queue.aclose()
    return stored, run


def cost(found: Counted) -> float:
    return sum(found.values()) / JOBS


async def test_a_plain_job_on_a_queue_with_limits_pays_a_batch_share(quiet: Server, prefix: str) -> None:
    stored, run = await both(quiet, prefix, {"limits": {"other": WIDE}}, lambda _: {})
    assert stored["evalsha"] == JOBS // BATCH
    assert cost(stored) <= 1.1, per_job(stored)
    assert cost(run) <= 1.2, per_job(run)


async def test_a_limit_of_the_whole_queue_costs_its_jobs_no_command_each(quiet: Server, prefix: str) -> None:
    stored, run = await both(quiet, prefix, {"rate_limit": WIDE, "global_concurrency": 1000}, lambda _: {})
    assert cost(stored) <= 1.1, per_job(stored)
    assert cost(run) <= 1.6, per_job(run)


CASES: list[tuple[str, dict[str, Any], Callable[[int], dict[str, Any]], float, float]] = [
    ("dedup", {}, lambda n: {"dedup": Dedup(f"k{n}")}, 4.6, 0.4),
    ("one group", {"group": Group(reserve=0)}, lambda _: {"group": "g"}, 2.3, 8.4),
    ("100 groups", {"group": Group(reserve=0)}, lambda n: {"group": f"g{n % 100}"}, 4, 13.6),
    ("a group a job", {"group": Group(reserve=0)}, lambda n: {"group": f"g{n}"}, 6.5, 14.6),
    ("ordered groups", {"group": Group(concurrency=1)}, lambda n: {"group": f"g{n % 100}"}, 4.1, 13.6),
    ("a rate key", {"limits": {"sms": WIDE}}, lambda _: {"rate_key": "sms"}, 2.3, 8.4),
    (
        "a group and a rate key",
        {"group": Group(reserve=0), "limits": {"sms": WIDE}},
        lambda n: {"group": f"g{n % 100}", "rate_key": "sms"},
        4,
        13.7,
    ),
]


@pytest.mark.parametrize(("name", "queue_options", "job", "to_store", "to_run"), CASES)
async def test_what_a_feature_adds(
    quiet: Server,
    prefix: str,
    name: str,
    queue_options: dict[str, Any],
    job: Callable[[int], dict[str, Any]],
    to_store: float,
    to_run: float,
) -> None:
    stored, run = await both(quiet, prefix, queue_options, job)
    assert stored["evalsha"] == JOBS // BATCH
    assert cost(stored) <= to_store, (name, per_job(stored))
    assert cost(run) <= to_run, (name, per_job(run))
    # Settle and take share a round trip, as settle and fetch do.
    assert run["evalsha"] <= 2 * JOBS / CONCURRENCY + 16, (name, run)
