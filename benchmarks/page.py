"""Writes docs/explanation/benchmarks.md from benchmarks/results/*.json: no figure is typed by hand.

python benchmarks/page.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "explanation" / "benchmarks.md"
HEAD = """# Benchmarks

streamq beside nothing but the limit: these are its own figures, and those of a bare redis-py loop (read 100, a task per
entry, acknowledge and delete 100) in the same run. A comparison with other queues, each with its own best settings, is
not here yet.

Read ratios, not absolute figures: the load generator, the worker and the server share the machine's cores, and a faster
machine makes every figure better. Each figure is the median of {runs} runs on a fresh server; every run measures
everything, one after the other. Payload: 99 bytes of arguments or less. Python {python}, {loop}, {cores} cores.

"""
FOOT = """
## How to repeat it

```bash
python -m pip install -e ".[dev,fast]" --group test
python benchmarks/streamq_bench.py --server redis7 --runs 5 --json benchmarks/results/redis7.json
python benchmarks/page.py
```

`--server` takes `valkey` and `redis8` too, `--loop uvloop` the other event loop. Run it on a quiet machine, and nothing
beside it.

## What counts and what does not

Round trips and commands per job are counted, not timed, and gate every change: `tests/gates`. Timings gate nothing.

| what | gate |
|---|---|
| enqueue one by one | 1 call, 11 commands inside it |
| enqueue in bulk | 1 call for 200 jobs |
| drain of no-op jobs, concurrency 100 | settle and fetch of 100 jobs in one round trip, below 0.4 commands a job |
| a retry | 3 commands more: due time, body, back into the lane |
| a delayed job | 2 commands to delay, 1 to promote, 200 promoted a call |
| an idle worker | at most 2 calls a second |
"""


def load() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def page(found: dict[str, dict[str, Any]]) -> str:
    first = next(iter(found.values()))
    lines = [HEAD.format(**(first | {"runs": len(first["runs"])}))]
    titles = [f"{'Valkey' if one['kind'] == 'valkey' else 'Redis'} {one['server']}" for one in found.values()]
    lines += [f"| what | {' | '.join(titles)} |\n", f"|---|{'---|' * len(titles)}\n"]
    for name in first["medians"]:
        cells = " | ".join(f"{one['medians'].get(name, float('nan')):,.1f}" for one in found.values())
        lines.append(f"| {name} | {cells} |\n")
    return "".join(lines) + FOOT


if __name__ == "__main__":
    PAGE.write_text(page(load()))
    print(f"written: {PAGE.relative_to(ROOT)}")
