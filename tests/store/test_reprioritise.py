"""reprioritise: jobs that have not started, to another lane, wherever they wait."""

from __future__ import annotations

import pytest

from streamq._core import envelope as _wire
from streamq._core.envelope import Envelope
from streamq._store import desk
from streamq.errors import ServerUnfit, VersionMismatch
from tests.store.stage import ODD_IDS, Stage, body_of, completed, parked, released, retried


async def move(stage: Stage, *jobs: tuple[str, int], seen: bytes | None = None, to: bytes | None = None) -> str:
    return await desk.reprioritise(
        stage.store, [(job, lane, seen or body_of(job), to or b"moved " + job.encode()) for job, lane in jobs]
    )


async def test_a_waiting_job_goes_behind_those_of_its_new_lane(stage: Stage) -> None:
    await stage.enqueue("a", "b", ("c", "0", "0"))
    assert await move(stage, ("b", 0), ("c", 4)) == "cc"
    now = stage.look()
    assert now.index["b"].startswith("0")
    assert now.index["b"].endswith(":0")
    assert [entry.job for entry in now.lanes["0"]] == ["b"]
    assert [entry.job for entry in now.lanes["4"]] == ["c"]
    jobs = await stage.hand().fetch()
    assert [(job.id, job.body) for job in jobs] == [(b"b", b"moved b"), (b"a", body_of("a")), (b"c", b"moved c")]
    assert await stage.hand().settle(*[completed(job) for job in jobs]) == "aaa"
    assert not stage.look().index


async def test_behind_means_behind(stage: Stage) -> None:
    await stage.enqueue("low", ("one", "0", "0"), ("two", "0", "0"))
    await move(stage, ("low", 0))
    assert [job.id for job in await stage.hand().fetch()] == [b"one", b"two", b"low"]


async def test_a_delayed_job_keeps_its_time(stage: Stage) -> None:
    await stage.enqueue(("a", "3", "+60000"), ("b", "2", "+60000"))
    before = stage.look()
    assert await move(stage, ("a", 1)) == "c"
    now = stage.look()
    assert now.delayed == before.delayed
    assert (now.index["a"], now.bodies["a"]) == ("d1", b"moved a")
    await desk.promote(stage.store, ["a", "b"])
    assert [job.id for job in await stage.hand().fetch()] == [b"a", b"b"]


