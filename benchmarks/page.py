"""Writes docs/explanation/benchmarks.md and its chart from benchmarks/results: no figure is typed by hand.

    python benchmarks/page.py [FOLDER]

results/*.json are streamq's own figures on each server, results/flow/*.json those of flow control, results/watching/*
what watching costs and how long the dashboard's pages take, results/peers/*.json the contest with other queues. FOLDER
takes page and chart instead of docs/explanation.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.flow_tables import section, table
from benchmarks.peers.chart import draw
from benchmarks.peers.tables import contenders, contest

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FOLDER = ROOT / "docs" / "explanation"
HEAD = """# Benchmarks

Read ratios, not absolute figures: load generator, workers and server share the machine's cores, and a faster machine
makes every figure better. Trust no difference below a fifth.
"""
ALONE = """
## streamq on each server

streamq beside nothing but the limit, a bare redis-py loop (read 100, a task per entry, acknowledge and delete 100) in
the same run. Each figure is the median of {runs} runs on a fresh server; every run measures everything, one after the
other. Payload: 99 bytes of arguments or less. Python {python}, {loop}, {cores} cores.

"""
CONTEST = """
## Beside other queues, {title}

![Bars of each measure, the best first]({chart})

Each contender has an environment of its own with pinned versions and its own best settings (below); each measure a
fresh server on the loopback interface and fresh processes. Contenders take turns, measure by measure. Each figure is
the median of {runs} runs, with the range in brackets where the runs differ by more than a fifth. Jobs carry 87 bytes of
arguments; what can acknowledge after the run does. "bare" is no queue: a redis-py loop that reads 100 entries, starts a
task for each, and acknowledges and deletes them; it and redis-benchmark are the limits. A drain is timed from the
moment when every worker has run a job. CPU of workers is the operating system's, of the server INFO's. Python {python},
{cores} cores ({processor}), commit {commit}, {at:.10}.
"""
WATCHING = """
## Counting, hooks, events and traces, {server}

What it costs a job to be watched, in microseconds of CPU: the least of {runs} interleaved runs, each in a process of
its own on a fresh server (what a busy machine adds is more than the differences). {jobs:,} jobs are enqueued in bulk,
then drained by one worker of 100 places; a job runs nothing, so these are the largest shares there can be. Counting
cannot be switched off; it is taken out here to see what it costs. All other tables have it. Python {python}, {cores}
cores.

"""
PAGES = """
## Pages of the dashboard with very many jobs

Time of each page with {waiting:,} waiting, {delayed:,} delayed and {dead:,} dead jobs in one queue, nothing cached:
medians of {rounds}, from the request to the last byte of the answer, Redis included. The last two columns are what the
server counted of commands: with these jobs, and with a thousandth of them. Python {python}, {cores} cores.

"""
FOOT = """
## How to repeat it

```bash
python -m pip install -e ".[dev,fast]" --group test
python benchmarks/streamq_bench.py --server redis7 --runs 5 --json benchmarks/results/redis7.json
python benchmarks/flow_bench.py --server redis7 --json benchmarks/results/flow/redis7.json
python benchmarks/peers/run.py --server redis7 --json benchmarks/results/peers/redis7.json
python benchmarks/watching_bench.py --json benchmarks/results/watching/costs.json
python benchmarks/dashboard_load.py --json benchmarks/results/watching/pages.json
python benchmarks/page.py
```

The third measures the other queues too; it needs Node for BullMQ, and about an hour. What streamq is measured for alone
takes ten minutes of it; `--contenders streamq --measures due,long --add` repeats some by name. `streamq bench` is a
small version for your own server: seconds, and streamq alone. `--server` takes `valkey` and `redis8` too, `--loop
uvloop` the other event loop. Run it on a quiet machine, and nothing beside it.

## What counts and what does not

Round trips, commands and bytes per job are counted, not timed, and gate every change: `tests/gates`. Timings gate
nothing; [where the time goes](where-the-time-goes.md) explains them.

