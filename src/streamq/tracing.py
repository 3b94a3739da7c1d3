"""Spans of jobs, by OpenTelemetry's API alone, and what a job inherits from the code that enqueues it.

Nothing is made, and nothing of OpenTelemetry is imported, as long as nobody has set a tracer provider: each enqueue,
bulk call and attempt asks that once (`Tracer.tracer`) and goes its plain way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from ._core import correlation
from ._core import tracing as _names
from ._core.correlation import REQUEST_ID, TRACE_HEADERS
from ._core.lifecycle import message
from ._core.steer import Retry
from ._core.tracing import Mode, Settled, Value
from .job import Job, JobSpec
from .tracer import Tracer

if TYPE_CHECKING:
    from ._runtime.attempt import Attempt  # producers load no worker
    from ._store.verbs import Item

R = TypeVar("R")

log: logging.Logger = logging.getLogger("streamq")

_Sent = Callable[[JobSpec[Any]], Awaitable[Job[Any]]]


def inherited(spec: JobSpec[R], *, traced: bool) -> JobSpec[R]:
    """Return ``spec`` with the request and tenant of the running code; what the job says of itself stands.

    ``traced``: a tracer hands on the trace; without one the job gets the trace headers that the running job came with.
    """
    found = correlation.current()
    if found is None:
        return spec
    headers = found.headers
    if traced or "traceparent" in spec.options.headers:
        headers = {name: value for name, value in headers.items() if name not in TRACE_HEADERS}
    return _with(spec, headers, found.tenant)


def inherited_all(specs: list[JobSpec[R]], *, traced: bool) -> list[JobSpec[R]]:
    """Return the jobs of a bulk call, each as `inherited` makes it."""
    if correlation.current() is None:
        return specs
    return [inherited(spec, traced=traced) for spec in specs]


def _with(spec: JobSpec[R], headers: Mapping[str, str], tenant: str | None) -> JobSpec[R]:
    options = spec.options
    if not headers and (tenant is None or options.tenant is not None):
        return spec
    changed = msgspec.structs.replace(
        options,
        headers={**headers, **options.headers},
        tenant=tenant if options.tenant is None else options.tenant,
    )
    return JobSpec(spec.owner, spec.name, spec.args, changed, spec.flow)


class Sends(Tracer):
    """The spans of a queue's enqueues."""

    async def one(self, spec: JobSpec[Any], send: _Sent) -> Job[Any]:
        """Send a job within the span it is created in; the job carries that context."""
        api = self.api
        if api.is_suppressed:
            return await send(spec)
        attributes = self.attributes("send", "send") | _of_job(spec)
        try:
            span = self.tracer.start_span(f"send {self.queue}", kind=api.trace.SpanKind.PRODUCER, attributes=attributes)
            headed = self._headed(spec, span)
        except Exception as problem:  # noqa: BLE001 - see there
            _given_up(problem)
            return await send(spec)
        with api.trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                job = await send(headed)
            except BaseException as problem:
                self.failed(span, problem)
                raise
            span.set_attributes(_names.place(self.url))  # known by now, also for the first one
            _acknowledged(span, job)
            return job

    async def many(
        self, specs: list[JobSpec[R]], send: Callable[[list[JobSpec[R]]], Awaitable[list[Job[R]]]]
    ) -> list[Job[R]]:
        """Send jobs in one span that links to the span each was created in; over 128 jobs share the sending one."""
        api = self.api
        if api.is_suppressed or not specs:
            return await send(specs)
        try:
            span, created, carried = self._create(specs)
        except Exception as problem:  # noqa: BLE001 - see there
            _given_up(problem)
            return await send(specs)
        made = time.time_ns()
        with api.trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                jobs = await send(carried)
            except BaseException as problem:
                self.failed(span, problem)
                raise
            else:
                span.set_attributes(_names.place(self.url))
                for one, job in zip(created, jobs, strict=False):
                    _acknowledged(one, job)
                return jobs
            finally:
                for one in created:
                    one.end(end_time=made)

    def _create(self, specs: list[JobSpec[R]]) -> tuple[Any, list[Any], list[JobSpec[R]]]:
        """Return the span of a bulk call, those its jobs are created in, and the jobs with their contexts."""
        kinds = self.api.trace.SpanKind
        apart = len(specs) <= _names.LINKS
        created = [self._created(spec) for spec in specs] if apart else []
        span = self.tracer.start_span(
            f"send {self.queue}",
            kind=kinds.CLIENT if apart else kinds.PRODUCER,
            attributes=self.attributes("send", "send") | {_names.COUNT: len(specs)},
            links=[self.api.trace.Link(one.get_span_context()) for one in created],
        )
        return span, created, [self._headed(spec, created[at] if apart else span) for at, spec in enumerate(specs)]

    def _created(self, spec: JobSpec[Any]) -> Any:
        attributes = self.attributes("create", "create") | _of_job(spec)
        kind = self.api.trace.SpanKind.PRODUCER
        return self.tracer.start_span(f"create {self.queue}", kind=kind, attributes=attributes)

    def _headed(self, spec: JobSpec[R], span: Any) -> JobSpec[R]:
        """Return ``spec`` with the context of ``span``; a context that somebody put there stands."""
        if "traceparent" in spec.options.headers:
            return spec
        api = self.api
        carrier: dict[str, str] = {}
        api.propagate.inject(carrier, context=api.trace.set_span_in_context(span))
        return _with(spec, carrier, None)


def _given_up(problem: Exception) -> None:
    # Telemetry that fails (somebody's sampler, say) is no reason not to enqueue or run a job.
    log.error("no span for a job", exc_info=problem, extra={"event": "tracing_failed"})


