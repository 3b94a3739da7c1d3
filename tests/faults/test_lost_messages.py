"""A reply or a request of each verb is lost: nothing is lost, nothing doubled, and no ghost stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from streamq import JobState, Worker
from streamq._runtime import exchange
from tests.faults.scene import GhostWatch, Scene, load_scripts, until
from tests.proxy import Fault, Proxy, Rule
from tests.servers import Server

Play = Callable[[Scene], Awaitable[None]]

RESETS = [Fault.LOSE_REPLY, Fault.LOSE_REQUEST, Fault.RESET_AFTER_REQUEST]


@pytest.fixture(autouse=True)
def quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks come more often, so that the verbs a tick leads to are reached in a second."""
    monkeypatch.setattr(exchange, "TICK", 0.5)


async def plain(scene: Scene) -> None:
    """Enqueue and drain: enqueue, fetch, settle, tick, BLPOP, SSUBSCRIBE, leave."""
    for _ in range(5):
        await scene.add(20)
        await scene.settled()


async def delayed(scene: Scene) -> None:
    """Retries and delays: promote."""
    await scene.add(10, scene.flaky)
    await scene.add(10, delay=0.2)
    await scene.settled()


async def long(scene: Scene) -> None:
    """Jobs longer than a third of the lease: renew."""
    jobs = [await scene.slow.enqueue(2.5) for _ in range(3)]
    scene.acked += [job.id for job in jobs]
    await scene.settled()


async def parked(scene: Scene) -> None:
    """Jobs without a handler here wait until a worker has one: unpark."""
    producer = scene.another()
    ids = [(await producer.enqueue("late", {"n": n})).id for n in range(10)]
    scene.acked += ids
    await until(lambda: scene.server.command("ZCARD", scene.keys.parked) == 10, "ten jobs parked")

    @scene.queue.handler("late")
    async def late(n: int) -> None:
        """Now there is one."""

    await scene.settled()


async def cancelled(scene: Scene) -> None:
    """Cancel delayed jobs: cancel."""
    jobs = [await scene.plain.with_options(delay=60).enqueue(n) for n in range(5)]
    for job in jobs:
        assert await job.cancel(), "the answer must be true although a reply was lost"
    assert [await job.state() for job in jobs] == [JobState.CANCELLED] * 5
    assert scene.unsettled() == 0


async def removed(scene: Scene) -> None:
    """Remove delayed jobs: cancel, and purge if it was not needed."""
    jobs = [await scene.plain.with_options(delay=60).enqueue(n) for n in range(5)]
    for job in jobs:
        await job.remove()
    assert scene.unsettled() == 0


async def promoted(scene: Scene) -> None:
    """Promote delayed jobs by hand: promote."""
    jobs = [await scene.plain.with_options(delay=60).enqueue(n) for n in range(5)]
    scene.acked += [job.id for job in jobs]
    for job in jobs:
        await job.promote()
    await scene.settled()


async def replayed(scene: Scene) -> None:
    """Dead letters come back: replay, look."""
    failing = [True]

    @scene.queue.handler("doomed", max_attempts=1)
    async def doomed(n: int) -> None:
        if failing[0]:
            raise RuntimeError("doomed")

    ids = await scene.add(5, doomed)
    await until(lambda: len(scene.dead()) == 5, "five dead letters")
    failing[0] = False
    for job in ids:
        await scene.queue.dlq.replay(job)
    await scene.settled()


CASES: list[tuple[str, Play, int]] = [
    ("enqueue", plain, 2),
    ("fetch", plain, 2),
    ("fetch", plain, 3),
    ("settle", plain, 1),
    ("settle", plain, 2),
    ("settle", delayed, 1),
    ("tick", plain, 1),
    ("promote", delayed, 1),
    ("promote", promoted, 1),
    ("renew", long, 1),
    ("unpark", parked, 1),
    ("reconcile", plain, 1),
    ("cancel", cancelled, 1),
    ("cancel", removed, 1),
    ("replay", replayed, 1),
    ("look", replayed, 1),
    ("BLPOP", plain, 1),
    ("SSUBSCRIBE", plain, 1),
    ("PING", plain, 1),
]


def name(case: object) -> str:
    if isinstance(case, Fault):
        return case.name.lower()
    return case.__name__ if callable(case) else str(case)  # type: ignore[attr-defined]


async def play(server: Server, prefix: str, proxy: Proxy, rule: Rule, scenario: Play, lease: float) -> float:
    load_scripts(server)
    async with Scene(server, proxy.url, prefix) as scene:
        worker: Worker = scene.worker(lease=lease)
        async with worker, GhostWatch(scene, worker) as ghosts:
            await scenario(scene)
            if rule.label == "PING":
                await scene.queue.ping()
            await until(rule.fired.is_set, f"{rule.label} was sent")
            await scene.settled()
            # Whatever the loss left behind must be repaired by the worker itself, not by its end.
            await until(lambda: not scene.pending(), "no pending entries", seconds=6)
            oldest = ghosts.oldest
        scene.check()
    return oldest


@pytest.mark.parametrize("fault", RESETS, ids=name)
@pytest.mark.parametrize(("label", "scenario", "nth"), CASES, ids=name)
async def test_a_reset_loses_and_doubles_nothing(
    label: str, scenario: Play, nth: int, fault: Fault, server: Server, prefix: str
) -> None:
    async with Proxy(server.socket) as proxy:
        if label == "reconcile":
            proxy.rule("fetch", Fault.LOSE_REPLY, nth=2)
        rule = proxy.rule(label, fault, nth=nth)
        oldest = await play(server, prefix, proxy, rule, scenario, lease=4 if label == "renew" else 15)
    assert oldest < 5, f"a ghost was {oldest:.1f} s old"


