"""Queues of the rows, closed with the test."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from streamq import Fixed, Queue
from tests.matrix.rig import Rig, rig
from tests.servers import Server

MakeRig = Callable[..., Rig]


@pytest.fixture
async def make(server: Server, prefix: str) -> AsyncIterator[MakeRig]:
    """Return a function that makes a rig on a queue with these options; retries come at once unless said otherwise."""
    made: list[Queue] = []

    def rigged(**options: Any) -> Rig:
        queue = Queue("q", **{"url": server.url, "prefix": prefix, "backoff": Fixed(0), **options})
        made.append(queue)
        return rig(queue)

    yield rigged
    for queue in made:
        await queue.aclose()
