"""Circuit breakers in running workers: who opens them, what waits, who probes, and what closing lets go."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streamq import (
    BreakerInfo,
    CircuitBreaker,
    Context,
    Dedup,
    Discard,
    Group,
    Job,
    JobState,
    Queue,
    RateLimit,
    Snooze,
    Worker,
)
from streamq._store import breakers as store
from streamq._store.keys import Keys
from streamq._store.session import Store
from streamq.errors import ConfigError, RedisUnavailable
from tests.servers import Server
from tests.worker import phones
from tests.worker.helpers import Gate, MakeQueue, ended, keys_of, until
from tests.worker.phones import Provider

ROOT = Path(__file__).parents[2]
Setting = Callable[..., tuple[Queue, CircuitBreaker, Provider]]


@pytest.fixture
async def setting(server: Server, prefix: str, tmp_path: Path) -> AsyncIterator[Setting]:
    """Makes the queue of `phones`, as many times as there shall be processes."""
    made: list[Queue] = []

    def make(**options: Any) -> tuple[Queue, CircuitBreaker, Provider]:
        found = phones.make(server.url, prefix, tmp_path, **options)
        made.append(found[0])
        return found

    yield make
    for queue in made:
        await queue.aclose()


def states(breaker: CircuitBreaker, queue: Queue, *wanted: str) -> Callable[[], Any]:
    """A fact to wait for: the breaker is in one of these states."""

    async def fact() -> bool:
        return (await breaker.state(queue)).state in wanted

    return fact


def completed(queue: Queue, count: int) -> Callable[[], Any]:
    """A fact to wait for: so many jobs are completed."""

    async def fact() -> bool:
        return (await queue.counts()).completed == count

    return fact


async def events(caplog: pytest.LogCaptureFixture, *names: str) -> list[str]:
    return [event for one in caplog.records if (event := str(vars(one).get("event"))) in names]


# -- the life of a breaker -------------------------------------------------------------------------------------------


async def test_jobs_wait_out_an_outage_with_their_attempts(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "streamq")
    queue, breaker, provider = setting()
    provider.fall()
    jobs = [await queue.enqueue("sms:send", {"n": n}) for n in range(60)]
    async with Worker(queue, concurrency=20):
        await until(states(breaker, queue, "open", "half_open"), "it opens")
        began = len(provider.calls())
        assert began <= 20 + 4, "what was in hand, and what followed on the four failures before"
        provider.most_while_down = 0

        async def three_probes() -> bool:
            return (await breaker.state(queue)).failed_probes >= 3

        await until(three_probes, "three probes failed")
        assert provider.most_while_down <= 1
        calls = len(provider.calls()) - began
        assert 3 <= calls <= (await breaker.state(queue)).failed_probes + 3, "one call a probe"
        provider.rise()
        await until(completed(queue, 60), "all are sent")
    assert [await job.state() for job in jobs] == [JobState.COMPLETED] * 60
    failed = [attempt for _, attempt in provider.calls("fails")]
    assert len(failed) > 3
    # Four failures came while it was closed; each of those cost an attempt, all later ones none.
    paid = [info.attempts - 1 for info in [await job.info() for job in jobs]]
    assert sum(paid) == 4
    assert (await queue.counts()).dead == 0
    assert await events(caplog, "breaker_opened", "breaker_closed") == ["breaker_opened", "breaker_closed"]
    opened = next(one for one in caplog.records if vars(one).get("event") == "breaker_opened")
    assert opened.getMessage() == (
        "circuit breaker twilio of phones opened: ConnectionError of sms:send (limit: 5 failures in 60 s); "
        "next probe in 0.3 s"
    )


async def test_all_workers_count_together(setting: Setting) -> None:
    made = [setting(open_for=60) for _ in range(5)]
    provider = made[0][2]
    provider.fall()
    for queue, _, _ in made:
        # Each process has one failure only.
        before = len(provider.calls("fails"))
        await queue.enqueue("sms:send", {"n": 1}, max_attempts=1)
        async with Worker(queue, concurrency=1):
            await until(partial(failures, provider, before + 1), "it failed")
    queue, breaker, _ = made[0]
    assert (await breaker.state(queue)).state == "open"
    assert len(provider.calls()) == 5
    assert (await queue.counts()).dead == 4, "the fifth was not charged"


def failures(provider: Provider, count: int) -> bool:
    return len(provider.calls("fails")) == count


@pytest.mark.parametrize("workers", [2, 4])
async def test_there_is_one_probe_at_a_time(setting: Setting, workers: int) -> None:
    made = [setting(open_for=0.05) for _ in range(workers)]
    queue, breaker, provider = made[0]
    provider.fall()
    async with asyncio.TaskGroup() as group:
        stop = asyncio.Event()

        async def work(one: Queue) -> None:
            async with Worker(one, concurrency=10):
                await stop.wait()

        for other, _, _ in made:
            group.create_task(work(other))
        await queue.enqueue_many([queue.spec("sms:send", {"n": n}) for n in range(50)])
        await until(states(breaker, queue, "open", "half_open"), "it opens")

        async def only_probes() -> bool:
            return (await breaker.state(queue)).failed_probes >= 1

        await until(only_probes, "what was in hand has ended")
        for _, _, one in made:
            one.most_while_down = 0
        before = len(provider.calls())
        await until(lambda: len(provider.calls()) >= before + 12, "twelve probes more")
        # Every call ended before the next began, whichever process it was in.
        lines = [line.split()[0] for line in (provider.folder / "calls").read_text().splitlines()]
        last = lines[-20 - len(lines) % 2 :]
        assert "begins begins" not in " ".join(last)
        provider.rise()
        await until(completed(queue, 50), "all are sent")
        stop.set()
    assert Counter(job for job, _ in provider.calls("ends")).most_common(1)[0][1] == 1, "none is sent twice"


async def test_an_idle_breaker_costs_a_success_nothing(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, _, provider = setting()
    told: list[str] = []
    original = store.breaker

    async def noting(*args: Any, **options: Any) -> store.Seen:
        told.append(args[1])
        return await original(*args, **options)

    monkeypatch.setattr(store, "breaker", noting)
    jobs = await queue.enqueue_many([queue.spec("sms:send", {"n": n}) for n in range(50)])
    async with Worker(queue):
        await asyncio.gather(*[job.result(timeout=10) for job in jobs])
    assert told == []
    provider.fall()
    job = await queue.enqueue("sms:send", {"n": 51}, max_attempts=1)
    async with Worker(queue):
        assert await ended(job) is not None
    assert told == ["failed"]


async def test_jobs_that_were_in_hand_go_back_unharmed(setting: Setting, prefix: str) -> None:
    """A worker that holds jobs ready learns that the breaker opened; none of them is tried."""
    queue, breaker, provider = setting(open_for=60)
    gate = Gate()

    @queue.handler("wait")
    async def wait() -> None:
        await gate.through("wait")

    await wait.enqueue()
    jobs = [await queue.enqueue("sms:send", {"n": n}) for n in range(5)]
    async with Worker(queue, concurrency=1) as worker:
        await until(lambda: gate.started)
        await breaker.open(queue, for_=60)
        gate.open()

        async def in_line() -> bool:
            return (await breaker.state(queue)).waiting == 5

        await until(in_line, "all five wait for the breaker")
        assert worker.active == 0
    assert provider.calls() == []
    assert {(await job.info()).attempts for job in jobs} == {0}
    assert {await job.state() for job in jobs} == {JobState.WAITING}


async def test_order_is_kept(setting: Setting) -> None:
    queue, breaker, provider = setting()
    await breaker.open(queue, for_=60)
    jobs = [await queue.enqueue("sms:send", {"n": n}) for n in range(30)]
    async with Worker(queue, concurrency=1):

        async def in_line() -> bool:
            return (await breaker.state(queue)).waiting == 30

        await until(in_line, "all wait")
        await breaker.close(queue)
        await until(completed(queue, 30))
    assert [job for job, _ in provider.calls()] == [job.id for job in jobs]


# -- what counts -----------------------------------------------------------------------------------------------------


class Http(Exception):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"{status}")


def refuses(error: Exception) -> bool:
    return isinstance(error, Http) and error.status >= 500


def confused(error: Exception) -> bool:
    raise AttributeError(f"on= fails itself at {error}")


@pytest.mark.parametrize(
    ("on", "error", "counts"),
    [
        ((ConnectionError, TimeoutError), ConnectionResetError("gone"), True),
        ((ConnectionError, TimeoutError), ValueError("bad number"), False),
        ((ConnectionError, TimeoutError), Discard("no such number"), False),
        ((ConnectionError, TimeoutError), RedisUnavailable("redis://here", "away"), False),
        ((ConnectionError, RedisUnavailable), RedisUnavailable("redis://here", "away"), True),
        (Exception, ValueError("any"), True),
        (refuses, Http(503), True),
        (refuses, Http(404), False),
        (confused, ValueError("any"), False),
    ],
)
async def test_which_errors_count(queue: Queue, on: Any, error: Exception, *, counts: bool) -> None:
    breaker = CircuitBreaker("provider", failures=2, open_for=60, on=on)
    queue.use(breaker)
    runs = 0

    @queue.handler("fail", max_attempts=1)
    async def fail() -> None:
        nonlocal runs
        runs += 1
        raise error

    for _ in range(2):
        await fail.enqueue()
    async with Worker(queue):
        await until(lambda: runs == 2)
    assert (await breaker.state(queue)).state == ("open" if counts else "closed")


async def test_a_handlers_timeout_counts_and_a_cancel_does_not(queue: Queue) -> None:
    breaker = CircuitBreaker("provider", failures=2, open_for=60)
    queue.use(breaker)
    gate = Gate()

    @queue.handler("slow", timeout=0.1, max_attempts=1)
    async def slow(n: int) -> None:
        await gate.through(str(n))

    @queue.handler("cancelled")
    async def cancelled() -> None:
        await gate.through("cancelled")

    async with Worker(queue):
        job = await cancelled.enqueue()
        await until(lambda: gate.started)
        await job.cancel()
        await ended(job)
        assert (await breaker.state(queue)).failures == 0
        dead = await slow.enqueue(1)
        problem = await ended(dead)
        assert "timed out" in str(problem)
        assert (await breaker.state(queue)).failures == 1
        held = await slow.enqueue(2)
        await until(states(breaker, queue, "open"))
        await until(lambda: waits(held), "it waits for the provider")
    assert (await held.info()).attempts == 0


async def waits(job: Job[Any]) -> bool:
    return await job.state() in {JobState.WAITING, JobState.DELAYED}


async def test_jobs_of_other_handlers_run_on(setting: Setting) -> None:
    queue, breaker, provider = setting(open_for=60)
    await breaker.open(queue)
    async with Worker(queue):
        held = await queue.enqueue("sms:send", {"n": 1})
        for n in range(20):
            job = await queue.enqueue("mail:send", {"n": n})
            assert await job.result(timeout=10) == f"mailed {n}"
        await until(lambda: in_line_of(breaker, queue, 1))
    assert await held.state() == JobState.WAITING
    assert provider.calls() == []


async def in_line_of(breaker: CircuitBreaker, queue: Queue, count: int) -> bool:
    return (await breaker.state(queue)).waiting == count


async def test_two_providers_fail_apart(make_queue: MakeQueue) -> None:
    queue = make_queue()
    one = CircuitBreaker("one", failures=1, open_for=60, handlers=("one", "both"))
    two = CircuitBreaker("two", failures=1, open_for=60, handlers=("two", "both"))
    queue.use(one)
    queue.use(two)
    ran: list[str] = []
    is_down = True

    @queue.handler("one", max_attempts=1)
    async def first() -> None:
        if is_down:
            raise ConnectionError

    @queue.handler("two")
    async def second() -> None:
        ran.append("two")

    @queue.handler("both")
    async def third() -> None:
        ran.append("both")

    async with Worker(queue):
        await first.enqueue()
        await until(states(one, queue, "open"))
        both = await third.enqueue()
        await (await second.enqueue()).result(timeout=10)
        await until(lambda: in_line_of(one, queue, 2))
        assert ran == ["two"]
        await two.open(queue)
        is_down = False
        await one.close(queue)
        await until(lambda: in_line_of(two, queue, 1))
        assert ran == ["two"], "closed by one, held by the other"
        await two.close(queue)
        await both.result(timeout=10)
    assert ran == ["two", "both"]
    assert (await two.state(queue)).failures == 0


@pytest.mark.parametrize("kind", ["thread", "batch"])
async def test_every_kind_of_handler(queue: Queue, kind: str) -> None:
    breaker = CircuitBreaker("provider", failures=1, open_for=0.1)
    queue.use(breaker)
    is_down, calls = True, 0

    def call() -> None:
        nonlocal calls
        calls += 1
        if is_down:
            raise ConnectionError

    if kind == "thread":

        @queue.handler("send")
        def send(item: int) -> None:
            call()
    else:

        @queue.batch_handler("send", size=3, wait=0.05)
        async def sync(items: list[int]) -> None:
            call()

    jobs = [await queue.enqueue("send", {"item": n}) for n in range(6)]
    async with Worker(queue, concurrency=2):

        async def probed() -> bool:
            return (await breaker.state(queue)).failed_probes >= 2

        await until(probed, "probes fail")
        is_down = False
        await until(completed(queue, 6), "all are sent")
    assert {(await job.info()).attempts for job in jobs} <= {0, 1}, "no failure was charged: the first one opened it"
    assert (await breaker.state(queue)).state == "closed"


# -- together with other limits --------------------------------------------------------------------------------------


async def test_closing_lets_go_within_the_rate_and_the_concurrency(queue: Queue) -> None:
    breaker = CircuitBreaker("provider", failures=1)
    queue.use(breaker)
    starts: list[float] = []
    running = most = 0

    @queue.handler("send", rate_limit=RateLimit(5, per=0.3), concurrency=2)
    async def send(n: int) -> None:
        nonlocal running, most
        starts.append(asyncio.get_running_loop().time())
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    await breaker.open(queue, for_=60)
    jobs = await queue.enqueue_many([send.job(n) for n in range(20)])
    async with Worker(queue), Worker(queue):
        await until(lambda: in_line_of(breaker, queue, 20))
        assert starts == []
        await breaker.close(queue)
        await asyncio.gather(*[job.result(timeout=10) for job in jobs])
    assert most <= 2
    # Exactly so only on the server's clock; a busy machine begins handlers later than jobs are handed out.
    assert starts[-1] - starts[0] > 0.6, "twenty, five in 0.3 s: three waits"


async def test_what_waited_spent_nothing_of_its_rate(queue: Queue) -> None:
    breaker = CircuitBreaker("provider", failures=1)
    queue.use(breaker)

    @queue.handler("send", rate_limit=RateLimit(3, per=timedelta(days=1)), rate_key="contact")
    async def send(contact: str) -> None: ...

    await breaker.open(queue, for_=60)
    jobs = [await send.enqueue("c_1") for _ in range(3)]
    async with Worker(queue):
        await until(lambda: in_line_of(breaker, queue, 3))
        await breaker.close(queue)
        await asyncio.gather(*[job.result(timeout=10) for job in jobs])


async def test_a_breaker_does_not_drop_what_a_rate_limit_would(queue: Queue) -> None:
    breaker = CircuitBreaker("provider", failures=1)
    queue.use(breaker)

    @queue.handler("send", rate_limit=RateLimit(3, per=timedelta(days=1)), rate_key="contact", on_limit="drop")
    async def send(contact: str) -> None: ...

    await breaker.open(queue, for_=60)
    jobs = [await send.enqueue("c_1") for _ in range(3)]
    async with Worker(queue):

        async def parked() -> bool:
            return all([(await queue.explain(job.id)).parked_at == "cb.provider" for job in jobs])

        await until(parked, "they wait for the provider", seconds=3)
        await breaker.close(queue)
        await asyncio.gather(*[job.result(timeout=10) for job in jobs])


async def test_an_ordered_group_keeps_its_order(make_queue: MakeQueue) -> None:
    queue = make_queue(group=Group(concurrency=1))
    breaker = CircuitBreaker("provider", failures=1, open_for=0.2)
    queue.use(breaker)
    done: list[str] = []
    is_down = True

    @queue.handler("send")
    async def send(shop: str, n: int) -> None:
        if is_down:
            raise ConnectionError
        done.append(f"{shop}{n}")

    for n in range(5):
        for shop in "ab":
            await send.with_options(group=shop).enqueue(shop, n)
    async with Worker(queue), Worker(queue):

        async def probed() -> bool:
            return (await breaker.state(queue)).failed_probes >= 2

        await until(probed)
        is_down = False
        await until(completed(queue, 10))
    for shop in "ab":
        assert [one for one in done if one[0] == shop] == [f"{shop}{n}" for n in range(5)]


async def test_dedup_keys_stay_taken_while_jobs_wait(queue: Queue) -> None:
    breaker = CircuitBreaker("provider", failures=1)
    queue.use(breaker)

    @queue.handler("send")
    async def send(n: int) -> None: ...

    await breaker.open(queue, for_=60)
    first = await send.with_options(dedup=Dedup("cart:42")).enqueue(1)
    async with Worker(queue):
        await until(lambda: in_line_of(breaker, queue, 1))
        again = await send.with_options(dedup=Dedup("cart:42")).enqueue(2)
        assert (again.created, again.met) == (False, first.id)
        await breaker.close(queue)
        await first.result(timeout=10)
        third = await send.with_options(dedup=Dedup("cart:42")).enqueue(3)
        assert third.created


async def test_expiry_goes_on_while_jobs_wait(queue: Queue) -> None:
    breaker = CircuitBreaker("provider", failures=1)
    queue.use(breaker)

    @queue.handler("send")
    async def send() -> None: ...

    await breaker.open(queue, for_=60)
    async with Worker(queue):
        job = await send.with_options(expires_in=2.0).enqueue()
        await until(lambda: in_line_of(breaker, queue, 1))
        await until(lambda: datetime.now(UTC) > created_at(job) + timedelta(seconds=2.1))
        await breaker.close(queue)
        await until(lambda: is_in(job, JobState.EXPIRED))


def created_at(job: Job[Any]) -> datetime:
    return datetime.fromtimestamp(int(job.id[:12], 16) / 1000, UTC)


async def is_in(job: Job[Any], state: JobState) -> bool:
    return await job.state() == state


async def test_a_cancelled_job_leaves_the_line(queue: Queue) -> None:
    breaker = CircuitBreaker("provider", failures=1)
    queue.use(breaker)

    @queue.handler("send")
    async def send() -> None: ...

    await breaker.open(queue, for_=60)
    async with Worker(queue):
        job = await send.enqueue()
        await until(lambda: in_line_of(breaker, queue, 1))
        await job.cancel()
        await until(lambda: in_line_of(breaker, queue, 0))
    assert await job.state() == JobState.CANCELLED


# -- people ----------------------------------------------------------------------------------------------------------


async def test_what_people_see(setting: Setting) -> None:
    queue, breaker, _ = setting(open_for=12)
    never = await breaker.state(queue)
    assert never == BreakerInfo("twilio", "closed", 0, None, None, "", "", 0, 0, 0)
    assert await breaker.open(queue, reason="maintenance of theirs", by="ann")
    assert not await breaker.open(queue, reason="longer", by="ann", for_=12)
    async with Worker(queue):
        job = await queue.enqueue("sms:send", {"n": 1})
        await until(lambda: in_line_of(breaker, queue, 1))
        info = await breaker.state(queue)
        assert (info.state, info.by, info.reason, info.running) == ("open", "ann", "longer", 0)
        assert info.next_probe is not None
        assert info.changed_at is not None
        assert timedelta(seconds=11) < info.next_probe - info.changed_at <= timedelta(seconds=12)
        why = await queue.explain(job.id)
        assert why.parked_at == "cb.twilio"
        assert "parked at cb.twilio: circuit breaker 'twilio' open, next probe in 1" in str(why)
        gate = next(one for one in await queue.limits.list() if one.gate == "cb.twilio")
        assert (gate.concurrency, gate.state, gate.overridden_by, gate.waiting) == (1, "rate", "ann", 1)
        assert 0 < gate.opens_in <= 12
        assert await breaker.close(queue, by="ann")
        assert not await breaker.close(queue, by="ann")
        assert await job.result(timeout=10) == "sent"
    after = await breaker.state(queue)
    assert (after.state, after.by, after.reason, after.next_probe) == ("closed", "ann", "closed by hand", None)
    assert [one for one in await queue.limits.list() if one.gate == "cb.twilio"] == []


async def test_all_of_a_queue_are_listed_also_by_a_process_that_declares_none(
    setting: Setting, make_queue: MakeQueue, server: Server
) -> None:
    queue, breaker, provider = setting(open_for=60)
    stranger = make_queue(queue.name)
    assert [one.name for one in await queue.breakers()] == ["twilio"]
    assert await stranger.breakers() == []

    provider.fall()
    async with Worker(queue):
        await queue.enqueue_many([queue.spec("sms:send", {"n": n}) for n in range(8)])
        await until(states(breaker, queue, "open"))
        await until(lambda: in_line_of(breaker, queue, 8))
    await CircuitBreaker("another", window=600).open(stranger, for_=60, by="ann")
    here, there = await queue.breakers(), await stranger.breakers()
    assert [one.name for one in here] == ["another", "twilio"]
    assert here == there
    assert (there[1].state, there[1].waiting) == ("open", 8)
    assert there[1] == await breaker.state(queue)
    server.command("HSET", Keys(queue.prefix, queue.name).breakers, "not a name", "x")
    assert await stranger.breakers() == there


async def test_what_is_said_of_a_half_open_one(setting: Setting) -> None:
    queue, breaker, provider = setting()
    (provider.folder / "hang").touch()
    await breaker.open(queue, for_=0.05)
    async with Worker(queue):
        jobs = [await queue.enqueue("sms:send", {"n": n}) for n in range(2)]
        await until(provider.calls)
        await until(lambda: in_line_of(breaker, queue, 1))
        waiting = next(job for job in jobs if job.id != provider.calls()[0][0])
        assert "circuit breaker 'twilio' half open, a probe runs" in str(await queue.explain(waiting.id))
        assert (await breaker.state(queue)).running == 1
        (provider.folder / "hang").unlink()
        await until(completed(queue, 2))


async def test_a_burst_waits_for_the_probe_and_goes_on(setting: Setting) -> None:
    """What waits for a provider that is down keeps a burst from ending; but it opens by time."""
    queue, breaker, provider = setting()
    await breaker.open(queue, for_=0.2)
    jobs = [await queue.enqueue("sms:send", {"n": n}) for n in range(5)]
    async with asyncio.timeout(10):
        await Worker(queue).run(burst=True)
    assert {await job.state() for job in jobs} == {JobState.COMPLETED}
    assert len(provider.calls()) == 5


# -- when things go wrong --------------------------------------------------------------------------------------------


@pytest.mark.timeout(60)
async def test_a_killed_prober_gives_way_to_the_next(
    setting: Setting, server: Server, prefix: str, tmp_path: Path
) -> None:
    """Its lease runs out, its place is free, another worker probes; nothing is lost, nobody probed beside it."""
    queue, breaker, provider = setting()
    (tmp_path / "hang").touch()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.worker.phones", server.url, prefix, str(tmp_path), cwd=ROOT
    )
    try:
        await until((tmp_path / "ready").exists, "the other process works")
        await breaker.open(queue, for_=0.1)
        jobs = [await queue.enqueue("sms:send", {"n": n}) for n in range(10)]
        await until(provider.calls, "it probes")
        process.send_signal(signal.SIGKILL)
        await process.wait()
        (tmp_path / "hang").unlink()
        async with Worker(queue, lease=1.5):
            await until(completed(queue, 10), "all are sent")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    runs = Counter(job for job, _ in provider.calls())
    assert sorted(runs.values()) == [1] * 9 + [2]
    assert runs.keys() == {job.id for job in jobs}
    assert (await breaker.state(queue)).state == "closed"
    assert {info.attempts for info in [await job.info() for job in jobs]} <= {0, 1}


@pytest.mark.timeout(60)
async def test_workers_of_several_processes_open_it_together(
    setting: Setting, server: Server, prefix: str, tmp_path: Path
) -> None:
    queue, breaker, provider = setting()
    provider.fall()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.worker.phones", server.url, prefix, str(tmp_path), cwd=ROOT
    )
    try:
        await until((tmp_path / "ready").exists, "the other process works")
        async with Worker(queue, concurrency=5):
            jobs = await queue.enqueue_many([queue.spec("sms:send", {"n": n}) for n in range(100)])

            async def probed() -> bool:
                return (await breaker.state(queue)).failed_probes >= 2

            await until(probed, "probes fail")
            provider.rise()
            await until(completed(queue, 100), "all are sent")
    finally:
        process.terminate()
        await process.wait()
    charged = [(await job.info()).attempts - 1 for job in jobs]
    assert sum(charged) == 4
    assert Counter(job for job, _ in provider.calls("ends")).keys() == {job.id for job in jobs}


async def test_a_stopping_worker_leaves_a_breaker_as_it_is(setting: Setting) -> None:
    queue, breaker, provider = setting()
    (provider.folder / "hang").touch()
    await breaker.open(queue, for_=0.05)
    job = await queue.enqueue("sms:send", {"n": 1})
    async with Worker(queue, grace=0.05):
        await until(provider.calls)
    assert (await breaker.state(queue)).state == "half_open"
    assert (await job.info()).attempts == 0
    (provider.folder / "hang").unlink()
    async with Worker(queue):
        await until(completed(queue, 1))
    assert (await breaker.state(queue)).state == "closed"


async def test_a_report_that_is_lost_changes_nothing_about_the_job(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue, _, provider = setting()
    provider.fall()

    async def lost(*args: Any, **options: Any) -> store.Seen:
        raise RedisUnavailable("redis://here", "away")

    monkeypatch.setattr(store, "breaker", lost)
    job = await queue.enqueue("sms:send", {"n": 1}, max_attempts=1)
    async with Worker(queue):
        assert "ConnectionError" in repr((await ended(job)) and (await job.info()).errors[-1].type)
    assert await events(caplog, "breaker_report_lost") == ["breaker_report_lost"]


async def test_a_timeout_during_the_report_of_a_success_does_not_undo_it(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = CircuitBreaker("provider", failures=1)
    queue.use(breaker)
    original = store.breaker
    held = asyncio.Event()

    async def slow(found: Store, what: store.What, *args: Any, **options: Any) -> store.Seen:
        if what == "succeeded":
            await held.wait()
        return await original(found, what, *args, **options)

    monkeypatch.setattr(store, "breaker", slow)
    runs = 0

    @queue.handler("send", timeout=0.2)
    async def send() -> str:
        nonlocal runs
        runs += 1
        return "sent"

    await breaker.open(queue, for_=0.05)
    async with Worker(queue):
        assert await (await send.enqueue()).result(timeout=10) == "sent"
        assert runs == 1
        held.set()
        # The report came after the job was settled: too late to be known as a probe's. The next job is the next probe.
        assert await (await send.enqueue()).result(timeout=10) == "sent"
        await until(states(breaker, queue, "closed"))
    assert runs == 2


async def test_it_goes_by_what_the_server_says_when_limits_were_cleared(setting: Setting) -> None:
    queue, breaker, _ = setting(open_for=60)
    async with Worker(queue):
        await breaker.open(queue, for_=0.05)
        await queue.limits.clear("cb.twilio")
        job = await queue.enqueue("sms:send", {"n": 1})
        assert await job.result(timeout=10) == "sent"
    assert (await breaker.state(queue)).state == "closed"


async def test_a_process_with_other_handlers_in_its_breaker(make_queue: MakeQueue) -> None:
    """Of a rolling deploy: the rule in force is the old code's, which does not know the new handler."""
    old, new = make_queue(), make_queue()
    before = CircuitBreaker("provider", failures=1, handlers=("one",))
    after = CircuitBreaker("provider", failures=1, handlers=("one", "two"))
    new.use(after)
    runs = 0

    @new.handler("two")
    async def two() -> None:
        nonlocal runs
        runs += 1

    await before.open(old, for_=60)
    async with Worker(new):
        job = await two.enqueue()
        await until(lambda: in_line_of(after, new, 1), "held by the middleware, in the line of the breaker")
        assert runs == 0
        await before.close(old)
        await job.result(timeout=10)
    assert runs == 1


