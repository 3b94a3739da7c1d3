"""settle/park: nobody here can run it."""

import pytest

from tests.store.stage import ODD_IDS, Stage, body_of, parked


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
