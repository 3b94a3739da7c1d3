"""Whoever lost a job may say what he likes: the fence answers l or g, and nothing changes."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Self

import pytest

from streamq import Context, Keep, Queue, Worker
from streamq._core import envelope as wire
from streamq._core.envelope import Envelope
from streamq._runtime import exchange
from streamq._store.keys import Keys
from streamq._store.link import Link, Reply
from streamq._store.replies import Taken, read_adopted, read_fetched, read_ticked
from streamq._store.verbs import Item, Settings, TickInput, WorkerVerbs
from tests.faults.scene import Scene, until
from tests.servers import Server


class _Heard(logging.Filter):
    """Sets an event when a worker says that a settlement of it was refused."""

    def __init__(self, refused: asyncio.Event) -> None:
        super().__init__()
        self._refused = refused

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "event", "") == "settle_lost":
            self._refused.set()
        return True


COMPLETE = (b"1 5 plain",)


class Hand:
    """A worker at the level of the protocol: it does what it is told."""

    def __init__(self, server: Server, keys: Keys, name: str) -> None:
        self.verbs = WorkerVerbs(keys, Settings(result_ms=60_000, window=1000, window_age_ms=0), name.encode())
        self._link = Link(server.url, name)
        self._seq = 0

    async def __aenter__(self) -> Self:
        await self._link.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._link.close()

    async def fetch(self, want: int = 1) -> list[Taken]:
        return read_fetched(await self._link.call(*self.verbs.fetch(want))).jobs

    async def settle(self, *items: Item, again: bool = False) -> bytes:
        self._seq += 0 if again else 1
        reply: Reply = await self._link.call(*self.verbs.settle(self._seq, items))
        assert isinstance(reply, bytes), reply
        return reply

    async def release(self, job: Taken) -> bytes:
        return await self.settle(Item(b"u", job.id, job.token))

    async def renew(self, job: Taken) -> bytes:
        reply: Reply = await self._link.call(*self.verbs.renew([(job.id, job.token)]))
        assert isinstance(reply, bytes), reply
        return reply

    async def sweep(self, lease_ms: int = 0, free: int = 10, max_stalls: int = 100) -> list[Taken]:
        said = TickInput(b"", lease_ms, free, max_stalls, 1, sweep=True)
        return read_ticked(await self._link.call(*self.verbs.tick(said))).stalled

    async def leave(self) -> int:
        return int(await self._link.call(*self.verbs.leave()))

    async def adopt(self, job: Taken) -> list[Taken]:
        return read_adopted(await self._link.call(*self.verbs.adopt([job.token.split(b":")[0]])))


@asynccontextmanager
async def hands(server: Server, prefix: str) -> AsyncGenerator[tuple[Scene, Hand, Hand]]:
    async with (
        Scene(server, server.url, prefix) as scene,
        Hand(server, scene.keys, "one") as one,
        Hand(server, scene.keys, "two") as two,
    ):
        yield scene, one, two


SETTLEMENTS = {
    "complete": Item(b"c", b"", b"", COMPLETE),
    "complete with a result": Item(b"C", b"", b"", COMPLETE, b"record"),
    "retry": Item(b"r", b"", b"", ("+0", 2, wire.encode(Envelope("plain")), "retried")),
    "bury": Item(b"b", b"", b"", ("because", wire.encode(Envelope("plain")), 1, b"plain\0Error\0"), b"record"),
    "end": Item(b"e", b"", b"", ("cancelled",), b"record"),
    "release": Item(b"u", b"", b""),
    "park": Item(b"p", b"", b"", (2, b"other")),
}


def snapshot(scene: Scene) -> dict[bytes, bytes]:
    """Every key of the queue but memos and heartbeats, as the server would dump it."""
    keys = scene.server.command("KEYS", scene.keys.base.replace(b"{", b"[{]").replace(b"}", b"[}]") + b"*")
    skipped = (b":k:", b":wk", b":wb", b":e:", b":bell")
    return {key: scene.server.command("DUMP", key) for key in keys if not any(one in key for one in skipped)}


@pytest.mark.parametrize("verb", SETTLEMENTS)
@pytest.mark.parametrize("taken_by", ["another worker", "the same worker"])
async def test_a_zombie_of_a_released_and_retaken_job(verb: str, taken_by: str, server: Server, prefix: str) -> None:
    """Released, its (consumer, delivery count) repeats; the token does not."""
    async with hands(server, prefix) as (scene, one, two):
        (job_id,) = await scene.add(1)
        (old,) = await one.fetch()
        assert await one.release(old) == b"a"
        taker = two if taken_by == "another worker" else one
        (new,) = await taker.fetch()
        assert (new.id, new.deliveries) == (old.id, 1)
        assert new.token != old.token
        before = snapshot(scene)
        assert await one.settle(SETTLEMENTS[verb]._replace(id=old.id, token=old.token)) == b"l"
        assert await one.renew(old) == b"l"
        assert snapshot(scene) == before
        assert scene.pending().popitem()[1][0] == ("two" if taker is two else "one")
        assert await taker.settle(Item(b"c", new.id, new.token, COMPLETE)) == b"a"
        assert scene.completed() == {job_id: 1}
        assert await one.settle(SETTLEMENTS[verb]._replace(id=old.id, token=old.token)) == b"g"
        scene.check()


@pytest.mark.parametrize("verb", SETTLEMENTS)
async def test_a_zombie_of_a_reclaimed_job(verb: str, server: Server, prefix: str) -> None:
    async with hands(server, prefix) as (scene, one, two):
        await scene.add(1)
        (old,) = await one.fetch()
        (new,) = await two.sweep()
        assert new.deliveries == 2
        before = snapshot(scene)
        assert await one.settle(SETTLEMENTS[verb]._replace(id=old.id, token=old.token)) == b"l"
        assert await one.renew(old) == b"l"
        assert snapshot(scene) == before
        assert await two.settle(Item(b"c", new.id, new.token, COMPLETE)) == b"a"
        scene.check()


async def test_a_zombie_of_an_adopted_job(server: Server, prefix: str) -> None:
    """The same worker adopts its own ghost while the first run of it goes on unknown."""
    async with hands(server, prefix) as (scene, one, _):
        await scene.add(1)
        (old,) = await one.fetch()
        (new,) = await one.adopt(old)
        assert new.deliveries == 1, "adopting charges no stall"
        assert await one.settle(Item(b"c", old.id, old.token, COMPLETE)) == b"l"
        assert await one.settle(Item(b"c", new.id, new.token, COMPLETE)) == b"a"
        scene.check()


async def test_a_settle_sent_twice_is_answered_alike(server: Server, prefix: str) -> None:
    """The memo answers, even when the job was enqueued anew under its id in between."""
    async with hands(server, prefix) as (scene, one, two):
        await scene.add(1, job_id="same")
        (job,) = await one.fetch()
        item = Item(b"c", job.id, job.token, COMPLETE)
        assert await one.settle(item) == b"a"
        await scene.plain.with_options(job_id="same").enqueue(2)
        (second,) = await two.fetch()
        assert await one.settle(item, again=True) == b"a"
        assert (await scene.queue.counts()).completed == 1
        assert await two.settle(Item(b"c", second.id, second.token, COMPLETE)) == b"a"
        assert (await scene.queue.counts()).completed == 2
        assert scene.completed() == {"same": 1}, "the window names an id by its last run"


async def test_a_batch_with_zombies_in_it_settles_the_rest(server: Server, prefix: str) -> None:
    async with hands(server, prefix) as (scene, one, two):
        await scene.add(10)
        held = await one.fetch(10)
        for job in held[:5]:
            await one.release(job)
        await two.fetch(3)
        answers = await one.settle(*(Item(b"c", job.id, job.token, COMPLETE) for job in held))
        assert answers == b"lllllaaaaa"
        assert sum(scene.completed().values()) == 5


async def test_a_thread_that_outlives_its_worker_tells_nothing(server: Server, prefix: str) -> None:
    """A def handler cannot be cancelled: handed back at stop, it runs on, and a second worker runs the job."""
    queue = Queue("q", url=server.url, prefix=prefix, keep_completed=Keep(count=1000))
    scene = Scene(server, server.url, prefix)
    go, runs = threading.Event(), list[str]()

    @queue.handler("stubborn", timeout=None)
    def stubborn(ctx: Context) -> str:
        runs.append(ctx.worker)
        if len(runs) == 1:
            go.wait(20)
            return "zombie"
        return "successor"

    async with scene:
        job = await stubborn.enqueue()
        scene.acked.append(job.id)
        async with Worker(queue, lease=3, grace=0.1):
            await until(lambda: len(runs) == 1, "the first run began")
        assert scene.unsettled() == 1
        assert next(iter(scene.pending().values()))[0] == "~", "handed back"
        async with Worker(queue, lease=3):
            assert await job.result(timeout=10) == "successor"
            go.set()
            await scene.settled()
        assert len(runs) == 2
        scene.check()
        assert await job.result(timeout=1) == "successor"
        await queue.aclose()


async def test_a_handler_that_ignores_its_lost_lease_tells_nothing(
    server: Server, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on after the cancellation and returns: whatever it returns is refused by the fence."""
    scene = Scene(server, server.url, prefix)
    begun, go = asyncio.Event(), asyncio.Event()
    runs = list[int]()

    @scene.queue.handler("deaf", timeout=None)
    async def deaf(ctx: Context) -> int:
        runs.append(ctx.stalls)
        if len(runs) > 1:
            return 2
        begun.set()
        with suppress(asyncio.CancelledError):
            await go.wait()
        return 1

    async with scene, Hand(server, scene.keys, "thief") as thief:
        job = await deaf.enqueue()
        scene.acked.append(job.id)
        async with scene.worker(lease=3):
            await begun.wait()
            taken = list[Taken]()
            while not taken:  # the worker's own sweep comes first, at most once a second
                taken = await thief.sweep()
            (stolen,) = taken
            assert stolen.deliveries == 2
            refused = asyncio.Event()
            caplog.handler.addFilter(_Heard(refused))
            go.set()
            await refused.wait()
            assert scene.completed() == {}
            assert await thief.settle(Item(b"c", stolen.id, stolen.token, COMPLETE)) == b"a"
            await scene.settled()
        scene.check()
        assert runs == [0]


