"""Connections as the network has them: two ways, in order each, and what is held back while a node is cut off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

from streamq._memory.connection import Connection
from tests.simulation.loop import Node

Fate = Literal["", "request lost", "reply lost", "request late", "reply late"]

FATES: Final[tuple[Fate, ...]] = ("request lost", "reply lost", "request late", "reply late")

LATEST: Final = 4.0
"""Seconds that a request or a reply is late at most."""

Answer = asyncio.Future[Any] | None
"""Who waits for the replies; None for a call without."""


class Cut(NamedTuple):
    """Which ways of a node are cut; what is under way is held back, as TCP does."""

    out: bool
    back: bool


class Way:
    """One direction of a connection."""

    def __init__(self) -> None:
        self.last = 0.0
        self.held: list[Callable[[], None]] = []

    def arrival(self, at: float) -> float:
        """Return when what would be there ``at`` some time arrives: nothing overtakes."""
        self.last = max(self.last + 1e-6, at)
        return self.last

    def released(self) -> list[Callable[[], None]]:
        """Return what was held back."""
        held, self.held = self.held, []
        return held


class Wire:
    """One connection of a node. ``broken``: nothing passes any more, and its ends know of it or not."""

    def __init__(self, node: Node, connection: Connection) -> None:
        self.node = node
        self.connection = connection
        self.answer: Answer = None
        self.broken: Literal["", "loud", "silent"] = ""
        self.out = Way()
        self.back = Way()


class Weather:
    """How the network is. ``loss``: chance that an exchange meets a `Fate`; ``slow``: how much longer ways take."""

    def __init__(self, seed: int) -> None:
        self.loss = 0.0
        self.slow = 1.0
        self.random = random.Random(f"network {seed}")

    def delay(self) -> float:
        """Return seconds of one way: mostly less than a millisecond, now and then much longer."""
        chance = self.random.random
        usual = 0.0001 + chance() * 0.0008
        return (usual if chance() < 0.97 else chance() * 0.08) * self.slow

    def fate(self) -> Fate:
        """Return what becomes of an exchange."""
        return self.random.choice(FATES) if self.loss and self.random.random() < self.loss else ""

    def lateness(self, fate: Fate, kind: Fate) -> float:
        """Return by how many seconds more something is late, if that is its fate."""
        return self.random.uniform(0.5, LATEST) if fate == kind else 0.0
