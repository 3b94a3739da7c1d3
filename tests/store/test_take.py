"""take: jobs of lines whose gates are open, beside the plain jobs of the lanes."""

from __future__ import annotations

import asyncio

import pytest

from streamq._core.flow import Batch, Flow
from streamq._store import desk
from streamq._store.lines import held
from streamq._store.replies import Taken
from tests.store.snapshot import Snapshot
from tests.store.stage import Hand, Lined, Refusal, Stage, body_of, completed, released


def group(name: str) -> Flow:
    return Flow((f"g:{name}",))


def ids(jobs: list[Taken]) -> list[str]:
    return [job.id.decode() for job in jobs]


async def finish(hand: Hand, jobs: list[Taken]) -> None:
    assert set(await hand.settle(*[completed(job) for job in jobs])) <= {"a"}


async def test_a_job_of_a_line_comes_through_the_taken_stream(stage: Stage) -> None:
    await stage.line_up(Lined("a", group("x"), "1"))
    waiting = stage.look()
    assert (waiting.place("a"), waiting.index["a"], waiting.bell) == ("in line", "f1", 1)
    assert waiting.bodies == {"a": body_of("a")}
    hand = stage.hand()
    [job] = await hand.take()
    now = stage.look()
    assert (job.id, job.body, job.deliveries, job.mark) == (b"a", body_of("a"), 1, b"")
    assert (job.token, now.place("a"), now.entries["a"].owner) == (now.token("a"), "active", "w1")
    record = held(job.token)
    assert record is not None
    assert (record.gates, record.takes, record.lane, record.free) == (("g:x",), 1, 1, False)
    assert (now.lines.gate("g:x").used, now.lines.lines, now.bodies) == (1, {}, {})
    await finish(hand, [job])
    assert not stage.look().index


async def test_all_gates_at_once_or_none(stage: Stage) -> None:
    await stage.set("k.a", c=1)
    await stage.set("r.b", n=1, p=60_000)
    await stage.line_up(Lined("first", Flow(("r.b",))), Lined("both", Flow(("k.a=1", "r.b"))))
    hand = stage.hand()
    assert ids(await hand.take()) == ["first"]
    now = stage.look().lines
    assert now.lines["k.a=1>r.b"].gate == "r.b"
    assert now.gate("k.a=1").used == 0


async def test_one_line_that_is_stopped_holds_nobody_else_up(stage: Stage) -> None:
    await stage.set("g:x", c=1)
    await stage.line_up(*[Lined(f"{name}{n}", group(name)) for n in range(3) for name in "xy"])
    hand = stage.hand()
    assert sorted(ids(await hand.take())) == ["x0", "y0", "y1", "y2"]
    assert await hand.take() == []


async def test_a_freed_slot_lets_the_next_one_go_on(stage: Stage) -> None:
    await stage.set("g:x", c=1)
    await stage.line_up(*[Lined(f"x{n}", group("x")) for n in range(3)])
    hand = stage.hand()
    got: list[str] = []
    for _ in range(3):
        jobs = await hand.take()
        got += ids(jobs)
        stage.server.command("DEL", stage.keys.bell)
        await finish(hand, jobs)
        assert stage.look().bell == (len(got) < 3)
    assert got == ["x0", "x1", "x2"]


async def test_better_lanes_first_whatever_waits_there(stage: Stage) -> None:
    await stage.line_up(
        Lined("line4", group("a"), "4"), Lined("plain3", None, "3"), Lined("line0", group("b"), "0"),
        Lined("plain1", None, "1"),
    )  # fmt: skip
    hand = stage.hand()
    jobs = [(await hand.take(1))[0] for _ in range(4)]
    assert ids(jobs) == ["line0", "plain1", "plain3", "line4"]


async def test_a_better_job_moves_its_line(stage: Stage) -> None:
    await stage.set("g:x", c=1)
    await stage.line_up(Lined("low", group("x"), "4"), Lined("other", group("y"), "3"), Lined("high", group("x"), "0"))
    hand = stage.hand()
    assert ids(await hand.take(1)) == ["high"]
    assert ids(await hand.take()) == ["other"]
    now = stage.look().lines
    assert (now.lines["g:x"].lane, now.lines["g:x"].state) == (4, "p")


