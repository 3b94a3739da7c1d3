"""What a chaos run found, as JSON and for people; reports of many runs added up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from tests.chaos.checker import Verdict

SHOWN = 20
"""Examples of a violated rule that a report holds."""


class Faults(NamedTuple):
    """By name of a fault: how often it was, occasions that did not come, seconds until all went on."""

    counts: Mapping[str, int]
    unmet: Mapping[str, int] = {}
    back: Mapping[str, list[float]] = {}
    sent: Mapping[str, list[float]] = {}


@dataclass
class Report:
    """One run, or several added up (then ``kind`` is empty where they differ, and ``seeds`` holds them all).

    Seconds by fault: ``back`` from its end to the next job that was settled, ``sent`` to the next enqueue that was
    acknowledged. ``calm``: jobs whose order could be judged; ``stalls``: as the server counted them in the end.
    """

    kind: str
    version: str
    seeds: list[int]
    seconds: float
    jobs: int
    ambiguous: int
    runs: int
    excused: int
    effects_twice: int
    faults: dict[str, int]
    unmet: dict[str, int]
    why: dict[str, int]
    wrong: dict[str, int]
    examples: list[str]
    recoveries: list[float]
    back: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    sent: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    calm: int = 0
    stalls: int = 0

    @classmethod
    def of(
        cls,
        kind: str,
        version: str,
        seed: int,
        seconds: float,
        verdict: Verdict,
        faults: Faults,
        stalls: int = 0,
    ) -> Self:
        """Return the report of one run."""
        wrong = verdict.wrong
        return cls(
            kind=kind,
            version=version,
            seeds=[seed],
            seconds=round(seconds, 1),
            jobs=verdict.jobs,
            ambiguous=verdict.ambiguous,
            runs=verdict.runs,
            excused=verdict.excused,
            effects_twice=verdict.effects_twice,
            faults=dict(faults.counts),
            unmet=dict(faults.unmet),
            why=dict(verdict.why),
            wrong={name: len(found) for name, found in wrong.items()},
            examples=[f"{name}: {one}" for name, found in wrong.items() for one in found[:SHOWN]],
            recoveries=sorted(round(one.seconds, 2) for one in verdict.recoveries),
            back=dict(faults.back),
            sent=dict(faults.sent),
            calm=verdict.calm,
            stalls=stalls,
        )

    @property
    def is_clean(self) -> bool:
        """Whether no rule was violated."""
        return not self.wrong

    def save(self, folder: Path) -> Path:
        """Write it where `load_all` finds it."""
        folder.mkdir(parents=True, exist_ok=True)
        path = file_of(folder, self.kind, self.seeds[0])
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")
        return path


def file_of(folder: Path, kind: str, seed: int) -> Path:
    """Return where the report of a run is kept."""
    return folder / f"{kind}-{seed:04}.json"


def load_all(folder: Path) -> list[Report]:
    """Return all reports of a folder."""
    return [Report(**json.loads(path.read_text("utf-8"))) for path in sorted(folder.glob("*.json"))]


def added(reports: Iterable[Report]) -> Report:
    """Return several runs as one."""
    total: Report | None = None
    for one in reports:
        total = one if total is None else _sum(total, one)
    if total is None:
        raise ValueError("no reports")
    return total


def _sum(one: Report, other: Report) -> Report:
    return Report(
        kind=one.kind if one.kind == other.kind else "",
        version=one.version if one.version == other.version else "",
        seeds=[*one.seeds, *other.seeds],
        seconds=one.seconds + other.seconds,
        jobs=one.jobs + other.jobs,
        ambiguous=one.ambiguous + other.ambiguous,
        runs=one.runs + other.runs,
        excused=one.excused + other.excused,
        effects_twice=one.effects_twice + other.effects_twice,
        faults=_counts(one.faults, other.faults),
        unmet=_counts(one.unmet, other.unmet),
        why=_counts(one.why, other.why),
        wrong=_counts(one.wrong, other.wrong),
        examples=[*one.examples, *other.examples],
        recoveries=sorted([*one.recoveries, *other.recoveries]),
        back=_spans(one.back, other.back),
        sent=_spans(one.sent, other.sent),
        calm=one.calm + other.calm,
        stalls=one.stalls + other.stalls,
    )


def _spans(one: Mapping[str, list[float]], other: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {name: [*one.get(name, []), *other.get(name, [])] for name in {**one, **other}}


def _counts(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return dict(Counter(one) + Counter(other))


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value below which ``part`` of the sorted values lie; 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


Row = tuple[str, str]


def rows(report: Report) -> list[Row]:
    """Return the findings for people."""
    wrong = report.wrong
    rest = {name: count for name, count in wrong.items() if name not in {"lost", "fence_broken", "double_enqueue"}}
    again = ", ".join(f"{count:,} {why}" for why, count in Counter(report.why).most_common()) or "none"
    spans = report.recoveries
    recovery = f"{quantile(spans, 0.5):.1f} / {quantile(spans, 0.99):.1f} / {spans[-1]:.1f} s" if spans else "none"
    return [
        ("jobs acknowledged", f"{report.jobs:,}"),
        ("enqueues without an answer", f"{report.ambiguous:,}"),
        ("faults", f"{sum(report.faults.values()):,} of {len(report.faults)} kinds"),
        ("seeds", f"{len(report.seeds):,}"),
        ("**lost**", f"{wrong.get('lost', 0):,}"),
        ("**settled twice**", f"{wrong.get('fence_broken', 0):,}"),
        ("**enqueued twice**", f"{wrong.get('double_enqueue', 0):,}"),
        ("**runs nobody can explain**", f"{wrong.get('unexplained', 0):,}"),
        ("other rules violated", ", ".join(f"{name} {count:,}" for name, count in rest.items()) or "none"),
        ("waits whose order was judged", f"{report.calm:,}"),
        ("in data the server itself lost", f"{report.excused:,}"),
        ("took effect more than once", f"{report.effects_twice:,}"),
        ("runs beyond the first, and why", f"{sum(report.why.values()):,}: {again}"),
        ("run again after a kill or freeze (median / 99 % / worst)", recovery),
        ("minutes", f"{report.seconds / 60:.0f}"),
    ]


def table(report: Report) -> str:
    """Return the findings of one run for a terminal."""
    found = [(name.strip("*"), value) for name, value in rows(report)]
    width = max(len(name) for name, _ in found)
    lines = [f"{name:<{width}}  {value}" for name, value in found]
    return "\n".join([*lines, *(f"! {one}" for one in report.examples)])


def page(reports: Sequence[Report]) -> str:
    """Return all runs added up, as Markdown: by server, and the faults by kind."""
    kinds = sorted({one.kind for one in reports})
    columns = [added([one for one in reports if one.kind == kind]) for kind in kinds] + [added(reports)]
    names = [f"{one.kind} {one.version}".strip() for one in columns[:-1]] + ["all"]
    cells = [rows(one) for one in columns]
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for at, (name, _) in enumerate(cells[0]):
        lines.append(f"| {name} | {' | '.join(column[at][1] for column in cells)} |")
    return "\n".join([*lines, "", *_faults(columns[-1]), ""])


def _faults(total: Report) -> list[str]:
    lines = [
        "| fault | times | next job settled after (median / worst) | next enqueue acknowledged after |",
        "|---|---|---|---|",
    ]
    for name, count in Counter(total.faults).most_common():
        back, sent = (_span(some.get(name, [])) for some in (total.back, total.sent))
        lines.append(f"| {name} | {count:,} | {back} | {sent} |")
    return lines


def _span(spans: Sequence[float]) -> str:
    return f"{quantile(spans, 0.5):.2f} / {max(spans):.1f} s" if spans else ""
