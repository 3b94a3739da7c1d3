"""When and how much: what a job waits for besides its turn, planned when it is built, and what a worker declares.

A job without options of this module has no `Flow` and pays nothing. Names of gates: ``gates.py``; which options exclude
each other: ``pairs.py``; how they are checked where they enter: ``flow_options.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from ..errors import ConfigError, InvalidPayload, UnknownLimit
from . import dedup as _dedup
from . import gates, limits, pairs
from .dedup import Arguments, Dedup, DedupPlan
from .limits import GateConfig, Group, Key, OnConflict, OnLimit, RateLimit
from .options import Checked


class Batch(msgspec.Struct, frozen=True):
    """When a line is handed out in one piece: at ``size`` jobs, or ``wait_ms`` after its oldest job.

    With ``quiet_ms`` (0: none) instead so long after its latest job, but at most ``max_delay_ms`` (0: no bound) after
    its oldest one.
    """

    size: int
    wait_ms: int = 0
    quiet_ms: int = 0
    max_delay_ms: int = 0


class Flow(msgspec.Struct, frozen=True):
    """What one job waits for.

    ``gates`` in the order group, handler, rates, keys; without the queue's, which holds for all. ``line``: jobs of one
    line wait in one FIFO ("": the line of its gates). ``cost``: tokens of a start. ``ordered``: one by one, and a retry
    is held in place. ``dedup`` alone, without gates, leaves a job in its lane.
    """

    gates: tuple[str, ...] = ()
    line: str = ""
    cost: int = 1
    ordered: bool = False
    batch: Batch | None = None
    on_limit: OnLimit = "wait"
    on_conflict: OnConflict = "queue"
    dedup: DedupPlan | None = None


class HandlerFlow(msgspec.Struct, frozen=True):
    """`HandlerOptions` of flow control after all checks."""

    concurrency: int | None = None
    rate_limit: RateLimit | None = None
    rate_key: Key | None = None
    on_limit: OnLimit = "wait"
    concurrency_key: Key | None = None
    key_concurrency: int = 1
    on_conflict: OnConflict = "queue"
    dedup: Dedup | None = None
    batch: Batch | None = None
    batch_key: Key | None = None


class QueueFlow(msgspec.Struct, frozen=True):
    """`QueueOptions` of flow control after all checks. A number among ``limits`` is a concurrency."""

    rate_limit: RateLimit | None = None
    global_concurrency: int | None = None
    group: Group | None = None
    limits: dict[str, RateLimit | int] = {}


_PLAIN = HandlerFlow()


def declared(queue: QueueFlow, handlers: Mapping[str, HandlerFlow | None], now_ms: int) -> dict[str, GateConfig]:
    """Return what a worker declares, by gate or class.

    ``now_ms`` is for limits on the clock: their offset changes with daylight saving, and is to be declared again then.
    """
    found: dict[str, GateConfig] = {}
    if queue.rate_limit is not None or queue.global_concurrency is not None:
        found[gates.QUEUE] = limits.config(queue.rate_limit, concurrency=queue.global_concurrency, now_ms=now_ms)
    if queue.group is not None:
        found[gates.GROUPS] = limits.config(group=queue.group, now_ms=now_ms)
    for name, limit in queue.limits.items():
        of_name = GateConfig(concurrency=limit) if isinstance(limit, int) else limits.config(limit, now_ms=now_ms)
        found[gates.limit(name)] = of_name
    for name, rules in handlers.items():
        if rules is None:
            continue
        whole = rules.rate_limit if rules.rate_key is None else None
        if whole is not None or rules.concurrency is not None:
            found[gates.handler(name)] = limits.config(whole, concurrency=rules.concurrency, now_ms=now_ms)
        if rules.rate_limit is not None:
            # Also without rate_key=: a job may bring a key of its own.
            found[gates.limit(name)] = limits.config(rules.rate_limit, now_ms=now_ms)
        if rules.concurrency_key is not None:
            found[gates.keys(name)] = GateConfig(concurrency=rules.key_concurrency)
    return found


def plan(
    queue: QueueFlow,
    handler: HandlerFlow | None,
    name: str,
    options: Checked,
    arguments: Callable[[], Arguments],
) -> Flow | None:
    """Return what a job of handler ``name`` waits for, None for a plain job.

    ``arguments`` returns the job's arguments by name, defaults included, and is called only when a key needs them.

    Raises:
        ConflictingOptions: for a pair of options without a meaning.
        UnknownLimit: when ``rate_key`` names nothing.
        InvalidPayload: when an argument cannot be the key it is declared to be.
        ConfigError: for a cost above a limit.
    """
    if handler is None and not options.flows:
        return None
    return _Job(queue, handler or _PLAIN, name, options, arguments).flow()


class _Job:
    """One job while it is planned."""

    def __init__(
        self,
        queue: QueueFlow,
        rules: HandlerFlow,
        name: str,
        options: Checked,
        arguments: Callable[[], Arguments],
    ) -> None:
        self.queue = queue
        self.rules = rules
        self.name = name
        self.group = options.group
        self.options = options
        self._load = arguments
        self._arguments: Arguments | None = None

    def flow(self) -> Flow | None:
        rules, options, group = self.rules, self.options, self.group
        wanted = options.dedup or rules.dedup
        dedup = None if wanted is None else _dedup.plan(wanted, self.name, group, self.arguments)
        slot_key = None if rules.concurrency_key is None else self.value("concurrency_key", rules.concurrency_key)
        batch_key = None if rules.batch_key is None else self.value("key", rules.batch_key)
        ordered = group is not None and self.queue.group is not None and self.queue.group.ordered
        pairs.check_job(
            group=group,
            ordered=ordered,
            slot_key=slot_key,
            batch_key=batch_key,
            dedup=dedup,
            has_batch=rules.batch is not None,
            on_conflict=rules.on_conflict,
            when=options.when,
        )
        found = self.gates(slot_key)
        if options.cost > 1 and not found and self.queue.rate_limit is not None:
            found.append(gates.handler(self.name))  # open unless declared, but a plain job has no place for a cost
        line = ""
        if rules.batch is not None:
            line = gates.batch(self.name, _batch_value(batch_key, group))
        elif ordered and group is not None:
            line = gates.group(group)
        if dedup is not None and dedup.mode == "keep_last":
            found.append(gates.latest(dedup.key))
            line, ordered = line or gates.latest(dedup.key), True
        if not found and dedup is None and not line:
            return None
        return Flow(
            tuple(found),
            line,
            options.cost,
            ordered,
            rules.batch,
            rules.on_limit,
            rules.on_conflict,
            dedup,
        )

    def gates(self, slot_key: str | None) -> list[str]:
        """Return its gates in their order; checks the cost against every limit that sees it."""
        rules, named = self.rules, self.options.rate_key
        found: list[str] = []
        priced: list[tuple[str, RateLimit | int | None]] = [(gates.QUEUE, self.queue.rate_limit)]
        if self.group is not None:
            found.append(gates.group(self.group))
            priced.append((found[0], None if self.queue.group is None else self.queue.group.rate))
        is_limit = named is not None and named in self.queue.limits
        keyed = None if named is None or is_limit else self._own_value(named)
        if keyed is None and rules.rate_limit is not None and rules.rate_key is not None:
            keyed = self.value("rate_key", rules.rate_key)
        if rules.concurrency is not None or (rules.rate_limit is not None and keyed is None):
            found.append(gates.handler(self.name))
        if named is not None and is_limit:
            found.append(gates.limit(named))
            priced.append((found[-1], self.queue.limits[named]))
        if keyed is not None:
            found.append(gates.keyed_rate(self.name, keyed))
        own = gates.handler(self.name) if keyed is None else gates.keyed_rate(self.name, keyed)
        priced.append((own, rules.rate_limit))
        if slot_key is not None:
            found.append(gates.keyed_slots(self.name, slot_key))
        _check_cost(self.options.cost, priced)
        return found

    def _own_value(self, named: str) -> str:
        """Return a job's ``rate_key`` as the key of its handler's own limit, since no limit has this name."""
        if self.rules.rate_limit is None:
            raise UnknownLimit(named, sorted(self.queue.limits))
        if self.rules.rate_key is None and self.rules.concurrency is not None:
            raise pairs.whole_and_keyed(self.name, named)
        return named

    def arguments(self) -> Arguments:
        if self._arguments is None:
            self._arguments = self._load()
        return self._arguments

    def value(self, option: str, key: Key) -> str:
        """Return the text of the value that ``option`` counts by."""
        if isinstance(key, str):
            if key not in self.arguments():
                raise InvalidPayload(self.name, f"{option}={key!r} is not among them")
            found = self.arguments()[key]
        else:
            try:
                found = key(self.arguments())
            except Exception as problem:
                told = f"{type(problem).__name__}: {problem}"
                raise InvalidPayload(self.name, f"the function given as {option} failed: {told}") from problem
        text = gates.text(found)
        if not text:
            what = f"{option}={key!r}" if isinstance(key, str) else f"what {option} returned"
            given = type(found).__name__ if text is None else "empty"
            raise InvalidPayload(self.name, f"{what} is {given}; a key is text, a whole number, a UUID or a date")
        return gates.shortened(text)


def _batch_value(key: str | None, group: str | None) -> str:
    if key is None or group is None or key == group:
        return key or group or ""
    return gates.shortened(f"{len(group)}:{group}/{key}")  # the same key in two groups is two batches


def _check_cost(cost: int, priced: list[tuple[str, RateLimit | int | None]]) -> None:
    if cost == 1:
        return
    for gate, limit in priced:
        if isinstance(limit, RateLimit) and cost > limit.most_at_once:
            raise ConfigError("cost", cost, f"can never pass {limit!r} of {gate!r}")
