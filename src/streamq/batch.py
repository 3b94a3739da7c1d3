"""Batch handlers: what ``@queue.batch_handler`` makes of a function that takes many items at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

import uncalled_for

from ._core import batches as _batches
from ._core import options as _options
from ._core.batch_context import BatchContext, BatchItem
from ._core.batches import BatchOptions, BatchSpec
from ._core.flow import QueueFlow
from ._core.ids import new_id
from ._core.lifecycle import Policy
from ._core.options import HandlerOptions
from ._core.signature import Signature
from .handler import BoundHandler, Sender, is_dependency, kind_of

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)

Failures = Mapping[int, BaseException] | None
"""What a batch handler without results returns: which items failed, by index."""


class BatchHandler(BoundHandler[[T], R_co], Generic[T, R_co, V_co]):
    """A function registered for batches: T is an item, R the result of one, V what the function itself returns.

    ``enqueue(item)`` and ``job(item)`` make one job of one item. Calling it runs the function here, without a queue.
    """

    def __init__(self, sender: Sender, spec: BatchSpec) -> None:
        super().__init__(sender, spec, _options.DEFAULT)
        self.__wrapped__: Callable[..., Any] = spec.function
        self.__name__: str = spec.function.__name__
        self.__qualname__ = spec.function.__qualname__
        self.__doc__ = spec.function.__doc__

    async def __call__(self, items: Iterable[T], context: BatchContext | None = None, /, **injected: Any) -> V_co:
        """Run the handler's function in this very task and return what it returns: for tests.

        Dependencies are set up and torn down as in a worker, unless given by name. A function that takes a
        `BatchContext` gets ``context``, which afterwards tells which items were failed; None: a new one.
        """
        spec, given = self.spec, list(items)
        args: tuple[Any, ...] = (given,)
        if spec.shape.wants_context:
            args = (context or self.context(len(given)), given)
        if not spec.shape.dependencies:
            return cast("V_co", await _awaited(spec.function(*args, **injected)))
        async with uncalled_for.resolved_dependencies(spec.function, dict(injected)) as resolved:
            for value in resolved.values():
                if isinstance(value, uncalled_for.FailedDependency):
                    raise value.error
            return cast("V_co", await _awaited(spec.function(*args, **{**resolved, **injected})))

    def context(self, count: int) -> BatchContext:
        """Return the context of a call with ``count`` items at their first attempts: for tests."""
        queue, name, limit = self._sender.name, self.name, self.spec.policy.max_attempts
        first = {"queue": queue, "name": name, "attempt": 1, "max_attempts": limit}
        return BatchContext([BatchItem(job_id=new_id(), **first) for _ in range(count)])

    def __repr__(self) -> str:
        """Name and function."""
        return f"<BatchHandler {self.name!r} {self.__qualname__}>"


class DecorateBatch:
    """What ``queue.batch_handler(name, ...)`` returns."""

    def __init__(self, register: Callable[[Callable[..., Any]], BatchHandler[Any, Any, Any]]) -> None:
        self._register = register

    # With a BatchContext first; of each three: results with exceptions among them, results, none.
    @overload
    def __call__(
        self,
        fn: Callable[
            Concatenate[BatchContext, list[T], P],
            Coroutine[Any, Any, list[R | BaseException]] | list[R | BaseException],
        ],
        /,
    ) -> BatchHandler[T, R, list[R | BaseException]]: ...
    @overload
    def __call__(
        self,
        fn: Callable[Concatenate[BatchContext, list[T], P], Coroutine[Any, Any, Sequence[R]] | Sequence[R]],
        /,
    ) -> BatchHandler[T, R, Sequence[R]]: ...
    @overload
    def __call__(
        self,
        fn: Callable[Concatenate[BatchContext, list[T], P], Coroutine[Any, Any, Failures] | Failures],
        /,
    ) -> BatchHandler[T, None, Failures]: ...
    @overload
    def __call__(
        self,
        fn: Callable[
            Concatenate[list[T], P],
            Coroutine[Any, Any, list[R | BaseException]] | list[R | BaseException],
        ],
        /,
    ) -> BatchHandler[T, R, list[R | BaseException]]: ...
    @overload
    def __call__(
        self,
        fn: Callable[Concatenate[list[T], P], Coroutine[Any, Any, Sequence[R]] | Sequence[R]],
        /,
    ) -> BatchHandler[T, R, Sequence[R]]: ...
    @overload
    def __call__(
        self,
        fn: Callable[Concatenate[list[T], P], Coroutine[Any, Any, Failures] | Failures],
        /,
    ) -> BatchHandler[T, None, Failures]: ...
    def __call__(self, fn: Callable[..., Any], /) -> BatchHandler[Any, Any, Any]:
        """Register the function."""
        return self._register(fn)


def spec_of(
    name: str,
    fn: Callable[..., Any],
    asked: BatchOptions,
    options: HandlerOptions,
    defaults: Policy,
    queue: QueueFlow,
) -> BatchSpec:
    """Return a batch handler made of ``fn``; raises `ConfigError` for what could not work."""
    spec = BatchSpec(
        Signature(name, fn, is_dependency),
        _options.check_handler(options, defaults),
        kind=kind_of(name, fn, options),
        lane=_batches.lane_of(options),
        keep_result=options.get("keep_result", False),
    )
    spec.flow = _batches.check_flow(asked, options, queue, spec)
    return spec


async def _awaited(found: Any) -> Any:
    return await found if inspect.isawaitable(found) else found
