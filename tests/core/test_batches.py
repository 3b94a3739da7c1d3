"""Batch handlers without a server: options, keys, what a function returns, and contexts."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest

from streamq import BatchContext, BatchItem, Discard, Fixed, JobOptions, RateLimit
from streamq._core import options as _options
from streamq._core.batches import BatchOptions, BatchSpec, Items, OfItem, check_flow, fields_of
from streamq._core.flow import Batch, QueueFlow
from streamq._core.lifecycle import Policy
from streamq._core.options import HandlerOptions
from streamq._core.signature import Signature
from streamq.errors import ConfigError

POLICY = Policy(5, Fixed(0), 30_000)


class Struct(msgspec.Struct, rename={"tenant": "t"}):
    id: int
    tenant: str = "a"

    @property
    def double(self) -> int:
        return self.id * 2


@dataclasses.dataclass
class Data:
    id: int
    tenant: str = "a"


class Named(NamedTuple):
    id: int
    tenant: str = "a"


class Typed(TypedDict):
    id: int
    tenant: str


class Model(pydantic.BaseModel):
    id: int
    tenant: str = "a"


def tenant_of(item: Any) -> Any:
    return Items(item)["tenant"]


def spec_of(function: Any) -> BatchSpec:
    shape = Signature("sync", function, lambda _: False)
    return BatchSpec(shape, POLICY, kind="thread", lane=2, keep_result=False)


def plain(items: list[Any]) -> None: ...


def options_of(**given: Any) -> BatchOptions:
    options: dict[str, Any] = {"size": 100, "wait": None, "quiet": None, "max_delay": None, "key": None}
    return BatchOptions(**{**options, **given})


@pytest.mark.parametrize(
    ("given", "batch"),
    [
        ({"wait": 2.0}, Batch(100, 2000)),
        ({"size": 1, "wait": 0.001}, Batch(1, 1)),
        ({"size": 500, "quiet": 1.5}, Batch(500, 0, 1500)),
        ({"quiet": 2, "max_delay": 2}, Batch(100, 0, 2000, 2000)),
    ],
)
def test_when_a_line_is_handed_out(given: dict[str, Any], batch: Batch) -> None:
    assert options_of(**given).batch() == batch


@pytest.mark.parametrize("kind", [Struct, Data, Named, Typed, Model])
def test_fields_of_types_that_have_some(kind: Any) -> None:
    assert fields_of(kind) == ("id", "tenant")


@pytest.mark.parametrize("kind", [Any, dict[str, Any], Struct | None])
def test_fields_that_only_the_items_know(kind: Any) -> None:
    assert fields_of(kind) is None


@pytest.mark.parametrize("kind", [int, str, list[int], tuple[int, str], datetime])
def test_types_without_fields(kind: Any) -> None:
    assert fields_of(kind) == ()


@pytest.mark.parametrize(
    "item", [Struct(1), Data(1), Named(1), Typed(id=1, tenant="a"), Model(id=1), {"id": 1, "tenant": "a"}]
)
def test_an_item_by_its_fields(item: Any) -> None:
    fields = Items(item)
    assert (fields["id"], fields["tenant"], "nope" in fields) == (1, "a", False)
    assert OfItem(lambda one: one is item)(fields)
    if not isinstance(item, pydantic.BaseModel):
        assert list(fields) == ["id", "tenant"]
        assert len(fields) == 2


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (Struct, Struct(1, "x")),
        (Data, Data(1, "x")),
        (Named, Named(1, "x")),
        (Typed, Typed(id=1, tenant="x")),
        (Model, Model(id=1, tenant="x")),
        (dict[str, Any], {"tenant": "x"}),
    ],
)
@pytest.mark.parametrize("key", ["tenant", tenant_of])
def test_a_job_waits_in_the_line_of_its_key(kind: Any, item: Any, key: Any) -> None:
    def sync(items: list[Any]) -> None: ...

    sync.__annotations__["items"] = list[kind]
    spec = spec_of(sync)
    spec.flow = check_flow(options_of(wait=1, key=key), {}, QueueFlow(), spec)
    flow = spec.plan(_options.DEFAULT, spec.signature.encode({"item": item}))
    assert flow is not None
    assert (flow.line, flow.gates, flow.batch) == ("b.sync=x", (), Batch(100, 1000))


def test_without_a_key_all_items_share_a_line() -> None:
    spec = spec_of(plain)
    spec.flow = check_flow(options_of(wait=1), {}, QueueFlow(), spec)
    lines: set[str] = set()
    for item in (1, "text", {"any": "thing"}):
        flow = spec.plan(_options.DEFAULT, spec.signature.encode({"item": item}))
        assert flow is not None
        lines.add(flow.line)
    assert lines == {"b.sync="}


def test_a_group_has_batches_of_its_own() -> None:
    spec = spec_of(plain)
    spec.flow = check_flow(options_of(wait=1), {}, QueueFlow(), spec)
    options: JobOptions = {"group": "shop"}
    flow = spec.plan(_options.check_job(options), spec.signature.encode({"item": 1}))
    assert flow is not None
    assert (flow.line, flow.gates) == ("b.sync=shop", ("g:shop",))


def test_other_keys_name_fields_of_the_item() -> None:
    def sync(items: list[Struct]) -> None: ...

    spec = spec_of(sync)
    options: HandlerOptions = {"rate_limit": RateLimit(5), "rate_key": "tenant", "concurrency_key": "tenant"}
    spec.flow = check_flow(options_of(wait=1, key="tenant"), options, QueueFlow(), spec)
    flow = spec.plan(_options.DEFAULT, spec.signature.encode({"item": Struct(1, "x")}))
    assert flow is not None
    assert flow.gates == ("r.sync=x", "k.sync=x")


# -- what a function takes and returns ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [list[int], Sequence[int], Collection[int]])
def test_the_list_of_items_may_be_annotated_wider(kind: Any) -> None:
    def sync(items: Any) -> None: ...

    sync.__annotations__["items"] = kind
    spec = spec_of(sync)
    assert spec.signature.decode(spec.signature.encode({"item": 5})).item == 5


@pytest.mark.parametrize("kind", [int, dict[str, int], set[int], str])
def test_anything_else_is_refused(kind: Any) -> None:
    def sync(items: Any) -> None: ...

    sync.__annotations__["items"] = kind
    with pytest.raises(ConfigError, match="annotate it list"):
        spec_of(sync)


@pytest.mark.parametrize(
    ("returns", "result"),
    [
        (None, Any),
        (Any, Any),
        (list[int], int),
        (Sequence[str], str),
        (list[int | BaseException], int),
        (list[int | str | ValueError], int | str),
        (list[int] | None, int),
        (dict[int, Exception], Any),
        (Mapping[int, Exception] | None, Any),
        (list, Any),
        (list[Exception], Any),
    ],
    ids=str,
)
def test_the_result_of_one_item(returns: Any, result: Any) -> None:
    def sync(items: list[int]) -> Any: ...

    sync.__annotations__["return"] = returns
    assert spec_of(sync).signature.returns == result


def test_results_are_read() -> None:
    spec = spec_of(plain)
    error = ValueError("x")
    assert spec.read(None, 2) == [(None, None), (None, None)]
    assert spec.read({1: error}, 2) == [(None, None), (None, error)]
    assert spec.read({}, 1) == [(None, None)]
    assert spec.read([1, error, None], 3) == [(1, None), (None, error), (None, None)]
    assert spec.read((1, 2), 2) == [(1, None), (2, None)]


@pytest.mark.parametrize(
    "value", [[1], [], {2: ValueError()}, {-1: ValueError()}, {True: ValueError()}, {"0": ValueError()}]
)
def test_indices_and_lengths_must_fit(value: Any) -> None:
    with pytest.raises(ValueError, match="returned"):
        spec_of(plain).read(value, 2)


@pytest.mark.parametrize("value", [{0: "text"}, {0: ValueError}, "ab", 7, {1, 2}])
def test_other_values_say_nothing_about_items(value: Any) -> None:
    with pytest.raises(TypeError, match="returned"):
        spec_of(plain).read(value, 2)


# -- contexts ----------------------------------------------------------------------------------------------------------


def item(number: int, **facts: Any) -> BatchItem:
    return BatchItem(**{"job_id": f"j{number}", "queue": "q", "name": "sync", "attempt": 1, "max_attempts": 5, **facts})


def test_a_context_of_a_batch_tells_what_its_items_share() -> None:
    early, late = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 2, tzinfo=UTC)
    one = item(1, headers={"a": "1", "b": "2"}, tenant="t", stalls=0, deadline=early, created_at=late, fence=7)
    two = item(2, headers={"a": "1", "b": "3"}, tenant="t", stalls=2, deadline=late, created_at=early, attempt=3)
    ctx = BatchContext([one, two])
    assert (ctx.job_id, ctx.attempt, ctx.max_attempts, ctx.fence) == ("j1", 1, 5, 7)
    assert (ctx.headers, ctx.tenant, ctx.stalls) == ({"a": "1"}, "t", 2)
    assert (ctx.deadline, ctx.created_at) == (late, early)
    mixed = BatchContext([one, two, item(3)])
    assert (mixed.headers, mixed.tenant, mixed.deadline, mixed.created_at) == ({}, None, None, early)
    assert repr(ctx) == "<BatchContext q/sync of 2>"


def test_its_key_is_that_of_its_jobs_in_any_order() -> None:
    keys = {
        BatchContext([item(n) for n in numbers]).idempotency_key for numbers in ((1, 2), (2, 1), (1,), (12,), (1, 2, 3))
    }
    assert len(keys) == 4
    assert all(one.startswith("q:") for one in keys)


def test_the_last_word_about_an_item_holds() -> None:
    one = item(1)
    assert not one.is_settled
    one.done(5)
    assert (one.is_settled, one.value, one.error) == (True, 5, None)
    problem = Discard("no")
    BatchContext([one]).fail(0, problem)
    assert (one.is_settled, one.value, one.error) == (True, None, problem)
