"""A handler's signature as a codec: what goes on the wire, what comes back, what is refused and why."""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib.util
import itertools
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest

from streamq import Context, Depends, Queue
from streamq._core.signature import Signature
from streamq.errors import ConfigError, InvalidPayload
from streamq.handler import is_dependency


def signature_of(function: Callable[..., Any]) -> Signature:
    return Signature("mail:send", function, is_dependency)


def wire(signature: Signature, *args: Any, **kwargs: Any) -> Any:
    """What a foreign client would see of a call: the payload as plain values."""
    return msgspec.msgpack.decode(signature.encode(signature.bind(args, kwargs)))


def received(signature: Signature, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the handler is called with after the call went over the wire."""
    return signature.call_with(signature.decode(signature.encode(signature.bind(args, kwargs))))


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(msgspec.Struct):
    x: int
    y: int = 0


@dataclasses.dataclass
class Money:
    amount: Decimal
    currency: str = "EUR"


class Address(TypedDict):
    city: str
    zip: NotRequired[str]


class User(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(ge=0)


class Team(msgspec.Struct):
    lead: User
    members: list[User] = []


async def send(contact_id: str, body: str, channel: str = "sms") -> str:
    return contact_id + body + channel


class Connection:
    """Nothing msgspec or pydantic could decode."""


def connect() -> Connection:
    return Connection()


# -- binding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("c", "hi"), {}),
        (("c",), {"body": "hi"}),
        ((), {"body": "hi", "contact_id": "c"}),
        (("c", "hi", "sms"), {}),
        (("c", "hi"), {"channel": "sms"}),
    ],
)
def test_every_way_to_call_gives_the_handler_the_same(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert received(signature_of(send), *args, **kwargs) == (("c", "hi", "sms"), {})


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        (("a", "b", "c", "d"), {}, "takes 3 arguments, 4 given"),
        (("a", "b"), {"body": "c"}, "'body' is given twice"),
        (("a", "b"), {"chanel": "c"}, "unknown argument 'chanel'; it takes contact_id, body, channel"),
    ],
)
def test_arguments_that_fit_nowhere_are_refused(args: tuple[Any, ...], kwargs: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidPayload) as caught:
        signature_of(send).bind(args, kwargs)
    assert caught.value.handler == "mail:send"
    assert caught.value.problem == problem


def test_a_handler_without_arguments_says_so() -> None:
    def nothing() -> None: ...

    with pytest.raises(InvalidPayload, match="unknown argument 'a'; it takes none"):
        signature_of(nothing).bind((), {"a": 1})
    assert wire(signature_of(nothing)) == {}


@pytest.mark.parametrize(
    ("args", "problem"),
    [(("c",), "missing required field `body`"), (("c", 5), "Expected `str`, got `int` - at `$.body`")],
)
def test_missing_and_wrong_arguments_are_refused_before_anything_is_sent(args: tuple[Any, ...], problem: str) -> None:
    signature = signature_of(send)
    with pytest.raises(InvalidPayload) as caught:
        signature.encode(signature.bind(args, {}))
    assert problem in str(caught.value)


# -- defaults --------------------------------------------------------------------------------------------------------


def test_defaults_stay_out_of_the_payload_and_are_filled_in_by_the_worker() -> None:
    signature = signature_of(send)
    assert wire(signature, "c", "hi") == {"contact_id": "c", "body": "hi"}
    assert received(signature, "c", "hi") == (("c", "hi", "sms"), {})


def test_a_job_sent_before_a_parameter_was_added_runs_with_its_default() -> None:
    async def older(contact_id: str) -> None: ...
    async def newer(contact_id: str, locale: str = "el") -> None: ...

    payload = signature_of(older).encode({"contact_id": "c"})
    assert signature_of(newer).call_with(signature_of(newer).decode(payload)) == (("c", "el"), {})


def test_a_job_sent_before_a_parameter_was_removed_runs_without_it() -> None:
    async def older(contact_id: str, locale: str) -> None: ...
    async def newer(contact_id: str) -> None: ...

    payload = signature_of(older).encode({"contact_id": "c", "locale": "el"})
    assert signature_of(newer).call_with(signature_of(newer).decode(payload)) == (("c",), {})


def test_a_default_may_be_anything_even_what_could_not_travel() -> None:
    sentinel = object()

    def handler(a: int = sentinel, b: list[int] = []) -> None: ...  # type: ignore[assignment]  # noqa: B006  # pyright: ignore[reportArgumentType]

    (first, second), _ = received(signature_of(handler))
    assert first is sentinel
    assert second == []


# -- types -----------------------------------------------------------------------------------------------------------

NOON = datetime(2030, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)

TRAVELLERS: list[tuple[Any, Any]] = [
    (int, -(2**63)),
    (int, 2**64 - 1),
    (float, 0.1),
    (bool, True),
    (str, "Ωμέγα 🚀"),
    (bytes, b"\x00\xff"),
    (None, None),
    (int | None, None),
    (str | int, 7),
    (list[int], [1, 2]),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (set[str], {"a"}),
    (frozenset[int], frozenset({1})),
    (dict[str, list[int]], {"a": [1]}),
    (dict[int, str], {1: "a"}),
    (Literal["sms", "mail"], "mail"),
    (datetime, NOON),
    (date, date(2030, 1, 1)),
    (timedelta, timedelta(days=1, microseconds=5)),
    (Decimal, Decimal("10.10")),
    (UUID, UUID(int=7)),
    (Colour, Colour.BLUE),
    (Point, Point(1, 2)),
    (list[Point], [Point(1)]),
    (Money, Money(Decimal("9.99"))),
    (Address, {"city": "Athens"}),
    (Annotated[int, msgspec.Meta(ge=0)], 3),
    (User, User(name="Ada", age=36)),
    (list[User], [User(name="Ada", age=36), User(name="Bob", age=1)]),
    (dict[str, User], {"a": User(name="Ada", age=36)}),
    (User | None, User(name="Ada", age=36)),
    (Team, Team(User(name="Ada", age=36), [User(name="Bob", age=1)])),
    (Any, {"a": [1, None, "x"]}),
]


@pytest.mark.parametrize(("hint", "value"), TRAVELLERS, ids=[f"{n}-{hint}" for n, (hint, _) in enumerate(TRAVELLERS)])
def test_a_value_arrives_as_it_was_sent(hint: Any, value: Any) -> None:
    def handler(value: Any) -> None: ...

    handler.__annotations__["value"] = hint
    (found,), _ = received(signature_of(handler), value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("hint", "wrong"),
    [
        (int, "5"),
        (int, 1.5),
        (str, b"bytes"),
        (str, None),
        (str, "\udc80"),
        (int, 2**64),
        (datetime, "tomorrow"),
        (UUID, "not-a-uuid"),
        (Decimal, "abc"),
        (Colour, "green"),
        (Point, {"y": 1}),
        (Address, {"zip": "1"}),
        (list[int], [1, "2"]),
        (Annotated[int, msgspec.Meta(ge=0)], -1),
        (Annotated[str, msgspec.Meta(max_length=3)], "four"),
        (User, {"name": "Ada", "age": -1}),
        (list[User], [{"name": "Ada"}]),
        (Literal["sms"], "mail"),
        (Any, Connection()),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(hint: Any, wrong: Any) -> None:
    def handler(value: Any) -> None: ...

    handler.__annotations__["value"] = hint
    with pytest.raises(InvalidPayload, match="arguments of 'mail:send': "):
        wire(signature_of(handler), wrong)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_nesting_without_end_is_refused_on_both_sides() -> None:
    def handler(value: Any) -> None: ...

    with pytest.raises(InvalidPayload, match="nested too deeply"):
        wire(signature_of(handler), nested(100_000))
    with pytest.raises(InvalidPayload, match="nested too deeply"):
        signature_of(handler).decode(b"\x81\xa5value" + b"\x91" * 100_000 + b"\x90")


def test_a_long_problem_is_cut() -> None:
    def handler(value: User) -> None: ...

    with pytest.raises(InvalidPayload) as caught:
        wire(signature_of(handler), {"x" * 100_000: 1})
    assert len(str(caught.value)) < 600


def test_values_of_a_job_by_name_are_refused_as_those_of_a_handler_are() -> None:
    producer = Queue("mail")
    for wrong in (2**64, "\udc80", Connection(), nested(100_000), 1j):
        with pytest.raises(InvalidPayload):
            producer.spec("mail:send", {"value": wrong})


# -- any client ------------------------------------------------------------------------------------------------------

BOOKING = """
{
  "at": "2030-01-01T12:00:00.25Z", "day": "2030-01-01", "wait": "PT90S", "price": "10.10", "ref":
  "00000000-0000-0000-0000-000000000007", "colour": "blue", "point": {"x": 1}, "money": {"amount": "1"},
  "address": {"city": "Athens"}, "user": {"name": "Ada", "age": 36}, "tags": ["a", "a"], "pair": [1, "b"], "share": 1,
  "unknown": "is ignored"
}
"""


def test_a_json_object_from_any_client_maps_onto_a_handler() -> None:
    def book(  # noqa: PLR0917 - one of each
        at: datetime,
        day: date,
        wait: timedelta,
        price: Decimal,
        ref: UUID,
        colour: Colour,
        point: Point,
        money: Money,
        address: Address,
        user: User,
        tags: set[str],
        pair: tuple[int, str],
        share: float,
        note: str | None = None,
    ) -> None: ...

    signature = signature_of(book)
    args, kwargs = signature.call_with(signature.decode(msgspec.msgpack.encode(json.loads(BOOKING))))
    assert kwargs == {}
    assert args == (
        NOON,
        date(2030, 1, 1),
        timedelta(seconds=90),
        Decimal("10.10"),
        UUID(int=7),
        Colour.BLUE,
        Point(1),
        Money(Decimal(1)),
        {"city": "Athens"},
        User(name="Ada", age=36),
        {"a"},
        (1, "b"),
        1.0,
        None,
    )


@pytest.mark.parametrize(
    "payload", [b"", b"\xc0", b"\x93\x01\x02\x03", b"\xc1", b"\x81\xa1a", b"\x80\x80", b"\x81\x01\x01"]
)
def test_bytes_that_are_no_map_of_arguments_are_refused(payload: bytes) -> None:
    with pytest.raises(InvalidPayload):
        signature_of(send).decode(payload)


# -- what is injected ------------------------------------------------------------------------------------------------


def test_a_leading_context_is_no_argument() -> None:
    async def handler(ctx: Context, a: int, b: int = 2) -> None: ...
    async def annotated(ctx: Annotated[Context, "the attempt"], a: int) -> None: ...
    async def positional(ctx: Context, /, a: int) -> None: ...
    async def only(ctx: Context) -> None: ...

    for function, names in ((handler, ("a", "b")), (annotated, ("a",)), (positional, ("a",)), (only, ())):
        signature = signature_of(function)
        assert signature.wants_context
        assert signature.names == names
    assert received(signature_of(handler), 1) == ((1, 2), {})
    assert received(signature_of(positional), 1) == ((), {"a": 1})
    with pytest.raises(InvalidPayload, match="unknown argument 'ctx'"):
        signature_of(handler).bind((), {"ctx": 1, "a": 1})


def test_a_first_parameter_of_any_type_is_an_argument() -> None:
    def untyped(ctx, a=1): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # pyright: ignore[reportMissingParameterType, reportUnknownParameterType]
    def anything(ctx: Any) -> None: ...

    functions: list[Any] = [untyped, anything]
    for function in functions:
        assert not signature_of(function).wants_context
    assert received(signature_of(functions[0]), {"x": 1}) == (({"x": 1}, 1), {})


def test_dependencies_stay_out_of_the_payload_and_cannot_be_passed() -> None:
    def handler(a: int, connection: Connection = Depends(connect), *, b: int = 2) -> None: ...

    signature = signature_of(handler)
    assert signature.names == ("a", "b")
    assert list(signature.dependencies) == ["connection"]
    assert wire(signature, 1) == {"a": 1}
    assert received(signature, 1, b=3) == ((), {"a": 1, "b": 3})
    with pytest.raises(InvalidPayload, match="'connection' is injected by the worker and cannot be enqueued"):
        signature.bind((1,), {"connection": Connection()})
    with pytest.raises(InvalidPayload, match="takes 2 arguments, 3 given"):
        signature.bind((1, 2, 3), {})


def test_keyword_only_parameters_are_passed_by_keyword() -> None:
    def handler(a: int, *, b: int, c: int = 3) -> None: ...

    signature = signature_of(handler)
    assert received(signature, 1, b=2) == ((), {"a": 1, "b": 2, "c": 3})
    args, kwargs = received(signature, a=1, b=2)
    handler(*args, **kwargs)


def test_the_declared_return_type_is_kept_for_results() -> None:
    def handler() -> list[Point]: ...  # type: ignore[empty-body]
    def unsaid(): ...  # type: ignore[no-untyped-def] # noqa: ANN202

    assert signature_of(handler).returns == list[Point]
    assert signature_of(unsaid).returns is Any


# -- refusals at declaration -----------------------------------------------------------------------------------------


def starred(*values: int) -> None: ...


def double_starred(**values: int) -> None: ...


def positional_only(a: int, /, b: int) -> None: ...


def late_context(a: int, ctx: Context) -> None: ...


def keyword_context(*, ctx: Context) -> None: ...


def starred_context(*ctx: Context) -> None: ...


def maybe_context(ctx: Context | None, a: int) -> None: ...


def forgot_depends(connection: Connection) -> None: ...


def hidden_connection(connections: dict[str, list[Connection | None]]) -> None: ...


def two_structs(value: Point | Team) -> None: ...


def complex_number(value: complex) -> None: ...


class CallableObject:
    def __call__(self, a: int) -> None: ...


def typing_only() -> ModuleType:
    spec = importlib.util.spec_from_file_location("typing_only", Path(__file__).with_name("typing_only.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("function", "remedy"),
    [
        (starred, r"parameter \*values.* cannot travel by name; use ordinary or keyword-only parameters"),
        (double_starred, r"parameter \*\*values.* cannot travel by name"),
        (positional_only, r"parameter a.* cannot travel by name"),
        (late_context, "Context must be its first parameter, not 'ctx'"),
        (keyword_context, "Context is passed by position"),
        (starred_context, "Context is passed by position"),
        (maybe_context, "Context'> cannot travel"),
        (forgot_depends, r"Connection'> cannot travel; .* inject it: Depends\(\.\.\.\)"),
        (hidden_connection, "Connection'> cannot travel"),
        (two_structs, "msgspec cannot decode its arguments: .*must be tagged"),
        (complex_number, "complex"),
        (typing_only().charge, "name 'Decimal' is not defined.*import it outside TYPE_CHECKING"),
        (functools.partial(send, "c"), "is no function; wrap it in one"),
        (CallableObject(), "is no function; wrap it in one"),
        (CallableObject, "is no function; wrap it in one"),
    ],
    ids=itertools.count(),
)
def test_what_could_not_work_is_refused_when_it_is_declared(function: Callable[..., Any], remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy) as caught:
        signature_of(function)
    assert caught.value.option == "handler"
    assert caught.value.value == "mail:send"


def test_a_method_is_a_function_too() -> None:
    signature = signature_of(CallableObject().__call__)
    assert signature.names == ("a",)
