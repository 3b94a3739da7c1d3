"""What becomes of an enqueue whose caller, process or server goes away."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamq import Job, Queue
from streamq.errors import EnqueueManyError, EnqueueTimeout, EnqueueUnknown, RedisUnavailable, StreamqError
from tests.faults.scene import Scene, load_scripts, until
from tests.proxy import Fault, Proxy
from tests.servers import Server, StartServer


def lane_ids(scene: Scene) -> Counter[str]:
    """How often each job id lies in the lanes."""
    found: Counter[str] = Counter()
    for key in scene.keys.lanes:
        for _, fields in scene.server.command("XRANGE", key, "-", "+"):
            found[fields[1].decode()] += 1
    return found


# -- fork ---------------------------------------------------------------------------------------------


def enqueue_in_loop(loop: asyncio.AbstractEventLoop, queue: Queue, count: int) -> list[str]:
    async def enqueue() -> list[str]:
        jobs: list[Job[Any]] = await asyncio.gather(*(queue.enqueue("plain", {"n": n}) for n in range(count)))
        return [job.id for job in jobs]

    return loop.run_until_complete(enqueue())


def in_child(work: Callable[[], list[str]]) -> list[str]:
    """Run ``work`` in a fork of this process and return its ids. The child leaves by _exit: no cleanup of ours runs."""
    out, inward = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(inward, " ".join(work()).encode())
            os._exit(0)
        except BaseException as problem:  # noqa: BLE001 - whatever it is, the parent must hear of it
            os.write(inward, f"! {problem!r}".encode())
            os._exit(1)
    os.close(inward)
    with os.fdopen(out, "rb") as stream:
        said = stream.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, said
    return said.split()


@pytest.mark.parametrize("same_loop", [True, False], ids=["the parent's loop", "a loop of its own"])
def test_a_fork_between_two_enqueues(same_loop: bool, server: Server, prefix: str) -> None:  # noqa: FBT001
    """Parent and child share nothing: both batches exist once, and the parent's connection is not harmed."""
    queue = Queue("q", url=server.url, prefix=prefix)
    scene = Scene(server, server.url, prefix)
    loop = asyncio.new_event_loop()
    try:
        before = enqueue_in_loop(loop, queue, 3)

        def child() -> list[str]:
            if same_loop:
                # The selector's descriptor is shared with the parent: an own one under the very same loop object.
                loop._selector = type(loop._selector)()  # type: ignore[attr-defined]
                loop._make_self_pipe()  # type: ignore[attr-defined]
                return enqueue_in_loop(loop, queue, 3)
            return enqueue_in_loop(asyncio.new_event_loop(), queue, 3)

        in_fork = in_child(child)
        after = enqueue_in_loop(loop, queue, 3)
        again = in_child(lambda: enqueue_in_loop(asyncio.new_event_loop(), queue, 3))
        last = enqueue_in_loop(loop, queue, 3)
        everything = [*before, *in_fork, *after, *again, *last]
        assert len(set(everything)) == 15
        assert lane_ids(scene) == dict.fromkeys(everything, 1)
        assert scene.unsettled() == 15
        loop.run_until_complete(queue.aclose())
    finally:
        loop.close()


def test_a_fork_with_a_full_buffer(server: Server, prefix: str) -> None:
    """What the parent has not sent yet is the parent's: the child does not send it a second time."""
    queue = Queue("q", url=server.url, prefix=prefix)
    scene = Scene(server, server.url, prefix)
    loop = asyncio.new_event_loop()
    enqueue_in_loop(loop, queue, 1)
    waiting = [loop.create_task(queue.enqueue("plain", {"n": n})) for n in range(500)]
    loop.run_until_complete(asyncio.sleep(0))
    try:
        in_fork = in_child(lambda: enqueue_in_loop(asyncio.new_event_loop(), queue, 2))
        loop.run_until_complete(asyncio.gather(*waiting))
        assert lane_ids(scene).total() == 503
        assert set(lane_ids(scene).values()) == {1}
        assert set(in_fork) <= set(lane_ids(scene))
        loop.run_until_complete(queue.aclose())
    finally:
        loop.close()


