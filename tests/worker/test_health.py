"""queue.health(): what there is to know is read and judged; checks of your own; a server that is away."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest

from streamq import Health, HealthPolicy, Queue, Worker
from streamq.errors import ConfigError
from streamq.health import Recent, readiness
from tests.servers import Server, StartServer
from tests.worker.helpers import MakeQueue, drain, until


def reasons(found: Health) -> dict[str, str]:
    return {one.what: one.level for one in found.reasons}


async def test_an_empty_queue_is_well(queue: Queue) -> None:
    found = await queue.health()
    assert (found.level, found.reasons, found.is_well, str(found)) == ("ok", (), True, "ok")
    assert found.facts["queue"] == "q"
    assert found.facts["waiting"] == 0
    assert 0 < found.facts["redis"] < 2.5
    assert msgspec.json.decode(msgspec.json.encode(found))["level"] == "ok"


async def test_jobs_without_a_worker_are_critical(queue: Queue) -> None:
    @queue.handler("noop")
    async def noop() -> None: ...

    await noop.enqueue()
    found = await queue.health()
    assert (found.level, found.is_well) == ("critical", False)
    assert str(found) == "critical: 1 job waiting, no worker"
    assert "streamq worker" in found.reasons[0].do
    await queue.pause(reason="why")
    assert reasons(await queue.health()) == {"paused": "warning"}
    await queue.resume()
    await drain(queue)
    assert (await queue.health()).level == "ok"


async def test_size_is_judged_by_the_policy(make_queue: MakeQueue) -> None:
    queue = make_queue(health=HealthPolicy(size=(2, 4), oldest=(0, 3600)))
    for size, level in ((2, "ok"), (3, "warning"), (5, "critical")):
        await queue.enqueue_many([queue.spec("x") for _ in range(size - (await queue.counts()).waiting)])
        found = {one.what: one for one in (await queue.health()).reasons}
        assert (found["size"].level if "size" in found else "ok") == level
    assert reasons(await queue.health())["oldest"] == "warning"


async def test_what_workers_declare_holds_for_processes_without_the_app(make_queue: MakeQueue) -> None:
    await drain(make_queue(health=HealthPolicy(size=(0, 1))))
    tool = make_queue()
    await tool.enqueue_many([tool.spec("x") for _ in range(2)])
    assert reasons(await tool.health())["size"] == "critical"
    lenient = make_queue(health=HealthPolicy())
    assert "size" not in reasons(await lenient.health()), "a process with a policy of its own uses that"


async def test_failures_of_the_window_are_judged(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = make_queue(health=HealthPolicy(failed=(5, 10), stalled=(0, 1), error_rate=(0.1, 0.9), window=600))
    asked: list[float] = []

    async def recent(home: Any, window: float) -> Recent:
        asked.append(window)
        return Recent(completed=20, failed=7, stalled=2)

    monkeypatch.setattr("streamq.health.recent", recent)
    found = await queue.health()
    assert reasons(found) == {"failed": "warning", "stalled": "critical", "error_rate": "warning"}
    assert asked == [600.0]
    assert found.facts["error_rate"] == pytest.approx(7 / 27)


async def test_failed_attempts_are_counted_by_the_queue_itself(make_queue: MakeQueue) -> None:
    queue = make_queue(health=HealthPolicy(failed=(2, 100)))

    @queue.handler("boom", max_attempts=3)
    async def boom() -> None:
        raise ValueError

    await boom.enqueue()
    await drain(queue)
    found = await queue.health()
    assert reasons(found) == {"failed": "warning"}
    assert found.facts["failed"] == 3


# -- checks of your own ----------------------------------------------------------------------------------------------


async def test_checks_pass_fail_and_hang(queue: Queue) -> None:
    @queue.health_check("fine")
    async def fine() -> None: ...

    @queue.health_check("also-fine")
    def also_fine() -> bool:
        return True

    @queue.health_check("database")
    async def database() -> None:
        raise ConnectionError("no route to host")

    @queue.health_check("disk", level="warning")
    def disk() -> str:
        return "2 % free"

    @queue.health_check("licence")
    def licence() -> bool:
        return False

    @queue.health_check("slow", timeout=0.01)
    async def slow() -> None:
        await asyncio.sleep(60)

    started = time.monotonic()
    found = await queue.health()
    assert time.monotonic() - started < 2
    assert {one.what: (one.level, one.said) for one in found.reasons} == {
        "database": ("critical", "database: ConnectionError: no route to host"),
        "licence": ("critical", "licence: it answered False"),
        "slow": ("critical", "slow: no answer in 0.01 s"),
        "disk": ("warning", "disk: 2 % free"),
    }
    assert found.facts["checks"].keys() == {"fine", "also-fine", "database", "disk", "licence", "slow"}
    assert [one.level for one in found.reasons][-1] == "warning"


async def test_a_check_that_cannot_be_right(queue: Queue) -> None:
    with pytest.raises(ConfigError):
        queue.health_check("no name")(print)
    with pytest.raises(ConfigError):
        queue.health_check("db", timeout=0)(print)
    with pytest.raises(ConfigError):
        queue.health_check("db", level="bad")(print)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_a_policy_must_be_one(make_queue: MakeQueue) -> None:
    with pytest.raises(ConfigError, match="HealthPolicy"):
        make_queue(health=(1000, 5000))


# -- a server that is away -------------------------------------------------------------------------------------------


async def test_a_server_that_is_away_is_a_reason_and_no_error(fresh_server: StartServer) -> None:
    server = fresh_server("valkey")
    queue = Queue("q", url=server.url)

    @queue.health_check("fine")
    async def fine() -> None: ...

    assert (await queue.health()).level == "ok"
    server.kill()
    started = time.monotonic()
    found = await queue.health()
    assert time.monotonic() - started < 5
    assert reasons(found) == {"redis": "critical"}
    assert "no answer from" in found.reasons[0].said
    assert found.reasons[0].do == "look at the server: streamq doctor"
    assert found.facts.keys() == {"queue", "checks"}
    assert reasons(await readiness([(queue, queue.checks)])) == {"redis": "critical"}
    await queue.aclose()


async def test_readiness_does_not_ask_how_full_queues_are(make_queue: MakeQueue) -> None:
    queue, other = make_queue(health=HealthPolicy(size=(0, 0))), make_queue("other")
    await queue.enqueue_many([queue.spec("x") for _ in range(3)])

    @other.health_check("database")
    async def database() -> None:
        raise ConnectionError

    found = await readiness([(queue, queue.checks), (other, other.checks)])
    assert reasons(found) == {"database": "critical"}
    assert found.facts["queues"] == ["q", "other"]


async def test_a_running_worker_is_seen(queue: Queue, server: Server) -> None:
    async with Worker(queue):

        async def seen() -> bool:
            return bool((await queue.health()).facts["workers"])

        await until(seen, "the worker's heartbeat")
