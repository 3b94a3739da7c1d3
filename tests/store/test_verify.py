"""verify finds every kind of damage exactly, recover mends it and loses nothing, a busy queue shows none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from streamq import Fixed, Group, JobSpec, Queue, RateLimit, StreamqError, Worker
from streamq._core.damage import KINDS
from streamq._store import audit, things
from streamq.errors import VersionMismatch
from streamq.verify import Finding, recover, verify
from tests.servers import Server
from tests.store import snapshot
from tests.store.damage import CASES, LINE, Case, furnished, known
from tests.store.stage import Lined, Stage
from tests.worker.helpers import until


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody beats here while verify waits for heartbeats."""
    monkeypatch.setattr(audit, "PATIENCE", 0.0)


async def found(stage: Stage) -> dict[str, int]:
    seen = await verify([stage.store], limit=0, examples=5)
    assert seen.sound == (not seen.findings)
    return kinds(seen.findings)


def kinds(findings: Sequence[Finding]) -> dict[str, int]:
    return {one.kind: one.count for one in findings}


async def test_a_sound_queue_shows_nothing_and_is_left_as_it_is(stage: Stage) -> None:
    scene = await furnished(stage)
    before = stage.take()
    seen = await verify([stage.store], limit=0, examples=5)
    assert (seen.findings, seen.notes, seen.sound) == ([], [], True)
    assert (seen.looked_at["jobs"], seen.looked_at["entries"], seen.looked_at["delayed"]) == (11, 6, 0)
    assert (await recover([stage.store], apply=True, limit=0)).repairs == []
    assert stage.take() == before
    assert scene.row("f2")[:2] == b"f2"


async def test_an_empty_queue_is_sound(stage: Stage) -> None:
    assert await found(stage) == {}
    assert stage.take().meta == {}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
async def test_damage_is_found_exactly_and_mended(stage: Stage, case: Case) -> None:
    scene = await furnished(stage)
    case.does(scene)
    before = stage.take()
    assert await found(stage) == dict(case.kinds)
    assert stage.take() == before, "verify reads only"

    would = await recover([stage.store], apply=False, limit=0)
    assert stage.take() == before, "a dry run reads only"
    assert (would.applied, kinds(would.left)) == (False, dict(case.kinds))
    assert {one.outcome for one in would.repairs} <= {"would"}
    assert {one.kind for one in would.repairs} == {one.kind for one in would.left if one.mends}

    done = await recover([stage.store], apply=True, limit=0)
    assert (kinds(done.left), await found(stage)) == (dict(case.left), dict(case.left))
    assert set(done.lost) == set(would.lost) == set(case.lost)
    assert bool(would.repairs) == bool(done.repairs)
    after = stage.take() if case.left else stage.look()
    assert known(before) <= known(after) | set(done.lost), "nothing is lost"
    assert {job: after.place(job) for job in case.places} == dict(case.places)
    again = await recover([stage.store], apply=True, limit=0)
    assert (again.repairs, stage.take().jobs) == ([], after.jobs), "a second time there is nothing to do"


def test_every_kind_of_damage_is_planted() -> None:
    planted = {kind for case in CASES.values() for kind in case.kinds}
    elsewhere = {"dead-alive", "protocol", "consumer-stray"}  # below
    assert KINDS.keys() - planted == elsewhere


async def test_what_was_mended_is_worked_off(stage: Stage) -> None:
    scene = await furnished(stage)
    for name in ("row of a waiting job", "group made again at the end", "place of a line", "slot held by nobody"):
        CASES[name].does(scene)
    await recover([stage.store], apply=True, limit=0)
    hand = stage.hand("w2")
    assert {job.id for job in await hand.take()} == {b"a1", b"r1", b"w1", b"w2", b"low"}
    [f1] = [job for job in stage.look().lanes["t"] if job.job == "f1"]
    assert f1.owner == "w1"


async def test_a_released_job_is_fenced_and_its_repair_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    scene = await furnished(stage)
    token = scene.row("r1")
    caplog.set_level("INFO", "streamq")
    CASES["held by a worker that is gone"].does(scene)
    await recover([stage.store], apply=True, limit=0)
    assert scene.row("r1") != token
    assert stage.look().entries["r1"].deliveries == 1, "charges nobody a stall"
    [record] = [vars(one) for one in caplog.records if one.message == "recovered"]
    assert (record["kind"], record["job_id"], record["queue"]) == ("pending-silent", "r1", "q")