# -- cancelled and late callers ------------------------------------------------------------------------


async def test_a_cancelled_caller_whose_job_is_still_buffered_was_not_enqueued(server: Server, prefix: str) -> None:
    async with Proxy(server.socket) as proxy, Scene(server, proxy.url, prefix) as scene:
        await scene.add(1)
        stalled = proxy.rule("enqueue", Fault.STALL_REPLY)
        first = asyncio.create_task(scene.add(3))
        await stalled.fired.wait()
        cancelled = asyncio.create_task(scene.plain.with_options(job_id="cancelled").enqueue(0))
        others = asyncio.create_task(scene.add(5))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        stalled.release()
        await asyncio.gather(first, others)
        assert await scene.queue.job("cancelled") is None
        assert lane_ids(scene) == dict.fromkeys(scene.acked, 1)


@pytest.mark.parametrize("fault", [Fault.LOSE_REPLY, Fault.LOSE_REQUEST])
async def test_a_caller_cancelled_in_flight_harms_nobody_else(fault: Fault, server: Server, prefix: str) -> None:
    """Its job exists once or not at all, those of the same batch exist once."""
    async with Proxy(server.socket) as proxy, Scene(server, proxy.url, prefix) as scene:
        load_scripts(server)
        await scene.add(1)
        rule = proxy.rule("enqueue", fault)
        cancelled = asyncio.create_task(scene.plain.with_options(job_id="cancelled").enqueue(0))
        others = asyncio.create_task(scene.add(5))
        await rule.fired.wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await others
        lanes = lane_ids(scene)
        assert lanes.pop("cancelled", 0) <= 1
        assert lanes == dict.fromkeys(scene.acked, 1)


async def test_a_caller_out_of_time_in_flight_is_told_so(server: Server, prefix: str) -> None:
    async with Proxy(server.socket) as proxy, Scene(server, proxy.url, prefix, enqueue_timeout=0.5) as scene:
        await scene.add(1)
        stalled = proxy.rule("enqueue", Fault.STALL_REPLY)
        with pytest.raises(EnqueueUnknown) as caught:
            await scene.plain.with_options(job_id="late").enqueue(0)
        assert caught.value.sent
        assert caught.value.job_id == "late"
        assert "queue.job('late')" in str(caught.value)
        assert "no connection yet" not in str(caught.value)
        stalled.release()
        await until(lambda: lane_ids(scene)["late"] == 1, "the batch went on")
        await scene.add(3)
        assert set(lane_ids(scene).values()) == {1}


async def test_a_caller_out_of_time_in_the_buffer_was_not_enqueued(server: Server, prefix: str) -> None:
    async with Proxy(server.socket) as proxy, Scene(server, proxy.url, prefix, enqueue_timeout=0.5) as scene:
        await scene.add(1)
        stalled = proxy.rule("enqueue", Fault.STALL_REPLY)
        first = asyncio.create_task(scene.plain.with_options(job_id="sent").enqueue(0))
        await stalled.fired.wait()
        with pytest.raises(EnqueueTimeout) as caught:
            await scene.plain.with_options(job_id="unsent").enqueue(0)
        assert not caught.value.sent
        assert "safe to try again" in str(caught.value)
        with pytest.raises(EnqueueUnknown):
            await first
        stalled.release()
        await scene.add(3)
        assert await scene.queue.job("unsent") is None
        assert await scene.queue.job("sent") is not None


async def test_a_cancelled_bulk_call_takes_back_what_was_not_sent(server: Server, prefix: str) -> None:
    async with Proxy(server.socket) as proxy, Scene(server, proxy.url, prefix) as scene:
        await scene.add(1)
        stalled = proxy.rule("enqueue", Fault.STALL_REPLY)
        specs = [scene.plain.with_options(job_id=f"bulk-{n}").job(n) for n in range(1000)]
        bulk = asyncio.create_task(scene.queue.enqueue_many(specs))
        await stalled.fired.wait()
        bulk.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bulk
        stalled.release()
        await scene.add(1)
        lanes = lane_ids(scene)
        sent = [job for job in lanes if job.startswith("bulk-")]
        assert len(sent) <= 200, "only the batch in flight may exist"
        assert set(lanes.values()) == {1}
        assert set(scene.acked) <= set(lanes)


