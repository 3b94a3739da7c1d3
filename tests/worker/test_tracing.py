"""Spans as the real SDK of OpenTelemetry keeps them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from streamq import Context, Discard, Fatal, Fixed, JobState, Queue, RateLimited, Retry, Snooze, Worker
from streamq.errors import ConfigError, JobDead, PayloadTooLarge
from tests.worker.helpers import Gate, MakeQueue, drain, until

pytest.importorskip("opentelemetry.sdk", reason="the SDK is in the group test")

from opentelemetry import baggage, context, propagate, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

REMOTE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""What the caller of an HTTP endpoint sends along."""

REMOTE_TRACE = 0x0AF7651916CD43DD8448EB211C80319C


class Spans:
    """What was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("a web framework")

    def named(self, name: str) -> list[ReadableSpan]:
        """Spans of a name, in the order in which they began."""
        found = [one for one in self.exporter.get_finished_spans() if one.name == name]
        return sorted(found, key=lambda one: one.start_time or 0)

    @property
    def names(self) -> list[str]:
        """Names of all spans."""
        return sorted(one.name for one in self.exporter.get_finished_spans())


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """A provider for this test alone; the API lets one be set only once a process."""
    found = Spans()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", found.provider)
    yield found
    found.provider.shutdown()


def span_context(span: ReadableSpan) -> Any:
    found = span.get_span_context()
    assert found is not None
    return found


def ids(span: ReadableSpan) -> tuple[int, int]:
    """Trace and span."""
    found = span_context(span)
    return found.trace_id, found.span_id


def links(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(one.context.trace_id, one.context.span_id) for one in span.links]


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def events(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    return [(one.name, dict(one.attributes or {})) for one in span.events]


def a_shop(queue: Queue) -> Any:
    """A handler that fails once and then enqueues a child."""

    @queue.handler("mail")
    async def mail(order: int) -> None:
        del order

    @queue.handler("order", max_attempts=3)
    async def order(ctx: Context, number: int) -> None:
        if ctx.attempt == 1:
            raise ConnectionError("shop is away")
        await mail.enqueue(number)

    return order


async def request(spans: Spans, work: Any) -> None:
    """An HTTP request, as an instrumented framework handles it."""
    carried = propagate.extract({"traceparent": REMOTE})
    with spans.tracer.start_as_current_span("POST /orders", context=carried, kind=SpanKind.SERVER):
        await work()


async def test_one_trace_from_an_http_request_through_two_attempts_to_a_child(
    make_queue: MakeQueue, spans: Spans
) -> None:
    queue = make_queue(tracing="parent")
    order = a_shop(queue)
    await request(spans, lambda: order.with_options(headers={"x-request-id": "r-7"}, tenant="acme").enqueue(1))
    await drain(queue)

    [posted] = spans.named("POST /orders")
    [sent, sent_by_child] = spans.named("send q")
    [first, second, child] = spans.named("process q")
    everything = [posted, sent, first, second, sent_by_child, child]
    assert {ids(one)[0] for one in everything} == {REMOTE_TRACE}
    assert parent(sent) == ids(posted)[1]
    assert parent(first) == parent(second) == ids(sent)[1]
    assert parent(sent_by_child) == ids(second)[1]
    assert parent(child) == ids(sent_by_child)[1]
    assert links(second) == [ids(first)]
    assert [said(one)["streamq.job.attempt"] for one in (first, second, child)] == [1, 2, 1]
    # The request and the tenant reach every span, the child's included.
    for one in everything[1:]:
        assert said(one)["messaging.message.conversation_id"] == "r-7"
        assert said(one)["streamq.tenant"] == "acme"


async def test_by_default_each_attempt_is_a_trace_of_its_own_that_links_to_where_it_comes_from(
    queue: Queue, spans: Spans
) -> None:
    order = a_shop(queue)
    await request(spans, lambda: order.enqueue(1))
    await drain(queue)

    [sent, sent_by_child] = spans.named("send q")
    [first, second, child] = spans.named("process q")
    assert len({ids(one)[0] for one in (sent, first, second, child)}) == 4
    assert parent(first) is None
    assert links(first) == [ids(sent)]
    assert links(second) == [ids(sent), ids(first)]
    assert parent(sent_by_child) == ids(second)[1]
    assert links(child) == [ids(sent_by_child)]


async def test_names_kinds_and_attributes_are_those_of_the_conventions(queue: Queue, spans: Spans) -> None:
    @queue.handler("work", max_attempts=4)
    async def work(number: int) -> None:
        del number

    job = await work.with_options(delay=0.01).enqueue(1)
    await Worker(queue, name="blue").run(burst=True)
    [sent], [run] = spans.named("send q"), spans.named("process q")
    assert (sent.kind, run.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    for one in (sent, run):
        found = said(one)
        assert found["messaging.system"] == "streamq"
        assert found["messaging.destination.name"] == "q"
        assert found["messaging.message.id"] == job.id
        assert found["streamq.task.name"] == "work"
        assert str(found["server.address"]).startswith("/")
        scope = one.instrumentation_scope
        assert scope is not None
        assert (scope.name, scope.schema_url) == ("streamq", "https://opentelemetry.io/schemas/1.44.0")
    assert said(sent)["messaging.operation.type"] == said(sent)["messaging.operation.name"] == "send"
    assert said(sent)["streamq.job.delay"] == 0.01
    assert said(run)["messaging.operation.type"] == said(run)["messaging.operation.name"] == "process"
    assert said(run)["streamq.job.max_attempts"] == 4
    assert said(run)["streamq.outcome"] == "completed"
    assert str(said(run)["messaging.client.id"]).startswith("blue:")
    assert events(run) == [
        (
            "ack",
            {
                "messaging.operation.name": "ack",
                "messaging.operation.type": "settle",
                "streamq.outcome": "completed",
            },
        )
    ]
    assert run.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("error", "event", "outcome", "failed"),
    [
        (ValueError("secret"), "retry", "retried", True),
        (Retry(after=3600), "retry", "retried", False),
        (Snooze(3600), "retry", "snoozed", False),
        (RateLimited(3600), "retry", "limited", False),
        (Discard("unwanted"), "ack", "cancelled", False),
        (Fatal("closed"), "dead_letter", "dead", True),
    ],
)
async def test_how_an_attempt_was_settled_is_an_event_of_its_span(
    queue: Queue, spans: Spans, error: Exception, event: str, outcome: str, *, failed: bool
) -> None:
    @queue.handler("work", max_attempts=3, backoff=Fixed(3600))
    async def work() -> None:
        raise error

    await work.enqueue()
    await drain(queue)
    [run] = spans.named("process q")
    assert events(run)[-1][0] == event
    assert events(run)[-1][1]["streamq.outcome"] == said(run)["streamq.outcome"] == outcome
    assert (run.status.status_code is StatusCode.ERROR) is failed
    assert said(run).get("error.type") == (type(error).__qualname__ if failed else None)
    assert [name for name, _ in events(run)][:-1] == (["exception"] if failed else [])


async def test_error_texts_are_told_only_when_asked_for(queue: Queue, spans: Spans) -> None:
    @queue.handler("work", max_attempts=1)
    async def work(card: str) -> None:
        raise ValueError(card)

    await work.enqueue("4111-1111")
    await drain(queue)
    await work.enqueue("4111-1111")
    await Worker(queue, log_payload=True).run(burst=True)
    quiet, loud = spans.named("process q")
    assert events(quiet)[0] == ("exception", {"exception.type": "ValueError"})
    assert "4111" not in quiet.to_json()
    assert events(loud)[0][1]["exception.message"] == "4111-1111"
    assert "Traceback" in events(loud)[0][1]["exception.stacktrace"]


async def test_a_bulk_call_is_one_span_that_links_to_each_job(queue: Queue, spans: Spans) -> None:
    @queue.handler("work")
    async def work(number: int) -> None:
        del number

    jobs = await queue.enqueue_many([work.job(number) for number in range(3)])
    await drain(queue)
    created, [sent], runs = spans.named("create q"), spans.named("send q"), spans.named("process q")
    assert [one.kind for one in (*created, sent)] == [SpanKind.PRODUCER] * 3 + [SpanKind.CLIENT]
    assert [said(one)["messaging.message.id"] for one in created] == [job.id for job in jobs]
    assert links(sent) == [ids(one) for one in created]
    assert said(sent)["messaging.batch.message_count"] == 3
    assert sorted(links(one)[0] for one in runs) == sorted(ids(one) for one in created)


async def test_a_large_bulk_call_is_one_span_for_all(queue: Queue, spans: Spans) -> None:
    @queue.handler("work")
    async def work(number: int) -> None:
        del number

    await queue.enqueue_many([work.job(number) for number in range(129)])
    await drain(queue)
    [sent] = spans.named("send q")
    assert sent.kind is SpanKind.PRODUCER
    assert spans.named("create q") == []
    assert {links(one)[0] for one in spans.named("process q")} == {ids(sent)}


async def test_an_enqueue_that_fails_is_an_error(make_queue: MakeQueue, spans: Spans) -> None:
    queue = make_queue(max_payload=64)

    @queue.handler("work")
    async def work(text: str) -> None:
        del text

    for send in (lambda: work.enqueue("x" * 100), lambda: queue.enqueue_many([work.job("x" * 100)])):
        with pytest.raises(PayloadTooLarge):
            await send()
    for sent in spans.named("send q"):
        assert sent.status.status_code is StatusCode.ERROR
        assert said(sent)["error.type"] == "PayloadTooLarge"
        assert sent.status.description is None
    assert len(spans.named("send q")) == 2


async def test_a_batch_is_one_span_that_links_to_all_its_jobs(queue: Queue, spans: Spans) -> None:
    @queue.batch_handler("sync", size=3, wait=0.01, max_attempts=1)
    async def sync(numbers: list[int]) -> dict[int, Exception]:
        return {1: ValueError("no")}

    jobs = await queue.enqueue_many([sync.job(number) for number in range(3)])
    await drain(queue)
    [run] = spans.named("process q")
    assert said(run)["messaging.batch.message_count"] == 3
    assert "messaging.message.id" not in said(run)
    assert sorted(links(run)) == sorted(ids(one) for one in spans.named("create q"))
    settled = {found["messaging.message.id"]: name for name, found in events(run) if name != "exception"}
    assert settled == {jobs[0].id: "ack", jobs[1].id: "dead_letter", jobs[2].id: "ack"}
    assert run.status.status_code is StatusCode.ERROR


async def test_a_lost_lease_and_a_handed_back_job_are_told(queue: Queue, spans: Spans) -> None:
    gate = Gate()

    @queue.handler("held", timeout=None)
    async def held() -> None:
        await gate.through("held")

    await held.enqueue()
    worker = Worker(queue, grace=0)
    async with worker:
        await until(lambda: gate.started)
    [run] = spans.named("process q")
    assert said(run)["streamq.outcome"] == "handed back"
    assert events(run)[-1][0] == "nack"
    assert run.status.status_code is StatusCode.UNSET


async def test_a_context_that_somebody_gave_the_job_stands(queue: Queue, spans: Spans) -> None:
    @queue.handler("work")
    async def work() -> None: ...

    await work.with_options(headers={"traceparent": REMOTE}).enqueue()
    await drain(queue)
    [run] = spans.named("process q")
    assert [trace_id for trace_id, _ in links(run)] == [REMOTE_TRACE]


async def test_baggage_reaches_the_handler_and_its_children(queue: Queue, spans: Spans) -> None:
    del spans
    found: list[object] = []

    @queue.handler("child")
    async def child() -> None:
        found.append(baggage.get_baggage("plan"))

    @queue.handler("work")
    async def work() -> None:
        found.append(baggage.get_baggage("plan"))
        await child.enqueue()

    token = context.attach(baggage.set_baggage("plan", "gold"))
    await work.enqueue()
    context.detach(token)
    await drain(queue)
    assert found == ["gold", "gold"]


async def test_spans_of_the_handler_are_children_of_its_attempt(queue: Queue, spans: Spans) -> None:
    @queue.handler("thread")
    def thread() -> None:
        with spans.tracer.start_as_current_span("query"):
            pass

    await thread.enqueue()
    await drain(queue)
    [query], [run] = spans.named("query"), spans.named("process q")
    assert parent(query) == ids(run)[1]


async def test_nothing_is_traced_where_that_is_off_or_suppressed(make_queue: MakeQueue, spans: Spans) -> None:
    off, on = make_queue("off", tracing="off"), make_queue("on")
    for queue in (off, on):

        @queue.handler("work")
        async def work() -> None: ...

    key = getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY")  # noqa: B009 - of no public name
    await off.enqueue("work")
    token = context.attach(context.set_value(key, "yes"))
    await on.enqueue("work")
    await on.enqueue_many([on.spec("work")])
    context.detach(token)
    await drain(off)
    assert spans.names == []
    await drain(on)
    assert spans.names == ["process on"] * 2
    assert [links(one) for one in spans.named("process on")] == [[], []]


async def test_a_provider_may_be_set_at_any_time(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    @queue.handler("work")
    async def work() -> None: ...

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    async with Worker(queue):
        first = await work.enqueue()
        await until(lambda: _is(first, JobState.COMPLETED))
        spans = Spans()
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", spans.provider)
        await work.enqueue()
        await until(lambda: spans.named("process q"))
    assert spans.names == ["process q", "send q"]


async def _is(job: Any, state: JobState) -> bool:
    return bool(await job.state() is state)


async def test_a_disabled_sdk_counts_as_no_provider(
    queue: Queue, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    disabled = TracerProvider()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", disabled)

    @queue.handler("work")
    async def work(ctx: Context) -> None:
        assert ctx.headers == {}

    await work.enqueue()
    await drain(queue)
    assert (await queue.counts()).completed == 1
    assert spans.names == []


async def test_a_sampler_that_raises_harms_no_job(
    queue: Queue, spans: Spans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @queue.handler("work")
    async def work() -> str:
        return "done"

    job = await work.enqueue()

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    def broken(*_: Any, **__: Any) -> Broken:
        return Broken()

    monkeypatch.setattr(spans.provider, "get_tracer", broken)
    fresh = Queue("q", url=queue.where or None, prefix=queue.prefix)
    with caplog.at_level(logging.ERROR, "streamq"):

        @fresh.handler("work")
        async def again() -> str:
            return "done"

        async with fresh, Worker(fresh):
            assert await job.result(timeout=10) == "done"
    assert caplog.text.count("no span for a job") == 1


async def test_log_lines_name_their_span(queue: Queue, spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    @queue.handler("work", max_attempts=1)
    async def work() -> None:
        raise ValueError

    job = await work.enqueue()
    with caplog.at_level(logging.INFO, "streamq.job"):
        await drain(queue)
    [run] = spans.named("process q")
    found = [one for one in caplog.records if getattr(one, "event", "") in {"failed", "dead"}]
    assert len(found) == 2
    for record in found:
        assert getattr(record, "trace_id", "") == f"{ids(run)[0]:032x}"
        assert getattr(record, "span_id", "") == f"{ids(run)[1]:016x}"
    with pytest.raises(JobDead):
        await job.result(timeout=5)


async def test_without_a_tracer_here_the_trace_goes_on_all_the_same(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    found: list[str] = []

    @queue.handler("child")
    async def child(ctx: Context) -> None:
        found.append(ctx.headers.get("traceparent", ""))

    @queue.handler("work")
    async def work() -> None:
        await child.enqueue()

    await work.with_options(headers={"traceparent": REMOTE, "x-other": "mine"}).enqueue()
    await drain(queue)
    assert found == [REMOTE]


async def test_redis_instrumentation_sees_none_of_our_polling(queue: Queue, spans: Spans) -> None:
    module = pytest.importorskip("opentelemetry.instrumentation.redis", reason="the group test has it")
    instrumentor = module.RedisInstrumentor()
    instrumentor.instrument(tracer_provider=spans.provider)
    try:

        @queue.handler("work")
        async def work() -> None: ...

        async with Worker(queue):
            job = await work.enqueue()
            await until(lambda: _is(job, JobState.COMPLETED))
            ticks = asyncio.get_running_loop().time() + 2.5
            await until(lambda: asyncio.get_running_loop().time() > ticks)
    finally:
        instrumentor.uninstrument()
    assert spans.names == ["process q", "send q"]


async def test_the_option_is_checked(make_queue: MakeQueue) -> None:
    with pytest.raises(ConfigError, match="'link', 'parent', 'off'"):
        make_queue(tracing="always")
