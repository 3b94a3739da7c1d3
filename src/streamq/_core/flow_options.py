"""Options of flow control, checked where they enter: at the queue, at a handler, at a job."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from ..errors import ConfigError
from . import dedup, gates, limits, names, pairs
from .flow import HandlerFlow, QueueFlow
from .limits import Group, Key, RateLimit
from .options import HandlerOptions


def check_queue(rate_limit: object, global_concurrency: object, group: object, named: object) -> QueueFlow:
    """Return the queue's options of flow control, checked."""
    if group is not None and not isinstance(group, Group):
        raise ConfigError("group", group, "give Group(concurrency=, rate=, size=, weight=, reserve=)")
    return QueueFlow(
        rate_limit=None if rate_limit is None else limits.rate_limit("rate_limit", rate_limit),
        global_concurrency=None
        if global_concurrency is None
        else limits.whole("global_concurrency", global_concurrency),
        group=group,
        limits=_named(named),
    )


def check_handler(
    options: HandlerOptions, queue: QueueFlow, name: str, arguments: Collection[str]
) -> HandlerFlow | None:
    """Return a handler's options of flow control, checked; None if it has none."""
    given: Mapping[str, Any] = {one: options[one] for one in _HANDLER if one in options}  # type: ignore[literal-required]  # the names are keys of the dict
    if not given:
        return None
    concurrency, rate, mode = given.get("concurrency"), given.get("rate_limit"), given.get("dedup")
    rules = HandlerFlow(
        concurrency=None if concurrency is None else limits.whole("concurrency", concurrency),
        rate_limit=None if rate is None else limits.rate_limit("rate_limit", rate),
        rate_key=_key("rate_key", given.get("rate_key"), arguments),
        on_limit=_one_of("on_limit", given.get("on_limit", "wait"), ("wait", "drop", "bury")),
        concurrency_key=_key("concurrency_key", given.get("concurrency_key"), arguments),
        key_concurrency=limits.whole("key_concurrency", given.get("key_concurrency", 1)),
        on_conflict=_one_of("on_conflict", given.get("on_conflict", "queue"), ("queue", "drop", "cancel_running")),
        dedup=None if mode is None else dedup.checked("dedup", mode),
    )
    _check_needs(rules, queue, given)
    _check_names(rules, queue, name, arguments)
    check_rules(rules)
    return rules


def check_rules(rules: HandlerFlow) -> None:
    """Refuse what excludes each other in a handler; raises `ConflictingOptions`."""
    pairs.check_handler(
        has_batch=rules.batch is not None,
        batch_key=rules.batch_key,
        concurrency_key=rules.concurrency_key,
        on_conflict=rules.on_conflict,
    )
    if rules.dedup is not None:
        pairs.check_mode(rules.dedup.mode, has_batch=rules.batch is not None, on_conflict=rules.on_conflict)


_HANDLER = (
    "concurrency",
    "rate_limit",
    "rate_key",
    "on_limit",
    "concurrency_key",
    "key_concurrency",
    "on_conflict",
    "dedup",
)


def _check_needs(rules: HandlerFlow, queue: QueueFlow, given: Mapping[str, Any]) -> None:
    """Refuse an option that could never have an effect."""
    if rules.rate_key is not None and rules.rate_limit is None:
        raise ConfigError("rate_key", rules.rate_key, "says what rate_limit= counts by; give that, too")
    has_rate = rules.rate_limit is not None or bool(queue.limits) or (queue.group is not None and queue.group.rate)
    if rules.on_limit != "wait" and not has_rate:
        raise ConfigError("on_limit", rules.on_limit, "has no limit to meet; give rate_limit=")
    if "key_concurrency" in given and rules.concurrency_key is None:
        raise ConfigError("key_concurrency", rules.key_concurrency, "is for each value of concurrency_key=; give that")
    if rules.on_conflict != "queue" and rules.concurrency_key is None and rules.concurrency is None:
        raise ConfigError(
            "on_conflict", rules.on_conflict, "has no places to meet; give concurrency_key= or concurrency="
        )


def _check_names(rules: HandlerFlow, queue: QueueFlow, name: str, arguments: Collection[str]) -> None:
    if rules.rate_limit is not None and name in queue.limits:
        raise ConfigError(
            "rate_limit", rules.rate_limit, f"limit {name!r} of the queue has this handler's name; rename it"
        )
    for one in (rules.dedup.by or ()) if rules.dedup is not None else ():
        if one not in arguments:
            raise ConfigError("Dedup(by)", rules.dedup.by if rules.dedup else None, _no_argument(one, arguments))


def _named(given: object) -> dict[str, RateLimit | int]:
    if not isinstance(given, Mapping):
        raise ConfigError("limits", given, 'give a dict, such as {"twilio": RateLimit(80)}')
    found: dict[str, RateLimit | int] = {}
    for name, limit in cast("Mapping[object, object]", given).items():
        known = names.checked("limits", name)
        gates.checked("limits", known)
        if not isinstance(limit, RateLimit):
            if isinstance(limit, bool) or not isinstance(limit, int):
                raise ConfigError(f"limits[{known!r}]", limit, "give RateLimit(count, per=seconds), or a concurrency")
            limits.whole(f"limits[{known!r}]", limit)
        found[known] = limit
    return found


def _key(option: str, value: object, arguments: Collection[str]) -> Key | None:
    if value is None:
        return None
    if isinstance(value, str):
        if value not in arguments:
            raise ConfigError(option, value, _no_argument(value, arguments))
        return value
    if callable(value) and not isinstance(value, type):
        return cast("Key", value)
    raise ConfigError(option, value, "give the name of an argument, or a function from the arguments by name to text")


def _no_argument(name: str, arguments: Collection[str]) -> str:
    return f"{name!r} is no argument of the handler; it takes {', '.join(arguments) or 'none'}"


def _one_of(option: str, value: object, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise ConfigError(option, value, f"use one of {', '.join(map(repr, known))}")
    return value
