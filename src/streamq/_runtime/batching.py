"""Runs batches: one call for many attempts. Tells how each of them ended; never raises."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from .._core import context as _context
from .._core import correlation
from .._core.batch_context import BatchContext, BatchItem
from .._core.batches import BatchSpec
from .._core.context import Context
from .attempt import Attempt, Unreadable
from .batch import Batch
from .executor import Executor, decoded, trace_of, why


class Outcome(NamedTuple):
    """How one attempt of a batch ended: with its value, or with the error and its traceback text."""

    attempt: Attempt
    value: Any
    error: BaseException | None
    trace: str


class Ended(Protocol):
    """Called once per batch."""

    def __call__(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of the attempts that were part of the call."""


class Batching:
    """Runs the batches of one queue with the means of its executor. ``ended`` gets the outcomes of each."""

    def __init__(self, executor: Executor, ended: Ended) -> None:
        self._executor = executor
        self._ended = ended

    def start(self, batch: Batch) -> None:
        """Start a batch that has begun, in a task of its own."""
        if not batch.attempts:
            self._ended(batch, ())
            return
        executor, now = self._executor, time.monotonic()
        for attempt in batch.attempts:
            attempt.started = now
            spec = attempt.spec
            executor.bound(attempt, now, None if spec is None else spec.policy.timeout_ms)
        call = _Call(executor, batch)
        if executor.tracing.tracer is None:
            task = executor.spawn(self._run(call))
        else:
            task = executor.spawn(executor.tracing.around(batch.attempts, functools.partial(self._run, call)))
        if not task.done():
            batch.runs_in(task)
            for attempt in batch.attempts:
                executor.watch(attempt)

    async def _run(self, call: _Call) -> None:
        attempts = call.batch.attempts
        error: BaseException | None = None
        trace = ""
        for attempt in attempts:
            attempt.begun = True
        try:
            if call.batch.is_unwanted:
                raise asyncio.CancelledError  # noqa: TRY301 - cancelled between start and first step
            await call.run()
        except asyncio.CancelledError as cancelled:
            error = cancelled
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as problem:  # noqa: BLE001 - a handler's failure is an outcome, even SystemExit
            error = problem
            trace = trace_of(problem)
        self._ended(call.batch, [call.outcome(attempt, error, trace) for attempt in attempts])


class _Call:
    """One call of a batch handler."""

    def __init__(self, executor: Executor, batch: Batch) -> None:
        spec = batch.attempts[0].spec
        assert isinstance(spec, BatchSpec)  # noqa: S101 - else it were no batch
        self.batch = batch
        self._executor = executor
        self._spec = spec
        self._values: list[Any] = []
        self._places: dict[Attempt, int] = {}
        self._unreadable: dict[Attempt, Unreadable] = {}
        self._verdicts: Sequence[tuple[Any, BaseException | None]] = ()
        self._context: BatchContext | None = None

    async def run(self) -> None:
        """Call the function with what can be decoded, and read what it returns."""
        for attempt in self.batch.attempts:
            try:
                value = decoded(attempt, self._spec).item
            except Unreadable as problem:
                self._unreadable[attempt] = problem
            else:
                self._places[attempt] = len(self._values)
                self._values.append(value)
        if not self._values:
            return
        executor, spec = self._executor, self._spec
        self._correlate()
        if spec.plain and not executor.has_middleware:
            _context.bind(self._made_context)
            value = await spec.function(self._values)
        else:
            value = await executor.around(self._made_context(), self._innermost)
        self._verdicts = spec.read(value, len(self._values))

    def _correlate(self) -> None:
        """Let the children inherit what all jobs of the call share."""
        first = self.batch.attempts[0].envelope
        if first.headers or first.tenant is not None:
            context = self._made_context()
            correlation.enter(context.headers, context.tenant)

    def outcome(self, attempt: Attempt, error: BaseException | None, trace: str) -> Outcome:
        """Return how one attempt ended when the call ended with ``error``."""
        if attempt.why in {"lost", "cancel"}:
            return Outcome(attempt, None, asyncio.CancelledError(), "")
        if attempt in self._unreadable:
            return Outcome(attempt, None, self._unreadable[attempt], "")
        place = self._places.get(attempt)
        if place is not None and self._context is not None and self._context.items[place].is_settled:
            item = self._context.items[place]
            return _told(attempt, item.value, item.error)
        if isinstance(error, asyncio.CancelledError):
            return Outcome(attempt, None, why(attempt, error), "")
        if error is not None or place is None:
            return Outcome(attempt, None, error, trace)
        return _told(attempt, *self._verdicts[place])

    async def _innermost(self, context: Context) -> Any:
        # A middleware may hand on another context than it got; the items are those of this call.
        given = context if isinstance(context, BatchContext) else self._made_context()
        return await self._executor.invoke(self._spec, given, (self._values,), {})

    def _made_context(self) -> BatchContext:
        if self._context is None:
            executor, spec = self._executor, self._spec
            self._context = BatchContext([BatchItem(**executor.facts_of(one, spec)) for one in self._places])
        return self._context


def _told(attempt: Attempt, value: Any, error: BaseException | None) -> Outcome:
    return Outcome(attempt, value, error, "" if error is None else trace_of(error))
