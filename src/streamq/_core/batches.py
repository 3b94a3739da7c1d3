"""Batch handlers: one job is one item, one call gets many. Their options, their items as a codec, what they return."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Union, cast, get_args, get_origin

import msgspec
import msgspec.inspect

from ..errors import ConfigError, ConflictingOptions
from . import flow_options, limits, units
from .batch_context import BatchContext
from .flow import Batch, Flow, HandlerFlow, QueueFlow, plan
from .handler import HandlerSpec, Kind
from .lifecycle import Policy
from .limits import Key
from .options import Checked, HandlerOptions, Priority
from .signature import Signature
from .units import Seconds

MOST_ITEMS = 500
"""Largest batch: as many jobs as one script hands out."""

ITEM = "item"
"""Name of the one argument a job of a batch handler has on the wire."""

ItemKey = str | Callable[[Any], object]
"""Which items go together: the name of a field of the item, or a function from the item to text."""

Verdict = tuple[Any, BaseException | None]
"""How one item ended: its result, or its error."""


class BatchOptions(msgspec.Struct, frozen=True):
    """What ``queue.batch_handler`` was told besides the options of any handler; see there."""

    size: int
    wait: Seconds | None
    quiet: Seconds | None
    max_delay: Seconds | None
    key: ItemKey | None

    def batch(self) -> Batch:
        """Return when its lines are handed out; raises `ConfigError`."""
        size, wait, quiet, most = self.size, self.wait, self.quiet, self.max_delay
        if limits.whole("size", size) > MOST_ITEMS:
            raise ConfigError("size", size, f"a batch has at most {MOST_ITEMS} items")
        if (wait is None) == (quiet is None):
            remedy = "give wait= (so long after the oldest item) or quiet= (so long after the latest), one of them"
            raise ConfigError("wait", wait, remedy)
        if most is not None and quiet is None:
            raise ConfigError("max_delay", most, "bounds quiet=; give that, or wait= alone")
        batch = Batch(
            size,
            wait_ms=0 if wait is None else units.millis("wait", wait, least=0.001),
            quiet_ms=0 if quiet is None else units.millis("quiet", quiet, least=0.001),
            max_delay_ms=0 if most is None else units.millis("max_delay", most, least=0.001),
        )
        if 0 < batch.max_delay_ms < batch.quiet_ms:
            raise ConfigError("max_delay", most, f"must be at least quiet ({batch.quiet_ms / 1000:g} s)")
        return batch


class Items(Mapping[str, Any]):
    """The fields of one item by name, whatever it is: what the keys of a batch handler are taken from."""

    def __init__(self, item: Any) -> None:
        self.item = item

    def __getitem__(self, name: str) -> Any:
        item: Any = self.item
        if isinstance(item, Mapping):
            return cast("Mapping[str, Any]", item)[name]
        try:
            return getattr(item, name)
        except AttributeError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        item: Any = self.item
        if isinstance(item, Mapping):
            return iter(cast("Mapping[str, Any]", item))
        return iter(fields_of(type(item)) or ())

    def __len__(self) -> int:
        return sum(1 for _ in self)


class OfItem:
    """A function of the item as a function of its fields, which is what limits take."""

    def __init__(self, function: Callable[[Any], object]) -> None:
        self._function = function

    def __call__(self, fields: Mapping[str, Any], /) -> Any:
        return self._function(fields.item if isinstance(fields, Items) else fields)


class BatchSpec(HandlerSpec):
    """A batch handler. ``signature`` is that of its jobs, with one argument; ``shape`` that of its function."""

    __slots__ = ("batch",)

    def __init__(self, shape: Signature, policy: Policy, *, kind: Kind, lane: int, keep_result: bool) -> None:
        name = shape.name
        if kind == "process":
            raise ConfigError("pool", kind, f"{name!r} is a batch handler, which runs in a thread or as async def")
        single = Signature(name, _single(_item_type(shape), _result_type(name, shape.returns)), lambda _default: False)
        super().__init__(name, shape.function, single, policy, kind=kind, lane=lane, keep_result=keep_result)
        self.shape = shape
        self.plain: bool = kind == "async" and not shape.wants_context and not shape.dependencies

    def plan(self, options: Checked, args: bytes) -> Flow | None:
        """Return what a job with this encoded item waits for; keys name fields of the item."""
        if options.timeout_ms is not None:
            raise ConflictingOptions(
                ("timeout", "batch"),
                "timeout and batch cannot be combined: one call runs many jobs. Give timeout= to the batch handler.",
            )
        return plan(self.queue_flow, self.flow, self.name, options, lambda: Items(self.signature.decode(args).item))

    def read(self, value: Any, count: int) -> list[Verdict]:
        """Return how each of ``count`` items ended by what the function returned.

        None: all are done. A mapping of index to exception: these failed. A list: results in order, exceptions among
        them for what failed, as from ``asyncio.gather(return_exceptions=True)``. Raises `TypeError` or `ValueError`.
        """
        verdicts: list[Verdict] = [(None, None)] * count
        if value is None:
            return verdicts
        if isinstance(value, Mapping):
            for index, error in cast("Mapping[object, object]", value).items():
                if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
                    raise ValueError(f"batch handler {self.name!r} returned index {index!r} for {count} items")
                if not isinstance(error, BaseException):
                    kind = type(error).__qualname__
                    raise TypeError(f"batch handler {self.name!r} returned {kind} for item {index}, not an exception")
                verdicts[index] = (None, error)
            return verdicts
        if isinstance(value, list | tuple):
            found = cast("Sequence[Any]", value)
            if len(found) != count:
                raise ValueError(f"batch handler {self.name!r} returned {len(found)} results for {count} items")
            return [(None, one) if isinstance(one, BaseException) else (one, None) for one in found]
        raise TypeError(
            f"batch handler {self.name!r} returned {type(value).__qualname__}; return None, a list with a result for "
            "each item, or a mapping of index to exception"
        )


def check_flow(asked: BatchOptions, options: HandlerOptions, queue: QueueFlow, spec: BatchSpec) -> HandlerFlow:
    """Return what jobs of a batch handler wait for; raises `ConfigError` for what could not work."""
    batch = asked.batch()
    names = _Fields(_item_type(spec.shape))
    rules = flow_options.check_handler(options, queue, spec.name, names) or HandlerFlow()
    key: Key | None
    if asked.key is None or isinstance(asked.key, str):
        key = asked.key
        if key is not None and key not in names:
            raise ConfigError("key", key, f"{key!r} is no field of the items; they have {', '.join(names) or 'none'}")
    elif callable(asked.key):  # pyright: ignore[reportUnnecessaryComparison] - callers without a checker
        key = OfItem(asked.key)
    else:
        raise ConfigError("key", asked.key, "give the name of a field of the items, or a function from item to text")
    rules = msgspec.structs.replace(rules, batch=batch, batch_key=key)
    flow_options.check_rules(rules)
    return rules


def refuse_context(signature: Signature) -> None:
    """Refuse a `BatchContext` in a handler of single jobs; raises `ConfigError`."""
    wanted = next(iter(signature.hints.values()), None) if signature.wants_context else None
    if isinstance(wanted, type) and issubclass(wanted, BatchContext):
        raise ConfigError("handler", signature.name, "takes a BatchContext; use batch_handler, or annotate Context")


def lane_of(options: HandlerOptions) -> int:
    """Return the default priority of a handler's jobs."""
    return int(options.get("priority", Priority.NORMAL))