@pytest.mark.parametrize("lease", [1.5, 2.0])
async def test_a_job_longer_than_its_lease_runs_once(
    lease: float, server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the keeper's renewals and the ticks' look at the leases fall."""
    monkeypatch.setattr(exchange, "TICK", 0.1)
    async with Scene(server, server.url, prefix) as scene:
        jobs = [await scene.slow.with_options(delay=n / 10).enqueue(2.5) for n in range(10)]
        scene.acked += [job.id for job in jobs]
        async with scene.worker(lease=lease), scene.worker(lease=lease):
            await scene.settled()
        scene.check()
        assert set(scene.ledger.starts.values()) == {1}
        assert not scene.ledger.cancelled


@pytest.mark.parametrize("lease", [2.0, 3.0])
async def test_a_blocked_event_loop_keeps_its_jobs(lease: float, server: Server, prefix: str) -> None:
    """time.sleep on the loop for twice the lease: the keeper thread renews, another worker gets nothing."""
    async with Scene(server, server.url, prefix) as scene:

        @scene.queue.handler("blocking", timeout=None)
        async def blocking(ctx: Context) -> None:
            scene.ledger.starts[ctx.job_id] += 1
            time.sleep(lease * 2)  # noqa: ASYNC251 - the offence itself
            scene.ledger.effects[ctx.job_id] += 1

        scene.acked = [(await blocking.enqueue()).id, (await scene.slow.enqueue(0.1)).id]
        stolen = list[Taken]()
        other = threading.Thread(target=_sweep_all_along, args=(server, scene.keys, lease, stolen))
        async with scene.worker(lease=lease):
            other.start()
            await until(lambda: sum(scene.ledger.effects.values()) == 2, "both done")
            await scene.settled()
        await asyncio.to_thread(other.join)
        assert stolen == []
        scene.check()
        assert set(scene.ledger.starts.values()) == {1}


def _sweep_all_along(server: Server, keys: Keys, lease: float, stolen: list[Taken]) -> None:
    """Another worker's sweeps, from a thread: the loop of the test is the one that is blocked."""

    async def sweep() -> None:
        async with Hand(server, keys, f"other-{os.getpid()}") as other:
            ends = time.monotonic() + lease * 2.2
            while time.monotonic() < ends:
                stolen.extend(await other.sweep(int(lease * 1000)))
                await asyncio.sleep(0.2)

    asyncio.run(sweep())


@pytest.mark.parametrize("concurrency", [2, 20])
async def test_a_dead_workers_jobs_come_back_under_full_load(concurrency: int, server: Server, prefix: str) -> None:
    """Those who live have more than enough to do: what was begun before goes first all the same."""
    async with Scene(server, server.url, prefix) as scene, Hand(server, scene.keys, "dead") as dead:
        held = await scene.add(10)
        assert len(await dead.fetch(10)) == 10
        specs = [scene.slow.job(0.02) for _ in range(400 * concurrency)]
        await scene.queue.enqueue_many(specs)
        async with scene.worker(lease=2, concurrency=concurrency, grace=0.1):
            took = await until(lambda: all(scene.ledger.effects[job] for job in held), "the dead one's jobs ran")
            assert scene.entries() > 10, "the load was not enough to show anything"
        assert took < 2 + 2 + 4


async def test_who_leaves_with_a_job_in_hand_destroys_nothing(server: Server, prefix: str) -> None:
    """DELCONSUMER takes pending entries along: only a worker that holds nothing is forgotten."""
    async with hands(server, prefix) as (scene, one, two):
        await scene.add(2)
        held = await one.fetch(2)
        assert await one.leave() == 2
        taken = await two.sweep()
        assert {job.id for job in taken} == {job.id for job in held}
        assert await two.settle(*(Item(b"c", job.id, job.token, COMPLETE) for job in taken)) == b"aa"
        assert await one.leave() == 0
        assert await two.leave() == 0
        scene.check()
