"""emit: events are added in batches, each once; the stream keeps about as many as it is told."""

from __future__ import annotations

import pytest

from streamq._store import events
from streamq._store.events import Row
from streamq.errors import ServerUnfit, StreamqError
from tests.store.stage import ODD_IDS, Stage


def rows(*kinds: str) -> list[Row]:
    return [Row(kind, f"j{n}", "send", b'{"attempt":1}') for n, kind in enumerate(kinds)]


async def read(stage: Stage) -> list[tuple[str, str]]:
    found = await events.after(stage.store, "0")
    return [(fields[b"k"].decode(), fields[b"j"].decode()) for _, fields in found]


async def test_events_are_read_in_the_order_they_were_written(stage: Stage) -> None:
    assert await events.last(stage.store) == "0-0"
    assert await events.emit(stage.store, "w", 1, 100, rows("added", "active")) == 2
    assert await events.emit(stage.store, "w", 2, 100, rows("completed")) == 1
    assert await read(stage) == [("added", "j0"), ("active", "j1"), ("completed", "j0")]
    found = await events.after(stage.store, "0")
    assert found[0][1] == {b"k": b"added", b"j": b"j0", b"n": b"send", b"d": b'{"attempt":1}'}
    assert await events.last(stage.store) == found[-1][0]
    assert await events.after(stage.store, found[1][0]) == found[2:]
    assert await events.after(stage.store, found[2][0]) == []


async def test_a_batch_that_is_sent_again_is_written_once(stage: Stage) -> None:
    for _ in range(3):
        assert await events.emit(stage.store, "w", 1, 100, rows("added", "active")) == 2
    assert await events.emit(stage.store, "other", 1, 100, rows("dead")) == 1
    assert len(await read(stage)) == 3


async def test_an_earlier_batch_is_refused(stage: Stage) -> None:
    await events.emit(stage.store, "w", 2, 100, rows("added"))
    with pytest.raises(StreamqError, match="SQSTALE"):
        await events.emit(stage.store, "w", 1, 100, rows("added"))
    assert len(await read(stage)) == 1


async def test_the_stream_keeps_about_as_many_as_it_is_told(stage: Stage) -> None:
    for seq in range(1, 11):
        await events.emit(stage.store, "w", seq, 100, rows(*["added"] * 100))
    length = stage.server.command("XLEN", stage.keys.events)
    assert 100 <= length <= 300
    assert len(await events.after(stage.store, "0")) == length


async def test_a_full_batch_and_odd_ids(stage: Stage) -> None:
    await events.emit(stage.store, "w", 1, 10_000, rows(*["added"] * events.PAGE))
    await events.emit(stage.store, "w", 2, 10_000, [Row("dead", one, one, b"") for one in ODD_IDS])
    first = await events.after(stage.store, "0")
    assert len(first) == events.PAGE
    rest = await events.after(stage.store, first[-1][0])
    assert [fields[b"j"].decode() for _, fields in rest] == list(ODD_IDS)


async def test_a_key_of_another_type_stops_it_before_any_write(stage: Stage) -> None:
    stage.spoil(stage.keys.events)
    with pytest.raises(ServerUnfit, match="another type"):
        await events.emit(stage.store, "w", 1, 100, rows("added"))
    assert not stage.server.command("EXISTS", stage.keys.producer_memo(b"w"))


async def test_it_is_refused_while_memory_is_short(stage: Stage) -> None:
    stage.server.command("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(ServerUnfit, match="memory"):
            await events.emit(stage.store, "w", 1, 100, rows("added"))
    finally:
        stage.server.command("CONFIG", "SET", "maxmemory", "0")
    assert await events.emit(stage.store, "w", 1, 100, rows("added")) == 1


async def test_what_workers_declare_is_read_by_others(stage: Stage) -> None:
    assert await events.declared(stage.store) == ("", "")
    await events.declare(stage.store, {})
    assert not stage.server.command("EXISTS", stage.keys.meta)
    await events.declare(stage.store, {events.EVENTS_FIELD: "dead,failed"})
    await events.declare(stage.store, {events.HEALTH_FIELD: "{}"})
    assert await events.declared(stage.store) == ("dead,failed", "{}")
