"""The deterministic gate for bytes: what a job sends over the wire, takes while it waits, and leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest

from streamq import Queue, Worker
from tests.servers import Server

JOBS = 20_000
BODY = "x" * 64
OF_WORKERS = "streamq:worker", "streamq:control", "streamq:bell"
"""Connections that go with their worker."""


class Bytes(NamedTuple):
    """Per job: to the server, from it, and how much more it keeps."""

    sent: float
    received: float
    kept: float


@pytest.fixture
def quiet(fresh_server: Callable[..., Server]) -> Server:
    """A server nobody else talks to; memory is that of the server which the development extra pins."""
    return fresh_server("valkey")


async def measured(server: Server, work: Callable[[], Awaitable[object]]) -> Bytes:
    before, memory = server.info("stats"), server.info("memory")
    await work()
    after = server.info("stats")
    sent, received = (
        (int(after[name]) - int(before[name])) / JOBS for name in ("total_net_input_bytes", "total_net_output_bytes")
    )
    return Bytes(sent, received, (int(server.info("memory")["used_memory"]) - int(memory["used_memory"])) / JOBS)


def data(server: Server) -> int:
    """Bytes in use but for the buffers of connections, which the server shrinks and frees when it gets round to it."""
    memory = server.info("memory")
    return int(memory["used_memory"]) - int(memory["mem_clients_normal"])


async def test_bytes_of_a_job_from_enqueue_to_end(quiet: Server, prefix: str) -> None:
    queue = Queue("gate", url=quiet.url, prefix=prefix)

    @queue.handler("noop")
    async def noop(number: int, body: str) -> None:
        del number, body

    async def drain() -> None:
        await Worker(queue).run(burst=True)
        async with asyncio.timeout(30):  # the server takes leave of its connections a moment later: 40 KB each
            while any(name in str(quiet.command("CLIENT", "LIST")) for name in OF_WORKERS):  # noqa: ASYNC110 - its word
                await asyncio.sleep(0.01)

    # Connections, scripts, and the window of the last completed jobs: they are no job's.
    await queue.enqueue_many([noop.job(number, BODY) for number in range(1500)])
    await drain()

    specs = [noop.job(number, BODY) for number in range(JOBS)]
    own = sum(len(spec.args) for spec in specs) / JOBS
    enqueued = await measured(quiet, lambda: queue.enqueue_many(specs))
    assert enqueued.sent - own <= 75, enqueued  # id, envelope, protocol
    assert enqueued.received <= 2, enqueued
    # The budget of Valkey 9 is 135 with a full index; between two doublings of its table it is up to 20 more.
    assert enqueued.kept - own <= 160, enqueued

    ran = await measured(quiet, drain)
    assert ran.sent <= 125, ran  # id, token, and a line for the window of completed jobs
    assert ran.received - own <= 85, ran  # entry id, job id, envelope

    # The first round has grown tables to their size; the second one finds them so.
    first = data(quiet)
    await queue.enqueue_many(specs)
    await drain()
    assert (data(quiet) - first) / JOBS <= 0.5, "nothing is left of a completed job"
    await queue.aclose()
