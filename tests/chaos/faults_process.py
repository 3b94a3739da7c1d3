"""Faults 1, 2, 3, 14, 15, 17 and 18: what may become of the processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.actor import Doom
from tests.chaos.arena import Arena, NotMetError
from tests.chaos.crew import ROOT
from tests.chaos.kinds import Kind
from tests.faults.scene import until

DEPLOY_EVERY = 2.0
"""Seconds from the SIGTERM to one worker until that to the next."""


async def _killed(arena: Arena, name: str) -> None:
    """Kill a process (it may be stopped, or dead by now) and start another in its place."""
    arena.away.add(name)
    await asyncio.to_thread(arena.crew.kill, name)
    arena.away.discard(name)
    await arena.start_worker()


async def _catch(arena: Arena) -> str:
    """Stop a worker in the middle of some jobs."""
    name, crew = arena.some_worker(), arena.crew
    arena.away.add(name)
    await until(lambda: crew.ended(name) is not None or crew.caught(name), f"{name} runs jobs", every=0.002)
    if crew.ended(name) is not None:
        raise NotMetError(f"{name} was killed by a job meanwhile")
    return name


async def kill_in_a_run(arena: Arena) -> None:
    """SIGKILL in the middle of some jobs."""
    await _killed(arena, await _catch(arena))


def kill_when(phase: str) -> Kind:
    """SIGKILL in a phase of its work, by the process itself."""

    async def act(arena: Arena) -> None:
        name = arena.some_worker()
        arena.away.add(name)
        arena.crew.tell(name, phase)
        await until(lambda: arena.crew.ended(name) is not None, f"{name} dies when {phase}")
        await _killed(arena, name)

    return Kind(1, f"worker killed: {phase}", act, weight=3, explains=False)


async def kill_any_moment(arena: Arena) -> None:
    """SIGKILL whatever it does."""
    await asyncio.sleep(arena.chance.uniform(0, 0.3))
    await _killed(arena, arena.some_worker())


async def kill_a_producer(arena: Arena) -> None:
    """SIGKILL a producer between sending and hearing, perhaps."""
    name = arena.one_of("p")
    await asyncio.to_thread(arena.crew.kill, name)
    arena.start_producer(arena.plan.jobs // 20)


async def kill_a_scheduler(arena: Arena) -> None:
    """SIGKILL a scheduler."""
    name = arena.one_of("s")
    await asyncio.to_thread(arena.crew.kill, name)
    arena.start_scheduler()


async def freeze(arena: Arena) -> None:
    """SIGSTOP until others run what it held, then SIGCONT: a zombie whose run ends while its successor's goes on."""
    job = await arena.add("deaf", {"seconds": arena.plan.terms.lease * 0.8})
    await until(lambda: arena.began(job), "it runs", seconds=30, every=0.02)
    name = arena.crew.runner(job)
    if name not in arena.crew.names("w"):
        raise NotMetError("its worker was killed by a job meanwhile")
    arena.away.add(name)
    arena.crew.freeze(name)
    await until(lambda: not arena.held_by(name), "others took over", seconds=30, every=0.05)
    await until(lambda: arena.began(job) > 1, "another runs it", seconds=30, every=0.05)
    await asyncio.sleep(arena.chance.uniform(0, 0.3))
    arena.crew.thaw(name)


async def freeze_shortly(arena: Arena) -> None:
    """SIGSTOP for less than the lease: nobody may notice."""
    name = arena.some_worker()
    arena.away.add(name)
    arena.crew.freeze(name)
    await asyncio.sleep(arena.chance.uniform(0.1, arena.plan.terms.lease / 3))
    arena.crew.thaw(name)


async def block_the_loop(arena: Arena) -> None:
    """A handler that blocks the event loop for longer than the lease: the keeper thread keeps all jobs of it."""
    job = await arena.add("block", {"seconds": arena.plan.terms.lease * 1.4})
    await until(lambda: arena.began(job), "it blocks", seconds=30, every=0.05)


async def poison(arena: Arena) -> None:
    """A job that kills its process, three times; then it is dead. The rest of the play goes on meanwhile."""
    job = await arena.add("poison", {"seconds": 0.05}, doomed=True)
    await until(lambda: arena.began(job), "the first of three began", seconds=30, every=0.05)


async def _redeploy(arena: Arena, names: Sequence[str], home: Path) -> None:
    """Replace workers one by one, their successors first; one every two seconds."""
    for name in names:
        if name not in arena.crew.names("w") or not arena.crew.is_up(name):
            continue  # a job has killed it meanwhile
        began = time.monotonic()
        arena.away.add(name)
        await arena.start_worker(home=home)
        await asyncio.to_thread(arena.crew.retire, name)
        await asyncio.sleep(max(0.0, DEPLOY_EVERY - (time.monotonic() - began)))


async def deploy(arena: Arena) -> None:
    """A rolling deploy: SIGTERM to each worker in turn, its successor first."""
    await _redeploy(arena, arena.crew.names("w"), ROOT)


async def deploy_another_version(arena: Arena) -> None:
    """A rolling deploy of the version of the last commit to some workers and a producer, and back again."""
    home = await asyncio.to_thread(arena.elder)
    before = arena.crew.names("w")
    arena.start_producer(arena.plan.jobs // 20, home)
    await _redeploy(arena, before[:2], home)
    await _redeploy(arena, [name for name in arena.crew.names("w") if name not in before], ROOT)


async def freeze_the_schedulers(arena: Arena) -> None:
    """Both schedulers are stopped before a tick and go on after it."""
    names = arena.crew.names("s")
    await asyncio.sleep(1 - arena.wall() % 1 - 0.02)
    for name in names:
        arena.crew.freeze(name)
    await asyncio.sleep(arena.chance.choice((0.1, 1.2, 2.5)))
    for name in names:
        arena.crew.thaw(name)


KINDS = (
    Kind(1, "worker killed: running", kill_in_a_run, weight=6, explains=False),
    *(kill_when(phase) for phase in Doom.PHASES),
    Kind(1, "worker killed: any moment", kill_any_moment, weight=6, explains=False),
    Kind(1, "producer killed", kill_a_producer, weight=3, explains=False),
    Kind(1, "scheduler killed", kill_a_scheduler, weight=2, explains=False),
    Kind(2, "worker frozen beyond its lease", freeze, weight=4, explains=False),
    Kind(2, "worker frozen for a moment", freeze_shortly, weight=2, explains=False),
    Kind(3, "event loop blocked beyond the lease", block_the_loop, weight=2, explains=False),
    Kind(14, "poison job", poison, weight=1, explains=False),
    Kind(15, "two versions in a rolling deploy", deploy_another_version, weight=1, explains=False),
    Kind(17, "rolling deploy, a worker every two seconds", deploy, weight=2, explains=False),
    Kind(18, "schedulers frozen at a tick", freeze_the_schedulers, weight=2, explains=False),
)
