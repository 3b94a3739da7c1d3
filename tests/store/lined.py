"""What flow control keeps, as one comparable value, and what holds for it at any time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from streamq._store.keys import Keys
from streamq._store.lines import LineRecord
from tests.servers import Server

NAMES = frozenset({"f", "fl", "f0", "f1", "f2", "f3", "f4", "fp", "fg", "fc", "fk", "fd", "fr", "fo"})
"""The keys of flow control: they need no TTL, being bounded by the jobs, gates and limits there are."""

LOG_MOST = 128

Config = dict[str, Any]


class LineState(msgspec.Struct, array_like=True, frozen=True):
    """A line: the field of flow/_lines.lua."""

    number: int
    state: str
    lane: int
    tag: float
    gate: str
    envoy_of: str
    cost: int
    since_ms: int


class GateState(msgspec.Struct, array_like=True, frozen=True):
    """A gate: the field of flow/_gates.lua."""

    used: int = 0
    waiting: int = 0
    finish: float = 0
    parked: int = 0
    envoy: str | bool = False
    envoy_lane: int = 0
    shut_ms: int = 0
    log: list[float] = []
    holders: dict[str, int] | list[str] | bool = False
    shut_at_ms: int = 0


class Waiting(NamedTuple):
    """A job of a line, as a member of the one zset."""

    number: int
    lane: int
    seq: int
    job: str


@dataclass(frozen=True)
class Lines:
    """All that flow control keeps. ``records`` are those of the index rows, whatever place the job is in."""

    jobs: Sequence[Waiting] = ()
    lines: Mapping[str, LineState] = field(default_factory=dict[str, LineState])
    rings: Sequence[tuple[int, str, float]] = ()
    park: Sequence[tuple[str, int, float, str]] = ()
    gates: Mapping[str, GateState] = field(default_factory=dict[str, GateState])
    config: Mapping[str, Config] = field(default_factory=dict[str, Config])
    alarms: Mapping[str, int] = field(default_factory=dict[str, int])
    dedup: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    rules: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    layers: Sequence[str] = ()
    records: Mapping[str, LineRecord] = field(default_factory=dict[str, LineRecord])
    now_ms: int = field(default=0, compare=False)

    @property
    def waiting(self) -> list[str]:
        """Ids of the jobs in lines, line by line."""
        return [one.job for one in self.jobs]

    def of(self, line: str) -> list[str]:
        """Ids of the jobs of a line, in its order."""
        return [one.job for one in self.jobs if one.number == self.lines[line].number]

    def gate(self, name: str) -> GateState:
        """State of a gate; one that is idle has none."""
        return self.gates.get(name, GateState())


def take(server: Server, keys: Keys, rows: Mapping[str, bytes]) -> Lines:
    """Read everything there is."""
    seconds, micros = server.command("TIME")
    flow = keys.flow
    rings = [
        (lane, text(name), float(tag))
        for lane in range(5)
        for name, tag in scored(server.command("ZRANGE", flow[2 + lane], 0, -1, "WITHSCORES"))
    ]
    return Lines(
        jobs=tuple(_waiting(*one) for one in scored(server.command("ZRANGE", keys.lines, 0, -1, "WITHSCORES"))),
        lines={name: _LINE(data) for name, data in _hash(server, flow[1]).items()},
        rings=tuple(rings),
        park=tuple(_parked(one) for one in server.command("ZRANGE", flow[7], 0, -1)),
        gates={name: _GATE(data) for name, data in _hash(server, keys.gates).items()},
        config={name: msgspec.msgpack.decode(data) for name, data in _hash(server, keys.limits).items()},
        alarms={text(name): int(due) for name, due in scored(server.command("ZRANGE", flow[10], 0, -1, "WITHSCORES"))},
        dedup=_hash(server, keys.dedup),
        rules=_hash(server, keys.rules),
        layers=tuple(sorted(_hash(server, keys.limit_layers))),
        records={job: found for job, row in rows.items() if (found := record_of(row)) is not None},
        now_ms=int(seconds) * 1000 + int(micros) // 1000,
    )


def text(value: bytes) -> str:
    """Bytes as text; odd ones stay distinct."""
    return value.decode("utf-8", "backslashreplace")


def record_of(row: bytes) -> LineRecord | None:
    """The record of an index row. The name of a parked job may hold a bar itself."""
    head = row.find(b"\0") if row[:1] == b"p" else 0
    bar = row.find(b"|", max(head, 0))
    return None if bar < 0 else msgspec.msgpack.decode(row[bar + 1 :], type=LineRecord)


def place_of(row: bytes) -> bytes:
    """An index row without its record."""
    head = row.find(b"\0") if row[:1] == b"p" else 0
    bar = row.find(b"|", max(head, 0))
    return row if bar < 0 else row[:bar]


# -- the rules of a gate, once more ------------------------------------------------------------------------


def class_of(name: str) -> str:
    """The class of a gate, '' for none."""
    if name.startswith("g:"):
        return "g"
    return name.partition("=")[0] if name[:2] in {"r.", "k."} and "=" in name else ""


def config_of(lines: Lines, name: str) -> Config:
    """The configuration in force."""
    if name.startswith("d."):
        return {"c": 1}
    found = dict(lines.config.get(class_of(name), {}))
    own = lines.config.get(name, {})
    if "n" in own:
        for option in "npbo":
            found.pop(option, None)
    return found | own


def rate_wait(lines: Lines, name: str, cost: int) -> float:
    """Ms until ``cost`` tokens can be spent at a gate, 0: now."""
    gate, config, now = lines.gate(name), config_of(lines, name), lines.now_ms
    count: int = config.get("n", -1)
    held = max(0, gate.shut_ms - now)
    if count <= 0:
        return max(held, 1000 if count == 0 else 0)
    log = list(zip(gate.log[::2], gate.log[1::2], strict=True))
    cost = min(cost, count, config.get("b", count))
    way = _in_bucket if "b" in config else _on_clock if "o" in config else _sliding
    return max(held, way(config, log, cost, now))


def _in_bucket(config: Config, log: list[tuple[float, float]], cost: int, now: int) -> float:
    most: float = config["b"]
    speed: float = config["n"] / config["p"]
    level = min(most, log[0][1] + max(0, now - log[0][0]) * speed) if log else most
    return max(0, math.ceil((cost - level) / speed))


def _on_clock(config: Config, log: list[tuple[float, float]], cost: int, now: int) -> float:
    per: int = config["p"]
    start: int = now - (now - config["o"]) % per
    spent = sum(part for at, part in log if abs(at - start) * 2 < per)
    return 0 if spent + cost <= config["n"] else start + per - now


def _sliding(config: Config, log: list[tuple[float, float]], cost: int, now: int) -> float:
    per: int = config["p"]
    ends = sorted((at + per, part) for at, part in log if at + per > now)
    free: float = config["n"] - sum(part for _, part in ends)
    if free >= cost:
        return 0
    for end, part in ends:
        free += part
        if free >= cost:
            return max(1, end - now)
    return 0


def shut(lines: Lines, name: str, cost: int) -> tuple[str, float]:
    """Why nobody may pass, and for how long: as flow/_gates.lua says it."""
    gate, config = lines.gate(name), config_of(lines, name)
    if config.get("x") == 1:
        return "paused", 0
    if 0 <= config.get("c", -1) <= gate.used:
        return "slots", 0
    wait = rate_wait(lines, name, cost)
    return ("rate", wait) if wait > 0 else ("", 0)


# -- what always holds -------------------------------------------------------------------------------------


def check(now: Lines, places: Mapping[str, bytes], taken: Sequence[str]) -> None:
    """Assert F1 to F5 and F7; ``places`` are the index rows without records, ``taken`` the jobs in the taken stream."""
    _check_gates(now, places, taken)
    _check_lines(now)
    _check_wake_ups(now)
    for one in now.jobs:
        assert places.get(one.job) == b"f%d" % one.lane, f"{one} waits in a line, its row says {places.get(one.job)!r}"
        assert now.records[one.job].seq == one.seq
    waiting = {job for job, place in places.items() if place[:1] == b"f"}
    assert waiting == set(now.waiting), "rows of lines and members of lines"
    assert len(now.jobs) == len(waiting), "a job waits twice"


def _check_gates(now: Lines, places: Mapping[str, bytes], taken: Sequence[str]) -> None:
    used, waiting = Counter[str](), Counter[str]()
    for job in taken:
        record = now.records.get(job)
        if record is not None and not record.free:
            used.update(record.gates)
    for job in now.waiting:
        waiting.update(now.records[job].gates)
    found = {name: gate for name, gate in now.gates.items() if name != "q"}
    assert {name: gate.used for name, gate in found.items() if gate.used} == dict(used), "F1: slots are taken entries"
    assert {name: gate.waiting for name, gate in found.items() if gate.waiting} == dict(waiting), "F2: who waits"


def _check_lines(now: Lines) -> None:
    ready = {name: (lane, tag) for lane, name, tag in now.rings}
    parked = {name: (gate, lane, tag) for gate, lane, tag, name in now.park}
    held = {name[1:] for name in now.alarms if name[0] == "l"}
    places = Counter([*(name for _, name, _ in now.rings), *(one[3] for one in now.park), *held])
    assert places == Counter(list(now.lines)), f"F3: lines {sorted(now.lines)} are in {places}"
    numbers = Counter(one.number for one in now.jobs)
    assert numbers.keys() <= {line.number for line in now.lines.values()}, "jobs of no line"
    for name, line in now.lines.items():
        where = {"r": set(ready), "p": set(parked), "h": held}[line.state]
        assert name in where, f"F3: {name} is not where it says: {line}"
        if line.state == "r":
            assert ready[name] == (line.lane, line.tag), f"F3: {name} in the ring"
        else:
            assert numbers[line.number], f"nobody waits in {name}, and it has no turn"
        if line.state == "p":
            assert parked[name] == (line.gate, line.lane, line.tag), f"F3: {name} parked"
        if line.envoy_of:
            assert now.gates[line.envoy_of].envoy == name, f"{name} says it is an envoy, its gate says not"
            assert now.gates[line.envoy_of].envoy_lane == line.lane, f"{name} moved, its gate knows another lane"


def _check_wake_ups(now: Lines) -> None:
    parked = Counter(gate for gate, *_ in now.park)
    assert {name: gate.parked for name, gate in now.gates.items() if gate.parked} == dict(parked), "F4: who is parked"
    # After a change of a class 500 gates are looked at in a call; the rest of them has an alarm together.
    classes = {name[1:].partition("\0")[0] for name in now.alarms if name[0] == "c"}
    for name in parked:
        if class_of(name) in classes:
            continue
        gate = now.gates[name]
        if gate.envoy:
            assert gate.envoy in now.lines, f"F4: {gate.envoy} is envoy of {name}, and no line"
            envoy = now.lines[str(gate.envoy)]
            assert (envoy.state, envoy.envoy_of) == ("r", name), f"F4: {gate.envoy} is no envoy of {name}: {envoy}"
            continue
        first = next(line for at, _, _, line in now.park if at == name)
        cost = now.lines[first].cost
        why, wait = shut(now, name, cost)
        if why in {"paused", "slots"}:
            continue
        alarm = now.alarms.get(f"r{name}")
        assert alarm is not None, f"F4, F5: nobody will wake {first} at {name} ({why or 'open'})"
        assert alarm <= now.now_ms + wait + 1, (
            f"F5: {first} (cost {cost}) at {name} is woken {alarm - now.now_ms - wait} ms late: {gate} at {now.now_ms}"
        )


def idle(now: Lines) -> None:
    """Assert that nothing is left when all is drained (F8); limits and dedup keys have lives of their own."""
    assert (now.jobs, now.lines, now.rings, now.park) == ((), {}, (), ())
    assert not [name for name in now.alarms if name[0] == "l"]


_LINE = msgspec.msgpack.Decoder(LineState).decode
_GATE = msgspec.msgpack.Decoder(GateState).decode


def _hash(server: Server, key: bytes) -> dict[str, bytes]:
    flat = server.command("HGETALL", key)
    return {text(flat[at]): flat[at + 1] for at in range(0, len(flat), 2)}


def scored(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return [(flat[at], flat[at + 1]) for at in range(0, len(flat), 2)]


def _waiting(member: bytes, number: bytes) -> Waiting:
    return Waiting(int(number), int(member[:1]), int.from_bytes(member[1:9], "big"), text(member[9:]))


def _parked(member: bytes) -> tuple[str, int, float, str]:
    gate, _, rest = member.partition(b"\0")
    tag = msgspec.msgpack.decode(b"\xcb" + rest[1:9], type=float)  # big-endian, as msgpack has it
    return text(gate), int(rest[:1]), tag, text(rest[9:])
