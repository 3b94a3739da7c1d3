"""fetch: the best waiting jobs to a worker; the one place where the gates are."""

import pytest

from streamq._store import replies
from tests.store.stage import Refusal, Stage, body_of, completed, released


async def test_lanes_are_emptied_in_order_and_each_in_its_own(stage: Stage) -> None:
    await stage.enqueue(*[(f"{lane}-{number}", str(lane), "0") for number in range(2) for lane in (3, 0, 4, 2, 1)])
    hand = stage.hand()
    jobs = await hand.fetch(7)
    assert [job.id for job in jobs] == [b"0-0", b"0-1", b"1-0", b"1-1", b"2-0", b"2-1", b"3-0"]
    now = stage.look()
    assert [now.place(job) for job in ("0-0", "3-0", "3-1", "4-0")] == ["active", "active", "waiting", "waiting"]
    for job in jobs:
        assert job.body == body_of(job.id.decode())
        assert job.deliveries == 1
        assert job.token == now.token(job.id.decode())


async def test_the_order_of_the_lanes_is_the_callers(stage: Stage) -> None:
    await stage.enqueue(("a", "0", "0"), ("b", "3", "0"), ("c", "4", "0"))
    jobs = await stage.hand().fetch(2, b"43210")
    assert [job.id for job in jobs] == [b"c", b"b"]


async def test_bounds_hold_while_there_are_other_jobs(stage: Stage) -> None:
    await stage.enqueue(*[(f"{lane}-{number}", str(lane), "0") for number in range(6) for lane in range(5)])
    found = await stage.hand().fetched(9, b"4:1 0:4 1:2 2:1 3:1")
    assert [job.id for job in found.jobs] == [
        b"4-0", b"0-0", b"0-1", b"0-2", b"0-3", b"1-0", b"1-1", b"2-0", b"3-0",
    ]  # fmt: skip
    assert (found.why, stage.look().bell) == ("full", 1)


async def test_what_the_bounds_leave_is_taken_in_the_same_order(stage: Stage) -> None:
    await stage.enqueue(*[(f"{lane}-{number}", str(lane), "0") for number in range(3) for lane in (0, 4)])
    hand = stage.hand()
    jobs = await hand.fetch(4, b"4:1 1:9 0:0 2:0 3:0")
    assert [job.id for job in jobs] == [b"4-0", b"4-1", b"4-2", b"0-0"]
    found = await hand.fetched(9, b"0:1 4:1 1:1 2:1 3:1")
    assert [job.id for job in found.jobs] == [b"0-1", b"0-2"]
    assert (found.why, stage.look().bell) == ("empty", 0)


async def test_the_walk_is_told_lane_by_lane(stage: Stage) -> None:
    await stage.enqueue("released")
    leaver = stage.hand("w1")
    await leaver.settle(released(await leaver.one()))
    await stage.enqueue(("a", "0", "0"), ("b", "3", "0"), ("c", "3", "0"))
    reply = await stage.call(stage.hand("w2").verbs.fetch(10, b"3:1 0:1 1:0 2:0 4:0"))
    adopted, walk = replies.read_walk(reply)
    assert adopted == 1
    assert [(one.lane, one.jobs) for one in walk] == [(3, 1), (0, 1), (3, 1)]
    assert all(0 <= one.age < 10 for one in walk)


async def test_a_lane_that_cannot_be_read_is_told_with_bounds_too(stage: Stage) -> None:
    await stage.enqueue(("a", "0", "0"), ("b", "4", "0"))
    stage.spoil(stage.keys.lanes[2])
    found = await stage.hand().fetched(9, b"2:5 4:1 0:1 1:1 3:1")
    assert [job.id for job in found.jobs] == [b"b", b"a"]
    assert "WRONGTYPE" in found.why


async def test_two_workers_never_get_the_same_job(stage: Stage) -> None:
    await stage.enqueue(*[f"j{n}" for n in range(10)])
    one = await stage.hand("w1").fetch(4)
    two = await stage.hand("w2").fetch(10)
    assert [job.id.decode() for job in one + two] == [f"j{n}" for n in range(10)]
    owners = {entry.job: entry.owner for entry in stage.look().lanes["2"]}
    assert [owners[f"j{n}"] for n in range(10)] == ["w1"] * 4 + ["w2"] * 6


async def test_a_partial_fetch_clears_the_bell_and_a_full_one_rings_on(stage: Stage) -> None:
    await stage.enqueue("a", "b", "c")
    hand = stage.hand()
    found = await hand.fetched(3)
    assert (found.why, stage.look().bell) == ("full", 1)
    found = await hand.fetched(3)
    assert (found.why, found.jobs, stage.look().bell) == ("empty", [], 0)
    await stage.enqueue("d")
    assert stage.look().bell == 1


