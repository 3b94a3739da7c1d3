"""The tables of flow control for the page of benchmarks, from benchmarks/results/flow/*.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TITLE = """
## Limits, groups and deduplication, {server}

What a feature costs a job: medians of {runs} interleaved runs of {jobs:,} jobs each, enqueued in bulk, then drained by
one worker of 100 places; a plain job of the same run stands first. Everything a feature needs happens in the calls that
a plain job makes, too (`tests/gates/test_flow_roundtrips.py` counts them). Python {python}, {cores} cores.

"""
PRECISION = """
How exact a rate is, over three workers with a backlog and handlers of 20 ms. The limit holds on the server's clock;
event loop and network may press starts together a little before they reach a provider.

"""
FAIRNESS = """
How fair groups are: jobs of 10,000 small groups, with and without one group that has 20,000 jobs waiting; two workers
of 40 places, handlers of 20 to 60 ms, so 2,000 jobs/s can run. Wait from the enqueue to the handler's start.

"""


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as a table; the keys of the first are its head."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(_cell(row[name]) for name in names)} |" for row in rows]
    return "\n".join(lines) + "\n"


def section(one: dict[str, Any]) -> str:
    """Return everything that one file says."""
    kind = "Valkey" if one["kind"] == "valkey" else "Redis"
    parts = [TITLE.format(**(one | {"server": f"{kind} {one['server']}"}))]
    if "costs" in one:
        parts.append(table([{"feature": name, **costs} for name, costs in one["costs"].items()]))
    if "precision" in one:
        parts += [PRECISION, table(one["precision"])]
    if "fairness" in one:
        parts += [FAIRNESS, table(one["fairness"])]
    return "".join(parts)


def _cell(value: object) -> str:
    return f"{value:,.10g}" if isinstance(value, int | float) else str(value)
