"""A request and a tenant, said once, reach every job below and every log line."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from streamq import BatchContext, Context, LogContext, Queue, Worker, correlate
from streamq._cli.logs import JsonFormatter
from streamq.errors import ConfigError
from tests.worker.helpers import drain

Found = dict[str, tuple[str | None, str | None]]


@pytest.fixture
def family(queue: Queue) -> tuple[Any, Found]:
    """A handler whose jobs have children and grandchildren; what each of them knew."""
    found: Found = {}

    @queue.handler("grandchild")
    def grandchild(ctx: Context) -> None:
        found["grandchild"] = (ctx.request_id, ctx.tenant)

    @queue.handler("child")
    async def child(ctx: Context, name: str) -> None:
        found[name] = (ctx.request_id, ctx.tenant)
        if name == "child":
            await queue.enqueue_many([grandchild.job()])

    @queue.handler("parent")
    async def parent() -> None:
        await child.enqueue("child")
        await child.with_options(headers={"x-request-id": "own"}, tenant="other").enqueue("own")

    return parent, found


async def test_what_is_said_around_an_enqueue_reaches_children_and_grandchildren(
    queue: Queue, family: tuple[Any, Found]
) -> None:
    parent, found = family
    with correlate(request_id="r-7", tenant="acme"):
        await parent.enqueue()
    await drain(queue)
    assert found == {"child": ("r-7", "acme"), "grandchild": ("r-7", "acme"), "own": ("own", "other")}


async def test_options_of_the_job_do_the_same(queue: Queue, family: tuple[Any, Found]) -> None:
    parent, found = family
    await parent.with_options(headers={"x-request-id": "r-8", "x-other": "not handed on"}, tenant="acme").enqueue()
    await drain(queue)
    assert found["grandchild"] == ("r-8", "acme")


async def test_nothing_is_handed_on_where_nothing_was_said(queue: Queue, family: tuple[Any, Found]) -> None:
    parent, found = family
    await parent.enqueue()
    await drain(queue)
    assert found == {"child": (None, None), "grandchild": (None, None), "own": ("own", "other")}


async def test_only_what_concerns_the_request_is_inherited(queue: Queue) -> None:
    seen: list[dict[str, str]] = []

    @queue.handler("child")
    async def child(ctx: Context) -> None:
        seen.append(dict(ctx.headers))

    @queue.handler("parent")
    async def parent() -> None:
        await child.enqueue()

    await parent.with_options(headers={"x-request-id": "r", "authorization": "secret"}).enqueue()
    await drain(queue)
    assert seen == [{"x-request-id": "r"}]


async def test_blocks_nest_and_end(queue: Queue) -> None:
    async def sent() -> tuple[str | None, str | None]:
        job = await queue.enqueue("x", delay=60)
        info = await job.info()
        return info.headers.get("x-request-id"), info.tenant

    with correlate(request_id="outer", tenant="acme"):
        with correlate(request_id="inner"):
            assert await sent() == ("inner", "acme")
        with correlate(tenant="other"):
            assert await sent() == ("outer", "other")
        assert await sent() == ("outer", "acme")
    assert await sent() == (None, None)


async def test_tasks_that_run_side_by_side_do_not_mix(queue: Queue) -> None:
    async def one(number: int) -> None:
        with correlate(request_id=f"r-{number}"):
            await asyncio.sleep(0)
            job = await queue.enqueue("x", delay=60)
            assert (await job.info()).headers == {"x-request-id": f"r-{number}"}

    await asyncio.gather(*(one(number) for number in range(20)))


async def test_jobs_of_a_worker_started_within_a_block_belong_to_nobody(
    queue: Queue, family: tuple[Any, Found]
) -> None:
    parent, found = family
    await parent.enqueue()
    with correlate(request_id="deploy"):
        await Worker(queue).run(burst=True)
    assert found["child"] == (None, None)


async def test_children_of_a_batch_inherit_what_all_its_jobs_share(queue: Queue) -> None:
    seen: list[tuple[str | None, str | None]] = []

    @queue.handler("child")
    async def child(ctx: Context) -> None:
        seen.append((ctx.request_id, ctx.tenant))

    @queue.batch_handler("sync", size=2, wait=0.01)
    async def sync(ctx: BatchContext, items: list[int]) -> None:
        del ctx, items
        await child.enqueue()

    await queue.enqueue_many(
        [sync.with_options(headers={"x-request-id": f"r-{one}"}, tenant="acme").job(one) for one in range(2)]
    )
    await drain(queue)
    assert seen == [(None, "acme")]


@pytest.mark.parametrize("given", [{"request_id": ""}, {"request_id": "a\nb"}, {"tenant": "\x1b[31m"}])
def test_what_would_break_log_lines_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))), correlate(**given):
        pass


# -- log records ------------------------------------------------------------------------------------


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What a handler of the root logger writes, with the filter on it."""
    found: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(JsonFormatter().format(record)))

    handler = Kept()
    handler.addFilter(LogContext())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield found
    root.removeHandler(handler)
    root.setLevel(level)


async def test_every_line_of_a_handler_names_its_job(queue: Queue, lines: list[dict[str, Any]]) -> None:
    mine = logging.getLogger("my.module")

    @queue.handler("thread")
    def thread() -> None:
        mine.info("in a thread")

    @queue.handler("work")
    async def work() -> None:
        mine.info("here")
        await asyncio.create_task(deeper())
        mine.info("mine", extra={"tenant": "said by itself"})

    async def deeper() -> None:
        mine.info("deeper")

    with correlate(request_id="r-7", tenant="acme"):
        jobs = [await work.enqueue(), await thread.enqueue()]
        mine.info("outside")
    await drain(queue)
    said = {one["message"]: one for one in lines if one["logger"] == "my.module"}
    for message, job in (("here", jobs[0]), ("deeper", jobs[0]), ("in a thread", jobs[1])):
        found = said[message]
        assert (found["job_id"], found["queue"], found["attempt"]) == (job.id, "q", 1)
        assert (found["request_id"], found["tenant"]) == ("r-7", "acme")
    assert said["here"]["handler"] == "work"
    assert said["mine"]["tenant"] == "said by itself"
    assert (said["outside"]["request_id"], said["outside"]["tenant"]) == ("r-7", "acme")
    assert "job_id" not in said["outside"]
    succeeded = [one for one in lines if one.get("event") == "succeeded"]
    assert {one["request_id"] for one in succeeded} == {"r-7"}


def test_a_record_outside_of_everything_stays_as_it_is() -> None:
    record = logging.makeLogRecord({"msg": "x"})
    before = set(vars(record))
    assert LogContext().filter(record) is True
    assert set(vars(record)) == before
