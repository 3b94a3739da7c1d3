"""The results of the contest as Markdown: budgets, tables, settings and versions. No figure is typed by hand."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.peers import budgets
from benchmarks.peers.chart import number
from benchmarks.peers.figures import FIGURES, Medians, ranges
from benchmarks.peers.own_tables import alone, table
from benchmarks.peers.roster import HERE, ROSTER, Contender

Results = Mapping[str, Any]

GROUPS: dict[str, tuple[str, ...]] = {
    "Throughput": ("enqueue_one", "enqueue_fifty", "enqueue_bulk", "drain", "drain2", "five", "five_ideal"),
    "Latency and lateness": ("start_p50", "start_p99", "late_p50", "late_p99", "late_min"),
    "Cost of a job": (
        "drain_cpu", "drain_server", "drain_commands", "drain_reads", "drain_sent", "drain_received",
        "enqueue_one_cpu", "enqueue_one_server", "enqueue_one_commands", "bytes_waiting", "bytes_left", "rss",
    ),
    "An idle worker": ("idle_cpu", "idle_calls"),
    "A killed worker": ("recover", "recover_running", "recover_never", "recover_twice"),
}  # fmt: skip

COMPARED = (
    "enqueue_one", "enqueue_fifty", "enqueue_bulk", "drain", "drain2", "five", "drain_cpu", "start_p50", "late_p50",
    "bytes_waiting",
)  # fmt: skip

PACKAGES = {"docket": "pydocket", "bullmq-py": "bullmq", "bullmq-node": "bullmq", "bare": "redis"}


def contest(results: Results) -> str:
    """Return the sections of one file."""
    sections = (_budgets, _ratios, _figures, _alone, _limits, _absent)
    return "".join(part for section in sections for part in section(results))


def contenders(results: Results) -> str:
    """Return who took part, in which version and with which settings."""
    return "".join(_contenders(results))


def _budgets(results: Results) -> Iterator[str]:
    found = budgets.lines(results)
    held = sum(line.holds is True for line in found)
    yield f"\n### Budgets\n\n{held} of {len(found)} hold.\n\n"
    rows = [
        [line.what, line.promised, line.measured, {True: "yes", False: "no", None: ""}[line.holds]] for line in found
    ]
    yield table(("what", "promised", "measured", "holds"), rows)


def _ratios(results: Results) -> Iterator[str]:
    ratios: Medians = results["advantages"]
    names = [name for name in COMPARED if any(name in figures for figures in ratios.values())]
    yield "\n### How many times better streamq is\n\nOn asyncio; below 1 the other is better.\n\n"
    rows = [
        [contender, *[f"{figures[name]:.2f}" if name in figures else "" for name in names]]
        for contender, figures in _ordered(ratios)
        if contender != "streamq"
    ]
    yield table(("", *[FIGURES[name].title for name in names]), rows)


def _figures(results: Results) -> Iterator[str]:
    medians: Medians = results["medians"]
    spans = ranges(results["records"])
    for title, wanted in GROUPS.items():
        names = [name for name in wanted if any(name in figures for figures in medians.values())]
        if not names:
            continue
        yield f"\n### {title}\n\n"
        head = ("", *[f"{FIGURES[name].title}, {FIGURES[name].unit}" for name in names])
        rows = [
            [contender, *[_cell(figures.get(name), spans.get(contender, {}).get(name)) for name in names]]
            for contender, figures in _ordered(medians)
            if any(name in figures for name in names)
        ]
        yield table(head, rows)


def _cell(value: float | None, span: tuple[float, float] | None) -> str:
    if value is None:
        return ""
    noisy = span is not None and span[0] > 0 and span[1] / span[0] > 1.2
    return f"{number(value)} ({number(span[0])}-{number(span[1])})" if noisy and span is not None else number(value)


def _alone(results: Results) -> Iterator[str]:
    yield from alone(results["own"])


def _limits(results: Results) -> Iterator[str]:
    limits: Mapping[str, float] = results["limits"]
    if limits:
        yield "\n### What the server alone takes\n\nredis-benchmark, XADD of 85 bytes.\n\n"
        yield table(("", "commands/s"), [[name, f"{value:,.0f}"] for name, value in limits.items()])


def _contenders(results: Results) -> Iterator[str]:
    yield "\n## Contenders and their settings\n\n"
    versions: Mapping[str, Mapping[str, str]] = results["versions"]
    for base in dict.fromkeys(ROSTER[name].base for name in versions):
        told = ", ".join(f"{name} {version}" for name, version in _shown(base, versions.get(base, {})).items())
        yield f"**{base}** ({told}). {settings(ROSTER[base])}\n\n"


def _absent(results: Results) -> Iterator[str]:
    for name, why in results["missing"].items():
        yield f"\n**{name}** is missing: {why.splitlines()[0]}\n"
    said = {
        f"{one['contender']}: {one['measure']}: {one[what]}".splitlines()[0]
        for one in results["records"]
        for what in ("unsupported", "error")
        if what in one
    }
    if said:
        yield "\nNot measured:\n\n" + "".join(f"- {line}\n" for line in sorted(said))


def _shown(base: str, versions: Mapping[str, str]) -> dict[str, str]:
    names = (PACKAGES.get(base, base), "taskiq-redis", "coredis", "redis", "hiredis", "ioredis", "node")
    return {name: versions[name] for name in dict.fromkeys(names) if name in versions}


def settings(contender: Contender) -> str:
    """Return what a contender's file says of its settings, as one paragraph."""
    if contender.is_node:
        lines = (HERE / "contenders" / f"{contender.file}.mjs").read_text().split("\n\n")[0].splitlines()
        text = "\n".join(line.removeprefix("//").strip() for line in lines)
    else:
        folder = HERE if contender.base == "bare" else HERE / "contenders"
        text = ast.get_docstring(ast.parse((folder / f"{contender.file}.py").read_text())) or ""
    _, _, rest = text.partition("\n\n")
    return " ".join(rest.split()).replace("``", "`")


def _ordered(found: Medians) -> list[tuple[str, dict[str, float]]]:
    """Return the contenders as in the roster: the limit, streamq, the others."""
    places = list(ROSTER)
    return sorted(found.items(), key=lambda pair: places.index(pair[0]))
