"""What a job waits for: gates in their order, refused pairs, and what a worker declares."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq import Dedup, Group, HandlerOptions, JobOptions, Queue, QueueOptions, RateLimit, StreamqError, sending
from streamq._core import flow_options, gates, pairs
from streamq._core.dedup import DedupPlan
from streamq._core.flow import Batch, Flow, HandlerFlow, QueueFlow, declared, plan
from streamq._core.limits import GateConfig
from streamq._core.options import DEFAULT, Checked, check_job
from streamq.errors import ConfigError, ConflictingOptions, InvalidPayload, UnknownLimit

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
SIMPLE = DedupPlan("simple", "k")


def to_and_n(arguments: Mapping[str, Any]) -> str:
    return f"{arguments['to']}/{arguments['n']}"


async def nothing(to: str = "") -> None: ...


def flow_of(
    handler: HandlerOptions | None = None,
    job: JobOptions | None = None,
    queue: QueueOptions | None = None,
    **arguments: Any,
) -> Flow | None:
    """What a job of handler "send(to, n, group)" waits for."""
    app = Queue("q", **(queue or {}))

    @app.handler("send", **(handler or {}))
    async def send(to: str = "c_1", n: int | float | date | None = 7, group: str = "shop") -> None: ...  # noqa: PYI041 - msgspec tells them apart

    built = send.with_options(**(job or {})).job(**arguments)
    assert app.spec("send", arguments, **(job or {})).flow == built.flow, "by name it is the same"
    return built.flow


def gates_of(
    handler: HandlerOptions | None = None,
    job: JobOptions | None = None,
    queue: QueueOptions | None = None,
    **arguments: Any,
) -> tuple[str, ...]:
    flow = flow_of(handler, job, queue, **arguments)
    assert flow is not None
    assert flow == Flow(gates=flow.gates, cost=flow.cost)
    return flow.gates


# -- gates -------------------------------------------------------------------------------------------------------------


def test_a_plain_job_has_no_flow() -> None:
    everything: QueueOptions = {
        "rate_limit": RateLimit(5), "global_concurrency": 5, "group": Group(5), "limits": {"twilio": 5}
    }  # fmt: skip
    assert flow_of() is None
    assert flow_of(queue=everything) is None
    assert flow_of({"timeout": 5}, {"delay": 5, "tenant": "t"}) is None


def test_a_plain_job_asks_for_nothing() -> None:
    def arguments() -> Mapping[str, Any]:
        raise AssertionError("no key needs them")

    options = check_job({"group": "a", "rate_key": "b", "cost": 2, "dedup": Dedup("c")})
    rules = HandlerFlow(concurrency=3, rate_limit=RateLimit(3))
    assert plan(QueueFlow(), None, "send", DEFAULT, arguments) is None
    assert plan(QueueFlow(limits={"b": RateLimit(2)}), rules, "send", options, arguments) is not None


def test_gates_stand_in_their_order() -> None:
    handler: HandlerOptions = {
        "concurrency": 5, "rate_limit": RateLimit(5), "rate_key": "to", "concurrency_key": "n"
    }  # fmt: skip
    job: JobOptions = {"group": "shop_42", "rate_key": "twilio"}
    found = gates_of(handler, job, {"limits": {"twilio": RateLimit(80)}})
    assert found == ("g:shop_42", "h.send", "r.twilio", "r.send=c_1", "k.send=7")


@pytest.mark.parametrize(
    ("handler", "job", "expected"),
    [
        ({}, {"group": "a"}, ("g:a",)),
        ({"concurrency": 5}, {}, ("h.send",)),
        ({"rate_limit": RateLimit(5)}, {}, ("h.send",)),
        ({"rate_limit": RateLimit(5), "rate_key": "to"}, {}, ("r.send=c_1",)),
        ({"rate_limit": RateLimit(5), "rate_key": to_and_n}, {}, ("r.send=c_1/7",)),
        ({"rate_limit": RateLimit(5), "rate_key": "to", "concurrency": 5}, {}, ("h.send", "r.send=c_1")),
        ({"concurrency_key": "to"}, {}, ("k.send=c_1",)),
        # A job's rate_key: a limit of the queue if there is one, else the key of the handler's own.
        ({}, {"rate_key": "twilio"}, ("r.twilio",)),
        ({"rate_limit": RateLimit(5)}, {"rate_key": "twilio"}, ("h.send", "r.twilio")),
        ({"rate_limit": RateLimit(5)}, {"rate_key": "other"}, ("r.send=other",)),
        ({"rate_limit": RateLimit(5), "rate_key": "to"}, {"rate_key": "other"}, ("r.send=other",)),
        ({"rate_limit": RateLimit(5), "rate_key": "to"}, {"rate_key": "twilio"}, ("r.twilio", "r.send=c_1")),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0],  # the same in every process
)
def test_the_gates_of_a_job(handler: HandlerOptions, job: JobOptions, expected: tuple[str, ...]) -> None:
    assert gates_of(handler, job, {"limits": {"twilio": RateLimit(80)}}) == expected


def test_a_key_is_what_the_handler_will_see() -> None:
    by_n: HandlerOptions = {"concurrency_key": "n"}
    assert gates_of(by_n) == ("k.send=7",)  # the default
    assert gates_of(by_n, n=8) == ("k.send=8",)
    assert gates_of(by_n, n=date(2030, 1, 1)) == ("k.send=2030-01-01",)


def test_a_rate_key_that_names_nothing_is_told() -> None:
    with pytest.raises(UnknownLimit) as caught:
        flow_of({}, {"rate_key": "twillio"}, {"limits": {"twilio": RateLimit(8), "sendgrid": 3}})
    assert str(caught.value) == (
        "no limit named 'twillio'; known: sendgrid, twilio. Declare it in Queue(limits={...})."
    )
    assert (caught.value.name, caught.value.known) == ("twillio", ("sendgrid", "twilio"))


def test_by_name_without_the_handler_the_options_of_the_job_alone_speak() -> None:
    producer = Queue("q", limits={"twilio": RateLimit(8)}, group=Group(concurrency=1))
    assert producer.spec("send", {"to": "a"}).flow is None
    found = producer.spec("send", {"to": "a"}, group="a", rate_key="twilio", cost=2, dedup=Dedup(by=("to",))).flow
    assert found == Flow(("g:a", "r.twilio"), "g:a", 2, ordered=True, dedup=DedupPlan("simple", 'send(to="a")'))
    with pytest.raises(InvalidPayload, match=r"needs 'from'"):
        producer.spec("send", {"to": "a"}, dedup=Dedup(by=("from",)))


@pytest.mark.parametrize("value", [1.5, None])
def test_a_value_without_one_spelling_is_no_key(value: Any) -> None:
    with pytest.raises(InvalidPayload, match=r"arguments of 'send': concurrency_key='n' is \w+; a key is text"):
        flow_of({"concurrency_key": "n"}, n=value)


def test_an_empty_value_is_no_key() -> None:
    with pytest.raises(InvalidPayload, match="rate_key='to' is empty"):
        flow_of({"rate_limit": RateLimit(5), "rate_key": "to"}, to="")


def test_a_function_that_fails_or_answers_nonsense_is_told() -> None:
    def fails(arguments: Mapping[str, Any]) -> str:
        return str(arguments["missing"])

    with pytest.raises(InvalidPayload, match="the function given as concurrency_key failed: KeyError: 'missing'"):
        flow_of({"concurrency_key": fails})

    def nonsense(arguments: Mapping[str, Any]) -> Any:
        return [arguments]

    with pytest.raises(InvalidPayload, match="what concurrency_key returned is list"):
        flow_of({"concurrency_key": nonsense})


class Size(Enum):
    LARGE = "l"
    ONE = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("c_1", "c_1"),
        (5, "5"),
        (True, "True"),
        (Size.LARGE, "l"),
        (Size.ONE, "1"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (date(2030, 1, 1), "2030-01-01"),
        (NOON.astimezone(ZoneInfo("Europe/Athens")), "2030-01-01T12:00:00+00:00"),
        (5.0, None),
        (None, None),
        ([], None),
        (b"x", None),
        (Decimal(1), None),
        (2**64, None),
    ],
    ids=repr,
)
def test_the_text_of_a_value(value: Any, expected: str | None) -> None:
    assert gates.text(value) == expected


def test_a_gate_holds_no_separator_and_stays_readable() -> None:
    assert gates.group("shop 42: Ärzte|x=1") == "g:shop 42: Ärzte|x=1"
    assert gates.group("a>b%\n\u200b") == "g:a%3Eb%25%0A%E2%80%8B"


@given(st.text(), st.text())
def test_two_values_never_share_a_gate(one: str, other: str) -> None:
    assert (gates.safe(one) == gates.safe(other)) == (one == other)
    assert gates.safe(one).isprintable()
    assert ">" not in gates.safe(one)


@given(st.text(), st.text())
def test_a_long_value_is_shortened_to_a_name_of_its_own(one: str, other: str) -> None:
    long_one, long_other = one + "x" * 128, other + "x" * 128
    assert len(gates.shortened(long_one).encode("utf-8", "surrogatepass")) <= 128
    assert (gates.shortened(long_one) == gates.shortened(long_other)) == (one == other)


# -- cost --------------------------------------------------------------------------------------------------------------


def test_cost_travels_with_the_gates() -> None:
    flow = flow_of({"rate_limit": RateLimit(5)}, {"cost": 5})
    assert flow == Flow(("h.send",), cost=5)


def test_a_cost_for_the_limit_of_the_queue_needs_a_line() -> None:
    assert gates_of({}, {"cost": 5}, {"rate_limit": RateLimit(5)}) == ("h.send",)
    assert flow_of({}, {"cost": 5}) is None, "nothing counts it"


@pytest.mark.parametrize(
    ("handler", "job", "queue", "gate"),
    [
        ({}, {}, {"rate_limit": RateLimit(50)}, "q"),
        ({}, {"group": "a"}, {"group": Group(rate=RateLimit(50))}, "g:a"),
        ({"rate_limit": RateLimit(50)}, {}, {}, "h.send"),
        ({"rate_limit": RateLimit(50), "rate_key": "to"}, {}, {}, "r.send=c_1"),
        ({}, {"rate_key": "twilio"}, {"limits": {"twilio": RateLimit(50)}}, "r.twilio"),
        ({"rate_limit": RateLimit(50)}, {"rate_key": "twilio"}, {"limits": {"twilio": RateLimit(99)}}, "h.send"),
    ],
)
def test_a_cost_that_can_never_pass_is_refused(handler: Any, job: Any, queue: Any, gate: str) -> None:
    job["cost"] = 50
    assert flow_of(handler, job, queue) is not None
    job["cost"] = 80
    with pytest.raises(ConfigError) as caught:
        flow_of(handler, job, queue)
    assert str(caught.value) == f"cost=80: can never pass RateLimit(50, per=1) of {gate!r}"


# -- ordered groups, deduplication, batches ----------------------------------------------------------------------------

ORDERED: QueueOptions = {"group": Group(concurrency=1)}


def test_an_ordered_group_is_its_line() -> None:
    assert flow_of({"concurrency": 5}, {"group": "a>"}, ORDERED) == Flow(("g:a%3E", "h.send"), "g:a%3E", ordered=True)
    assert flow_of({}, {"group": "a"}, {"group": Group(concurrency=2)}) == Flow(("g:a",))
    assert flow_of({}, {}, ORDERED) is None


def test_deduplication_alone_leaves_a_job_in_its_lane() -> None:
    assert flow_of({}, {"dedup": Dedup("k")}) == Flow(dedup=SIMPLE)
    debounced = Dedup("k", mode="debounce", ttl=5)
    assert flow_of({}, {"dedup": debounced}) == Flow(dedup=DedupPlan("debounce", "k", 5000))


def test_a_job_may_have_another_deduplication_than_its_handler() -> None:
    assert flow_of({"dedup": Dedup("k")}) == Flow(dedup=SIMPLE)
    assert flow_of({"dedup": Dedup("other")}, {"dedup": Dedup("k")}) == Flow(dedup=SIMPLE)


def test_keep_last_waits_in_a_line_of_its_key() -> None:
    kept = Dedup("k", mode="keep_last")
    last = DedupPlan("keep_last", "k")
    assert flow_of({}, {"dedup": kept}) == Flow(("d.k",), "d.k", ordered=True, dedup=last)
    assert flow_of({}, {"dedup": kept, "group": "a"}) == Flow(("g:a", "d.k"), "d.k", ordered=True, dedup=last)


def test_keep_last_in_an_ordered_group_stays_in_the_line_of_the_group() -> None:
    flow = flow_of({}, {"dedup": Dedup("a", mode="keep_last"), "group": "a"}, ORDERED)
    assert flow == Flow(("g:a", "d.a"), "g:a", ordered=True, dedup=DedupPlan("keep_last", "a"))


def test_the_policies_of_a_handler_travel_with_the_job() -> None:
    flow = flow_of({"rate_limit": RateLimit(5), "on_limit": "bury", "concurrency_key": "to", "on_conflict": "drop"})
    assert flow == Flow(("h.send", "k.send=c_1"), on_limit="bury", on_conflict="drop")


def batched(key: str | None, group: str | None = None, dedup: Dedup | None = None) -> Flow | None:
    rules = HandlerFlow(batch=Batch(10, 500), batch_key=None if key is None else "key")
    options = Checked(group=group, dedup=dedup)
    return plan(QueueFlow(), rules, "send", options, lambda: {"key": key})


def test_a_batch_is_a_line_by_key_and_group() -> None:
    lines = [
        flow.line
        for flow in (batched(None), batched("a"), batched(None, "g"), batched("g", "g"), batched("g/a", "g"))
        if flow is not None and flow.batch == Batch(10, 500)
    ]
    assert lines == ["b.send=", "b.send=a", "b.send=g", "b.send=g", "b.send=1:g/g/a"]


# -- pairs -------------------------------------------------------------------------------------------------------------


def batch_rules(**options: Any) -> Callable[[], object]:
    rules = HandlerFlow(batch=Batch(10), **options)
    return lambda: flow_options.check_rules(rules)


DEBOUNCE = Dedup("k", mode="debounce", ttl=5)
KEEP_LAST = Dedup("k", mode="keep_last")

REFUSED: list[tuple[Callable[[], object], tuple[str, ...], str]] = [
    (
        lambda: flow_of({}, {"dedup": DEBOUNCE, "delay": 5}),
        ("debounce", "delay"),
        'debounce and delay cannot be combined: debounce sets the delay. Drop delay=, or use Dedup(mode="simple").',
    ),
    (
        lambda: flow_of({"dedup": DEBOUNCE}, {"at": NOON}),
        ("debounce", "at"),
        'debounce and at cannot be combined: debounce sets the delay. Drop at=, or use Dedup(mode="simple").',
    ),
    (
        lambda: flow_of({"concurrency_key": "to"}, {"group": "a"}, ORDERED),
        ("concurrency_key", "group"),
        (
            "concurrency_key 'c_1' and the ordered group 'a' (concurrency=1) cannot be combined: "
            "the group would wait for a key of others. Make the group the key, or drop concurrency_key=."
        ),
    ),
    (
        lambda: flow_of({"concurrency": 1, "on_conflict": "cancel_running"}, {"group": "a"}, ORDERED),
        ("on_conflict", "group"),
        (
            "cancel_running and the ordered group 'a' (concurrency=1) cannot be combined: "
            'cancelling would undo the order. Use on_conflict="queue".'
        ),
    ),
    (
        lambda: flow_of({}, {"group": "a", "dedup": KEEP_LAST}, ORDERED),
        ("keep_last", "group"),
        (
            "keep_last with key 'k' and the ordered group 'a' (concurrency=1) cannot be combined: "
            'both decide the order. Make the group the key, or use Dedup(mode="simple").'
        ),
    ),
    (
        lambda: Queue("q").handler("h", concurrency=1, on_conflict="cancel_running", dedup=KEEP_LAST)(nothing),
        ("on_conflict", "keep_last"),
        (
            "cancel_running and keep_last cannot be combined: cancelling would undo the order. "
            'Use on_conflict="queue", or Dedup(mode="simple").'
        ),
    ),
    (
        lambda: flow_of({}, {"dedup": Dedup("k", scope="group")}),
        ("dedup", "group"),
        'Dedup(scope="group") needs a group: give group=, or leave scope out.',
    ),
    (
        lambda: flow_of({"rate_limit": RateLimit(5), "concurrency": 3}, {"rate_key": "x"}),
        ("rate_key", "concurrency"),
        (
            "rate_key='x' cannot be a key of the rate limit of 'send', which counts all its jobs together. "
            "Declare rate_key= at the handler, or name a limit in Queue(limits={...})."
        ),
    ),
    (
        batch_rules(on_conflict="cancel_running"),
        ("on_conflict", "batch"),
        'cancel_running and batch cannot be combined: a batch has no single victim. Use on_conflict="queue".',
    ),
    (
        batch_rules(concurrency_key="to", batch_key="n"),
        ("concurrency_key", "batch"),
        (
            "concurrency_key and batch cannot be combined unless the batch has the same key: a batch takes one place. "
            "Give both the same key, or drop concurrency_key=."
        ),
    ),
    (
        batch_rules(dedup=DEBOUNCE),
        ("debounce", "batch"),
        "debounce and batch cannot be combined: a batch waits already. Drop dedup=, and give the batch quiet=.",
    ),
    (
        lambda: batched("a", dedup=KEEP_LAST),
        ("keep_last", "batch"),
        (
            "keep_last and batch cannot be combined: one keeps a single job, the other collects many. "
            'Drop one of them, or use Dedup(mode="simple").'
        ),
    ),
    (
        lambda: batched("a", "shop"),
        ("group", "batch key"),
        (
            "group 'shop' and batch key 'a' cannot be combined: a batch never mixes groups. "
            "Make the group part of the key, or leave the key out."
        ),
    ),
]


@pytest.mark.parametrize(("built", "options", "text"), [pytest.param(*row, id=" x ".join(row[1])) for row in REFUSED])
def test_a_pair_without_a_meaning_is_refused(built: Callable[[], object], options: tuple[str, ...], text: str) -> None:
    with pytest.raises(ConflictingOptions) as caught:
        built()
    assert str(caught.value) == text
    assert caught.value.options == options
    assert isinstance(caught.value, ConfigError)


def test_pairs_with_a_meaning_pass() -> None:
    assert flow_of({"concurrency_key": "group"}, {"group": "shop"}, ORDERED) is not None
    assert flow_of({"concurrency": 1, "on_conflict": "cancel_running"}, {"group": "a"}) is not None
    assert flow_of({"concurrency": 1, "on_conflict": "cancel_running"}, {}, ORDERED) is not None
    assert flow_of({}, {"dedup": Dedup("k"), "delay": 5}) is not None
    assert flow_of({}, {"dedup": DEBOUNCE, "delay": 0}) is not None
    assert batched("a", dedup=Dedup("k")) is not None
    batch_rules(concurrency_key="to", batch_key="to")()


def test_a_staggered_job_keeps_its_flow_and_cannot_be_debounced() -> None:
    queue = Queue("q")
    plain = queue.spec("send", group="a")
    later = sending.staggered([plain, plain], 1, 2.0)
    assert [one.flow for one in later] == [Flow(("g:a",))] * 2
    assert [one.options.when for one in later] == ["0", "+2000"]
    with pytest.raises(ConflictingOptions, match="debounce and delay"):
        sending.staggered([queue.spec("send", dedup=DEBOUNCE)] * 2, 1, 2.0)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "g:shop_42",
            (
                "group 'shop_42' is ordered (concurrency=1) and its line runs at NORMAL; "
                "priority=HIGH would break the order."
            ),
        ),
        ("d.k", "key 'k' is ordered and its line runs at NORMAL; priority=HIGH would break the order."),
    ],
)
def test_another_priority_than_that_of_an_ordered_line(line: str, text: str) -> None:
    error = pairs.out_of_order(line, "NORMAL", "HIGH")
    assert str(error) == text
    assert error.options[0] == "priority"


# -- options where they enter ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "handler", "said"),
    [
        ({}, {"rate_key": "to"}, r"rate_key='to': says what rate_limit= counts by; give that, too"),
        ({}, {"on_limit": "drop"}, r"on_limit='drop': has no limit to meet; give rate_limit="),
        ({}, {"key_concurrency": 2}, r"key_concurrency=2: is for each value of concurrency_key="),
        ({}, {"on_conflict": "drop"}, r"on_conflict='drop': has no places to meet"),
        ({}, {"concurrency_key": "too"}, r"concurrency_key='too': 'too' is no argument of the handler; it takes to"),
        ({}, {"rate_limit": RateLimit(1), "rate_key": "too"}, r"rate_key='too': 'too' is no argument"),
        ({}, {"dedup": Dedup(by=("to", "too"))}, r"Dedup\(by\)=\('to', 'too'\): 'too' is no argument"),
        ({"limits": {"h": 5}}, {"rate_limit": RateLimit(1)}, r"limit 'h' of the queue has this handler's name"),
    ],
)
def test_an_option_without_effect_is_refused(queue: Any, handler: Any, said: str) -> None:
    app = Queue("q", **queue)

    async def send(to: str) -> None: ...

    with pytest.raises(ConfigError, match=said):
        app.handler("h", **handler)(send)


@pytest.mark.parametrize(
    "queue", [{"limits": {"a": RateLimit(5)}}, {"group": Group(rate=RateLimit(5))}], ids=["limits", "group"]
)
def test_on_limit_may_be_for_a_limit_of_the_queue(queue: Any) -> None:
    Queue("q", **queue).handler("h", on_limit="drop")(nothing)


# -- what a worker declares --------------------------------------------------------------------------------------------


def test_what_is_declared() -> None:
    app = Queue(
        "q",
        rate_limit=RateLimit(50),
        global_concurrency=200,
        group=Group(concurrency=5, rate=RateLimit(10), size=10_000, weight=2),
        limits={"twilio": RateLimit(80, per=60, burst=8), "slots": 3},
    )

    @app.handler("sms:send", concurrency=20, rate_limit=RateLimit(10), rate_key="to", concurrency_key="to")
    async def send(to: str) -> None: ...

    app.handler("mail", rate_limit=RateLimit(7), concurrency=2)(nothing)
    app.handler("plain")(nothing)
    day = RateLimit(9, per=timedelta(days=1), align="clock", tz="Europe/Athens")
    app.handler("fax", rate_limit=day)(nothing)
    found = declared(app.wiring.registry.flow, {name: one.flow for name, one in app.handlers.items()}, 0)
    assert found == {
        "q": GateConfig(concurrency=200, count=50, per_ms=1000),
        "g": GateConfig(concurrency=5, count=10, per_ms=1000, size=10_000, weight=2.0, reserve=0.1),
        "r.twilio": GateConfig(count=80, per_ms=60_000, burst=8),
        "r.slots": GateConfig(concurrency=3),
        "h.sms:send": GateConfig(concurrency=20),
        "r.sms:send": GateConfig(count=10, per_ms=1000),
        "k.sms:send": GateConfig(concurrency=1),
        "h.mail": GateConfig(count=7, per_ms=1000, concurrency=2),
        "r.mail": GateConfig(count=7, per_ms=1000),
        "h.fax": GateConfig(count=9, per_ms=86_400_000, offset_ms=22 * 3_600_000),
        "r.fax": GateConfig(count=9, per_ms=86_400_000, offset_ms=22 * 3_600_000),
    }


def test_nothing_is_declared_for_a_plain_queue() -> None:
    assert declared(QueueFlow(), {"a": None, "b": HandlerFlow(dedup=Dedup("k"))}, 0) == {}


# -- whatever is asked for -------------------------------------------------------------------------------------------

text = st.text(min_size=1, max_size=40).filter(str.isprintable)
rates = st.builds(RateLimit, st.integers(1, 5), st.sampled_from([1.0, 60.0]), burst=st.none() | st.integers(1, 5))
keys = st.none() | st.sampled_from(["to", "n", "missing"]) | st.just(to_and_n)
dedups = (
    st.builds(Dedup, text, mode=st.sampled_from(["simple", "keep_last"]), scope=st.sampled_from(["queue", "group"]))
    | st.builds(Dedup, text, mode=st.sampled_from(["throttle", "debounce"]), ttl=st.just(5))
    | st.builds(Dedup, by=st.just(("to", "n")))
    | st.builds(Dedup, by=st.just(("missing",)))
)
rules = st.builds(
    HandlerFlow,
    concurrency=st.none() | st.integers(1, 9),
    rate_limit=st.none() | rates,
    rate_key=keys,
    on_limit=st.sampled_from(["wait", "drop", "bury"]),
    concurrency_key=keys,
    on_conflict=st.sampled_from(["queue", "drop", "cancel_running"]),
    dedup=st.none() | dedups,
    batch=st.none() | st.builds(Batch, st.integers(1, 9)),
    batch_key=keys,
)
queues = st.builds(
    QueueFlow,
    rate_limit=st.none() | rates,
    group=st.none() | st.builds(Group, st.none() | st.integers(1, 2), st.none() | rates),
    limits=st.dictionaries(st.sampled_from(["a", "b"]), rates | st.integers(1, 9)),
)
options = st.builds(
    Checked,
    when=st.sampled_from(["0", "+5", "@99"]),
    group=st.none() | text,
    rate_key=st.none() | st.sampled_from(["a", "b", "c"]),
    cost=st.integers(1, 6),
    dedup=st.none() | dedups,
)
values = st.text(max_size=300) | st.integers() | st.floats() | st.none() | st.binary() | st.just(object()) | st.dates()


@given(queues, st.none() | rules, options, values, values)
def test_a_plan_is_a_flow_or_a_streamq_error(
    queue: QueueFlow, handler: HandlerFlow | None, job: Checked, to: Any, n: Any
) -> None:
    try:
        flow = plan(queue, handler, "sms:send", job, lambda: {"to": to, "n": n})
    except StreamqError:
        return
    if flow is None:
        assert job.group is None
        assert job.rate_key is None
        return
    assert flow.gates or flow.dedup or flow.line
    assert len(set(flow.gates)) == len(flow.gates)
    for name in (*flow.gates, flow.line):
        assert name.isprintable()
        assert ">" not in name
    order = ["gh rkd".index(name[0]) for name in flow.gates]
    assert order == sorted(order)
    classes = [re.sub("=.*", "", name) for name in flow.gates]
    rated = [one for one in declared(queue, {"sms:send": handler}, 0) if one not in "qg"]
    assert set(classes) & {"r.sms:send", "k.sms:send"} <= set(rated), "whatever has a class is declared"
    if flow.ordered:
        assert flow.batch is not None or flow.line in flow.gates
