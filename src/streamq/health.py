"""How a queue is: what is to be known of it is read, judged by its policy, and told with reasons. Your own checks, too.

A verdict is for people and monitors; `readiness` for whoever may restart a process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from ._core import health as _core
from ._core import names, units
from ._core.health import Facts, HealthLevel, HealthPolicy, Reason
from ._core.stats import Stats
from ._core.units import Seconds
from ._store import events as _store
from ._store.link import redacted
from ._store.session import Store
from .errors import ConfigError, RedisUnavailable, StreamqError
from .events import called
from .reading import Counts, WorkerInfo

Check = Callable[[], Awaitable[Any] | Any]
"""A check of your own: what it raises is what is wrong; so is False, and a text that it returns."""

CheckFn = TypeVar("CheckFn", bound=Check)

PATIENCE = 2.5
"""Seconds a server has to answer all that is asked for a verdict: probes do not wait longer."""


class Home(Protocol):
    """What is needed of the queue."""

    name: str

    async def stores(self) -> Sequence[Store]:
        """Return the partitions."""
        ...

    async def counts(self) -> Counts:
        """Return how many jobs are where."""
        ...

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers."""
        ...

    async def stats(self, window: Seconds = 3600.0) -> Stats:
        """Return what happened in a window."""
        ...


class Health(msgspec.Struct, frozen=True):
    """How a queue is: a verdict, its reasons, and what was looked at.

    level: "ok", "warning" or "critical", the gravest of the reasons. reasons: what is not well, the gravest first.
    facts: what was looked at, by name: ``queue``, ``waiting``, ``active``, ``delayed``, ``parked``, ``dead``,
    ``oldest``, ``paused``, ``workers``; of the last ``window`` seconds ``completed``, ``failed``, ``stalled``,
    ``error_rate`` (None: not known); seconds that ``redis`` and each of ``checks`` took. Nothing but ``queue`` when the
    server did not answer.
    """

    level: HealthLevel
    reasons: tuple[Reason, ...]
    facts: Mapping[str, Any]

    @property
    def is_well(self) -> bool:
        """Whether nothing is critical: what a readiness probe asks."""
        return self.level != "critical"

    def __str__(self) -> str:
        """The level, and the reasons."""
        return self.level if not self.reasons else f"{self.level}: {'; '.join(one.said for one in self.reasons)}"


class Checks:
    """Checks of your own, by name."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Check, float, Literal["warning", "critical"]]] = {}

    def add(self, name: str, fn: Check, patience: Seconds, level: Literal["warning", "critical"]) -> None:
        """Add a check, or put another in the place of the one of this name."""
        if level not in {"warning", "critical"}:
            raise ConfigError("level", level, 'a failed check is "warning" or "critical"')
        seconds = units.seconds("timeout", patience, least=0.001)
        self._known[names.checked("health_check", name)] = (fn, seconds, level)

    async def run(self) -> tuple[list[Reason], dict[str, float]]:
        """Run all at once; returns what is wrong, and the seconds each took."""
        took: dict[str, float] = {}
        found = await asyncio.gather(*(self._run(name, took) for name in self._known))
        return [one for one in found if one is not None], took

    async def _run(self, name: str, took: dict[str, float]) -> Reason | None:
        fn, patience, level = self._known[name]
        started = time.monotonic()
        wrong = ""
        try:
            answer = await called(fn, patience)
        except TimeoutError:
            wrong = f"no answer in {patience:g} s"
        except Exception as problem:  # noqa: BLE001 - whatever it raises is what is wrong
            wrong = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
        else:
            if answer is False or (isinstance(answer, str) and answer):
                wrong = answer or "it answered False"
        took[name] = round(time.monotonic() - started, 4)
        return Reason(name, level, f"{name}: {wrong}") if wrong else None


class Recent(msgspec.Struct, frozen=True):
    """What happened within a window, over all workers."""

    completed: int
    failed: int
    stalled: int


async def recent(home: Home, window: float) -> Recent:
    """Return what happened within ``window`` seconds, in whole minutes. The one seam to the counters."""
    total = (await home.stats(window)).total
    return Recent(total.completed, total.failed, total.stalled)


async def facts(home: Home, window: float) -> Facts:
    """Return what there is to know of a queue, in three reads."""
    counts, workers, seen = await asyncio.gather(home.counts(), home.workers(), recent(home, window))
    return Facts(
        queue=home.name,
        waiting=counts.waiting + counts.due,
        active=counts.active,
        delayed=counts.delayed - counts.due,
        parked=counts.parked,
        dead=counts.dead,
        oldest=counts.oldest,
        paused=counts.paused,
        pause_reason=counts.pause_reason,
        workers=sum(one.alive for one in workers),
        window=window,
        completed=seen.completed,
        failed=seen.failed,
        stalled=seen.stalled,
    )


async def declared_policy(store: Store) -> HealthPolicy:
    """Return the policy that the queue's workers declared, else the default: for processes without the app."""
    _, said = await _store.declared(store)
    return (_core.decode(said) if said else None) or HealthPolicy()