async def test_who_beats_after_a_jump_of_the_clock_is_not_silent(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await furnished(stage)
    CASES["held by a worker that is gone"].does(scene)

    async def wait(seconds: float) -> None:
        assert seconds >= 5, "two heartbeats"
        scene.do("ZADD", scene.keys.beats, scene.now_ms(), "gone")

    monkeypatch.undo()
    monkeypatch.setattr(f"{audit.__name__}.sleep", wait)
    before = scene.row("r1")
    done = await recover([stage.store], apply=True, limit=0)
    monkeypatch.undo()
    assert (done.repairs, done.left, scene.row("r1")) == ([], [], before)


async def test_many_things_are_mended_in_portions(stage: Stage) -> None:
    jobs = [f"j{n}" for n in range(450)]
    await stage.enqueue(*jobs)
    stage.server.command("DEL", stage.keys.index)
    done = await recover([stage.store], apply=True, limit=0)
    assert ({one.kind for one in done.repairs}, len(done.repairs)) == ({"row-missing"}, 450)
    assert {job.id.decode() for job in await stage.hand().fetch()} == set(jobs)
    stage.look()


async def test_a_limit_bounds_the_look(stage: Stage) -> None:
    await stage.enqueue(*[f"j{n}" for n in range(450)])
    stage.server.command("DEL", stage.keys.index)
    seen = await verify([stage.store], limit=100, examples=2)
    [finding] = seen.findings
    assert (finding.kind, finding.count, len(finding.examples)) == ("row-missing", 100, 2)
    assert seen.notes == ["entries: no more than 100 were looked at"]


async def test_jobs_beyond_one_count_keep_what_is_uncertain(stage: Stage) -> None:
    scene = await furnished(stage)
    for start in range(0, 1200, 200):
        await stage.line_up(*[Lined(f"j{n}", LINE) for n in range(start, start + 200)])
    scene.gate("h.a", used=3)
    scene.gate("g:x", waiting=1000)
    seen = await verify([stage.store], limit=0, examples=5)
    assert kinds(seen.findings) == {"slots-wrong": 1}, "some were not counted: 1,000 may be right"
    assert seen.notes == ["limits: 303 jobs that run or wait were not counted"]
    await recover([stage.store], apply=True, limit=0)
    assert stage.take().lines.gate("h.a").used == 1


async def test_alive_and_dead_is_left_to_people(stage: Stage) -> None:
    scene = await furnished(stage)
    entry = scene.do("XADD", scene.keys.dead, "*", "j", "w1", "d", b"body", "r", "why")
    scene.do("HSET", scene.keys.dead_index, "w1", entry)
    done = await recover([stage.store], apply=True, limit=0)
    assert (kinds(done.left), [one.kind for one in done.repairs]) == ({"dead-alive": 1}, ["deaths-count"])
    assert "purge its dead letter" in done.left[0].examples[0]


async def test_a_queue_of_another_protocol_is_not_looked_at(stage: Stage) -> None:
    scene = await furnished(stage)
    scene.do("HSET", scene.keys.meta, "v", "99")
    seen = await verify([stage.store], limit=0, examples=5)
    assert kinds(seen.findings) == {"protocol": 1}
    assert "protocol 99" in seen.findings[0].examples[0]
    with pytest.raises(VersionMismatch):
        await recover([stage.store], apply=True, limit=0)


async def test_a_forgotten_consumer_goes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.enqueue("w1")
    await stage.hand().tick(sweep=False)
    key = stage.keys.lanes[2]
    for name in ("ghost", "w1"):
        stage.server.command("XGROUP", "CREATECONSUMER", key, "w", name)
    assert await found(stage) == {}, "it may have begun a moment ago"
    monkeypatch.setattr(things, "SILENT_MS", 1)

    async def is_told() -> bool:
        return await found(stage) == {"consumer-stray": 1}

    await until(is_told, "it is idle for longer than a moment")
    await recover([stage.store], apply=True, limit=0)
    names = [info[1] for info in stage.server.command("XINFO", "CONSUMERS", key, "w")]
    assert names == [b"w1"]


async def test_what_moved_on_is_not_touched(stage: Stage) -> None:
    scene = await furnished(stage)
    scene.do("HDEL", scene.keys.index, "w1")
    thing = b"2" + stage.take().entries["w1"].id.encode()
    [[digest, *_]] = await things.facts(stage.store, [thing])
    await scene.hand.take()
    before = stage.take()
    assert await things.ask(stage.store, "recover", [thing], 1000, thing, digest, "wait") == b"m"
    assert stage.take() == before


async def test_a_busy_queue_shows_no_damage(each_server: Server, prefix: str) -> None:
    queue = Queue("q", url=each_server.url, prefix=prefix, backoff=Fixed(0.01), group=Group(concurrency=3))

    @queue.handler("plain", max_attempts=2)
    async def plain(n: int) -> int:
        if n % 5 == 0:
            raise ValueError(n)
        return n

    @queue.handler("limited", concurrency=4, rate_limit=RateLimit(500))
    async def limited(n: int) -> None:
        await asyncio.sleep(0.001 * (n % 3))

    stop = asyncio.Event()

    async def produce() -> None:
        n = 0
        while not stop.is_set():
            n += 10
            jobs: list[JobSpec[Any]] = [limited.with_options(delay=0.02).job(n)]
            jobs += [plain.job(k) for k in range(n, n + 4)]
            jobs += [limited.with_options(group=f"g{k % 3}").job(k) for k in range(n, n + 4)]
            handles = await queue.enqueue_many(jobs)
            with suppress(StreamqError):  # it may have ended
                await handles[n % len(handles)].cancel()
            await asyncio.sleep(0.02)

    async with queue, Worker(queue, concurrency=20), Worker(queue, concurrency=5):
        producing = asyncio.create_task(produce())
        looked = 0
        for _ in range(60):
            seen = await queue.verify()
            assert seen.findings == [], seen
            looked += seen.looked_at["jobs"]
        assert (await queue.recover(apply=True)).repairs == []
        stop.set()
        await producing
    assert looked > 60, "there was something to look at"
    store = (await queue.stores())[0]
    snapshot.check(each_server, store.keys)
    await queue.aclose()
