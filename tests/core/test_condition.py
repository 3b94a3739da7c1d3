"""Conditions on arguments: data that travels, is evaluated without raising, and reads well."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamq import Arg
from streamq._core import condition as _condition
from streamq._core.condition import Condition, checked, decode, encode, from_wire, to_wire
from streamq.errors import ConfigError


class Colour(StrEnum):
    RED = "red"


class Address(msgspec.Struct):
    country: str
    lines: list[str] = []


class Model(pydantic.BaseModel):
    country: str


JOB: dict[str, Any] = {
    "country": "GR",
    "n": 5,
    "ratio": 0.5,
    "ok": True,
    "none": None,
    "items": [{"sku": "a"}, {"sku": "b"}],
    "headers": {"x.y": 1, "list": [1, 2]},
    "address": Address("CY", ["one"]),
    "model": Model(country="DE"),
    "colour": Colour.RED,
    "id": UUID(int=1),
    "at": datetime(2030, 1, 1, tzinfo=UTC),
    "odd": object(),
}

HOLDS: list[Condition] = [
    Arg("country") == "GR",
    Arg("country") != "CY",
    Arg("country") < "GS",
    Arg("country") >= "GR",
    Arg("country").startswith("G"),
    Arg("country").in_("CY", "GR"),
    Arg("country").in_(["DE", "GR"]),
    Arg("country").in_({"GR"}),
    Arg("n") == 5,
    Arg("n") == 5.0,
    Arg("n") != "5",
    Arg("n") > 4.5,
    Arg("n") <= 5,
    Arg("ratio") < 1,
    Arg("ok") == True,  # noqa: E712 - that is how it is written
    Arg("ok") != 1,
    Arg("n") != True,  # noqa: E712 - that is how it is written
    Arg("none") == None,  # noqa: E711 - that is how it is written
    Arg("none") != "x",
    Arg("items")[0]["sku"] == "a",
    Arg("items", -1, "sku") == "b",
    Arg("headers")["x.y"] == 1,
    Arg("headers.list")[1] == 2,
    Arg("address.country") == "CY",
    Arg("address.lines")[0] == "one",
    Arg("model.country") == "DE",
    Arg("colour") == "red",
    Arg("id") == "00000000-0000-0000-0000-000000000001",
    Arg("at") >= "2030",
    (Arg("country") == "GR") & (Arg("n") == 5),
    (Arg("country") == "CY") | (Arg("n") == 5),
    ~(Arg("country") == "CY"),
    ~(Arg("missing") == 1),
]

FAILS: list[Condition] = [
    Arg("country") == "CY",
    Arg("country") == 1,
    Arg("country") > 1,
    Arg("country").startswith("R"),
    Arg("country").in_("CY", 1, None),
    Arg("n") < "6",
    Arg("n") == True,  # noqa: E712 - that is how it is written
    Arg("n").startswith("5"),
    Arg("ok") > 0,
    Arg("ok") == 1,
    Arg("ok").in_(1),
    Arg("none") < 1,
    Arg("missing") == None,  # noqa: E711 - that is how it is written
    Arg("missing") != "x",
    Arg("missing").in_(None, "x"),
    Arg("missing.deeper")[3] == 1,
    Arg("items")[2]["sku"] == "a",
    Arg("items")["sku"] == "a",
    Arg("items") == "a",
    Arg("country")[0] == "G",
    Arg("country.n") == 1,
    Arg("odd") == 1,
    Arg("odd") != 1,
    Arg("odd.deeper") == 1,
    (Arg("country") == "GR") & (Arg("n") == 6),
    (Arg("country") == "CY") | (Arg("n") == 6),
    ~(Arg("country") == "GR"),
]


@pytest.mark.parametrize("condition", HOLDS, ids=str)
def test_it_holds(condition: Condition) -> None:
    assert condition.matches(JOB)


@pytest.mark.parametrize("condition", FAILS, ids=str)
def test_it_does_not_hold(condition: Condition) -> None:
    assert not condition.matches(JOB)


@pytest.mark.parametrize("condition", HOLDS + FAILS, ids=str)
def test_it_travels_as_msgpack_and_as_json(condition: Condition) -> None:
    assert decode(encode(condition)) == condition
    assert from_wire(msgspec.json.decode(msgspec.json.encode(to_wire(condition)))) == condition
    assert decode(encode(condition)).matches(JOB) == condition.matches(JOB)


def test_a_value_may_stand_first() -> None:
    country, n = Arg("country"), Arg("n")
    first: Any = "GR" == country  # noqa: SIM300 - the point
    assert first.matches({"country": "GR"})
    assert str(5 < n) == "n > 5"  # noqa: SIM300 - the point


def test_on_the_wire_it_is_plain_data() -> None:
    condition = (Arg("country") == "GR") & ~Arg("items")[0].in_(1, 2)
    assert to_wire(condition) == ["and", ["==", ["country"], "GR"], ["not", ["in", ["items", 0], [1, 2]]]]


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (Arg("country") == "GR", "country == 'GR'"),
        (Arg("address.lines")[0] != None, "address.lines[0] != None"),  # noqa: E711 - that is how it is written
        (Arg("headers")["x.y"] > 1.5, "headers['x.y'] > 1.5"),
        (Arg("country").in_("GR", "CY"), "country in ('GR', 'CY')"),
        (Arg("country").startswith("G"), "country starts with 'G'"),
        (~(Arg("a") == 1), "not a == 1"),
        ((Arg("a") == 1) & (Arg("b") == 2) & (Arg("c") == 3), "a == 1 and b == 2 and c == 3"),
        ((Arg("a") == 1) & (Arg("b") == 2) | (Arg("c") == 3), "(a == 1 and b == 2) or c == 3"),
        (~((Arg("a") == 1) | (Arg("b") == 2)), "not (a == 1 or b == 2)"),
    ],
)
def test_it_reads_well(condition: Condition, text: str) -> None:
    assert str(condition) == text
    assert repr(condition) == f"<Condition {text}>"


def numbered(*rows: tuple[Callable[[], object], str]) -> list[Any]:
    return [pytest.param(*row, id=str(number)) for number, row in enumerate(rows)]


def by_function(job: dict[str, Any]) -> bool:
    return bool(job)


@pytest.mark.parametrize(
    ("made", "said"),
    numbered(
        (lambda: Arg(""), r"Arg\(name\)='': give the name"),
        (lambda: Arg("a..b"), r"Arg\(name\)='a..b'"),
        (lambda: Arg(5), r"Arg\(name\)=5"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - wrong on purpose
        (lambda: Arg("a")[1.5], r"Arg\(name\)=1.5"),  # type: ignore[index]  # pyright: ignore[reportArgumentType] - wrong on purpose
        (lambda: Arg("a")[True], r"Arg\(name\)=True"),
        (lambda: Arg("a") == Arg("b"), r"where: a ===<Arg b>: a field is compared with a value"),
        (lambda: Arg("a") == by_function, r"a function cannot be stored in Redis"),
        (lambda: Arg("a") == object(), r"compare with text, a number"),
        (lambda: Arg("a") == datetime.now(UTC), r"write dates and enums as text"),
        (lambda: Arg("a") == Colour.RED, r"write dates and enums as text"),
        (lambda: Arg("a") == [1], r"compare with text"),
        (lambda: Arg("a") == math.inf, r"compare with text"),
        (lambda: Arg("a") == 2**64, r"at most 64 bits"),
        (lambda: Arg("a") == "x" * 1001, r"at most 1000 characters"),
        (lambda: Arg("a") == "\ud800", r"all of them valid"),
        (lambda: Arg("a") > True, r"compare with text or a number"),
        (lambda: Arg("a") > None, r"compare with text or a number"),  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue] - wrong on purpose
        (lambda: Arg("a").in_(), r"give 1 to 1000 values"),
        (lambda: Arg("a").in_([]), r"give 1 to 1000 values"),
        (lambda: Arg("a").in_(range(1001)), r"give 1 to 1000 values"),
        (lambda: Arg("a").in_(by_function), r"a function cannot be stored"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - wrong on purpose
        (lambda: Arg("a").in_(list(range(1001))), r"give 1 to 1000 values"),
        (lambda: Arg("a").startswith(1), r"give text"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - wrong on purpose
        (lambda: checked("where", by_function), r"where=<function by_function.*give a condition such as"),
        (lambda: checked("where", lambda: True), r"stored in Redis and evaluated by every worker"),
        (lambda: checked("where", Arg("a")), r"give a comparison of it"),
        (lambda: checked("where", "country == 'GR'"), r"give a condition such as"),
    ),
)
def test_what_cannot_be_one_is_refused(made: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made()


A: Any = Arg("a")
B: Any = Arg("b") == 2


@pytest.mark.parametrize(
    ("written", "said"),
    numbered(
        (lambda: (A == 1) and B, r"whether a == 1 holds is decided by the worker; join conditions by & \| ~"),
        (lambda: (A == 1) or B, r"join conditions"),
        (lambda: not (A == 1), r"join conditions"),  # noqa: SIM201 - the point
        (lambda: 1 < A < 5, r"a chain such as"),
        (lambda: A in ["x", "y"], r"join conditions"),
        (lambda: bool(A), r"has no value here; compare it"),
        (lambda: "x" in A, r"not iterable|not a container"),
        (lambda: list(A), r"not iterable"),
        (lambda: {A}, r"unhashable"),
        (lambda: A & B, r"put each comparison in parentheses"),
        (lambda: A == 1 & A == 2, r"put each comparison in parentheses"),
        (lambda: B | A, r"or joins conditions"),
        (lambda: B & True, r"and joins conditions, and True is none"),
        (lambda: ~A, r"put the comparison in parentheses"),
    ),
)
def test_what_people_write_by_mistake_is_told(written: Callable[[], object], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        written()


def test_a_condition_has_bounds() -> None:
    wide = functools.reduce(lambda one, other: one | other, [B] * 100)
    with pytest.raises(ConfigError, match=r"<101 comparisons>.*at most 100"):
        _ = wide | B
    deep = functools.reduce(lambda one, _: ~one, range(20), B)
    with pytest.raises(ConfigError, match=r"nested 20 deep"):
        _ = ~deep


@pytest.mark.parametrize(
    "data",
    [
        None,
        5,
        [],
        ["=="],
        ["==", ["a"]],
        ["==", [], 1],
        ["==", "a", 1],
        ["==", ["a"], 1, 2],
        ["==", ["a"], {"b": 1}],
        ["==", [1.5], 1],
        ["~=", ["a"], 1],
        ["in", ["a"], 5],
        ["and", ["==", ["a"], 1]],
        ["not", ["==", ["a"], 1], ["==", ["a"], 1]],
        [["=="], ["a"], 1],
    ],
)
def test_what_is_none_on_the_wire_is_refused(data: Any) -> None:
    with pytest.raises(ConfigError):
        decode(msgspec.msgpack.encode(data))


def test_a_bomb_is_refused() -> None:
    with pytest.raises(ConfigError):
        decode(b"\x92\xa3not" * 100_000)


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
plain = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@given(st.binary() | plain.map(msgspec.msgpack.encode))
@example(msgspec.msgpack.encode(["in", ["a"], ["x"] * 1001]))
def test_hostile_bytes_are_a_config_error_or_a_condition(data: bytes) -> None:
    try:
        found = decode(data)
    except ConfigError:
        return
    assert decode(encode(found)) == found


text = st.text(st.characters(codec="utf-8"), max_size=20)


def arg(name: str, path: list[str | int]) -> Arg:
    return Arg(name, *path)


def join(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    return (
        st.builds(Condition.__and__, inner, inner)
        | st.builds(Condition.__or__, inner, inner)
        | st.builds(Condition.__invert__, inner)
    )


parts = st.lists(st.one_of(st.integers(-3, 3), st.sampled_from(["x", "x.y"])), max_size=2)
args = st.builds(arg, st.sampled_from(["a", "b.c", "d"]), parts)
value = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | text
ordered = st.integers(-(2**63), 2**64 - 1) | text
comparisons: st.SearchStrategy[Condition] = st.one_of(
    *(st.builds(compare, args, value) for compare in (operator.eq, operator.ne)),
    *(st.builds(compare, args, ordered) for compare in (operator.lt, operator.le, operator.gt, operator.ge)),
    st.builds(Arg.in_, args, st.lists(value, min_size=1, max_size=3)),
    st.builds(Arg.startswith, args, text),
)
conditions: st.SearchStrategy[Condition] = st.recursive(comparisons, join, max_leaves=8)
anything = st.recursive(
    scalars | st.just(object()) | st.just(Address("GR")) | st.just(Colour.RED) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c", "x", "x.y"]), inner, max_size=3)
    ),
)


@given(conditions, st.dictionaries(st.sampled_from(["a", "b", "d"]), anything))
def test_any_condition_travels_and_answers_for_any_arguments(condition: Condition, job: dict[str, Any]) -> None:
    assert decode(encode(condition)) == condition
    assert from_wire(msgspec.json.decode(msgspec.json.encode(to_wire(condition)))) == condition
    answer = condition.matches(job)
    assert answer is decode(encode(condition)).matches(job)
    assert (~condition).matches(job) is not answer
    assert str(condition)


@given(conditions, conditions, st.dictionaries(st.sampled_from(["a", "b", "d"]), anything))
def test_joins_are_those_of_logic(one: Condition, other: Condition, job: dict[str, Any]) -> None:
    assert (one & other).matches(job) == (one.matches(job) and other.matches(job))
    assert (one | other).matches(job) == (one.matches(job) or other.matches(job))


def test_bounds_are_those_of_the_documentation() -> None:
    assert (_condition.MOST_TERMS, _condition.MOST_VALUES, _condition.MOST_DEPTH) == (100, 1000, 20)
