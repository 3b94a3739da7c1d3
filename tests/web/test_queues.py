"""Queues over HTTP: counts, pause and resume, clean and drain, workers, limits, statistics, health."""

from __future__ import annotations

import httpx
import pytest

from streamq import CircuitBreaker, Fatal, Queue, Worker
from streamq._store.keys import Keys
from streamq.web import Dashboard
from tests.servers import Server
from tests.web.asking import Asking
from tests.worker.helpers import Gate, MakeQueue, drain, until


async def test_counts_of_all_queues(make_queue: MakeQueue, asking: Asking) -> None:
    mail, sms = make_queue("mail"), make_queue("sms")
    await mail.enqueue("a")
    await mail.enqueue("a", delay=60)
    await sms.pause(reason="deploy")

    listed = (await asking(Dashboard([mail, sms])).get("/api/queues")).json()["queues"]

    assert [one["name"] for one in listed] == ["mail", "sms"]
    counts = {one["name"]: one["counts"] for one in listed}
    assert (counts["mail"]["waiting"], counts["mail"]["delayed"]) == (1, 1)
    assert (counts["sms"]["paused"], counts["sms"]["pause_reason"]) == (True, "deploy")


async def test_queues_are_found_by_themselves(
    make_queue: MakeQueue, server: Server, prefix: str, asking: Asking
) -> None:
    app = Dashboard(url=server.url, prefix=prefix)
    api = asking(app)
    assert (await api.get("/api/queues")).json() == {"queues": []}
    await make_queue("mail").enqueue("a")

    async def names() -> list[str]:
        return [one["name"] for one in (await api.get("/api/queues")).json()["queues"]]

    async def found() -> bool:
        return await names() == ["mail"]

    await until(found, "the new queue")  # at most two seconds later
    assert (await api.get("/api/queues/mail")).json()["counts"]["waiting"] == 1
    await app.aclose()


async def test_what_is_done_here_is_told_as_the_workers_declared(
    make_queue: MakeQueue, server: Server, prefix: str, asking: Asking
) -> None:
    queue = make_queue(events=["paused"])
    await drain(queue)  # a worker says what is kept
    app = Dashboard(url=server.url, prefix=prefix)
    api = asking(app)
    await api.post("/api/queues/q/pause", json={"reason": "deploy"})
    await api.post("/api/queues/q/resume")
    await app.aclose()  # what is to be told is told by then
    event = await anext(aiter(queue.events(after="0")))
    assert (event.kind, event.data["reason"]) == ("paused", "deploy")
    assert server.command("XLEN", Keys(prefix, "q").events) == 1


async def test_pause_and_resume(queue: Queue, api: httpx.AsyncClient) -> None:
    paused = await api.post("/api/queues/q/pause", json={"reason": "deploy"})
    assert paused.json() == {"queue": "q", "paused": True, "changed": True}
    counts = await queue.counts()
    assert (counts.paused, counts.pause_reason) == (True, "deploy")
    assert (await api.post("/api/queues/q/pause")).json()["changed"] is False
    assert (await api.post("/api/queues/q/resume")).json() == {"queue": "q", "paused": False, "changed": True}
    assert not (await queue.counts()).paused


async def test_pause_of_a_part(queue: Queue, api: httpx.AsyncClient) -> None:
    await api.post("/api/queues/q/pause", json={"group": "acme", "reason": "unpaid"})
    await api.post("/api/queues/q/pause", json={"handler": "mail"})

    gates = {one["gate"]: one for one in (await api.get("/api/queues/q/limits")).json()["limits"]}
    assert gates.keys() == {"g:acme", "h.mail"}
    assert (gates["g:acme"]["paused"], gates["g:acme"]["reason"]) == (True, "unpaid")
    both = await api.post("/api/queues/q/pause", json={"group": "a", "handler": "b"})
    assert both.status_code == 422


async def test_circuit_breakers(queue: Queue, api: httpx.AsyncClient) -> None:
    assert (await api.get("/api/queues/q/breakers")).json() == {"breakers": []}
    await CircuitBreaker("twilio", handlers=("sms",)).open(queue, for_=60, reason="maintenance", by="ann")
    [one] = (await api.get("/api/queues/q/breakers")).json()["breakers"]
    assert (one["name"], one["state"], one["reason"], one["by"]) == ("twilio", "open", "maintenance", "ann")
    assert one["next_probe"] > one["changed_at"]
    assert (await api.get("/api/queues/none/breakers")).status_code == 404


