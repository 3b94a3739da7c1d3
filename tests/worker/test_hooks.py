"""Hooks and the stream of events, with running workers: what is told, to whom, and that it harms nobody."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from streamq import Context, DeadLetter, Event, Fixed, Queue, Retry, Scheduler, Worker
from streamq._core.events import KINDS
from streamq.errors import ConfigError
from tests.servers import Server
from tests.worker.helpers import PATIENCE, MakeQueue, drain, ended, inside, keys_of, until


def heard(queue: Queue, *kinds: Any) -> list[Event]:
    """Collect the events of a queue by a hook."""
    found: list[Event] = []

    @queue.on(*kinds)
    async def hook(event: Event) -> None:
        found.append(event)

    return found


def told(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


async def read(queue: Queue, count: int, **options: Any) -> list[Event]:
    """Read so many events from the stream."""
    found: list[Event] = []
    async with asyncio.timeout(PATIENCE):
        asked: dict[str, Any] = {"after": "0", **options}
        async for event in queue.events(**asked):
            found.append(event)
            if len(found) == count:
                break
    return found


# -- hooks -----------------------------------------------------------------------------------------------------------


async def test_the_life_of_a_job_is_told_in_order(queue: Queue) -> None:
    found = heard(queue)

    @queue.handler("send", max_attempts=2)
    async def send(ctx: Context, to: str) -> None:
        if ctx.attempt == 1:
            raise ValueError(to)

    job = await send.enqueue("ada")
    async with Worker(queue):
        await job.result(timeout=PATIENCE)
        await until(lambda: "completed" in told(found))
    assert told(found) == ["added", "active", "failed", "retrying", "active", "completed"]
    assert {(event.job_id, event.name, event.queue, event.id) for event in found} == {(job.id, "send", "q", "")}
    added, active, failed, retrying, again, completed = found
    assert added.data == {}
    assert active.data["attempt"] == 1
    assert (failed.data["error"], failed.data["last"], failed.data["attempt"]) == ("ValueError", False, 1)
    assert retrying.data["seconds"] == 0
    assert again.data["attempt"] == completed.data["attempt"] == 2
    seconds = completed.data["seconds"]
    assert isinstance(seconds, float)
    assert 0 <= seconds < PATIENCE


async def test_a_job_that_dies_is_told_of(queue: Queue) -> None:
    found, letters = heard(queue, "failed", "dead"), list[DeadLetter]()

    @queue.on_dead_letter
    async def page(letter: DeadLetter) -> None:
        letters.append(letter)

    @queue.handler("boom", max_attempts=1)
    async def boom(amount: int) -> None:
        raise LookupError(amount)

    job = await boom.enqueue(5)
    async with Worker(queue):
        await ended(job)
        await until(lambda: letters)
    assert told(found) == ["failed", "dead"]
    assert found[0].data["last"] is True
    assert found[1].data["error"] == "LookupError"
    (letter,) = letters
    assert (letter.id, letter.payload, letter.errors[-1].type) == (job.id, {"amount": 5}, "LookupError")


async def test_no_text_of_an_error_is_told(queue: Queue) -> None:
    found = heard(queue)

    @queue.handler("boom", max_attempts=1)
    async def boom() -> None:
        raise ValueError("the secret")

    await boom.enqueue()
    await drain(queue)
    assert "dead" in told(found)
    assert b"secret" not in b"".join(event.json() for event in found)


async def test_what_is_cancelled_expires_or_snoozes(queue: Queue) -> None:
    found = heard(queue)

    @queue.handler("noop")
    async def noop() -> None: ...

    @queue.handler("later")
    async def later(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise Retry(after=0.01)

    waiting = await noop.with_options(delay=60).enqueue()
    assert await waiting.cancel()
    late = await noop.with_options(expires_in=0.001).enqueue()
    removed = await noop.enqueue()
    await removed.remove()
    await later.enqueue()
    await asyncio.sleep(0.01)
    await drain(queue)
    ends = {event.job_id: event.kind for event in found if event.kind in {"cancelled", "expired"}}
    assert ends == {waiting.id: "cancelled", removed.id: "cancelled", late.id: "expired"}
    assert told(found).count("retrying") == 1


async def test_a_running_job_that_is_cancelled_is_told_of_by_its_worker(queue: Queue) -> None:
    found = heard(queue, "active", "cancelled")

    @queue.handler("long")
    async def long() -> None:
        await asyncio.sleep(60)

    job = await long.enqueue()
    async with Worker(queue):
        await until(lambda: found)
        await job.cancel()
        await until(lambda: len(found) == 2)
    assert told(found) == ["active", "cancelled"]
    assert found[1].name == "long"


async def test_a_job_that_is_taken_over_is_told_of(queue: Queue, server: Server) -> None:
    found = heard(queue, "stalled", "completed")

    @queue.handler("noop")
    async def noop() -> None: ...

    await noop.enqueue()
    await drain(queue)  # makes the group
    job = await noop.enqueue()
    lane = keys_of(queue).lanes[2]
    ((_, ((entry, _),)),) = server.command("XREADGROUP", "GROUP", "w", "gone", "COUNT", 1, "STREAMS", lane, ">")
    server.command("XCLAIM", lane, "w", "gone", 0, entry, "IDLE", 60_000, "JUSTID")
    async with Worker(queue):
        await job.result(timeout=PATIENCE)
        await until(lambda: told(found) == ["completed", "stalled", "completed"], "the stall and its end")
    assert found[1].job_id == found[2].job_id == job.id
    assert found[1].data["stalls"] == 1


async def test_pause_and_resume_are_told_of_where_they_are_done(queue: Queue, make_queue: MakeQueue) -> None:
    found, elsewhere = heard(queue, "paused", "resumed"), heard(make_queue())
    await queue.pause(reason="provider is down")
    await queue.pause()
    await queue.resume()
    await queue.resume()
    await queue.pause(handler="send", reason="why")
    await queue.resume(handler="send")
    await until(lambda: len(found) == 4)
    assert [(event.kind, event.data["handler"]) for event in found] == [
        ("paused", None), ("resumed", None), ("paused", "send"), ("resumed", "send")
    ]  # fmt: skip
    assert found[0].data["reason"] == "provider is down"
    assert not elsewhere


async def test_a_tick_and_a_bulk_call_add_jobs_too(queue: Queue) -> None:
    found = heard(queue, "added")
    scheduler = Scheduler(queue)

    @queue.handler("noop")
    async def noop() -> None: ...

    await queue.enqueue_many([noop.job() for _ in range(3)])
    once = await noop.with_options(job_id="once").enqueue()
    again = await noop.with_options(job_id="once").enqueue()
    assert once.created
    assert not again.created
    await until(lambda: len(found) == 4)

    @scheduler.every(0.1, id="beat")
    async def beat() -> None: ...

    async with Worker(queue, scheduler=scheduler):
        await until(lambda: len(found) >= 5)
    assert found[4].name == "beat"


async def test_a_hook_that_fails_or_hangs_harms_no_job_and_no_other_hook(
    queue: Queue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamq.events.HOOK_TIMEOUT", 0.2)
    threads: set[str] = set()

    @queue.on("completed")
    async def broken(event: Event) -> None:
        raise RuntimeError(event.kind)

    @queue.on("completed")
    async def hanging(event: Event) -> None:
        await asyncio.sleep(60)

    @queue.on("completed")
    def plain(event: Event) -> None:
        threads.add(threading.current_thread().name)

    found = heard(queue, "completed")

    @queue.handler("noop")
    async def noop() -> None: ...

    jobs = [await noop.enqueue() for _ in range(3)]
    with caplog.at_level(logging.ERROR, "streamq.events"):
        async with Worker(queue):
            for job in jobs:
                await job.result(timeout=PATIENCE)
            await until(lambda: len(found) == 3)
    assert queue.notices.errors == 6
    assert {record.__dict__["event"] for record in caplog.records} == {"hook_failed"}
    assert threads
    assert threading.main_thread().name not in threads
    assert (await queue.counts()).completed == 3


async def test_a_stopping_worker_tells_what_it_has_settled(queue: Queue) -> None:
    found: list[Event] = []

    @queue.on("completed")
    async def slow(event: Event) -> None:
        await asyncio.sleep(0.01)
        found.append(event)

    @queue.handler("noop")
    async def noop() -> None: ...

    await queue.enqueue_many([noop.job() for _ in range(20)])
    await drain(queue)
    assert len(found) == 20


async def test_too_many_events_are_dropped_and_counted(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamq.events.MOST", 10)
    found = heard(queue, "paused")
    for _ in range(25):
        queue.notices.note("paused")
    await queue.notices.flush()
    assert queue.notices.dropped == 15
    assert len(found) == 10


async def test_nothing_is_made_for_nobody(queue: Queue) -> None:
    @queue.handler("noop")
    async def noop() -> None: ...

    await noop.enqueue()
    worker = Worker(queue)
    async with worker:
        await until(lambda: inside(worker)._joints)
        (joint,) = inside(worker)._joints
        assert joint.exchange.on_settled.__name__ == "_unheard"
        assert joint.settling.on_started is None
        await until(queue.counts)
    assert not inside(queue.notices)._desks
    assert queue.notices.wanted == frozenset()


async def test_a_kind_that_does_not_exist_is_refused(queue: Queue) -> None:
    with pytest.raises(ConfigError, match="kind of event"):
        queue.on("finished")(print)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# -- the stream ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def writing(make_queue: MakeQueue) -> Queue:
    """A queue that keeps all events, with jobs that work, fail and die."""
    queue = make_queue(events=True)

    @queue.handler("send", max_attempts=2)
    async def send(ctx: Context, n: int) -> None:
        if ctx.attempt == 1 and n % 2:
            raise ValueError(n)

    @queue.handler("boom", max_attempts=1)
    async def boom() -> None:
        raise LookupError

    await queue.enqueue_many([send.job(n) for n in range(10)])
    await boom.enqueue()
    await drain(queue)
    return queue


async def test_everything_that_happened_can_be_read_by_anybody(writing: Queue, make_queue: MakeQueue) -> None:
    reader = make_queue()
    found = await read(reader, 11 + 16 + 6 + 5 + 10 + 1)
    counts = {kind: told(found).count(kind) for kind in KINDS if kind in told(found)}
    assert counts == {"added": 11, "active": 16, "failed": 6, "retrying": 5, "completed": 10, "dead": 1}
    assert len({event.id for event in found}) == len(found)
    assert [event.id for event in found] == sorted(
        (event.id for event in found), key=lambda one: tuple(map(int, one.split("-")))
    )
    for job_id in {event.job_id for event in found}:
        kinds = [event.kind for event in found if event.job_id == job_id]
        assert kinds[0] == "added"
        assert kinds[-1] in {"completed", "dead"}


async def test_a_reader_goes_on_where_it_was(writing: Queue) -> None:
    everything = await read(writing, 49)
    first = await read(writing, 7)
    rest = await read(writing, 42, after=first[-1].id)
    assert first + rest == everything


async def test_a_reader_takes_what_it_wants(writing: Queue) -> None:
    assert told(await read(writing, 1, kinds=["dead"])) == ["dead"]
    found = await read(writing, 3, names={"boom"}, kinds=["added", "failed", "dead"])
    assert told(found) == ["added", "failed", "dead"]
    with pytest.raises(ConfigError):
        await read(writing, 1, kinds=["gone"])
    with pytest.raises(ConfigError):
        await read(writing, 1, after="yesterday")


async def test_a_reader_of_new_events_gets_new_ones_only(writing: Queue) -> None:
    events = writing.events(kinds=["paused", "resumed"])
    first = asyncio.ensure_future(anext(events))
    async with asyncio.timeout(PATIENCE):
        while not first.done():
            await writing.pause()
            await writing.resume()
            await asyncio.wait((first,), timeout=0.05)
    assert first.result().kind in {"paused", "resumed"}
    await events.aclose()


async def test_only_what_was_asked_for_is_kept(make_queue: MakeQueue, server: Server) -> None:
    queue = make_queue(events={"dead", "expired"})

    @queue.handler("boom", max_attempts=1)
    async def boom() -> None:
        raise LookupError

    await boom.enqueue()
    await drain(queue)
    assert told(await read(queue, 1)) == ["dead"]
    assert server.command("XLEN", keys_of(queue).events) == 1


async def test_without_the_option_no_stream_is_written(queue: Queue, server: Server) -> None:
    heard(queue)

    @queue.handler("noop")
    async def noop() -> None: ...

    await noop.enqueue()
    await drain(queue)
    assert not server.command("EXISTS", keys_of(queue).events)
    assert server.command("HMGET", keys_of(queue).meta, "ev", "hp") == [None, None]


async def test_a_tool_writes_what_the_workers_of_a_queue_keep(make_queue: MakeQueue, server: Server) -> None:
    tool, other = make_queue(events="declared"), make_queue(events="declared")
    await tool.pause()
    await tool.resume()
    await tool.notices.flush()
    assert not server.command("EXISTS", keys_of(tool).events), "nobody keeps any"
    await drain(make_queue(events=["paused"]))
    await other.pause(reason="why")
    await other.resume()
    await other.notices.flush()
    (found,) = await read(tool, 1)
    assert (found.kind, found.data["reason"]) == ("paused", "why")
    assert server.command("XLEN", keys_of(tool).events) == 1


async def test_the_stream_is_bounded(make_queue: MakeQueue, server: Server) -> None:
    queue = make_queue(events=["added"], keep_events=100)

    @queue.handler("noop")
    async def noop() -> None: ...

    await queue.enqueue_many([noop.job() for _ in range(2000)])
    await queue.notices.flush()
    assert 100 <= server.command("XLEN", keys_of(queue).events) <= 300


@pytest.mark.parametrize(
    "options",
    [
        {"events": "all"},
        {"events": ["gone"]},
        {"keep_events": 0},
        {"keep_events": "5"},
        {"backoff": Fixed(0), "events": 5},
    ],
)
async def test_options_that_cannot_be_right(make_queue: MakeQueue, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        make_queue(**options)
