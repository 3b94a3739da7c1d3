"""Work that goes on after its request: paced, stopped, broken; and the feed that makes a page once for all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from streamq import Queue
from streamq.errors import RedisUnavailable
from streamq.web import Dashboard
from streamq.web.pages import ground_of, overview
from streamq.web.pages.ground import Ground, Page
from streamq.web.pages.live import Feed
from streamq.web.pages.operations import KEPT, Operation, Operations, Step
from tests.web.asking import OPEN, Asking
from tests.worker.helpers import MakeQueue, until


def operation(total: int = 30, rate: float | None = None) -> Operation:
    made = Operation(("Replaying", "replayed"), "dead letter", total, "maria", ("", {}, ""))
    made.rate = rate
    return made


async def steps(many: int, taken: list[int]) -> AsyncIterator[Step]:
    for number in range(many):
        taken.append(number)
        yield Step(9, 1, "it is gone")


async def nothing(one: Operation) -> None:
    del one


async def test_it_goes_on_by_itself_and_says_how_it_ended() -> None:
    known, ended, taken = Operations(), list[str](), list[int]()

    async def note(one: Operation) -> None:
        ended.append(one.said)

    one = operation()
    known.start(one, steps(3, taken), note)
    assert one.said.startswith("Replaying 30: 0 done, 30 to go. Started by maria")
    await until(lambda: ended)
    assert ended == ["27 dead letters replayed, 3 skipped: it is gone."]
    shown = known.shown(one.id)
    assert shown is not None
    assert (shown.running, shown.seen, shown.total) == (False, 30, 30)
    assert known.shown("another") is None


async def test_its_pace_is_kept_and_a_stop_leaves_the_rest() -> None:
    known, taken = Operations(), list[int]()
    one = operation(rate=50.0)
    started = time.monotonic()
    known.start(one, steps(3, taken), nothing)
    await until(lambda: not one.running)
    assert time.monotonic() - started >= 0.55  # three steps of ten at 50 a second, with a wait after each

    slow, began = operation(rate=0.1), list[int]()
    known.start(slow, steps(3, began), nothing)
    await until(lambda: slow.done)
    slow.stop()
    await until(lambda: not slow.running)
    assert began == [0]
    assert slow.said == "9 dead letters replayed, 1 skipped: it is gone. Stopped; the others are as they were."


@pytest.mark.parametrize(
    ("problem", "said"), [(RedisUnavailable("redis://h", "refused"), "cannot reach"), (KeyError("x"), "KeyError")]
)
async def test_one_that_breaks_says_so(problem: Exception, said: str) -> None:
    async def broken() -> AsyncIterator[Step]:
        yield Step(1)
        raise problem

    known, one = Operations(), operation()
    known.start(one, broken(), nothing)
    await until(lambda: not one.running)
    assert one.said.startswith("1 dead letter replayed. It ended early: ")
    assert said in one.said


async def test_only_so_many_are_remembered() -> None:
    known, taken = Operations(), list[int]()
    first = operation()
    known.start(first, steps(1, taken), nothing)
    await until(lambda: not first.running)
    for _ in range(KEPT):
        known.start(operation(), steps(1, taken), nothing)
    await asyncio.sleep(0)
    assert known.get(first.id) is None


async def test_a_page_is_made_once_for_all_who_look_at_it(make_queue: MakeQueue, asking: Asking) -> None:
    dashboard = Dashboard(make_queue(), **OPEN)
    await asking(dashboard).get("/")
    made: list[Request] = []

    async def make(ground: Ground, request: Request) -> Page:
        made.append(request)
        return await overview.home(ground, request)

    feed = Feed(ground_of(dashboard.site))
    scope: dict[str, Any] = {
        "type": "http",
        "path": "/",
        "query_string": b"live=stream",
        "headers": [],
        "root_path": "",
    }
    pages = [await feed.page(Request(scope), make) for _ in range(3)]
    other = {**scope, "query_string": b"page=1&live=stream"}
    await feed.page(Request(other), make)
    assert len(made) == 2
    assert pages[0] is pages[2]


async def test_the_feed_sends_what_changed(queue: Queue, asking: Asking, served: Any) -> None:
    await queue.enqueue("work", {}, delay=3600)
    started = await asyncio.to_thread(served)
    heard: list[dict[str, object]] = []
    async with httpx.AsyncClient(timeout=20) as client, client.stream("GET", f"{started.url}/?live=stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                heard.append(json.loads(line[6:]))
                if len(heard) == 1:
                    await queue.enqueue("work", {}, delay=3600)
                elif any("live_rows" in one["parts"] for one in heard if isinstance(one["parts"], dict)):
                    break
    assert heard[0]["parts"] == {}
    changed = heard[-1]["parts"]
    assert isinstance(changed, dict)
    assert ">2</a>" in changed["live_rows"]


async def test_a_queue_of_any_name_has_its_page(make_queue: MakeQueue, asking: Asking) -> None:
    names = ["a/b", "team:mail@eu", "x" * 200]
    queues = [make_queue(name) for name in names]
    client = asking(Dashboard(queues, **OPEN))
    for queue in queues:
        await queue.enqueue("work", {})
    page = (await client.get("/", headers={"accept": "text/html"})).text
    for name in names:
        href = "/queues/" + name.replace("/", "%2F")
        assert f'href="{href}"' in page
        answer = await client.get(href, headers={"accept": "text/html"})
        assert answer.status_code == 200
        assert f"{name} needs you now" in answer.text