async def test_again_takes_further_jobs_and_the_first_stay_pending(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    lost = await hand.fetch(1)
    assert [job.id for job in await hand.fetch(1)] == [b"b"]
    assert await hand.own_pending() == {job.token.split(b":")[0] for job in lost} | {
        stage.look().token("b").split(b":")[0]
    }


async def test_a_paused_queue_gives_nothing(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand("w2")
    await hand.settle(released(await hand.one()))
    await stage.enqueue("b")
    stage.server.command("HSET", stage.keys.meta, "paused", "1 because")
    before = stage.look()
    found = await stage.hand().fetched()
    assert (found.why, found.jobs) == ("paused", [])
    assert stage.look() == before


async def test_another_protocol_is_refused(stage: Stage) -> None:
    await stage.enqueue("a")
    stage.server.command("HSET", stage.keys.meta, "v", "2")
    before = stage.look()
    with pytest.raises(Refusal, match="SQVERSION 2"):
        await stage.hand().fetch()
    assert stage.look() == before


async def test_a_lane_that_cannot_be_read_does_not_hide_the_others(stage: Stage) -> None:
    await stage.enqueue(("a", "0", "0"), ("b", "4", "0"))
    stage.spoil(stage.keys.lanes[2])
    found = await stage.hand().fetched()
    assert [job.id for job in found.jobs] == [b"a", b"b"]
    assert "WRONGTYPE" in found.why


async def test_a_lane_without_its_group_gets_it_from_the_start(stage: Stage) -> None:
    await stage.enqueue("a")
    first = await stage.hand().one()
    await stage.enqueue("b")
    stage.server.command("XGROUP", "DESTROY", stage.keys.lanes[2], "w")
    jobs = await stage.hand("w2").fetch()
    assert [job.id for job in jobs] == [b"a", b"b"]
    # The server forgot a delivery: the same token twice. The first settle wins, the second reads gone.
    assert jobs[0].token == first.token
    assert await stage.hand().settle(completed(first)) == "a"
    assert await stage.hand("w2").settle(completed(jobs[0]), completed(jobs[1])) == "ga"
    stage.look()


async def test_released_jobs_are_adopted_first_and_uncharged(stage: Stage) -> None:
    await stage.enqueue("a", "b", "c")
    leaver = stage.hand("w1")
    first, second = await leaver.fetch(2)
    await leaver.settle(released(first), released(second))
    await stage.enqueue(("urgent", "0", "0"))
    jobs = await stage.hand("w2").fetch(3)
    assert {job.id for job in jobs} == {b"a", b"b", b"urgent"}
    adopted = {job.id: job for job in jobs}
    assert adopted[b"a"].deliveries == 1
    assert adopted[b"a"].token == first.token[:-1] + b"2"  # one take by the release, one by the adoption
    now = stage.look()
    assert "released" not in now.meta or now.meta["released"] == "2"
    assert now.entries["a"].owner == "w2"
    assert now.entries["a"].deliveries == 1


async def test_part_of_the_released_is_adopted_and_the_rest_remembered(stage: Stage) -> None:
    await stage.enqueue(*"abcde")
    leaver = stage.hand("w1")
    await leaver.settle(*[released(job) for job in await leaver.fetch()])
    assert len(await stage.hand("w2").fetch(2)) == 2
    now = stage.look()
    assert now.meta["released"] == "3"
    assert now.bell == 1
    assert len(await stage.hand("w3").fetch(10)) == 3
    assert "released" not in stage.look().meta


async def test_more_released_jobs_than_one_fetch_looks_at_are_all_adopted(stage: Stage) -> None:
    leaver, heir = stage.hand("w1"), stage.hand("w2")
    for start in range(0, 600, 200):
        await stage.enqueue(*[f"j{n}" for n in range(start, start + 200)])
    for _ in range(2):
        await leaver.settle(*[released(job) for job in await leaver.fetch(300)])
        # Those released before are adopted by the next fetch of anybody; here the worker keeps its hands off.
        if stage.look().meta.get("released") == "300":
            stage.server.command("HDEL", stage.keys.meta, "released")
    stage.server.command("HSET", stage.keys.meta, "released", 600)
    assert len(await heir.fetch(500)) == 500
    assert len(await heir.fetch(500)) == 100
    stage.look()


async def test_an_entry_that_is_no_job_is_handed_out_as_such(stage: Stage) -> None:
    await stage.enqueue("a")
    stage.server.command("XADD", stage.keys.lanes[2], "*", "foo", "bar")
    job, foreign = await stage.hand().fetch()
    assert job.id == b"a"
    assert foreign.body is None
    assert foreign.id.startswith(b"raw-2")


async def test_entries_of_every_shape_come_in_their_order(stage: Stage) -> None:
    await stage.enqueue("a")
    shapes = (
        ("j", "", "d", "no id"), ("d", "late", "j", "swapped"), ("j", "more", "d", "body", "x", "y"),
        ("j", b"\xff", "d", "no text"), ("j", "no body"), ("x" * 1001, "y"), ("j", "y" * 1001, "d", "long"),
    )  # fmt: skip
    for fields in shapes:
        stage.server.command("XADD", stage.keys.lanes[2], "*", *fields)
    await stage.enqueue("b")
    jobs = await stage.hand().fetch()
    entries = [job.token.removesuffix(b":0") for job in jobs]
    raw = [b"raw-" + entry for entry in entries]
    assert [job.id for job in jobs] == [b"a", raw[1], b"swapped", b"more", raw[4], raw[5], raw[6], raw[7], b"b"]
    assert [job.body for job in jobs] == [body_of("a"), None, b"late", b"body", None, None, None, None, body_of("b")]
    listed = [entry for entry, _ in stage.server.command("XRANGE", stage.keys.lanes[2], "-", "+")]
    assert entries == [b"2" + entry for entry in listed]
    assert {job.deliveries for job in jobs} == {1}


async def test_an_empty_queue_gives_nothing_and_leaves_nothing(stage: Stage) -> None:
    found = await stage.hand().fetched()
    assert (found.why, found.jobs) == ("empty", [])
    assert stage.look().lanes == dict.fromkeys("01234t", ())
