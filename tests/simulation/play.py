"""Plays worlds: ``python -m tests.simulation.play --seeds 0-99``; with ``--job`` one seed tells what befell a job."""

from __future__ import annotations

import argparse
import gc
import hashlib
import logging
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, NamedTuple

from tests.simulation.app import playable
from tests.simulation.book import Book
from tests.simulation.loop import clocks
from tests.simulation.scenarios import Plan, draw
from tests.simulation.verdict import Problem, verdict
from tests.simulation.world import World

AT_ONCE: Final = 20
"""Seeds that a process is given at a time."""


class Played(NamedTuple):
    """What came of a seed. ``digest`` names all that the server wrote; ``told``: the plan and, if wrong, the trace."""

    seed: int
    features: tuple[str, ...]
    jobs: int
    runs: int
    verbs: Counter[str]
    seconds: float
    faults: Counter[str]
    again: Counter[str]
    problems: list[Problem]
    digest: str
    told: str


def plan_of(seed: int) -> Plan:
    """Return the plan of a seed, without features that exclude each other."""
    plan = draw(seed)
    while not playable(plan):
        plan = replace(plan, features=plan.features[:-1])
    return plan


def play(plan: Plan, *, whole: bool = False) -> Played:
    """Play one world. ``whole``: tell everything, also if nothing is wrong."""
    logger = logging.getLogger("streamq")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    gc.disable()
    gc.freeze()  # so that what is collected is of this world
    try:
        world = World(plan)
        with clocks(world.loop, plan.seed):
            world.play()
            found = verdict(world)
            digest = hashlib.sha256(repr(world.broker.journal).encode()).hexdigest()[:16]
            told = "\n".join(_told(plan, world.book)) if whole or found.problems else str(plan)
            with _nobody_hears():
                world.end()
                del world
                gc.collect()
    finally:
        logger.setLevel(level)
        gc.unfreeze()
        gc.enable()
    return Played(plan.seed, tuple(sorted(plan.names)), *found[:-1], found.problems, digest, told)


@contextmanager
def _nobody_hears() -> Generator[None]:
    """Let the dead be taken apart: what their coroutines say then concerns nobody."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = hook


def _told(plan: Plan, book: Book) -> Iterator[str]:
    yield str(plan)
    if not book.problems:
        yield from book.trace("")
        return
    for rule, job in book.problems:
        yield f"  {rule} {f'(job {job})' if job else ''}"
    rule, job = book.problems[0]
    yield f"What happened{f' to {job}' if job else ''}, in virtual seconds:"
    lines = list(book.trace(job))
    yield from (lines if len(lines) < 160 else [*lines[:40], "      ...", *lines[-119:]])
    yield f"Again: python -m tests.simulation.play --seeds {plan.seed}{f' --job {job}' if job else ''}"


def play_seeds(seeds: Sequence[int]) -> list[Played]:
    """Play some seeds here."""
    return [play(plan_of(seed)) for seed in seeds]


def play_all(seeds: Sequence[int], processes: int) -> Iterator[Played]:
    """Play many seeds in several processes; in the order of the seeds."""
    pieces = [seeds[at : at + AT_ONCE] for at in range(0, len(seeds), AT_ONCE)]
    if processes <= 1 or len(pieces) == 1:
        for piece in pieces:
            yield from play_seeds(piece)
        return
    # Not forked: whoever calls may have threads.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _leave_signals) as pool:
        for played in pool.map(play_seeds, pieces):
            yield from played


def _leave_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def seeds_of(text: str) -> list[int]:
    """Read ``3``, ``0-99`` or ``1,4,7-9``."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def cores() -> int:
    """Return how many processes are of use."""
    return max(1, min(8, os.cpu_count() or 1))


def say(text: str) -> None:
    """Tell whoever watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def summed(played: Iterable[Played]) -> str:
    """Return a line about many seeds."""
    some = list(played)
    wrong = [one.seed for one in some if one.problems]
    hours = sum(one.seconds for one in some) / 3600
    faults = sum((one.faults for one in some), Counter[str]())
    return (
        f"{len(some)} seeds, {sum(one.jobs for one in some)} jobs, {sum(one.runs for one in some)} runs, "
        f"{sum(faults.values())} faults, {hours:.1f} virtual hours; wrong: {wrong or 'none'}"
    )


def main() -> int:
    """Play, tell, and return how many seeds went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0-99", help="such as 3, 0-99 or 1,4,7-9")
    parser.add_argument("--processes", type=int, default=cores())
    parser.add_argument("--job", default=None, help="with one seed: tell what happened to this job ('' : to all)")
    parser.add_argument("--first", action="store_true", help="stop at the first seed that goes wrong")
    options = parser.parse_args()
    seeds, began, some = seeds_of(options.seeds), time.monotonic(), list[Played]()
    if options.job is not None:
        one = play(plan_of(seeds[0]), whole=True)
        say("\n".join(line for line in one.told.splitlines() if options.job in line or "[" in line))
        return bool(one.problems)
    for one in play_all(seeds, options.processes):
        some.append(one)
        if one.problems:
            say(f"\n{one.told}")
            if options.first:
                break
    say(f"{summed(some)}; {time.monotonic() - began:.1f} s")
    return min(100, sum(bool(one.problems) for one in some))


if __name__ == "__main__":
    sys.exit(main())
