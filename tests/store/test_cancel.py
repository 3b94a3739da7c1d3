"""cancel: jobs that wait are out at once; the worker of a running one is asked."""

import asyncio

import pytest

from streamq._store import desk
from streamq._store.dial import open_link
from streamq.errors import ServerUnfit, VersionMismatch
from tests.store.snapshot import counter
from tests.store.stage import ODD_IDS, Stage, completed, parked, released, retried


async def cancel(stage: Stage, *jobs: str, ask: bool = True) -> str:
    return await desk.cancel(stage.store, jobs, b"the record", result_ms=60_000, ask=ask)


async def test_whatever_has_not_started_is_out_at_once(stage: Stage) -> None:
    await stage.enqueue("parked", "released")
    hand = stage.hand()
    first, second = await hand.fetch()
    await hand.settle(parked(first), released(second))
    await stage.enqueue("waiting", ("urgent", "0", "0"), ("later", "3", "+60000"))
    ids = ["parked", "released", "waiting", "urgent", "later"]
    assert await cancel(stage, *ids) == "ccccc"
    now = stage.look()
    assert now.records == dict.fromkeys(ids, b"the record")
    assert counter(now, "cancelled") == 5
    assert (now.index, now.entries, now.delayed, now.bodies, now.parked) == ({}, {}, {}, {}, ())
    assert await hand.fetch() == []


async def test_again_the_answer_is_the_same_and_nothing_changes(stage: Stage) -> None:
    await stage.enqueue("a", ("b", "2", "+60000"))
    assert await cancel(stage, "a", "b", "nobody") == "ccg"
    before = stage.look()
    assert await cancel(stage, "a", "b", "nobody") == "ccg"
    assert stage.look() == before
    # Somebody else's cancel of the same job is not ours.
    assert await desk.cancel(stage.store, ["a"], b"another record", result_ms=1000, ask=True) == "g"
    assert stage.look() == before


async def test_a_running_job_is_asked_to_stop(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    jobs = await hand.fetch()
    ear = open_link(stage.server.url, "ear")
    await ear.connect()
    await ear.send(b"SSUBSCRIBE", stage.keys.control)
    await ear.receive()
    assert await cancel(stage, "a") == "a"
    assert await cancel(stage, "a") == "a"
    async with asyncio.timeout(5):
        assert [(await ear.receive())[2] for _ in range(2)] == [b"cancel a", b"cancel a"]
    await ear.close()
    now = stage.look()
    assert now.cancels == ("a",)
    assert now.place("a") == "active"
    assert now.records == {}
    assert await hand.settle(*[completed(job) for job in jobs]) == "aa"
    assert stage.look().cancels == ()


async def test_a_running_job_is_left_alone_when_nobody_may_ask(stage: Stage) -> None:
    await stage.enqueue("a")
    await stage.hand().fetch()
    before = stage.look()
    assert await cancel(stage, "a", ask=False) == "s"
    assert stage.look() == before


async def test_a_mark_goes_with_the_job_wherever_it_went_meanwhile(stage: Stage) -> None:
    await stage.enqueue("retried", "released", "parked")
    hand = stage.hand()
    one, two, three = await hand.fetch()
    assert await cancel(stage, "retried", "released", "parked") == "aaa"
    await hand.settle(retried(one), released(two), parked(three))
    assert stage.look().cancels == ("parked", "released", "retried")
    assert await cancel(stage, "retried", "released", "parked") == "ccc"
    now = stage.look()
    assert now.cancels == ()
    assert "cancels" not in now.meta
    assert (await hand.tick()).marks == []


async def test_who_waits_is_told(stage: Stage) -> None:
    await stage.enqueue("a")
    ear = open_link(stage.server.url, "ear")
    await ear.connect()
    await ear.send(b"SSUBSCRIBE", stage.keys.done + b"me")
    await ear.receive()
    await desk.look(stage.store, "a", channel="me")
    await cancel(stage, "a")
    async with asyncio.timeout(5):
        assert (await ear.receive())[2] == b"ra"
    await ear.close()
    assert stage.look().waiters == {}


async def test_counts_stay_right_when_a_released_job_is_cancelled(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    a, _ = await hand.fetch()
    await hand.settle(released(a))
    assert await cancel(stage, "a") == "c"
    counted = await desk.counts(stage.store)
    assert (counted.entries, counted.pending, counted.meta.get("released", "0")) == (1, 1, "0")


async def test_a_retried_custom_id_is_free_of_an_old_mark(stage: Stage) -> None:
    await stage.enqueue(("a", "2c", "0"))
    hand = stage.hand()
    job = await hand.one()
    await cancel(stage, "a")
    await hand.settle(retried(job))
    assert await cancel(stage, "a") == "c"
    stage.server.command("DEL", stage.keys.record("a"))
    await stage.enqueue(("a", "2c", "0"))
    await hand.one()
    assert (await hand.tick()).marks == []


async def test_another_protocol_is_refused(stage: Stage) -> None:
    await stage.enqueue("a")
    stage.server.command("HSET", stage.keys.meta, "v", "2")
    before = stage.look()
    with pytest.raises(VersionMismatch):
        await cancel(stage, "a")
    assert stage.look() == before


@pytest.mark.parametrize("spoilt", ["delayed", "bodies", "parked", "cancels", "waiters", "lane", "index"])
async def test_a_key_of_another_type_stops_it_before_any_write(stage: Stage, spoilt: str) -> None:
    keys = stage.keys
    await stage.enqueue("parked", "active")
    hand = stage.hand()
    first, _ = await hand.fetch()
    await hand.settle(parked(first))
    await stage.enqueue("waiting", ("later", "3", "+60000"), ("low", "4", "0"))
    key: bytes = keys.lanes[4] if spoilt == "lane" else getattr(keys, spoilt)
    stage.spoil(key)
    names = (b"m", b"i", b"l2", b"d", b"b", b"p", b"r:waiting")
    dump = {name: stage.server.command("DUMP", keys.base + name) for name in names}
    with pytest.raises(ServerUnfit, match="another type"):
        await cancel(stage, "waiting", "later", "parked", "active", "low")
    assert dump == {name: stage.server.command("DUMP", keys.base + name) for name in names}


async def test_odd_ids(stage: Stage) -> None:
    await stage.enqueue(*ODD_IDS)
    assert await cancel(stage, *ODD_IDS) == "c" * len(ODD_IDS)
    assert set(stage.look().records) == set(ODD_IDS)


async def test_a_paused_queue_can_be_cleared(stage: Stage) -> None:
    await stage.enqueue("a")
    await desk.pause(stage.store, "")
    assert await cancel(stage, "a") == "c"


async def test_five_hundred_at_once(stage: Stage) -> None:
    ids = [f"j{n}" for n in range(500)]
    for start in range(0, 500, 100):
        await stage.enqueue(*ids[start : start + 100])
    assert await cancel(stage, *ids) == "c" * 500
    assert not stage.look().index
