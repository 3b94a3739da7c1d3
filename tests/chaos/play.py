"""One run of the chaos suite: everybody at work, the nemesis among them, and the verdict when all is quiet."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from streamq import Priority
from tests.chaos.arena import Arena, Plan
from tests.chaos.checker import check
from tests.chaos.kinds import Kind
from tests.chaos.nemesis import KINDS, Nemesis
from tests.chaos.report import Faults, Report
from tests.faults.scene import until
from tests.ledger import Line

WORKERS, PRODUCERS, SCHEDULERS = 3, 2, 2

TROUBLE = frozenset({"fault", "healed", "killed", "frozen", "thawed", "stopped"})
"""Words of the nemesis for what is felt for a while."""

CROWD, WAVE = 600, 50

DRAIN = 60.0
"""Seconds the last jobs get, once the nemesis is gone: a poison job needs three leases and three sweeps."""


async def play(plan: Plan, *, kinds: tuple[Kind, ...] = KINDS, keep: Path | None = None) -> Report:
    """Play a plan and return what became of its jobs; ``keep``: where to put the ledgers of a run that went wrong."""
    began = time.monotonic()
    async with Arena(plan) as arena:
        await _set_up(arena)
        nemesis = Nemesis(arena, kinds)
        await nemesis.play()
        await _calm_down(arena)
        await _queue_up(arena)
        await _wind_up(arena)
        lines = arena.crew.lines()
        verdict = check(lines, arena.final(), plan.terms)
        stalls = int(arena.server.command("HGET", arena.keys.meta, "stalled") or 0)
        said = arena.server.info("server")
        version = said.get("valkey_version") or said.get("redis_version", "")
        if verdict.wrong and keep is not None:
            _keep(keep / f"{plan.kind}-{plan.seed}.jsonl", lines)
    seconds = time.monotonic() - began
    faults = Faults(nemesis.counts, nemesis.unmet, nemesis.back, nemesis.sent)
    return Report.of(plan.kind, version, plan.seed, seconds, verdict, faults, stalls)


async def _set_up(arena: Arena) -> None:
    for _ in range(WORKERS):
        await arena.start_worker()
    for _ in range(SCHEDULERS):
        arena.start_scheduler()
    for _ in range(PRODUCERS):
        arena.start_producer(arena.plan.jobs // PRODUCERS)
    others = [*arena.crew.names("s"), *arena.crew.names("p")]
    await asyncio.to_thread(arena.crew.wait_ready, *others)


async def _calm_down(arena: Arena) -> None:
    """Wait until nothing was wrong for as long as a fault is felt: poison jobs kill workers a while after they came."""
    after = arena.plan.terms.lease + 2 * arena.plan.terms.sweep

    async def is_calm() -> bool:
        await _replace_the_killed(arena)
        troubles = [line.at for line in arena.crew.lines() if line.what in TROUBLE]
        return time.monotonic() - max(troubles, default=0.0) > after

    with suppress(AssertionError):
        await until(is_calm, "nothing is wrong any more", seconds=DRAIN, every=0.5)


async def _queue_up(arena: Arena) -> None:
    """More jobs than there are places, of all priorities, let go at once: rule 10 looks at who starts first."""
    await arena.queue.pause()
    for _ in range(CROWD // WAVE):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WAVE):
                tasks.create_task(arena.add("work", {"seconds": 0.1}, priority=arena.chance.choice(list(Priority))))
    await arena.queue.resume()
    mine = {line.job for line in arena.crew.lines() if line.what == "ok" and line.job.startswith("n-")}
    with suppress(AssertionError):
        await until(lambda: not mine & arena.unsettled(), "the crowd is served", seconds=DRAIN, every=0.2)


async def _wind_up(arena: Arena) -> None:
    """No more ticks, no more jobs; wait until all are settled; everybody goes home."""
    crew = arena.crew
    for name in crew.names("s"):
        await asyncio.to_thread(crew.retire, name)
    senders = crew.names("p")
    for name in senders:
        crew.tell(name, "enough")
    await until(lambda: all(crew.ended(name) is not None for name in senders), "producers end", seconds=120, every=0.1)
    for name in senders:
        code = crew.ended(name)
        if code != 0:
            crew.nemesis.write("crashed", name=name, said=f"ended with {code}: {crew.errors(name)[-1000:]}")
        crew.forget(name)
    await _drained(arena)
    await asyncio.to_thread(crew.stop)
    arena.forget_the_dead()


async def _replace_the_killed(arena: Arena) -> None:
    """Start a worker for each that a poison job has killed."""
    for name in arena.crew.names("w"):
        if arena.crew.ended(name) is not None and arena.crew.died(name):
            arena.crew.forget(name)
            await arena.start_worker()


async def _drained(arena: Arena) -> None:
    """Wait until nothing is unsettled. Whoever a poison job kills now is replaced; what stays is told as stuck."""

    async def is_quiet() -> bool:
        await _replace_the_killed(arena)
        return not arena.unsettled() and not arena.scene.entries()

    with suppress(AssertionError):
        await until(is_quiet, "all jobs settled", seconds=DRAIN, every=0.1)


def _keep(path: Path, lines: Sequence[Line]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
