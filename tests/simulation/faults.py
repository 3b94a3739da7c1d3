"""What befalls a world: each kind of fault of a plan, and the calm after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tests.simulation.scenarios import Fault
from tests.simulation.wires import Cut

if TYPE_CHECKING:
    from tests.simulation.world import Process, World

HOUR = 3600.0

MOST_LOST = 15
"""Writes that a crash loses at most."""


class Faults:
    """Brings faults about."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._farthest = 0.0
        self._kinds: Mapping[str, Callable[[Fault], None]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "partition": lambda fault: self._partition(fault, Cut(out=True, back=True)),
            "partition out": lambda fault: self._partition(fault, Cut(out=True, back=False)),
            "partition back": lambda fault: self._partition(fault, Cut(out=False, back=True)),
            "reset": lambda fault: self._reset(fault, silently=None),
            "client kill": lambda fault: self._reset(fault, silently=False),
            "script flush": self._flush,
            "crash": lambda fault: self._crash(fault, 0),
            "crash that loses writes": lambda fault: self._crash(fault, 1 + int(fault.draw * MOST_LOST)),
            "clock jump": self._jump,
            "out of memory": self._oom,
            "slow network": self._slow,
            "worker stops": self._stop,
            "skew": self._skew,
        }

    def befall(self, fault: Fault) -> None:
        """Bring one about; what is to heal heals by itself."""
        if not self._world.is_calm:
            self._kinds[fault.kind](fault)

    def calm(self) -> None:
        """End all that has not healed."""
        world = self._world
        world.network.weather.loss, world.network.weather.slow = 0.0, 1.0
        world.broker.short_of_memory = False
        if world.jump != self._farthest:
            self._clock(self._farthest)  # where it was once is the past for good: nothing is to wait for it for an hour
        for one in [*world.workers, *world.producers, world.desk]:
            world.loop.thaw(one.node)
        for node in list(world.network.cuts):
            world.network.heal(node)
        world.book.note("world", "[calm]")

    # -- kinds -----------------------------------------------------------------------------------------

    def _victim(self, fault: Fault, *, is_worker: bool = False) -> Process | None:
        world = self._world
        workers, others = world.alive, [one for one in world.producers if not one.is_over]
        some = others if others and fault.draw > 0.85 and not is_worker else workers
        return some[int(fault.draw * 1000) % len(some)] if some else None

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self._world.loop.outside_at(self._world.loop.now + seconds, act)

    def _kill(self, fault: Fault) -> None:
        victim = self._victim(fault)
        if victim is not None:
            self._world.kill(victim, "kill")

    def _freeze(self, fault: Fault) -> None:
        victim, world = self._victim(fault), self._world
        if victim is not None:
            world.book.fault("freeze", victim.who, fault.seconds + world.plan.lease)
            world.loop.freeze(victim.node)
            self._later(fault.seconds, lambda: world.loop.thaw(victim.node))

    def _partition(self, fault: Fault, cut: Cut) -> None:
        victim, world = self._victim(fault), self._world
        if victim is not None:
            world.book.fault(fault.kind, victim.who, fault.seconds + 20.0)
            world.network.cuts[victim.node] = cut
            self._later(fault.seconds, lambda: world.network.heal(victim.node))

    def _reset(self, fault: Fault, *, silently: bool | None) -> None:
        wires = [wire for wire in self._world.network.wires.values() if not wire.broken]
        if wires:
            wire = wires[int(fault.draw * 1000) % len(wires)]
            self._world.book.fault(fault.kind, str(wire.node), 20.0)
            self._world.network.snap(wire, silently=silently)

    def _flush(self, fault: Fault) -> None:
        self._world.book.fault(fault.kind)
        self._world.broker.flush_scripts()

    def _crash(self, fault: Fault, lost: int) -> None:
        world = self._world
        lost = min(lost, len(world.broker.journal or ()))
        world.book.fault(fault.kind, "", fault.seconds + 20.0)
        world.watch.crashing(lost)
        world.network.crash(world.broker, lost, fault.seconds)
        world.watch.crashed(lost)

    def _jump(self, fault: Fault) -> None:
        self._clock(HOUR if fault.draw < 0.5 else -HOUR)

    def _clock(self, jump: float) -> None:
        self._world.book.fault("clock jump", "", 20.0)
        self._world.jump = jump
        self._farthest = max(self._farthest, jump)
        self._world.watch.jumped()

    def _oom(self, fault: Fault) -> None:
        broker = self._world.broker
        self._world.book.fault(fault.kind, "", fault.seconds + 2.0)
        broker.short_of_memory = True

        def freed() -> None:
            broker.short_of_memory = False

        self._later(fault.seconds, freed)

    def _slow(self, fault: Fault) -> None:
        weather = self._world.network.weather
        self._world.book.fault(fault.kind, "", fault.seconds + 10.0)
        weather.slow = 30.0

        def quick() -> None:
            weather.slow = 1.0

        self._later(fault.seconds, quick)

    def _stop(self, fault: Fault) -> None:
        victim = self._victim(fault, is_worker=True)
        if victim is not None and victim.worker is not None:
            self._world.book.fault(fault.kind, victim.who, 5.0)
            victim.node.context.copy().run(victim.worker.stop)

    def _skew(self, fault: Fault) -> None:
        victim = self._victim(fault)
        if victim is not None:
            self._world.book.fault(fault.kind, victim.who)
            victim.node.skew = (fault.draw - 0.5) * 2 * HOUR
