"""What a worker logs: stable events with stable keys, and nobody's data unless asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from streamq import Context, Discard, Fatal, JobState, Queue, Snooze, Worker
from tests.servers import Server
from tests.worker.helpers import Gate, MakeQueue, drain, keys_of, until

KEYS = {
    "event",
    "queue",
    "handler",
    "job_id",
    "attempt",
    "max_attempts",
    "is_last_attempt",
    "request_id",
    "tenant",
    "worker",
}
PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
CARD = "4111-1111-1111-1111"


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """What streamq says, from debug on."""
    caplog.set_level(logging.DEBUG, "streamq")
    kept = Kept()
    logging.getLogger("streamq").addHandler(kept)
    yield kept.records
    logging.getLogger("streamq").removeHandler(kept)


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """What a record carries beyond the ordinary."""
    return {name: value for name, value in vars(record).items() if name not in PLAIN}


def of(records: list[logging.LogRecord], event: str) -> list[dict[str, Any]]:
    """The records of an event."""
    return [extras(one) for one in records if getattr(one, "event", "") == event]


@pytest.fixture
def handlers(queue: Queue) -> Any:
    """A handler with an end for every taste."""

    @queue.handler("work", max_attempts=3)
    async def work(ctx: Context, how: str, card: str = CARD) -> str:
        if how == "retry" and ctx.attempt < 3:
            raise ValueError(f"card {card}")
        if how == "fail":
            raise ValueError(f"card {card}")
        if how == "fatal":
            raise Fatal("closed")
        if how == "discard":
            raise Discard("unwanted")
        if how == "snooze" and not ctx.state:
            raise Snooze(3600)
        return card

    return work


async def test_a_success(queue: Queue, handlers: Any, records: list[logging.LogRecord]) -> None:
    options = {"headers": {"x-request-id": "r-7"}, "tenant": "acme"}
    job = await handlers.with_options(**options).enqueue("ok")
    await drain(queue)
    [started], [succeeded] = of(records, "started"), of(records, "succeeded")
    for found in (started, succeeded):
        assert found.keys() >= KEYS
        assert (found["queue"], found["handler"], found["job_id"]) == ("q", "work", job.id)
        assert (found["attempt"], found["max_attempts"], found["is_last_attempt"]) == (1, 3, False)
        assert (found["request_id"], found["tenant"]) == ("r-7", "acme")
    assert 0 <= succeeded["duration"] < 5


async def test_retries(queue: Queue, handlers: Any, records: list[logging.LogRecord]) -> None:
    await handlers.enqueue("retry")
    await drain(queue)
    retrying = of(records, "retrying")
    assert [found["attempt"] for found in retrying] == [1, 2]
    for found in retrying:
        assert found.keys() >= KEYS
        assert found["error_type"] == "ValueError"
        assert found["backoff"] == 0
    assert len(of(records, "succeeded")) == 1
    [levels] = {one.levelno for one in records if getattr(one, "event", "") == "retrying"}
    assert levels == logging.WARNING


async def test_failure_and_death(queue: Queue, handlers: Any, records: list[logging.LogRecord]) -> None:
    await handlers.enqueue("fail")
    await drain(queue)
    [failed], [dead] = of(records, "failed"), of(records, "dead")
    for found in (failed, dead):
        assert found.keys() >= KEYS
        assert (found["attempt"], found["is_last_attempt"]) == (3, True)
        assert found["error_type"] == "ValueError"
        assert found["reason"] == "attempts exhausted"
    [level] = {one.levelno for one in records if getattr(one, "event", "") == "dead"}
    assert level == logging.ERROR


async def test_steering_is_told(queue: Queue, handlers: Any, records: list[logging.LogRecord]) -> None:
    for how in ("fatal", "discard", "snooze"):
        await handlers.enqueue(how)
    await drain(queue)
    assert of(records, "dead")[0]["reason"] == "fatal: closed"
    assert of(records, "cancelled")[0]["reason"] == "unwanted"
    assert of(records, "snoozed")[0]["backoff"] == 3600


async def test_no_payload_and_no_error_text_unless_asked_for(
    queue: Queue, handlers: Any, records: list[logging.LogRecord]
) -> None:
    for how in ("ok", "fail", "retry"):
        await handlers.enqueue(how)
    await drain(queue)
    assert records
    for record in records:
        assert CARD not in record.getMessage()
        assert CARD not in repr(extras(record))
        assert CARD not in (record.exc_text or "")
        assert "payload" not in extras(record)
        shown = logging.Formatter().format(record)
        assert CARD not in shown


async def test_payload_and_error_text_when_asked_for(
    queue: Queue, handlers: Any, records: list[logging.LogRecord]
) -> None:
    await handlers.enqueue("fail")
    await Worker(queue, log_payload=True).run(burst=True)
    [dead] = of(records, "dead")
    assert dead["payload"]["how"] == "fail"
    [failed] = of(records, "failed")
    assert failed["error"] == f"card {CARD}"


async def test_a_takeover_is_told(queue: Queue, server: Server, records: list[logging.LogRecord]) -> None:
    gate = Gate()
    runs: list[int] = []

    @queue.handler("held", timeout=None)
    async def held(ctx: Context) -> None:
        runs.append(ctx.stalls)
        if ctx.stalls == 0:
            await gate.through("first")

    job = await held.enqueue()
    async with Worker(queue, lease=60, grace=0) as first:
        await until(lambda: gate.started)
        key = keys_of(queue).lanes[2]
        [(entry, *_)] = server.command("XPENDING", key, "w", "-", "+", 1)
        server.command("XCLAIM", key, "w", first.name, 0, entry, "IDLE", 3_600_000, "JUSTID")
        server.command("HDEL", keys_of(queue).meta, "swept")
        async with Worker(queue, lease=3):
            await until(lambda: runs == [0, 1])
            await until(lambda: of(records, "reclaimed"))
    [found] = of(records, "reclaimed")
    assert found.keys() >= KEYS
    assert (found["job_id"], found["stalls"], found["attempt"]) == (job.id, 1, 1)


async def test_a_job_without_a_handler_is_told(make_queue: MakeQueue, records: list[logging.LogRecord]) -> None:
    producer, queue = make_queue(), make_queue()

    @queue.handler("other")
    async def other() -> None: ...

    job = await producer.enqueue("nobody:knows", {"card": CARD})
    await drain(queue)
    [found] = of(records, "parked")
    assert (found["handler"], found["job_id"]) == ("nobody:knows", job.id)
    assert await job.state() is JobState.PARKED
    assert CARD not in "".join(repr(vars(record)) for record in records)


async def test_the_workers_own_life(queue: Queue, records: list[logging.LogRecord]) -> None:
    worker = Worker(queue, name="blue")
    async with worker:
        pass
    events = [event for event in (getattr(one, "event", "") for one in records) if event.startswith("worker.")]
    assert events == ["worker.started", "worker.draining", "worker.stopped"]
    assert of(records, "worker.started")[0]["worker"] == worker.name


async def test_no_key_collides_with_those_of_logging(
    queue: Queue, handlers: Any, records: list[logging.LogRecord]
) -> None:
    for how in ("ok", "fail", "fatal", "discard", "snooze"):
        await handlers.enqueue(how)
    await drain(queue)  # a collision raises KeyError in makeRecord
    assert records
