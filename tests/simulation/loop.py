"""An event loop of virtual time for many processes: it never waits, and the seed decides who of them goes on.

A `Node` is one simulated process. Whatever it starts carries its name in its context, so that all of it can be frozen,
thawed, or killed between any two steps. Within a node callbacks run in the order they came, as asyncio promises;
between nodes there is no order.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import os
import random
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeVarTuple

from streamq._core import ids
from streamq._runtime import vitals

STARTED_AT: Final = 1_750_000_000.0
"""What time it is when a world begins, in seconds since the epoch."""

STEP: Final = 2e-6
"""Seconds that a step of a node takes."""

STEPS_AT_ONCE: Final = 60_000
"""Steps without any timer in between after which somebody turns in a circle."""

Ts = TypeVarTuple("Ts")

State = Literal["runs", "frozen", "dead"]


class Node:
    """One simulated process. ``skew``: seconds that its time of day is ahead of the others'."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: State = "runs"
        self.skew = 0.0
        self.ready: deque[asyncio.Handle] = deque()
        self.context: contextvars.Context = contextvars.Context()
        self.context.run(_node.set, self)

    def __repr__(self) -> str:
        return self.name


_node: contextvars.ContextVar[Node] = contextvars.ContextVar("node")

OUTSIDE: Final = Node("outside")
"""Who is in no process: the network, the server, whoever looks on."""


def here() -> Node:
    """Return the node whose step this is."""
    return _node.get(OUTSIDE)


class StandstillError(AssertionError):
    """Nobody will ever do anything again, or somebody turns in a circle without any time passing."""


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop. ``now`` is its monotonic time in seconds."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.now = 1000.0
        self.steps = 0
        self.complaints: list[str] = []
        self.kept: list[Any] = []
        """What the dead have left: kept, so that none of it is cleaned up as long as the world goes on."""
        self._choose = random.Random(f"loop {seed}").random
        self._going: list[Node] = []
        self._timers: list[tuple[float, float, int, asyncio.TimerHandle, Node]] = []
        self._count = 0
        self._since_timer = 0

    def time(self) -> float:
        return self.now

    def wall(self) -> float:
        """Return the time of day where nobody's clock is wrong."""
        return STARTED_AT + self.now - 1000.0

    # -- scheduling ------------------------------------------------------------------------------------

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        node = here() if context is None else context.get(_node, OUTSIDE)
        self._add(node, handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        node = here() if context is None else context.get(_node, OUTSIDE)
        self._count += 1
        # Timers of one moment come in an order of the seed: asyncio promises none.
        heapq.heappush(self._timers, (when, self._choose(), self._count, handle, node))
        return handle

    def outside_at(self, when: float, callback: Callable[[*Ts], object], *args: *Ts) -> asyncio.TimerHandle:
        """Call outside of all nodes, so that it happens whoever lives."""
        return self.call_at(when, callback, *args, context=OUTSIDE.context)

    def _add(self, node: Node, handle: asyncio.Handle) -> None:
        if node.state == "dead":
            self.kept.append(handle)
            return
        if not node.ready and node.state == "runs":
            self._going.append(node)
        node.ready.append(handle)

    # -- running ---------------------------------------------------------------------------------------

    def _run_once(self) -> None:
        """Take one step, after moving on to the next timer when nobody is ready."""
        timers = self._timers
        if not self._going:
            self._since_timer = 0
            while timers and timers[0][3].cancelled():
                heapq.heappop(timers)
            if not timers:
                raise StandstillError("nobody waits for anything any more")
            self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            _, _, _, handle, node = heapq.heappop(timers)
            if not handle.cancelled():
                self._add(node, handle)
        going = self._going
        if not going:
            return
        at = int(self._choose() * len(going)) if len(going) > 1 else 0
        node = going[at]
        ready = node.ready.popleft()
        if not node.ready:
            going[at] = going[-1]
            going.pop()
        self.now += STEP
        self.steps += 1
        self._since_timer += 1
        if self._since_timer > STEPS_AT_ONCE:
            raise StandstillError(f"{node} turns in a circle: {ready!r}")
        if not ready.cancelled():
            ready._run()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        problem = context.get("exception")
        if "was destroyed but it is pending" not in context["message"]:
            self.complaints.append(f"{context['message']}: {problem!r}")

    def spawn(self, node: Node, work: Coroutine[Any, Any, Any], name: str = "") -> asyncio.Task[Any]:
        """Start a coroutine in a node."""
        task: asyncio.Task[Any] = node.context.run(self.create_task, work, name=name or None)
        return task

    # -- what befalls a node ---------------------------------------------------------------------------

    def freeze(self, node: Node) -> None:
        """Let a node stand still: what it waits for comes to pass, and it hears of it when it is thawed."""
        if node.state == "runs":
            node.state = "frozen"
            if node in self._going:
                self._going.remove(node)

    def thaw(self, node: Node) -> None:
        """Let it go on."""
        if node.state == "frozen":
            node.state = "runs"
            if node.ready:
                self._going.append(node)

    def kill(self, node: Node) -> None:
        """End a node between two steps: nothing of it ever runs again, no cleanup either."""
        if node.state == "dead":
            return
        self.freeze(node)
        node.state = "dead"
        self.kept += [*asyncio.all_tasks(self), *node.ready]
        node.ready.clear()

    def bury(self) -> None:
        """Take everything apart once the world is over; what it does then concerns nobody."""
        tasks: set[Any] = {*asyncio.all_tasks(self), *(one for one in self.kept if isinstance(one, asyncio.Task))}
        for unfinished in tasks:
            if not unfinished.done():
                unfinished._log_destroy_pending = False
                for _ in range(20):
                    try:
                        unfinished.get_coro().close()
                        break
                    except BaseException:  # noqa: BLE001, S112 - whatever it is, nobody listens any more
                        continue
        self.kept.clear()
        self._timers.clear()
        self.close()


@contextmanager
def clocks(loop: VirtualLoop, seed: int) -> Generator[None]:
    """Let this process see the loop's time, and whatever is random be of the seed."""
    noise = random.Random(f"noise {seed}").randbytes
    state = random.getstate()
    kept = [
        (time, "monotonic", time.monotonic), (time, "time", time.time), (time, "time_ns", time.time_ns),
        (time, "perf_counter", time.perf_counter), (os, "urandom", os.urandom), (os, "getpid", os.getpid),
        (secrets, "token_bytes", secrets.token_bytes), (socket, "gethostname", socket.gethostname),
        (time, "process_time", time.process_time), (vitals, "resident", vitals.resident),
    ]  # fmt: skip

    def wall() -> float:
        return loop.wall() + here().skew

    def token(size: int = 16) -> bytes:
        return noise(size)

    new: list[Callable[..., object]] = [
        loop.time, wall, lambda: int(wall() * 1e9), loop.time, noise, lambda: 7, token, lambda: "sim",
        lambda: 0.0, lambda: 50_000_000,
    ]  # fmt: skip
    random.seed(f"random {seed}")
    made_ids: Any = ids
    noise_ahead = made_ids._noise
    noise_ahead.clear()
    for (module, name, _), made in zip(kept, new, strict=True):
        setattr(module, name, made)
    try:
        yield
    finally:
        for module, name, old in kept:
            setattr(module, name, old)
        noise_ahead.clear()
        random.setstate(state)
