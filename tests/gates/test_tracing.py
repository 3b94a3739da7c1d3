"""The deterministic gate of tracing: what it costs those who do not trace, which is one question a job each way."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from streamq import Queue, Worker
from streamq import tracer as tracer_module
from tests.servers import Server

JOBS = 200


def handlers(queue: Queue) -> tuple[Any, Any]:
    @queue.handler("noop")
    async def noop(number: int) -> None:
        del number

    @queue.batch_handler("sync", size=50, wait=0.01)
    async def sync(numbers: list[int]) -> None:
        del numbers

    return noop, sync


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry each time somebody asks whether there is a tracer provider."""
    found: list[None] = []
    provider = vars(tracer_module)["_provider"]

    def asking() -> Any:
        found.append(None)
        return provider()

    monkeypatch.setattr(tracer_module, "_provider", asking)
    return found


async def test_one_question_an_enqueue_a_bulk_call_an_attempt_and_a_batch(
    server: Server, prefix: str, asked: list[None]
) -> None:
    queue = Queue("gate", url=server.url, prefix=prefix)
    noop, sync = handlers(queue)
    for number in range(JOBS):
        await noop.enqueue(number)
    assert len(asked) == JOBS
    asked.clear()
    await queue.enqueue_many([sync.job(number) for number in range(JOBS)])
    assert len(asked) == 1
    asked.clear()
    await Worker(queue).run(burst=True)
    assert (await queue.counts()).completed == 2 * JOBS
    assert JOBS <= len(asked) <= JOBS + JOBS // 4, "one an attempt; those of a batch share theirs"
    await queue.aclose()


async def test_no_span_is_made_and_no_header_written_without_a_provider(
    server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a span was made")

    for kind in (trace.NoOpTracer, trace.ProxyTracer):
        monkeypatch.setattr(kind, "start_span", never)
    monkeypatch.setattr(trace.NonRecordingSpan, "__init__", never)
    queue = Queue("gate", url=server.url, prefix=prefix)
    noop, _ = handlers(queue)
    job = await noop.with_options(delay=60).enqueue(1)
    assert (await job.info()).headers == {}
    await noop.enqueue(2)
    await queue.enqueue_many([noop.job(3)])
    await Worker(queue).run(burst=True)
    assert (await queue.counts()).completed == 2
    await queue.aclose()


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts blocks of CPython's allocator")
def test_the_question_allocates_nothing() -> None:
    tracer = tracer_module.Tracer("gate", "link")
    assert tracer.tracer is None or sys.modules.get("opentelemetry.sdk.trace") is not None
    for _ in range(100):
        _ = tracer.tracer
    before = sys.getallocatedblocks()
    for _ in range(10_000):
        _ = tracer.tracer
    assert sys.getallocatedblocks() - before < 20


PROGRAM = """\
import asyncio, sys
sys.modules["opentelemetry.sdk"] = None  # where it is installed, redis-py imports it
from streamq import Queue, Worker

async def main():
    queue = Queue("gate")

    @queue.handler("noop")
    async def noop() -> None: ...

    async with queue:
        await noop.enqueue()
        await queue.enqueue_many([noop.job()])
        await Worker(queue).run(burst=True)
        assert (await queue.counts()).completed == 2

asyncio.run(main())
print([name for name in ("opentelemetry.trace", "opentelemetry.propagate") if name in sys.modules])
"""


def test_no_tracing_api_is_imported_by_those_who_do_not_trace(server: Server, prefix: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"STREAMQ_URL": server.url, "STREAMQ_PREFIX": prefix, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
