"""The features that are combined, as data: options of the queue, the handler and job ``n``, and what its handler does.

Every play has the same jobs: job ``n`` has the key ``g0``, ``g1`` or ``g2``, which is its group, its dedup key, its
concurrency key and the key of its batch, as far as a feature wants one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any, Literal

from streamq import Dedup, Group, Priority, RateLimit

Options = Mapping[str, Any]
Way = Literal["one by one", "enqueue_many", "schedule"]

FIRST = range(12)
"""Jobs enqueued before a worker runs."""

SECOND = range(12, 18)
"""Jobs enqueued while idle workers wait."""

DELAY = 0.1
EXPIRES = 0.3
CHUNK, EVERY = 4, 0.1
MAX_PENDING = 6
LIFE_BEFORE_REPLAY = "cannot be mended yet"

PRIORITIES = {"g0": Priority.HIGH, "g1": Priority.NORMAL, "g2": Priority.LOW}
"""One priority for each key, so that an ordered group has one."""

SLIDING = RateLimit(6, per=0.3)
BURST = RateLimit(10, per=0.4, burst=3)
KEYED = RateLimit(3, per=0.2)
BY_CLOCK = RateLimit(6, per=0.5, align="clock")
DROPPING = RateLimit(4, per=0.3)


def key_of(n: int) -> str:
    """The key of a job."""
    return f"g{n % 3}"


def _nothing(_: int) -> Options:
    return {}


def _dedup(**options: Any) -> Callable[[int], Options]:
    return lambda n: {"dedup": Dedup(key_of(n), **options)}


def _when_odd(**options: Any) -> Callable[[int], Options]:
    return lambda n: options if n % 2 else {}


@dataclass(frozen=True)
class Feature:
    """One feature. ``says``: the reference page's words for it, with the option by which it is asked for.

    ``kind``: what it has in common with its like, for the words. ``queue``, ``handler`` and ``job(n)`` are options.
    ``way``: how its jobs enter the queue, if not one by one.
    """

    name: str
    says: str
    kind: str
    queue: Options = field(default_factory=dict[str, Any])
    handler: Options = field(default_factory=dict[str, Any])
    job: Callable[[int], Options] = _nothing
    way: Way = "one by one"


def _at(n: int) -> Options:
    return {"at": datetime.now(UTC) + timedelta(seconds=DELAY)} if n % 2 else {}


def _deadline(n: int) -> Options:
    return {"deadline": datetime.now(UTC) + timedelta(seconds=-1 if n % 4 == 3 else 120)}


_GROUP: Callable[[int], Options] = lambda n: {"group": key_of(n)}  # noqa: E731 - one line beside its like
_BY_KEY = {"concurrency_key": "key", "key_concurrency": 1}
_LANES = {"critical": 16, "high": 8, "normal": 4, "low": 2, "background": 1}
_PRIORITY: Callable[[int], Options] = lambda n: {"priority": PRIORITIES[key_of(n)]}  # noqa: E731 - as above

FEATURES: tuple[Feature, ...] = (
    Feature("rate-queue", "rate of the queue: `Queue(rate_limit=RateLimit(...))`", "rate", {"rate_limit": SLIDING}),
    Feature(
        "rate-handler",
        "rate of a handler, here in bursts: `rate_limit=RateLimit(..., burst=)`",
        "rate",
        handler={"rate_limit": BURST},
    ),
    Feature(
        "rate-key",
        'rate by a key: `rate_limit=, rate_key="contact"`',
        "rate",
        handler={"rate_limit": KEYED, "rate_key": "key"},
    ),
    Feature(
        "rate-named",
        "a named limit, here a quota by the clock: `Queue(limits={...})` and a job's `rate_key=`",
        "rate",
        queue={"limits": {"provider": BY_CLOCK}},
        job=lambda _: {"rate_key": "provider"},
    ),
    Feature(
        "rate-drop",
        'a rate whose jobs do not wait: `rate_limit=, on_limit="drop"`',
        "rate",
        handler={"rate_limit": DROPPING, "on_limit": "drop"},
    ),
    Feature(
        "concurrency-queue",
        "concurrency of the queue: `Queue(global_concurrency=)`",
        "concurrency",
        {"global_concurrency": 2},
    ),
    Feature(
        "concurrency-handler", "concurrency of a handler: `concurrency=`", "concurrency", handler={"concurrency": 2}
    ),
    Feature("concurrency-key", "concurrency by a key: `concurrency_key=`", "concurrency", handler=_BY_KEY),
    Feature(
        "conflict-drop",
        'concurrency by a key whose jobs do not wait: `on_conflict="drop"`',
        "concurrency",
        handler={**_BY_KEY, "on_conflict": "drop"},
    ),
    Feature(
        "conflict-cancel",
        'concurrency by a key, the newest wins: `on_conflict="cancel_running"`',
        "cancelling",
        handler={**_BY_KEY, "on_conflict": "cancel_running"},
    ),
    Feature(
        "group", "groups: `Queue(group=Group(...))` and a job's `group=`", "group", {"group": Group(2)}, job=_GROUP
    ),
    Feature("group-ordered", "ordered groups: `Group(concurrency=1)`", "ordered", {"group": Group(1)}, job=_GROUP),
    Feature("group-weights", "weights of groups: `queue.limits.set(..., weight=)`", "group", job=_GROUP),
    Feature("dedup-simple", 'deduplication: `Dedup("key")`', "dedup", job=_dedup()),
    Feature("dedup-throttle", '`Dedup("key", mode="throttle", ttl=)`', "dedup", job=_dedup(mode="throttle", ttl=60)),
    Feature(
        "dedup-debounce", '`Dedup("key", mode="debounce", ttl=)`', "debounce", job=_dedup(mode="debounce", ttl=0.1)
    ),
    Feature("dedup-keep-last", '`Dedup("key", mode="keep_last")`', "keep_last", job=_dedup(mode="keep_last")),
    Feature("priority", "priorities: `priority=`", "priority", job=_PRIORITY),
    Feature(
        "lane-weights", "weights of priorities: `Queue(lanes={...})`", "priority", {"lanes": _LANES}, job=_PRIORITY
    ),
    Feature("delay", "`delay=`", "delay", job=_when_odd(delay=DELAY)),
    Feature("at", "`at=`", "delay", job=_at),
    Feature("schedule", "schedules: `Scheduler`", "schedule", way="schedule"),
    Feature("expiry", "`expires_in=`", "expiry", job=lambda n: {"expires_in": EXPIRES if n % 4 == 3 else 60}),
    Feature("deadline", "`deadline=`", "deadline", job=_deadline),
    Feature("retry", "retries: `max_attempts=`, `backoff=`", "retry"),
    Feature("rate-limited", "a handler that raises `RateLimited(after=)`", "limited"),
    Feature("pause", "`queue.pause(handler=)`", "pause"),
    Feature("block", "`queue.block(where=)`", "pause"),
    Feature("batch", "batches: `@queue.batch_handler(..., size=, wait=, key=)`", "batch"),
    Feature("custom-id", "`job_id=`", "id", job=lambda n: {"job_id": f"job-{n}"}),
    Feature("max-pending", "`Queue(max_pending=)`", "full", {"max_pending": MAX_PENDING}),
    Feature("chunks", "`enqueue_many(..., chunk=, every=)`", "delay", way="enqueue_many"),
    Feature("cancel-waiting", "`job.cancel()` of a job that waits", "cancel"),
    Feature("cancel-running", "`job.cancel()` of a job that runs", "cancel"),
    Feature("replay", "`queue.dlq.replay()`", "replay"),
    Feature("breaker", "a circuit breaker: `CircuitBreaker`", "breaker"),
)

BY_NAME = {one.name: one for one in FEATURES}
PAIRS: tuple[tuple[Feature, Feature], ...] = tuple(combinations(FEATURES, 2))


class Twice(Exception):
    """Two features want different values of one option; its name is the argument."""


def merged(*options: Options) -> dict[str, Any]:
    """All options together; raises `Twice`."""
    found: dict[str, Any] = {}
    for one in options:
        for name, value in one.items():
            if name in found and found[name] != value:
                raise Twice(name)
            found[name] = value
    return found


def twice(first: Feature, second: Feature) -> str | None:
    """The option of which the two want different values, None if they can be had together."""
    if first.way != second.way and "one by one" not in {first.way, second.way}:
        return "way"
    try:
        merged(first.queue, second.queue)
        merged(first.handler, second.handler)
        merged(first.job(1), second.job(1))
    except Twice as found:
        return str(found)
    return None
