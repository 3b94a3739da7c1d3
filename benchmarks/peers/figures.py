"""What is measured, and what can be said of many runs: medians, ranges, ratios. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

PAYLOAD = 87  # bytes of {"number":123456,"body":"60 characters"}: what everybody's job carries
Medians = dict[str, dict[str, float]]
"""Contender -> figure -> median over its runs."""


class Figure(NamedTuple):
    """A figure's title for people, its unit, and whether more of it is better."""

    title: str
    unit: str
    more: bool


FIGURES: dict[str, Figure] = {
    "enqueue_one": Figure("enqueue, one by one", "jobs/s", more=True),
    "enqueue_fifty": Figure("enqueue, 50 concurrent", "jobs/s", more=True),
    "enqueue_bulk": Figure("enqueue, bulk", "jobs/s", more=True),
    "enqueue_one_cpu": Figure("producer CPU, one by one", "us/job", more=False),
    "enqueue_one_server": Figure("server CPU, enqueue one by one", "us/job", more=False),
    "enqueue_one_commands": Figure("commands, enqueue one by one", "/job", more=False),
    "bytes_waiting": Figure("server memory of a waiting job", "bytes", more=False),
    "drain": Figure("no-op drain, 1 worker process", "jobs/s", more=True),
    "drain_cpu": Figure("worker CPU, no-op", "us/job", more=False),
    "drain_server": Figure("server CPU, drain", "us/job", more=False),
    "fill_server": Figure("server CPU, enqueue by its fastest way", "us/job", more=False),
    "drain_commands": Figure("commands, those inside of scripts included", "/job", more=False),
    "drain_reads": Figure("socket reads of the server", "/job", more=False),
    "drain_sent": Figure("bytes to the server", "/job", more=False),
    "drain_received": Figure("bytes from the server", "/job", more=False),
    "bytes_left": Figure("server memory left by each further done job", "bytes", more=False),
    "rss": Figure("resident memory of the worker", "MB", more=False),
    "drain2": Figure("no-op drain, 2 worker processes", "jobs/s", more=True),
    "five": Figure("5 ms handlers, 1 worker process", "jobs/s", more=True),
    "five_ideal": Figure("5 ms handlers, of what 100 slots can do", "%", more=True),
    "five_active": Figure("jobs in the worker's hands, ended and not told yet included, most seen", "jobs", more=False),
    "start_p50": Figure("enqueue to start, p50", "ms", more=False),
    "start_p99": Figure("enqueue to start, p99", "ms", more=False),
    "late_p50": Figure("lateness of delayed jobs, p50", "ms", more=False),
    "late_p99": Figure("lateness of delayed jobs, p99", "ms", more=False),
    "late_min": Figure("lateness of delayed jobs, least (negative: early)", "ms", more=True),
    "idle_cpu": Figure("CPU of an idle worker", "% of a core", more=False),
    "idle_calls": Figure("socket reads of the server, idle worker", "/s", more=False),
    "recover": Figure("SIGKILL: until every job had run", "s", more=False),
    "recover_running": Figure("SIGKILL: jobs running then", "jobs", more=False),
    "recover_never": Figure("SIGKILL: not run again while waited for", "jobs", more=False),
    "recover_twice": Figure("SIGKILL: completed twice", "jobs", more=False),
}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def gathered(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Return contender -> figure -> its values, in the order of the runs; failed runs have none."""
    found: dict[str, dict[str, list[float]]] = {}
    for record in records:
        of_contender = found.setdefault(record["contender"], {})
        for name, value in record.get("figures", {}).items():
            of_contender.setdefault(name, []).append(float(value))
    return found


def medians(records: Sequence[Mapping[str, Any]]) -> Medians:
    """Return the median of every figure of every contender."""
    return {
        contender: {name: statistics.median(values) for name, values in figures.items()}
        for contender, figures in gathered(records).items()
    }


def ranges(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the least and the greatest of every figure of every contender."""
    return {
        contender: {name: (min(values), max(values)) for name, values in figures.items()}
        for contender, figures in gathered(records).items()
    }


def advantage(name: str, ours: float, theirs: float) -> float | None:
    """Return how many times better ``ours`` is, whichever direction is better; None where that says nothing."""
    if ours <= 0 or theirs <= 0:
        return None
    return ours / theirs if FIGURES[name].more else theirs / ours


def advantages(found: Medians, ours: str = "streamq") -> Medians:
    """Return contender -> figure -> how many times better ``ours`` is than that contender."""
    mine = found.get(ours, {})
    ratios: Medians = {}
    for contender, figures in found.items():
        for name, value in figures.items():
            if name in mine and name in FIGURES:
                ratio = advantage(name, mine[name], value)
                if ratio is not None:
                    ratios.setdefault(contender, {})[name] = ratio
    return ratios


def best_peer(found: Medians, name: str, of: Sequence[str]) -> tuple[str, float] | None:
    """Return the best of some contenders by a figure, and its value; None if nobody has it."""
    having = [(contender, found[contender][name]) for contender in of if name in found.get(contender, {})]
    if not having:
        return None
    pick = max if FIGURES[name].more else min
    return pick(having, key=lambda pair: pair[1])


def spread(values: Sequence[float]) -> float:
    """Return greatest over least: how noisy the runs were; 1.0 is not at all."""
    least = min(values)
    return max(values) / least if least > 0 else 1.0


def at(what: str, point: str, unit: str) -> str:
    """Return the name of a figure that was measured at several points; ``what`` has no " at " in it."""
    return f"{what} at {point}, {unit}"


def by_point(found: Mapping[str, float]) -> dict[tuple[str, str], dict[str, float]]:
    """Return (what, unit) -> point -> value, of the names that `at` has made."""
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for name, value in found.items():
        what, _, rest = name.partition(" at ")
        point, comma, unit = rest.partition(", ")
        if comma:
            rows.setdefault((what, unit), {})[point] = value
    return rows


class Drift(NamedTuple):
    """Where a figure began and ended, medians of the first and the last tenth; its slope by least squares."""

    first: float
    last: float
    slope: float

    @property
    def growth(self) -> float:
        """Per cent of the first."""
        return (self.last / self.first - 1) * 100


def drift(samples: Sequence[tuple[float, float]], warm: float = 0.1) -> Drift:
    """Return how a figure moved over (jobs done, value)s in order; the first ``warm`` of the jobs do not count."""
    end = samples[-1][0]
    counted = [sample for sample in samples if sample[0] >= end * warm]
    tenth = max(1, len(counted) // 10)
    jobs, values = [at for at, _ in counted], [value for _, value in counted]
    slope = statistics.linear_regression(jobs, values).slope if len(set(jobs)) > 1 else 0.0
    return Drift(statistics.median(values[:tenth]), statistics.median(values[-tenth:]), slope)
