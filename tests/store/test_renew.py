"""renew: leases start anew; by their holders only."""

import pytest

from tests.store.snapshot import pending_of
from tests.store.stage import Refusal, Stage, completed, entry_of, parked, released


def idle(stage: Stage, token: bytes) -> int:
    """The age of a lease in ms."""
    rows = stage.server.command("XPENDING", stage.stream(token), "w", entry_of(token), entry_of(token), 1)
    return int(rows[0][2])


async def test_the_lease_is_young_again_and_nothing_else_changes(stage: Stage) -> None:
    await stage.enqueue("a", ("b", "0", "0"))
    hand = stage.hand()
    jobs = await hand.fetch()
    stage.age(*[job.token for job in jobs])
    before = stage.look()
    assert await hand.renew(*jobs) == "aa"
    assert max(idle(stage, job.token) for job in jobs) < 5000
    assert stage.look().jobs == before.jobs
    assert (await stage.hand("w2").tick()).stalled == []


async def test_ten_renewals_charge_no_stall(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    job = await hand.one()
    for _ in range(10):
        assert await hand.renew(job) == "a"
    assert pending_of(stage.server, stage.keys.lanes[2])[entry_of(job.token).decode()] == ("w1", 1)


async def test_a_taken_job_is_renewed_in_its_own_stream(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    await hand.settle(parked(await hand.one()))
    [job] = await hand.unpark("send")
    stage.age(job.token)
    assert await hand.renew(job) == "a"
    assert idle(stage, job.token) < 5000


async def test_a_zombie_renews_nothing(stage: Stage) -> None:
    await stage.enqueue("reclaimed", "released", "settled", "mine")
    zombie, heir = stage.hand("zombie"), stage.hand("heir")
    jobs = await zombie.fetch()
    stage.age(jobs[0].token)
    [new] = (await heir.tick()).stalled
    await zombie.settle(released(jobs[1]), completed(jobs[2]))
    stage.age(new.token, ms=9000)
    before = stage.look()
    assert await zombie.renew(*jobs) == "llga"
    assert idle(stage, new.token) >= 9000
    assert stage.look().jobs == before.jobs


async def test_it_is_a_sign_of_life(stage: Stage) -> None:
    assert await stage.hand("w1").renew() == ""
    assert stage.look().beats == ("w1",)


async def test_two_hundred_at_once(stage: Stage) -> None:
    await stage.enqueue(*[f"j{n}" for n in range(200)])
    hand = stage.hand()
    jobs = await hand.fetch()
    assert await hand.renew(*jobs) == "a" * 200
    stage.look()


@pytest.mark.parametrize("spoilt", ["index", "beats"])
async def test_a_key_of_another_type_is_an_error(stage: Stage, spoilt: str) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    job = await hand.one()
    stage.age(job.token)
    stage.spoil(getattr(stage.keys, spoilt))
    with pytest.raises(Refusal, match="WRONGTYPE"):
        await hand.renew(job)
    assert idle(stage, job.token) >= 60_000
