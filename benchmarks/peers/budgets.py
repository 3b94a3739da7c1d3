"""The budgets: what streamq promises of its speed, each as a question to the results. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.peers import budgets_own
from benchmarks.peers.budgets_own import Line
from benchmarks.peers.figures import PAYLOAD, Medians, best_peer
from benchmarks.peers.roster import PEERS, PYTHON_PEERS

WAITING = {"redis7": 175, "redis8": 160, "valkey": 135}
NODE = "bullmq-node"


class Facts:
    """Results of one file, asked in the words of the budgets."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.kind: str = results["kind"]
        self.medians: Medians = results["medians"]
        self.own: dict[str, dict[str, float]] = results["own"]

    def value(self, contender: str, name: str) -> float | None:
        """Return a median; None if there is none."""
        return self.medians.get(contender, {}).get(name)

    def ratio(self, ours: str, theirs: str, name: str) -> float | None:
        """Return one contender's figure over another's."""
        mine, other = self.value(ours, name), self.value(theirs, name)
        return None if mine is None or not other else mine / other


def lines(results: Mapping[str, Any]) -> list[Line]:
    """Return every budget with its answer."""
    facts = Facts(results)
    return [
        _times(facts, "no-op drain, one process: of BullMQ on Node", NODE, "drain", 4.0),
        _best_python(facts),
        *[_share(facts, ours, bare) for ours, bare in (("streamq", "bare"), ("streamq:uvloop", "bare:uvloop"))],
        _at_least(facts, "5 ms handlers, asyncio", "streamq", "five_ideal", 75, "% of ideal"),
        _at_least(facts, "5 ms handlers, uvloop", "streamq:uvloop", "five_ideal", 85, "% of ideal"),
        _at_most(
            facts,
            "5 ms handlers: jobs in hand with 100 slots, ended ones included",
            "streamq",
            "five_active",
            110,
            "jobs",
        ),
        _times(facts, "enqueue one by one: of BullMQ on Node", NODE, "enqueue_one", 1.2),
        _times(facts, "enqueue 50 concurrent: of BullMQ on Node", NODE, "enqueue_fifty", 2.0),
        _times(facts, "enqueue bulk: of BullMQ on Node", NODE, "enqueue_bulk", 4.0),
        _worker_cpu(facts),
        _server_cpu(facts),
        _waiting(facts),
        _left(facts),
        _at_most(facts, "enqueue to start at low load, p50", "streamq", "start_p50", 0.6, "ms"),
        _start_p99(facts),
        _late(facts),
        _at_most(facts, "lateness of a delayed job, p99", "streamq", "late_p99", 5.0, "ms"),
        _at_most(facts, "jobs of a killed worker run again", "streamq", "recover", 20.0, "s"),
        _at_most(facts, "idle worker, CPU", "streamq", "idle_cpu", 0.5, "% of a core"),
        _at_most(facts, "idle worker, calls", "streamq", "idle_calls", 2.0, "a second"),
        *budgets_own.lines(facts.own),
    ]


def _line(what: str, promised: str, value: float | None, told: str, *, holds: bool) -> Line:
    return Line(what, promised, "not measured", None) if value is None else Line(what, promised, told, holds)


def _times(facts: Facts, what: str, of: str, name: str, least: float) -> Line:
    ratio = facts.ratio("streamq", of, name)
    return _line(what, f">= {least:g}x", ratio, f"{ratio or 0:.2f}x", holds=(ratio or 0) >= least)


def _best_python(facts: Facts) -> Line:
    found = best_peer(facts.medians, "drain", PYTHON_PEERS)
    mine = facts.value("streamq", "drain")
    ratio = mine / found[1] if found and mine else None
    told = f"{ratio or 0:.2f}x ({found[0] if found else ''})"
    return _line("no-op drain: of the best Python peer", ">= 8x", ratio, told, holds=(ratio or 0) >= 8)


def _share(facts: Facts, ours: str, bare: str) -> Line:
    ratio = facts.ratio(ours, bare, "drain")
    what = f"no-op drain: of a bare redis-py loop, {'uvloop' if 'uvloop' in ours else 'asyncio'}"
    return _line(what, ">= 60 %", ratio, f"{(ratio or 0) * 100:.0f} %", holds=(ratio or 0) >= 0.6)


def _at_least(facts: Facts, what: str, ours: str, name: str, least: float, unit: str) -> Line:
    value = facts.value(ours, name)
    return _line(what, f">= {least:g} {unit}", value, f"{value or 0:.1f} {unit}", holds=(value or 0) >= least)


def _at_most(facts: Facts, what: str, ours: str, name: str, most: float, unit: str) -> Line:
    value = facts.value(ours, name)
    return _line(what, f"<= {most:g} {unit}", value, f"{value or 0:.2f} {unit}", holds=(value or 0) <= most)


def _worker_cpu(facts: Facts) -> Line:
    # The budget is for a machine where the bare loop takes 6.6 us: it travels as a multiple of that.
    value, ratio = facts.value("streamq", "drain_cpu"), facts.ratio("streamq", "bare", "drain_cpu")
    told = f"{ratio or 0:.2f}x ({value or 0:.1f} us)"
    promised = "<= 1.82x a bare loop (12 us where that takes 6.6)"
    return _line("worker CPU per no-op job", promised, ratio, told, holds=(ratio or 0) <= 12 / 6.6)


def _server_cpu(facts: Facts) -> Line:
    fill, drain = facts.value("streamq", "fill_server"), facts.value("streamq", "drain_server")
    both = None if fill is None or drain is None else fill + drain
    return _line(
        "server CPU per job, enqueue + drain in batches", "<= 9 us", both, f"{both or 0:.1f} us", holds=(both or 0) <= 9
    )


def _waiting(facts: Facts) -> Line:
    value = facts.value("streamq", "bytes_waiting")
    beyond, most = (value or 0) - PAYLOAD, WAITING[facts.kind]
    return _line("bytes per waiting job beyond its payload", f"<= {most}", value, f"{beyond:.0f}", holds=beyond <= most)


def _left(facts: Facts) -> Line:
    value = facts.value("streamq", "bytes_left")
    what = "bytes left per completed job beyond counters and window"
    # A second worker's memo and its counters are left once, spread here over the jobs of a drain.
    return _line(what, "0 (counted: < 2)", value, f"{value or 0:.1f}", holds=(value or 0) < 2)


def _start_p99(facts: Facts) -> Line:
    mine, found = facts.value("streamq", "start_p99"), best_peer(facts.medians, "start_p99", PEERS)
    value = mine if found else None
    told = f"{mine or 0:.2f} ms ({found[0]}: {found[1]:.2f})" if found else ""
    holds = found is not None and (mine or 0) <= found[1]
    return _line("enqueue to start at low load, p99", "no worse than the best peer", value, told, holds=holds)


def _late(facts: Facts) -> Line:
    value, least = facts.value("streamq", "late_p50"), facts.value("streamq", "late_min")
    told = f"{value or 0:.2f} ms, least {least or 0:.2f}"
    holds = (value or 0) <= 1.5 and (least or 0) >= 0
    return _line("lateness of a delayed job, p50", "<= 1.5 ms, never early", value, told, holds=holds)
