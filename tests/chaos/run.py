"""The long chaos suite, in pieces: ``python -m tests.chaos.run --seeds 1-9``.

A run that has its report already is left out, so that it can be gone on with; ``tools/chaos_report.py`` adds all up.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.arena import Plan
from tests.chaos.play import play
from tests.chaos.report import file_of, table
from tests.servers import KINDS, ServerKind, missing_reason

FOLDER = Path("benchmarks") / "results" / "chaos"

JOBS, FAULTS, SEEDS = 4_000, 80, "1-9"
"""Of one run. With three servers and nine seeds: more than 100,000 jobs under more than 2,000 faults."""


def say(text: str) -> None:
    """Tell whoever watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def seeds_of(text: str) -> list[int]:
    """Read ``3``, ``1-9`` or ``1,4,7-9``."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def plans(options: argparse.Namespace) -> Iterator[Plan]:
    """Return what is to be played, seeds first, so that a run that is cut short has seen every server."""
    kinds: list[ServerKind] = [kind for kind in KINDS if kind in options.kinds.split(",")]
    for seed in seeds_of(options.seeds):
        for kind in kinds:
            reason = missing_reason(kind)
            if reason is not None:
                say(f"{kind} left out: {reason}")
            elif file_of(options.out, kind, seed).exists() and not options.again:
                say(f"{kind}, seed {seed}: played already")
            else:
                yield Plan(kind, seed, options.jobs, options.faults, options.rate)


def main() -> int:
    """Play, report, and return how many runs went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", default=",".join(KINDS), help="valkey, redis7, redis8 (all)")
    parser.add_argument("--seeds", default=SEEDS, help="such as 3, 1-9 or 1,4,7-9")
    parser.add_argument("--jobs", type=int, default=JOBS, help="least jobs of a run")
    parser.add_argument("--faults", type=int, default=FAULTS, help="faults of a run")
    parser.add_argument("--rate", type=float, default=60.0, help="jobs a second")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the reports")
    parser.add_argument("--again", action="store_true", help="play what has a report already")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the processes of the run would outlive us
    wrong = 0
    for plan in plans(options):
        report = asyncio.run(play(plan, keep=options.out / "failed"))
        report.save(options.out)
        say(f"\n{plan.kind}, seed {plan.seed}\n{table(report)}")
        wrong += not report.is_clean
    return min(wrong, 100)


if __name__ == "__main__":
    sys.exit(main())