# -- the server is away ---------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["enqueue", "enqueue_many"])
async def test_redis_away_at_enqueue(call: str, fresh_server: StartServer) -> None:
    """A clear error within enqueue_timeout, nothing enqueued, and no wait for the next when it is back."""
    server = fresh_server()
    url = server.url
    server.stop()
    async with Scene(server, url, "p", enqueue_timeout=1.0) as scene:
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "enqueue": lambda: scene.plain.enqueue(1),
            "enqueue_many": lambda: scene.queue.enqueue_many([scene.plain.job(n) for n in range(3)]),
        }
        began = time.monotonic()
        with pytest.raises(StreamqError) as caught:
            await calls[call]()
        took = time.monotonic() - began
        assert 0.9 < took < 3
        problem: BaseException = caught.value
        if isinstance(problem, EnqueueManyError):
            assert len(problem.refused) == 3
            problem = next(iter(problem.refused.values()))
        assert isinstance(problem, EnqueueTimeout)
        assert not problem.sent
        assert url in str(problem)
        assert "not enqueued within 1 s" in str(problem)
        assert "safe to try again" in str(problem)
        server.start()
        await scene.add(1)
        assert lane_ids(scene) == dict.fromkeys(scene.acked, 1)


async def test_redis_goes_away_while_enqueueing(fresh_server: StartServer) -> None:
    """Acknowledged jobs exist, refused ones do not, unknown ones exist once at most."""
    server = fresh_server(aof=True, args=["--appendfsync", "always"])
    async with Scene(server, server.url, "p", enqueue_timeout=3.0) as scene:
        unsent, unknown = list[str](), list[str]()
        over = asyncio.Event()

        async def produce(name: int) -> None:
            n = 0
            while not over.is_set():
                n += 1
                job_id = f"{name}-{n}"
                try:
                    await scene.plain.with_options(job_id=job_id).enqueue(n)
                    scene.acked.append(job_id)
                except EnqueueTimeout:
                    unsent.append(job_id)
                except EnqueueUnknown:
                    unknown.append(job_id)

        producers = [asyncio.create_task(produce(n)) for n in range(20)]
        for _ in range(3):
            have = len(scene.acked)
            await until(lambda have=have: len(scene.acked) > have + 200, "jobs flow")  # type: ignore[misc]
            server.kill()
            await asyncio.sleep(0.1)
            server.start()
        have = len(scene.acked)
        await until(lambda: len(scene.acked) > have + 200, "jobs flow again")
        over.set()
        await asyncio.gather(*producers)
        lanes = lane_ids(scene)
        assert set(lanes.values()) == {1}
        assert set(scene.acked) <= set(lanes)
        assert not set(unsent) & set(lanes)
        assert set(lanes) <= set(scene.acked) | set(unknown)
        assert scene.unsettled() == len(lanes)


async def test_redis_away_at_a_rare_call(fresh_server: StartServer) -> None:
    server = fresh_server()
    server.stop()
    async with Scene(server, server.url, "p") as scene:
        with pytest.raises(RedisUnavailable) as caught:
            await scene.queue.ping()
        assert server.url in str(caught.value)


async def test_a_loop_that_closes_leaves_no_caller_hanging(server: Server, prefix: str) -> None:
    """Script style: a loop per call, nothing closed in between."""

    def call() -> str:
        async def enqueue() -> str:
            async with Queue("q", url=server.url, prefix=prefix) as queue:
                return (await queue.enqueue("plain", {"n": 1})).id

        return asyncio.run(enqueue())

    ids = [await asyncio.to_thread(call) for _ in range(5)]
    assert lane_ids(Scene(server, server.url, prefix)) == dict.fromkeys(ids, 1)
