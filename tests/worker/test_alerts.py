"""Alerts with real workers: judged once for all of them, told to who asked, and not lost when a handler fails."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from streamq import Alert, AlertRule, Queue, Worker
from streamq._store import alerts as _store
from streamq.errors import ConfigError
from tests.servers import Server
from tests.worker.helpers import PATIENCE, MakeQueue, drain, keys_of, until


def rules(**options: Any) -> dict[str, Any]:
    return {"alerts": [AlertRule("dead", above=2, **options)]}


def listening(queue: Queue) -> list[Alert]:
    """Collect the alerts of a queue, which looks often."""
    queue.alerting.look_every = 0.02
    found: list[Alert] = []

    @queue.on_alert
    async def hear(alert: Alert) -> None:
        found.append(alert)

    return found


async def kill_jobs(queue: Queue, count: int) -> None:
    """Make dead letters."""
    if "boom" not in queue.handlers:

        @queue.handler("boom", max_attempts=1)
        async def boom() -> None:
            raise ValueError

    await queue.enqueue_many([queue.spec("boom") for _ in range(count)])


async def test_a_rule_fires_and_is_resolved(make_queue: MakeQueue) -> None:
    queue = make_queue(**rules())
    found = listening(queue)
    async with Worker(queue):
        await kill_jobs(queue, 3)
        await until(lambda: found, "the alert")
        (firing,) = await queue.alerts()
        assert (firing.rule, firing.value, firing.severity) == ("dead > 2", 3, "warning")
        await queue.dlq.purge()
        await until(lambda: len(found) == 2, "its end")
        assert await queue.alerts() == []
    first, last = found
    assert (first.state, first.queue, first.metric, first.value, first.limit) == ("firing", "q", "dead", 3, 2)
    assert str(first) == "[warning] q: 3 dead letters, limit 2; see why: streamq dlq list --queue q"
    assert (last.state, last.value) == ("resolved", 0)
    assert last.since == first.since


async def test_of_many_workers_one_tells(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_store, "TURN_MS", 200)
    queues = [make_queue(**rules()) for _ in range(4)]
    found = [listening(queue) for queue in queues]
    await kill_jobs(queues[0], 3)
    await drain(queues[0])
    running = [asyncio.create_task(queue.watch_alerts()) for queue in queues]
    try:
        await until(lambda: sum(map(len, found)) == 1, "one alert")
        teller = next(n for n, heard in enumerate(found) if heard)
        running[teller].cancel()
        await asyncio.gather(running[teller], return_exceptions=True)
        await queues[0].dlq.purge()
        await until(lambda: sum(map(len, found)) == 2, "another takes over and knows of the firing")
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert [alert.state for heard in found for alert in heard if alert.state == "resolved"] == ["resolved"]
    assert len(found[teller]) == 1


@pytest.mark.parametrize("when", ["its handler runs", "the answer of the server is awaited"])
async def test_who_stops_before_it_has_told_leaves_it_to_the_next_one(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    stopping, next_one = make_queue(**rules()), make_queue(**rules())
    heard = listening(next_one)
    begun = asyncio.Event()

    @stopping.on_alert
    async def hear(alert: Alert) -> None:
        del alert
        begun.set()
        await asyncio.Event().wait()

    watch = _store.watch

    async def answered_never(store: Any, who: str, what: Any, **options: Any) -> Any:
        reply = await watch(store, who, what, **options)
        if what == "put":
            monkeypatch.setattr(_store, "watch", watch)
            begun.set()
            await asyncio.Event().wait()
        return reply

    if when != "its handler runs":
        monkeypatch.setattr(_store, "watch", answered_never)
    await kill_jobs(next_one, 3)
    next_one.alerting.rules = ()  # its worker only makes the dead letters
    await drain(next_one)
    next_one.alerting.rules = stopping.alerting.rules
    telling = asyncio.create_task(stopping.watch_alerts())
    await asyncio.wait_for(begun.wait(), PATIENCE)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    watching = asyncio.create_task(next_one.watch_alerts())
    try:
        await until(lambda: [alert.state for alert in heard] == ["firing"], "who looks next tells")
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_who_hears_what_by_severity(make_queue: MakeQueue) -> None:
    queue = make_queue(alerts=[AlertRule("dead", above=(0, 4)), AlertRule("parked", above=0, severity="info")])
    everything, grave = listening(queue), list[Alert]()

    @queue.on_alert(severity="critical")
    def page(alert: Alert) -> None:
        grave.append(alert)

    async with Worker(queue):
        await queue.enqueue_many([queue.spec("unknown")])
        await until(lambda: [one.severity for one in everything] == ["info"])
        await kill_jobs(queue, 1)
        await until(lambda: [one.severity for one in everything] == ["info", "warning"])
        await kill_jobs(queue, 4)
        await until(lambda: grave)
    assert [(one.severity, one.limit) for one in grave] == [("critical", 4)]
    assert (await queue.alerts())[0].severity == "critical"


async def test_an_alert_whose_handler_fails_is_told_again(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streamq._core.standing.RETRY_MS", 50)
    queue = make_queue(**rules())
    queue.alerting.look_every = 0.02
    calls: list[Alert] = []

    @queue.on_alert
    async def hear(alert: Alert) -> None:
        calls.append(alert)
        if len(calls) < 3:
            raise ConnectionError("no mail server")

    await kill_jobs(queue, 3)
    async with Worker(queue):
        await until(lambda: len(calls) == 3)
        await drain_looks(queue)
    assert len(calls) == 3
    assert queue.alerting.errors == 2
    assert {alert.told for alert in calls} == {1}
    assert [one.levelno for one in caplog.records if one.__dict__.get("event") == "alert.firing"] == [
        logging.WARNING
    ] * 3


async def drain_looks(queue: Queue, count: int = 5) -> None:
    """Wait until the rules were judged a few times more."""
    store = (await queue.stores())[0]

    async def seen() -> bytes:
        return await _store.standing(store)

    for _ in range(count):
        before = await seen()

        async def changed(known: bytes = before) -> bool:
            return await seen() != known

        await until(changed, "another look")


async def test_without_handlers_the_log_hears_it(make_queue: MakeQueue, caplog: pytest.LogCaptureFixture) -> None:
    queue = make_queue(**rules(severity="critical"))
    queue.alerting.look_every = 0.02
    await kill_jobs(queue, 3)

    def records() -> list[logging.LogRecord]:
        return [one for one in caplog.records if one.__dict__.get("event") == "alert.firing"]

    async with Worker(queue):
        await until(records)
        await drain_looks(queue)
    (record,) = records()
    assert (record.levelno, record.__dict__["rule"], record.__dict__["value"]) == (logging.ERROR, "dead > 2", 3)


async def test_a_worker_that_starts_anew_does_not_tell_again(make_queue: MakeQueue) -> None:
    found: list[list[Alert]] = []
    for _ in range(2):
        queue = make_queue(**rules())
        found.append(listening(queue))
        await kill_jobs(queue, 3)
        async with Worker(queue):
            await until(lambda: found[0])
            await drain_looks(queue)
    assert [len(heard) for heard in found] == [1, 0]


async def test_rules_cost_nothing_when_there_are_none(queue: Queue, server: Server) -> None:
    async with Worker(queue):
        await until(queue.workers)
    assert not server.command("EXISTS", keys_of(queue).alerts)


async def test_an_alert_is_judged_while_the_workers_are_away(make_queue: MakeQueue) -> None:
    queue = make_queue(alerts=[AlertRule("workers", below=1, severity="critical")])
    found = listening(queue)
    watching = asyncio.create_task(queue.watch_alerts())
    try:
        await until(lambda: found)
    finally:
        watching.cancel()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(watching, return_exceptions=True)
    assert str(found[0]) == "[critical] q: 0 workers, limit 1; start a worker: streamq worker app:queue"


@pytest.mark.parametrize("given", ["dead > 50", [5], [AlertRule("dead", above=1), AlertRule("dead", above=1)]])
async def test_rules_that_cannot_be_right(make_queue: MakeQueue, given: Any) -> None:
    with pytest.raises(ConfigError):
        make_queue(alerts=given)
