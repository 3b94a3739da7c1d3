"""A stage for every test of the verbs."""

from collections.abc import AsyncIterator

import pytest

from tests.servers import Server
from tests.store.stage import Stage


@pytest.fixture
async def stage(each_server: Server, prefix: str) -> AsyncIterator[Stage]:
    """An empty queue, on each kind of server in turn."""
    async with Stage(each_server, prefix) as found:
        yield found
