"""purge: dead letters are forgotten, with their index."""

import pytest

from streamq._store import deaths, desk
from streamq.errors import ServerUnfit
from tests.store.stage import ODD_IDS, Stage, buried


async def bury(stage: Stage, *jobs: str) -> list[int]:
    """Bury jobs one by one; returns when each died, in ms."""
    hand = stage.hand("digger")
    for job in jobs:
        await stage.enqueue(job)
        await hand.settle(buried(await hand.one()))
    by_job = {job: int(entry.split("-")[0]) for job, entry in stage.look().dead_index.items()}
    return [by_job[job] for job in jobs]


async def test_by_id(stage: Stage) -> None:
    await bury(stage, "a", "b", "c")
    assert await desk.purge(stage.store, ids=["a", "c", "nobody"]) == 2
    now = stage.look()
    assert list(now.dead_index) == ["b"]
    assert set(now.records) == {"a", "b", "c"}  # how it ended is known as long as results are
    assert await desk.purge(stage.store, ids=["a", "c", "nobody"]) == 0
    assert stage.look() == now


async def test_by_number_the_oldest_go(stage: Stage) -> None:
    await bury(stage, *"abcde")
    assert await desk.purge(stage.store, keep=2) == 3
    assert set(stage.look().dead_index) == {"d", "e"}
    assert await desk.purge(stage.store, keep=2) == 0
    assert await desk.purge(stage.store, keep=0) == 2
    assert not stage.look().dead


async def test_by_age(stage: Stage) -> None:
    hand = stage.hand()
    await stage.enqueue("old", "young")
    await hand.settle(*[buried(job) for job in await hand.fetch()])
    # Put the first one's death an hour back.
    now_ms = int(stage.look().dead_index["young"].split("-")[0])
    entries = stage.server.command("XRANGE", stage.keys.dead, "-", "+")
    stage.server.command("DEL", stage.keys.dead)
    for (_, fields), at in zip(entries, (now_ms - 3_600_000, now_ms), strict=True):
        entry = stage.server.command("XADD", stage.keys.dead, f"{at}-1", *fields)
        stage.server.command("HSET", stage.keys.dead_index, fields[1], entry)
    await deaths.recount(stage.store)
    assert await desk.purge(stage.store, before_ms=now_ms - 3_600_000) == 0
    assert await desk.purge(stage.store, before_ms=now_ms - 60_000) == 1
    assert set(stage.look().dead_index) == {"young"}
    assert await desk.purge(stage.store, before_ms=now_ms + 1) == 1


async def test_in_bounded_steps(stage: Stage) -> None:
    await stage.enqueue(*[f"j{n}" for n in range(150)])
    hand = stage.hand()
    await hand.settle(*[buried(job) for job in await hand.fetch()])
    assert await desk.purge(stage.store, keep=0, limit=100) == 100
    assert len(stage.look().dead) == 50
    assert await desk.purge(stage.store, keep=0, limit=100) == 50


async def test_without_a_bound_nothing_goes(stage: Stage) -> None:
    await bury(stage, "a")
    before = stage.look()
    assert await desk.purge(stage.store) == 0
    assert stage.look() == before


async def test_odd_ids(stage: Stage) -> None:
    await bury(stage, *ODD_IDS)
    assert await desk.purge(stage.store, ids=ODD_IDS) == len(ODD_IDS)
    assert not stage.look().dead_index


@pytest.mark.parametrize("ids", [["a"], []])
@pytest.mark.parametrize("spoilt", ["dead", "dead_index", "deaths"])
async def test_a_key_of_another_type_stops_it_before_any_write(stage: Stage, spoilt: str, ids: list[str]) -> None:
    await bury(stage, "a")
    stage.spoil(getattr(stage.keys, spoilt))
    names = (b"x", b"xi", b"xd")
    dump = {name: stage.server.command("DUMP", stage.keys.base + name) for name in names}
    with pytest.raises(ServerUnfit, match="another type"):
        await desk.purge(stage.store, keep=0, ids=ids)
    assert dump == {name: stage.server.command("DUMP", stage.keys.base + name) for name in names}
