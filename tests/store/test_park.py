"""settle/park: nobody here can run it."""

import pytest

from tests.store.stage import ODD_IDS, Stage, body_of, completed, parked


@pytest.mark.parametrize("lane", range(5))
async def test_it_waits_under_its_name(stage: Stage, lane: int) -> None:
    await stage.enqueue(("a", str(lane), "0"))
    hand = stage.hand()
    assert await hand.settle(parked(await hand.one(), "mail:send", lane)) == "a"
    now = stage.look()
    assert now.parked == ("mail:send\0a",)
    assert now.bodies == {"a": body_of("a")}
    assert now.index == {"a": f"p{lane}mail:send\0" + "0"}
    assert not now.entries


async def test_odd_ids_can_be_parked_and_taken(stage: Stage) -> None:
    await stage.enqueue(*ODD_IDS)
    hand = stage.hand()
    await hand.settle(*[parked(job) for job in await hand.fetch()])
    assert len(stage.look().parked) == len(ODD_IDS)
    jobs = await hand.unpark("send")
    assert {job.id.decode() for job in jobs} == set(ODD_IDS)
    stage.look()


async def test_it_can_be_parked_though_its_group_is_gone(stage: Stage) -> None:
    """Its stalls are not known then; but it and its neighbours of the batch are settled."""
    await stage.enqueue("a", "b")
    hand = stage.hand()
    a, b = await hand.fetch()
    stage.server.command("XGROUP", "DESTROY", stage.stream(a.token), "w")
    assert await hand.settle(parked(a), completed(b)) == "aa"
    now = stage.take()
    assert (now.parked, dict(now.index)) == (("send\0a",), {"a": "p2send\0" + "0"})
