"""Brings about one fault after the other, by the seed, and looks each time whether the queue goes on."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter, defaultdict
from contextlib import suppress

from tests.chaos import faults_input, faults_network, faults_process, faults_server
from tests.chaos.arena import Arena, NotMetError
from tests.chaos.kinds import Kind

KINDS: tuple[Kind, ...] = (*faults_process.KINDS, *faults_network.KINDS, *faults_server.KINDS, *faults_input.KINDS)

PATIENCE = 20.0
"""Seconds after a fault until which a job must be settled and an enqueue acknowledged: a lease, a sweep, and slack."""


OCCASIONS = 4
"""How often a kind of fault gets another turn, when there was no occasion for it."""


class Nemesis:
    """``counts``: faults by name. Seconds from the end of each until a job was settled: ``back``, until an enqueue was
    acknowledged: ``sent``.
    """

    def __init__(self, arena: Arena, kinds: tuple[Kind, ...] = KINDS) -> None:
        self.counts: Counter[str] = Counter()
        self.unmet: Counter[str] = Counter()
        self.back: dict[str, list[float]] = defaultdict(list)
        self.sent: dict[str, list[float]] = defaultdict(list)
        self._arena = arena
        self._kinds = kinds
        self._number = 0

    async def play(self) -> None:
        """Each kind once, in some order, then by weight, until there were as many as the plan says."""
        arena = self._arena
        deck = arena.chance.sample(self._kinds, len(self._kinds))
        weights = [kind.weight for kind in self._kinds]
        watching = asyncio.create_task(self._watch())
        try:
            while self.counts.total() < arena.plan.faults:
                kind = deck.pop() if deck else arena.chance.choices(self._kinds, weights)[0]
                await self._one(kind)
                if not self.counts[kind.name] and self.unmet[kind.name] < OCCASIONS:
                    deck.insert(0, kind)
                await asyncio.sleep(arena.chance.uniform(0, 0.3))
                if watching.done():
                    watching.result()
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _one(self, kind: Kind) -> None:
        arena, note = self._arena, self._arena.crew.nemesis.write
        self._number += 1
        note("fault", n=self._number, kind=kind.name, explains=kind.explains, wall=arena.wall())
        try:
            await kind.act(arena)
            self.counts[kind.name] += 1
        except NotMetError:
            self.unmet[kind.name] += 1
            return
        except AssertionError as problem:  # what should have followed did not
            note("crashed", name=kind.name, said=str(problem)[:2000])
        finally:
            arena.away.clear()
            note("healed", n=self._number)
        await self._recovered(kind.name)

    async def _recovered(self, name: str) -> None:
        """Wait until workers and producers are back; note how long each took."""
        crew, since = self._arena.crew, time.monotonic()
        waits = [
            (crew.done, crew.done(), self.back, "no job was settled"),
            (crew.acknowledged, crew.acknowledged(), self.sent, "no enqueue was acknowledged"),
        ]
        while waits:
            for wait in list(waits):
                count, before, spans, missed = wait
                seconds = time.monotonic() - since
                if count() > before:
                    spans[name].append(round(seconds, 2))
                elif seconds > PATIENCE:
                    crew.nemesis.write("crashed", name="queue", said=f"{missed} for {PATIENCE:g} s after: {name}")
                    spans[name].append(round(seconds, 2))
                else:
                    continue
                waits.remove(wait)
            await asyncio.sleep(0.02)

    async def _watch(self) -> None:
        """Replace workers that a job has killed; tell of processes that ended for any other reason."""
        arena = self._arena
        while True:
            await asyncio.sleep(0.05)
            for name in arena.crew.names():
                if name in arena.away or arena.crew.ended(name) is None:
                    continue
                await self._replace(name)

    async def _replace(self, name: str) -> None:
        crew, code = self._arena.crew, self._arena.crew.ended(name)
        if not crew.died(name):
            return
        crew.forget(name)
        if code != -signal.SIGKILL or not name.startswith("w"):
            crew.nemesis.write("crashed", name=name, said=f"ended with {code}: {crew.errors(name)[-1000:]}")
        match name[0]:
            case "w":
                async with self._arena.starting:
                    await self._arena.start_worker()
            case "s":
                self._arena.start_scheduler()
            case "p":
                self._arena.start_producer(self._arena.plan.jobs // 20)
            case _:
                pass
