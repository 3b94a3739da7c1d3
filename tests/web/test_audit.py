"""The audit trail: every action leaves an entry, whatever came of it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from streamq import Queue
from streamq._store import trail as _store
from streamq.errors import ConfigError
from streamq.trail import AuditEntry, Trail
from streamq.web import Dashboard, basic
from tests.servers import Server
from tests.web.asking import Asking


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
