"""What is well about a server, its queues and this machine, what is not, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

Level = Literal["ok", "warn", "bad"]

CLOCK_MS = 2_000
"""A client's clock that is off by more makes times in ids and logs hard to compare; jobs go by the server's."""

BUSY_MS = 1_000
"""Below this a script that is slow for once makes the server answer BUSY to everybody."""


class Check(NamedTuple):
    """One thing that was looked at: what was found, and what to do (''; nothing)."""

    name: str
    level: Level
    said: str
    remedy: str = ""


class ServerFacts(NamedTuple):
    """What a server says of itself: INFO and CONFIG GET by name, and what was measured (ms)."""

    info: Mapping[str, str]
    config: Mapping[str, str]
    clock_ms: int
    ping_p50: float
    ping_p99: float

    @property
    def title(self) -> str:
        """Kind and version."""
        valkey = self.info.get("valkey_version")
        return f"Valkey {valkey}" if valkey else f"Redis {self.info.get('redis_version', '?')}"

    def number(self, name: str) -> int:
        """Return a number of INFO; 0 if it says none."""
        value = self.info.get(name, "0")
        return int(value) if value.isdigit() else 0


class QueueFacts(NamedTuple):
    """What a queue shows. ``silent``: workers whose heartbeats are old; ``damage``: kinds that a quick verify found."""

    name: str
    waiting: int
    parked: int
    paused: bool
    alive: int
    silent: Sequence[str]
    versions: Sequence[str]
    damage: Sequence[str]
    protocol: str = ""


class ClientFacts(NamedTuple):
    """This machine: versions of what is installed ('' not there), and how many files a process may open (0 unknown)."""

    python: str
    versions: Mapping[str, str]
    files: int


def server(facts: ServerFacts) -> Iterator[Check]:
    """Judge a server."""
    yield _version(facts)
    yield from _memory(facts)
    yield _persistence(facts)
    yield _replication(facts)
    yield _clients(facts)
    yield _latency(facts)
    yield _clock(facts)
    yield from _settings(facts)


def _version(facts: ServerFacts) -> Check:
    text = facts.info.get("valkey_version") or facts.info.get("redis_version", "0")
    major, minor = (int(part) if part.isdigit() else 0 for part in [*text.split("."), "0"][:2])
    least = (7, 2) if "valkey_version" in facts.info else (7, 0)
    if (major, minor) < least:
        return Check("version", "bad", facts.title, "streamq needs Redis 7.0 or Valkey 7.2, or newer")
    if facts.number("cluster_enabled"):
        return Check("version", "bad", f"{facts.title}, a cluster", "use one node, or a primary with replicas")
    return Check("version", "ok", facts.title)


def _memory(facts: ServerFacts) -> Iterator[Check]:
    policy = facts.info.get("maxmemory_policy", "?")
    limit, used = facts.number("maxmemory"), facts.number("used_memory")
    remedy = "CONFIG SET maxmemory-policy noeviction: an evicted key is a lost queue"
    if policy == "noeviction":
        yield Check("eviction", "ok", policy)
    elif policy.startswith("allkeys") and limit:
        yield Check("eviction", "bad", policy, remedy)
    else:
        yield Check("eviction", "warn", policy, remedy)
    if not limit:
        remedy = "set maxmemory: then a full server refuses jobs with a clear error instead of being killed"
        yield Check("memory", "warn", f"{_bytes(used)} used, no maxmemory", remedy)
        return
    part = used / limit
    level: Level = "bad" if part > 0.9 else "warn" if part > 0.75 else "ok"
    remedy = "" if level == "ok" else "raise maxmemory, add workers, or purge dead letters: full, it refuses jobs"
    yield Check("memory", level, f"{_bytes(used)} of {_bytes(limit)} used, {part:.0%}", remedy)


def _persistence(facts: ServerFacts) -> Check:
    name, info = "persistence", facts.info
    for field, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot")):
        if info.get(field, "ok") != "ok":
            return Check(name, "bad", f"the last write of the {what} failed", "look at the server's log and its disk")
    if facts.number("aof_enabled"):
        fsync = facts.config.get("appendfsync", "everysec")
        if fsync == "no":
            return Check(name, "warn", "append-only file, appendfsync no", "CONFIG SET appendfsync everysec")
        return Check(name, "ok", f"append-only file, appendfsync {fsync}")
    remedy = "CONFIG SET appendonly yes (and CONFIG REWRITE)"
    if facts.config.get("save", "?") == "":
        return Check(name, "bad", "none: a restart loses every job", remedy)
    return Check(name, "warn", "snapshots only: a restart loses what came since the last", remedy)


def _replication(facts: ServerFacts) -> Check:
    name, replicas = "replication", facts.number("connected_slaves")
    if facts.info.get("role", "master") != "master":
        return Check(name, "bad", "a replica", "point STREAMQ_URL to the primary")
    if not replicas:
        return Check(name, "ok", "primary, no replicas")
    said = f"primary, {replicas} {'replica' if replicas == 1 else 'replicas'}"
    if facts.config.get("min-replicas-to-write", "1") == "0":
        remedy = "CONFIG SET min-replicas-to-write 1: else a failover may lose acknowledged jobs"
        return Check(name, "warn", f"{said}, min-replicas-to-write 0", remedy)
    return Check(name, "ok", said)


def _clients(facts: ServerFacts) -> Check:
    now, most = facts.number("connected_clients"), facts.number("maxclients")
    part = now / most if most else 0.0
    level: Level = "bad" if part > 0.95 else "warn" if part > 0.8 else "ok"
    remedy = "" if level == "ok" else "raise maxclients: a worker has about four connections, a producer two"
    return Check("clients", level, f"{now:,} of {most:,}" if most else f"{now:,}", remedy)


def _latency(facts: ServerFacts) -> Check:
    slow = facts.ping_p99
    level: Level = "bad" if slow > 100 else "warn" if slow > 10 else "ok"
    remedy = "" if level == "ok" else "look for slow commands (SLOWLOG GET), swapping, or a network between"
    return Check("latency", level, f"PING p50 {facts.ping_p50:.2f} ms, p99 {slow:.2f} ms", remedy)


def _clock(facts: ServerFacts) -> Check:
    off = abs(facts.clock_ms)
    remedy = "set both clocks by NTP; jobs go by the server's, ids and logs by this one's"
    if off > CLOCK_MS:
        return Check("clock", "warn", f"{off / 1000:.1f} s from the server's", remedy)
    return Check("clock", "ok", f"{off} ms from the server's")


def _settings(facts: ServerFacts) -> Iterator[Check]:
    busy = facts.config.get("busy-reply-threshold", facts.config.get("lua-time-limit", ""))
    if busy.isdigit():
        is_short = 0 < int(busy) < BUSY_MS
        remedy = "CONFIG SET busy-reply-threshold 5000" if is_short else ""
        yield Check("scripts", "warn" if is_short else "ok", f"busy after {int(busy):,} ms", remedy)
    if facts.config.get("timeout", "0") != "0":
        said = f"idle connections are closed after {facts.config['timeout']} s"
        yield Check("timeout", "warn", said, "CONFIG SET timeout 0: idle connections are normal here")
    if not facts.config:
        remedy = "grant +config|get to whoever runs doctor, or look by hand"
        yield Check("config", "warn", "CONFIG GET is refused", remedy)


def queue(facts: QueueFacts) -> Iterator[Check]:
    """Judge a queue."""
    name = f"queue {facts.name}"
    if facts.protocol:
        yield Check(name, "bad", facts.protocol, "upgrade the older side, or use another prefix until it is drained")
        return
    before = 0
    for one in _troubles(facts, name):
        before += 1
        yield one
    if not before:
        workers = "1 worker" if facts.alive == 1 else f"{facts.alive} workers"
        yield Check(name, "ok", f"{facts.waiting:,} waiting, {workers}")


def _troubles(facts: QueueFacts, name: str) -> Iterator[Check]:
    if facts.damage:
        remedy = f"look: streamq verify {facts.name}; mend: streamq recover {facts.name} --apply"
        yield Check(name, "bad", f"damaged: {', '.join(facts.damage)}", remedy)
    if facts.waiting and not facts.alive and not facts.paused:
        yield Check(name, "bad", f"{facts.waiting:,} waiting, no worker", "start a worker: streamq worker app:queue")
    if facts.parked and facts.alive:
        remedy = f"start a worker that knows them: streamq jobs list --queue {facts.name} --state parked"
        yield Check(name, "warn", f"{facts.parked:,} parked: no worker has their handler", remedy)
    if facts.silent:
        said = f"not heard of: {', '.join(facts.silent[:5])}{', ...' if len(facts.silent) > 5 else ''}"
        remedy = "they are forgotten after ten minutes; another worker takes over their jobs sooner"
        yield Check(name, "warn", said, remedy)
    if len(facts.versions) > 1:
        remedy = "usual during a deploy; else restart the older ones"
        yield Check(name, "warn", f"workers of streamq {', '.join(facts.versions)}", remedy)


def client(facts: ClientFacts) -> Iterator[Check]:
    """Judge this machine."""
    found = ", ".join(f"{name} {version}" for name, version in facts.versions.items() if version)
    yield Check("client", "ok", f"Python {facts.python}, {found}")
    if not facts.versions.get("uvloop"):
        yield Check("event loop", "ok", "asyncio; uvloop is not installed")
    if facts.files:
        is_few = facts.files < 1024
        remedy = "raise it (ulimit -n, LimitNOFILE): connections of handlers count, too" if is_few else ""
        yield Check("open files", "warn" if is_few else "ok", f"{facts.files:,} a process", remedy)


def worst(checks: Sequence[Check]) -> Level:
    """Return the gravest level of all."""
    levels = {one.level for one in checks}
    return "bad" if "bad" in levels else "warn" if "warn" in levels else "ok"


def _bytes(number: int) -> str:
    size = float(number)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
