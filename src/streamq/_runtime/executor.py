"""Runs one attempt: arguments, injection, middleware, deadline. Tells how it ended; never raises."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import importlib
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import anyio
import anyio.to_process
import anyio.to_thread
from uncalled_for import FailedDependency, resolved_dependencies

from .._core import context as _context
from .._core import correlation
from .._core.context import Context
from .._core.handler import HandlerSpec, Middleware, Registry
from .._core.ids import created_ms
from .._core.units import from_ms
from ..errors import InvalidPayload
from .attempt import Attempt, Encoded, Unreadable
from .timeouts import Timeouts

_new_task: Any = asyncio.Task
if sys.version_info >= (3, 12):
    # It starts at once, so a handler that never waits costs no turn of the loop.
    _new_task = functools.partial(_new_task, eager_start=True)


class Ended(Protocol):
    """Called once per attempt: with its value, or with the error and its traceback text."""

    def __call__(self, attempt: Attempt, value: Any, error: BaseException | None, trace: str) -> None:
        """Take the outcome."""


class Tracing(Protocol):
    """Puts attempts into spans while there is a ``tracer``."""

    @property
    def tracer(self) -> Any:
        """None when nobody traces."""

    async def around(self, attempts: Sequence[Attempt], run: Callable[[], Awaitable[None]]) -> None:
        """Run attempts that are one call in a span."""


class Untraced:
    """Nobody traces."""

    tracer: Any = None

    async def around(self, attempts: Sequence[Attempt], run: Callable[[], Awaitable[None]]) -> None:
        """Run them."""
        del attempts
        await run()


class Executor:
    """Runs the attempts of one queue.

    ``ended`` gets each outcome. ``clock`` returns the server's time in ms. ``state`` is what the lifespan yielded.
    ``root`` is the context every attempt starts from.
    """

    def __init__(
        self, registry: Registry, timeouts: Timeouts, *, worker: str, threads: int, clock: Callable[[], int]
    ) -> None:
        self._registry = registry
        self._timeouts = timeouts
        self._worker = worker
        self._clock = clock
        self._thread_limit = threads
        self._threads: anyio.CapacityLimiter | None = None
        self._processes: anyio.CapacityLimiter | None = None
        self.root: contextvars.Context = contextvars.copy_context()
        self.state: Any = None
        self.ended: Ended = _unset
        self.tracing: Tracing = Untraced()

    def start(self, attempt: Attempt) -> None:
        """Start the attempt in a task of its own, so that task-bound things of one job never leak into the next."""
        now = time.monotonic()
        attempt.started = now
        self._bound(attempt, now)
        if self.tracing.tracer is None:
            task = self.spawn(self._run(attempt))
        else:
            task = self.spawn(self.tracing.around((attempt,), functools.partial(self._run, attempt)))
        if not task.done():
            attempt.task = task
            self._timeouts.watch(attempt.limit)

    def spawn(self, run: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Return a task for ``run``."""
        # Not in the context we are called in: that may be another job's, whose end made room for this one.
        task: asyncio.Task[None] = _new_task(run, loop=asyncio.get_running_loop(), context=self.root.copy())
        return task

    def watch(self, attempt: Attempt) -> None:
        """Cancel a started attempt when its time is over."""
        self._timeouts.watch(attempt.limit)

    def _bound(self, attempt: Attempt, now: float) -> None:
        spec, timeout_ms = attempt.spec, attempt.envelope.timeout_ms
        if timeout_ms is None and spec is not None:
            timeout_ms = spec.policy.timeout_ms
        self.bound(attempt, now, timeout_ms)

    def bound(self, attempt: Attempt, now: float, timeout_ms: int | None) -> None:
        """Say when its time is over: after ``timeout_ms`` (None or 0: no bound), at the latest at its deadline."""
        envelope = attempt.envelope
        if timeout_ms:
            attempt.limit = now + timeout_ms / 1000
        if envelope.deadline_ms is not None:
            attempt.limit = min(attempt.limit, now + max(0.0, (envelope.deadline_ms - self._clock()) / 1000))

    async def _run(self, attempt: Attempt) -> None:
        spec = attempt.spec
        assert spec is not None  # noqa: S101 - set before start
        value: Any = None
        error: BaseException | None = None
        trace = ""
        attempt.begun = True
        try:
            if attempt.why:
                raise asyncio.CancelledError  # noqa: TRY301 - cancelled between start and first step
            envelope = attempt.envelope
            if envelope.headers or envelope.tenant is not None:
                correlation.enter(envelope.headers, envelope.tenant)
            struct = decoded(attempt, spec)
            if spec.plain and not self._registry.middleware:
                _context.bind(functools.partial(self.context_of, attempt, spec))
                args, kwargs = spec.signature.call_with(struct)
                value = await spec.function(*args, **kwargs)
            else:
                value = await self._call(attempt, spec, struct)
        except asyncio.CancelledError as cancelled:
            error = why(attempt, cancelled)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as problem:  # noqa: BLE001 - a handler's failure is an outcome, even SystemExit
            error = problem
            trace = trace_of(problem)
        self.ended(attempt, value, error, trace)

    async def _call(self, attempt: Attempt, spec: HandlerSpec, struct: Any) -> Any:
        async def innermost(context: Context) -> Any:
            if spec.kind == "process":
                return await self._in_process(spec, attempt)
            args, kwargs = spec.signature.call_with(struct)
            return await self.invoke(spec, context, args, kwargs)

        return await self.around(self.context_of(attempt, spec), innermost)

    @property
    def has_middleware(self) -> bool:
        """Whether anything is around the handlers."""
        return bool(self._registry.middleware)

    async def around(self, context: Context, innermost: Callable[[Context], Any]) -> Any:
        """Run ``innermost`` in ``context``, within the middleware."""
        _context.bind(context)
        call = innermost
        for middleware in reversed(self._registry.middleware):
            call = functools.partial(_onion, middleware, call)
        return await call(context)

    async def invoke(self, spec: HandlerSpec, context: Context, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the handler's function here or in a thread, with its context and with what is injected."""
        if spec.shape.wants_context:
            args = (context, *args)
        if not spec.shape.dependencies:
            return await self._here(spec, args, kwargs)
        async with resolved_dependencies(spec.function, kwargs) as injected:
            for value in injected.values():
                if isinstance(value, FailedDependency):
                    raise value.error
            return await self._here(spec, args, {**kwargs, **injected})

    async def _here(self, spec: HandlerSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if spec.kind == "async":
            return await spec.function(*args, **kwargs)
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self._thread_limit)
        call = functools.partial(spec.function, *args, **kwargs)
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads)

    async def _in_process(self, spec: HandlerSpec, attempt: Attempt) -> Any:
        if self._processes is None:
            self._processes = anyio.CapacityLimiter(os.cpu_count() or 1)
        function = spec.function
        return await anyio.to_process.run_sync(
            run_in_child,
            function.__module__,
            function.__qualname__,
            spec.name,
            bytes(attempt.envelope.args),
            cancellable=True,
            limiter=self._processes,
        )

    def context_of(self, attempt: Attempt, spec: HandlerSpec) -> Context:
        """Return what the handler may know of an attempt."""
        return Context(**self.facts_of(attempt, spec))

    def facts_of(self, attempt: Attempt, spec: HandlerSpec) -> dict[str, Any]:
        """Return what makes a context."""
        envelope = attempt.envelope
        made = envelope.created_ms or created_ms(attempt.job_id)
        left = attempt.limit - time.monotonic()
        deadline = from_ms(self._clock() + int(left * 1000)) if left < float("inf") else None
        return {
            "job_id": attempt.job_id,
            "queue": self._registry.queue,
            "name": spec.name,
            "attempt": envelope.attempts + 1,
            "max_attempts": envelope.max_attempts or spec.policy.max_attempts,
            "headers": envelope.headers,
            "tenant": envelope.tenant,
            "stalls": attempt.count - 1,
            "fence": attempt.fence,
            "deadline": deadline,
            "created_at": None if made is None else datetime.fromtimestamp(made / 1000, UTC),
            "worker": self._worker,
            "state": self.state,
            "clock": self._clock,
        }


