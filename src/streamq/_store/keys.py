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
    KeyInfo("m", "hash", "for ever", "protocol version, pause, counters, sweep cursor, turn of the promoter"),
    KeyInfo("i", "hash", "unsettled jobs", "job id -> row: where the job is; the fence token"),
    KeyInfo("l0 .. l4", "stream", "for ever, empty when idle", "lanes: waiting and active jobs (j id, d envelope)"),
    KeyInfo("t", "stream", "for ever, empty when idle", "taken: active jobs that came from elsewhere than a lane"),
    KeyInfo("d", "zset", "delayed jobs", "due ms -> job id"),
    KeyInfo("b", "hash", "delayed and parked jobs", "job id -> envelope"),
    KeyInfo("p", "zset", "parked jobs", "name, NUL, job id; in lexical order"),
    KeyInfo("x", "stream", "keep_dead", "dead letters (j id, d envelope, r reason, w worker)"),
    KeyInfo("xi", "hash", "keep_dead", "dead job id -> entry id in x"),
    KeyInfo("w", "list", "keep_completed", "ids of recently completed jobs, newest first"),
    KeyInfo("wd", "hash", "keep_completed", "completed job id -> finished ms, attempt, duration ms, name"),
    KeyInfo("wt", "hash", "while somebody waits", "job id -> channels of those who wait for its end"),
    KeyInfo("c", "hash", "until settled", "ids of active jobs that were asked to stop"),
    KeyInfo("wk", "hash", "live workers", "consumer -> heartbeat"),
    KeyInfo("wb", "zset", "live workers", "consumer by time of its last sign of life"),
    KeyInfo("bell", "list", "at most one token", "wakes one idle worker"),
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
        self.window: bytes = base + b"w"
        self.window_details: bytes = base + b"wd"
        self.waiters: bytes = base + b"wt"
        self.cancels: bytes = base + b"c"
        self.workers: bytes = base + b"wk"
        self.beats: bytes = base + b"wb"
        self.bell: bytes = base + b"bell"
        self.control: bytes = base + b"ctl"
        self.done: bytes = base + b"done:"

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
