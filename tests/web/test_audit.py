"""The audit trail: every action leaves an entry, whatever came of it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from streamq import Fatal, Queue, Scheduler
from streamq._store import trail as _store
from streamq.errors import ConfigError
from streamq.trail import AuditEntry, Trail
from streamq.web import Dashboard, basic
from streamq.web.pages import ACTS
from streamq.web.rest import CONTROLLER, OPERATIONS
from tests.servers import Server
from tests.web.asking import Asking
from tests.worker.helpers import drain


async def entries(client: httpx.AsyncClient, **query: str) -> list[tuple[str, str, str, int, str]]:
    page = (await client.get("/api/audit", params=query)).json()
    return [(one["who"], one["action"], one["filter"], one["count"], one["outcome"]) for one in page["entries"]]


async def test_who_did_what_from_where(queue: Queue, asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    app = Dashboard(queue, access=basic({"omar": "secret"}))
    api = asking(app, host="10.0.0.7", auth=("omar", "secret"))
    await queue.enqueue("a", job_id="j1", delay=60)
    with caplog.at_level(logging.INFO, "streamq.audit"):
        await api.post("/api/queues/q/pause", json={"reason": "deploy\nof today"})
        await api.post("/api/queues/q/pause")
        await api.delete("/api/queues/q/jobs/j1")
        await api.post("/api/queues/q/dead/nothing/replay")

    assert await entries(api) == [
        ("omar", "dead.replay", "job=nothing", 0, "failed: JobUnknown: job nothing is unknown to this queue"),
        ("omar", "job.remove", "job=j1", 1, "done"),
        ("omar", "queue.pause", "", 0, "it was paused already"),
        ("omar", "queue.pause", "reason=deploy\nof today", 1, "done"),
    ]
    [first, *_] = (await api.get("/api/audit")).json()["entries"]
    assert (first["origin"], first["queue"]) == ("10.0.0.7", "q")
    assert abs(datetime.fromisoformat(first["at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    told = [record.getMessage() for record in caplog.records if record.name == "streamq.audit"]
    assert len(told) == 4
    assert told[0] == "queue.pause by omar from 10.0.0.7: q reason=deploy?of today (1), done"


async def test_reads_and_submissions_do_not_fill_it(
    queue: Queue, api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "streamq.audit"):
        await api.post("/api/queues/q/jobs", json={"name": "a", "job_id": "j1"})
    await api.get("/api/queues/q/jobs/j1")
    await api.post("/api/queues/q/dead/replay", json={"dry_run": True})

    assert await entries(api) == []
    assert "job.submit" in caplog.text


async def test_pages_and_filters(queue: Queue, api: httpx.AsyncClient) -> None:
    trail = Trail(queue)
    for at in range(7):
        action = "dead.purge" if at % 3 == 0 else "job.retry"
        who = "ada" if at % 2 else "omar"
        await trail.note(AuditEntry(who=who, origin="x", action=action, queue="q", filter=f"job=j{at}", count=at))

    whole = (await api.get("/api/audit")).json()
    assert [one["count"] for one in whole["entries"]] == [6, 5, 4, 3, 2, 1, 0]
    assert whole["cursor"] == ""
    first = (await api.get("/api/audit", params={"limit": "3"})).json()
    rest = (await api.get("/api/audit", params={"cursor": first["cursor"]})).json()
    assert [one["count"] for one in first["entries"] + rest["entries"]] == [6, 5, 4, 3, 2, 1, 0]
    assert [one[3] for one in await entries(api, who="ada")] == [5, 3, 1]
    assert [one[3] for one in await entries(api, action="dead.")] == [6, 3, 0]
    assert [one[3] for one in await entries(api, text="J4")] == [4]
    assert [one[3] for one in await entries(api, queue="other")] == []
    assert len(await entries(api, since="1h")) == 7
    assert (await api.get("/api/audit", params={"cursor": "1"})).status_code == 422
    assert (await api.get("/api/audit", params={"since": "99999w"})).status_code == 422


async def test_a_repeated_write_is_one_entry(queue: Queue, server: Server, prefix: str) -> None:
    trail = Trail(queue)
    await trail.note(AuditEntry(action="a"))
    [[_, fields]] = server.command("XRANGE", f"{prefix}:audit", "-", "+")
    await _store.write((await queue.stores())[0], bytes(fields[1]))
    await _store.write((await queue.stores())[0], b"\xc1 not readable")

    page = await trail.page()
    assert [one.action for one in page.entries] == ["a"]
    assert page.looked_at == 3
    with pytest.raises(ConfigError, match="cursor"):
        await trail.page(cursor="x")


async def test_it_is_capped(queue: Queue, server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_store, "KEPT", 100)
    trail = Trail(queue)
    for _ in range(350):
        await trail.note(AuditEntry(action="a"))
    assert 100 <= server.command("XLEN", f"{prefix}:audit") < 250


# -- nothing is left out ------------------------------------------------------------------------------

OLD: dict[str, Any] = {"older_than": 0}
DELETED = "/queues/{queue}/jobs/{job_id:path}"
SCHEDULE = "/queues/{queue}/schedules/{schedule_id:path}"

OF_API: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("POST", "/queues/{queue}/pause"): ("/queues/q/pause", {}),
    ("POST", "/queues/{queue}/resume"): ("/queues/q/resume", {}),
    ("POST", f"{DELETED}/retry"): ("/queues/q/jobs/dead1/retry", {}),
    ("POST", f"{DELETED}/promote"): ("/queues/q/jobs/later1/promote", {}),
    ("POST", f"{DELETED}/cancel"): ("/queues/q/jobs/later2/cancel", {}),
    ("DELETE", DELETED): ("/queues/q/jobs/later3", {}),
    ("POST", "/queues/{queue}/dead/{job_id:path}/replay"): ("/queues/q/dead/dead2/replay", {}),
    ("POST", "/queues/{queue}/dead/replay"): ("/queues/q/dead/replay", {"ids": ["dead3"]}),
    ("POST", "/queues/{queue}/dead/purge"): ("/queues/q/dead/purge", {"everything": True}),
    ("POST", "/queues/{queue}/clean"): ("/queues/q/clean", {"state": "completed", **OLD}),
    ("POST", "/queues/{queue}/drain"): ("/queues/q/drain", {}),
    ("PUT", SCHEDULE): ("/queues/q/schedules/new", {"name": "fail", "every": "1h"}),
    ("POST", f"{SCHEDULE}/trigger"): ("/queues/q/schedules/s/trigger", {}),
    ("POST", f"{SCHEDULE}/pause"): ("/queues/q/schedules/s/pause", {}),
    ("POST", f"{SCHEDULE}/resume"): ("/queues/q/schedules/s/resume", {}),
    ("DELETE", SCHEDULE): ("/queues/q/schedules/s", {}),
}
"""Every operation that acts, with a call of it that does something."""

OF_CONTROLLER: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("POST", "/pause"): ("/queue/pause", {}),
    ("POST", "/resume"): ("/queue/resume", {}),
    ("DELETE", "/jobs/{job_id:path}"): ("/queue/jobs/later4", {}),
    ("POST", "/clean/completed"): ("/queue/clean/completed", {"olderThan": 0}),
    ("POST", "/clean/failed"): ("/queue/clean/failed", {"olderThan": 0}),
}


async def test_every_operation_that_acts_leaves_an_entry(queue: Queue, api: httpx.AsyncClient) -> None:
    submits = {("POST", "/queues/{queue}/jobs"), ("POST", "/jobs")}  # told to the logger alone
    for listed, known in ((OPERATIONS, OF_API), (CONTROLLER, OF_CONTROLLER)):
        assert {(one.method, one.path) for one in listed if one.method != "GET"} - submits == known.keys()

    @queue.handler("fail")
    async def fail() -> None:
        raise Fatal("it broke")

    for at in range(1, 5):
        await fail.with_options(job_id=f"dead{at}").enqueue()
    await drain(queue)
    for at in range(1, 5):
        await fail.with_options(job_id=f"later{at}", delay=3600).enqueue()
    await Scheduler(queue).upsert("s", fail.job(), every=3600)
    calls = [(f"/api{path}", method, body) for (method, _), (path, body) in OF_API.items()]
    calls += [(path, method, body) for (method, _), (path, body) in OF_CONTROLLER.items()]
    for number, (path, method, body) in enumerate(calls, 1):
        answer = await api.request(method, path, json=body)
        assert answer.is_success, (path, answer.text)
        assert len(await entries(api, limit="100")) == number, path


@pytest.mark.parametrize("name", sorted(name for name, act in ACTS.items() if act.do is not None))
def test_every_act_of_the_pages_notes_what_it_does(name: str) -> None:
    do = ACTS[name].do
    assert do is not None
    assert any(word in reached(do) for word in (".acting(", ".audited("))


def reached(fn: Callable[..., Any], seen: frozenset[str] = frozenset()) -> str:
    """The source of a function and of those of the same package that it names."""
    found = inspect.getsource(fn)
    names = inspect.getclosurevars(fn).globals
    inner = {name: one for name, one in names.items() if inspect.isfunction(one) and name not in seen}
    ours = {name: one for name, one in inner.items() if one.__module__.startswith("streamq.web.pages")}
    return found + "".join(reached(one, seen | ours.keys()) for one in ours.values())
