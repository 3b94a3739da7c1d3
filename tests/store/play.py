"""What the state machines share: one queue for each example, its hands, and a look after every step."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, run_state_machine_as_test

from tests.servers import Server
from tests.store.snapshot import Snapshot
from tests.store.stage import Hand, Stage

T = TypeVar("T")

_prefixes = itertools.count()


class Play(RuleBasedStateMachine):
    """One queue of its own; ``compare`` is told what there is after each step, when it was found to hang together."""

    def __init__(self, server: Server, prefix: str, *, window: int = 1000) -> None:
        super().__init__()
        self.server = server
        self.prefix = f"{prefix}-{next(_prefixes)}"
        self.seqs = itertools.count(1)
        self._runner = asyncio.Runner()
        self.stage = self.run(self._open(window))
        self._hands: dict[str, Hand] = {}
        self._births = Counter[str]()

    async def _open(self, window: int) -> Stage:
        return await Stage(self.server, self.prefix, window=window).__aenter__()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one call."""
        return self._runner.run(work)

    def hand(self, name: str) -> Hand:
        """Return the hand of a worker ("w1": whoever bears that name at present), or of one that ever was ("w1-0")."""
        name = name if name in self._hands else f"{name}-{self._births[name]}"
        if name not in self._hands:
            self._hands[name] = self.stage.hand(name)
        return self._hands[name]

    def new_hand(self, name: str) -> None:
        """Another worker takes the place of one that vanished: a consumer of another name."""
        self._births[name] += 1

    def compare(self, now: Snapshot) -> None:
        """Compare what there is with what should be."""
        raise NotImplementedError

    @invariant()
    def agrees(self) -> None:
        """The invariants of a queue hold, and it is what the model says."""
        self.compare(self.stage.look())

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.run(self.stage.__aexit__())
        self._runner.close()
        self.server.delete_matching(f"{self.prefix}*")


def run_machine(factory: Any, examples: int, steps: int = 40) -> None:
    """Run so many examples of a machine. A failing one is printed as the calls that lead to it."""
    run_state_machine_as_test(
        factory,
        # Without shrinking: forty steps can be read, and minutes of shrinking would end in the test's timeout.
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            database=None,
            phases=(Phase.generate,),
        ),
    )
