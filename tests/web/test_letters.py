"""Dead letters over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from streamq import Fatal, JobState, Queue
from tests.worker.helpers import drain


@pytest.fixture
async def dead(queue: Queue) -> Queue:
    """A queue with five dead letters: three of mail (two of acme), two of sms."""

    @queue.handler("mail")
    async def mail(to: str) -> None:
        raise Fatal(f"550 no such user {to}")

    @queue.handler("sms")
    async def sms(to: str) -> None:
        raise Fatal("429 slow down")

    for at in range(3):
        await mail.with_options(job_id=f"m{at}", tenant="acme" if at else "zeta").enqueue(f"u{at}")
    for at in range(2):
        await sms.with_options(job_id=f"s{at}").enqueue(f"u{at}")
    await drain(queue)
    assert (await queue.counts()).dead == 5
    return queue


async def alive(queue: Queue) -> list[str]:
    return sorted(one.id for one in (await queue.jobs("waiting")).jobs)


async def test_they_are_listed_newest_first_by_page(dead: Queue, api: httpx.AsyncClient) -> None:
    first = (await api.get("/api/queues/q/dead", params={"limit": 2})).json()
    rest = (await api.get("/api/queues/q/dead", params={"limit": 50, "cursor": first["cursor"]})).json()

    assert first["total"] == 5
    assert not first["complete"]
    assert rest["complete"]
    letters = first["letters"] + rest["letters"]
    assert sorted(one["id"] for one in letters) == ["m0", "m1", "m2", "s0", "s1"]
    times = [one["died_at"] for one in letters]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({"name": "sms"}, ["s0", "s1"]),
        ({"tenant": "acme"}, ["m1", "m2"]),
        ({"error": "550"}, ["m0", "m1", "m2"]),
        ({"text": "SLOW"}, ["s0", "s1"]),
        ({"since": "1h"}, ["m0", "m1", "m2", "s0", "s1"]),
    ],
)
async def test_they_are_found_by(dead: Queue, api: httpx.AsyncClient, wanted: dict[str, str], ids: list[str]) -> None:
    found = (await api.get("/api/queues/q/dead", params=wanted)).json()
    assert sorted(one["id"] for one in found["letters"]) == ids
    assert found["looked_at"] == 5


async def test_one_with_its_whole_history(dead: Queue, api: httpx.AsyncClient) -> None:
    letter = (await api.get("/api/queues/q/dead/m0")).json()
    assert (letter["name"], letter["tenant"], letter["payload"]) == ("mail", "zeta", {"to": "u0"})
    assert "550 no such user u0" in letter["errors"][0]["traceback"]
    assert (await api.get("/api/queues/q/dead/nothing")).status_code == 404


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ({}, ["m0", "m1", "m2", "s0", "s1"]),
        ({"name": "mail", "tenant": "acme"}, ["m1", "m2"]),
        ({"error": "429", "rate": 1000}, ["s0", "s1"]),
        ({"ids": ["m0", "s1", "nothing"]}, ["m0", "s1"]),
    ],
)
async def test_replaying_does_what_the_dry_run_said(
    dead: Queue, api: httpx.AsyncClient, body: dict[str, Any], ids: list[str]
) -> None:
    told = (await api.post("/api/queues/q/dead/replay", json={**body, "dry_run": True})).json()
    assert (told["replayed"], told["dry_run"]) == (len(ids), True)
    assert await alive(dead) == []

    done = (await api.post("/api/queues/q/dead/replay", json=body)).json()
    assert done["replayed"] == len(ids)
    assert done["refused"] == [one for one in body.get("ids", []) if one not in ids]
    back = [
        one for one in ("m0", "m1", "m2", "s0", "s1") if (job := await dead.job(one)) and await job.state() != "dead"
    ]
    assert back == ids


async def test_one_is_replayed_once(dead: Queue, api: httpx.AsyncClient) -> None:
    done = await api.post("/api/queues/q/dead/m0/replay", json={"delay": 60})
    assert done.json() == {"id": "m0", "state": "delayed", "changed": True}
    job = await dead.job("m0")
    assert job is not None
    assert await job.state() is JobState.DELAYED
    again = await api.post("/api/queues/q/dead/m0/replay")
    assert again.status_code == 409
    assert (await api.post("/api/queues/q/dead/nothing/replay")).status_code == 404


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ({"ids": ["m0", "nothing"]}, ["m1", "m2", "s0", "s1"]),
        ({"name": "mail"}, ["s0", "s1"]),
        ({"tenant": "acme"}, ["m0", "s0", "s1"]),
        ({"error": "429"}, ["m0", "m1", "m2"]),
        ({"older_than": "1h"}, ["m0", "m1", "m2", "s0", "s1"]),
        ({"everything": True}, []),
    ],
)
async def test_purging_does_what_the_dry_run_said(
    dead: Queue, api: httpx.AsyncClient, body: dict[str, Any], left: list[str]
) -> None:
    told = (await api.post("/api/queues/q/dead/purge", json={**body, "dry_run": True})).json()
    assert told == {"purged": 5 - len(left), "dry_run": True}
    assert await dead.dlq.count() == 5

    done = (await api.post("/api/queues/q/dead/purge", json=body)).json()
    assert done == {"purged": 5 - len(left), "dry_run": False}
    assert sorted([one.id async for one in dead.dlq.list()]) == left


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("purge", {}),
        ("purge", {"everything": True, "ids": ["m0"]}),
        ("purge", {"ids": []}),
        ("replay", {"ids": ["m0"], "name": "mail"}),
        ("replay", {"rate": 0}),
    ],
)
async def test_what_is_not_said_clearly_does_nothing(
    dead: Queue, api: httpx.AsyncClient, verb: str, body: dict[str, Any]
) -> None:
    answer = await api.post(f"/api/queues/q/dead/{verb}", json=body)
    assert answer.status_code == 422
    assert await dead.dlq.count() == 5


async def test_groups_are_told_exactly_and_replayed_and_purged_by_their_key(
    dead: Queue, api: httpx.AsyncClient
) -> None:
    found = (await api.get("/api/queues/q/dead-groups")).json()
    assert sum(one["count"] for one in found["groups"]) == found["total"] == 5
    assert found["exact"]
    [sms] = [one for one in found["groups"] if one["name"] == "sms"]
    assert (sms["type"], sms["message"], sms["count"]) == ("streamq.Fatal", "N slow down", 2)

    body = {"group": sms["key"], "dry_run": True}
    assert (await api.post("/api/queues/q/dead/replay", json=body)).json()["replayed"] == 2
    assert (await api.post("/api/queues/q/dead/purge", json=body)).json() == {"purged": 2, "dry_run": True}
    assert (await api.post(f"/api/queues/q/dead/{sms['newest_id']}/replay")).status_code == 200
    assert (await counted(api))[sms["key"]] == 1

    done = (await api.post("/api/queues/q/dead/purge", json={"group": sms["key"]})).json()
    assert done == {"purged": 1, "dry_run": False}
    left = await counted(api)
    assert sms["key"] not in left
    for key, number in left.items():
        assert (await api.post("/api/queues/q/dead/replay", json={"group": key})).json()["replayed"] == number
    assert await counted(api) == {}
    assert await dead.dlq.count() == 0


async def counted(api: httpx.AsyncClient) -> dict[str, int]:
    return {one["key"]: one["count"] for one in (await api.get("/api/queues/q/dead-groups")).json()["groups"]}


async def test_a_group_that_is_none_does_nothing(dead: Queue, api: httpx.AsyncClient) -> None:
    for body in ({"group": "sms"}, {"group": "0" * 12, "ids": ["m0"]}):
        assert (await api.post("/api/queues/q/dead/replay", json=body)).status_code == 422
    assert (await api.post("/api/queues/q/dead/purge", json={"group": "0" * 12})).json()["purged"] == 0
    assert await dead.dlq.count() == 5
