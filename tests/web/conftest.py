"""Dashboards over queues on the shared server, asked in this process or over a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from streamq import Fixed, Queue
from streamq.web import Dashboard
from tests.servers import Server
from tests.web.asking import Asking, Served, ask
from tests.worker.helpers import MakeQueue


@pytest.fixture
async def make_queue(server: Server, prefix: str) -> AsyncIterator[MakeQueue]:
    """Return a function that makes queues; retries come at once unless said otherwise."""
    made: list[Queue] = []

    def make(name: str = "q", **options: Any) -> Queue:
        defaults: dict[str, Any] = {"url": server.url, "prefix": prefix, "backoff": Fixed(0)}
        queue = Queue(name, **{**defaults, **options})
        made.append(queue)
        return queue

    yield make
    for queue in made:
        await queue.aclose()


@pytest.fixture
def queue(make_queue: MakeQueue) -> Queue:
    """A queue with the defaults."""
    return make_queue()


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    """Return a function from an app to a client of it, as somebody on this machine."""
    clients: list[httpx.AsyncClient] = []

    def make(app: Any, **options: Any) -> httpx.AsyncClient:
        clients.append(ask(app, **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def api(queue: Queue, asking: Asking) -> httpx.AsyncClient:
    """A client of a dashboard of one queue."""
    return asking(Dashboard(queue))


@pytest.fixture
def served(server: Server, prefix: str) -> Iterator[Any]:
    """Return a function that serves a dashboard of the prefix over a real socket, in a thread."""
    with ExitStack() as stack:

        def start(**options: Any) -> Served:
            made = Dashboard(url=server.url, prefix=prefix, **options)
            return stack.enter_context(Served(made))

        yield start
