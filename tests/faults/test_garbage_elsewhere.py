"""Garbage in other places than a lane: lines, batches, delayed jobs, channels. The worker survives."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from streamq import Group
from streamq._core import envelope as wire
from tests.faults.scene import Scene, until
from tests.servers import Server

GOOD = wire.encode(wire.Envelope("plain", args=msgspec.Raw(msgspec.msgpack.encode({"n": 1}))))


def envelope(**changes: Any) -> bytes:
    fields: dict[str, Any] = {"n": "plain", "a": {"n": 1}}
    return msgspec.msgpack.encode({**fields, **changes})


BODIES: dict[str, tuple[bytes, str]] = {
    "no msgpack": (b"\xc1garbage", "undecodable envelope"),
    "nothing": (b"", "undecodable envelope"),
    "cut off": (GOOD[:-3], "undecodable envelope"),
    "a million levels": (b"\x91" * 1_000_000 + b"\xc0", "undecodable envelope"),
    "a list of 4 billion items": (b"\xdd\xff\xff\xff\xff", "undecodable envelope"),
    "a name with a NUL": (envelope(n="plain\x00b"), "invalid name"),
    "a wrong type of a field": (envelope(k="three"), "undecodable envelope"),
    "arguments that do not fit": (envelope(a={"n": "text"}), "invalid payload"),
    "8 MB of arguments": (envelope(a={"n": "x" * 8_000_000}), "invalid payload"),
}

bodies = pytest.mark.parametrize(("body", "reason"), BODIES.values(), ids=BODIES)


@bodies
async def test_in_a_line(body: bytes, reason: str, server: Server, prefix: str) -> None:
    """The slot of its group is free again when it is buried: the others of the group run."""
    async with Scene(server, server.url, prefix, group=Group(concurrency=1)) as scene:
        [bad, *_others] = await scene.add(4, group="a")
        assert server.command("HEXISTS", scene.keys.bodies, bad) == 1
        server.command("HSET", scene.keys.bodies, bad, body)
        async with scene.worker():
            await scene.settled(seconds=8)
            await scene.add(3, group="a")
            await scene.settled()
        assert reason in scene.dead()[bad]
        scene.check(also_dead=[bad])
        assert not int(server.command("HLEN", scene.keys.gates))


@bodies
async def test_in_a_batch(body: bytes, reason: str, server: Server, prefix: str) -> None:
    """Whether it is the first of a batch or not, the others of it run."""
    seen: list[int] = []
    async with Scene(server, server.url, prefix) as scene:

        @scene.queue.batch_handler("sync", size=3, wait=0.2)
        async def sync(items: list[int]) -> None:
            seen.extend(items)

        jobs = [await sync.enqueue(n) for n in range(6)]
        scene.acked += [job.id for job in jobs]
        bad = [jobs[0].id, jobs[4].id]
        for job in bad:
            wrong = body if reason != "invalid payload" else envelope(n="sync", a={"items": "text", "n": "text"})
            server.command("HSET", scene.keys.bodies, job, wrong)
        async with scene.worker():
            await scene.settled(seconds=8)
        assert sorted(seen) == [1, 2, 3, 5]
        assert all(reason in why for why in scene.dead().values())
        scene.check(also_dead=bad)


@pytest.mark.parametrize("fields", [[b"hello", b"world"], [b"j", b"bad", b"d", b"\xc1"], [b"j", b"bad"]], ids=repr)
async def test_in_a_lane_of_a_queue_with_limits(fields: list[bytes], server: Server, prefix: str) -> None:
    async with Scene(server, server.url, prefix, group=Group(concurrency=2)) as scene:
        await scene.add(3, group="a")
        server.command("XADD", scene.keys.lanes[2], "*", *fields)
        server.command("XADD", scene.keys.taken, "*", *fields)
        await scene.add(3)
        async with scene.worker():
            await scene.settled(seconds=12)
            await scene.add(3, group="a")
            await scene.settled()
        scene.check(also_dead=list(scene.dead()))
        assert 1 <= len(scene.dead()) <= 2, "an id is buried once, in whatever places it was"


WORDS = [
    b"", b" ", b"due", b"due soon", b"due 1e400", b"due " + b"9" * 5000, b"due -1", b"due \xff", b"cancel",
    b"cancel \xff",
    b"cancel " + b"x" * 100_000, b"rules", b"rules x", b"schedules x", b"\xff\xfe", b"x" * 1_000_000,
]  # fmt: skip


async def test_on_the_control_channel(server: Server, prefix: str) -> None:
    """Whoever may reach the server may publish anything there."""
    async with Scene(server, server.url, prefix) as scene:
        async with scene.worker():
            await scene.add(3)
            await scene.settled()
            channel = scene.keys.control
            await until(lambda: server.command("PUBSUB", "SHARDNUMSUB", channel)[1] > 0, "somebody listens")
            for word in WORDS:
                assert server.command("SPUBLISH", channel, word) == 1
            await scene.add(3)
            await scene.add(3, delay=0.2)
            await scene.settled()
            assert server.command("PUBSUB", "SHARDNUMSUB", channel)[1] == 1, "still the same listener"
        scene.check()


async def test_on_the_channel_of_a_waiter(server: Server, prefix: str) -> None:
    async with Scene(server, server.url, prefix) as scene:
        job = await scene.slow.enqueue(0.5)
        async with scene.worker():
            waiting = asyncio.create_task(job.result(timeout=10))
            await until(lambda: server.command("HLEN", scene.keys.waiters) == 1, "somebody waits")
            [channel] = server.command("PUBSUB", "SHARDCHANNELS", scene.keys.done + b"*")
            for word in (b"", b"n", b"r", b"\xff", b"zz" + job.id.encode(), b"x" * 100_000):
                server.command("SPUBLISH", channel, word)
            await waiting


@pytest.mark.parametrize("score", ["+inf", "-inf", "1e300", "-5", "0.5"])
async def test_a_due_time_that_is_none(score: str, server: Server, prefix: str) -> None:
    """It is due when it can be compared: the worker goes on, and so do its other delayed jobs."""
    async with Scene(server, server.url, prefix) as scene:
        [odd] = await scene.add(1, delay=60)
        server.command("ZADD", scene.keys.delayed, score, odd)
        async with scene.worker():
            await scene.add(3, delay=0.2)
            never = score in {"+inf", "1e300"}
            await until(lambda: scene.unsettled() == int(never), "the others ran")
            job = await scene.queue.job(odd)
            assert job is not None
            await job.info()
            await scene.queue.jobs("delayed")
            if never:
                await job.promote()
            await scene.settled()
        scene.check()
        scene.check_runs()