async def health(home: Home, policy: HealthPolicy | None, checks: Checks) -> Health:
    """Judge a queue by ``policy`` (None: what its workers declared); raises nothing that a server can do."""
    (found, known, took), (wrong, checked) = await asyncio.gather(_looked_at(home, policy), checks.run())
    if isinstance(found, StreamqError):
        return _verdict([_down(home, found), *wrong], {"queue": home.name, "checks": checked})
    told = {**msgspec.structs.asdict(found), "error_rate": found.error_rate, "redis": took, "checks": checked}
    return _verdict([*_core.judge(known, found), *wrong], told)


async def _looked_at(home: Home, policy: HealthPolicy | None) -> tuple[Facts | StreamqError, HealthPolicy, float]:
    started = time.monotonic()
    known = policy or HealthPolicy()
    try:
        store = (await home.stores())[0]
    except StreamqError as problem:  # no url, say
        return problem, known, 0.0
    try:
        async with asyncio.timeout(PATIENCE):
            known = policy or await declared_policy(store)
            found = await facts(home, known.window_seconds)
    except TimeoutError:
        return RedisUnavailable(redacted(store.url), f"no answer in {PATIENCE:g} s"), known, _since(started)
    except StreamqError as problem:
        return problem, known, _since(started)
    return found, known, _since(started)


async def readiness(homes: Sequence[tuple[Home, Checks]]) -> Health:
    """Return whether a process can work: its servers answer, its checks pass. How full queues are is no matter here."""
    reasons: list[Reason] = []
    took: dict[str, float] = {}
    started = time.monotonic()
    for found in await asyncio.gather(*(_ready(home, checks) for home, checks in homes)):
        reasons += [one for one in found[0] if one not in reasons]
        took |= found[1]
    names_ = [home.name for home, _ in homes]
    return _verdict(reasons, {"queues": names_, "redis": _since(started), "checks": took})


async def _ready(home: Home, checks: Checks) -> tuple[list[Reason], dict[str, float]]:
    checking = asyncio.ensure_future(checks.run())
    down: list[Reason] = []
    try:
        await (await home.stores())[0].call((b"PING",), wait=1.0)
    except StreamqError as problem:
        down = [_down(home, problem)]
    wrong, took = await checking
    return [*down, *wrong], took


def _down(home: Home, problem: StreamqError) -> Reason:
    said = f"no answer from {problem.url} ({problem.reason})" if isinstance(problem, RedisUnavailable) else str(problem)
    return Reason("redis", "critical", said, do=_core.step("redis", home.name))


def _verdict(reasons: list[Reason], told: Mapping[str, Any]) -> Health:
    reasons.sort(key=lambda one: -_core.RANKS[one.level])
    return Health(_core.worst(reasons), tuple(reasons), told)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 4)
