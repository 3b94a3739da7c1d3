"""enqueue: a batch of jobs into their places, once per producer and sequence number."""

import asyncio

import pytest

from streamq._store.dial import open_link
from tests.store.snapshot import counter
from tests.store.stage import ODD_IDS, Refusal, Stage, body_of, buried, completed, parked, refusals


@pytest.mark.parametrize("lane", "01234")
async def test_a_job_goes_into_its_lane_and_rings_the_bell(stage: Stage, lane: str) -> None:
    assert await stage.enqueue(("a", lane, "0")) == {}
    now = stage.look()
    [entry] = now.lanes[lane]
    assert (entry.job, entry.body, entry.owner) == ("a", body_of("a"), "")
    assert now.index == {"a": f"{lane}{entry.id}:0"}
    assert now.bell == 1
    assert now.meta == {"v": "1"}


async def test_a_batch_keeps_its_order(stage: Stage) -> None:
    ids = [f"j{n}" for n in range(200)]
    await stage.enqueue(*ids)
    assert [entry.job for entry in stage.look().lanes["2"]] == ids


async def test_a_delayed_job_waits_outside_the_lanes_and_rings_nothing(stage: Stage) -> None:
    reply: bytes = await stage.call(stage.enqueue_command([("later", "3", "+1500"), ("at", "0", "@9999999999999")]))
    at = int(reply.split(b"|")[0])
    now = stage.look()
    assert now.delayed == {"later": at + 1501, "at": 9999999999999}  # rounded up
    assert now.bodies == {"later": body_of("later"), "at": body_of("at")}
    assert now.index == {"later": "d3", "at": "d0"}
    assert now.bell == 0
    assert not now.entries


async def test_the_bell_holds_one_token_however_many_jobs(stage: Stage) -> None:
    for number in range(3):
        await stage.enqueue(f"a{number}", f"b{number}")
    assert stage.look().bell == 1


async def test_the_same_batch_again_gets_the_stored_reply_and_does_nothing(stage: Stage) -> None:
    await stage.enqueue(("c", "2c", "0"))
    command = stage.enqueue_command([("a", "2", "0"), ("c", "2c", "0"), ("b", "1", "+5000")], seq=2)
    first = await stage.call(command)
    before = stage.look()
    hand = stage.hand()
    assert await stage.call(command) == first
    assert stage.look() == before
    await hand.settle(*[completed(job) for job in await hand.fetch()])
    assert await stage.call(command) == first  # whatever became of the jobs meanwhile
    assert set(stage.look().index) == {"b"}


async def test_a_late_original_after_its_successor_is_refused(stage: Stage) -> None:
    await stage.enqueue("a", seq=4)
    before = stage.look()
    with pytest.raises(Refusal, match="SQSTALE 4"):
        await stage.enqueue("b", seq=3)
    assert stage.look() == before
    assert await stage.enqueue("b", seq=3, producer="another") == {}


async def test_the_memo_is_last_and_lives_ten_minutes(stage: Stage) -> None:
    await stage.enqueue("a")
    memo = stage.look().memos["p"]
    assert memo.startswith(b"1|")
    assert memo.endswith(b"|")
    assert len(memo) < 30
    assert 590_000 < stage.server.command("PTTL", stage.keys.producer_memo(b"p")) <= 600_000


async def test_a_custom_id_exists_while_its_job_is_anywhere(stage: Stage) -> None:
    hand = stage.hand()
    await stage.enqueue(*[(job, "1c", "0") for job in ("dead", "parked", "kept", "taken")])
    dead, put_aside, kept, taken = await hand.fetch()
    answers = await hand.settle(buried(dead), parked(put_aside), completed(kept, b"value"))
    assert answers == "aaa"
    await stage.enqueue(("waiting", "2c", "0"), ("later", "2c", "+60000"))
    before = stage.look()
    ids = ["waiting", "later", "parked", "taken", "dead", "kept"]
    found = await stage.enqueue(*[(job, "2c", "0") for job in ids])
    assert found == {
        0: "exists:row2",
        1: "exists:rowd",
        2: "exists:rowp",
        3: "exists:row1",
        4: "exists:dead",
        5: "exists:record",
    }
    assert stage.look().jobs == before.jobs
    assert taken.token == before.token("taken")


async def test_a_custom_id_twice_in_a_batch_is_one_job(stage: Stage) -> None:
    found = await stage.enqueue(
        ("a", "2c", "0"), ("a", "0c", "0"), ("b", "2c", "+500"), ("b", "2c", "0"), ("c", "4", "0")
    )
    assert found == {1: "exists:row2", 3: "exists:rowd"}
    assert {job: stage.look().place(job) for job in "abc"} == {"a": "waiting", "b": "delayed", "c": "waiting"}


async def test_a_custom_id_that_was_refused_is_no_job_that_exists(stage: Stage) -> None:
    await stage.enqueue("full")
    assert await stage.enqueue(("a", "2c", "0"), ("a", "2c", "0"), max_pending=1) == {0: "full:1", 1: "full:1"}