async def test_a_parked_job_keeps_its_name_and_its_take(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    await hand.settle(parked(await hand.one(), "send"))
    row = stage.look().index["a"]
    assert await move(stage, ("a", 1)) == "c"
    now = stage.look()
    assert now.index["a"] == "p1" + row[2:]
    job = (await hand.unpark("send"))[0]
    assert job.body == b"moved a"
    assert await hand.settle(completed(job)) == "a"


@pytest.mark.parametrize("through", ["lane", "taken"])
async def test_a_released_job_waits_in_its_new_lane(stage: Stage, through: str) -> None:
    await stage.enqueue("a", "other")
    leaver = stage.hand("w1")
    job, other = await leaver.fetch()
    if through == "taken":
        await leaver.settle(parked(job, "send"), released(other))
        job = (await leaver.unpark("send"))[0]
        await leaver.settle(released(job))
    else:
        await leaver.settle(released(job), released(other))
    assert await move(stage, ("a", 1)) == "c"
    now = stage.look()
    assert now.place("a") == "waiting"
    assert now.index["a"].startswith("1")
    assert now.meta["released"] == "1"
    # The old token is worth nothing any more.
    assert await leaver.settle(completed(job)) == "l"
    jobs = await stage.hand("w2").fetch()
    assert [(one.id, one.deliveries) for one in jobs] == [(b"other", 1), (b"a", 1)]
    assert await stage.hand("w2").settle(*[completed(one) for one in jobs]) == "aa"
    assert not stage.look().index


async def test_an_active_job_is_left_alone(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    jobs = await hand.fetch()
    before = stage.look()
    assert await move(stage, ("a", 0)) == "a"
    assert await move(stage, ("a", 2)) == "s"
    assert stage.look() == before
    stage.age(jobs[1].token)
    assert await move(stage, ("b", 0)) == "a", "it is its worker's until somebody takes it over"
    assert await hand.settle(*[completed(job) for job in jobs]) == "aa"


async def test_again_the_job_is_there_already(stage: Stage) -> None:
    await stage.enqueue("a", ("b", "2", "+60000"))
    assert await move(stage, ("a", 0), ("b", 0), ("nobody", 0)) == "ccg"
    before = stage.look()
    assert await move(stage, ("a", 0), ("b", 0), ("nobody", 0)) == "ssg"
    assert stage.look() == before


async def test_an_envelope_that_is_another_by_now_is_not_overwritten(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    job = await hand.one()
    # Its caller looked before it ran and failed; the row is one it may have seen, the envelope is not.
    await hand.settle(retried(job))
    before = stage.look()
    assert await move(stage, ("a", 0)) == "m"
    assert await move(stage, ("b", 0), seen=b"something else") == "m"
    assert stage.look() == before
    assert await move(stage, ("a", 0), seen=before.bodies["a"]) == "c"


async def test_moved_jobs_ring(stage: Stage) -> None:
    await stage.enqueue("a")
    stage.server.command("DEL", stage.keys.bell)
    await move(stage, ("a", 0))
    assert stage.look().bell == 1


async def test_in_a_paused_queue_they_move_and_nobody_is_woken(stage: Stage) -> None:
    await stage.enqueue("a")
    await desk.pause(stage.store, "")
    assert await move(stage, ("a", 0)) == "c"
    assert stage.look().bell == 0


async def test_many_at_once_keep_their_order(stage: Stage) -> None:
    ids = [f"j{n}" for n in range(200)]
    await stage.enqueue(*ids)
    assert await move(stage, *[(job, 1) for job in ids]) == "c" * 200
    assert [job.id.decode() for job in await stage.hand().fetch()] == ids


async def test_odd_ids(stage: Stage) -> None:
    await stage.enqueue(*ODD_IDS)
    assert await move(stage, *[(job, 3) for job in ODD_IDS]) == "c" * len(ODD_IDS)
    assert all(row.startswith("3") for row in stage.look().index.values())


async def test_another_protocol_is_refused(stage: Stage) -> None:
    await stage.enqueue("a")
    stage.server.command("HSET", stage.keys.meta, "v", "2")
    before = stage.look()
    with pytest.raises(VersionMismatch):
        await move(stage, ("a", 0))
    assert stage.look() == before


@pytest.mark.parametrize("spoilt", ["bodies", "bell", "lane", "taken", "index"])
async def test_a_key_of_another_type_stops_it_before_any_write(stage: Stage, spoilt: str) -> None:
    keys = stage.keys
    await stage.enqueue("waiting", ("later", "3", "+60000"), ("low", "4", "0"))
    stage.spoil(keys.lanes[4] if spoilt == "lane" else getattr(keys, spoilt))
    names = (b"m", b"i", b"l0", b"l2", b"d", b"b")
    dump = {name: stage.server.command("DUMP", keys.base + name) for name in names}
    with pytest.raises(ServerUnfit, match="another type"):
        await move(stage, ("waiting", 0), ("later", 0), ("low", 0))
    assert dump == {name: stage.server.command("DUMP", keys.base + name) for name in names}


async def test_it_works_while_memory_is_short(stage: Stage) -> None:
    await stage.enqueue("a", ("b", "2", "+60000"))
    stage.server.command("CONFIG", "SET", "maxmemory", "1")
    try:
        assert await move(stage, ("a", 0), ("b", 0)) == "cc"
    finally:
        stage.server.command("CONFIG", "SET", "maxmemory", "0")


# -- the envelope ------------------------------------------------------------------------------------


def test_a_moved_envelope_says_its_lane_and_keeps_the_rest() -> None:
    before = Envelope(name="send", hop=3, attempts=2, headers={"a": "b"}, lane=4)
    after = _wire.decode(_wire.moved(_wire.encode(before), 1))
    assert after == _wire.replaced(before, lane=1, hop=4)
    normal = _wire.moved(_wire.encode(before), 2)
    assert _wire.decode(normal).lane == 2
    assert b"\xa1l" not in normal, "the default is left out"


def test_fields_of_a_newer_version_stay() -> None:
    newer = _wire.encode({"n": "send", "v": 9, "new": {"x": [1, 2.5, None, b"bytes"]}})
    assert _wire.plain(_wire.moved(newer, 0)) == {
        "n": "send", "v": 9, "new": {"x": [1, 2.5, None, b"bytes"]}, "h": 1, "l": 0,
    }  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"no msgpack", b"\xc1", _wire.encode([1]), _wire.encode({"h": "x"})])
def test_what_is_no_envelope_is_malformed(body: bytes) -> None:
    with pytest.raises(_wire.MALFORMED):
        _wire.moved(body, 0)
