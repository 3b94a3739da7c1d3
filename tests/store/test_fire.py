"""fire: a tick becomes a job once, whoever tries and however often, and the schedule goes on to its next tick."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from streamq._store import schedules
from streamq._store.schedules import Row, Tick
from streamq.errors import ServerUnfit, VersionMismatch
from tests.store.stage import Stage, buried, completed, valued

VERSION = "aaaaaaaa00000001"


async def made(stage: Stage, name: str = "s") -> Row:
    """A schedule, as a scheduler sees it."""
    await schedules.put(stage.store, "declare", name, VERSION, b"spec")
    return await seen(stage, name)


async def seen(stage: Stage, name: str = "s") -> Row:
    (row,) = (await schedules.some(stage.store, [name])).rows
    return row


def tick(at: int | None, following: float = 9_000_000_000_000, lane: int = 2, job: str | None = None) -> Tick:
    return Tick(at, following, f"s@{at}" if job is None else job, lane, b"body of s@%d" % (at or 0))


async def fire(stage: Stage, row: Row, one: Tick, scheduler: str = "me") -> str:
    return await schedules.fire(stage.store, row, one, scheduler)


async def test_a_tick_becomes_a_job_and_the_schedule_goes_on(stage: Stage) -> None:
    row = await made(stage)
    assert await fire(stage, row, tick(1000, 2000, lane=1)) == "fired"
    now = stage.look()
    assert (now.place("s@1000"), now.entries["s@1000"].body, now.bell) == ("waiting", b"body of s@1000", 1)
    assert [entry.job for entry in now.lanes["1"]] == ["s@1000"]
    assert now.meta["ticker"].startswith("me ")
    after = await seen(stage)
    assert (after.last_ms, after.total, after.tick_ms) == (1000, 1, 2000)
    assert (after.since_ms, after.version, after.status) == (row.since_ms, VERSION, "on")
    hand = stage.hand()
    assert await hand.settle(completed(await hand.one())) == "a"
    stage.look()


async def test_nobody_fires_it_again(stage: Stage) -> None:
    row = await made(stage)
    assert await fire(stage, row, tick(1000)) == "fired"
    hand = stage.hand()
    await hand.settle(completed(await hand.one()))  # no trace of the job is left
    before = stage.look()
    assert await fire(stage, row, tick(1000)) == "already"
    assert await fire(stage, await seen(stage), tick(1000)) == "already"
    assert await fire(stage, await seen(stage), tick(999)) == "already"
    # Computed from another last tick: it might leave one out.
    assert await fire(stage, row, tick(2000)) == "already"
    assert stage.look() == before
    assert await fire(stage, await seen(stage), tick(2000), "other") == "fired"
    assert stage.look().meta["ticker"].startswith("other ")
    assert (await seen(stage)).total == 2


async def test_of_many_at_once_one_fires(stage: Stage) -> None:
    row = await made(stage)
    answers = await asyncio.gather(*(fire(stage, row, tick(1000), str(n)) for n in range(20)))
    assert sorted(answers) == ["already"] * 19 + ["fired"]
    assert len(stage.look().entries) == 1


async def test_the_servers_clock_decides(stage: Stage) -> None:
    row = await made(stage)
    now = (await schedules.some(stage.store, [])).now_ms
    before = stage.look()
    assert await fire(stage, row, tick(now + 60_000)) == "early"
    assert stage.look() == before
    assert await fire(stage, row, tick(now)) == "fired"


@pytest.mark.parametrize("verb", ["pause", "remove", "upsert"])
async def test_what_has_changed_since_is_stale(stage: Stage, verb: schedules.What) -> None:
    row = await made(stage)
    await schedules.put(stage.store, verb, "s", "bbbbbbbb00000001", b"new spec")
    before = stage.look(), await seen(stage)
    assert await fire(stage, row, tick(1000)) == "stale"
    assert await fire(stage, row, tick(None)) == "stale"
    assert (stage.look(), await seen(stage)) == before
    assert await fire(stage, row._replace(id="nobody"), tick(1000)) == "stale"


async def test_a_schedule_may_go_on_without_firing_or_for_good(stage: Stage) -> None:
    row = await made(stage)
    assert await fire(stage, row, tick(None, 2000)) == "moved"
    assert (await seen(stage))[4:] == (0, 0, row.since_ms, 2000)
    assert await fire(stage, row, tick(1000, inf)) == "fired"
    assert (await seen(stage)).tick_ms == inf
    assert await fire(stage, row, tick(None, 3000)) == "already", "its last tick is another by now"
    assert (await seen(stage)).tick_ms == inf


@pytest.mark.parametrize("place", ["waiting", "dead", "record"])
async def test_a_job_of_that_id_counts_as_the_tick(stage: Stage, place: str) -> None:
    row = await made(stage)
    await stage.enqueue(("s@1000", "2c", "0"))
    hand = stage.hand()
    if place != "waiting":
        await hand.settle((buried if place == "dead" else valued)(await hand.one()))
    assert stage.look().place("s@1000") == place
    before = stage.look().jobs
    assert await fire(stage, row, tick(1000, 2000)) == "exists"
    now = stage.look().jobs
    assert {name: value for name, value in now.meta.items() if name != "ticker"} == before.meta
    assert (now.index, now.lanes, now.dead) == (before.index, before.lanes, before.dead)
    assert ((await seen(stage)).last_ms, (await seen(stage)).total) == (1000, 1)


async def test_a_full_queue_takes_none_until_there_is_room(stage: Stage) -> None:
    row = await made(stage)
    await stage.enqueue("a", "b")
    stage.store.max_pending = 2
    before = stage.look(), await seen(stage)
    assert await fire(stage, row, tick(1000)) == "full"
    assert (stage.look(), await seen(stage)) == before
    hand = stage.hand()
    await hand.settle(completed(await hand.one()))
    assert await fire(stage, row, tick(1000)) == "fired"


async def test_a_paused_queue_takes_it_silently(stage: Stage) -> None:
    row = await made(stage)
    stage.server.command("HSET", stage.keys.meta, "paused", "1 reason")
    assert await fire(stage, row, tick(1000)) == "fired"
    assert stage.look().bell == 0


async def test_another_protocol_is_refused(stage: Stage) -> None:
    row = await made(stage)
    stage.server.command("HSET", stage.keys.meta, "v", "2")
    before = stage.look()
    with pytest.raises(VersionMismatch):
        await fire(stage, row, tick(1000))
    assert stage.look() == before


@pytest.mark.parametrize("name", ["meta", "index", "lane", "states", "ticks", "bell", "dead_index"])
async def test_a_key_of_another_type_is_an_error_and_nothing_is_written(stage: Stage, name: str) -> None:
    row = await made(stage)
    keys = stage.keys
    spoilt = keys.lanes[2] if name == "lane" else getattr(keys, name)
    stage.spoil(spoilt)
    written = [keys.index, keys.lanes[2], keys.states, keys.ticks, keys.bell]
    before = [stage.server.command("DUMP", key) for key in written]
    with pytest.raises(ServerUnfit, match="another type"):
        await fire(stage, row, tick(1000))
    assert [stage.server.command("DUMP", key) for key in written] == before
