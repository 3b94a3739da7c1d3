"""Handlers called by hand: one job through the code of a worker, without a queue; dependencies replaced by fakes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import uncalled_for

from .._core.batches import BatchSpec
from .._core.context import Context
from .._core.ids import new_id
from .._runtime.attempt import Attempt
from .._runtime.executor import Executor
from .._runtime.timeouts import Timeouts
from ..errors import ConfigError
from ..handler import Depends
from ..job import JobSpec
from ..queue import Queue

R = TypeVar("R")
Provider = Callable[..., Any]
"""What ``Depends(...)`` is given."""


async def perform(job: JobSpec[R], /, *, attempt: int = 1, stalls: int = 0, state: Any = None) -> R:
    """Run one attempt at a job here, as a worker would, and return what its handler returns.

    The arguments are decoded from their wire form, dependencies are injected, middleware is run, ``def`` handlers are
    run in a thread; the context has the options of the job. Nothing is sent, retried or kept: what the handler raises
    is raised. ``state``: what the queue's lifespan would yield. Raises `ConfigError` for a job of a batch handler.
    """
    queue: Queue = job.owner
    registry = queue.wiring.registry
    spec = registry.get(job.name)
    if spec is None:
        raise registry.unknown(job.name)
    if isinstance(spec, BatchSpec):
        raise ConfigError("job", job.name, "is of a batch handler; call the handler itself, with a list of items")
    options = job.options
    context = Context(
        job_id=options.job_id or new_id(), queue=queue.name, name=spec.name, attempt=attempt,
        max_attempts=options.max_attempts or spec.policy.max_attempts, headers=options.headers, tenant=options.tenant,
        stalls=stalls, created_at=datetime.now(UTC), worker="streamq.testing", state=state,
    )  # fmt: skip
    struct = spec.signature.decode(job.args)
    executor = Executor(registry, Timeouts(_no_attempts), worker=context.worker, threads=1, clock=_wall_ms)

    async def innermost(context: Context) -> Any:
        args, kwargs = spec.signature.call_with(struct)
        return await executor.invoke(spec, context, args, kwargs)

    return cast("R", await executor.around(context, innermost))


@contextmanager
def overrides(queue: Queue, fakes: Mapping[Provider, Provider]) -> Generator[None]:
    """Inject, within the block, what a fake provides wherever handlers of ``queue`` depend on the real one.

    ``with overrides(queue, {open_db: lambda: fake_db}):``; a fake may be whatever `Depends` takes. Dependencies of
    dependencies are replaced, too. Raises `ConfigError` for a provider that no handler depends on.
    """
    markers: dict[int, Any] = {}
    for spec in queue.handlers.values():
        markers.update((id(one), one) for one in _markers(spec.shape.dependencies.values(), set()))
    replaced: list[tuple[Any, Any]] = []
    for real, fake in fakes.items():
        found = [one for one in markers.values() if real in _providers(one)]
        if not found:
            raise ConfigError(
                "overrides", _name(real), _unknown(queue, real, [_providers(one)[-1] for one in markers.values()])
            )
        marker: Any = Depends(fake)
        replaced += [(one, marker.factory) for one in found]
    before = [(marker, marker.factory) for marker, _ in replaced]
    try:
        for marker, factory in replaced:
            marker.factory = factory
        yield
    finally:
        for marker, factory in before:
            marker.factory = factory


def _markers(found: Any, seen: set[int]) -> Iterator[Any]:
    """Go through dependencies, and those that their own providers have."""
    for marker in found:
        if id(marker) in seen or not hasattr(marker, "factory"):
            continue
        seen.add(id(marker))
        yield marker
        yield from _markers(uncalled_for.get_dependency_parameters(marker.factory).values(), seen)


def _providers(marker: Any) -> list[Any]:
    """Return what the user may have given to `Depends`: generator functions were wrapped."""
    factory = marker.factory
    return [factory, factory.__wrapped__] if hasattr(factory, "__wrapped__") else [factory]


def _unknown(queue: Queue, real: Provider, known: list[Any]) -> str:
    names = sorted({_name(one) for one in known})
    near = difflib.get_close_matches(_name(real), names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"is no dependency of a handler of queue {queue.name!r}{hint}; there are {', '.join(names) or 'none'}"


def _name(provider: Any) -> str:
    return str(getattr(provider, "__qualname__", repr(provider)))


def _no_attempts() -> list[Attempt]:
    return []


def _wall_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)