SILENT: list[tuple[str, Play, Fault]] = [
    ("enqueue", plain, Fault.MUTE_REPLY),
    ("enqueue", plain, Fault.MUTE_REQUEST),
    ("fetch", plain, Fault.MUTE_REPLY),
    ("fetch", plain, Fault.MUTE_REQUEST),
    ("settle", plain, Fault.MUTE_REPLY),
    ("settle", delayed, Fault.MUTE_REPLY),
    ("tick", plain, Fault.MUTE_REPLY),
    ("promote", delayed, Fault.MUTE_REPLY),
    ("renew", long, Fault.MUTE_REPLY),
    ("unpark", parked, Fault.MUTE_REPLY),
    ("reconcile", plain, Fault.MUTE_REPLY),
    ("cancel", cancelled, Fault.MUTE_REPLY),
    ("replay", replayed, Fault.MUTE_REPLY),
    ("BLPOP", plain, Fault.MUTE_REPLY),
    ("SSUBSCRIBE", plain, Fault.MUTE_REPLY),
]


@pytest.mark.parametrize(("label", "scenario", "fault"), SILENT, ids=name)
async def test_a_connection_that_falls_silent_loses_and_doubles_nothing(
    label: str, scenario: Play, fault: Fault, server: Server, prefix: str
) -> None:
    """Half open: no reset tells of the loss, only the watchdog."""
    lease = {"renew": 4, "fetch": 15}.get(label, 6)  # a real lease where a ghost is made
    async with Proxy(server.socket) as proxy:
        if label == "reconcile":
            proxy.rule("fetch", Fault.LOSE_REPLY, nth=2)
        rule = proxy.rule(label, fault, nth=2 if scenario is plain and label in {"enqueue", "fetch"} else 1)
        oldest = await play(server, prefix, proxy, rule, scenario, lease)
    assert oldest < 5, f"a ghost was {oldest:.1f} s old"


async def test_three_lost_replies_in_a_row_make_no_double_job(server: Server, prefix: str) -> None:
    load_scripts(server)  # or it is the word that the script is unknown which gets lost
    async with Proxy(server.socket) as proxy, Scene(server, proxy.url, prefix) as scene:
        rule = proxy.rule("enqueue", Fault.LOSE_REPLY, times=3)
        await scene.add(50)
        assert rule.hits == 3
        assert scene.entries() == 50
        assert scene.unsettled() == 50
        async with scene.worker():
            await scene.settled()
        scene.check()
        scene.check_runs()


async def test_every_reply_in_single_bytes(server: Server, prefix: str) -> None:
    async with Proxy(server.socket, chunk=1) as proxy, Scene(server, proxy.url, prefix) as scene:
        async with scene.worker():
            await scene.add(30)
            await scene.add(5, scene.flaky)
            await scene.settled()
        scene.check()
        scene.check_runs()


@pytest.mark.parametrize("at", [2, 7, 40, 200])
async def test_a_reply_cut_anywhere_is_no_reply(at: int, server: Server, prefix: str) -> None:
    async with Proxy(server.socket) as proxy, Scene(server, proxy.url, prefix) as scene:
        rules = [proxy.rule(verb, Fault.CUT_REPLY, nth=2, keep=at) for verb in ("enqueue", "fetch", "settle", "tick")]
        async with scene.worker(lease=15):
            await plain(scene)
            await until(lambda: all(rule.fired.is_set() for rule in rules), "each verb was cut")
            await scene.settled()
        scene.check()


async def test_a_stalled_settle_reply_holds_up_nothing_for_long(server: Server, prefix: str) -> None:
    """A slow answer is waited for: the job is not run again, and what follows goes on."""
    async with Proxy(server.socket) as proxy, Scene(server, proxy.url, prefix) as scene:
        rule = proxy.rule("settle", Fault.STALL_REPLY)
        async with scene.worker(lease=15):
            await scene.add(5)
            await until(rule.fired.is_set, "a settle was sent")
            asyncio.get_running_loop().call_later(0.5, rule.release)
            await scene.add(20)
            await scene.settled()
        scene.check()
        scene.check_runs()


async def test_a_partition_of_all_connections_heals(server: Server, prefix: str) -> None:
    async with Proxy(server.socket) as proxy, Scene(server, proxy.url, prefix) as scene:
        async with scene.worker(lease=15):
            await scene.add(20)
            await scene.settled()
            proxy.is_refusing = True
            await proxy.reset_all()
            adding = asyncio.create_task(scene.add(20))
            await asyncio.wait([adding], timeout=0.5)
            assert not adding.done()
            proxy.is_refusing = False
            await adding
            took = await scene.settled()
        assert took < 5
        scene.check()
        scene.check_runs()


@pytest.mark.parametrize(
    "fault", [Fault.LOSE_REPLY, Fault.LOSE_REQUEST, Fault.MUTE_REPLY, Fault.MUTE_REQUEST], ids=name
)
async def test_whoever_waits_for_a_result_gets_it_without_the_message(
    fault: Fault, server: Server, prefix: str
) -> None:
    """The word that a job ended may be lost: it is looked up every two seconds."""
    async with Proxy(server.socket) as proxy, Scene(server, proxy.url, prefix) as scene:

        @scene.queue.handler("answer")
        async def answer() -> int:
            await asyncio.sleep(0.5)
            return 42

        rule = proxy.rule("SSUBSCRIBE", fault, client="streamq:waiter")
        async with scene.worker():
            job = await answer.enqueue()
            assert await job.result(timeout=6) == 42
            assert rule.fired.is_set()
            again = await answer.enqueue()
            assert await again.result(timeout=6) == 42
            scene.acked += [job.id, again.id]
            await scene.settled()
        scene.check()
