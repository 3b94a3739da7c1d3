"""Typed handlers: what ``@queue.handler`` makes of a function, and dependencies as defaults.

The order of the overloads is a specification (docs/decisions, typed API): a first parameter annotated Any, object or
nothing must not be taken for a Context.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

import uncalled_for

from ._core import options as _options
from ._core.context import Context
from ._core.handler import HandlerSpec
from ._core.ids import new_id
from ._core.options import Checked, HandlerOptions, JobOptions
from .errors import ConfigError
from .job import Job, JobSpec

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
Coro = Coroutine[Any, Any, R]


class _Anything:
    """Only a parameter annotated Any or object, or not annotated, accepts it."""


class Sender(Protocol):
    """What a handler needs of its queue: the way to enqueue."""

    name: str

    def send_spec(self, spec: JobSpec[Any], returns: Any, /) -> Coroutine[Any, Any, Job[Any]]:
        """Enqueue a built job."""
        ...


class BoundHandler(Generic[P, R_co]):
    """A handler with options for the jobs it enqueues."""

    def __init__(self, sender: Sender, spec: HandlerSpec, options: Checked) -> None:
        self._sender = sender
        self.spec = spec
        self._options = options
        self._flows = spec.flow is not None or options.flows

    @property
    def name(self) -> str:
        """Name on the wire."""
        return self.spec.name

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
        """Enqueue a job with these arguments and return its handle once the server has acknowledged it.

        Raises `InvalidPayload` before anything is sent, `EnqueueTimeout` (not enqueued), `EnqueueUnknown` (perhaps),
        `QueueFull`, `ServerUnfit`.
        """
        return await self._sender.send_spec(self.job(*args, **kwargs), self.spec.signature.returns)

    def job(self, *args: P.args, **kwargs: P.kwargs) -> JobSpec[R_co]:
        """Build a job without enqueueing it; arguments and options are checked now.

        Raises `InvalidPayload`, `ConflictingOptions`, `UnknownLimit`.
        """
        spec, options = self.spec, self._options
        data = spec.signature.encode(spec.signature.bind(args, kwargs))
        return JobSpec(self._sender, spec.name, data, options, spec.plan(options, data) if self._flows else None)

    def with_options(self, **options: Unpack[JobOptions]) -> BoundHandler[P, R_co]:
        """Return this handler with options for its jobs; raises `ConfigError` naming option, value and remedy."""
        return BoundHandler(self._sender, self.spec, _options.check_job(options))


class Handler(BoundHandler[P, R_co]):
    """A function registered under a name. Calling it runs the function here, without a queue."""

    def __init__(self, sender: Sender, spec: HandlerSpec) -> None:
        super().__init__(sender, spec, _options.DEFAULT)
        self.__wrapped__: Callable[..., Any] = spec.function
        self.__name__: str = spec.function.__name__
        self.__qualname__ = spec.function.__qualname__
        self.__doc__ = spec.function.__doc__

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the handler's function in this very task: for tests and for calling one handler from another.

        Dependencies are set up and torn down as in a worker, unless given by name. A handler that takes a `Context`
        gets one of a first attempt, or the one given as first argument.
        """
        spec = self.spec
        given: tuple[Any, ...] = args
        if spec.signature.wants_context and not (given and isinstance(given[0], Context)):
            given = (_first_attempt(self._sender.name, spec), *given)
        if not spec.signature.dependencies:
            return cast("R_co", await _awaited(spec.function(*given, **kwargs)))
        async with uncalled_for.resolved_dependencies(spec.function, dict(kwargs)) as injected:
            for value in injected.values():
                if isinstance(value, uncalled_for.FailedDependency):
                    raise value.error
            return cast("R_co", await _awaited(spec.function(*given, **{**injected, **kwargs})))

    def __repr__(self) -> str:
        """Name and function."""
        return f"<Handler {self.spec.name!r} {self.__qualname__}>"


async def _awaited(found: Any) -> Any:
    return await found if inspect.isawaitable(found) else found


def _first_attempt(queue: str, spec: HandlerSpec) -> Context:
    limit = spec.policy.max_attempts
    return Context(job_id=new_id(), queue=queue, name=spec.name, attempt=1, max_attempts=limit)


class Decorate:
    """What ``queue.handler(name, ...)`` returns."""

    def __init__(self, register: Callable[[Callable[..., Any]], Handler[..., Any]]) -> None:
        self._register = register

    @overload
    def __call__(self, fn: Callable[Concatenate[_Anything, P], Coro[R]], /) -> Handler[Concatenate[Any, P], R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], Coro[R]], /) -> Handler[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, Coro[R]], /) -> Handler[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[_Anything, P], R], /) -> Handler[Concatenate[Any, P], R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], R], /) -> Handler[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Handler[P, R]: ...
    def __call__(self, fn: Callable[..., Any], /) -> Handler[..., Any]:
        """Register the function."""
        return self._register(fn)


@overload
def Depends(fn: Callable[..., AbstractAsyncContextManager[T]], /) -> T: ...
@overload
def Depends(fn: Callable[..., AbstractContextManager[T]], /) -> T: ...
@overload
def Depends(fn: Callable[..., AsyncIterator[T]], /) -> T: ...
@overload
def Depends(fn: Callable[..., Iterator[T]], /) -> T: ...
@overload
def Depends(fn: Callable[..., Coro[T]], /) -> T: ...
@overload
def Depends(fn: Callable[..., T], /) -> T: ...
def Depends(fn: Callable[..., Any], /) -> Any:  # noqa: N802 - reads as a type at the parameter, as in FastAPI
    """Declare a dependency as the default of a parameter, such as ``db: DB``.

    ``fn`` may return the value, be a coroutine function, or set up, yield and tear down (a generator or async generator
    function, or a context manager). It is called once per attempt; its own parameters may be dependencies. Teardown
    runs when the handler has ended, however it ended. A context manager that a plain function returns is entered and
    left, too: for a shared client that happens to be one, yield it from a generator function instead.
    """
    return uncalled_for.Depends(_factory(fn))


@functools.cache
def _factory(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Make a plain generator function a context manager, as FastAPI users write them; cached so that it stays one."""
    if inspect.isasyncgenfunction(fn):
        return contextlib.asynccontextmanager(fn)
    if inspect.isgeneratorfunction(fn):
        return contextlib.contextmanager(fn)
    return fn


def is_dependency(default: Any) -> bool:
    """Whether a parameter's default is a dependency."""
    return isinstance(default, uncalled_for.Dependency)


def kind_of(name: str, fn: Callable[..., Any], options: HandlerOptions) -> Any:
    """Return how a function is run: "async", "thread" or "process"; refuses what cannot be."""
    pool = options.get("pool")
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise ConfigError("handler", name, "is a generator; write a coroutine function or a plain function")
    if inspect.iscoroutinefunction(fn):
        if pool is not None:
            raise ConfigError("pool", pool, "is for def handlers; an async def runs on the event loop")
        return "async"
    if pool not in (None, "thread", "process"):
        raise ConfigError("pool", pool, 'use "thread" or "process"')
    if pool == "process" and "<locals>" in fn.__qualname__:
        raise ConfigError(
            "pool", pool, f"{fn.__qualname__} cannot be found by a child process; define it at module level"
        )
    return pool or "thread"