| what | gate |
|---|---|
| enqueue one by one | 1 call, 11 commands with it, 2 of them to count |
| enqueue in bulk | 1 call for 200 jobs |
| drain of no-op jobs, concurrency 100 | settle and fetch of 100 jobs in one round trip, below 0.45 commands a job |
| a retry | 3 commands more: due time, body, back into the lane |
| a delayed job | 2 commands to delay, 1 to promote, 100 promoted a call |
| a job of a group, or with a rate key | 4 commands to enqueue, 8 to 14 to run, no round trip more |
| a plain job on a queue with limits | no command of its own |
| bytes of a job on the wire | beyond its arguments 75 to enqueue it, 85 to hand it out; 125 to end it |
| an idle worker | at most 2 calls a second |
| what happened, counted by handler and tenant | 4 commands a batch of settlements, 2 a batch of enqueues; none a job |
| hooks (`@queue.on`), alerts without a rule | no command |
| `Queue(events=True)` | 3 commands a job, in batches of their own; only those asked for, `events=["dead"]` |
| alerts with rules, an idle worker | at most 3 calls a second |
| `queue.health()` | at most 60 commands, however many jobs there are |
| tracing without a provider | no allocation |
| a page of the dashboard | as many commands with 1,500 jobs a state as with 60, at most 200; a search too |
"""


def load(folder: Path) -> dict[str, dict[str, Any]]:
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    return {name: one for name, one in found.items() if "medians" in one}


def server(one: dict[str, Any]) -> str:
    return f"{'Valkey' if one['kind'] == 'valkey' else 'Redis'} {one['server']}"


def alone(found: dict[str, dict[str, Any]]) -> str:
    first = next(iter(found.values()))
    lines = [ALONE.format(**(first | {"runs": len(first["runs"])}))]
    lines += [f"| what | {' | '.join(map(server, found.values()))} |\n", f"|---|{'---|' * len(found)}\n"]
    for name in first["medians"]:
        cells = " | ".join(f"{one['medians'].get(name, float('nan')):,.1f}" for one in found.values())
        lines.append(f"| {name} | {cells} |\n")
    return "".join(lines)


def beside(name: str, one: dict[str, Any]) -> str:
    runs = max(Counter((record["contender"], record["measure"]) for record in one["records"]).values())
    warned = "\n**A trial run with few jobs: no figure to quote.**\n" if one["quick"] else ""
    told = CONTEST.format(**(one | {"runs": runs, "title": server(one), "chart": chart(name), "commit": commits(one)}))
    return told + warned + contest(one)


def commits(one: dict[str, Any]) -> str:
    """Return which commit was measured, and which measures were taken again at a later one."""
    first = one["records"][0].get("commit", one["commit"])
    later: dict[str, dict[str, None]] = {}
    taken = [(record["measure"], record.get("commit", first)) for record in one["records"]]
    for measure, commit in [*taken, *one.get("own_commits", {}).items()]:
        if commit != first:
            later.setdefault(commit, {})[measure] = None
    return ", ".join([first, *(f"{', '.join(names)} at {commit}" for commit, names in later.items())])


def chart(name: str) -> str:
    return f"benchmarks-{name}.svg"


def watched(folder: Path) -> str:
    """Return what watching costs, and how long the dashboard's pages take."""
    parts: list[str] = []
    if (folder / "costs.json").exists():
        costs: dict[str, Any] = json.loads((folder / "costs.json").read_text())
        rows = [{"what": name, **one} for name, one in costs["watching"].items()]
        parts += [WATCHING.format(**(costs | {"server": server(costs)})), table(rows)]
    if (folder / "pages.json").exists():
        pages: dict[str, Any] = json.loads((folder / "pages.json").read_text())
        names = ("time, ms", "of it CPU of the dashboard, ms", "commands", "with a thousandth")
        rows = [
            {"page": f"`{path}`", **dict(zip(names, [round(one, 1) for one in figures], strict=True))}
            for path, figures in pages["pages"].items()
        ]
        parts += [PAGES.format(**(pages | pages["sizes"])), table(rows)]
    return "".join(parts)


def write(folder: Path = FOLDER, results: Path = RESULTS) -> None:
    """Write the page, and a chart for each file of the contest."""
    folder.mkdir(parents=True, exist_ok=True)
    found, peers = load(results), load(results / "peers")
    parts = [HEAD, *[beside(name, one) for name, one in peers.items()]]
    if peers:
        parts.append(contenders(next(iter(peers.values()))))
    if found:
        parts.append(alone(found))
    parts += [section(json.loads(path.read_text())) for path in sorted((results / "flow").glob("*.json"))]
    parts += [watched(results / "watching"), FOOT]
    (folder / "benchmarks.md").write_text("".join(parts))
    for name, one in peers.items():
        (folder / chart(name)).write_text(draw(one))
    print(f"written: {folder / 'benchmarks.md'}")


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:2]))
