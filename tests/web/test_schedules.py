"""Schedules over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from streamq import Queue, Scheduler
from tests.worker.helpers import MakeQueue

DAILY: dict[str, Any] = {
    "name": "digest",
    "payload": {"to": "ada", "token": "x"},
    "cron": "0 9 * * *",
    "tz": "Europe/Athens",
}


async def test_one_is_made_shown_changed_and_removed(queue: Queue, api: httpx.AsyncClient) -> None:
    path = "/api/queues/q/schedules/daily/digest"

    assert (await api.put(path, json=DAILY)).json() == {"id": "daily/digest", "changed": True}
    assert (await api.put(path, json=DAILY)).json() == {"id": "daily/digest", "changed": False}
    shown = (await api.get(path)).json()
    assert (shown["cron"], shown["tz"], shown["handler"]) == ("0 9 * * *", "Europe/Athens", "digest")
    assert shown["args"] == {"to": "ada", "token": "<hidden: text of 1>"}
    assert "09:00" in shown["when"]
    assert [one["id"] for one in (await api.get("/api/queues/q/schedules")).json()["schedules"]] == ["daily/digest"]
    ticks = (await api.get(f"{path}/preview", params={"n": 3})).json()["ticks"]
    expected = await Scheduler(queue).preview("daily/digest", 3)
    assert [datetime.fromisoformat(one) for one in ticks] == expected

    every = {**DAILY, "cron": None, "tz": None, "every": "15m", "misfire": "skip", "priority": "low", "limit": 3}
    assert (await api.put(path, json=every)).json()["changed"] is True
    assert (await api.get(path)).json()["every"] == 900
    assert (await api.delete(path)).json() == {"id": "daily/digest", "changed": True}
    assert (await api.get(path)).status_code == 404


async def test_it_is_paused_resumed_and_run_out_of_turn(queue: Queue, api: httpx.AsyncClient) -> None:
    path = "/api/queues/q/schedules/daily"
    await api.put(path, json=DAILY)

    assert (await api.post(f"{path}/pause")).json()["changed"] is True
    assert (await api.post(f"{path}/pause")).json()["changed"] is False
    assert (await api.get(path)).json()["paused"] is True
    ran = await api.post(f"{path}/trigger")
    assert ran.status_code == 202
    [job] = (await queue.jobs("waiting")).jobs
    assert (job.id, job.args) == (ran.json()["job_id"], {"to": "ada", "token": "x"})
    assert (await api.get(ran.json()["url"])).json()["name"] == "digest"
    assert (await api.post(f"{path}/resume")).json()["changed"] is True
    assert (await Scheduler(queue).list())[0].next is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cron": "61 * * * *"}, "minute '61' is wrong"),
        ({"cron": None, "tz": None}, "cron=, every= and at="),
        ({"every": 5}, "not cron and every"),
        ({"tz": "Mars/Olympus"}, "Mars/Olympus"),
        ({"name": "no such thing!"}, "body:"),
        ({"limit": 0}, "body:"),
    ],
)
async def test_one_that_cannot_be(queue: Queue, api: httpx.AsyncClient, change: dict[str, Any], said: str) -> None:
    answer = await api.put("/api/queues/q/schedules/x", json={**DAILY, **change})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert (await api.get("/api/queues/q/schedules")).json() == {"schedules": []}


@pytest.mark.parametrize(
    ("method", "path"), [("get", ""), ("get", "/preview"), ("post", "/pause"), ("post", "/trigger"), ("delete", "")]
)
async def test_one_that_is_not_there(api: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await api.request(method.upper(), f"/api/queues/q/schedules/nothing{path}")
    assert (answer.status_code, answer.json()["error"]) == (404, "ScheduleUnknown")


async def test_arguments_are_checked_where_the_handler_is_known(
    make_queue: MakeQueue, api: httpx.AsyncClient, queue: Queue
) -> None:
    @queue.handler("digest")
    async def digest(to: str) -> None:
        del to

    answer = await api.put("/api/queues/q/schedules/x", json={**DAILY, "payload": {"to": 7}})
    assert answer.status_code == 422
    assert "Expected `str`" in answer.json()["detail"]
    once = {"name": "digest", "payload": {"to": "ada"}, "at": datetime(2040, 1, 1, tzinfo=UTC).isoformat()}
    assert (await api.put("/api/queues/q/schedules/x", json=once)).json()["changed"] is True
