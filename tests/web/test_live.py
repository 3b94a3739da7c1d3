"""Server-sent events, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from streamq import Queue, Worker
from streamq.web.rest import live
from tests.worker.helpers import MakeQueue, drain


async def told(response: httpx.Response) -> AsyncGenerator[dict[str, str]]:
    """Yield events as their fields."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if not line:
            if "data" in fields:
                yield fields
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


async def test_a_job_is_followed_to_its_end(queue: Queue, served: Any) -> None:
    @queue.handler("add")
    async def add(a: int) -> dict[str, Any]:
        return {"sum": a + 1, "token": "secret"}

    job = await add.with_options(delay=0.3).enqueue(1)
    url = f"{served().url}/api/queues/q/jobs/{job.id}/events"
    async with httpx.AsyncClient(timeout=20) as client, client.stream("GET", url) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        async with aclosing(told(response)) as events, Worker(queue):
            seen = [(event["event"], json.loads(event["data"])) async for event in events]
    assert seen[0] == ("state", {"id": job.id, "state": "delayed"})
    kind, end = seen[-1]
    assert (kind, end["state"], end["result"]) == ("end", "completed", {"sum": 2, "token": "<hidden: text of 6>"})


async def test_a_job_that_has_ended_ends_the_stream_at_once(queue: Queue, api: httpx.AsyncClient) -> None:
    @queue.handler("a")
    async def a() -> int:
        return 7

    job = await a.enqueue()
    await drain(queue)
    answer = await api.get(f"/api/queues/q/jobs/{job.id}/events")
    assert [line for line in answer.text.splitlines() if line.startswith("event: ")] == ["event: state", "event: end"]


async def test_a_queue_is_followed_and_resumed(make_queue: MakeQueue, served: Any) -> None:
    queue = make_queue(events=True)

    @queue.handler("a")
    async def a() -> None: ...

    await a.enqueue()
    url = f"{served().url}/api/queues/q/events"
    async with httpx.AsyncClient(timeout=20) as client, Worker(queue):
        first = await first_of(client, url, {"after": "0-0", "kinds": "completed"})
        assert (first["event"], json.loads(first["data"])["kind"]) == ("completed", "completed")
        second = await a.enqueue()
        following = await first_of(client, url, {"kinds": "completed"}, first["id"])
        assert json.loads(following["data"])["job_id"] == second.id


async def first_of(client: httpx.AsyncClient, url: str, query: dict[str, str], after: str = "") -> dict[str, str]:
    headers = {"last-event-id": after} if after else {}
    async with client.stream("GET", url, params=query, headers=headers) as response, aclosing(told(response)) as events:
        return await anext(events)


@pytest.mark.parametrize("query", [{"after": "nonsense"}, {"kinds": "moved"}])
async def test_what_cannot_be_followed(queue: Queue, api: httpx.AsyncClient, query: dict[str, str]) -> None:
    answer = await api.get("/api/queues/q/events", params=query)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


async def test_silence_is_broken_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BEAT", 0.01)
    closed = asyncio.Event()

    async def silent() -> AsyncGenerator[bytes]:
        try:
            await asyncio.Event().wait()
            yield b""
        finally:
            closed.set()

    beating = live.beating(silent())
    said = [await anext(beating) for _ in range(3)]
    assert said == [b": streamq\n\n", b": still here\n\n", b": still here\n\n"]
    await beating.aclose()
    assert closed.is_set()