def _of_job(spec: JobSpec[Any]) -> dict[str, Value]:
    options = spec.options
    found: dict[str, Value] = {_names.TASK: spec.name}
    if options.when[0] == "+":
        found[_names.DELAY] = int(options.when[1:]) / 1000
    if options.job_id is not None:
        found[_names.MESSAGE_ID] = options.job_id
    return found | _about(options.headers, options.tenant)


def _about(headers: Mapping[str, str], tenant: str | None) -> dict[str, Value]:
    found: dict[str, Value] = {}
    if REQUEST_ID in headers:
        found[_names.CONVERSATION] = headers[REQUEST_ID]
    if tenant is not None:
        found[_names.TENANT] = tenant
    return found


def _acknowledged(span: Any, job: Job[Any]) -> None:
    span.set_attribute(_names.MESSAGE_ID, job.id)
    if not job.created:
        span.set_attribute(_names.OUTCOME, job.refused or "exists")


class Runs(Tracer):
    """The spans of a worker's attempts in one queue. ``details``: whether they may hold error texts and tracebacks."""

    def __init__(self, queue: str, mode: Mode, url: str, worker: str, *, details: bool) -> None:
        super().__init__(queue, mode, url)
        self._worker = worker
        self._details = details

    async def around(self, attempts: Sequence[Attempt], run: Callable[[], Awaitable[None]]) -> None:
        """Run attempts that are one call in a span; their code and what it enqueues find it as the current one."""
        api = self.api
        opened = None
        if not api.is_suppressed:
            try:
                opened = self._open(attempts)
            except Exception as problem:  # noqa: BLE001 - see there
                _given_up(problem)
        if opened is None:
            await run()
            return
        span, within = opened
        token = api.context.attach(within)
        try:
            await run()
        finally:
            api.context.detach(token)
            span.end()

    def _open(self, attempts: Sequence[Attempt]) -> tuple[Any, Any]:
        trace, context = self.api.trace, self.api.context
        first = attempts[0]
        alone = first.batch is None
        origins = [self._origin(attempt.envelope.headers) for attempt in attempts]
        adopted = self.mode == "parent" and alone
        links = [trace.Link(one) for origin in origins for one in origin.links(skip_creation=adopted)]
        span = self.tracer.start_span(
            f"process {self.queue}",
            context=origins[0].context if adopted else context.Context(),
            kind=trace.SpanKind.CONSUMER,
            attributes=self.attributes("process", "process") | self._facts(attempts, alone=alone),
            links=links[: _names.LINKS],
        )
        for attempt in attempts:
            attempt.span = span
        return span, trace.set_span_in_context(span, origins[0].context if alone else context.Context())

    def _facts(self, attempts: Sequence[Attempt], *, alone: bool) -> dict[str, Value]:
        first = attempts[0]
        envelope, spec = first.envelope, first.spec
        facts: dict[str, Value] = {_names.TASK: envelope.name, "messaging.client.id": self._worker}
        if not alone:
            return facts | {_names.COUNT: len(attempts)}
        limit = envelope.max_attempts or (spec.policy.max_attempts if spec is not None else None)
        facts |= {_names.MESSAGE_ID: first.job_id, _names.ATTEMPT: envelope.attempts + 1}
        if limit is not None:
            facts[_names.MAX_ATTEMPTS] = limit
        return facts | _about(envelope.headers, envelope.tenant)

    def _origin(self, headers: Mapping[str, str]) -> _Origin:
        api = self.api
        empty = api.context.Context()
        if not headers:
            return _Origin(empty, None, None)
        found = api.propagate.extract(headers, context=empty)
        previous = None
        if _names.PREVIOUS in headers:
            previous = api.propagate.extract({"traceparent": headers[_names.PREVIOUS]}, context=empty)
        return _Origin(found, self._span_of(found), None if previous is None else self._span_of(previous))

    def _span_of(self, context: Any) -> Any:
        found = self.api.trace.get_current_span(context).get_span_context()
        return found if found.is_valid else None

    def settled(self, attempt: Attempt, item: Item | None, error: BaseException | None, trace: str) -> None:
        """Say in the span of an attempt how it was settled. Never raises."""
        try:
            self._settled(attempt, item, error, trace)
        except Exception:
            log.exception("a span cannot be told how its job ended", extra={"event": "tracing_failed"})

    def _settled(self, attempt: Attempt, item: Item | None, error: BaseException | None, trace: str) -> None:
        span = attempt.span
        how = _names.LOST
        if item is not None:
            how = _names.settled(item.verb, item.args[-1 if item.verb == b"r" else 0] if item.args else "")
        asked = how.outcome == "retried" and isinstance(error, Retry)
        failed = how.failed and not asked
        if error is not None and failed:
            self._raised(span, error, trace)
        facts: dict[str, Value] = {_names.OUTCOME: how.outcome}
        if attempt.batch is None:
            span.set_attributes(facts)
        else:
            facts[_names.MESSAGE_ID] = attempt.job_id
        span.add_event(how.operation, self._event(how) | facts)
        if failed:
            self.failed(span, error)

    def _event(self, how: Settled) -> dict[str, Value]:
        return {"messaging.operation.name": how.operation, "messaging.operation.type": "settle"}

    def _raised(self, span: Any, error: BaseException, trace: str) -> None:
        said: dict[str, Value] = {"exception.type": type(error).__qualname__}
        if self._details:
            said |= {"exception.message": message(error)[:500], "exception.stacktrace": trace}
        span.add_event("exception", said)


class _Origin(NamedTuple):
    """Where a job comes from: what its headers say, the span it was created in, that of the attempt before."""

    context: Any
    creation: Any
    previous: Any

    def links(self, *, skip_creation: bool) -> list[Any]:
        """Return the spans to link to."""
        wanted = (None if skip_creation else self.creation, self.previous)
        return [one for one in wanted if one is not None]
