"""Limits of a queue while it runs: what is in force, set and cleared live."""

from __future__ import annotations

import getpass
import logging
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from ._core import gates
from ._core import limits as _limits
from ._core import rules as _rules
from ._core.limits import RateLimit
from ._core.rules import Rule
from ._core.units import from_ms
from ._store import desk
from ._store import limits as _store
from ._store.session import Store
from .errors import ConfigError

log: Final = logging.getLogger("streamq")

UNBOUNDED = -1
"""Stands for "no bound" in a configuration, so that a single gate can be freed of what its class says."""

_UNSET: Any = msgspec.UNSET


class Home(Protocol):
    """What a door needs of its queue."""

    name: str

    async def stores(self) -> Sequence[Store]:
        """Return the partitions."""
        ...


class LimitInfo(msgspec.Struct, frozen=True):
    """One gate or class of gates, for people.

    gate: ``q`` the queue, ``g`` all groups, ``g:<group>`` one, ``h.<handler>``, ``r.<limit>``, ``k.<handler>``.
    concurrency, rate, weight, size, paused: in force (None: no bound). declared: whether code says something of it.
    overridden_by, overridden_at: who set it live, and when; None if nobody did. used: jobs that run under it. waiting:
    jobs in line for it. state: "open", "paused", "slots" or "rate"; opens_in: seconds until a closed rate opens.
    reason: why it was paused, as the person who did it said.
    """

    gate: str
    concurrency: int | None
    rate: str | None
    weight: float
    size: int | None
    paused: bool
    declared: bool
    overridden_by: str | None
    overridden_at: datetime | None
    used: int
    waiting: int
    state: str
    opens_in: float
    reason: str = ""


class Limits:
    """``queue.limits``: looks at the limits of a queue and changes them while workers run.

    A change counts for every job that starts after the call returned. What is set here wins over what code declares,
    until it is cleared. Lowering a limit stops nothing that runs: it drains.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    async def set(
        self,
        gate: str,
        *,
        concurrency: int | None = _UNSET,
        rate: RateLimit | None = _UNSET,
        weight: float = _UNSET,
        size: int | None = _UNSET,
        by: str = "",
    ) -> bool:
        """Set limits of a gate or class; what is not given stays. True if that changed something.

        gate: as in `LimitInfo`. concurrency, rate, size: None for no bound, whatever the class says. by: who does it,
        for those who ask later (default user@host).

        Raises:
            ConfigError: for a gate that is none, or a value that cannot be right.
        """
        name = checked_gate(gate)
        options = _options(name, concurrency, rate, weight, size)
        if not options:
            raise ConfigError("gate", gate, "give concurrency=, rate=, weight= or size=")
        return await self._override(name, options, by)

    async def clear(self, gate: str, *, by: str = "") -> bool:
        """Take away what was set live; what code declares is in force again. True if there was something."""
        found = False
        for store in await self._home.stores():
            found = await _store.clear(store, checked_gate(gate), by=by or person()) or found
        return found

    async def list(self) -> list[LimitInfo]:
        """Return every gate and class that code or a person said something about, by name."""
        store = (await self._home.stores())[0]
        declared, overrides = await _store.layers(store)
        names = sorted({*declared.gates, *overrides})
        found = (await _store.explain(store, "", names)).gates
        if gates.QUEUE in names:
            found = _store.with_queue(found, await desk.counts(store))
        seen = {one.gate: one for one in found}
        return [_info(seen[name], overrides.get(name), declared=name in declared.gates) for name in names]

    async def pause(self, gate: str, *, reason: str = "") -> bool:
        """Close a gate. Use ``queue.pause(group=)`` or ``queue.pause(handler=)``."""
        # Without a reason a second pause leaves that of the first.
        return await self._override(checked_gate(gate), {"x": 1, "why": reason} if reason else {"x": 1}, "", reason)

    async def resume(self, gate: str) -> bool:
        """Open a paused gate. Use ``queue.resume(group=)`` or ``queue.resume(handler=)``."""
        return await self._override(checked_gate(gate), {"x": False, "why": False}, "")

    async def _override(self, gate: str, options: Mapping[str, object], by: str, reason: str = "") -> bool:
        # Jobs of a handler without limits are in the lanes: workers must be told to send them to this gate.
        rule = b""
        if gate.startswith("h."):
            rule = _rules.encode(Rule(names=(gate[2:],), by=by or person(), reason=reason))
        changed = False
        for store in await self._home.stores():
            changed = await _store.override(store, gate, options, by=by or person(), rule=rule) or changed
        return changed


class Deduplication:
    """``queue.dedup``: looks at dedup keys and releases them by hand."""

    def __init__(self, home: Home) -> None:
        self._home = home

    async def get(self, key: str) -> str | None:
        """Return the id of the job this key remembers; None if it remembers none."""
        return await _store.dedup_get((await self._home.stores())[0], gates.checked("key", key))

    async def release(self, key: str) -> bool:
        """Forget a key, so that the next job of it is new whatever became of the last; True if it was known."""
        return await _store.dedup_release((await self._home.stores())[0], gates.checked("key", key))


def checked_gate(value: object) -> str:
    """Return the name of a gate or class as it stands in Redis."""
    if isinstance(value, str):
        head, _, rest = value.partition(":")
        if value in (gates.QUEUE, gates.GROUPS):
            return value
        if head == "g" and rest:
            return gates.group(gates.checked("gate", rest))
        if (value[:2] in ("h.", "r.", "k.", "x.") and len(value) > 2) or value.startswith("cb."):
            return gates.checked("gate", value)
    raise ConfigError(
        "gate", value, 'use "q" (the queue), "g" (all groups), "g:<group>", "h.<handler>", "r.<limit>" or "k.<handler>"'
    )


def person() -> str:
    """Return who acts, for those who ask later: user@host."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no entry for this user id: usual in containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def rate_text(conf: Mapping[str, Any]) -> str | None:
    """Return the rate of a configuration for people: "50 per 1 s"; None if it has none."""
    count = conf.get("n")
    if count is None or count < 0:
        return None
    text = f"{count} per {conf['p'] / 1000:g} s"
    if conf.get("b"):
        text += f", bursts of {conf['b']}"
    return text + (" by the clock" if conf.get("o") is not None else "")