async def test_plain_jobs_and_lines_share_a_lane_half_and_half(stage: Stage) -> None:
    await stage.line_up(*[one for n in range(30) for one in (Lined(f"p{n}", None), Lined(f"f{n}", group("x")))])
    hand = stage.hand()
    got = [ids(await hand.take(7)) for _ in range(4)]
    assert sum(job[0] == "p" for some in got for job in some) == 14
    assert [sum(job[0] == "p" for job in some) for some in got] in ([3, 4, 3, 4], [4, 3, 4, 3])


async def test_one_place_at_a_time_is_shared_by_turns(stage: Stage) -> None:
    await stage.line_up(*[one for n in range(6) for one in (Lined(f"p{n}", None), Lined(f"f{n}", group("x")))])
    hand = stage.hand()
    kinds = "".join([ids(await hand.take(1))[0][0] for _ in range(8)])
    assert kinds in {"pfpfpfpf", "fpfpfpfp"}


async def test_what_one_half_does_not_need_goes_to_the_other(stage: Stage) -> None:
    await stage.line_up(Lined("p", None), *[Lined(f"f{n}", group("x")) for n in range(9)])
    assert len(await stage.hand().take(10)) == 10
    await stage.line_up(Lined("f", group("x")), *[Lined(f"p{n}", None) for n in range(9)])
    assert len(await stage.hand().take(10)) == 10


async def test_the_walk_is_told_lane_by_lane(stage: Stage) -> None:
    await stage.line_up(Lined("a", group("x"), "0"), Lined("b", None, "0"), Lined("c", group("y"), "4"))
    offer = await stage.hand().offered(10, b"4:1 0:9 1:5 2:0 3:0")
    assert [(took.lane, took.jobs) for took in offer.walk] == [(4, 1), (0, 2)]
    assert all(0 <= took.age < 60 for took in offer.walk)


async def test_the_bell_says_whether_there_is_more(stage: Stage) -> None:
    await stage.line_up(*[Lined(f"j{n}", group("x")) for n in range(3)])
    hand = stage.hand()
    stage.server.command("DEL", stage.keys.bell)
    assert (await hand.offered(2)).fetched.why == "full"
    assert stage.look().bell == 1
    assert (await hand.offered(2)).fetched.why == "empty"
    assert stage.look().bell == 0


async def test_a_line_of_a_better_lane_that_a_turn_lets_go_on_is_not_left_behind(stage: Stage) -> None:
    await stage.set("h.a", c=1)
    hand = stage.hand()
    await stage.line_up(Lined("first", Flow(("h.a",))))
    [first] = await hand.take()
    await stage.line_up(Lined("envoy", Flow(("g:e", "h.a")), "2"))
    await hand.take()
    await hand.settle(completed(first))
    await stage.line_up(Lined("quick", Flow(("g:q", "h.a")), "0"), Lined("better", Flow(("g:b", "h.a")), "0"))
    [quick] = await hand.take(1)
    assert quick.id == b"quick"
    assert await hand.take(order=b"0") == [], "it parks behind the envoy"
    await stage.set("h.a", c=2)
    await hand.settle(completed(quick))
    stage.server.command("DEL", stage.keys.bell)
    offer = await hand.offered()
    assert (ids(offer.fetched.jobs), offer.fetched.why, stage.look().bell) == (["envoy"], "full", 1)
    assert ids(await hand.take()) == ["better"]


async def test_a_paused_queue_gives_nothing(stage: Stage) -> None:
    await stage.line_up(Lined("a", group("x")))
    await desk.pause(stage.store, "")
    offer = await stage.hand().offered()
    assert (offer.fetched.why, offer.fetched.jobs, offer.alarm_ms) == ("paused", [], -1)
    await desk.resume(stage.store)
    assert stage.look().bell == 1


async def test_who_fetches_is_told_to_take(stage: Stage) -> None:
    await stage.line_up(Lined("a", group("x")), Lined("b", None))
    assert (await stage.hand().fetched()).why == "flow"
    assert sorted(ids(await stage.hand().take())) == ["a", "b"]


async def test_rules_travel_when_they_changed(stage: Stage) -> None:
    hand = stage.hand()
    await stage.set("x.1", x=1, rule=b"who it holds")
    first, second = await hand.offered(), await hand.offered()
    assert (first.rules, second.rules) == ({b"x.1": b"who it holds"}, None)
    await stage.clear("x.1")
    assert (await hand.offered()).rules == {}


