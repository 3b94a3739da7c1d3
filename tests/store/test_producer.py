"""The producer: concurrent enqueues join batches; each is taken exactly once, whatever becomes of its caller."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from streamq import Fixed, Job, JobState, Queue, Worker
from streamq._store import backlog as _backlog
from streamq._store.keys import Keys
from streamq._store.link import Link
from streamq.errors import ConfigError, EnqueueManyError, EnqueueTimeout, EnqueueUnknown, PayloadTooLarge, QueueFull
from tests.servers import Server
from tests.store import snapshot

MakeQueue = Callable[..., Queue]


@pytest.fixture
async def make_queue(server: Server, prefix: str) -> AsyncIterator[MakeQueue]:
    """Queues on the shared server, closed with the test."""
    made: list[Queue] = []

    def make(**options: Any) -> Queue:
        defaults: dict[str, Any] = {"url": server.url, "prefix": prefix}
        queue = Queue("q", **{**defaults, **options})
        made.append(queue)
        return queue

    yield make
    for queue in made:
        await queue.aclose()


@pytest.fixture
def queue(make_queue: MakeQueue) -> Queue:
    """A pure producer: takes every name."""
    return make_queue()


def look(server: Server, prefix: str) -> snapshot.Snapshot:
    """What there is, checked."""
    return snapshot.check(server, Keys(prefix, "q"))


async def send(queue: Queue, number: int = 0, **options: Any) -> Job[Any]:
    return await queue.enqueue("send", {"n": number}, **options)


async def until(fact: Callable[[], object], seconds: float = 10) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not fact():  # noqa: ASYNC110 - it becomes true elsewhere
            await asyncio.sleep(0.002)


class Gate:
    """Holds the calls of producers back, as a slow server does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = asyncio.Event()
        self.calls = 0
        call = Link.call

        async def held(link: Link, *command: Any, **options: Any) -> Any:
            if link.name == "streamq:producer" and command[0] == b"EVALSHA":
                self.calls += 1
                await self.open.wait()
            return await call(link, *command, **options)

        monkeypatch.setattr(Link, "call", held)


# -- batches ----------------------------------------------------------------------------------------------


async def test_fifty_concurrent_enqueues_are_a_handful_of_calls(
    fresh_server: Callable[..., Server], prefix: str
) -> None:
    server = fresh_server()
    queue = Queue("q", url=server.url, prefix=prefix)
    await send(queue)
    server.command("CONFIG", "RESETSTAT")
    jobs = await asyncio.gather(*[send(queue, number) for number in range(50)])
    calls = server.commandstats()["evalsha"]
    await queue.aclose()
    assert len({job.id for job in jobs}) == 50
    assert calls <= 3


