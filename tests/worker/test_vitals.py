"""What a worker tells of its process: release, memory, processor time; and the release with every error."""

from __future__ import annotations

import sys
import time

import msgspec
import pytest

from streamq import Queue, Worker
from streamq._runtime.vitals import RELEASE_LENGTH, Vitals
from streamq.grouping import dead_groups
from streamq.reading import as_workers
from tests.worker.helpers import drain, until


async def test_a_worker_tells_release_memory_and_cpu(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMQ_RELEASE", "2.14.0")
    async with Worker(queue):
        await until(queue.workers, "its first heartbeat")
        (worker,) = await queue.workers()
        assert worker.release == "2.14.0"
        assert worker.cpu >= 0

        async def known() -> bool:
            return (await queue.workers())[0].memory > 0

        if sys.platform == "linux":
            await until(known, "memory, with the second heartbeat")
            assert 10e6 < (await queue.workers())[0].memory < 10e9


async def test_each_error_names_the_release_that_made_it(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    @queue.handler("boom", max_attempts=2)
    async def boom() -> None:
        await queue.pause()
        raise ValueError

    job = await boom.enqueue()
    for release in ("2.13.9", "2.14.0"):
        monkeypatch.setenv("STREAMQ_RELEASE", release)
        async with Worker(queue):
            await queue.resume()

            async def paused() -> bool:
                return (await queue.counts()).paused

            await until(paused, "an attempt")
    letter = await queue.dlq.get(job.id)
    assert letter is not None
    assert [one.release for one in letter.errors] == ["2.13.9", "2.14.0"]
    await queue.resume()
    await drain(queue)
    (group,) = (await dead_groups((await queue.stores())[0])).groups
    assert group.shares["release"] == [("2.14.0", 1)]


def test_signs_are_taken_once_a_second_and_a_release_has_bounds() -> None:
    vitals = Vitals("here", {"STREAMQ_RELEASE": f" {'9' * 200}\n"})
    assert vitals.release == "9" * RELEASE_LENGTH
    assert Vitals("here", {"STREAMQ_RELEASE": "v1 \udcff"}).release == "v1 ?", "no UTF-8: it could not be encoded"
    now = time.monotonic()
    assert vitals.look(now) == (0, 0.0)
    spent = time.process_time()
    while time.process_time() - spent < 0.05:
        pass
    memory, cpu = vitals.look(now + 2)
    assert 0.02 <= cpu < 2
    assert vitals.look(now + 2.5) == (memory, cpu)


def test_a_heartbeat_of_an_older_streamq_is_read() -> None:
    beat = msgspec.msgpack.encode(["h", 1, "0.0.9", 1_700_000_000_000, 10, 0, [], ["a"]])
    (worker,) = as_workers([("w:1", 1_700_000_000_000, beat)], 1_700_000_001_000)
    assert (worker.release, worker.memory, worker.cpu, worker.alive) == ("", 0, 0.0, True)
