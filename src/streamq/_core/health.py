"""When a queue is well: limits, a verdict, and its reasons with what to do about each. Pure: facts in, words out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, cast

import msgspec

from ..errors import ConfigError
from .units import Seconds, seconds

HealthLevel = Literal["ok", "warning", "critical"]

RANKS: dict[str, int] = {"ok": 0, "warning": 1, "critical": 2}

Pair = tuple[float, float]
"""Two limits: over the first it is a warning, over the second critical."""

LEAST_ATTEMPTS = 20
"""Attempts below which a share of failures says nothing: one of one is 100 percent."""


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """What a queue may look like; each limit a pair (warning, critical), or None not to look at it.

    Attributes:
        size: Jobs that wait, those included whose time has come: (1000, 5000).
        failed: Failed attempts within ``window``: (50, 200).
        stalled: Jobs whose worker vanished, within ``window``: (10, 50).
        oldest: How long the oldest waiting job has waited, in seconds or timedelta: None.
        error_rate: Share of attempts that failed within ``window``, 0 to 1; not looked at below 20 attempts: None.
        dead: Dead letters that are kept: None.
        window: What "within" means, in seconds or timedelta: 300, at least 60 and at most a day.

    Raises:
        ConfigError: for a value that cannot be right; names option, value and remedy.
    """

    _: KW_ONLY
    size: tuple[float, float] | None = (1000, 5000)
    failed: tuple[float, float] | None = (50, 200)
    stalled: tuple[float, float] | None = (10, 50)
    oldest: tuple[Seconds, Seconds] | None = None
    error_rate: tuple[float, float] | None = None
    dead: tuple[float, float] | None = None
    window: Seconds = 300.0

    def __post_init__(self) -> None:
        for name in ("size", "failed", "stalled", "dead"):
            _pair(name, getattr(self, name))
        if _pair("error_rate", self.error_rate) and cast("Pair", self.error_rate)[1] > 1:
            raise ConfigError("HealthPolicy(error_rate)", self.error_rate, "give shares from 0 to 1: (0.05, 0.2)")
        if self.oldest is not None:
            if not _is_pair(self.oldest):
                raise ConfigError("HealthPolicy(oldest)", self.oldest, "give a pair of durations: (warning, critical)")
            pair = cast("Pair", tuple(seconds("HealthPolicy(oldest)", one) for one in self.oldest))
            object.__setattr__(self, "oldest", _pair("oldest", pair))
        window = seconds("HealthPolicy(window)", self.window, least=60)
        if window > 86_400:
            raise ConfigError("HealthPolicy(window)", self.window, "is over a day: counters reach no further back")
        object.__setattr__(self, "window", window)

    def limits(self, metric: str) -> Pair | None:
        """Return the pair of limits of a metric."""
        return cast("Pair | None", getattr(self, metric))

    @property
    def window_seconds(self) -> float:
        """The window, as a number."""
        return seconds("HealthPolicy(window)", self.window)


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple | list) and len(cast("Any", value)) == 2


def _pair(name: str, value: object) -> Pair | None:
    if value is None:
        return None
    option, remedy = f"HealthPolicy({name})", "give a pair (warning, critical) of numbers, the second not less, or None"
    if not _is_pair(value):
        raise ConfigError(option, value, remedy)
    first, second = cast("tuple[Any, Any]", value)
    for one in (first, second):
        if isinstance(one, bool) or not isinstance(one, int | float) or not one >= 0:
            raise ConfigError(option, value, remedy)
    if second < first:
        raise ConfigError(option, value, remedy)
    return first, second


def encode(policy: HealthPolicy) -> str:
    """Return a policy as it is declared to others: JSON."""
    return msgspec.json.encode(policy).decode()


def decode(text: str) -> HealthPolicy | None:
    """Return a declared policy; None for one that cannot be read here."""
    try:
        return msgspec.json.decode(text, type=HealthPolicy)
    except (msgspec.DecodeError, ConfigError):
        return None


class Reason(msgspec.Struct, frozen=True):
    """One thing that is not well.

    what: the limit it met ("size", "failed", "stalled", "oldest", "error_rate", "dead"), or "workers", "paused",
    "redis", or the name of a check of yours. said: in words, value and limit included. value, limit: as numbers, where
    there are any. do: the next step, a command where there is one.
    """

    what: str
    level: HealthLevel
    said: str
    value: float | None = None
    limit: float | None = None
    do: str = ""

    def __str__(self) -> str:
        """What is wrong, and what to do."""
        return f"{self.said}; {self.do}" if self.do else self.said


class Facts(msgspec.Struct, frozen=True):
    """What is looked at. None: not known. ``oldest`` in seconds; the others of ``window`` seconds up to now."""

    queue: str
    waiting: int = 0
    active: int = 0
    delayed: int = 0
    parked: int = 0
    dead: int = 0
    oldest: float | None = None
    paused: bool = False
    pause_reason: str = ""
    workers: int = 0
    window: float = 300.0
    completed: int | None = None
    failed: int | None = None
    stalled: int | None = None

    @property
    def error_rate(self) -> float | None:
        """Share of the attempts of the window that failed; None for too few."""
        if self.completed is None or self.failed is None or self.completed + self.failed < LEAST_ATTEMPTS:
            return None
        return self.failed / (self.completed + self.failed)

    def value(self, metric: str) -> float | None:
        """Return one number by its name; "size" is what waits."""
        found: float | None = getattr(self, "waiting" if metric == "size" else metric)
        if metric == "oldest" and found is None:
            return 0.0
        return found


def judge(policy: HealthPolicy, facts: Facts) -> Iterator[Reason]:
    """Yield what is not well, the gravest first."""
    found = [*_workers(facts), *_limits(policy, facts)]
    yield from sorted(found, key=lambda one: -RANKS[one.level])


def _rank(level: HealthLevel) -> int:
    return RANKS[level]


def worst(reasons: list[Reason]) -> HealthLevel:
    """Return the gravest level of all."""
    levels: list[HealthLevel] = ["ok", *(one.level for one in reasons)]
    return max(levels, key=_rank)


def _workers(facts: Facts) -> Iterator[Reason]:
    if facts.paused and facts.waiting:
        why = f" ({facts.pause_reason})" if facts.pause_reason else ""
        said = f"paused{why}, {_count(facts.waiting, 'job')} waiting"
        yield Reason("paused", "warning", said, facts.waiting, 0, f"go on: streamq resume {facts.queue}")
    elif facts.waiting and not facts.workers:
        said = f"{_count(facts.waiting, 'job')} waiting, no worker"
        yield Reason("workers", "critical", said, 0, 1, step("workers", facts.queue))


def _limits(policy: HealthPolicy, facts: Facts) -> Iterator[Reason]:
    for metric in ("size", "oldest", "failed", "error_rate", "stalled", "dead"):
        limits, value = policy.limits(metric), facts.value(metric)
        if limits is None or value is None or value <= limits[0]:
            continue
        level: HealthLevel = "critical" if value > limits[1] else "warning"
        limit = limits[1] if level == "critical" else limits[0]
        said = words(metric, value, limit, facts.window)
        yield Reason(metric, level, said, value, limit, step(metric, facts.queue))


_SAID = {
    "size": "{value} waiting, limit {limit}",
    "waiting": "{value} waiting, limit {limit}",
    "active": "{value} running, limit {limit}",
    "delayed": "{value} delayed, limit {limit}",
    "parked": "{value} parked: no worker has their handler, limit {limit}",
    "oldest": "oldest has waited {value}, limit {limit}",
    "failed": "{value} failed attempt{s} in {window}, limit {limit}",
    "error_rate": "{value} of all attempts failed in {window}, limit {limit}",
    "stalled": "{value} stalled in {window}, limit {limit}",
    "dead": "{value} dead letter{s}, limit {limit}",
    "workers": "{value} worker{s}, limit {limit}",
}

_STEPS = {
    "size": "add workers, or look what waits: streamq jobs list --queue {queue} --state waiting",
    "oldest": "ask why it waits: streamq jobs list --queue {queue} --state waiting, then streamq explain ID",
    "failed": "see the errors: streamq jobs list --queue {queue} --state delayed; streamq dlq list --queue {queue}",
    "stalled": "see which workers vanish: streamq doctor",
    "dead": "see why: streamq dlq list --queue {queue}",
    "parked": "start a worker that knows them: streamq jobs list --queue {queue} --state parked",
    "workers": "start a worker: streamq worker app:queue",
    "redis": "look at the server: streamq doctor",
    "active": "see what runs: streamq jobs list --queue {queue} --state active",
    "delayed": "see what is delayed: streamq jobs list --queue {queue} --state delayed",
}
_STEPS["waiting"], _STEPS["error_rate"] = _STEPS["size"], _STEPS["failed"]


def words(metric: str, value: float, limit: float, window: float) -> str:
    """Return what a number says beside its limit."""
    return _SAID[metric].format(
        value=_shown(metric, value), limit=_shown(metric, limit), window=_duration(window), s="" if value == 1 else "s"
    )


def step(metric: str, queue: str) -> str:
    """Return what to do about a metric that is over its limit."""
    return _STEPS[metric].format(queue=queue)


def _shown(metric: str, value: float) -> str:
    if metric == "oldest":
        return _duration(value)
    return f"{value:.1%}" if metric == "error_rate" else f"{value:,.12g}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _duration(value: float) -> str:
    if value < 60:
        return f"{value:.3g} s"
    whole = round(value)
    for unit, size, small, part in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    rest = whole % 60
    return f"{whole // 60} min {rest} s" if rest else f"{whole // 60} min"
