"""Why a job is where it is, in words: what somebody on call asks at night."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ._core import gates
from ._core.lifecycle import JobState
from ._core.options import Priority
from ._store.desk import Counted, Look
from ._store.limits import Explained, GateSeen, with_queue
from .info import state_of


class GateInfo(msgspec.Struct, frozen=True):
    """What a gate of a job says: "open", "paused", "slots" (all taken) or "rate"; ``opens_in``: seconds, if by time."""

    gate: str
    state: str
    text: str
    opens_in: float


class Explanation(msgspec.Struct, frozen=True):
    """Why a job is where it is. ``str()`` of it is the answer in one line.

    state: where it is. line: the line it waits in, '' for none. position: its place in that line, from 1. in_line: jobs
    in the line. parked_at: the gate that stopped the line. gates: all gates it has to pass, and the queue's.
    """

    job_id: str
    state: JobState
    text: str
    line: str = ""
    position: int = 0
    in_line: int = 0
    parked_at: str = ""
    gates: Sequence[GateInfo] = ()

    def __str__(self) -> str:
        """The answer in one line."""
        return self.text


def explained(job_id: str, found: Look, seen: Explained, counted: Counted) -> Explanation:
    """Return what a look and the gates say together."""
    state = state_of(found)
    told = [_gate(one) for one in with_queue(seen.gates, counted) if one.gate != gates.QUEUE or one.config]
    by_name = {one.gate: one for one in told}
    paused = counted.meta.get("paused")
    if state is JobState.WAITING and seen.state:
        text = f"waits in line {seen.line.replace('>', ' > ')}; position {seen.ahead + 1} of {seen.in_line}; "
        text += _line_text(seen, by_name)
    elif state is JobState.WAITING:
        text = f"waits in lane {_lane(found)}"
        queue = by_name.get(gates.QUEUE)
        if queue is not None and queue.state != "open":
            text += f"; the queue is limited: {queue.text}"
    else:
        text = _elsewhere(state, found, seen.now_ms)
    if paused is not None and state is JobState.WAITING:
        reason = paused.partition(" ")[2]
        text += f"; the queue is paused{': ' + reason if reason else ''}"
    return Explanation(
        job_id, state, text, seen.line if seen.state else "", seen.ahead + 1 if seen.state else 0, seen.in_line,
        seen.parked_at, told,
    )  # fmt: skip


def _line_text(seen: Explained, by_name: dict[str, GateInfo]) -> str:
    if seen.state == "h":
        wait = f", for {seen.held_ms / 1000:.3g} s at most" if seen.held_ms >= 0 else ""
        return f"the line is held until its head may run again or its batch is full{wait}"
    if seen.state == "p":
        gate = by_name.get(seen.parked_at)
        return f"parked at {seen.parked_at}" + (f": {gate.text}" if gate else "")
    return "ready, its turn comes"


def _gate(seen: GateSeen) -> GateInfo:
    if seen.gate.startswith(gates.breaker("")):
        return GateInfo(seen.gate, seen.why, _breaker(seen), seen.wait_ms / 1000)
    conf, parts = seen.config, list[str]()
    if seen.why == "paused":
        reason = conf.get("why")
        parts.append(("blocked" if seen.gate.startswith("x.") else "paused") + (f": {reason}" if reason else ""))
    if conf.get("c", -1) >= 0:
        parts.append(f"{seen.used}/{conf['c']} running")
    if conf.get("n", -1) >= 0:
        parts.append(f"{seen.spent}/{conf['n']} starts in {conf['p'] / 1000:g} s")
    if seen.why == "rate":
        parts.append(f"next in {_span(seen.wait_ms)}")
    return GateInfo(seen.gate, seen.why, ", ".join(parts) or "open", seen.wait_ms / 1000)


def _breaker(seen: GateSeen) -> str:
    name = f"circuit breaker {seen.gate.removeprefix(gates.breaker(''))!r}"
    if seen.why == "rate":
        return f"{name} open, next probe in {_span(seen.wait_ms)}"
    if seen.config.get("c") is None:
        return f"{name} closed"
    return f"{name} half open, " + ("a probe runs" if seen.why == "slots" else "the next job is the probe")


def _elsewhere(state: JobState, found: Look, now_ms: int) -> str:
    if state is JobState.DELAYED:
        return f"delayed, due in {_span(max(0, found.due_ms - now_ms))}"
    if state is JobState.ACTIVE:
        return f"runs on {found.consumer}, last sign of life {_span(found.idle_ms)} ago"
    if state is JobState.PARKED:
        return "parked: no worker here has its handler"
    return f"is {state}"


def _lane(found: Look) -> str:
    place: Any = found.row[:1]
    return Priority(int(place)).name if place.isdigit() else "taken, handed back"


def _span(ms: int) -> str:
    return f"{ms} ms" if ms < 1000 else f"{ms / 1000:.3g} s"
