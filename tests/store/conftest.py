"""A stage for every test of the verbs."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.servers import KINDS, Server, SharedServers, missing_reason
from tests.simulation.memory import MemoryServer
from tests.store.stage import Stage


@pytest.fixture(params=(*KINDS, "memory"))
def each_server(request: pytest.FixtureRequest, shared_servers: SharedServers) -> Iterator[Server]:
    """The shared server of each kind in turn, and the broker in memory: it must answer as they do."""
    if request.param == "memory":
        with MemoryServer() as made:
            yield made
        return
    reason = missing_reason(request.param)
    if reason is not None:
        pytest.skip(reason)
    yield shared_servers(request.param)


@pytest.fixture
async def stage(each_server: Server, prefix: str) -> AsyncIterator[Stage]:
    """An empty queue, on each kind of server in turn."""
    async with Stage(each_server, prefix) as found:
        yield found


@pytest.fixture
def examples(request: pytest.FixtureRequest) -> int:
    """How many examples a state machine plays: few, or a thousand by ``--hypothesis-profile=long``."""
    return 1000 if request.config.getoption("--hypothesis-profile") == "long" else 25
