"""Faults 5 to 9, 12 and 13: what may become of the server and of its data."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis

from tests.chaos.arena import Arena
from tests.chaos.kinds import Kind, moves_clock
from tests.faults.scene import until

TAIL = 1 << 20
"""Bytes before the cut that are kept: whatever is torn apart begins among them."""


async def crash(arena: Arena) -> None:
    """SIGKILL; what it had answered is in its file."""
    await asyncio.to_thread(arena.server.kill)
    await asyncio.sleep(arena.chance.uniform(0.05, 1.5))
    await asyncio.to_thread(arena.server.start)


async def power_loss(arena: Arena) -> None:
    """SIGKILL, and the last bytes of its file are gone: some of what it had answered never was.

    Never half a transaction: Redis 7.0 cuts its file in the middle of one, and what is added later stands in it then.
    """
    await asyncio.to_thread(arena.server.kill)
    file = max((arena.server.folder / "appendonlydir").glob("*.incr.aof"), key=lambda one: one.stat().st_mtime)
    size = file.stat().st_size
    cut = max(0, size - arena.chance.choice((1, 40, 300, 3_000, 20_000)))
    kept_from = max(0, cut - TAIL)
    with file.open("r+b") as opened:
        opened.seek(kept_from)
        tail = opened.read()
        kept = tail[: cut - kept_from]
        opens = kept.rfind(b"*1\r\n$5\r\nMULTI\r\n")
        if opens > kept.rfind(b"*1\r\n$4\r\nEXEC\r\n"):
            cut = kept_from + opens
        opened.truncate(cut)
    log = arena.server.folder / "log"
    said = log.stat().st_size
    await asyncio.to_thread(arena.server.start)
    loaded = re.findall(rb"Truncating the AOF[^\n]* at offset (\d+)", log.read_bytes()[said:])
    begins = int(loaded[-1]) if loaded else cut
    words = tail[max(0, begins - kept_from) :].split(b"\r\n")
    jobs = {word.decode("utf-8", "replace") for word in words if 2 < len(word) <= 200}
    arena.crew.nemesis.write("torn", jobs=sorted(jobs), bytes=size - begins)


async def freeze(arena: Arena) -> None:
    """SIGSTOP for a while."""
    os.kill(arena.server.pid, signal.SIGSTOP)
    await asyncio.sleep(arena.chance.uniform(0.2, 2.5))
    os.kill(arena.server.pid, signal.SIGCONT)


async def slow_command(arena: Arena) -> None:
    """The server is busy with something else: DEBUG SLEEP, or a script of a foreign hand."""
    seconds = arena.chance.uniform(0.2, 1.5)
    if arena.chance.random() < 0.5:
        await asyncio.to_thread(arena.server.command, "DEBUG", "SLEEP", f"{seconds:.2f}")
    else:
        busy = "local n = 0 for i = 1, ARGV[1] * 2e7 do n = n + i end return n"
        await asyncio.to_thread(arena.server.command, "EVAL", busy, 0, f"{seconds:.2f}")


async def pause(arena: Arena) -> None:
    """CLIENT PAUSE, for writes or for all."""
    milliseconds = arena.chance.randint(200, 2000)
    arena.server.command("CLIENT", "PAUSE", milliseconds, arena.chance.choice(("WRITE", "ALL")))
    await asyncio.sleep(milliseconds / 1000)


async def kill_connections(arena: Arena) -> None:
    """Every connection is closed at once: all come back at once."""
    for _ in range(arena.chance.randint(1, 3)):
        arena.server.command("CLIENT", "KILL", "TYPE", "normal")
        arena.server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(0.05)


async def no_connections(arena: Arena) -> None:
    """No more connections are allowed than there are places for."""
    arena.server.command("CONFIG", "SET", "maxclients", 3)
    try:
        arena.server.command("CLIENT", "KILL", "TYPE", "normal")
        await asyncio.sleep(arena.chance.uniform(0.2, 1.5))
    finally:
        await _insist(arena, "CONFIG", "SET", "maxclients", 10_000)


async def _insist(arena: Arena, *command: str | int) -> None:
    """Send a command of ours, which has no more right to a place than the others."""

    def sent() -> bool:
        with suppress(redis.RedisError):
            return bool(arena.server.command(*command))
        return False

    await until(sent, " ".join(map(str, command)), every=0.05)


async def forget_scripts(arena: Arena) -> None:
    """SCRIPT FLUSH, and FUNCTION FLUSH."""
    for _ in range(3):
        arena.server.command("SCRIPT", "FLUSH")
        arena.server.command("FUNCTION", "FLUSH")
        await asyncio.sleep(0.1)


async def flush_all(arena: Arena) -> None:
    """FLUSHALL; in the same step is noted what there was."""
    keys = arena.keys
    replies = _together(
        arena,
        ("LRANGE", keys.window, 0, -1),
        ("HKEYS", keys.index),
        ("XRANGE", keys.dead, "-", "+"),
        ("FLUSHALL",),
    )
    ended, unsettled, dead, _ = replies
    arena.before.update(one.decode() for one in ended)
    for _, fields in dead:
        by_name = dict(zip(fields[::2], fields[1::2], strict=True))
        arena.buried[by_name[b"j"].decode("utf-8", "replace")] = by_name.get(b"r", b"").decode("utf-8", "replace")
    arena.crew.nemesis.write("wiped", jobs=sorted(one.decode("utf-8", "replace") for one in unsettled))


def _together(arena: Arena, *commands: Sequence[str | bytes | int]) -> list[Any]:
    arena.server.command("MULTI")
    for command in commands:
        arena.server.command(*command)
    replies: list[Any] = arena.server.command("EXEC")
    return replies


async def delete_a_key(arena: Arena) -> None:
    """A foreign hand deletes a key that holds no job."""
    keys = arena.keys
    arena.server.command("DEL", arena.chance.choice((keys.bell, keys.workers)))


async def destroy_a_group(arena: Arena) -> None:
    """A foreign hand destroys the consumer group of a lane: what was handed out waits again."""
    with suppress(redis.ResponseError):
        arena.server.command("XGROUP", "DESTROY", arena.chance.choice(arena.keys.lanes[:4]), "w")


async def out_of_memory(arena: Arena) -> None:
    """No memory for new jobs; what is there is worked off."""
    arena.server.command("CONFIG", "SET", "maxmemory", 1)
    await asyncio.sleep(arena.chance.uniform(0.2, 1.5))
    arena.server.command("CONFIG", "SET", "maxmemory", 0)


async def wrong_policy(arena: Arena) -> None:
    """A server that may evict keys: a worker refuses to start there."""
    async with arena.starting:  # nobody else may start meanwhile: he would be refused, too
        for option, value in (("maxmemory-policy", "allkeys-lru"), ("maxmemory", "4gb")):
            arena.server.command("CONFIG", "SET", option, value)
        name = arena.new_name("x")
        arena.away.add(name)
        arena.crew.launch(name, "tests.chaos.actor", "--lease", "3")
        await until(lambda: arena.crew.ended(name) is not None, "the worker refuses to start")
        assert "allkeys-lru" in arena.crew.errors(name), arena.crew.errors(name)
        arena.crew.forget(name)
        for option, value in (("maxmemory", "0"), ("maxmemory-policy", "noeviction")):
            arena.server.command("CONFIG", "SET", option, value)


async def clock_jumps(arena: Arena) -> None:
    """An hour back, and an hour forward again; or a second. Forward for good: `clock_ahead`."""
    moves_clock(arena)
    by = arena.chance.choice((-3600, -3600, -1, 1))
    arena.move_clock(by)
    await asyncio.sleep(arena.chance.uniform(0.5, 2.5))
    arena.move_clock(0)


async def clock_ahead(arena: Arena) -> None:
    """An hour forward, for good."""
    moves_clock(arena)
    arena.move_clock(arena.clock_offset + 3600)


async def clock_drifts(arena: Arena) -> None:
    """Too fast for a while, then too slow."""
    moves_clock(arena)
    for step in (*range(40), *range(40, -1, -1)):
        arena.move_clock(step / 100)
        await asyncio.sleep(0.02)


KINDS = (
    Kind(5, "server killed", crash, weight=8),
    Kind(6, "power loss", power_loss, weight=4),
    Kind(7, "server frozen", freeze, weight=3),
    Kind(7, "server busy", slow_command, weight=3),
    Kind(7, "clients paused", pause, weight=3),
    Kind(8, "connections killed", kill_connections, weight=6),
    Kind(8, "no connections left", no_connections, weight=2),
    Kind(9, "scripts flushed", forget_scripts, weight=4),
    Kind(9, "FLUSHALL", flush_all, weight=1),
    Kind(9, "key deleted", delete_a_key, weight=2),
    Kind(9, "group destroyed", destroy_a_group, weight=2),
    Kind(12, "clock jump", clock_jumps, weight=2),
    Kind(12, "clock drift", clock_drifts, weight=1),
    Kind(13, "out of memory", out_of_memory, weight=3),
    Kind(13, "wrong eviction policy", wrong_policy, weight=1),
)
