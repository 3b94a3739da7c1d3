"""Every key of a queue partition, with its type and how long it lives.

All keys share the hash tag ``{queue:partition}``, so that one partition is one slot of a cluster and a script may touch
all of them. Nothing is ever built inside Lua.
"""

from __future__ import annotations

from typing import NamedTuple


class KeyInfo(NamedTuple):
    """One row of the reference page: suffix, Redis type, lifetime, what it holds."""

    suffix: str
    kind: str
    lifetime: str
    holds: str


CATALOGUE: tuple[KeyInfo, ...] = (
    KeyInfo(
        "m",
        "hash",
        "for ever",
        "protocol version, pause, counters, sweep cursor, turn of the promoter, what is watched",
    ),
    KeyInfo("i", "hash", "unsettled jobs", "job id -> row: where the job is; the fence token"),
    KeyInfo("l0 .. l4", "stream", "for ever, empty when idle", "lanes: waiting and active jobs (j id, d envelope)"),
    KeyInfo("t", "stream", "for ever, empty when idle", "taken: active jobs that came from elsewhere than a lane"),
    KeyInfo("d", "zset", "delayed jobs", "due ms -> job id"),
    KeyInfo("b", "hash", "delayed and parked jobs", "job id -> envelope"),
    KeyInfo("p", "zset", "parked jobs", "name, NUL, job id; in lexical order"),
    KeyInfo("x", "stream", "keep_dead", "dead letters (j id, d envelope, r reason, w worker, g what it died of)"),
    KeyInfo("xi", "hash", "keep_dead", "dead job id -> entry id in x"),
    KeyInfo("xd", "hash", "keep_dead, 1,000 fields at most", "what they died of -> how many, since when, the newest"),
    KeyInfo("w", "list", "keep_completed", "ids of recently completed jobs, newest first"),
    KeyInfo("wd", "hash", "keep_completed", "completed job id -> finished ms, attempt, duration ms, name"),
    KeyInfo("wt", "hash", "while somebody waits", "job id -> channels of those who wait for its end"),
    KeyInfo("c", "hash", "until settled", "ids of active jobs that were asked to stop"),
    KeyInfo("wk", "hash", "live workers", "consumer -> heartbeat"),
    KeyInfo("wb", "zset", "live workers", "consumer by time of its last sign of life"),
    KeyInfo("bell", "list", "at most one token", "wakes one idle worker"),
    KeyInfo("s", "hash", "until removed", "schedule id -> its plan and the job of its ticks"),
    KeyInfo(
        "ss", "hash", "for ever", "schedule id -> status, version, last tick, ticks fired; so that none fires twice"
    ),
    KeyInfo("st", "zset", "until removed", "next tick ms -> schedule id; at +inf those that wait for none"),
    KeyInfo("f", "zset", "jobs in lines", "number of the line -> lane, seq, job id"),
    KeyInfo("fl", "hash", "lines with jobs", "line -> number, state, lane, tag, gate"),
    KeyInfo("f0 .. f4", "zset", "ready lines", "rings: fair tag -> line, one per lane"),
    KeyInfo("fp", "zset", "parked lines", "gate, NUL, lane, tag, line; in lexical order"),
    KeyInfo("fg", "hash", "gates in use", "gate -> used, waiting, parked, envoy, log of starts"),
    KeyInfo("fc", "hash", "declared limits", "gate or class -> configuration in force"),
    KeyInfo("fk", "zset", "alarms", "due ms -> r gate, l line, c class"),
    KeyInfo("fd", "hash", "recent dedup keys", "dedup key -> job id, until ms, first ms"),
    KeyInfo("fr", "hash", "blocks and handler limits set live", "gate -> rule by which workers divert jobs"),
    KeyInfo("fo", "hash", "declared limits", "who declared and who set what, and when"),
    KeyInfo("fb", "hash", "for ever, a field per breaker", "circuit breaker -> open or closed, its recent failures"),
    KeyInfo("n", "hash", "for ever, some 300 fields at most", "counters since the queue began, by handler"),
    KeyInfo("n:<ten minutes>", "hash", "25 hours", "counters of ten minutes: by minute and handler, and by tenant"),
    KeyInfo("ev", "stream", "keep_events", "what happened, where events are kept (k kind, j job id, n name, d data)"),
    KeyInfo("al", "hash", "for ever", "alerts: whose turn it is to judge the rules, until when, and how they stand"),
    KeyInfo("r:<id>", "string", "result_ttl", "how a job ended: result or error"),
    KeyInfo("e:<producer>", "string", "10 minutes", "last batch of a producer and its reply"),
    KeyInfo("k:<worker>", "string", "10 minutes", "last settled batch of a worker and its reply"),
)


