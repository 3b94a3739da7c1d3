"""Queues on the shared server, closed with the test."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamq import Fixed, Queue
from tests.servers import Server
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
