"""When somebody is to be told: the rules as users write them, and what is told of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from typing import Any, Literal, cast, get_args

import msgspec

from ..errors import ConfigError
from .units import Seconds, millis, seconds

Severity = Literal["info", "warning", "critical"]
Metric = Literal[
    "waiting", "active", "delayed", "parked", "dead", "oldest", "failed", "stalled", "error_rate", "workers"
]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
METRICS: tuple[Metric, ...] = get_args(Metric)


@dataclass(frozen=True, slots=True)
class AlertRule:
    """Tell somebody when a number of a queue is where it should not be: ``AlertRule("dead", above=50, for_=300)``.

    The workers of a queue judge its rules together, one of them every five seconds.

    Attributes:
        metric: "waiting" (due jobs included), "active", "delayed", "parked", "dead" (letters kept), "oldest" (seconds
            the oldest waiting job has waited), "workers" (alive); and within ``window``: "failed" (attempts),
            "stalled", "error_rate" (0 to 1, of 20 attempts or more).
        above: Limit; or two, over the second of which it is critical whatever ``severity`` says.
        below: The same for a number that should not be so low. One of the two must be given.
        for_: How long it must be over the limit before it fires, and back before it is resolved (0).
        severity: "info", "warning" (default) or "critical"; handlers can ask for the graver ones only.
        every: It is told again when it lasts so long, and not sooner when it comes back, unless graver (3600). None:
            told once.
        escalate_after: It becomes critical when it has lasted so long.
        window: Within which failures are counted (300).
        name: Of the rule, for people and logs; must be unique in a queue. By default what it says.

    Raises:
        ConfigError: for a value that cannot be right; names option, value and remedy.
    """

    metric: Metric
    _: KW_ONLY
    above: float | tuple[float, float] | None = None
    below: float | tuple[float, float] | None = None
    for_: Seconds = 0.0
    severity: Severity = "warning"
    every: Seconds | None = 3600.0
    escalate_after: Seconds | None = None
    window: Seconds = 300.0
    name: str = ""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ConfigError("AlertRule(metric)", self.metric, f"is none; there are {', '.join(METRICS)}")
        if self.severity not in SEVERITIES:
            raise ConfigError("AlertRule(severity)", self.severity, f"is none; there are {', '.join(SEVERITIES)}")
        if (self.above is None) == (self.below is None):
            raise ConfigError("AlertRule(above)", self.above, "give above= or below=, one of them")
        _limits(self)
        millis("AlertRule(for_)", self.for_)
        seconds("AlertRule(window)", self.window, least=60)
        if self.every is not None:
            millis("AlertRule(every)", self.every, least=1)
        if self.escalate_after is not None:
            millis("AlertRule(escalate_after)", self.escalate_after, least=1)
        if not self.name:
            object.__setattr__(self, "name", _said(self))

    @property
    def window_seconds(self) -> float:
        """The window, as a number."""
        return seconds("AlertRule(window)", self.window)

    def limit_met(self, value: float) -> float:
        """Return the gravest limit that a value is beyond; the first one for a value that is within."""
        limits = _limits(self)
        return next((one for one in reversed(limits) if self._is_beyond(value, one)), limits[0])

    def severity_of(self, value: float) -> Severity | None:
        """Return how grave a value is; None for one within the limits."""
        found: Severity | None = None
        for severity, limit in zip((self.severity, "critical"), _limits(self), strict=False):
            if self._is_beyond(value, limit):
                found = severity
        return found

    def _is_beyond(self, value: float, limit: float) -> bool:
        return value > limit if self.below is None else value < limit


def _limits(rule: AlertRule) -> tuple[float, ...]:
    given: Any = rule.above if rule.below is None else rule.below
    option = "AlertRule(above)" if rule.below is None else "AlertRule(below)"
    limits = _several(given)
    if not 1 <= len(limits) <= 2 or any(isinstance(one, bool) or not isinstance(one, int | float) for one in limits):
        raise ConfigError(option, given, "give a number, or two: from the second on it is critical")
    if len(limits) == 2 and ((limits[1] < limits[0]) if rule.below is None else (limits[1] > limits[0])):
        raise ConfigError(option, given, "the second limit must be the graver one")
    return limits


def _several(given: Any) -> tuple[Any, ...]:
    return tuple(cast("Sequence[Any]", given)) if isinstance(given, tuple | list) else (given,)


def _said(rule: AlertRule) -> str:
    sign = ">" if rule.below is None else "<"
    lasting = seconds("AlertRule(for_)", rule.for_)
    held = f" for {lasting:g} s" if lasting else ""
    return f"{rule.metric} {sign} {', '.join(f'{one:g}' for one in _limits(rule))}{held}"


def checked_rules(option: str, value: object) -> tuple[AlertRule, ...]:
    """Return the rules of a queue; raises `ConfigError` for what is none, and for two of one name."""
    given = [*cast("Sequence[object]", value)] if isinstance(value, tuple | list) else [value]
    rules: list[AlertRule] = []
    for one in given:
        if not isinstance(one, AlertRule):
            raise ConfigError(option, one, 'give AlertRule("dead", above=50) or a list of them')
        rules.append(one)
    names = [one.name for one in rules]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError(option, double, "is the name of two rules; give one of them another name=")
    return tuple(rules)


class Alert(msgspec.Struct, frozen=True):
    """What is to be told of a rule.

    state: "firing" or "resolved". value, limit: as numbers. said: in words, with the next step. since: when it came
    over its limit. told: how often its firing was told by now; 1 for the first time. escalated: it became critical
    because it lasted.
    """

    queue: str
    rule: str
    metric: Metric
    state: Literal["firing", "resolved"]
    severity: Severity
    value: float
    limit: float
    said: str
    since: datetime
    at: datetime
    told: int = 1
    escalated: bool = False

    def __str__(self) -> str:
        """One line, as a mail's subject or a chat wants it."""
        head = "resolved" if self.state == "resolved" else self.severity
        return f"[{head}] {self.queue}: {self.said}"
