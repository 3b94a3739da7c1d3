"""What a queue is told when it is declared: its options, checked, and the server it belongs to."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypedDict, cast, get_args
from urllib.parse import quote

import msgspec

from . import _embedded
from ._core import alerts as _alerts
from ._core import backoff as _backoff
from ._core import events as _events
from ._core import flow_options, names, retention, units
from ._core import lanes as _lanes
from ._core import options as _options
from ._core.alerts import AlertRule
from ._core.backoff import Backoff, Exponential
from ._core.events import EventKind
from ._core.flow import QueueFlow
from ._core.handler import Registry
from ._core.health import HealthPolicy
from ._core.lanes import LanePolicy
from ._core.lifecycle import Policy
from ._core.limits import Group, RateLimit
from ._core.retention import Keep
from ._core.tracing import Mode
from ._core.units import Seconds
from .errors import ConfigError

log: logging.Logger = logging.getLogger("streamq")

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]


class QueueOptions(TypedDict, total=False):
    """Options of a queue.

    url: server; else STREAMQ_URL, REDIS_URL, REDIS_HOST (with REDIS_PORT, REDIS_USERNAME, REDIS_PASSWORD, REDIS_DB,
    REDIS_TLS), else the embedded development server. prefix: of all keys, one per environment (STREAMQ_PREFIX, else
    "streamq"). max_attempts (5), backoff (Exponential(1)), timeout (30 s; None: no bound): defaults of handlers.
    max_pending: unsettled jobs over which enqueue raises QueueFull (None: no bound). max_payload: bytes of encoded
    arguments and of a result (262,144). keep_completed: window of completed jobs (Keep(count=1000)). keep_dead: of dead
    letters (Keep(age=30 days)). result_ttl: seconds a result or the record of an end is kept (3600). enqueue_timeout:
    seconds an enqueue may take before it raises (10). lanes: "strict", a better priority always first (default), or a
    weight for each of critical, high, normal, low, background. max_wait: seconds after which a lane that better ones
    keep workers from is served all the same, and while its first job is older gets half of what is taken (None: no
    bound). rate_limit: how many jobs of the queue may start (`RateLimit`; None: no bound). global_concurrency: how many
    may run at once over all workers (None: no bound). group: what holds for each group of jobs (`Group`; without it
    groups only take fair turns). limits: named limits that jobs refer to by rate_key, each a RateLimit or a number of
    jobs that may run at once. tracing: how the span of an attempt hangs together with the one that sent its job:
    "link" (default), in a trace of its own that links to it; "parent", in the same trace; "off", no spans. health: what
    the queue may look like (`HealthPolicy`; without it what its workers say, else the default one). alerts: what
    somebody is to be told of (`AlertRule`, several of them). events: which kinds of events are written to the stream
    that `Queue.events` reads: True all, False none (default), a set of them, or "declared": those that the queue's
    workers write, for tools. keep_events: how many of them are kept, about (10,000).
    """

    url: str | None
    prefix: str | None
    max_attempts: int
    backoff: Backoff
    timeout: Seconds | None
    max_pending: int | None
    max_payload: int
    keep_completed: Keep
    keep_dead: Keep
    result_ttl: Seconds
    enqueue_timeout: Seconds
    lanes: Literal["strict"] | Mapping[str, int]
    max_wait: Seconds | None
    rate_limit: RateLimit | None
    global_concurrency: int | None
    group: Group | None
    limits: Mapping[str, RateLimit | int]
    tracing: Mode
    health: HealthPolicy
    alerts: AlertRule | Sequence[AlertRule]
    events: bool | Collection[EventKind] | Literal["declared"]
    keep_events: int


class Watching(msgspec.Struct, frozen=True):
    """What is watched in a queue. None: not said; ``events`` then are none."""

    health: HealthPolicy | None
    alerts: tuple[AlertRule, ...]
    events: frozenset[EventKind] | Literal["declared"] | None
    keep_events: int


class Wiring(msgspec.Struct, frozen=True):
    """What a `Worker` needs of a queue. Not for applications."""

    registry: Registry
    max_payload: int
    result_ms: int
    keep_completed: Keep
    keep_dead: Keep
    lifespans: Sequence[Lifespan]
    lanes: LanePolicy
    tracing: Mode


class Settings(msgspec.Struct, frozen=True):
    """`QueueOptions` after all checks. ``max_pending`` 0: no bound; times in seconds."""

    url: str | None
    prefix: str
    defaults: Policy
    max_pending: int
    max_payload: int
    keep_completed: Keep
    keep_dead: Keep
    result_ttl: float
    enqueue_timeout: float
    lanes: LanePolicy
    flow: QueueFlow
    tracing: Mode
    watching: Watching


def check(options: QueueOptions, environ: Mapping[str, str]) -> Settings:
    """Return ``options`` checked, with defaults; raises `ConfigError` naming option, value and remedy."""
    for option, value in options.items():
        if option not in QueueOptions.__annotations__:
            known = ", ".join(QueueOptions.__annotations__)
            raise ConfigError(option, value, f"is no queue option; there are {known}")
    timeout = options.get("timeout", 30.0)
    defaults = Policy(
        max_attempts=_options.check_attempts(options.get("max_attempts", 5)) or 5,
        backoff=_backoff.checked("backoff", options.get("backoff", Exponential(1.0))),
        timeout_ms=None if timeout is None else units.millis("timeout", timeout, least=0.001),
    )
    return Settings(
        url=options.get("url"),
        prefix=names.checked_prefix(options.get("prefix") or environ.get("STREAMQ_PREFIX") or "streamq"),
        defaults=defaults,
        max_pending=whole("max_pending", options.get("max_pending"), least=1) or 0,
        max_payload=whole("max_payload", options.get("max_payload", 262_144), least=64, most=64 * 1024 * 1024) or 0,
        keep_completed=retention.checked("keep_completed", options.get("keep_completed", Keep(count=1000))),
        keep_dead=retention.checked("keep_dead", options.get("keep_dead", Keep(age=30 * 86_400.0))),
        result_ttl=units.seconds("result_ttl", options.get("result_ttl", 3600.0), least=1),
        enqueue_timeout=units.seconds("enqueue_timeout", options.get("enqueue_timeout", 10.0), least=0.001),
        lanes=_lanes.checked(options.get("lanes", "strict"), options.get("max_wait")),
        flow=flow_options.check_queue(
            options.get("rate_limit"),
            options.get("global_concurrency"),
            options.get("group"),
            options.get("limits", {}),
        ),
        tracing=_mode(options.get("tracing", "link")),
        watching=_watching(options),
    )


def _watching(options: QueueOptions) -> Watching:
    health: object = options.get("health")
    if "health" in options and not isinstance(health, HealthPolicy):
        raise ConfigError("health", health, "give HealthPolicy(size=(1000, 5000), ...)")
    events: object = options.get("events")
    kinds = None if events is None or events == "declared" else _events.checked_kinds("events", events)
    return Watching(
        options.get("health"),
        _alerts.checked_rules("alerts", options.get("alerts", ())),
        "declared" if events == "declared" else kinds,
        whole("keep_events", options.get("keep_events", 10_000), least=1, most=10_000_000) or 0,
    )


def _mode(value: object) -> Mode:
    for known in get_args(Mode):
        if value == known:
            return cast("Mode", known)
    raise ConfigError("tracing", value, f"use one of {', '.join(map(repr, get_args(Mode)))}")


async def find_server(queue: str, url: str | None) -> tuple[str, Any]:
    """Return the url to use, and the embedded server if it is one: the url given, the environment's, or our own."""
    found = url or url_from_environment(os.environ)
    if found is not None:
        return found, None
    may, why = _embedded.allowed(os.environ, isatty=sys.stdin is not None and sys.stdin.isatty())  # pyright: ignore[reportUnnecessaryComparison] - None in a windowed process
    if not may:
        raise ConfigError("url", None, why)
    server = await asyncio.to_thread(_embedded.attach)
    log.info("queue %s uses the embedded server %s (%s)", queue, server.version, server.url)
    return server.url, server


def url_from_environment(environ: Mapping[str, str]) -> str | None:
    """Return the server the environment names: STREAMQ_URL, REDIS_URL, or REDIS_HOST and its companions; else None."""
    for variable in ("STREAMQ_URL", "REDIS_URL"):
        if environ.get(variable):
            return environ[variable]
    host = environ.get("REDIS_HOST")
    if not host:
        return None
    scheme = "rediss" if environ.get("REDIS_TLS", "").lower() in {"1", "true", "yes", "on"} else "redis"
    user, password = environ.get("REDIS_USERNAME", ""), environ.get("REDIS_PASSWORD", "")
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    return f"{scheme}://{login}{host}:{environ.get('REDIS_PORT') or '6379'}/{environ.get('REDIS_DB') or '0'}"


def whole(option: str, value: object, *, least: int, most: int = 10**12) -> int | None:
    """Return a whole number within bounds, or None as it is."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(option, value, f"give a whole number from {least:,} to {most:,}")
    return value
