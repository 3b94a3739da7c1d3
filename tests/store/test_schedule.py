"""schedule and schedules: what is written, what a removal leaves, and what is listed."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from streamq._store import schedules
from streamq._store.schedules import What
from streamq.errors import ServerUnfit, VersionMismatch
from tests.store.stage import ODD_IDS, Stage

ONE, TWO, OTHER_TICKS = "aaaaaaaa00000001", "aaaaaaaa00000002", "bbbbbbbb00000001"


async def put(stage: Stage, what: What, version: str = ONE, name: str = "s") -> str:
    answer, again = await schedules.put(stage.store, what, name, version, b"spec " + version.encode())
    assert not again
    return answer


async def row(stage: Stage, name: str = "s") -> schedules.Row:
    (found,) = (await schedules.some(stage.store, [name])).rows
    return found


def kept(stage: Stage) -> tuple[Any, ...]:
    """Everything kept of schedules."""
    server, keys = stage.server, stage.keys
    return (
        server.command("HGETALL", keys.specs),
        server.command("HGETALL", keys.states),
        server.command("ZRANGE", keys.ticks, 0, -1, "WITHSCORES"),
    )


def rewind(stage: Stage, name: str = "s", *, last_ms: int = 0, since_ms: int = 5) -> None:
    """Make a schedule look as if it had fired at ``last_ms``, and come into force at ``since_ms``."""
    fields = stage.server.command("HGET", stage.keys.states, name).decode().split(" ")
    fields[2], fields[4] = str(last_ms), str(since_ms)
    stage.server.command("HSET", stage.keys.states, name, " ".join(fields))


async def test_a_new_schedule_asks_to_be_looked_at(stage: Stage) -> None:
    for name in ODD_IDS:
        assert await put(stage, "declare", name=name) == "new"
        found = await row(stage, name)
        assert (found.id, found.spec, found.status) == (name, b"spec " + ONE.encode(), "on")
        assert (found.version, found.last_ms, found.total, found.tick_ms) == (ONE, 0, 0, 0)
        now = (await schedules.some(stage.store, [])).now_ms
        assert now - 5_000 <= found.since_ms <= now
    stage.look()


@pytest.mark.parametrize("what", ["declare", "upsert", "restore"])
async def test_again_is_no_news(stage: Stage, what: What) -> None:
    assert await put(stage, what) == "new"
    before = kept(stage)
    assert await put(stage, what) == "same"
    assert kept(stage) == before


async def test_another_definition_takes_its_place_and_keeps_what_was_fired(stage: Stage) -> None:
    await put(stage, "declare")
    rewind(stage, last_ms=77)
    assert await put(stage, "declare", TWO) == "changed"
    found = await row(stage)
    assert (found.version, found.spec, found.last_ms) == (TWO, b"spec " + TWO.encode(), 77)
    assert found.since_ms == 5, "the same ticks are owed"
    assert await put(stage, "upsert", OTHER_TICKS) == "changed"
    found = await row(stage)
    assert (found.last_ms, found.tick_ms) == (77, 0)
    assert found.since_ms > 1_000_000, "other ticks are owed from now on only"
    assert await put(stage, "restore", ONE) == "same"
    assert (await row(stage)).version == OTHER_TICKS


async def test_a_paused_one_waits_for_no_tick_and_stays_paused_when_it_changes(stage: Stage) -> None:
    await put(stage, "declare")
    rewind(stage)
    assert await put(stage, "pause") == "changed"
    before = kept(stage)
    assert await put(stage, "pause") == "same"
    assert kept(stage) == before
    assert ((await row(stage)).status, (await row(stage)).tick_ms) == ("paused", inf)
    assert await put(stage, "declare", TWO) == "changed"
    assert ((await row(stage)).status, (await row(stage)).tick_ms) == ("paused", inf)
    assert (await row(stage)).since_ms == 5
    assert await put(stage, "resume") == "changed"
    found = await row(stage)
    assert (found.status, found.tick_ms, found.version) == ("on", 0, TWO)
    assert found.since_ms > 5, "what came due while it was paused is not owed"
    assert await put(stage, "resume") == "same"


async def test_a_removed_one_leaves_only_its_trace(stage: Stage) -> None:
    await put(stage, "declare")
    await put(stage, "declare", TWO)
    rewind(stage, last_ms=77)
    assert await put(stage, "remove") == "changed"
    specs, states, ticks = kept(stage)
    assert (specs, ticks) == ([], [])
    assert len(states) == 2
    before = kept(stage)
    for what in ("pause", "resume", "remove"):
        assert await put(stage, what) == "removed"
    # The code that declared it, of this deploy or of an earlier one, does not bring it back.
    assert await put(stage, "declare", TWO) == "removed"
    assert await put(stage, "declare", ONE) == "removed"
    assert await put(stage, "restore", OTHER_TICKS) == "removed"
    assert kept(stage) == before
    found = await row(stage)
    assert (found.spec, found.status, found.last_ms, found.tick_ms) == (b"", "removed", 77, inf)


@pytest.mark.parametrize(("what", "version"), [("declare", OTHER_TICKS), ("upsert", ONE), ("upsert", OTHER_TICKS)])
async def test_a_removed_one_comes_back_on_purpose(stage: Stage, what: What, version: str) -> None:
    await put(stage, "declare")
    rewind(stage, last_ms=77)
    await put(stage, "pause")
    await put(stage, "remove")
    assert await put(stage, what, version) == "changed"
    found = await row(stage)
    assert (found.status, found.version, found.last_ms, found.total) == ("on", version, 77, 0)
    assert found.since_ms > 5


async def test_the_past_is_bounded(stage: Stage) -> None:
    for n in range(100):
        await put(stage, "declare", f"{n:016x}")
    assert len(stage.server.command("HGET", stage.keys.states, "s")) < 450
    await put(stage, "remove")
    assert await put(stage, "declare", f"{99 - 15:016x}") == "removed"


@pytest.mark.parametrize("what", ["pause", "resume", "remove"])
async def test_an_unknown_one_is_none_of_them(stage: Stage, what: What) -> None:
    assert await put(stage, what) == "unknown"
    assert kept(stage) == ([], [], [])


async def test_a_change_is_told(stage: Stage) -> None:
    await stage.link.send(b"SSUBSCRIBE", stage.keys.control)
    await stage.link.receive()
    for what in ("declare", "pause", "resume", "remove"):
        await put(stage, what)
        assert (await stage.link.receive())[2] == b"schedules"


async def test_they_are_listed_when_due_and_by_rank(stage: Stage) -> None:
    for n in range(7):
        await put(stage, "declare", name=f"s{n}")
    now = (await schedules.some(stage.store, [])).now_ms
    for name, score in (("s0", now - 9), ("s1", now - 8), ("s2", now + 60_000), ("s3", now + 90_000), ("s4", "+inf")):
        stage.server.command("ZADD", stage.keys.ticks, score, name)
    await put(stage, "remove", name="s5")
    found = await schedules.due(stage.store, 0, 2, "")
    assert [one.id for one in found.rows] == ["s6", "s0"]
    assert (found.next_ms, found.known, found.listable, found.holder) == (now + 60_000, 7, 6, "")
    assert [one.id for one in (await schedules.due(stage.store, 2, 2, "")).rows] == ["s1"]
    rows, _ = await schedules.every(stage.store)
    assert [one.id for one in rows] == ["s6", "s0", "s1", "s2", "s3", "s4"]
    found = await schedules.some(stage.store, ["s5", "nobody", "s3"])
    assert [(one.id, one.status) for one in found.rows] == [("s5", "removed"), ("s3", "on")]


async def test_more_than_a_page_is_listed_whole(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "PAGE", 3)
    for n in range(7):
        await put(stage, "declare", name=f"s{n}")
    rows, _ = await schedules.every(stage.store)
    assert sorted(one.id for one in rows) == [f"s{n}" for n in range(7)]
    stage.server.command("ZADD", stage.keys.ticks, 5, "s0")
    rows, _ = await schedules.every(stage.store)
    assert len({one.id for one in rows}) == 7


async def test_what_a_foreign_hand_left_half_is_passed_over(stage: Stage) -> None:
    await put(stage, "declare")
    stage.server.command("ZADD", stage.keys.ticks, 1, "stray")
    assert [one.id for one in (await schedules.due(stage.store, 0, 100, "")).rows] == ["s"]
    stage.server.command("HDEL", stage.keys.specs, "s")
    assert [one.spec for one in (await schedules.due(stage.store, 0, 100, "")).rows] == [b""]


async def test_the_turn_goes_from_one_scheduler_to_another_when_it_has_been_silent(stage: Stage) -> None:
    async def holder(me: str) -> str:
        return (await schedules.due(stage.store, 0, 1, me)).holder

    def age(ms: int) -> None:
        name, _, seen = stage.look().meta["ticker"].partition(" ")
        stage.server.command("HSET", stage.keys.meta, "ticker", f"{name} {int(seen) - ms}")

    assert await holder("a") == "", "there is nothing to fire"
    assert "ticker" not in stage.look().meta
    await put(stage, "declare")
    assert [await holder(me) for me in ("", "a", "b", "a", "")] == ["", "a", "a", "a", "a"]
    age(5_000)
    assert await holder("b") == "a"
    assert await holder("a") == "a", "and has been heard of now"
    age(5_000)
    assert await holder("b") == "a"
    age(2_000)
    assert [await holder(me) for me in ("b", "a")] == ["b", "b"]
    age(-60_000)
    assert await holder("a") == "a", "the clock was set back"


async def test_another_protocol_is_refused(stage: Stage) -> None:
    await put(stage, "declare")
    stage.server.command("HSET", stage.keys.meta, "v", "2")
    before = kept(stage)
    for what in ("declare", "upsert", "pause", "resume", "remove"):
        with pytest.raises(VersionMismatch):
            await put(stage, what, TWO)
    with pytest.raises(VersionMismatch):
        await schedules.every(stage.store)
    assert kept(stage) == before


@pytest.mark.parametrize("name", ["meta", "specs", "states", "ticks"])
async def test_a_key_of_another_type_is_an_error_and_nothing_is_written(stage: Stage, name: str) -> None:
    await put(stage, "declare")
    keys = (stage.keys.specs, stage.keys.states, stage.keys.ticks)
    stage.spoil(getattr(stage.keys, name))
    before = [stage.server.command("DUMP", key) for key in keys]
    with pytest.raises(ServerUnfit, match="another type"):
        await put(stage, "upsert", OTHER_TICKS)
    assert [stage.server.command("DUMP", key) for key in keys] == before