def why(attempt: Attempt, cancelled: asyncio.CancelledError) -> BaseException:
    """Return the error of an attempt that was cancelled."""
    if attempt.why == "timeout":
        return TimeoutError(f"timed out after {attempt.limit - attempt.started:.3g} s")
    return cancelled


def run_in_child(module: str, qualname: str, name: str, payload: bytes) -> Encoded | None:
    """Run a ``pool="process"`` handler: found by name, arguments decoded, result encoded here, not pickled."""
    found: Any = importlib.import_module(module) if module != "__main__" else sys.modules["__main__"]
    for part in qualname.split("."):
        found = getattr(found, part)
    spec: HandlerSpec = found.spec if hasattr(found, "spec") else found
    if spec.name != name:
        raise InvalidPayload(name, f"{module}.{qualname} is handler {spec.name!r} in the child process")
    args, kwargs = spec.signature.call_with(spec.signature.decode(payload))
    value = spec.function(*args, **kwargs)
    return None if value is None else Encoded(value)


def decoded(attempt: Attempt, spec: HandlerSpec) -> Any:
    """Return the arguments of an attempt as a struct; raises `Unreadable`."""
    # Told apart from an InvalidPayload that the handler itself may raise, when it enqueues another job.
    try:
        return spec.signature.decode(attempt.envelope.args)
    except InvalidPayload as problem:
        raise Unreadable(str(problem)) from None


async def _onion(middleware: Middleware, call_next: Callable[[Context], Any], context: Context) -> Any:
    return await middleware(context, call_next)


def trace_of(problem: BaseException) -> str:
    """Return the traceback without our own frames: the user's code starts below them."""
    frame = problem.__traceback__
    while frame is not None and "streamq/_runtime" in frame.tb_frame.f_code.co_filename.replace("\\", "/"):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(problem), problem, frame or problem.__traceback__, limit=-20))


def _unset(attempt: Attempt, value: Any, error: BaseException | None, trace: str) -> None:
    raise NotImplementedError
