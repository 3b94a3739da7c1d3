"""The Lua verbs: read once, run by SHA, loaded anew when the server forgot them.

Content-addressed scripts make rolling deploys safe: two versions of streamq never overwrite each other's verbs.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

PROTOCOL = 1
"""Version of the key layout. Two streamq of different protocol refuse each other's queues."""

_ALLOW_OOM = "#!lua flags=allow-oom\n"
_PRELUDE = ("_prelude.lua",)
_CLAIM = ("_prelude.lua", "_claim.lua")
_COUNT = (*_PRELUDE, "_tally.lua")
_ARRIVE = (*_COUNT, "_tally_arrived.lua")
_DEATHS = ("_deaths.lua",)
_SETTLED = (*_COUNT, "_tally_settled.lua", *_DEATHS)
_MISSING = (*_DEATHS, "_missing.lua")
_SETTLE = (
    "_stalls.lua",
    *(f"settle/{verb}.lua" for verb in ("complete", "retry", "bury", "finish", "release", "park")),
)


def _flow(*parts: str) -> tuple[str, ...]:
    return tuple(f"flow/_{part}.lua" for part in parts)


_FLOW = _flow("open", "rate", "spend", "gates", "record", "lines", "fair", "arrive", "leave", "save")
_AUDIT = _flow("facts", "things", "books")

# verb -> files put in front of it. Everything but what adds jobs or events may run while memory is short: it frees
# memory.
VERBS: dict[str, tuple[str, ...]] = {
    "enqueue": _ARRIVE,
    "fetch": _CLAIM,
    "settle": _SETTLED + _SETTLE,
    "renew": _PRELUDE,
    "tick": (*_CLAIM, "_care.lua", "_tally.lua"),
    "reconcile": _CLAIM,
    "promote": _PRELUDE + _MISSING,
    "look": _PRELUDE,
    "purge": _PRELUDE + _DEATHS,
    "deaths": _PRELUDE,
    "recount": _PRELUDE + _DEATHS,
    "clean": _PRELUDE,
    "pause": _PRELUDE,
    "counts": _PRELUDE,
    "stats": _PRELUDE,
    "leave": _PRELUDE,
    "emit": _PRELUDE,
    "watch": _PRELUDE,
    "schedule": _PRELUDE,
    "schedules": _PRELUDE,
    "fire": _ARRIVE,
}

# Verbs that meet jobs in lines are built with what flow control knows. Those that are called for every job have a
# plain build besides, so that jobs without limits pay nothing.
LINES: dict[str, tuple[str, ...]] = {
    "enqueue": (*_ARRIVE, *_FLOW, *_flow("put_off", "dedup", "arrival")),
    "take": (*_CLAIM, *_MISSING, *_FLOW, *_flow("hand", "turn", "ready")),
    "settle": (*_SETTLED, *_FLOW, *_SETTLE, "settle/limited.lua", "settle/divert.lua"),
    "tick": (*_CLAIM, "_care.lua", "_tally.lua", *_FLOW, *_flow("stall")),
    "promote": _PRELUDE + _MISSING + _FLOW,
    "unpark": _PRELUDE + _MISSING + _FLOW,
    "cancel": _COUNT + _FLOW,
    "replay": _PRELUDE + _DEATHS + _FLOW,
    "reprioritise": _PRELUDE + _FLOW,
    "limit": (*_PRELUDE, *_FLOW, *_flow("limits")),
    "breaker": _PRELUDE + _FLOW,
    "fire": (*_ARRIVE, *_FLOW, *_flow("put_off", "dedup", "arrival")),
    "explain": _PRELUDE + _FLOW,
    "verify": (*_PRELUDE, *_FLOW, *_AUDIT),
    "recover": (*_PRELUDE, *_MISSING, *_FLOW, *_flow("stall"), *_AUDIT, *_flow("mend", "mend_lines")),
    "slots": _PRELUDE + _FLOW,
}
_REFUSED_WHEN_FULL = frozenset({"enqueue", "replay", "fire", "emit"})


class Script:
    """One verb: its source and SHA1, by which the server knows it."""

    __slots__ = ("name", "sha", "source")

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source.encode()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()

    def call(self, keys: tuple[bytes, ...] | list[bytes], *args: bytes | str | int) -> list[bytes | str | int]:
        """Return the EVALSHA command for these keys and arguments."""
        return [b"EVALSHA", self.sha, len(keys), *keys, *args]


@cache
def script(verb: str) -> Script:
    """Return the script of ``verb``, parts put together; the plain build of a verb that has two."""
    return _build(verb, VERBS.get(verb) or LINES[verb])


@cache
def lines_script(verb: str) -> Script:
    """Return the build of ``verb`` that knows of lines."""
    return _build(verb, LINES[verb])


def _build(verb: str, parts: tuple[str, ...]) -> Script:
    head = "" if verb in _REFUSED_WHEN_FULL else _ALLOW_OOM
    return Script(verb, head + "\n".join(_read(name) for name in (*parts, f"{verb}.lua")))


@cache
def by_sha(sha: bytes) -> Script:
    """Return the script of this SHA; raises `KeyError` for a foreign one."""
    return {one.sha: one for one in (*map(script, VERBS), *map(lines_script, LINES))}[sha]


@cache
def _read(name: str) -> str:
    return resources.files("streamq._store").joinpath("lua", name).read_text("utf-8")
