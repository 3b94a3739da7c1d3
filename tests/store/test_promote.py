"""promote: due jobs into their lanes."""

import pytest

from streamq._store import desk
from tests.store.snapshot import counter, only
from tests.store.stage import ODD_IDS, Refusal, Stage, body_of, completed


async def test_what_is_due_goes_into_its_lane_earliest_first(stage: Stage) -> None:
    await stage.enqueue(("c", "2", "@3"), ("a", "2", "@1"), ("b", "0", "@2"), ("later", "2", "@9999999999999"))
    hand = stage.hand()
    found = await hand.promote()
    assert (found.promoted, found.next_due_ms, found.turn) == (3, 9999999999999, b"w1")
    now = stage.look()
    assert [entry.job for entry in now.lanes["2"]] == ["a", "c"]
    assert [entry.job for entry in now.lanes["0"]] == ["b"]
    assert now.entries["a"].body == body_of("a")
    assert now.delayed == {"later": 9999999999999}
    assert set(now.bodies) == {"later"}
    assert now.bell == 1


async def test_never_early_by_the_servers_clock(stage: Stage) -> None:
    hand = stage.hand()
    await stage.enqueue(("a", "2", "+20"))
    due = stage.look().delayed["a"]
    while True:
        found = await hand.promote()
        if found.promoted:
            break
        assert found.now_ms < due
        assert found.next_due_ms == due
    assert found.now_ms >= due
    assert found.next_due_ms == -1


async def test_again_promotes_what_is_left(stage: Stage) -> None:
    await stage.enqueue(*[(f"j{n}", "2", f"@{n + 1}") for n in range(5)])
    hand = stage.hand()
    assert (await hand.promote(3)).promoted == 3
    assert [entry.job for entry in stage.look().lanes["2"]] == ["j0", "j1", "j2"]
    found = await hand.promote(3)
    assert (found.promoted, found.next_due_ms) == (2, -1)
    before = stage.look()
    assert (await hand.promote(3)).promoted == 0
    assert stage.look() == before


async def test_by_hand_due_or_not(stage: Stage) -> None:
    await stage.enqueue(("a", "1", "+60000"), ("b", "2", "+60000"), "c")
    assert await desk.promote(stage.store, ["a", "c", "nobody"]) == 1
    now = stage.look()
    assert [now.place(job) for job in "abc"] == ["waiting", "delayed", "waiting"]
    assert "turn" not in now.meta
    assert await desk.promote(stage.store, ["a"]) == 0
    assert stage.look() == now


async def test_the_turn_goes_to_whoever_promoted_last(stage: Stage) -> None:
    one, two = stage.hand("w1"), stage.hand("w2")
    await stage.enqueue(("a", "2", "@1"))
    assert (await one.promote()).turn == b"w1"
    assert (await two.promote()).turn == b"w1"
    await stage.enqueue(("b", "2", "@1"))
    assert (await two.promote()).turn == b"w2"


async def test_a_paused_queue_promotes_but_rings_nobody(stage: Stage) -> None:
    await stage.enqueue(("a", "2", "@1"))
    stage.server.command("HSET", stage.keys.meta, "paused", "1 x")
    assert (await stage.hand().promote()).promoted == 1
    now = stage.look()
    assert (now.place("a"), now.bell) == ("waiting", 0)


async def test_another_protocol_is_refused(stage: Stage) -> None:
    await stage.enqueue(("a", "2", "@1"))
    stage.server.command("HSET", stage.keys.meta, "v", "2")
    before = stage.look()
    with pytest.raises(Refusal, match="SQVERSION 2"):
        await stage.hand().promote()
    assert stage.look() == before


@pytest.mark.parametrize("spoilt", ["lane", "delayed", "bodies", "index", "bell"])
async def test_a_key_of_another_type_stops_it_before_any_write(stage: Stage, spoilt: str) -> None:
    keys = stage.keys
    await stage.enqueue(("a", "2", "@1"), ("b", "4", "@2"))
    key: bytes = keys.lanes[4] if spoilt == "lane" else getattr(keys, spoilt)
    stage.spoil(key)
    dump = {name: stage.server.command("DUMP", keys.base + name) for name in (b"m", b"i", b"l2", b"d", b"b")}
    with pytest.raises(Refusal, match="WRONGTYPE"):
        await stage.hand().promote()
    assert dump == {name: stage.server.command("DUMP", keys.base + name) for name in dump}


async def test_a_job_whose_body_was_taken_away_is_told_as_dead(stage: Stage) -> None:
    await stage.enqueue(("a", "2", "@1"), ("b", "2", "@1"))
    stage.server.command("HDEL", stage.keys.bodies, "a")
    assert (await stage.hand().promote()).promoted == 1
    now = stage.look()
    assert (now.place("a"), now.place("b")) == ("dead", "waiting")
    assert only(list(now.dead.values()))["r"] == b"body missing"
    assert counter(now, "dead") == 1


async def test_a_member_without_its_job_is_swept_out(stage: Stage) -> None:
    stage.server.command("ZADD", stage.keys.delayed, 1, "nobody")
    stage.server.command("HSET", stage.keys.bodies, "nobody", "x")
    assert (await stage.hand().promote()).promoted == 0
    now = stage.look()
    assert (now.delayed, now.bodies, now.dead) == ({}, {}, {})


async def test_odd_ids(stage: Stage) -> None:
    await stage.enqueue(*[(job, "2", "@1") for job in ODD_IDS])
    hand = stage.hand()
    assert (await hand.promote()).promoted == len(ODD_IDS)
    jobs = await hand.fetch()
    assert {job.id.decode() for job in jobs} == set(ODD_IDS)
    assert await hand.settle(*[completed(job) for job in jobs]) == "a" * len(jobs)
    stage.look()


async def test_five_hundred_at_once(stage: Stage) -> None:
    for start in range(0, 600, 200):
        await stage.enqueue(*[(f"j{n}", "2", "@1") for n in range(start, start + 200)])
    assert (await stage.hand().promote(500)).promoted == 500
    assert (await stage.hand().promote(500)).promoted == 100
    stage.look()