async def test_a_batch_is_bounded_by_number(
    queue: Queue, server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    gate.open.set()
    await asyncio.gather(*[send(queue, number) for number in range(401)])
    assert gate.calls == 3
    assert len(look(server, prefix).index) == 401


async def test_a_batch_is_bounded_by_size(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    gate.open.set()
    big = "x" * 100_000
    await asyncio.gather(*[queue.enqueue("send", {"body": big}) for _ in range(6)])
    assert gate.calls == 3  # two to a batch of 256 KiB


async def test_one_too_large_for_a_batch_goes_alone(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = make_queue(max_payload=1_000_000)
    gate = Gate(monkeypatch)
    gate.open.set()
    await asyncio.gather(send(queue), queue.enqueue("send", {"body": "x" * 500_000}), send(queue))
    assert gate.calls == 3


async def test_jobs_keep_the_order_of_their_callers(queue: Queue, server: Server, prefix: str) -> None:
    jobs = await asyncio.gather(*[send(queue, number) for number in range(450)])
    assert [entry.job for entry in look(server, prefix).lanes["2"]] == [job.id for job in jobs]


async def test_while_a_batch_is_away_the_next_one_gathers(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    callers = [asyncio.create_task(send(queue, number)) for number in range(5)]
    await until(lambda: gate.calls == 1)
    callers += [asyncio.create_task(send(queue, number)) for number in range(100)]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(*callers)
    assert gate.calls == 2


async def test_one_bad_job_never_reaches_a_batch(make_queue: MakeQueue, server: Server, prefix: str) -> None:
    queue = make_queue(max_payload=100)
    found = await asyncio.gather(
        send(queue), queue.enqueue("send", {"body": "x" * 1000}), send(queue), return_exceptions=True
    )
    assert isinstance(found[1], PayloadTooLarge)
    assert isinstance(found[0], Job)
    assert isinstance(found[2], Job)
    assert len(look(server, prefix).index) == 2


# -- callers ----------------------------------------------------------------------------------------------


async def test_a_caller_cancelled_before_its_job_was_sent_did_not_enqueue(
    queue: Queue, server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    first = asyncio.create_task(send(queue, 1, job_id="first"))
    await until(lambda: gate.calls == 1)
    second = asyncio.create_task(send(queue, 2, job_id="second"))
    third = asyncio.create_task(send(queue, 3, job_id="third"))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.open.set()
    await asyncio.gather(first, third)
    assert set(look(server, prefix).index) == {"first", "third"}


async def test_a_caller_cancelled_in_flight_leaves_its_batch_alone(
    queue: Queue, server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    one = asyncio.create_task(send(queue, 1, job_id="one"))
    two = asyncio.create_task(send(queue, 2, job_id="two"))
    await until(lambda: gate.calls == 1)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    gate.open.set()
    assert (await two).created
    assert set(look(server, prefix).index) == {"one", "two"}  # it may exist, and here it does


async def test_out_of_time_before_it_was_sent_is_not_enqueued(
    make_queue: MakeQueue, server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue(enqueue_timeout=0.1)
    gate = Gate(monkeypatch)
    first = asyncio.create_task(send(queue, 1, job_id="first"))
    await until(lambda: gate.calls == 1)
    with pytest.raises(EnqueueTimeout) as not_sent:
        await send(queue, 2, job_id="second")
    with pytest.raises(EnqueueUnknown) as sent:
        await first
    assert (not_sent.value.job_id, not_sent.value.sent) == ("second", False)
    assert (sent.value.job_id, sent.value.sent) == ("first", True)
    gate.open.set()
    await queue.aclose()
    assert set(look(server, prefix).index) == {"first"}


async def test_the_buffer_is_bounded_and_who_finds_no_room_waits(
    queue: Queue, server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_backlog, "BUFFER_JOBS", 10)
    gate = Gate(monkeypatch)
    callers = [asyncio.create_task(send(queue, 0))]
    await until(lambda: gate.calls == 1)
    callers += [asyncio.create_task(send(queue, number)) for number in range(30)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert await buffered(queue) == 10
    gate.open.set()
    await asyncio.gather(*callers)
    assert len(look(server, prefix).index) == 31


async def test_who_finds_no_room_in_time_is_told(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = make_queue(enqueue_timeout=0.1)
    monkeypatch.setattr(_backlog, "BUFFER_JOBS", 1)
    gate = Gate(monkeypatch)
    callers = [asyncio.create_task(send(queue, 0))]
    await until(lambda: gate.calls == 1)
    callers += [asyncio.create_task(send(queue, number)) for number in range(2)]
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(one) for one in found] == [EnqueueUnknown, EnqueueTimeout, EnqueueTimeout]
    assert "buffer is full" in str(found[2])
    gate.open.set()


async def test_the_buffer_is_bounded_by_size_too(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backlog, "BUFFER_BYTES", 10_000)
    gate = Gate(monkeypatch)
    callers = [asyncio.create_task(send(queue))]
    await until(lambda: gate.calls == 1)
    callers += [asyncio.create_task(queue.enqueue("send", {"body": "x" * 5000})) for _ in range(6)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert await buffered(queue) == 2
    gate.open.set()
    await asyncio.gather(*callers)


async def buffered(queue: Queue) -> int:
    """How many jobs the producer of this loop holds."""
    producer: Any = (await queue.stores())[0].session().producer
    return len(producer._backlog.made())


async def test_closing_sends_what_is_buffered(queue: Queue, server: Server, prefix: str) -> None:
    callers = [asyncio.create_task(send(queue, number)) for number in range(300)]
    await queue.stores()
    await asyncio.sleep(0)
    await queue.aclose()
    await asyncio.gather(*callers)
    assert len(look(server, prefix).index) == 300
    await send(queue)  # and it opens again


# -- loops ------------------------------------------------------------------------------------------------


def test_one_queue_serves_one_loop_after_another(server: Server, prefix: str) -> None:
    queue = Queue("q", url=server.url, prefix=prefix)

    async def work(number: int) -> str:
        async with queue:
            return (await send(queue, number)).id

    ids = {asyncio.run(work(number)) for number in range(3)}
    assert set(look(server, prefix).index) == ids


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_ended_without_a_goodbye_is_dropped_unseen(server: Server, prefix: str) -> None:
    queue = Queue("q", url=server.url, prefix=prefix)
    ids = {asyncio.run(send(queue, number)).id for number in range(3)}
    assert set(look(server, prefix).index) == ids
    del queue
    gc.collect()  # here, where the warnings about what was left open are expected


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_loops_that_ended_without_a_goodbye_leave_no_connections(server: Server, prefix: str) -> None:
    queue = Queue("q", url=server.url, prefix=prefix)
    before = int(server.info("clients")["connected_clients"])
    for number in range(20):
        asyncio.run(send(queue, number))
    gc.collect()
    assert int(server.info("clients")["connected_clients"]) <= before + 2
    del queue
    gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_closed_under_waiting_callers_leaves_nobody_hanging(
    server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue("q", url=server.url, prefix=prefix)
    ends: list[type[BaseException]] = []

    async def caller(queue: Queue) -> None:
        try:
            await send(queue)
        except (asyncio.CancelledError, EnqueueUnknown, EnqueueTimeout) as problem:
            ends.append(type(problem))

    async def work(queue: Queue) -> None:
        Gate(monkeypatch)
        for _ in range(3):
            asyncio.get_running_loop().create_task(caller(queue))
        await asyncio.sleep(0.05)

    asyncio.run(work(queue))
    assert len(ends) == 3
    monkeypatch.undo()
    job_id = asyncio.run(send(queue)).id
    assert set(look(server, prefix).index) == {job_id}
    del queue
    gc.collect()


def test_two_loops_in_two_threads_share_a_queue(server: Server, prefix: str) -> None:
    queue = Queue("q", url=server.url, prefix=prefix)
    ids: list[str] = []
    problems: list[BaseException] = []

    async def work() -> None:
        async with queue:
            for _ in range(5):
                ids.extend(job.id for job in await asyncio.gather(*[send(queue, number) for number in range(40)]))

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as problem:  # noqa: BLE001 - told in the main thread
            problems.append(problem)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not problems
    assert len(ids) == 400
    assert set(look(server, prefix).index) == set(ids)


# -- custom ids -------------------------------------------------------------------------------------------


async def test_a_custom_id_is_unique_until_its_result_is_forgotten(
    make_queue: MakeQueue, server: Server, prefix: str
) -> None:
    queue = make_queue(result_ttl=1, max_attempts=1, backoff=Fixed(0))
    started = asyncio.Event()
    go_on = asyncio.Event()

    @queue.handler("work")
    async def work(how: str) -> str | None:
        started.set()
        await go_on.wait()
        if how == "fail":
            raise ValueError
        return "value" if how == "value" else None

    async def again(how: str) -> bool:
        return (await work.with_options(job_id=f"id-{how}").enqueue(how)).created

    for how in ("none", "value", "fail"):
        assert (await work.with_options(job_id=f"id-{how}", delay=3600).enqueue(how)).created
        assert not await again(how)  # delayed
    for how in ("none", "value", "fail"):
        await Job(queue, f"id-{how}").promote()
        assert not await again(how)  # waiting
    async with Worker(queue):
        await started.wait()
        assert not await again("none")  # active
        go_on.set()
        for how in ("none", "value", "fail"):
            job = Job[Any](queue, f"id-{how}")
            with suppress(Exception):
                await job.result(timeout=10)
            assert not await again(how)  # ended a moment ago
        assert await Job(queue, "id-fail").state() is JobState.DEAD
        keys = Keys(prefix, "q")
        await until(
            lambda: not any(server.command("EXISTS", keys.record(f"id-{how}")) for how in ("none", "value", "fail"))
        )
        assert await again("none")
        assert await again("value")
        assert not await again("fail")  # dead until purged
        await queue.dlq.purge("id-fail")
        assert await again("fail")


async def test_the_handle_of_a_known_id_leads_to_the_job_that_is_there(queue: Queue) -> None:
    first = await send(queue, 1, job_id="order-42")
    second = await send(queue, 2, job_id="order-42", delay=60)
    assert (first.created, second.created) == (True, False)
    assert second.id == "order-42"
    assert (await second.info()).args == {"n": 1}
    assert await second.state() is JobState.WAITING


async def test_a_hundred_callers_of_one_id_make_one_job(queue: Queue, server: Server, prefix: str) -> None:
    jobs = await asyncio.gather(*[send(queue, number, job_id="one") for number in range(100)])
    assert [job.created for job in jobs].count(True) == 1
    assert set(look(server, prefix).index) == {"one"}


# -- bulk -------------------------------------------------------------------------------------------------


async def test_a_bulk_call_answers_in_order(queue: Queue, server: Server, prefix: str) -> None:
    await send(queue, 0, job_id="known")
    specs = [
        queue.spec("send", {"n": number}, job_id="known" if number == 250 else f"n{number}") for number in range(500)
    ]
    jobs = await queue.enqueue_many(specs)
    assert [job.id for job in jobs] == ["known" if number == 250 else f"n{number}" for number in range(500)]
    assert [number for number, job in enumerate(jobs) if not job.created] == [250]
    assert len(look(server, prefix).index) == 500


async def test_an_empty_bulk_call_is_nothing(queue: Queue) -> None:
    assert await queue.enqueue_many([]) == []


async def test_a_bulk_call_over_max_pending_says_which_jobs_made_it(
    make_queue: MakeQueue, server: Server, prefix: str
) -> None:
    queue = make_queue(max_pending=7)
    with pytest.raises(EnqueueManyError) as found:
        await queue.enqueue_many([queue.spec("send", {"n": number}, job_id=f"n{number}") for number in range(10)])
    assert found.value.done == tuple(f"n{number}" for number in range(7))
    assert found.value.unknown == ()
    assert list(found.value.refused) == ["n7", "n8", "n9"]
    assert all(isinstance(one, QueueFull) for one in found.value.refused.values())
    assert set(look(server, prefix).index) == set(found.value.done)
    with pytest.raises(QueueFull):
        await send(queue)


async def test_a_bulk_call_larger_than_the_buffer_goes_through(
    queue: Queue, server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_backlog, "BUFFER_JOBS", 50)
    jobs = await queue.enqueue_many([queue.spec("send", {"n": number}) for number in range(500)])
    assert [entry.job for entry in look(server, prefix).lanes["2"]] == [job.id for job in jobs]


async def test_a_bulk_call_that_is_cancelled_sends_no_more(
    queue: Queue, server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    call = asyncio.create_task(queue.enqueue_many([queue.spec("send", {"n": number}) for number in range(1000)]))
    await until(lambda: gate.calls == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.open.set()
    await queue.aclose()
    assert len(look(server, prefix).index) == _backlog.BATCH_JOBS, "what was on its way, and nothing else"


async def test_a_bulk_call_out_of_time_tells_what_was_not_made_yet(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue(enqueue_timeout=0.2)
    gate = Gate(monkeypatch)
    with pytest.raises(EnqueueManyError) as found:
        await queue.enqueue_many([queue.spec("send", {"n": number}) for number in range(1000)])
    assert len(found.value.unknown) == _backlog.BATCH_JOBS
    assert len(found.value.refused) == 1000 - _backlog.BATCH_JOBS
    assert all(isinstance(one, EnqueueTimeout) for one in found.value.refused.values())
    gate.open.set()


async def test_chunks_become_due_one_after_another(queue: Queue, server: Server, prefix: str) -> None:
    specs = [queue.spec("send", {"n": number}, job_id=f"n{number}") for number in range(10)]
    specs[9] = queue.spec("send", {"n": 9}, job_id="n9", delay=100)
    await queue.enqueue_many(specs, chunk=4, every=60.0)
    now = look(server, prefix)
    assert {job for job, row in now.index.items() if row[0] == "2"} == {"n0", "n1", "n2", "n3"}
    due = [now.delayed[f"n{number}"] for number in range(4, 10)]
    assert due == [due[0]] * 4 + [due[0] + 60_000, due[0] + 160_000]
    memo_ms = int(next(iter(now.memos.values())).split(b"|")[1])
    assert due[0] == memo_ms + 60_001


@pytest.mark.parametrize(
    "options", [{"chunk": 2}, {"every": 1.0}, {"chunk": 0, "every": 1.0}, {"chunk": 2, "every": -1.0}]
)
async def test_chunk_and_every_belong_together(queue: Queue, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        await queue.enqueue_many([queue.spec("send")], **options)