async def test_clean_by_age(queue: Queue, api: httpx.AsyncClient) -> None:
    @queue.handler("a")
    async def a(*, good: bool) -> None:
        if not good:
            raise Fatal("no")

    await a.enqueue(good=True)
    await a.enqueue(good=False)
    await drain(queue)

    for state, other in (("completed", "dead"), ("dead", "completed")):
        young = await api.post("/api/queues/q/clean", json={"state": state, "older_than": "1h"})
        assert young.json() == {"queue": "q", "removed": 0}
        assert len((await queue.jobs(state)).jobs) == 1
        old = await api.post("/api/queues/q/clean", json={"state": state, "older_than": 0})
        assert old.json() == {"queue": "q", "removed": 1}
        assert (await queue.jobs(state)).jobs == []
        assert other == "completed" or len((await queue.jobs(other)).jobs) == 1
    assert (await api.post("/api/queues/q/clean", json={"state": "dead"})).status_code == 422
    assert (await api.post("/api/queues/q/clean", json={"state": "active", "older_than": 0})).status_code == 422


@pytest.mark.parametrize(("body", "removed"), [({}, 2), ({"include_delayed": True}, 3)])
async def test_drain(queue: Queue, api: httpx.AsyncClient, body: dict[str, bool], removed: int) -> None:
    await queue.enqueue("a")
    await queue.enqueue("a")
    await queue.enqueue("a", delay=60)
    assert (await api.post("/api/queues/q/drain", json=body)).json() == {"queue": "q", "removed": removed}
    counts = await queue.counts()
    assert (counts.waiting, counts.delayed) == (0, 3 - removed)


async def test_workers_and_what_they_run(queue: Queue, api: httpx.AsyncClient) -> None:
    gate = Gate()

    @queue.handler("hold")
    async def hold() -> None:
        await gate.through("hold")

    async with Worker(queue, concurrency=3):
        job = await hold.enqueue()

        async def seen() -> bool:
            workers = (await api.get("/api/queues/q/workers")).json()["workers"]
            return bool(workers and workers[0]["running"])

        await until(seen, "the heartbeat tells of the job")
        [worker] = (await api.get("/api/queues/q/workers")).json()["workers"]
        assert (worker["concurrency"], worker["alive"], worker["handlers"]) == (3, True, ["hold"])
        assert [(one["id"], one["name"]) for one in worker["running"]] == [(job.id, "hold")]
        assert (await api.get("/api/queues/q")).json()["workers"] == 1
        gate.open()
        await job.result(timeout=10)


async def test_statistics_of_a_window(queue: Queue, api: httpx.AsyncClient) -> None:
    @queue.handler("a")
    async def a() -> None: ...

    await a.enqueue()
    await a.enqueue()
    await drain(queue)

    told = (await api.get("/api/queues/q/stats", params={"window": "1h", "by": "name"})).json()
    [row] = told["rows"]
    assert (row["key"], row["arrived"], row["completed"]) == ("a", 2, 2)
    everywhere = (await api.get("/api/stats", params={"window": "1h"})).json()["queues"]
    assert everywhere["q"]["total"]["completed"] == 2
    assert (await api.get("/api/queues/q/stats", params={"window": "soon"})).status_code == 422
    assert (await api.get("/api/queues/q/stats", params={"by": "moon"})).status_code == 422


async def test_health_says_why_and_answers_503_when_critical(queue: Queue, api: httpx.AsyncClient) -> None:
    await queue.enqueue("a")
    for path in ("/api/queues/q/health", "/queue/health"):
        answer = await api.get(path)
        told = answer.json()
        assert answer.status_code == (503 if told["level"] == "critical" else 200)
        assert told["level"] != "ok"  # a job waits, and nobody works
        assert told["reasons"]
    for path in ("/api/health", "/health"):
        told = (await api.get(path)).json()
        assert told["queues"].keys() == {"q"}
        assert told["level"] == told["queues"]["q"]["level"]


async def test_metrics_for_prometheus(queue: Queue, api: httpx.AsyncClient) -> None:
    await queue.enqueue("a")
    for path in ("/api/metrics", "/metrics", "/queue/metrics", "/api/queue/metrics"):
        answer = await api.get(path)
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'streamq_up{queue="q"} 1' in answer.text
    asked = await api.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert asked.headers["content-type"].startswith("application/openmetrics-text")
    assert asked.text.endswith("# EOF\n")
