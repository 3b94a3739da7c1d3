"""settle/release: a stopping worker hands a job back; nobody is charged an attempt or a stall."""

from streamq._store import desk
from tests.store.snapshot import counter
from tests.store.stage import Stage, completed, released


async def test_the_entry_keeps_its_place_and_waits_for_the_next(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    a, _ = await hand.fetch()
    stage.server.command("DEL", stage.keys.bell)
    assert await hand.settle(released(a)) == "a"
    now = stage.look()
    assert now.place("a") == "waiting"
    assert now.entries["a"].owner == "~"
    assert now.entries["a"].deliveries == 1
    assert now.index["a"] == a.token.decode()[:-1] + "1"
    assert now.bell == 1
    assert (counter(now, "released"), counter(now, "stalled"), counter(now, "failed")) == (1, 0, 0)


async def test_a_paused_queue_rings_nobody(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    job = await hand.one()
    await desk.pause(stage.store, "")
    await hand.settle(released(job))
    assert stage.look().bell == 0


async def test_it_can_be_handed_back_as_often_as_workers_stop(stage: Stage) -> None:
    await stage.enqueue("a")
    for number in range(10):
        hand = stage.hand(f"w{number}")
        job = await hand.one()
        assert job.deliveries == 1
        assert job.token.endswith(b":%d" % (2 * number))
        await hand.settle(released(job))
    assert stage.look().place("a") == "waiting"


async def test_a_stall_before_is_not_forgotten(stage: Stage) -> None:
    await stage.enqueue("a")
    job = await stage.hand("dead").one()
    stage.age(job.token)
    hand = stage.hand("w1")
    [job] = (await hand.tick()).stalled
    assert job.deliveries == 2
    await hand.settle(released(job))
    assert (await stage.hand("w2").one()).deliveries == 2


async def test_a_released_job_can_be_settled_by_its_heir_only(stage: Stage) -> None:
    await stage.enqueue("a")
    hand, heir = stage.hand("w1"), stage.hand("w2")
    old = await hand.one()
    await hand.settle(released(old))
    new = await heir.one()
    assert await hand.settle(completed(old)) == "l"
    assert await heir.settle(completed(new)) == "a"
    stage.look()