async def test_an_outage_of_the_provider_leaves_no_keys_behind(setting: Setting, server: Server) -> None:
    queue, breaker, provider = setting(open_for=0.05)
    provider.fall()
    await queue.enqueue_many([queue.spec("sms:send", {"n": n}) for n in range(20)])
    async with Worker(queue):
        await until(states(breaker, queue, "half_open"))
        provider.rise()
        await until(completed(queue, 20))
        await until(states(breaker, queue, "closed"))
    keys = keys_of(queue)
    assert server.command("HLEN", keys.index) == 0
    assert server.command("ZCARD", keys.lines) == 0
    assert server.command("HKEYS", keys.breakers) == [b"twilio"]
    assert server.command("HLEN", keys.rules) == 0


# -- wrong values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("name", "has space", "letters, digits"),
        ("name", "", "letters, digits"),
        ("name", "x" * 129, "128 bytes"),
        ("failures", 0, "from 1 to"),
        ("failures", 1001, "from 1 to 1,000"),
        ("failures", True, "from 1 to"),
        ("window", 0, "at least"),
        ("window", -1, "at least"),
        ("open_for", 0, "at least"),
        ("open_for", "30", "seconds"),
        ("max_open_for", 29, "less than open_for=30"),
        ("on", (), "exception classes"),
        ("on", (int,), "exception classes"),
        ("on", BaseException, "exception classes"),
        ("on", None, "exception classes"),
        ("on", "ConnectionError", "exception classes"),
        ("handlers", "sms:send", "names of handlers"),
        ("handlers", (), "names of handlers"),
        ("handlers", ("has space",), "letters, digits"),
    ],
)
def test_what_cannot_be_right_is_refused(option: str, value: Any, match: str) -> None:
    given: dict[str, Any] = {"name": "twilio", "open_for": 30, option: value}
    with pytest.raises(ConfigError, match=match):
        CircuitBreaker(**given)


def test_it_says_what_it_is() -> None:
    assert repr(CircuitBreaker("twilio", failures=3, window=10)) == "<CircuitBreaker 'twilio': 3 failures in 10 s>"


async def test_a_handler_can_be_called_directly_and_a_context_made_by_hand(queue: Queue) -> None:
    """As in tests of applications: the middleware of a breaker runs without a worker."""
    breaker = CircuitBreaker("provider", failures=1, open_for=60)
    fuse = breaker.attach(queue)
    context = Context(job_id="j", queue=queue.name, name="send", attempt=1, max_attempts=3)

    async def well(ctx: Context) -> str:
        return "well"

    async def badly(ctx: Context) -> str:
        raise ConnectionError

    assert await fuse(context, well) == "well"
    with pytest.raises(Snooze, match="circuit breaker 'provider' is open"):
        await fuse(context, badly)
