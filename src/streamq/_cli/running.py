"""One worker in this process: its first line, its signals, its sign of life, its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.metadata
import inspect
import logging
import os
import platform
import signal
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any, NamedTuple, Protocol

from .. import Queue, Worker
from ..errors import StreamqError
from .alive import EVERY, Alive
from .loader import Loaded
from .probes import Probes
from .say import HANDED_BACK, CliError, count, duration, note, sign

log = logging.getLogger("streamq.worker")

SHOWN = 8
"""Handlers named in the first line."""

_SAMPLES = {"float": "0.5", "bool": "true", "list": "'[]'", "dict": "'{}'", "datetime": "2030-01-31T09:00:00Z"}
"""Arguments for the command that is suggested, by annotation."""


class Manner(NamedTuple):
    """How to run: what is not the Worker's own business."""

    burst: bool = False
    loop: str = "auto"
    log_style: str = "plain"
    wait_for_redis: float = 0.0
    dev: bool = False
    parent: int | None = None
    probes: tuple[str, int] | None = None


def build(loaded: Loaded, given: dict[str, Any], *, scheduling: bool = True) -> Worker:
    """Return the Worker to run: the app's own, or one of its queues with the options ``given`` on the command line."""
    options = {name: value for name, value in given.items() if value is not None}
    own = loaded.worker
    if own is None:
        return Worker(loaded.queues, scheduler=loaded.schedulers if scheduling else (), **options)
    schedulers = tuple(dict.fromkeys((*own.schedulers, *loaded.schedulers))) if scheduling else ()
    if not options and set(loaded.queues) == set(own.queues) and schedulers == own.schedulers:
        return own
    for name in ("concurrency", "lease", "grace", "max_stalls", "log_payload"):
        options.setdefault(name, getattr(own, name))
    return Worker(loaded.queues, scheduler=schedulers, **options)


def run(worker: Worker, manner: Manner) -> int:
    """Run until told to stop; returns the exit code."""
    with asyncio.Runner(loop_factory=loop_factory(manner.loop)) as runner:
        return runner.run(_run(worker, manner))


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        if name == "uvloop":
            raise CliError("--loop uvloop needs the package uvloop", 'pip install "streamq[fast]"') from None
        return None
    return factory


async def _run(worker: Worker, manner: Manner) -> int:
    signals = Signals(worker)
    with signals.caught(), _probed(worker, manner, signals) as probes:
        server = asyncio.create_task(server_of(worker.queues[0], manner.wait_for_redis))
        asked = asyncio.create_task(signals.asked.wait())
        try:
            await asyncio.wait((server, asked), return_when=asyncio.FIRST_COMPLETED)
            if not server.done():
                return 0  # told to stop before there was anything to stop
            _announce(worker, server.result(), manner)
            if probes is not None:
                probes.started = True
            await _work(worker, manner, signals)
        finally:
            server.cancel()
            asked.cancel()
            for queue in worker.queues:
                await queue.aclose()
    if worker.handed_back:
        note(f"grace passed: {count(worker.handed_back, 'running job')} handed back, no attempt charged")
        return HANDED_BACK
    return 0


@contextlib.contextmanager
def _probed(worker: Worker, manner: Manner, signals: Signals) -> Generator[Probes | None]:
    """Answer probes while the block runs, from before the server is reached to the last job."""
    if manner.probes is None:
        yield None
        return
    probes = Probes(worker.queues, *manner.probes)
    probes.stopping = signals.asked.is_set
    probes.open()
    note(f"probes at http://{manner.probes[0]}:{probes.port}/health")
    turning = asyncio.create_task(_turn(probes))
    try:
        yield probes
    finally:
        turning.cancel()
        probes.close()


async def _turn(probes: Probes) -> None:
    while True:
        probes.touch()
        await asyncio.sleep(EVERY)


async def _work(worker: Worker, manner: Manner, signals: Signals) -> None:
    alive = Alive([queue.name for queue in worker.queues])
    alive.open()
    ticking = asyncio.create_task(_tick(alive, manner.parent, signals))
    # The app stays until the process ends: the collector need not go through it again and again, up to a sixth of what
    # a job costs that does nothing.
    gc.collect()
    gc.freeze()
    try:
        await worker.run(burst=manner.burst)
    finally:
        ticking.cancel()
        alive.close()


async def _tick(alive: Alive, parent: int | None, signals: Signals) -> None:
    """Show that the loop turns; stop when the supervisor is gone, since nobody could stop us then."""
    while True:
        alive.touch()
        if parent is not None and os.getppid() != parent:
            signals.tell(signal.SIGTERM)
            parent = None
        await asyncio.sleep(EVERY)