def _options(gate: str, concurrency: Any, rate: Any, weight: Any, size: Any) -> dict[str, object]:
    options: dict[str, object] = {}
    if concurrency is not _UNSET:
        options["c"] = UNBOUNDED if concurrency is None else _limits.whole("concurrency", concurrency)
    if rate is not _UNSET:
        options.update(dict.fromkeys(("p", "b", "o"), False))
        options["n"] = UNBOUNDED
        if rate is not None:
            conf = _limits.config(_limits.rate_limit("rate", rate), now_ms=0)
            if conf.offset_ms is not None:
                raise ConfigError("rate", rate, 'align="clock" belongs into code: its offset follows daylight saving')
            options.update(msgspec.to_builtins(conf))
    if (weight is not _UNSET or size is not _UNSET) and gate[:2] not in ("g", "g:"):
        raise ConfigError("gate", gate, 'weight and size are for groups: "g" or "g:<group>"')
    if weight is not _UNSET:
        options["w"] = float(_limits.Group(weight=weight).weight)
    if size is not _UNSET:
        options["s"] = 10**9 if size is None else _limits.whole("size", size)
    return options


def _info(seen: _store.GateSeen, layer: _store.Layer | None, *, declared: bool) -> LimitInfo:
    conf = seen.config
    concurrency, size = conf.get("c"), conf.get("s")
    return LimitInfo(
        seen.gate,
        None if concurrency is None or concurrency < 0 else concurrency,
        rate_text(conf),
        float(conf.get("w", 1.0)),
        None if size is None or size >= 10**9 else size,
        conf.get("x") == 1,
        declared,
        None if layer is None else layer.by,
        None if layer is None else from_ms(layer.at),
        seen.used,
        seen.waiting,
        seen.why,
        seen.wait_ms / 1000,
        str(conf.get("why", "")),
    )
