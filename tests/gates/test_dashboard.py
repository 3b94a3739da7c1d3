"""What a page of the dashboard costs the server: as much with many jobs as with few, in commands the server counted."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from streamq import Queue, Worker
from streamq.web import Dashboard
from tests.gates.test_roundtrips import counted
from tests.servers import Server
from tests.web.asking import OPEN

PAGES = (
    "/", "/queues/gate", "/jobs?state=waiting", "/jobs?state=delayed", "/jobs?state=dead", "/schedules", "/workers",
    "/limits", "/server", "/audit", "/job?queue=gate&id=one", "/act/queue-drain?queue=gate",
)  # fmt: skip
"""What shows a page of jobs, or none."""

SEARCHES = ("/jobs?q=nowhere", "/jobs?state=waiting&payload=n=-1", "/jobs?state=dead&error=nowhere", "/dead")
"""What looks through jobs, and stops after some thousands of them."""

PAGE = 60
"""More jobs than a page shows."""


@pytest.fixture
def quiet(fresh_server: Callable[..., Server]) -> Server:
    """A server nobody else talks to, or the counters would count others."""
    return fresh_server("valkey")


async def commands(quiet: Server, queue: Queue, path: str) -> int:
    """How many commands a page costs, of a dashboard that remembers nothing."""
    app = Dashboard(queue, **OPEN)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:

        async def ask() -> None:
            answer = await client.get(path, headers={"accept": "text/html"})
            assert answer.status_code == 200, path

        return sum((await counted(quiet, ask)).values())


async def fill(queue: Queue, jobs: int) -> None:
    """Let so many jobs wait, be delayed, and die."""
    await queue.enqueue_many([queue.spec("fail", {"n": n}) for n in range(jobs)])
    await Worker(queue).run(burst=True)
    await queue.enqueue_many([queue.spec("work", {"n": n}) for n in range(jobs)])
    await queue.enqueue_many([queue.spec("work", {"n": n}, delay=3600 + n) for n in range(jobs)])


@pytest.mark.timeout(120)
async def test_a_page_costs_no_more_with_many_jobs(quiet: Server, prefix: str) -> None:
    async with Queue("gate", url=quiet.url, prefix=prefix) as queue:

        @queue.handler("fail", max_attempts=1)
        async def fail(n: int) -> None:
            raise OSError(f"no answer within {n} s")

        @queue.handler("work")
        async def work(n: int) -> None:
            del n

        await work.with_options(job_id="one", delay=3600).enqueue(0)
        await fill(queue, PAGE)
        few = {path: await commands(quiet, queue, path) for path in (*PAGES, *SEARCHES)}
        await fill(queue, 25 * PAGE)
        many = {path: await commands(quiet, queue, path) for path in (*PAGES, *SEARCHES)}

    assert {path: (few[path], many[path]) for path in PAGES if many[path] > few[path] + 2} == {}
    assert max(few[path] for path in PAGES) <= 200, few
    assert max(many[path] for path in SEARCHES) <= 200, many
