"""reconcile: entries that are pending for a worker which knows nothing of them."""

import pytest

from tests.store.stage import Refusal, Stage, body_of, completed, parked


async def test_own_pending_entries_are_listed_over_all_lanes(stage: Stage) -> None:
    await stage.enqueue(("a", "0", "0"), ("b", "2", "0"), ("c", "2", "0"), ("d", "4", "0"))
    hand, other = stage.hand("w1"), stage.hand("w2")
    mine = await hand.fetch(2)
    theirs = await other.fetch(2)
    assert await hand.own_pending() == {job.token.split(b":")[0] for job in mine}
    assert await other.own_pending() == {job.token.split(b":")[0] for job in theirs}
    assert await stage.hand("w3").own_pending() == set()


async def test_a_ghost_is_adopted_uncharged_under_a_new_token(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    lost = await hand.one()
    [place] = await hand.own_pending()
    stage.age(lost.token)
    [job] = await hand.adopt(place)
    assert (job.id, job.body, job.deliveries) == (b"a", body_of("a"), 1)
    assert job.token == lost.token[:-1] + b"1"
    assert (await stage.hand("w2").tick()).stalled == []  # the lease is young again
    before = stage.look().jobs
    assert await hand.settle(completed(lost)) == "l"
    assert stage.look().jobs == before
    assert await hand.settle(completed(job)) == "a"
    stage.look()


async def test_adopting_again_gives_it_again(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    await hand.one()
    [place] = await hand.own_pending()
    await hand.adopt(place)
    [job] = await hand.adopt(place)
    assert (job.deliveries, job.token[-2:]) == (1, b":2")
    stage.look()


async def test_what_is_not_ours_is_not_adopted(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand, other = stage.hand("w1"), stage.hand("w2")
    settled = await other.one()
    await other.settle(completed(settled))
    theirs = await other.one()
    before = stage.look()
    assert await hand.adopt(theirs.token.split(b":")[0], settled.token.split(b":")[0], b"29-9") == []
    assert stage.look() == before


async def test_a_taken_job_can_be_a_ghost(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    await hand.settle(parked(await hand.one()))
    await hand.unpark("send")
    [place] = await hand.own_pending()
    assert place.startswith(b"t")
    [job] = await hand.adopt(place)
    assert await hand.settle(completed(job)) == "a"


async def test_an_entry_whose_body_is_gone_is_let_go(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    job = await hand.one()
    stage.server.command("XDEL", stage.keys.lanes[2], job.token[1:].split(b":")[0])
    [place] = await hand.own_pending()
    assert await hand.adopt(place) == []
    assert stage.take().orphans == ()


async def test_an_entry_that_the_index_puts_elsewhere_is_removed(stage: Stage) -> None:
    # A foreign hand added the job a second time.
    await stage.enqueue("a")
    hand = stage.hand()
    stage.server.command("XADD", stage.keys.lanes[2], "*", "j", "a", "d", "copy")
    _, copy = await hand.fetch()
    assert await hand.adopt(copy.token.split(b":")[0]) == []
    assert stage.look().place("a") == "active"


async def test_an_entry_without_a_row_gets_one(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    job = await hand.one()
    stage.server.command("HDEL", stage.keys.index, "a")
    [adopted] = await hand.adopt(job.token.split(b":")[0])
    assert adopted.token.endswith(b":1")
    assert await hand.settle(completed(adopted)) == "a"
    stage.look()


async def test_five_hundred_at_once(stage: Stage) -> None:
    hand = stage.hand()
    for start in range(0, 600, 200):
        await stage.enqueue(*[f"j{n}" for n in range(start, start + 200)])
    await hand.fetch(500)
    await hand.fetch(500)
    places = sorted(await hand.own_pending())
    assert len(places) == 600
    assert len(await hand.adopt(*places[:500])) == 500
    stage.look()


async def test_a_key_of_another_type_is_an_error(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    await hand.one()
    [place] = await hand.own_pending()
    stage.spoil(stage.keys.index)
    with pytest.raises(Refusal, match="WRONGTYPE"):
        await hand.adopt(place)
