"""The pytest plugin: fixtures that load what they need when a test asks for them, and nothing before.

They are plain functions, so they work whoever runs the coroutines: anyio's plugin, pytest-asyncio in both modes, none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .clock import Clock
    from .memory import MemoryQueues


@pytest.fixture(scope="session")
def streamq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Url of a Valkey of this session's own, in a folder that nobody else uses; stopped after its end."""
    from .._embedded import attach  # noqa: PLC0415 - loaded when a test asks for a server

    with attach(tmp_path_factory.mktemp("streamq")) as server:
        yield server.url


@pytest.fixture
def streamq_url(streamq_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Url of the session's server, emptied for this test; queues that were given no url use it, too."""
    from .._embedded.resp import ask  # noqa: PLC0415 - loaded when a test asks for a server

    answer = ask(Path(streamq_server.removeprefix("unix://")), "FLUSHALL")
    if answer != "+OK":
        pytest.fail(f"the server at {streamq_server} cannot be emptied: it answered {answer!r}")
    monkeypatch.setenv("STREAMQ_URL", streamq_server)
    return streamq_server


@pytest.fixture
def streamq_clock() -> Clock:
    """The time of this test's queues in memory; it stands still until it is moved."""
    from .clock import freeze  # noqa: PLC0415 - loaded when a test moves time

    return freeze()


@pytest.fixture
def memory_queue(request: pytest.FixtureRequest) -> Iterator[MemoryQueues]:
    """Makes queues in memory, all on one broker of this test's own; on ``streamq_clock`` if the test asks for that."""
    from . import MemoryQueues  # noqa: PLC0415 - loaded when a test asks for a queue

    clock: Clock | None = None
    if "streamq_clock" in request.fixturenames:
        clock = request.getfixturevalue("streamq_clock")
    with MemoryQueues(clock=clock) as made:
        yield made
