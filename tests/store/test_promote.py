"""promote: due jobs into their lanes."""

import msgspec
import pytest

from streamq._store import desk, inspector
from tests.store.snapshot import counter, only
from tests.store.stage import ODD_IDS, Refusal, Stage, body_of, buried, completed, parked, retried


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


async def test_a_job_whose_row_was_taken_away_goes_where_its_envelope_says(stage: Stage) -> None:
    envelope = msgspec.msgpack.encode({"n": "send", "l": 4})
    await stage.enqueue(("a", "2", "@1"), ("b", "2", "@1"), ("late", "2", "+60000"))
    stage.server.command("HSET", stage.keys.bodies, "b", envelope)
    stage.server.command("HDEL", stage.keys.index, "a", "b", "late")
    assert (await stage.hand().promote()).promoted == 2
    now = stage.take()
    assert [entry.job for entry in now.lanes["2"]] == ["a"], "its envelope is no envelope: the usual lane"
    assert [(entry.job, entry.body) for entry in now.lanes["4"]] == [("b", envelope)]
    assert (now.place("a"), now.place("b")) == ("waiting", "waiting")
    assert set(now.delayed) == set(now.bodies) == {"late"}, "not due yet: kept for its time, or for recover"


async def test_by_hand_only_what_the_index_knows(stage: Stage) -> None:
    await stage.enqueue(("a", "2", "+60000"))
    stage.server.command("HDEL", stage.keys.index, "a")
    before = stage.take()
    assert await desk.promote(stage.store, ["a"]) == 0
    assert stage.take() == before


async def test_a_member_of_which_nothing_else_is_left_is_told_as_dead(stage: Stage) -> None:
    stage.server.command("ZADD", stage.keys.delayed, 1, "nobody")
    assert (await stage.hand().promote()).promoted == 0
    now = stage.look()
    assert (now.delayed, now.bodies, list(now.dead_index)) == ({}, {}, ["nobody"])
    assert only(list(now.dead.values()))["r"] == b"body missing"


async def test_a_member_that_is_dead_already_is_swept_out(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    await hand.settle(*[buried(job) for job in await hand.fetch()])
    before = stage.look()
    stage.server.command("ZADD", stage.keys.delayed, 1, "a", 2, "b")
    stage.server.command("HSET", stage.keys.bodies, "a", "x")
    assert (await hand.promote()).promoted == 0
    assert stage.look().jobs == before.jobs


async def test_a_member_that_is_elsewhere_costs_it_nothing(stage: Stage) -> None:
    await stage.enqueue("parked", "waiting")
    hand = stage.hand()
    await hand.settle(parked((await hand.fetch(1))[0]))
    before = stage.look()
    stage.server.command("ZADD", stage.keys.delayed, 1, "parked", 1, "waiting")
    assert (await hand.promote()).promoted == 0
    assert stage.look().jobs == before.jobs


async def test_who_is_told_as_dead_leaves_no_mark_and_no_waiter(stage: Stage) -> None:
    await stage.enqueue("a", "b", "c")
    hand = stage.hand()
    jobs = await hand.fetch()
    ids = [job.id.decode() for job in jobs]
    assert await desk.cancel(stage.store, ids, b"r", result_ms=1000, ask=True) == "aaa"
    for job in ids:
        await desk.look(stage.store, job, channel="me")
    await hand.settle(*[retried(job, "@1") for job in jobs])
    stage.server.command("HDEL", stage.keys.bodies, "a", "b")
    assert (await hand.promote()).promoted == 1
    now = stage.look()
    assert [now.place(job) for job in ids] == ["dead", "dead", "waiting"]
    assert (now.cancels, now.meta["cancels"], set(now.waiters)) == (("c",), "1", {"c"})


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


@pytest.mark.parametrize(("score", "told"), [("-5", 0), ("-inf", 0), ("-1", 0), ("+inf", 253_402_300_799_999)])
async def test_a_time_that_is_none_keeps_nobody_waiting(stage: Stage, score: str, told: int) -> None:
    """A foreign hand's, or an instant before the epoch: -1 would say that nothing is delayed."""
    await stage.enqueue(("odd", "2", "+60000"), ("a", "2", "@1"))
    stage.server.command("ZADD", stage.keys.delayed, score, "odd")
    hand = stage.hand()
    assert (await hand.tick()).next_due_ms == (told if told == 0 else 1)
    found = await hand.promote(1)
    assert found.next_due_ms == (1 if told == 0 else told)
    await hand.promote()
    page = await inspector.delayed(stage.store, "", 10)
    assert [one.due_ms for one in page.jobs] == [told] * bool(told)
    look = await desk.look(stage.store, "odd")
    assert (look.row[0], look.due_ms) == ("d" if told else "2", told)
