"""Faults on purpose: workers that die or lose their leases, lost replies and connections. For queues in memory.

They happen between the clients and the broker, so both sides are the real ones.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from .._memory.connection import Connection, ConnectionGone
from .._memory.transport import Transport
from .._store import replies
from .._store.link import Command, Reply, ReplyError
from .._store.scripts import by_sha
from ..errors import ConfigError
from ..queue import Queue
from ..settings import whole

if TYPE_CHECKING:
    from .._memory.broker import Broker
    from .report import Outcome

WORKERS = frozenset({"streamq:worker", "streamq:bell", "streamq:control", "streamq:keeper"})
"""Names of the connections that a worker has for itself; producers are shared by all of an event loop."""

_TOKEN = re.compile(rb"[0-4t]\d+-\d+:\d+(?:\|.*)?", re.DOTALL)
_FETCHES = frozenset({"fetch", "take"})


class Life:
    """The life of one worker of `run_until_idle`. ``told``: called with fence tokens and what became of them."""

    def __init__(self, told: Callable[[Sequence[bytes], Outcome], None]) -> None:
        self.crashed: bool = False
        self.stalled: bool = False
        self.told = told
        self._thawed = asyncio.Event()

    async def goes_on(self) -> None:
        """Wait while it is stalled; raises `ConnectionGone` when it is over."""
        if self.stalled:
            await self._thawed.wait()
        if self.crashed:
            raise ConnectionGone("the worker crashed")

    def thaw(self) -> None:
        """Let it go on."""
        self.stalled = False
        self._thawed.set()
        self._thawed = asyncio.Event()


current_life: ContextVar[Life | None] = ContextVar("streamq_testing_life", default=None)
"""The worker in whose tasks we are."""


class _Fault(msgspec.Struct):
    what: Literal["crash", "lose", "drop", "stall"]
    where: str
    left: int
    shown: str


class Faults:
    """A plan of faults for queues in memory: each happens as soon as it can, ``times`` times.

    ``Faults().crash_worker(after="run").lose_reply(to="enqueue")``; given to ``memory_queue(..., faults=plan)``, or
    ``with plan.on(queue)``. `run_until_idle` starts another worker for one that crashed or stalled, and moves the
    queue's time on by the lease, so that it takes the jobs over.
    """

    def __init__(self) -> None:
        self._faults: list[_Fault] = []

    def __repr__(self) -> str:
        """What is left of it."""
        return f"<Faults {', '.join(self.remaining) or 'none left'}>"

    def crash_worker(self, *, after: Literal["fetch", "run", "settle"], times: int = 1) -> Self:
        """Let a worker of `run_until_idle` die.

        After "fetch" it was given jobs and began none; after "run" it ran one and has told nobody; after "settle" the
        server knows of its end, and only the worker was not told.
        """
        _one_of("after", after, ("fetch", "run", "settle"))
        return self._add("crash", after, times, f"crash_worker(after={after!r})")

    def lose_reply(self, *, to: Literal["enqueue", "settle"], times: int = 1) -> Self:
        """Let the server do what it was asked, and the connection break before its answer is read."""
        _one_of("to", to, ("enqueue", "settle"))
        return self._add("lose", to, times, f"lose_reply(to={to!r})")

    def drop_connection(self, *, before: Literal["enqueue", "fetch", "settle"], times: int = 1) -> Self:
        """Let the connection break before the server heard of it."""
        _one_of("before", before, ("enqueue", "fetch", "settle"))
        return self._add("drop", before, times, f"drop_connection(before={before!r})")

    def stall_lease(self, *, times: int = 1) -> Self:
        """Cut a worker of `run_until_idle` off when it was given jobs, until its lease is out.

        It runs them, and so does the worker that takes them over. What the first has to tell then comes too late, and
        is refused.
        """
        return self._add("stall", "fetch", times, "stall_lease()")

    def _add(self, what: Literal["crash", "lose", "drop", "stall"], where: str, times: int, shown: str) -> Self:
        whole("times", times, least=1, most=1000)
        self._faults.append(_Fault(what, where, times, shown))
        return self

    @property
    def remaining(self) -> list[str]:
        """What did not happen yet."""
        return [f"{one.shown} x{one.left}" if one.left > 1 else one.shown for one in self._faults if one.left]

    def assert_happened(self) -> None:
        """Raise `AssertionError` unless everything planned happened: a test would else show nothing."""
        if self.remaining:
            hint = "crashes and stalls need run_until_idle, and a job that gets so far"
            raise AssertionError(f"planned, but never happened: {', '.join(self.remaining)} ({hint})")

    @contextmanager
    def on(self, queue: Queue) -> Generator[Self]:
        """Let them happen to all queues on the broker of ``queue``; what did not is an `AssertionError` at the end.

        Raises `ConfigError` for a queue that is not in memory.
        """
        from .._memory.broker import named  # noqa: PLC0415 - needs lupa, which a mere import of the kit does not

        if not queue.where.startswith("memory://"):
            raise ConfigError("faults", queue, "is no queue in memory; make it with memory_queue(...)")
        broker: Broker = named(queue.where)
        before, broker.transport = broker.transport, _FaultyTransport(self)
        try:
            yield self
        finally:
            broker.transport = before
        self.assert_happened()

    def due(self, what: str, where: str) -> bool:
        """Whether such a fault is to happen now; it counts as happened then. Not for applications."""
        for one in self._faults:
            if one.left and one.what == what and one.where == where:
                one.left -= 1
                return True
        return False


class _FaultyTransport(Transport):
    """What lies between clients and broker while a plan is on."""

    def __init__(self, plan: Faults) -> None:
        self._plan = plan

    async def open(self, broker: Broker, name: str) -> Connection:
        """Connect, unless it is for a worker that is dead."""
        life = _life(name)
        if life is not None:
            await life.goes_on()
        return await super().open(broker, name)

    async def exchange(
        self,
        connection: Connection,
        commands: Sequence[Command],
        timeout: float,  # noqa: ASYNC109 - told, not kept: the link gives up by itself
        meanwhile: Callable[[], None] | None,
    ) -> list[Reply]:
        """Return the replies, one command after the other, with what is planned in between."""
        life = _life(connection.name)
        if life is not None:
            await life.goes_on()
        found: list[Reply] = []
        for command in commands:
            verb = _verb(command)
            self._before(verb, command, life)
            reply = (await super().exchange(connection, [command], timeout, None))[0]
            if not isinstance(reply, ReplyError):
                self._after(verb, command, reply, life)
            found.append(reply)
        if meanwhile is not None:
            meanwhile()
        return found

    async def post(self, connection: Connection, command: Command) -> None:
        """Send a command without an answer."""
        life = _life(connection.name)
        if life is not None:
            await life.goes_on()
        await super().post(connection, command)

    def _before(self, verb: str, command: Command, life: Life | None) -> None:
        if verb == "settle" and life is not None and self._plan.due("crash", "run"):
            self._crash(life, command)
        if verb and self._plan.due("drop", "fetch" if verb in _FETCHES else verb):
            raise ConnectionGone("dropped by the fault plan")

    def _after(self, verb: str, command: Command, reply: Reply, life: Life | None) -> None:
        if life is not None and _brings_jobs(verb, reply):
            if self._plan.due("crash", "fetch"):
                self._crash(life, ())
            if self._plan.due("stall", "fetch"):
                life.stalled = True
        if verb == "settle":
            if life is not None:
                _tell(life, command, bytes(reply))
                if self._plan.due("crash", "settle"):
                    self._crash(life, ())
            if self._plan.due("lose", "settle"):
                raise ConnectionGone("its reply was lost by the fault plan")
        if verb == "enqueue" and self._plan.due("lose", "enqueue"):
            raise ConnectionGone("its reply was lost by the fault plan")

    def _crash(self, life: Life, unsent: Command) -> None:
        life.crashed = True
        life.told(_tokens(unsent), "crashed")
        raise ConnectionGone("the worker crashed")


def _life(name: str) -> Life | None:
    return current_life.get() if name in WORKERS else None


def _verb(command: Command) -> str:
    if command[0] != b"EVALSHA":
        return ""
    sha: Any = command[1]
    try:
        return by_sha(sha).name
    except KeyError:
        return ""


def _brings_jobs(verb: str, reply: Reply) -> bool:
    if verb == "fetch":
        return bool(replies.read_fetched(reply).jobs)
    if verb == "take":
        return bool(replies.read_offer(reply, b"").fetched.jobs)
    return verb == "tick" and bool(replies.read_ticked(reply).stalled)


def _tokens(command: Command) -> list[bytes]:
    return [word for word in command if isinstance(word, bytes) and _TOKEN.fullmatch(word)]


def _tell(life: Life, command: Command, answers: bytes) -> None:
    """Say which settlements were refused, because the job was another's by then."""
    tokens = _tokens(command)
    if len(tokens) == len(answers):
        life.told([token for token, answer in zip(tokens, answers.decode(), strict=True) if answer != "a"], "lost")


def _one_of(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(option, value, f"give one of {', '.join(known)}")