async def test_an_expired_job_costs_nothing(stage: Stage) -> None:
    await stage.set("r.x", n=1, p=60_000)
    await stage.line_up(Lined("late", Flow(("r.x",)), expires_ms=1), Lined("good", Flow(("r.x",))))
    hand = stage.hand()
    late, good = await hand.take()
    records = held(late.token), held(good.token)
    assert [record.free for record in records if record] == [True, False]
    assert stage.look().lines.gate("r.x").used == 1
    await finish(hand, [late])
    assert stage.look().lines.gate("r.x").used == 1


async def test_a_job_whose_body_is_gone_is_told_as_dead(stage: Stage) -> None:
    await stage.set("g:x", c=1)
    await stage.line_up(Lined("a", group("x")), Lined("b", group("x")))
    stage.server.command("HDEL", stage.keys.bodies, "a")
    hand = stage.hand()
    await desk.look(stage.store, "a", channel="me")
    assert ids(await hand.take()) == ["b"]
    now = stage.look()
    assert [dead[b"r".decode()] for dead in now.dead.values()] == [b"body missing"]
    assert now.waiters == {}
    assert now.lines.gate("g:x").used == 1


@pytest.mark.parametrize("gone", ["DESTROY", "DEL"])
async def test_the_group_of_the_taken_stream_is_made_again(stage: Stage, gone: str) -> None:
    await stage.line_up(Lined("a", group("x")), Lined("b", group("x")))
    hand = stage.hand()
    [a] = await hand.take(1)
    if gone == "DESTROY":
        stage.server.command("XGROUP", "DESTROY", stage.keys.taken, "w")
        jobs = [*await hand.take(), *await hand.take()]
        assert sorted(ids(jobs)) == ["a", "b"], "what was taken is there for the next"
    else:
        await finish(hand, [a])
        stage.server.command("DEL", stage.keys.taken)
        assert ids(await hand.take()) == ["b"]
    stage.look()


async def test_a_lane_without_group_gets_one(stage: Stage) -> None:
    await stage.line_up(Lined("a", group("x")), Lined("b", None))
    stage.server.command("XGROUP", "CREATE", stage.keys.lanes[2], "w", "0")
    stage.server.command("XGROUP", "DESTROY", stage.keys.lanes[2], "w")
    assert sorted(ids(await stage.hand().take())) == ["a", "b"]


async def test_a_lane_of_another_type_is_told_and_stops_nobody_else(stage: Stage) -> None:
    await stage.line_up(Lined("a", group("x"), "3"), Lined("b", None, "1"))
    stage.spoil(stage.keys.lanes[2])
    offer = await stage.hand().offered()
    assert "WRONGTYPE" in offer.fetched.why
    assert ids(offer.fetched.jobs) == ["a", "b"]


async def test_another_protocol_is_refused(stage: Stage) -> None:
    await stage.line_up(Lined("a", group("x")))
    stage.server.command("HSET", stage.keys.meta, "v", "9")
    with pytest.raises(Refusal, match="SQVERSION 9"):
        await stage.hand().take()


@pytest.mark.parametrize("spoilt", [0, 1, 4, 7, 8, 9, 10, 15, 16, "taken", "dead", "dead_index"])
async def test_a_key_of_another_type_stops_it_before_any_write(stage: Stage, spoilt: int | str) -> None:
    await stage.line_up(Lined("a", group("x")), Lined("b", group("y")))
    key: bytes = stage.keys.flow[spoilt] if isinstance(spoilt, int) else getattr(stage.keys, spoilt)
    stage.spoil(key)
    names = [one for one in (stage.keys.index, stage.keys.taken, *stage.keys.flow) if one != key]
    before = [stage.server.command("DUMP", name) for name in names]
    with pytest.raises(Refusal, match="WRONGTYPE"):
        await stage.hand().take()
    assert before == [stage.server.command("DUMP", name) for name in names]


# -- the gate of the whole queue -------------------------------------------------------------------------------------


def running(now: Snapshot) -> int:
    return len([entry for entry in now.entries.values() if entry.owner not in {"", "~"}])


async def test_the_queue_gate_counts_plain_jobs_and_lines(stage: Stage) -> None:
    await stage.set("q", c=3)
    await stage.line_up(*[one for n in range(4) for one in (Lined(f"p{n}", None), Lined(f"f{n}", group("x")))])
    hand = stage.hand()
    offer = await hand.offered()
    assert (len(offer.fetched.jobs), offer.fetched.why) == (3, "gate")
    assert await stage.hand("w2").take() == []
    await finish(hand, offer.fetched.jobs[:2])
    assert len(await hand.take()) == 2
    assert running(stage.look()) == 3