class Keys:
    """Key and channel names of one partition of one queue, as bytes."""

    def __init__(self, prefix: str, queue: str, partition: int = 0) -> None:
        base = f"{prefix}:{{{queue}:{partition}}}:".encode()
        self.base = base
        self.meta: bytes = base + b"m"
        self.index: bytes = base + b"i"
        self.lanes: tuple[bytes, ...] = tuple(base + b"l%d" % lane for lane in range(5))
        self.taken: bytes = base + b"t"
        self.delayed: bytes = base + b"d"
        self.bodies: bytes = base + b"b"
        self.parked: bytes = base + b"p"
        self.dead: bytes = base + b"x"
        self.dead_index: bytes = base + b"xi"
        self.deaths: bytes = base + b"xd"
        self.window: bytes = base + b"w"
        self.window_details: bytes = base + b"wd"
        self.waiters: bytes = base + b"wt"
        self.cancels: bytes = base + b"c"
        self.workers: bytes = base + b"wk"
        self.beats: bytes = base + b"wb"
        self.bell: bytes = base + b"bell"
        self.specs: bytes = base + b"s"
        self.states: bytes = base + b"ss"
        self.ticks: bytes = base + b"st"
        self.lines: bytes = base + b"f"
        self.gates: bytes = base + b"fg"
        self.limits: bytes = base + b"fc"
        self.dedup: bytes = base + b"fd"
        self.rules: bytes = base + b"fr"
        self.limit_layers: bytes = base + b"fo"
        self.breakers: bytes = base + b"fb"
        self.events: bytes = base + b"ev"
        self.alerts: bytes = base + b"al"
        self.flow: tuple[bytes, ...] = (
            self.lines, base + b"fl", *(base + b"f%d" % lane for lane in range(5)), base + b"fp", self.gates,
            self.limits, base + b"fk", self.dedup, self.rules, self.limit_layers, self.cancels, self.bodies, self.bell,
        )  # fmt: skip
        """Keys that every build of a verb which knows of lines is given, in the order of flow/_gates.lua."""
        self.counters: bytes = base + b"n"
        self.control: bytes = base + b"ctl"
        self.done: bytes = base + b"done:"

    def minutes(self, ms: int) -> bytes:
        """Counters of the ten minutes in which ``ms`` is."""
        return self.base + b"n:%d" % (ms // 600_000)

    def record(self, job_id: str | bytes) -> bytes:
        """Record of a finished job."""
        return self.base + b"r:" + (job_id if isinstance(job_id, bytes) else job_id.encode())

    def producer_memo(self, producer: bytes) -> bytes:
        """Memo of a producer's last batch."""
        return self.base + b"e:" + producer

    def worker_memo(self, consumer: bytes) -> bytes:
        """Memo of a worker's last settled batch."""
        return self.base + b"k:" + consumer


def registry_key(prefix: str) -> bytes:
    """Set of the queue names that ever had a worker or a job under this prefix, for listing without KEYS."""
    return f"{prefix}:queues".encode()


def trail_key(prefix: str) -> bytes:
    """Stream of what people did through the dashboard and its REST operations, under this prefix."""
    return f"{prefix}:audit".encode()
