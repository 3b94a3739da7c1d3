"""Circuit breakers: the verb breaker, as a value that tells what became of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .scripts import PROTOCOL, script
from .session import Store

What = Literal["look", "failed", "succeeded", "open", "close"]
Word = Literal["", "opened", "shut", "closed"]


class Asked(NamedTuple):
    """What a breaker is told with every call. Times in ms; ``rule`` is written when it opens."""

    name: str
    failures: int
    window_ms: int
    open_ms: int
    most_ms: int
    rule: bytes = b""


class Seen(NamedTuple):
    """Reply of breaker. ``word``: what this call changed. Times in ms on the server's clock."""

    now_ms: int
    word: Word
    is_open: bool
    is_probe: bool
    probe_ms: int
    failures: int
    changed_ms: int
    by: str
    why: str
    failed_probes: int
    used: int
    waiting: int


async def names(store: Store) -> list[str]:
    """Return the names of the breakers that ever counted a failure, or were opened by hand."""
    flat = await store.call((b"HGETALL", store.keys.breakers))
    return [name.decode("utf-8", "replace") for name in flat[::2]]


async def breaker(
    store: Store,
    what: What,
    asked: Asked,
    *,
    by: str = "",
    tag: str = "",
    job_id: str = "",
    why: str = "",
    wait: float = 5.0,
) -> Seen:
    """Look at a breaker, or tell it something (breaker.lua); a repeated call with the same ``tag`` changes nothing."""
    keys = store.keys
    command = script("breaker").call(
        (keys.meta, keys.index, keys.breakers, *keys.flow), PROTOCOL, keys.control, by, what, asked.name, tag, job_id,
        asked.failures, asked.window_ms, asked.open_ms, asked.most_ms, why, asked.rule,
    )  # fmt: skip
    now, word, is_open, is_probe, probe, failures, changed, who, reason, failed, used, waiting = await store.call(
        command, wait=wait
    )
    return Seen(
        int(now),
        word.decode(),
        bool(is_open),
        bool(is_probe),
        int(probe),
        failures,
        int(changed),
        who.decode("utf-8", "replace"),
        reason.decode("utf-8", "replace"),
        failed,
        used,
        waiting,
    )