async def test_what_was_released_holds_no_place_of_the_queue(stage: Stage) -> None:
    await stage.set("q", c=1)
    await stage.line_up(Lined("a", None), Lined("b", None))
    hand = stage.hand()
    [a] = await hand.take()
    await hand.settle(released(a))
    # A counter that is too high must not let one more in.
    stage.server.command("HINCRBY", stage.keys.meta, "released", 5)
    jobs = await hand.take()
    assert (len(jobs), running(stage.look())) == (1, 1)
    assert await hand.take() == []


async def test_the_rate_of_the_queue_holds_for_all(stage: Stage) -> None:
    await stage.set("q", n=3, p=60_000)
    await stage.line_up(*[one for n in range(3) for one in (Lined(f"p{n}", None), Lined(f"f{n}", group("x")))])
    offer = await stage.hand().offered()
    assert (len(offer.fetched.jobs), offer.fetched.why) == (3, "gate")
    assert 59_000 < offer.alarm_ms <= 60_100


async def test_a_take_that_a_limit_stopped_rings_nobody(stage: Stage) -> None:
    await stage.set("q", c=1)
    await stage.line_up(Lined("a", None), Lined("b", None))
    stage.server.command("DEL", stage.keys.bell)
    hand = stage.hand()
    await hand.take()
    assert (await hand.offered()).fetched.why == "gate"
    assert stage.look().bell == 0


# -- reserve ---------------------------------------------------------------------------------------------------------


async def test_who_is_ahead_leaves_the_last_places_to_the_others(stage: Stage) -> None:
    await stage.set("g", v=0.2)
    await stage.line_up(*[Lined(f"hog{n}", group("hog")) for n in range(30)])
    hand = stage.hand()
    offer = await hand.offered(10, free=10, places=10)
    assert (len(offer.fetched.jobs), offer.fetched.why) == (8, "gate")
    await stage.line_up(Lined("light", group("light")))
    assert ids((await hand.offered(2, free=2, places=10)).fetched.jobs) == ["light"]


# -- alarms ----------------------------------------------------------------------------------------------------------


async def test_one_worker_wakes_for_an_alarm_the_others_later(stage: Stage) -> None:
    await stage.set("r.x", n=1, p=10_000)
    await stage.line_up(Lined("a", Flow(("r.x",))), Lined("b", Flow(("r.x",))))
    one, other = stage.hand("w1"), stage.hand("w2")
    exact = (await one.offered()).alarm_ms
    back_up = (await other.offered()).alarm_ms
    assert 9_000 < exact <= 10_000
    assert exact - 50 < back_up - 100 <= exact
    assert (await one.offered()).alarm_ms <= exact


async def test_a_holder_that_missed_its_alarm_is_replaced(stage: Stage) -> None:
    await stage.set("r.x", n=1, p=150)
    await stage.line_up(*[Lined(f"j{n}", Flow(("r.x",))) for n in range(3)])
    alarm = (await stage.hand("dead").offered()).alarm_ms
    await asyncio.sleep((alarm + 60) / 1000)
    offer = await stage.hand("w2").offered()
    assert len(offer.fetched.jobs) == 1
    assert offer.alarm_ms <= 150


# -- batches ---------------------------------------------------------------------------------------------------------


async def test_a_batch_is_one_place(stage: Stage) -> None:
    flow = Flow(line="b.h=1", batch=Batch(5, 60_000))
    await stage.line_up(*[Lined(f"j{n}", flow) for n in range(5)], Lined("p", None))
    jobs = await stage.hand().take(2)
    assert len(jobs) == 6


async def test_a_large_batch_is_handed_over_in_one_piece(stage: Stage) -> None:
    flow = Flow(line="b.h=1", batch=Batch(1200, 60_000))
    for first in range(0, 1200, 400):
        await stage.line_up(*[Lined(f"j{n}", flow) for n in range(first, first + 400)])
    hand = stage.hand()
    jobs = await hand.take(1)
    assert len(jobs) == 1200
    leader = jobs[0]
    assert leader.mark == b"batch"
    assert {job.mark for job in jobs[1:]} == {leader.token[1:].split(b":")[0]}
