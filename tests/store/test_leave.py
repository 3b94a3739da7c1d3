"""leave: a stopped worker takes its traces away."""

from tests.store.stage import Stage, completed, parked, released


async def test_with_nothing_held_all_traces_go(stage: Stage) -> None:
    await stage.enqueue("a", ("b", "0", "0"), "c")
    hand, other = stage.hand("w1"), stage.hand("w2")
    a, b = await hand.fetch(2)
    await hand.settle(completed(a), released(b))
    await hand.tick()
    await other.tick()
    assert await hand.leave() == 0
    now = stage.look()
    assert set(now.workers) == {"w2"}
    assert now.beats == ("w2",)
    assert "w1" not in now.memos
    groups = stage.server.command("XINFO", "CONSUMERS", stage.keys.lanes[2], "w")
    assert all(b"w1" not in info for info in groups)
    assert [job.id for job in await other.fetch(1)] == [b.id]


async def test_what_it_still_holds_stays_its_own(stage: Stage) -> None:
    await stage.enqueue("a", "p")
    hand = stage.hand("w1")
    a, p = await hand.fetch()
    await hand.settle(parked(p))
    [p] = await hand.unpark("send")
    await hand.tick()
    assert await hand.leave() == 2
    now = stage.look()
    assert (now.entries["a"].owner, now.entries["p"].owner) == ("w1", "w1")
    assert (now.workers, now.beats) == ({}, ("w1",))
    stage.age(a.token, p.token)
    jobs = (await stage.hand("w2").tick()).stalled
    assert {job.id for job in jobs} == {b"a", b"p"}
    assert await hand.leave() == 0
    assert "w1" not in stage.look().beats


async def test_again_there_is_nothing_left_to_do(stage: Stage) -> None:
    hand = stage.hand()
    await hand.tick()
    assert await hand.leave() == 0
    before = stage.look()
    assert await hand.leave() == 0
    assert stage.look() == before
