"""A fault plan: what users' handlers go through, on the very code of worker, producer and scripts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamq import Context, Fixed, Group, JobState, Queue, Worker
from streamq.errors import ConfigError
from streamq.testing import Clock, Faults, MemoryQueues, run_until_idle


class Bank:
    """What a handler pays into: with and without a key that makes a second time harmless."""

    def __init__(self) -> None:
        self.payments: list[str] = []
        self.by_key: dict[str, int] = {}


@pytest.fixture
def bank() -> Bank:
    return Bank()


def paying(queue: Queue, bank: Bank) -> Any:
    @queue.handler("pay")
    async def pay(ctx: Context, account: str, amount: int) -> None:
        bank.payments.append(account)
        bank.by_key[ctx.idempotency_key] = amount

    return pay


@pytest.mark.parametrize("with_clock", [True, False], ids=["frozen", "running"])
async def test_a_worker_that_dies_after_the_run_makes_a_job_run_twice_and_end_once(
    memory_queue: MemoryQueues, bank: Bank, request: pytest.FixtureRequest, *, with_clock: bool
) -> None:
    if with_clock:
        memory_queue = request.getfixturevalue("frozen")
    queue = memory_queue(faults=Faults().crash_worker(after="run"))
    job = await paying(queue, bank).enqueue("a", 5)
    report = await run_until_idle(queue)

    assert [(one.attempt, one.outcome) for one in report.attempts] == [(1, "crashed"), (1, "completed")]
    assert (report.crashes, report.left["test"].completed) == (1, 1)
    assert bank.payments == ["a", "a"]
    assert list(bank.by_key.values()) == [5]
    assert await job.state() is JobState.COMPLETED
    assert (await queue.counts()).stalled == 1
    assert (await queue.verify()).sound


@pytest.fixture
def frozen(streamq_clock: Clock) -> Any:
    with MemoryQueues(clock=streamq_clock) as made:
        yield made


async def test_a_worker_that_dies_after_the_fetch_runs_nothing_twice(memory_queue: MemoryQueues, bank: Bank) -> None:
    queue = memory_queue(faults=Faults().crash_worker(after="fetch"))
    await paying(queue, bank).enqueue("a", 5)
    report = await run_until_idle(queue)
    assert [one.outcome for one in report.attempts] == ["completed"]
    assert report.crashes == 1
    assert bank.payments == ["a"]


async def test_a_worker_that_dies_when_all_is_told_runs_nothing_twice(memory_queue: MemoryQueues, bank: Bank) -> None:
    queue = memory_queue(faults=Faults().crash_worker(after="settle"))
    await paying(queue, bank).enqueue("a", 5)
    report = await run_until_idle(queue)
    assert [one.outcome for one in report.attempts] == ["completed"]
    assert report.crashes == 1
    assert bank.payments == ["a"]
    assert (await queue.counts()).completed == 1


async def test_a_job_that_kills_every_worker_is_given_up(memory_queue: MemoryQueues, bank: Bank) -> None:
    queue = memory_queue(faults=Faults().crash_worker(after="run", times=3))
    await paying(queue, bank).enqueue("a", 5)
    report = await run_until_idle(queue)
    assert [one.outcome for one in report.attempts] == ["crashed"] * 3
    assert [(one.outcome, one.reason) for one in report.unrun] == [("dead", "stalled")]
    assert report.dead == list(report.unrun)
    assert (report.crashes, report.left["test"].dead) == (3, 1)


async def test_jobs_beside_the_one_that_died_run_again_too(memory_queue: MemoryQueues) -> None:
    queue = memory_queue(faults=Faults().crash_worker(after="run"))
    ended: list[str] = []
    cut: list[str] = []

    @queue.handler("quick")
    async def quick() -> None:
        ended.append("quick")

    @queue.handler("slow")
    async def slow() -> None:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            cut.append("slow")
            raise
        ended.append("slow")

    await slow.enqueue()
    await quick.enqueue()
    report = await run_until_idle(queue)
    assert sorted(ended) == ["quick", "quick", "slow"]
    assert cut == ["slow"]
    assert sorted((one.name, one.outcome) for one in report.attempts) == [
        ("quick", "completed"),
        ("quick", "crashed"),
        ("slow", "completed"),
        ("slow", "crashed"),
    ]


async def test_a_lease_that_runs_out_lets_two_run_and_one_of_them_count(memory_queue: MemoryQueues, bank: Bank) -> None:
    queue = memory_queue(faults=Faults().stall_lease())
    await paying(queue, bank).enqueue("a", 5)
    report = await run_until_idle(queue)
    assert sorted(one.outcome for one in report.attempts) == ["completed", "lost"]
    assert (report.crashes, report.stalls) == (0, 1)
    assert bank.payments == ["a", "a"]
    assert (await queue.counts()).completed == 1
    assert (await queue.verify()).sound


async def test_a_fence_tells_the_late_one(memory_queue: MemoryQueues) -> None:
    queue = memory_queue(faults=Faults().stall_lease())
    fences: list[int] = []

    @queue.handler("write")
    async def write(ctx: Context) -> None:
        fences.append(ctx.fence)

    await write.enqueue()
    await run_until_idle(queue)
    assert fences[0] < fences[1]


async def test_a_lost_reply_of_an_enqueue_adds_no_second_job(memory_queue: MemoryQueues) -> None:
    queue = memory_queue(faults=Faults().lose_reply(to="enqueue", times=2))
    job = await queue.enqueue("work")
    assert job.created
    assert (await queue.counts()).waiting == 1


async def test_a_lost_reply_of_a_settlement_settles_once(memory_queue: MemoryQueues, bank: Bank) -> None:
    queue = memory_queue(faults=Faults().lose_reply(to="settle"))
    await paying(queue, bank).enqueue("a", 5)
    report = await run_until_idle(queue)
    assert [one.outcome for one in report.attempts] == ["completed"]
    assert bank.payments == ["a"]
    assert (await queue.counts()).completed == 1


async def test_dropped_connections_come_back(memory_queue: MemoryQueues, bank: Bank) -> None:
    plan = Faults().drop_connection(before="enqueue").drop_connection(before="fetch").drop_connection(before="settle")
    queue = memory_queue(faults=plan)
    await paying(queue, bank).enqueue("a", 5)
    report = await run_until_idle(queue)
    assert [one.outcome for one in report.attempts] == ["completed"]
    assert bank.payments == ["a"]
    assert plan.remaining == []


async def test_they_come_one_after_the_other(memory_queue: MemoryQueues, bank: Bank) -> None:
    plan = (
        Faults().lose_reply(to="enqueue").crash_worker(after="fetch").crash_worker(after="run").lose_reply(to="settle")
    )
    queue = memory_queue(faults=plan)
    await paying(queue, bank).enqueue("a", 5)
    report = await run_until_idle(queue)
    assert [one.outcome for one in report.attempts] == ["crashed", "completed"]
    assert (report.crashes, (await queue.counts()).completed) == (2, 1)


async def test_retries_go_on_after_a_crash(memory_queue: MemoryQueues) -> None:
    queue = memory_queue(faults=Faults().crash_worker(after="run"), max_attempts=2, backoff=Fixed(0))

    @queue.handler("fail")
    async def fail() -> None:
        raise ConnectionError

    await fail.enqueue()
    report = await run_until_idle(queue, raises=False)
    assert [(one.attempt, one.outcome) for one in report.attempts] == [(1, "crashed"), (1, "retried"), (2, "dead")]


async def test_an_ordinary_worker_has_lost_replies_too(memory_queue: MemoryQueues, bank: Bank) -> None:
    queue = memory_queue(faults=Faults().lose_reply(to="settle").drop_connection(before="fetch"))
    async with Worker(queue):
        job = await paying(queue, bank).with_options(keep_result=True).enqueue("a", 5)
        await job.result(timeout=10)
    assert bank.payments == ["a"]


async def test_a_plan_may_be_on_for_a_while(memory_queue: MemoryQueues, bank: Bank) -> None:
    queue = memory_queue()
    pay = paying(queue, bank)
    with Faults().crash_worker(after="run").on(queue) as plan:
        await pay.enqueue("a", 5)
        await run_until_idle(queue)
        assert plan.remaining == []
    await pay.enqueue("b", 5)
    assert (await run_until_idle(queue)).crashes == 0
    assert bank.payments == ["a", "a", "b"]


async def test_what_never_happened_fails_the_test(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()
    plan = Faults().crash_worker(after="run", times=2).stall_lease()
    with (
        pytest.raises(AssertionError, match=r"never happened: crash_worker\(after='run'\) x2, stall_lease\(\)"),
        plan.on(queue),
    ):
        await run_until_idle(queue)
    assert repr(plan) == "<Faults crash_worker(after='run') x2, stall_lease()>"


async def test_an_error_in_the_block_is_not_hidden_by_that(memory_queue: MemoryQueues) -> None:
    with pytest.raises(ZeroDivisionError), Faults().stall_lease().on(memory_queue()):
        raise ZeroDivisionError


async def test_only_queues_in_memory_have_faults() -> None:
    with pytest.raises(ConfigError, match="is no queue in memory"), Faults().on(Queue("q", url="redis://nowhere")):
        pass


@pytest.mark.parametrize(
    ("verb", "options", "said"),
    [
        ("crash_worker", {"after": "lunch"}, "after='lunch': give one of fetch, run, settle"),
        ("lose_reply", {"to": "fetch"}, "to='fetch': give one of enqueue, settle"),
        ("drop_connection", {"before": ""}, "before='': give one of"),
        ("stall_lease", {"times": 0}, "times=0: give a whole number"),
    ],
)
def test_wrong_plans_say_so(verb: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        getattr(Faults(), verb)(**options)


async def test_jobs_of_groups_are_taken_over_while_time_stands_still(frozen: MemoryQueues) -> None:
    queue = frozen(faults=Faults().crash_worker(after="run", times=2), group=Group(concurrency=1))
    ran: list[str] = []

    @queue.handler("work")
    async def work(tenant: str, n: int) -> None:
        ran.append(f"{tenant}{n}")

    await queue.enqueue_many([work.with_options(group=tenant).job(tenant, n) for n in range(2) for tenant in "ab"])
    report = await run_until_idle(queue)
    assert report.crashes == 2
    assert sorted(one.args["tenant"] for one in report.completed) == ["a", "a", "b", "b"]
    assert set(ran) == {"a0", "a1", "b0", "b1"}
    assert (await queue.verify()).sound
