"""look: where a job is, and what is known of it."""

import pytest

from streamq._store import desk
from tests.store.stage import ODD_IDS, Stage, body_of, buried, completed, ended, parked, released


async def test_every_place(stage: Stage) -> None:
    await stage.enqueue("active", "parked", "released", "dead", "ended", "value", "window", "kept")
    await stage.enqueue("waiting", ("later", "1", "@9999999999999"))
    hand = stage.hand()
    jobs = {job.id.decode(): job for job in await hand.fetch(8)}
    outcomes = {
        "parked": parked,
        "released": released,
        "dead": buried,
        "ended": ended,
        "window": completed,
    }
    await hand.settle(
        *[outcome(jobs[job]) for job, outcome in outcomes.items()], completed(jobs["value"], b"the value")
    )
    before = stage.look()
    found = {job: await desk.look(stage.store, job) for job in (*jobs, "waiting", "later", "nobody")}
    assert stage.look() == before  # it only looks
    active = found["active"]
    assert (active.place, active.body, active.deliveries, active.consumer) == ("row", body_of("active"), 1, "w1")
    assert active.row == before.index["active"]
    assert found["waiting"] == ("row", before.index["waiting"], body_of("waiting"), 0, "", 0, 0, "", {})
    assert found["released"][:4] == ("row", before.index["released"], body_of("released"), 0)
    assert found["later"] == ("row", "d1", body_of("later"), 0, "", 0, 9999999999999, "", {})
    assert found["parked"] == ("row", "p2send\0" + "0", body_of("parked"), 0, "", 0, 0, "", {})
    assert (found["dead"].place, found["dead"].fields["d"]) == ("dead", b"dead:dead")
    assert found["ended"] == ("record", "", b"record:ended", 0, "", 0, 0, "", {})
    assert found["value"].body == b"the value"
    assert found["window"] == ("window", "", b"1 1 5 send", 0, "", 0, 0, "", {})
    assert found["nobody"].place == "absent"


async def test_the_place_alone_costs_no_envelope(stage: Stage) -> None:
    await stage.enqueue("a", "dead", ("later", "2", "+60000"))
    hand = stage.hand()
    await hand.fetch(1)
    await hand.settle(buried(await hand.one()))
    assert [(await desk.look(stage.store, job, full=False)).body for job in ("a", "later")] == [b"", b""]
    # Without the letter itself a dead job shows as its record; when that is gone, as dead.
    assert (await desk.look(stage.store, "dead", full=False)).place == "record"
    stage.server.command("DEL", stage.keys.record("dead"))
    assert (await desk.look(stage.store, "dead", full=False)).place == "dead"


async def test_an_unsettled_job_comes_before_what_its_id_left_behind(stage: Stage) -> None:
    hand = stage.hand()
    await stage.enqueue("a")
    await hand.settle(completed(await hand.one(), b"old"))
    stage.server.command("HDEL", stage.keys.index, "a")
    await stage.enqueue("a")  # not as a custom id: nobody looked
    assert (await desk.look(stage.store, "a")).place == "row"


async def test_a_waiter_is_registered_only_while_there_is_something_to_wait_for(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    await desk.look(stage.store, "a", channel="me")
    await desk.look(stage.store, "a", channel="you")
    await desk.look(stage.store, "a", channel="me")
    await desk.look(stage.store, "nobody", channel="me")
    assert stage.look().waiters == {"a": "me,you"}
    await hand.settle(completed(await hand.one()))
    await desk.look(stage.store, "a", channel="me")
    assert stage.look().waiters == {}


@pytest.mark.parametrize("job", ODD_IDS)
async def test_odd_ids(stage: Stage, job: str) -> None:
    await stage.enqueue(job)
    found = await desk.look(stage.store, job)
    assert (found.place, found.body) == ("row", body_of(job))
    hand = stage.hand()
    await hand.settle(buried(await hand.one()))
    assert (await desk.look(stage.store, job)).place == "dead"


async def test_without_a_group_everything_waits(stage: Stage) -> None:
    await stage.enqueue("a")
    assert (await desk.look(stage.store, "a")).deliveries == 0
