"""Fault 4: messages lost, late, cut in pieces; connections reset, half open, refused."""

from __future__ import annotations

import asyncio

from tests.chaos.arena import Arena, NotMetError
from tests.chaos.kinds import Kind
from tests.proxy import Fault, Proxy, Rule

WORKERS = ("take", "take", "settle", "settle", "settle", "tick", "promote", "BLPOP", "renew", "reconcile")
PRODUCERS = ("enqueue", "enqueue", "enqueue", "cancel")
RARE = {"tick", "renew", "reconcile", "cancel"}


def _draw(arena: Arena) -> tuple[Proxy, str]:
    if arena.chance.random() < 0.35:
        return arena.producers, arena.chance.choice(PRODUCERS)
    return arena.workers, arena.chance.choice(WORKERS)


async def _once(arena: Arena, proxy: Proxy, label: str, fault: Fault, *, keep: int = 1) -> Rule:
    """Let a fault befall the next command of a label; it must come within some seconds."""
    rule = proxy.rule(label, fault, nth=1 if label in RARE else arena.chance.randint(1, 3), keep=keep)
    try:
        async with asyncio.timeout(4):
            await rule.fired.wait()
    except TimeoutError:
        raise NotMetError(f"no {label} came by") from None
    finally:
        proxy.rules.remove(rule)
    return rule


def lost(fault: Fault, name: str, *, weight: int = 4) -> Kind:
    """A request or a reply of any verb gets lost."""

    async def act(arena: Arena) -> None:
        proxy, label = _draw(arena)
        await _once(arena, proxy, label, fault, keep=arena.chance.choice((1, 2, 7, 40)))

    return Kind(4, name, act, weight=weight)


async def stalled(arena: Arena) -> None:
    """A reply waits for a while, and all behind it."""
    proxy, label = _draw(arena)
    rule = await _once(arena, proxy, label, Fault.STALL_REPLY)
    await asyncio.sleep(arena.chance.uniform(0.2, 2.5))
    rule.release()


async def drip(arena: Arena) -> None:
    """All replies come byte by byte for a while."""
    proxy = arena.chance.choice((arena.workers, arena.producers))
    proxy.chunk = 1
    await proxy.reset_all()
    await asyncio.sleep(arena.chance.uniform(0.3, 1.0))
    proxy.chunk = 0
    await proxy.reset_all()


async def partition(arena: Arena) -> None:
    """Nobody of one side reaches the server for a while."""
    proxy = arena.chance.choice((arena.workers, arena.producers))
    proxy.is_refusing = True
    await proxy.reset_all()
    await asyncio.sleep(arena.chance.choice((0.2, 1.0, arena.plan.terms.lease * 1.2)))
    proxy.is_refusing = False


KINDS = (
    lost(Fault.LOSE_REPLY, "reply lost", weight=12),
    lost(Fault.LOSE_REQUEST, "request lost", weight=6),
    lost(Fault.CUT_REPLY, "reply cut"),
    lost(Fault.RESET_AFTER_REQUEST, "reset after the request"),
    lost(Fault.MUTE_REPLY, "half open: no replies"),
    lost(Fault.MUTE_REQUEST, "half open: no requests"),
    Kind(4, "reply late", stalled, weight=4),
    Kind(4, "replies byte by byte", drip, weight=2),
    Kind(4, "partition", partition, weight=3),
)
