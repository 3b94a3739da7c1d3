"""Queues of the rows, closed with the test."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamq import Fixed, Queue
from tests.matrix.rig import MakeRig, Rig, rig
from tests.servers import Server


@pytest.fixture
async def make(server: Server, prefix: str) -> AsyncIterator[MakeRig]:
    """Return a function that makes a rig on a queue with these options; retries come at once unless said otherwise."""
    made: list[Queue] = []

    def rigged(**options: Any) -> Rig:
        given: dict[str, Any] = {"url": server.url, "prefix": prefix, "backoff": Fixed(0), **options}
        queue = Queue("q", **given)
        made.append(queue)
        return rig(queue)

    yield rigged
    for queue in made:
        await queue.aclose()
