"""Jobs over HTTP: what is sent is what the queue has, and what the queue has is what is told."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from streamq import Fatal, JobState, Priority, Queue, RateLimit, Worker
from streamq.errors import JobDead
from streamq.web import Dashboard
from tests.web.asking import Asking
from tests.worker.helpers import Gate, MakeQueue, drain, until


@pytest.fixture
def adding(queue: Queue) -> Queue:
    """The queue, with handlers."""

    @queue.handler("add")
    async def add(a: int, b: int = 1) -> int:
        return a + b

    @queue.handler("fail", max_attempts=1)
    async def fail(password: str = "") -> None:
        raise Fatal(f"it broke {'' if not password else 'badly'}")

    return queue


async def test_a_job_is_submitted_and_its_result_read(adding: Queue, api: httpx.AsyncClient) -> None:
    sent = await api.post("/api/queues/q/jobs", json={"name": "add", "payload": {"a": 2, "b": 3}, "priority": "high"})

    assert sent.status_code == 202
    receipt = sent.json()
    assert receipt["created"] is True
    assert sent.headers["location"] == receipt["url"] == f"/api/queues/q/jobs/{receipt['id']}"
    shown = (await api.get(receipt["url"])).json()
    assert (shown["state"], shown["name"], shown["payload"], shown["priority"]) == (
        "waiting",
        "add",
        {"a": 2, "b": 3},
        "high",
    )
    early = await api.get(receipt["result"])
    assert (early.status_code, early.json()["state"]) == (202, "waiting")
    await drain(adding)
    ended = await api.get(receipt["result"])
    assert (ended.status_code, ended.json()) == (
        200,
        {"id": receipt["id"], "state": "completed", "finished": True, "result": 5, "problem": ""},
    )


@pytest.mark.parametrize("way", ["field", "header"])
async def test_a_repeated_submission_makes_one_job(adding: Queue, api: httpx.AsyncClient, way: str) -> None:
    body: dict[str, Any] = {"name": "add", "payload": {"a": 1}}
    headers = {"Idempotency-Key": "k1"} if way == "header" else {}
    if way == "field":
        body["job_id"] = "k1"

    first = await api.post("/api/queues/q/jobs", json=body, headers=headers)
    again = await api.post("/api/queues/q/jobs", json=body, headers=headers)

    assert (first.status_code, first.json()["created"]) == (202, True)
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert first.json()["id"] == again.json()["id"] == "k1"
    assert (await adding.counts()).waiting == 1


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"name": "add"}, 422, "missing required field `a`"),
        ({"name": "add", "payload": {"a": "x"}}, 422, "Expected `int`, got `str`"),
        ({"name": "add", "payload": {"a": 1, "c": 1}}, 422, "unknown argument 'c'"),
        ({"name": "ad", "payload": {"a": 1}}, 422, "no such handler"),
        ({"name": "add", "payload": {"a": 1}, "delay": "soon"}, 422, "body:"),
        ({"name": "add", "payload": {"a": 1}, "delay": "5m", "at": "2030-01-01T00:00:00Z"}, 422, "not both"),
        ({"name": "add", "payload": {"a": 1}, "prioriti": "high"}, 422, "unknown field `prioriti`"),
        ({"name": "add", "payload": {"a": 1}, "priority": "urgent"}, 422, "priority"),
        ({"name": "add", "payload": [1]}, 422, "Expected `object`"),
        ({"name": "add", "payload": {"a": 1}, "at": "2030-01-01T00:00:00"}, 422, "timezone"),
        ({}, 422, "missing required field `name`"),
    ],
)
async def test_what_cannot_be_a_job_is_refused_with_the_reason(
    adding: Queue, api: httpx.AsyncClient, body: dict[str, Any], status: int, said: str
) -> None:
    answer = await api.post("/api/queues/q/jobs", json=body)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]
    assert (await adding.counts()).waiting == 0


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"name": "\xff"}', "application/json", 400),
        (b'{"name": "a", "payload": {"a": ' + b"[" * 100_000, "application/json", 400),
        (b"name=add", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b"", "application/json", 400),
        (b'{"name": "' + b"x" * 2_000_000 + b'"}', "application/json", 413),
    ],
)
async def test_bodies_that_are_none(
    adding: Queue, api: httpx.AsyncClient, content: bytes, kind: str, status: int
) -> None:
    answer = await api.post("/api/queues/q/jobs", content=content, headers={"content-type": kind})

    assert answer.status_code == status
    assert answer.json()["status"] == status


async def test_a_payload_over_the_queues_bound(make_queue: MakeQueue, asking: Asking) -> None:
    api = asking(Dashboard(make_queue(max_payload=100)))
    answer = await api.post("/api/queues/q/jobs", json={"name": "any", "payload": {"a": "x" * 200}})
    assert (answer.status_code, answer.json()["error"]) == (413, "PayloadTooLarge")


async def test_a_full_queue_says_to_come_back(make_queue: MakeQueue, asking: Asking) -> None:
    api = asking(Dashboard(make_queue(max_pending=1)))
    assert (await api.post("/api/queues/q/jobs", json={"name": "any"})).status_code == 202
    answer = await api.post("/api/queues/q/jobs", json={"name": "any"})
    assert (answer.status_code, answer.json()["error"]) == (503, "QueueFull")
    assert answer.headers["retry-after"] == "2"


async def test_a_client_submits_no_faster_than_it_may(queue: Queue, asking: Asking) -> None:
    app = Dashboard(queue, submit_rate=RateLimit(2, per=3600), access=lambda _: "full")
    eager, other = asking(app, host="10.0.0.1"), asking(app, host="10.0.0.2")

    statuses = [(await eager.post("/api/queues/q/jobs", json={"name": "any"})).status_code for _ in range(3)]
    assert statuses == [202, 202, 429]
    refused = await eager.post("/api/queues/q/jobs", json={"name": "any"})
    assert 1000 < int(refused.headers["retry-after"]) <= 1801
    assert (await other.post("/api/queues/q/jobs", json={"name": "any"})).status_code == 202
    assert (await queue.counts()).waiting == 3


async def test_options_reach_the_job(queue: Queue, api: httpx.AsyncClient) -> None:
    body = {
        "name": "any", "job_id": "order/42", "delay": "1h", "priority": "low", "max_attempts": 7, "tenant": "acme",
        "headers": {"x-request-id": "r1", "authorization": "Bearer x"}, "payload": {"password": "x", "n": 2**60},
    }  # fmt: skip
    receipt = (await api.post("/api/queues/q/jobs", json=body)).json()

    shown = (await api.get(receipt["url"])).json()
    assert (shown["id"], shown["state"], shown["max_attempts"]) == ("order/42", "delayed", 7)
    assert (shown["tenant"], shown["priority"]) == ("acme", "low")
    assert shown["payload"] == {"password": "<hidden: text of 1>", "n": 2**60}
    assert shown["headers"] == {"x-request-id": "r1", "authorization": "<hidden: text of 8>"}
    [kept] = (await queue.jobs("delayed")).jobs
    assert (kept.args, kept.priority) == ({"password": "x", "n": 2**60}, Priority.LOW)


async def test_a_result_is_waited_for(adding: Queue, api: httpx.AsyncClient) -> None:
    receipt = (await api.post("/api/queues/q/jobs", json={"name": "add", "payload": {"a": 1}})).json()
    asked = asyncio.create_task(api.get(receipt["result"], params={"wait": "30s"}))
    async with Worker(adding):
        assert (await asked).json()["result"] == 2


async def test_how_a_job_died_is_an_answer(adding: Queue, api: httpx.AsyncClient) -> None:
    receipt = (await api.post("/api/queues/q/jobs", json={"name": "fail"})).json()
    await drain(adding)

    ended = await api.get(receipt["result"])
    assert (ended.status_code, ended.json()["state"]) == (200, "dead")
    assert "it broke" in ended.json()["problem"]
    shown = (await api.get(receipt["url"])).json()
    assert shown["errors"][0]["type"] == "streamq.Fatal"
    assert "it broke" in shown["errors"][0]["traceback"]


@pytest.mark.parametrize("path", ["", "/result", "/explain", "/events"])
async def test_a_job_without_trace_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(f"/api/queues/q/jobs/nothing{path}")
    assert (answer.status_code, answer.json()["error"], answer.json()["job_id"]) == (404, "JobUnknown", "nothing")


async def test_a_queue_without_trace_is_not_found(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/queues/qq/jobs")
    assert (answer.status_code, answer.json()["error"]) == (404, "QueueUnknown")
    assert "did you mean 'q'?" in answer.json()["detail"]


async def test_retry_promote_cancel_remove(adding: Queue, api: httpx.AsyncClient) -> None:
    dead = await adding.enqueue("fail", job_id="dead")
    await drain(adding)
    with pytest.raises(JobDead):
        await dead.result(timeout=5)
    for one in ("later", "never", "gone"):
        await adding.enqueue("add", {"a": 1}, job_id=one, delay=60)

    retried = await api.post("/api/queues/q/jobs/dead/retry", json={"delay": "1h", "priority": "low"})
    assert retried.json() == {"id": "dead", "state": "delayed", "changed": True}
    assert (await api.post("/api/queues/q/jobs/later/promote")).json()["state"] == "waiting"
    assert (await api.post("/api/queues/q/jobs/never/cancel")).json() == {
        "id": "never", "state": "cancelled", "changed": True
    }  # fmt: skip
    assert (await api.delete("/api/queues/q/jobs/gone")).status_code == 204

    states = {one: await job.state() for one in ("dead", "later", "never", "gone") if (job := await adding.job(one))}
    assert states == {
        "dead": JobState.DELAYED,
        "later": JobState.WAITING,
        "never": JobState.CANCELLED,
        "gone": JobState.CANCELLED,
    }


async def test_a_verb_that_does_not_fit_is_a_conflict(adding: Queue, api: httpx.AsyncClient) -> None:
    await adding.enqueue("add", {"a": 1}, job_id="waits")

    retried = await api.post("/api/queues/q/jobs/waits/retry")
    assert (retried.status_code, retried.json()["error"]) == (409, "JobStateError")
    assert "only dead jobs" in retried.json()["detail"]
    assert (await api.post("/api/queues/q/jobs/waits/promote")).status_code == 409


async def test_a_running_job_is_cancelled_but_not_removed(queue: Queue, api: httpx.AsyncClient) -> None:
    gate = Gate()

    @queue.handler("hold")
    async def hold() -> None:
        await gate.through("hold")

    job = await hold.enqueue()
    async with Worker(queue):
        await until(lambda: gate.started, "it runs")
        assert (await api.delete(f"/api/queues/q/jobs/{job.id}")).status_code == 409
        assert (await api.post(f"/api/queues/q/jobs/{job.id}/cancel")).json()["changed"] is True
        ended = (await api.get(f"/api/queues/q/jobs/{job.id}/result", params={"wait": "10s"})).json()
    assert ended["state"] == "cancelled"


async def test_jobs_are_listed_by_state_and_page(queue: Queue, api: httpx.AsyncClient) -> None:
    for at in range(7):
        await queue.enqueue("any", {"n": at}, job_id=f"j{at}", tenant="odd" if at % 2 else "even")
    await queue.enqueue("later", job_id="d", delay=60)

    seen: list[str] = []
    cursor = ""
    while True:
        page = (await api.get("/api/queues/q/jobs", params={"state": "waiting", "limit": 3, "cursor": cursor})).json()
        seen += [one["id"] for one in page["jobs"]]
        cursor = page["cursor"]
        assert page["complete"] is (not cursor)
        if not cursor:
            break
    assert seen == [f"j{at}" for at in range(7)]
    everything = (await api.get("/api/queues/q/jobs")).json()
    assert [one["id"] for one in everything["jobs"]] == [*seen, "d"]


async def test_every_state_in_turn_by_small_pages(queue: Queue, api: httpx.AsyncClient) -> None:
    for at in range(3):
        await queue.enqueue("now", job_id=f"w{at}")
        await queue.enqueue("later", job_id=f"d{at}", delay=60 + at)

    seen: list[str] = []
    cursor = ""
    for _ in range(30):
        page = (await api.get("/api/queues/q/jobs", params={"limit": 2, "cursor": cursor})).json()
        seen += [one["id"] for one in page["jobs"]]
        cursor = page["cursor"]
        if page["complete"]:
            break
    assert seen == ["w0", "w1", "w2", "d0", "d1", "d2"]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({"tenant": "odd"}, ["j1", "j3"]),
        ({"name": "b"}, ["j3"]),
        ({"id": "2"}, ["j2"]),
        ({"text": "EVEN"}, ["j0", "j2"]),
        ({"priority": "high"}, ["j1"]),
        ({"error": "nothing of the kind"}, []),
        ({"tenant": "odd", "name": "a"}, ["j1"]),
        ({"payload": "n=2"}, ["j2"]),
        ({"payload": "n=2,sort=even"}, ["j2"]),
        ({"payload": "n=2,sort=odd"}, []),
    ],
)
async def test_jobs_are_found_by(queue: Queue, api: httpx.AsyncClient, wanted: dict[str, str], ids: list[str]) -> None:
    for at, (name, level) in enumerate([("a", None), ("a", Priority.HIGH), ("a", None), ("b", None)]):
        tenant = "odd" if at % 2 else "even"
        given = {"n": at, "sort": tenant}
        await queue.enqueue(name, given, job_id=f"j{at}", tenant=tenant, priority=level or Priority.NORMAL)

    page = (await api.get("/api/queues/q/jobs", params={"state": "waiting", **wanted})).json()
    assert sorted(one["id"] for one in page["jobs"]) == ids
    assert (page["looked_at"], page["complete"]) == (4, True)


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "nonsense"}, {"cursor": "waiting/x"}, {"state": "delayed", "cursor": "delayed/9" + "9" * 30},
        {"state": "dead", "cursor": "waiting/"}, {"state": "failed"}, {"limit": "0"}, {"limit": "501"},
        {"since": "yesterday"}, {"moon": "x"}, {"attempts": "-1"}, {"payload": "n"},
        {"payload": "n=1,a.token=x"}, {"payload": ","},
    ],
)  # fmt: skip
async def test_a_query_that_cannot_be_right(queue: Queue, api: httpx.AsyncClient, query: dict[str, str]) -> None:
    answer = await api.get("/api/queues/q/jobs", params=query)
    assert answer.status_code == 422
    assert answer.json()["detail"]


async def test_why_a_job_waits(queue: Queue, api: httpx.AsyncClient) -> None:
    await queue.pause(reason="deploy")
    job = await queue.enqueue("any")
    told = (await api.get(f"/api/queues/q/jobs/{job.id}/explain")).json()
    assert told["state"] == "waiting"
    assert "paused: deploy" in told["text"]


async def test_a_queue_with_a_slash_in_its_name(make_queue: MakeQueue, asking: Asking) -> None:
    api = asking(Dashboard([make_queue("a/b"), make_queue("a")]))
    [slashed] = [one for one in (await api.get("/api/queues")).json()["queues"] if one["name"] == "a/b"]
    assert slashed["url"] == "/api/queues/a%2Fb"
    receipt = (await api.post(f"{slashed['url']}/jobs", json={"name": "any", "job_id": "x/y z"})).json()
    assert receipt["url"] == "/api/queues/a%2Fb/jobs/x/y%20z"
    assert (await api.get(receipt["url"])).json()["id"] == "x/y z"