def fields_of(kind: Any) -> tuple[str, ...] | None:
    """Return the names of the fields of a type, () if it has none; None when they cannot be known."""
    found = msgspec.inspect.type_info(kind)
    if isinstance(
        found,
        msgspec.inspect.StructType
        | msgspec.inspect.DataclassType
        | msgspec.inspect.TypedDictType
        | msgspec.inspect.NamedTupleType,
    ):
        return tuple(one.name for one in found.fields)
    if isinstance(found, msgspec.inspect.CustomType):
        return tuple(getattr(found.cls, "model_fields", ())) or None
    unknown = (msgspec.inspect.AnyType, msgspec.inspect.DictType, msgspec.inspect.UnionType, msgspec.inspect.RawType)
    return None if isinstance(found, unknown) else ()


class _Fields(Collection[str]):
    """Which names can be keys: the fields of the items, or any where only the items know."""

    def __init__(self, kind: Any) -> None:
        self._known = fields_of(kind)

    def __contains__(self, name: object) -> bool:
        return self._known is None or name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known or ())

    def __len__(self) -> int:
        return len(self._known or ())


def _single(item: Any, result: Any) -> Callable[..., Any]:
    """Return a function with the signature that a job of a batch handler has."""

    def single(item: Any) -> Any:
        return item

    single.__annotations__ = {ITEM: item, "return": result}
    return single


def _item_type(shape: Signature) -> Any:
    if len(shape.names) != 1:
        taken = f"it takes {', '.join(shape.names)}" if shape.names else "it takes none"
        remedy = f"a batch handler takes one argument, the list of items, besides Context and Depends; {taken}"
        raise ConfigError("batch_handler", shape.name, remedy)
    hint = shape.hints.get(shape.names[0], Any)
    if hint is Any or hint is list or hint is Sequence:
        return Any
    kind = get_origin(hint)
    if isinstance(kind, type) and issubclass(list, kind) and kind is not object:
        return get_args(hint)[0]
    said = getattr(hint, "__name__", hint)
    remedy = f"{shape.names[0]!r} gets all items of a batch: annotate it list[...], not {said}"
    raise ConfigError("batch_handler", shape.name, remedy)


def _result_type(name: str, hint: Any) -> Any:
    """Return the type of the result of one item by the return annotation of the function."""
    results: list[Any] = []
    for part in _members(hint):
        kind = get_origin(part) or part
        if part is Any or part in (None, type(None)):
            continue
        if kind is tuple or not isinstance(kind, type) or not issubclass(kind, Sequence | Mapping) or kind is str:
            kinds = "None, list[...] with a result for each item, or dict[int, Exception]"
            raise ConfigError("batch_handler", name, f"a batch handler returns {kinds}, not {part}")
        if issubclass(kind, Sequence):
            results += [one for one in _members((get_args(part) or (Any,))[0]) if not _is_error(one)]
    if not results:
        return Any
    return Union[tuple(results)]  # noqa: UP007 - of a list that is only known now


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _is_error(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, BaseException)
