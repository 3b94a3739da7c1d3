"""Limits, groups, blocks and circuit breakers in words; the server's checks; the audit trail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ..._core.checkup import Check
from ...breaker import BreakerInfo
from ...controls import Server
from ...limits import LimitInfo
from ...trail import AuditEntry
from . import words

_KINDS = {"g": "group", "h": "handler", "r": "limit", "k": "key of a handler", "x": "block", "d": "keep-last key"}


class Limit(NamedTuple):
    """One gate of the table. ``state``: open, paused, full or wait."""

    queue: str
    gate: str
    kind: str
    name: str
    bounds: str
    used: int
    most: int | None
    width: float
    waiting: int
    state: str
    says: str
    source: str
    is_group: bool
    can_set: bool
    concurrency: int | None


def limit(queue: str, info: LimitInfo, now: datetime) -> Limit:
    """Return a limit for the page."""
    kind, name = gate_words(info.gate)
    bounds = [f"{info.concurrency:,} at a time"] if info.concurrency is not None else []
    bounds += [info.rate] if info.rate else []
    bounds += [f"weight {info.weight:g}"] if info.weight != 1.0 else []
    bounds += [f"at most {info.size:,} waiting"] if info.size is not None else []
    state = {"slots": "full", "rate": "wait"}.get(info.state, info.state)
    says = {
        "open": "open",
        "full": "all slots taken",
        "wait": f"next start in {words.duration(info.opens_in)}",
        "paused": f"paused: {info.reason}" if info.reason else "paused",
    }.get(state, state)
    source = "declared in code" if info.declared else "set live"
    if info.overridden_by:
        source = f"set by {info.overridden_by} {words.ago(info.overridden_at, now)}"
    width = min(120.0, 120.0 * info.used / info.concurrency) if info.concurrency else 0.0
    return Limit(
        queue, info.gate, kind, name, ", ".join(bounds) or "no bound", info.used, info.concurrency, round(width, 1),
        info.waiting, state, says, source, info.gate.startswith("g:"), info.gate[:2] != "x.", info.concurrency,
    )  # fmt: skip


def gate_words(gate: str) -> tuple[str, str]:
    """Return what sort of gate it is, and its name, for people."""
    if gate == "q":
        return "queue", "the whole queue"
    if gate == "g":
        return "groups", "every group"
    return _KINDS.get(gate[:1], "gate"), gate[2:]


class Fuse(NamedTuple):
    """A circuit breaker of the page. ``at``: when it opened or closed last."""

    queue: str
    name: str
    is_closed: bool
    says: str
    why: str
    at: datetime | None
    waiting: int


def fuse(queue: str, info: BreakerInfo, now: datetime) -> Fuse:
    """Return a circuit breaker for the page."""
    if info.state == "open":
        says = f"open, next probe {words.until(info.next_probe, now)}"
    elif info.state == "half_open":
        says = "half open, a probe runs" if info.running else "half open, the next job is the probe"
    else:
        says = f"closed, {words.count(info.failures, 'failure')} counted" if info.failures else "closed"
    if info.failed_probes:
        says += f", {words.count(info.failed_probes, 'probe')} failed"
    why = f"{info.reason} (by {info.by})" if info.by else info.reason
    return Fuse(queue, info.name, info.state == "closed", says, why, info.changed_at, info.waiting)


def limits_heading(found: Sequence[Limit], blocks: int, breakers: int) -> str:
    """Return the page's answer: "6 limits, 2 hold jobs back, 1 circuit breaker open"."""
    holding = sum(one.waiting > 0 for one in found)
    head = words.count(len(found), "limit") if found else "No limit is set"
    if holding:
        head += f", {holding} {'holds' if holding == 1 else 'hold'} jobs back"
    if breakers:
        head += f", {words.count(breakers, 'circuit breaker')} open"
    return f"{head}, {words.count(blocks, 'block')} in force" if blocks else head


class Fact(NamedTuple):
    """One of the four facts of the server page."""

    label: str
    value: str
    rest: str


def server_heading(server: Server) -> str:
    """Return the page's answer: "Valkey 9.1.2 runs well, 1 thing to change"."""
    troubles = [one for one in server.checks if one.level != "ok"]
    bad = any(one.level == "bad" for one in troubles)
    if not troubles:
        return f"{server.title} runs well"
    change = f"{words.count(len(troubles), 'thing')} to change"
    return f"{server.title} needs you: {change}" if bad else f"{server.title} runs well, {change}"


def server_facts(server: Server) -> list[Fact]:
    """Return memory, round trip, commands and clients."""

    def number(name: str) -> float:
        text = server.info.get(name, "0").rstrip("%")
        try:
            return float(text)
        except ValueError:
            return 0.0

    most = number("maxmemory")
    of = f"of {words.size(most)}" if most else "no maxmemory"
    return [
        Fact("Memory", words.size(number("used_memory")), of),
        Fact("Round trip, median", f"{server.ping_p50:.2g} ms", f"slowest {server.ping_p99:.2g} ms"),
        Fact("Clients", words.number(number("connected_clients")), f"of {words.number(number('maxclients'))}"),
        Fact("Up", words.duration(number("uptime_in_seconds")), _role(server)),
    ]


def _role(server: Server) -> str:
    return server.info.get("role", "").replace("master", "primary")


def checks(found: Sequence[Check]) -> list[tuple[str, Check]]:
    """Return the checks with their health level, what to change first."""
    levels = {"bad": "critical", "warn": "warning", "ok": "ok"}
    order = ("bad", "warn", "ok")
    return [(levels[one.level], one) for one in sorted(found, key=lambda one: order.index(one.level))]


_DEEDS = {
    "job.retry": "retried",
    "job.cancel": "cancelled",
    "job.promote": "ran at once",
    "job.remove": "removed",
    "job.duplicate": "duplicated",
    "job.edit": "retried with changes",
    "dead.replay": "replayed",
    "dead.purge": "purged",
    "queue.pause": "paused",
    "queue.resume": "resumed",
    "queue.drain": "drained",
    "queue.clean": "cleaned",
    "schedule.trigger": "ran a schedule of",
    "schedule.pause": "paused a schedule of",
    "schedule.resume": "resumed a schedule of",
    "schedule.remove": "removed a schedule of",
    "limit.set": "changed a limit of",
    "limit.clear": "cleared a limit of",
}


class Entry(NamedTuple):
    """One line of the audit page."""

    at: datetime | None
    who: str
    origin: str
    said: str
    queue: str
    filter: str
    outcome: str
    failed: bool


def entry(found: AuditEntry) -> Entry:
    """Return an entry in words."""
    deed = _DEEDS.get(found.action)
    if deed is None:
        said = found.action
    elif found.action.startswith(("job.", "dead.")):
        what = "dead letter" if found.action.startswith("dead.") else "job"
        said = f"{deed} {words.count(found.count, what)} of {found.queue}"
    else:
        said = f"{deed} {found.queue or 'every queue'}"
    failed = found.outcome.startswith("failed")
    return Entry(
        found.at, found.who or "somebody", found.origin, said, found.queue, found.filter,
        "" if found.outcome == "done" else found.outcome, failed,
    )  # fmt: skip
