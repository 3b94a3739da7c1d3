"""The names of a BullMQ-style controller, with the requests that such a system's own pages show."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any

import httpx
import pytest

from streamq import Fatal, Priority, Queue
from streamq.web import Dashboard
from tests.web.asking import Asking
from tests.worker.helpers import MakeQueue, drain

EMAIL: dict[str, Any] = {
    "type": "EMAIL_SEND",
    "data": {"to": "test@example.com", "subject": "Test Email", "template": "test"},
    "options": {"priority": 10},
}
ROOTS = ("/queue", "/api/queue")


@pytest.mark.parametrize("root", ROOTS)
async def test_every_path_works(queue: Queue, api: httpx.AsyncClient, root: str) -> None:
    @queue.handler("EMAIL_SEND", max_attempts=1, keep_result=True)
    async def email(to: str, subject: str, template: str) -> dict[str, Any]:
        if template == "broken":
            raise Fatal("no such template")
        return {"sent": to, "subject": subject}

    added = await api.post(f"{root}/jobs", json=EMAIL)
    assert added.status_code == 202
    job_id = added.json()["id"]
    assert added.json() == {"id": job_id, "type": "EMAIL_SEND", "state": "waiting", "created": True}
    shown = (await api.get(f"{root}/jobs/{job_id}")).json()
    assert (shown["state"], shown["data"], shown["attemptsMade"]) == ("waiting", EMAIL["data"], 0)
    [kept] = (await queue.jobs("waiting")).jobs
    assert kept.priority is Priority.HIGH
    later = {**EMAIL, "options": {"delay": 30_000, "attempts": 3, "jobId": "later", "removeOnComplete": True}}
    assert (await api.post(f"{root}/jobs", json=later)).json()["state"] == "delayed"
    assert (await api.post(f"{root}/jobs", json=later)).status_code == 200
    broken = {"type": "EMAIL_SEND", "data": {**EMAIL["data"], "template": "broken"}, "options": {"jobId": "broken"}}
    await api.post(f"{root}/jobs", json=broken)

    assert (await api.get(f"{root}/stats")).json() == {
        "queue": "q", "waiting": 2, "active": 0, "completed": 0, "failed": 0, "delayed": 1, "paused": False
    }  # fmt: skip
    assert (await api.post(f"{root}/pause")).json() == {"queue": "q", "paused": True}
    assert (await api.get(f"{root}/stats")).json()["paused"] is True
    assert (await api.post(f"{root}/resume")).json() == {"queue": "q", "paused": False}
    await drain_all(queue)

    again = await api.post(f"{root}/jobs", json=broken)
    assert (again.status_code, again.json()["created"], again.json()["state"]) == (200, False, "failed")
    done = (await api.get(f"{root}/jobs/{job_id}")).json()
    assert (done["state"], done["result"]) == ("completed", {"sent": "test@example.com", "subject": "Test Email"})
    assert isinstance(done["finishedOn"], int)
    failed = (await api.get(f"{root}/jobs/broken")).json()
    assert (failed["state"], failed["failedReason"]) == ("failed", "streamq.Fatal: no such template")
    assert (await api.get(f"{root}/stats")).json()["failed"] == 1
    assert (await api.delete(f"{root}/jobs/later")).json() == {"id": "later", "removed": True}
    assert (await api.post(f"{root}/clean/failed")).json() == {"queue": "q", "cleaned": 0}  # younger than two days
    assert (await api.post(f"{root}/clean/failed", json={"olderThan": 0})).json() == {"queue": "q", "cleaned": 1}
    assert (await api.post(f"{root}/clean/completed", json={"olderThan": 0})).json() == {"queue": "q", "cleaned": 1}
    assert (await api.get(f"{root}/stats")).json()["failed"] == 0


async def drain_all(queue: Queue) -> None:
    await drain(queue)
    assert (await queue.counts()).waiting == 0


async def test_the_requests_of_the_page_by_curl(make_queue: MakeQueue, served: Any) -> None:
    await make_queue().enqueue("x", job_id="first")  # so that the queue is known
    at = f"{served().url}/api/queue"
    kind = "Content-Type: application/json"
    done = await asyncio.to_thread(curl, "-X", "POST", f"{at}/jobs", "-H", kind, "-d", json.dumps(EMAIL))
    assert done["created"] is True
    assert (await asyncio.to_thread(curl, f"{at}/stats"))["waiting"] == 2


def curl(*args: str) -> Any:
    done = subprocess.run(["curl", "-sS", *args], capture_output=True, text=True, check=True, timeout=20)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("number", "level"),
    [(1, "low"), (4, "low"), (5, "normal"), (9, "normal"), (10, "high"), (19, "high"), (20, "critical"), (0, "normal")],
)
async def test_higher_numbers_are_more_urgent(queue: Queue, api: httpx.AsyncClient, number: int, level: str) -> None:
    await api.post("/queue/jobs", json={"type": "x", "options": {"priority": number, "jobId": "j"}})
    assert (await api.get("/api/queues/q/jobs/j")).json()["priority"] == level


async def test_which_queue_is_meant(make_queue: MakeQueue, asking: Asking) -> None:
    api = asking(Dashboard([make_queue("mail"), make_queue("sms")]))
    assert (await api.get("/queue/stats")).json()["queue"] == "mail"
    assert (await api.get("/queue/stats", params={"queue": "sms"})).json()["queue"] == "sms"
    assert (await api.get("/queue/stats", params={"queue": "fax"})).status_code == 404


async def test_none_is_guessed_among_those_that_were_found(
    make_queue: MakeQueue, server: Any, prefix: str, asking: Asking
) -> None:
    for name in ("mail", "sms"):
        await make_queue(name).enqueue("x")
    app = Dashboard(url=server.url, prefix=prefix)
    answer = await asking(app).get("/queue/stats")
    assert answer.status_code == 422
    assert "?queue=..., of mail, sms" in answer.json()["detail"]
    await app.aclose()


@pytest.mark.parametrize(
    "body", [{}, {"type": "x", "data": 5}, {"type": "x y"}, {"type": "x", "options": {"attempts": 0}}]
)
async def test_what_is_no_job(queue: Queue, api: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await api.post("/queue/jobs", json=body)).status_code == 422
    assert (await queue.counts()).waiting == 0