class Stoppable(Protocol):
    """What signals are for: a worker, or schedulers."""

    @property
    def active(self) -> int:
        """What would be left alone at first."""
        ...

    @property
    def grace(self) -> float:
        """Seconds that would get."""
        ...

    def stop(self) -> None:
        """Begin to stop."""
        ...

    def cancel(self) -> None:
        """Stop without grace."""
        ...


class Signals:
    """First stops, second cancels, third ends the process. Python's own handlers: they get through a blocked loop."""

    def __init__(self, worker: Stoppable) -> None:
        self.asked = asyncio.Event()
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._heard = 0

    @contextlib.contextmanager
    def caught(self) -> Generator[None]:
        """Take SIGINT and SIGTERM while the block runs."""
        before = {one: signal.signal(one, self._hear) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def tell(self, number: int) -> None:
        """Act as if a signal had come."""
        self._hear(number, None)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._heard += 1
        if self._heard > 2:
            os._exit(128 + number)
        self._loop.call_soon_threadsafe(self._stop if self._heard == 1 else self._cancel)

    def _stop(self) -> None:
        self.asked.set()
        active = self._worker.active
        if active:
            within = duration(self._worker.grace)
            note(f"stopping: {count(active, 'job')} may finish within {within}; a second signal cancels, a third kills")
        self._worker.stop()

    def _cancel(self) -> None:
        note("cancelling what runs; a third signal kills")
        self._worker.cancel()


async def server_of(queue: Queue, wait: float) -> str:
    """Return kind and version of the server; raises what keeps us from it."""
    store = (await queue.stores())[0]
    try:
        reply = await store.call((b"INFO", b"server"), wait=wait)
    except StreamqError as problem:
        if "NOPERM" not in str(problem) and "permission" not in str(problem):
            raise
        return "a server that does not say what it is"
    told = dict(line.split(":", 1) for line in bytes(reply).decode().splitlines() if ":" in line)
    if "valkey_version" in told:
        return f"Valkey {told['valkey_version']}"
    return f"Redis {told.get('redis_version', '?')}"


def _announce(worker: Worker, server: str, manner: Manner) -> None:
    handlers = sorted({name for queue in worker.queues for name in queue.handlers})
    queues = [queue.name for queue in worker.queues]
    if manner.log_style == "json":
        log.info(
            "streamq worker",
            extra={
                "event": "worker.starting",
                "version": importlib.metadata.version("streamq"),
                "server": server,
                "url": worker.queues[0].where,
                "queues": queues,
                "handlers": handlers,
                "concurrency": worker.concurrency,
                "pid": os.getpid(),
            },
        )
        return
    dot = sign(" · ", ", ")
    named = ", ".join(handlers[:SHOWN]) + (f" and {len(handlers) - SHOWN} more" if len(handlers) > SHOWN else "")
    if manner.dev:
        note(dot.join([f"  worker     {count(len(handlers), 'handler')}", f"concurrency {worker.concurrency}", named]))
        note(
            f"waiting for jobs; try:  {_try(worker)}"
            if handlers
            else "no handlers yet; declare one with @queue.handler"
        )
        return
    note(
        dot.join(
            [
                f"streamq {importlib.metadata.version('streamq')}",
                f"Python {platform.python_version()}",
                f"{server} at {worker.queues[0].where}",
                f"{count(len(queues), 'queue')}: {', '.join(queues)}",
                f"{count(len(handlers), 'handler')}: {named}" if handlers else "no handlers",
                f"concurrency {worker.concurrency}",
                f"pid {os.getpid()}",
            ]
        )
    )
    if not handlers:
        note("  this worker has no handlers; declare one with @queue.handler before the worker starts")


def _try(worker: Worker) -> str:
    """Return a command that sends a job to the first handler, with arguments that may fit."""
    queue, spec = next((queue, spec) for queue in worker.queues for spec in queue.handlers.values())
    pairs: list[str] = []
    for name in spec.signature.names:
        parameter = inspect.signature(spec.function).parameters[name]
        if parameter.default is inspect.Parameter.empty:
            kind = str(getattr(parameter.annotation, "__name__", parameter.annotation))
            pairs.append(f"{name}={_SAMPLES.get(kind, 'text') if kind != 'int' else len(pairs) + 2}")
    several = "" if len(worker.queues) == 1 else f" --queue {queue.name}"
    return " ".join(["streamq send", spec.name, *pairs]) + f"{several} --wait"
