"""Faults 14, 15 and 16: garbage in a lane, envelopes of another version, more at once than usual."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tests.chaos.arena import Arena
from tests.chaos.kinds import Kind
from tests.faults.scene import until

HERD = 400


def envelope(**changes: Any) -> bytes:
    """A job of 10 ms, as it travels, with fields changed."""
    fields: dict[str, Any] = {"n": "work", "a": {"seconds": 0.01}}
    return msgspec.msgpack.encode({**fields, **changes})


GARBAGE: tuple[bytes, ...] = (
    b"\xc1garbage",
    b"\x80",
    b"\x91" * 20_000 + b"\xc0",
    envelope()[:-3],
    envelope(n="a\0b"),
    envelope(k="three"),
    envelope(a={"seconds": "soon"}),
    envelope(a=[1, 2]),
    b"\x00" * 1_000_000,
)


async def garbage(arena: Arena) -> None:
    """What is no job of ours ends as a dead letter, and its neighbours run."""
    for body in arena.chance.sample(GARBAGE, 3):
        job = arena.new_name("g-")
        arena.ledger.write("doomed", job)
        arena.plant(job, body)
    arena.server.command("XADD", arena.keys.lanes[arena.chance.randrange(5)], "*", "hello", "world")


async def another_version(arena: Arena) -> None:
    """Fields nobody knows are read over; what is newer is parked, until a worker comes that knows it."""
    tolerated, newer = arena.new_name("v-"), [arena.new_name("v-") for _ in range(3)]
    for job in (tolerated, *newer):
        arena.ledger.write("try", job)
    arena.plant(tolerated, envelope(zz={"unheard": ["of"]}))
    for job in newer:
        arena.plant(job, envelope(v=2, zz=1))
    for job in (tolerated, *newer):
        arena.ledger.write("ok", job)
    crew, knowing = arena.crew, [await arena.start_worker("--wire", "2")]

    async def ran() -> bool:
        arena.away.add(knowing[-1])
        if crew.ended(knowing[-1]) is not None and crew.died(knowing[-1]):  # by another job it ran
            crew.forget(knowing[-1])
            knowing.append(await arena.start_worker("--wire", "2"))
        return not arena.unsettled() & {tolerated, *newer}

    await until(ran, "it ran them", seconds=40, every=0.1)
    await asyncio.to_thread(crew.retire, knowing[-1])


async def herd(arena: Arena) -> None:
    """Hundreds of delayed jobs are due in the same millisecond."""
    due = datetime.now(UTC) + timedelta(seconds=1)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(HERD):
            tasks.create_task(arena.add("work", {"seconds": 0.001}, at=due))


KINDS = (
    Kind(14, "garbage in a lane", garbage, weight=2, explains=False),
    Kind(15, "envelopes of another version", another_version, weight=1, explains=False),
    Kind(16, "hundreds due at once", herd, weight=1, explains=False),
)
