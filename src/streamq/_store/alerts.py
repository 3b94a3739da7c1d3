"""Verbs of alerts: whose turn it is to judge the rules of a queue, and how they stand."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .scripts import script
from .session import Store

TURN_MS = 30_000
"""How long a turn lasts without being kept: after that another worker looks."""


class Turn(NamedTuple):
    """``is_ours``: whether it is our turn; else it is somebody's for ``left_ms``. ``rules``: how they stand."""

    now_ms: int
    is_ours: bool
    left_ms: int
    version: str
    rules: bytes


async def watch(
    store: Store, who: str, what: Literal["turn", "put", "leave"], *, version: str = "", rules: bytes = b""
) -> Turn:
    """Take or keep the turn, write how the rules stand, or give the turn up (watch.lua)."""
    command = script("watch").call((store.keys.alerts,), who, TURN_MS, what, version, rules)
    now, ours, left, found, rules = await store.call(command)
    return Turn(int(now), bool(ours), int(left), found.decode(), rules)


async def standing(store: Store) -> bytes:
    """Return how the rules stand; b"" if nobody has judged them yet."""
    return await store.call((b"HGET", store.keys.alerts, "rules")) or b""