async def test_a_custom_id_is_free_again_when_its_record_is_gone(stage: Stage) -> None:
    hand = stage.hand()
    await stage.enqueue(("a", "2c", "0"))
    await hand.settle(completed(await hand.one(), b"value"))
    assert await stage.enqueue(("a", "2c", "0")) == {0: "exists:record"}
    stage.server.command("DEL", stage.keys.record("a"))
    assert await stage.enqueue(("a", "2c", "0")) == {}


async def test_max_pending_counts_all_unsettled_jobs(stage: Stage) -> None:
    await stage.enqueue("a", ("later", "2", "+60000"))
    found = await stage.enqueue("b", "c", ("a", "2c", "0"), ("d", "2", "+1"), max_pending=3)
    assert found == {1: "full:3", 2: "exists:row2", 3: "full:3"}
    now = stage.look()
    assert set(now.index) == {"a", "later", "b"}
    hand = stage.hand()
    await hand.settle(completed(await hand.one()))
    assert await stage.enqueue("e", max_pending=3) == {}


async def test_another_protocol_is_refused_before_any_write(stage: Stage) -> None:
    await stage.enqueue("a")
    before = stage.look()
    with pytest.raises(Refusal, match="SQVERSION 1"):
        await stage.call(stage.enqueue_command([("b", "2", "0")], seq=2, protocol=2))
    assert stage.look() == before


@pytest.mark.parametrize("spoilt", ["lane", "delayed", "bodies", "index", "dead_index", "bell", "meta", "memo"])
async def test_a_key_of_another_type_stops_it_before_any_write(stage: Stage, spoilt: str) -> None:
    keys = stage.keys
    lane = {"lane": keys.lanes[4], "memo": keys.producer_memo(b"p")}
    key: bytes = lane[spoilt] if spoilt in lane else getattr(keys, spoilt)
    await stage.enqueue("old", producer="before")
    kept = {name: stage.server.command("DUMP", keys.base + name.encode()) for name in ("m", "i", "l2", "bell")}
    stage.spoil(key)
    kept.pop(key.removeprefix(keys.base).decode(), None)
    with pytest.raises(Refusal, match="WRONGTYPE"):
        await stage.enqueue("a", ("b", "4c", "0"), ("c", "2", "+500"))
    assert kept == {name: stage.server.command("DUMP", keys.base + name.encode()) for name in kept}
    assert stage.server.command("EXISTS", keys.lanes[4]) == (spoilt == "lane")
    assert stage.server.command("EXISTS", keys.delayed) == (spoilt == "delayed")
    assert stage.server.command("EXISTS", keys.bodies) == (spoilt == "bodies")
    stage.server.command("DEL", key)


async def test_a_batch_that_was_refused_is_taken_when_it_is_sent_again(stage: Stage) -> None:
    """The same sequence number: nothing may remember a batch of which nothing was written."""
    stage.spoil(stage.keys.lanes[4])
    with pytest.raises(Refusal, match="WRONGTYPE"):
        await stage.enqueue("a", ("b", "4", "0"), seq=1)
    stage.server.command("DEL", stage.keys.lanes[4])
    assert await stage.enqueue("a", ("b", "4", "0"), seq=1) == {}
    assert set(stage.look().index) == {"a", "b"}


async def test_a_paused_queue_takes_jobs_but_rings_nobody(stage: Stage) -> None:
    stage.server.command("HSET", stage.keys.meta, "paused", "1 because")
    assert await stage.enqueue("a") == {}
    now = stage.look()
    assert now.place("a") == "waiting"
    assert now.bell == 0


@pytest.mark.parametrize("custom", ["", "c"])
async def test_odd_ids_travel_as_they_are(stage: Stage, custom: str) -> None:
    waiting = [(job, f"2{custom}", "0") for job in ODD_IDS]
    assert await stage.enqueue(*waiting) == {}
    stage.look()
    hand = stage.hand()
    jobs = await hand.fetch()
    assert [job.id.decode() for job in jobs] == list(ODD_IDS)
    assert await hand.settle(*[completed(job, b"v") for job in jobs]) == "a" * len(jobs)
    now = stage.look()
    assert set(now.records) == set(ODD_IDS)
    assert not now.index
    assert counter(now, "completed") == len(ODD_IDS)


async def test_only_the_earliest_due_time_is_told(stage: Stage) -> None:
    ear = open_link(stage.server.url, "ear")
    await ear.connect()
    await ear.send(b"SSUBSCRIBE", stage.keys.control)
    await ear.receive()
    reply: bytes = await stage.call(stage.enqueue_command([("b", "2", "+90000"), ("a", "2", "+60000")]))
    at = int(reply.split(b"|")[0])
    await stage.enqueue(("c", "2", "+95000"), producer="another")
    await stage.call(stage.enqueue_command([("d", "2", "@5")], seq=2))
    async with asyncio.timeout(5):
        told = [(await ear.receive())[2] for _ in range(2)]
    await ear.close()
    assert told == [b"due %d" % (at + 60_001), b"due 5"]


async def test_a_reply_names_only_the_refused(stage: Stage) -> None:
    await stage.enqueue(("a", "2c", "0"))
    reply: bytes = await stage.call(
        stage.enqueue_command([(f"n{n}", "2", "0") for n in range(199)] + [("a", "2c", "0")], seq=2)
    )
    assert refusals(reply) == {199: "exists:row2"}
    assert len(reply) < 40
