"""Many seeds, counted: ``nox -s simulate -- --seeds 0-9999`` writes benchmarks/results/simulation/*.json."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.simulation.play import Played, cores, play_all, say, seeds_of

FOLDER = Path("benchmarks") / "results" / "simulation"

LOST = ("LOST", "I5", "I1")
TWICE = ("I3", "I4", "I12")
SHOWN = 20
ZEROS = "lost", "settled_twice"


def counted(played: Iterable[Played]) -> dict[str, Any]:
    """Return the counts of some seeds. ``again``: why jobs were handed out more than once."""
    some = list(played)
    rules = Counter(rule for one in some for rule, _ in one.problems)
    faults, again, verbs = Counter[str](), Counter[str](), Counter[str]()
    pairs = {frozenset((one, other)) for p in some for one in p.features for other in p.features if one < other}
    for one in some:
        faults += one.faults
        again += one.again
        verbs += one.verbs
    return {
        "version": importlib.metadata.version("streamq"),
        "python": platform.python_version(),
        "seeds": len(some),
        "first": min((one.seed for one in some), default=0),
        "last": max((one.seed for one in some), default=0),
        "jobs": sum(one.jobs for one in some),
        "runs": sum(one.runs for one in some),
        "commands": sum(verbs.values()),
        "virtual_hours": round(sum(one.seconds for one in some) / 3600, 2),
        "features": dict(Counter(name for one in some for name in one.features).most_common()),
        "pairs": len(pairs),
        "verbs": dict(verbs.most_common()),
        "faults": dict(faults.most_common()),
        "lost": sum(count for rule, count in rules.items() if rule.startswith(LOST)),
        "settled_twice": sum(count for rule, count in rules.items() if rule.startswith(TWICE)),
        "again": dict(again.most_common()),
        "wrong_seeds": [one.seed for one in some if one.problems],
        "wrong": [f"seed {one.seed}: {rule} {job}" for one in some for rule, job in one.problems][:SHOWN],
    }


def load_all(folder: Path) -> list[dict[str, Any]]:
    """Return all reports of a folder."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]


def page(reports: Sequence[dict[str, Any]]) -> str:
    """Return all reports added up, as Markdown: the counts, the faults by kind, and why jobs ran again."""
    total, faults, again = Counter[str](), Counter[str](), Counter[str]()
    for one in reports:
        total += Counter({name: one[name] for name in ("seeds", "jobs", "runs", "commands", *ZEROS)})
        faults += Counter(one["faults"])
        again += Counter(one["again"])
    hours = sum(one["virtual_hours"] for one in reports)
    wrong = sum(len(one["wrong_seeds"]) for one in reports)
    rows = [
        ("seeds", f"{total['seeds']:,}"),
        ("virtual hours", f"{hours:,.0f}"),
        ("jobs", f"{total['jobs']:,}"),
        ("runs of handlers", f"{total['runs']:,}"),
        ("commands after which every invariant was checked", f"{total['commands']:,}"),
        ("pairs of features", f"{max(one['pairs'] for one in reports):,}"),
        ("faults", f"{sum(faults.values()):,} of {len(faults)} kinds"),
        ("**lost**", f"{total['lost']:,}"),
        ("**settled twice**", f"{total['settled_twice']:,}"),
        ("**seeds with anything else wrong**", f"{wrong:,}"),
        ("jobs handed out again, and why", f"{sum(again.values()):,}: {_listed(again)}"),
        ("faults by kind", _listed(faults)),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""])


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common())


def main() -> int:
    """Play, count, write; returns how many seeds went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0-9999", help="such as 0-9999")
    parser.add_argument("--processes", type=int, default=cores())
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the reports")
    options = parser.parse_args()
    began, some = time.monotonic(), list[Played]()
    for one in play_all(seeds_of(options.seeds), options.processes):
        some.append(one)
        if one.problems:
            say(f"\n{one.told}")
        if len(some) % 1000 == 0:
            say(f"{len(some)} seeds, {time.monotonic() - began:.0f} s")
    found = counted(some)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{found['first']:05}-{found['last']:05}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    told = ("seeds", "jobs", "runs", "commands", "virtual_hours", "pairs", "lost", "settled_twice")
    say(", ".join(f"{name} {found[name]:,}" for name in told))
    say(f"{sum(found['faults'].values()):,} faults; {path}; {time.monotonic() - began:.0f} s")
    return min(100, len(found["wrong_seeds"]))


if __name__ == "__main__":
    sys.exit(main())
