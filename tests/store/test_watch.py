"""watch: one worker at a time judges the alert rules, and what it writes is what the next one reads."""

from __future__ import annotations

import pytest

from streamq._store import alerts
from streamq._store.alerts import Turn
from streamq.errors import ServerUnfit
from tests.store.stage import Stage


async def turn(stage: Stage, who: str) -> Turn:
    return await alerts.watch(stage.store, who, "turn")


def expire(stage: Stage) -> None:
    """Let the turn of whoever has it end."""
    stage.server.command("HSET", stage.keys.alerts, "till", "1")


async def test_one_has_the_turn_until_it_ends(stage: Stage) -> None:
    first = await turn(stage, "a")
    assert (first.is_ours, first.version, first.rules) == (True, "0", b"")
    assert first.left_ms == alerts.TURN_MS
    other = await turn(stage, "b")
    assert not other.is_ours
    assert 0 < other.left_ms <= alerts.TURN_MS
    assert (await turn(stage, "a")).is_ours
    expire(stage)
    assert (await turn(stage, "b")).is_ours
    assert not (await turn(stage, "a")).is_ours


async def test_who_leaves_gives_the_turn_up(stage: Stage) -> None:
    await turn(stage, "a")
    await alerts.watch(stage.store, "b", "leave")
    assert not (await turn(stage, "b")).is_ours, "b had nothing to give up"
    await alerts.watch(stage.store, "a", "leave")
    assert (await turn(stage, "b")).is_ours


async def test_what_is_written_is_what_the_next_one_reads(stage: Stage) -> None:
    await turn(stage, "a")
    written = await alerts.watch(stage.store, "a", "put", version="0", rules=b"one")
    assert (written.is_ours, written.version, written.rules) == (True, "1", b"one")
    expire(stage)
    found = await turn(stage, "b")
    assert (found.version, found.rules) == ("1", b"one")
    assert await alerts.standing(stage.store) == b"one"


async def test_only_whose_turn_it_is_writes(stage: Stage) -> None:
    await turn(stage, "a")
    refused = await alerts.watch(stage.store, "b", "put", version="0", rules=b"b")
    assert not refused.is_ours
    expire(stage)
    late = await alerts.watch(stage.store, "a", "put", version="0", rules=b"a")
    assert (late.is_ours, late.rules) == (True, b""), "its turn had ended: somebody else may have looked meanwhile"
    assert await alerts.standing(stage.store) == b""


async def test_nothing_is_written_on_top_of_what_was_not_read(stage: Stage) -> None:
    await turn(stage, "a")
    await alerts.watch(stage.store, "a", "put", version="0", rules=b"one")
    again = await alerts.watch(stage.store, "a", "put", version="0", rules=b"two")
    assert (again.version, again.rules) == ("1", b"one")
    same = await alerts.watch(stage.store, "a", "put", version="0", rules=b"one")
    assert (same.version, same.rules) == ("1", b"one"), "a lost reply: its own words are there"


async def test_a_turn_that_would_last_for_ever_does_not(stage: Stage) -> None:
    stage.server.command("HSET", stage.keys.alerts, "who", "gone", "till", "9999999999999")
    assert (await turn(stage, "a")).is_ours, "the server's clock was set back"


async def test_it_works_while_memory_is_short(stage: Stage) -> None:
    stage.server.command("CONFIG", "SET", "maxmemory", "1")
    try:
        assert (await turn(stage, "a")).is_ours
        assert (await alerts.watch(stage.store, "a", "put", version="0", rules=b"one")).rules == b"one"
    finally:
        stage.server.command("CONFIG", "SET", "maxmemory", "0")


async def test_a_key_of_another_type_stops_it(stage: Stage) -> None:
    stage.spoil(stage.keys.alerts)
    with pytest.raises(ServerUnfit, match="another type"):
        await turn(stage, "a")
