"""A world: a server in memory, a network, workers and producers as nodes of one virtual loop, and who watches them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from streamq import Worker
from streamq._memory import broker as brokers
from streamq._memory.broker import Broker
from streamq._store.keys import Keys
from streamq.errors import RedisUnavailable
from tests.simulation.app import NAME, PREFIX, App
from tests.simulation.book import Book, Run
from tests.simulation.desk import Desk
from tests.simulation.faults import Faults
from tests.simulation.invariants import Watch
from tests.simulation.loop import OUTSIDE, Node, StandstillError, VirtualLoop
from tests.simulation.network import Network
from tests.simulation.scenarios import MOST_STALLS, STORM, Plan
from tests.simulation.senders import Sending
from tests.simulation.state import State

PATIENCE: Final = 150.0
"""Virtual seconds in which everything must have ended, once the faults have."""

AFTERMATH: Final = 5.0
"""Virtual seconds after the storm until the last late request has arrived."""


class EnoughError(Exception):
    """Something is wrong: what follows from it need not be looked at."""


class Process:
    """One process of the application: what its handlers know of the world."""

    def __init__(self, world: World, who: str) -> None:
        self.node = Node(who)
        self.who = who
        self.world = world
        self.book: Book = world.book
        self.app = App(world.url, world.plan, self, who)
        self.worker: Worker | None = None
        self.task: asyncio.Task[Any] | None = None

    @property
    def mended(self) -> bool:
        """Whether what failed at first is in order now."""
        return self.world.mended

    def die(self) -> None:
        """End at once."""
        self.world.kill(self, "poison")

    def begun(self, run: Run) -> None:
        """Let it be judged that a handler begins."""
        self.world.watch.begun(run)

    @property
    def is_over(self) -> bool:
        """Whether it does nothing more."""
        return self.node.state == "dead" or self.task is None or self.task.done()


class World:
    """One world, from its plan to the end of everything in it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(f"world {plan.seed}")
        self.name = f"world-{plan.seed}"
        self.url = f"memory://{self.name}"
        self.mended = False
        self.jump = 0.0
        self.loop = VirtualLoop(plan.seed)
        self.broker = Broker(self._server_us, plan.seed, journal=True)
        self.book = Book(clock=lambda: self.loop.now - 1000.0)
        keys = Keys(PREFIX, NAME)
        self.state = State(self.broker, keys)
        self.watch = Watch(self.state, self.book, keys)
        self.network = Network(self.loop, plan.seed, self.watch.seen)
        self.network.on_fault = lambda kind, node: self.book.fault(kind, str(node), 20.0)
        self.network.on_defect = lambda defect: self.book.wrong(f"I14: {defect!r}")
        self.network.weather.loss = plan.loss
        self.broker.transport = self.network
        brokers.put(self.name, self.broker)
        self.workers: list[Process] = []
        self.producers: list[Process] = []
        self.desk = Process(self, "desk")
        self.is_calm = False
        self.is_over = False
        self._faults = Faults(self)
        self._hired = 0

    def _server_us(self) -> int:
        return int((self.loop.wall() + self.jump) * 1e6)

    # -- who is there ----------------------------------------------------------------------------------

    @property
    def alive(self) -> list[Process]:
        """Workers that have not ended."""
        return [one for one in self.workers if not one.is_over]

    @property
    def _strangers_out(self) -> bool:
        """Whether who comes now knows the handler, and comes in addition: all who are there may be strangers."""
        return self.is_calm and self.plan.has("strangers")

    def hire(self) -> None:
        """Start a worker."""
        if self.is_over:
            return
        if self._strangers_out:
            self._hired += (3 - self._hired) % 3  # the next one knows the handler
        self._hired += 1
        process = Process(self, f"worker-{self._hired}")
        self.workers.append(process)
        process.task = self.loop.spawn(process.node, self._employ(process))

    async def _employ(self, process: Process) -> None:
        app, plan = process.app, self.plan
        worker = process.worker = Worker(
            app.queue, concurrency=plan.concurrency, lease=plan.lease, grace=1.0, max_stalls=MOST_STALLS,
            name=process.who, wait_for_redis=30.0, scheduler=app.scheduler,
        )  # fmt: skip
        self.book.note(process.who, "is born")
        try:
            await worker.run()
            await app.queue.aclose()
        except RedisUnavailable as away:
            self.book.note(process.who, "gives up", "", str(away))
        except Exception as problem:  # noqa: BLE001 - a worker goes on whatever happens
            self.book.wrong(f"{process.who} ended by {problem!r}")
        self.book.note(process.who, "is gone")
        if worker.handed_back:
            self.book.note(process.who, "handed back", "", str(worker.handed_back))
        if not self.is_over:
            self.loop.outside_at(self.loop.now + 0.5, self._replace)

    def _replace(self) -> None:
        if len(self.alive) < self.plan.workers + self._strangers_out:
            self.hire()

    def kill(self, process: Process, why: str) -> None:
        """Kill a process, as SIGKILL does; a worker is replaced after a while."""
        if process.is_over:
            return
        self.book.fault(f"kill: {why}" if why == "poison" else why, process.who, 1e9)
        self.loop.kill(process.node)
        self.network.lose_node(process.node)
        if process in self.workers:
            self.loop.outside_at(self.loop.now + self.random.uniform(0.2, 3.0), self._replace)

    def _produce(self, which: int) -> None:
        process = Process(self, f"sender-{which}")
        self.producers.append(process)
        sending = Sending(process, self.plan, which, self.plan.producers)
        process.task = self.loop.spawn(process.node, sending.run())

    # -- from the beginning to the end -----------------------------------------------------------------

    def play(self) -> None:
        """Play it; what is wrong is in the book."""
        work = self.loop.spawn(OUTSIDE, self._live())
        try:
            self.loop.run_until_complete(work)
        except EnoughError:
            self.book.note("world", "[ends: something is wrong]")
        except StandstillError as standstill:
            self.book.wrong(str(standstill))
        self.is_over = True
        for complaint in self.loop.complaints:
            self.book.wrong(complaint)

    def end(self) -> None:
        """Take the world apart."""
        self.is_over = self.book.is_closed = True
        self.loop.bury()
        brokers.put(self.name, None)

    async def _live(self) -> None:
        desk = Desk(self)
        for fault in self.plan.faults:
            self.loop.outside_at(1000.0 + fault.at, self._faults.befall, fault)
        for _ in range(self.plan.workers):
            self.hire()
        for which in range(self.plan.producers):
            self._produce(which)
        self.desk.task = self.loop.spawn(self.desk.node, desk.work())
        await self._until(lambda: self.book.now >= STORM)
        self._faults.calm()
        self.is_calm = True
        self.mended = self.mended or self.plan.has("breaker")  # else its probes would fail for ever
        if self._strangers_out:
            self.hire()
        calm = self.book.now
        await self._until(lambda: self.book.now >= calm + AFTERMATH)
        if not await self._until(lambda: all(one.is_over for one in [*self.producers, self.desk])):
            self.book.wrong("a producer or the desk does not come to its end")
        for one in [*self.producers, self.desk]:
            if one.task is not None and one.task.done() and one.task.exception() is not None:
                self.book.wrong(f"{one.who} failed: {one.task.exception()!r}")
        await self._as_desk(desk.open_all)
        await self._drained()
        self.mended = True
        await self._as_desk(desk.replay_all)
        await self._drained()
        self.is_over = True
        await self._all_stop()
        await self._as_desk(desk.verify)

    async def _as_desk(self, act: Callable[[], Awaitable[None]]) -> None:
        async def work() -> None:
            await act()

        self.desk.task = self.loop.spawn(self.desk.node, work())
        await asyncio.wait([self.desk.task], timeout=PATIENCE)
        if not self.desk.task.done():
            self.book.wrong("the desk gets no answer")
        elif self.desk.task.exception() is not None:
            self.book.wrong(f"the desk failed: {self.desk.task.exception()!r}")

    async def _drained(self) -> None:
        if not await self._until(lambda: not self.state.rows):
            for job, row in list(self.state.rows.items())[:3]:
                self.book.wrong(f"I5: stuck, its row is {row[:60]!r}", job)

    async def _until(self, fact: Callable[[], bool]) -> bool:
        ends = self.loop.now + PATIENCE
        while not fact() and self.loop.now < ends:
            await asyncio.sleep(0.25)
            if self.book.problems:
                raise EnoughError
        return fact()

    async def _all_stop(self) -> None:
        for one in self.alive:
            if one.worker is not None:
                one.worker.stop()
        stopping = [one.task for one in self.alive if one.task is not None]
        if stopping:
            _, left = await asyncio.wait(stopping, timeout=30)
            if left:
                self.book.wrong("a worker does not stop")
