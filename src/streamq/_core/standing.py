"""How an alert rule stands, and what a new number makes of that: hold-down, repetition, escalation. Pure: no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import msgspec

from .alerts import SEVERITIES, Alert, AlertRule, Severity
from .health import step, words
from .units import from_ms, millis

RETRY_MS = 60_000
"""An alert that nobody could be given is given again after so long."""

FORGET_MS = 86_400_000
"""How long the standing of a rule is kept that no code has any more: of the other version during a deploy, say."""


class Standing(msgspec.Struct, omit_defaults=True):
    """How a rule stands. Times in ms; 0: not.

    level: how grave it is, '' while it does not fire. since: by severity, from when on values were that grave. down:
    from when on they were less grave than ``level``. fired: when it began to fire. told, told_at, peak: what was told
    last, when, and how grave a firing; told is '' after a resolution. untold, tried: what is to be told and was not
    yet, and when that was tried.
    """

    level: str = ""
    since: dict[str, int] = {}
    down: int = 0
    fired: int = 0
    value: float = 0.0
    told: str = ""
    told_at: int = 0
    peak: str = ""
    count: int = 0
    escalated: bool = False
    untold: str = ""
    tried: int = 0
    seen: int = 0


Standings = dict[str, Standing]

_decoder = msgspec.json.Decoder(Standings)


def encode(standings: Mapping[str, Standing]) -> bytes:
    """Return how rules stand as it is kept: JSON."""
    return msgspec.json.encode(standings)


def decode(data: bytes) -> Standings:
    """Return how rules stand; nothing for what cannot be read."""
    try:
        return _decoder.decode(data) if data else {}
    except msgspec.DecodeError:
        return {}


def judged(rule: AlertRule, before: Standing, value: float | None, now: int) -> Standing:
    """Return how a rule stands after it has met a value (None: unknown, which changes nothing) at ``now`` ms."""
    after = msgspec.structs.replace(before, since=dict(before.since), seen=now)
    if value is not None:
        after.value = value
        _hold(rule, after, rule.severity_of(value), now)
    _news(rule, after, now)
    if after.untold and (not before.untold or now - after.tried >= RETRY_MS):
        after.tried = now
    return after


def is_to_be_told(before: Standing, after: Standing) -> bool:
    """Whether the step from one to the other is to be told now: it is news, or could not be told before."""
    return bool(after.untold) and (after.tried != before.tried or after.untold != before.untold)


def not_tried(standings: Standings) -> Standings:
    """Return how rules stand when what is untold was not tried: whoever was about to tell it could not."""
    return {name: msgspec.structs.replace(one, tried=0) if one.untold else one for name, one in standings.items()}


def _hold(rule: AlertRule, now_is: Standing, found: Severity | None, now: int) -> None:
    """Let a severity come in force, and go, only after it lasted."""
    least = millis("AlertRule(for_)", rule.for_)
    if found is not None and now_is.escalated:
        found = "critical"
    for severity in SEVERITIES:
        if _rank(found) >= _rank(severity) >= _rank(rule.severity):
            now_is.since.setdefault(severity, now)
        else:
            now_is.since.pop(severity, None)
    lasting = [one for one, since in now_is.since.items() if now - since >= least]
    level = max(lasting, key=_rank, default="")
    if _rank(level) > _rank(now_is.level):
        if not now_is.level:
            now_is.fired = now_is.since[level]
        now_is.level, now_is.down = level, 0
    elif _rank(found) < _rank(now_is.level):
        now_is.down = now_is.down or now
        if now - now_is.down >= least:
            now_is.level, now_is.down = found or "", 0
    else:
        now_is.down = 0
    _escalate(rule, now_is, now)


def _escalate(rule: AlertRule, now_is: Standing, now: int) -> None:
    """Make critical what has lasted too long."""
    if not now_is.level:
        now_is.escalated = False
    if not now_is.level or now_is.level == "critical" or rule.escalate_after is None:
        return
    if now - now_is.fired >= millis("AlertRule(escalate_after)", rule.escalate_after):
        now_is.level, now_is.escalated = "critical", True


def _news(rule: AlertRule, now_is: Standing, now: int) -> None:
    """Decide what is to be told, and note that it is."""
    every = None if rule.every is None else millis("AlertRule(every)", rule.every)
    if not now_is.level:
        if now_is.told:
            now_is.told, now_is.untold, now_is.tried = "", "resolved", 0
        return
    since_told = now - now_is.told_at if now_is.told_at else None
    if _rank(now_is.level) > _rank(now_is.told):
        # It came back soon after it was told: that is no news, unless it is graver now. Else it waits for its turn.
        rests = every is not None and since_told is not None and since_told < every
        is_news = not (rests and _rank(now_is.level) <= _rank(now_is.peak))
    else:
        now_is.told = now_is.level
        is_news = every is not None and since_told is not None and since_told >= every
    if is_news:
        now_is.count = now_is.count + 1 if now_is.told else 1
        now_is.told = now_is.peak = now_is.level
        now_is.told_at, now_is.untold = now, "firing"
        now_is.tried = 0  # news are told at once, whatever was tried before


def _rank(severity: str | None) -> int:
    return SEVERITIES.index(cast("Severity", severity)) + 1 if severity else 0


def at_least(severity: Severity, least: Severity) -> bool:
    """Whether a severity is as grave as another."""
    return _rank(severity) >= _rank(least)


def alert(queue: str, rule: AlertRule, standing: Standing, now: int, *, told: bool = True) -> Alert:
    """Return what is to be told of a rule that stands so; not ``told``: that it fires, news or not."""
    state: Literal["firing", "resolved"] = "resolved" if told and standing.untold == "resolved" else "firing"
    severity = cast("Severity", standing.level or standing.peak or rule.severity)
    limit = rule.limit_met(standing.value)
    said = words(rule.metric, standing.value, limit, rule.window_seconds)
    if state == "firing":
        said = f"{said}; {step(rule.metric, queue)}"
    return Alert(
        queue, rule.name, rule.metric, state, severity, standing.value, limit, said, from_ms(standing.fired or now),
        from_ms(now), standing.count, standing.escalated,
    )  # fmt: skip


def with_what_others_know(found: Standings, ours: Mapping[str, Standing], now: int) -> Standings:
    """Return how all rules stand: ours as judged, and those of other code, unless nobody has judged them for a day."""
    others = {name: one for name, one in found.items() if name not in ours and now - one.seen < FORGET_MS}
    return {**others, **ours}
