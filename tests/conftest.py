"""Fixtures for every test: real servers, and a key prefix of its own for each test."""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest
from hypothesis import settings

from tests.servers import KINDS, Server, ServerKind, SharedServers, StartServer, missing_reason

settings.register_profile("long", max_examples=1000, deadline=None)  # --hypothesis-profile=long


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """streamq is asyncio; the plugin's other backends are not tried."""
    return "asyncio"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own STREAMQ_URL or REDIS_URL never reaches a test."""
    for name in os.environ:
        if name.startswith(("STREAMQ_", "REDIS_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[SharedServers]:
    """One server per kind for the whole session, started when first asked for."""
    started: dict[ServerKind, Server] = {}
    with ExitStack() as stack:

        def get(kind: ServerKind) -> Server:
            if kind not in started:
                started[kind] = stack.enter_context(Server(kind))
            return started[kind]

        yield get


@pytest.fixture
def server(shared_servers: SharedServers) -> Server:
    """The shared Valkey, the server streamq itself embeds. Use `prefix` with it, and leave its settings alone."""
    return shared_servers("valkey")


@pytest.fixture(params=KINDS)
def each_server(request: pytest.FixtureRequest, shared_servers: SharedServers) -> Server:
    """The shared server of each kind in turn; kinds that are not installed are skipped."""
    kind: ServerKind = request.param
    reason = missing_reason(kind)
    if reason is not None:
        pytest.skip(reason)
    return shared_servers(kind)


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """A key prefix nobody else has; its keys are deleted after the test."""
    unique = f"t{secrets.token_hex(4)}"
    # Asked for now, so that the servers outlive this fixture.
    used = [request.getfixturevalue(name) for name in ("server", "each_server") if name in request.fixturenames]
    yield unique
    for server in used:
        if isinstance(server, Server) and server.running:
            server.delete_matching(f"{unique}*")


@pytest.fixture
def fresh_server() -> Iterator[StartServer]:
    """Start servers for this test alone: to kill, to restart, to configure."""
    with ExitStack() as stack:

        def start(
            kind: ServerKind = "valkey", *, aof: bool = False, tcp: bool = False, args: Sequence[str] = ()
        ) -> Server:
            reason = missing_reason(kind)
            if reason is not None:
                pytest.skip(reason)
            return stack.enter_context(Server(kind, aof=aof, tcp=tcp, args=args))

        yield start
