"""replay: dead letters back as jobs."""

import asyncio

import pytest

from streamq._store import desk
from streamq._store.dial import open_link
from streamq.errors import ServerUnfit, VersionMismatch
from tests.store.snapshot import counter
from tests.store.stage import ODD_IDS, Stage, buried


async def bury(stage: Stage, *jobs: str) -> None:
    """Enqueue jobs and bury them."""
    hand = stage.hand("digger")
    await stage.enqueue(*jobs)
    await hand.settle(*[buried(job) for job in await hand.fetch()])
    stage.server.command("DEL", stage.keys.bell)


async def replay(stage: Stage, *jobs: str, lane: int = 2, when: str = "0") -> str:
    return await desk.replay(stage.store, [(job, lane, when, b"new:" + job.encode()) for job in jobs])


@pytest.mark.parametrize("lane", range(5))
async def test_back_into_a_lane(stage: Stage, lane: int) -> None:
    await bury(stage, "a", "b")
    assert await replay(stage, "a", lane=lane) == "a"
    now = stage.look()
    assert (now.place("a"), now.place("b")) == ("waiting", "dead")
    assert now.lanes[str(lane)][0].body == b"new:a"
    assert set(now.records) == {"b"}  # the record of the death is gone with it
    assert counter(now, "replayed") == 1
    assert counter(now, "dead") == 2  # a total
    assert now.bell == 1
    assert (await stage.hand().one()).deliveries == 1


async def test_back_among_the_delayed(stage: Stage) -> None:
    await bury(stage, "a", "b")
    ear = open_link(stage.server.url, "ear")
    await ear.connect()
    await ear.send(b"SSUBSCRIBE", stage.keys.control)
    await ear.receive()
    assert await replay(stage, "a", "b", when="@9999999999999") == "aa"
    async with asyncio.timeout(5):
        assert (await ear.receive())[2] == b"due 9999999999999"
    await ear.close()
    now = stage.look()
    assert now.delayed == {"a": 9999999999999, "b": 9999999999999}
    assert now.bodies == {"a": b"new:a", "b": b"new:b"}
    assert now.bell == 0


async def test_again_puts_nothing_back_twice(stage: Stage) -> None:
    await bury(stage, "a")
    assert await replay(stage, "a", "nobody", "a") == "agg"
    before = stage.look()
    assert await replay(stage, "a", "nobody", "a") == "ggg"
    assert stage.look() == before


async def test_an_id_that_lives_again_is_refused(stage: Stage) -> None:
    await bury(stage, "a")
    await stage.enqueue("a")  # a generated id is never looked for among the dead
    before = stage.take()
    assert await replay(stage, "a") == "l"
    assert stage.take() == before


async def test_a_paused_queue_rings_nobody(stage: Stage) -> None:
    await bury(stage, "a")
    await desk.pause(stage.store, "")
    assert await replay(stage, "a") == "a"
    now = stage.look()
    assert (now.place("a"), now.bell) == ("waiting", 0)


async def test_another_protocol_is_refused(stage: Stage) -> None:
    await bury(stage, "a")
    stage.server.command("HSET", stage.keys.meta, "v", "2")
    before = stage.look()
    with pytest.raises(VersionMismatch):
        await replay(stage, "a")
    assert stage.look() == before


@pytest.mark.parametrize("spoilt", ["lane", "dead", "dead_index", "deaths", "index", "bell", "delayed", "bodies"])
async def test_a_key_of_another_type_stops_it_before_any_write(stage: Stage, spoilt: str) -> None:
    keys = stage.keys
    await bury(stage, "a", "b", "c")
    key: bytes = keys.lanes[4] if spoilt == "lane" else getattr(keys, spoilt)
    stage.spoil(key)
    names = (b"m", b"i", b"l2", b"d", b"b", b"x", b"xi", b"xd", b"r:a")
    dump = {name: stage.server.command("DUMP", keys.base + name) for name in names}
    jobs = [("a", 2, "0", b"1"), ("b", 2, "+500", b"2"), ("c", 4, "0", b"3")]
    with pytest.raises(ServerUnfit, match="another type"):
        await desk.replay(stage.store, jobs)
    assert dump == {name: stage.server.command("DUMP", keys.base + name) for name in names}


async def test_odd_ids(stage: Stage) -> None:
    await bury(stage, *ODD_IDS)
    assert await replay(stage, *ODD_IDS) == "a" * len(ODD_IDS)
    assert {job.id.decode() for job in await stage.hand().fetch()} == set(ODD_IDS)
    stage.look()
