"""Every key of a queue partition as one comparable value, and the invariants that hold for it at any time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import msgspec
import redis

from streamq._core.report import plain
from streamq._store.keys import Keys
from tests.servers import Server
from tests.store import lined
from tests.store.lined import Lines

LETTERS = "01234t"
NUL = "\0"

FOR_EVER = frozenset(
    {"m", "i", *(f"l{lane}" for lane in range(5)), "t", "d", "b", "p", "x", "xi", "w", "wd", "wt", "c", "wk", "wb"}
    | {"xd", "bell", "s", "ss", "st", "fb", "n", "ev", "al"}
    | lined.NAMES
)
"""The keys of the catalogue that need no TTL: bounded by something else, as the catalogue says."""

_DEATHS = msgspec.msgpack.Decoder(tuple[int, int, int, msgspec.Raw])

MORTAL = ("r:", "e:", "k:", "n:")
"""The keys that must have one."""


@dataclass(frozen=True)
class Entry:
    """An entry of a lane. ``owner`` and ``deliveries`` are set while it is pending."""

    id: str
    job: str
    body: bytes
    owner: str = ""
    deliveries: int = 0


@dataclass(frozen=True)
class Snapshot:
    """All that is kept for one queue. Clocks are left out: ``beats`` are names, pauses their reason.

    ``index`` has the places; the records behind them are in ``lines``, the whole rows in ``rows``.
    """

    meta: Mapping[str, str]
    index: Mapping[str, str]
    lanes: Mapping[str, Sequence[Entry]]
    orphans: Sequence[str]
    delayed: Mapping[str, int]
    bodies: Mapping[str, bytes]
    parked: Sequence[str]
    dead: Mapping[str, Mapping[str, bytes]]
    dead_index: Mapping[str, str]
    window: Sequence[str]
    details: Mapping[str, str]
    waiters: Mapping[str, str]
    cancels: Sequence[str]
    workers: Mapping[str, bytes]
    beats: Sequence[str]
    bell: int
    records: Mapping[str, bytes]
    memos: Mapping[str, bytes]
    foreign: Sequence[str]
    lines: Lines = field(default_factory=Lines)
    rows: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    deaths: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    counters: Mapping[str, Mapping[int, int]] = field(default_factory=dict[str, Mapping[int, int]])
    minutes: Mapping[str, Mapping[str, Mapping[int, int]]] = field(
        default_factory=dict[str, Mapping[str, Mapping[int, int]]]
    )

    @property
    def jobs(self) -> Self:
        """The same without what says nothing about jobs: heartbeats, bell, memos, who sweeps and when."""
        meta = {name: value for name, value in self.meta.items() if name not in {"swept", "sweep", "turn", "v"}}
        return replace(self, meta=meta, workers={}, beats=(), bell=0, memos={})

    @property
    def entries(self) -> dict[str, Entry]:
        """Entries by job."""
        return {entry.job: entry for lane in self.lanes.values() for entry in lane}

    def place(self, job: str) -> str:
        """Where a job is, in a word; for tests that tell a story."""
        row = self.index.get(job, "")
        if row[:1] == "d":
            return "delayed"
        if row[:1] == "p":
            return "parked"
        if row[:1] == "f":
            return "in line"
        if row:
            owner = self.entries[job].owner
            return "active" if owner not in {"", "~"} else "waiting"
        if job in self.dead_index:
            return "dead"
        return "record" if job in self.records else "gone"

    def token(self, job: str) -> bytes:
        """The fence token of an active job."""
        return self.rows[job]


def text(value: bytes) -> str:
    """Bytes as text; odd ones stay distinct."""
    return value.decode("utf-8", "backslashreplace")


def pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    """A flat reply as a dict."""
    return {text(flat[at]): flat[at + 1] for at in range(0, len(flat), 2)}


def texts(flat: Sequence[bytes]) -> dict[str, str]:
    """A flat reply as a dict of text."""
    return {name: text(value) for name, value in pairs(flat).items()}


def take(server: Server, keys: Keys) -> Snapshot:
    """Read everything under the partition's keys."""
    found = names(server, keys)
    lanes: dict[str, tuple[Entry, ...]] = {}
    orphans: list[str] = []
    for letter, key in zip(LETTERS, (*keys.lanes, keys.taken), strict=True):
        lanes[letter], lost = _lane(server, key)
        orphans += [f"{letter}{entry}" for entry in lost]
    due = server.command("ZRANGE", keys.delayed, 0, -1, "WITHSCORES")
    meta = texts(server.command("HGETALL", keys.meta))
    if "paused" in meta:
        meta["paused"] = meta["paused"].partition(" ")[2]
    dead = server.command("XRANGE", keys.dead, "-", "+")
    rows = pairs(server.command("HGETALL", keys.index))
    return Snapshot(
        meta=meta,
        index={job: text(lined.place_of(row)) for job, row in rows.items()},
        lanes=lanes,
        orphans=tuple(orphans),
        delayed={name: int(score) for name, score in texts(due).items()},
        bodies=pairs(server.command("HGETALL", keys.bodies)),
        parked=tuple(text(one) for one in server.command("ZRANGE", keys.parked, 0, -1)),
        dead={entry.decode(): pairs(fields) for entry, fields in dead},
        dead_index=texts(server.command("HGETALL", keys.dead_index)),
        window=tuple(text(one) for one in server.command("LRANGE", keys.window, 0, -1)),
        details=texts(server.command("HGETALL", keys.window_details)),
        waiters=texts(server.command("HGETALL", keys.waiters)),
        cancels=tuple(sorted(text(one) for one in server.command("HKEYS", keys.cancels))),
        workers=pairs(server.command("HGETALL", keys.workers)),
        beats=tuple(sorted(text(one) for one in server.command("ZRANGE", keys.beats, 0, -1))),
        bell=server.command("LLEN", keys.bell),
        records=_strings(server, keys, found, "r:"),
        memos={**_strings(server, keys, found, "e:"), **_strings(server, keys, found, "k:")},
        foreign=tuple(sorted(name for name in found if name not in FOR_EVER and not name.startswith(MORTAL))),
        lines=lined.take(server, keys, rows) if lined.NAMES & set(found) else Lines(),
        rows=rows,
        deaths=pairs(server.command("HGETALL", keys.deaths)),
        counters=slots(server, keys.counters),
        minutes={name: slots(server, keys.base + name.encode()) for name in found if name.startswith("n:")},
    )


