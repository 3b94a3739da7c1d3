"""What a job that waits in a line carries in its index row, and what deduplication is told; see flow/*.lua."""

from __future__ import annotations

from typing import Literal

import msgspec

from .._core.dedup import DedupPlan
from .._core.flow import Flow

_TAKEN = ord("t")
_MODES = {"simple": "s", "throttle": "t", "debounce": "d", "keep_last": "k"}
_ON_LIMIT: dict[str, Literal["w", "d", "b"]] = {"wait": "w", "drop": "d", "bury": "b"}
_ON_CONFLICT: dict[str, Literal["q", "d", "c"]] = {"queue": "q", "drop": "d", "cancel_running": "c"}


class LineRecord(msgspec.Struct, array_like=True):
    """Positions as in flow/_lines.lua. ``batch``: False, or size, wait, quiet and max delay (ms). Times in ms."""

    line: str
    gates: tuple[str, ...]
    cost: int = 1
    ordered: bool = False
    batch: tuple[int, int, int, int] | bool = False
    expires_ms: int = 0
    seq: int = 0
    stalls: int = 0
    taken_ms: int = 0
    since_ms: int = 0
    on_limit: str = "w"
    on_conflict: str = "q"
    free: bool = False
    takes: int = 0
    lane: int = 0

    @property
    def flow(self) -> Flow:
        """What it waits for, without its deduplication."""
        return Flow(self.gates, self.line, self.cost, self.ordered)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LineRecord).decode


def record(flow: Flow | None, lane: int, expires_ms: int = 0) -> bytes:
    """Return the record of a job that waits for gates or in a line; b"" for one that does not."""
    if flow is None or not (flow.gates or flow.line):
        return b""
    batch = flow.batch
    return _encode(
        LineRecord(
            flow.line,
            flow.gates,
            flow.cost,
            flow.ordered,
            (batch.size, batch.wait_ms, batch.quiet_ms, batch.max_delay_ms) if batch else False,
            expires_ms,
            on_limit=_ON_LIMIT[flow.on_limit],
            on_conflict=_ON_CONFLICT[flow.on_conflict],
            lane=lane,
        )
    )


def dedup(plan: DedupPlan | None) -> bytes:
    """Return what enqueue is told of a job's deduplication; b"" for none."""
    if plan is None:
        return b""
    return _encode((_MODES[plan.mode], plan.key, plan.ttl_ms or 0, plan.max_wait_ms or 0, plan.replace_priority))


def held(token: bytes) -> LineRecord | None:
    """Return the record in a row or token, None for a job that came from a lane."""
    _, bar, data = token.partition(b"|")
    return _decode(data) if bar else None


def replaced(found: LineRecord, *, gates: tuple[str, ...], line: str) -> bytes:
    """Return ``found`` encoded with other gates."""
    return _encode(msgspec.structs.replace(found, gates=gates, line=line))


def waited(now_ms: int, token: bytes, run_us: int) -> int:
    """Return how long the job of a token was ready before a run that ends now, in microseconds.

    Ready: enqueued, due again, or in its line. Asked for every job.
    """
    since = 0
    if token[0] == _TAKEN:
        record = held(token)
        since = record.since_ms if record is not None else 0
    wait = (now_ms - (since or int(token[1 : token.index(b"-")]))) * 1000 - run_us
    return wait if wait > 0 else 0  # noqa: FURB136 - max() costs as much as the rest