def slots(server: Server, key: bytes) -> dict[str, Mapping[int, int]]:
    """Counters: field -> slot -> number."""
    found = pairs(server.command("HGETALL", key))
    return {name: plain(name[:1].encode().replace(b"T", b"s"), value) for name, value in found.items() if name != "#"}


def names(server: Server, keys: Keys) -> list[str]:
    """Every key of the partition, without its base."""
    pattern = re.sub(rb"([\[\]?*\\])", rb"\\\1", keys.base) + b"*"
    cursor, found = b"0", set[bytes]()
    while True:
        cursor, some = server.command("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        found.update(some)
        if cursor == b"0":
            return sorted(text(one.removeprefix(keys.base)) for one in found)


def _strings(server: Server, keys: Keys, found: Sequence[str], kind: str) -> dict[str, bytes]:
    wanted = [name for name in found if name.startswith(kind)]
    return {name.removeprefix(kind): server.command("GET", keys.base + name.encode()) for name in wanted}


def _lane(server: Server, key: bytes) -> tuple[tuple[Entry, ...], list[str]]:
    pending = pending_of(server, key)
    entries: list[Entry] = []
    for entry, fields in server.command("XRANGE", key, "-", "+"):
        found = pairs(fields)
        owner, deliveries = pending.pop(entry.decode(), ("", 0))
        entries.append(Entry(entry.decode(), text(found.get("j", b"?")), found.get("d", b""), owner, deliveries))
    return tuple(entries), sorted(pending)


def pending_of(server: Server, key: bytes) -> dict[str, tuple[str, int]]:
    """Pending entries of a lane: entry id -> (consumer, deliveries)."""
    try:
        rows = server.command("XPENDING", key, "w", "-", "+", 100_000)
    except redis.ResponseError as problem:
        if "NOGROUP" not in str(problem):
            raise
        return {}
    return {entry.decode(): (text(consumer), count) for entry, consumer, _, count in rows}


def check(server: Server, keys: Keys, now: Snapshot | None = None) -> Snapshot:
    """Assert what must always hold, and return the snapshot it was asserted of."""
    now = now or take(server, keys)
    # I2: every pending id exists in its stream, and whatever is in a stream is unsettled.
    assert not now.orphans, f"pending, but not in the stream: {now.orphans}"
    # I1: each job is in exactly one place, and the index names it.
    places: dict[str, list[str]] = {}
    for letter, entries in now.lanes.items():
        for entry in entries:
            places.setdefault(entry.job, []).append(f"{letter}{entry.id}")
    for job in now.delayed:
        places.setdefault(job, []).append("d")
    for member in now.parked:
        name, _, job = member.partition("\0")
        places.setdefault(job, []).append(f"p:{name}")
    for one in now.lines.jobs:
        places.setdefault(one.job, []).append("f")
    for job, where in places.items():
        assert len(where) == 1, f"{job} is in {where}"
    assert places.keys() == now.index.keys(), f"in a place {sorted(places)}, in the index {sorted(now.index)}"
    for job, row in now.index.items():
        assert _names(row, places[job][0]), f"{job} is in {places[job][0]}, its row says {row}"
    assert now.bodies.keys() == {job for job, row in now.index.items() if row[0] in "dpf"}, "bodies"
    _check_lines(now)
    buried = {entry: text(fields["j"]) for entry, fields in now.dead.items()}
    assert {job: entry for entry, job in buried.items()} == now.dead_index, "dead letters and their index"
    assert not now.dead_index.keys() & now.index.keys(), "dead and alive"
    _check_deaths(now)
    assert set(now.window) == now.details.keys(), "window and its details"
    assert not now.cancels or set(now.cancels) <= now.index.keys(), f"marks of settled jobs: {now.cancels}"
    assert len(now.cancels) == int(now.meta.get("cancels", 0)), "marks and their number"
    assert now.bell in {0, 1}, f"{now.bell} tokens in the bell"
    # I16: no key without TTL but those of the catalogue, and no key that it does not name.
    assert not now.foreign, f"keys of no catalogue: {now.foreign}"
    for kind, found in (("r:", now.records), ("", now.memos), ("n:", {name[2:]: b"" for name in now.minutes})):
        for name in found:
            suffixes = [kind] if kind else ["e:", "k:"]
            ttls = [server.command("PTTL", keys.base + suffix.encode() + name.encode()) for suffix in suffixes]
            assert max(ttls) > 0, f"{kind}{name} lives for ever"
    return now


def died_of(now: Snapshot) -> dict[str, int]:
    """How many dead letters count under each label, by what the server keeps."""
    assert "#" not in now.deaths, "nobody ended the count that was begun"
    return {label: _DEATHS.decode(row)[0] for label, row in now.deaths.items()}


def _check_deaths(now: Snapshot) -> None:
    """What letters died of is counted exactly, since not later than the first of them, up to the newest."""
    times: dict[str, list[int]] = {}
    for entry, fields in now.dead.items():
        label = fields.get("g", b"")
        times.setdefault(text(label) if len(label) > 1 else "other", []).append(int(entry.split("-")[0]))
    assert died_of(now) == {label: len(some) for label, some in times.items()}, "what letters died of"
    for what, some in times.items():
        _, first, newest, _ = _DEATHS.decode(now.deaths[what])
        assert first <= min(some) <= max(some) <= newest, f"when those of {what!r} died"


def _check_lines(now: Snapshot) -> None:
    if now.lines == Lines():
        return
    places = {job: lined.place_of(row) for job, row in now.rows.items()}
    lined.check(now.lines, places, [entry.job for entry in now.lanes["t"]])
    # F7: what is in the taken stream is in somebody's hands.
    waiting = [entry.job for entry in now.lanes["t"] if not entry.owner]
    assert not waiting, f"F7: taken by nobody: {waiting}"


def _names(row: str, place: str) -> bool:
    if row[0] in "df":
        return place == row[0] and row[1:] in {"0", "1", "2", "3", "4"}
    if row[0] == "p":
        return place == f"p:{row[2:].partition(NUL)[0]}" and row[1] in "01234"
    return row.rpartition(":")[0] == place


def counter(now: Snapshot, name: str) -> int:
    """A total of the meta hash."""
    return int(now.meta.get(name, 0))


def only(values: Sequence[Any]) -> Any:
    """The one value there is."""
    assert len(values) == 1, values
    return values[0]
