"""What a seed means: one to three features of streamq, how its jobs behave, and which faults befall whom and when."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from streamq import AlertRule, Dedup, Group, Priority, RateLimit

Options = Mapping[str, Any]

STORM: Final = 10.0
"""Seconds in which jobs are sent and faults happen."""

MOST_STALLS: Final = 2


def key_of(n: int) -> str:
    """The key of a job: its group, its dedup key, whatever a feature wants one for."""
    return f"g{n % 3}"


def _none(_: int) -> Options:
    return {}


def _dedup(**options: Any) -> Callable[[int], Options]:
    return lambda n: {"dedup": Dedup(key_of(n), **options)}


def _group(n: int) -> Options:
    return {"group": key_of(n)}


def _priority(n: int) -> Options:
    return {"priority": (Priority.HIGH, Priority.NORMAL, Priority.LOW)[n % 3]}


@dataclass(frozen=True)
class Feature:
    """One feature: options of queue, handler and job ``n``; ``hows``: ways in which its jobs behave."""

    name: str
    queue: Options = field(default_factory=dict[str, Any])
    handler: Options = field(default_factory=dict[str, Any])
    job: Callable[[int], Options] = _none
    hows: Sequence[str] = ()


_ONE = {"concurrency_key": "key", "key_concurrency": 1}
_LANES = {"critical": 16, "high": 8, "normal": 4, "low": 2, "background": 1}

FEATURES: Final = (
    Feature("retries", hows=("flaky", "flaky", "fails", "fatal", "discard")),
    Feature("snoozes", hows=("snooze", "limited")),
    Feature("timeouts", handler={"timeout": 1.0}, hows=("hang", "hang", "flaky")),
    Feature("stalls", hows=("long", "long", "deaf")),
    Feature("poison", hows=("poison",)),
    Feature("delays", job=lambda n: {"delay": n % 4 * 0.7} if n % 4 else {}),
    Feature("priorities", job=_priority),
    Feature("lane-weights", {"lanes": _LANES}, job=_priority),
    Feature("custom-ids", job=lambda n: {"job_id": f"job-{n}"}),
    Feature("results", job=lambda _: {"keep_result": True}, hows=("ok", "flaky")),
    Feature("cancels", hows=("long", "ok")),
    Feature("replays", hows=("unmended", "unmended", "ok")),
    Feature("rate-queue", {"rate_limit": RateLimit(4, per=1.0)}),
    Feature("rate-handler", handler={"rate_limit": RateLimit(6, per=1.5, burst=3)}),
    Feature("rate-key", handler={"rate_limit": RateLimit(2, per=1.0), "rate_key": "key"}),
    Feature("rate-clock", {"limits": {"provider": RateLimit(4, per=1.0, align="clock")}},
            job=lambda _: {"rate_key": "provider"}),
    Feature("rate-drop", handler={"rate_limit": RateLimit(4, per=1.0), "on_limit": "drop"}),
    Feature("rate-bury", handler={"rate_limit": RateLimit(4, per=1.0), "on_limit": "bury"}),
    Feature("concurrency-queue", {"global_concurrency": 2}),
    Feature("concurrency-handler", handler={"concurrency": 2}),
    Feature("concurrency-key", handler=_ONE),
    Feature("conflict-drop", handler={**_ONE, "on_conflict": "drop"}),
    Feature("conflict-cancel", handler={**_ONE, "on_conflict": "cancel_running"}, hows=("long", "ok")),
    Feature("groups", {"group": Group(2)}, job=_group),
    Feature("groups-ordered", {"group": Group(1)}, job=_group, hows=("ok", "flaky")),
    Feature("dedup-simple", job=_dedup()),
    Feature("dedup-throttle", job=_dedup(mode="throttle", ttl=2.0)),
    Feature("dedup-debounce", job=_dedup(mode="debounce", ttl=0.5, max_wait=2.0)),
    Feature("dedup-keep-last", job=_dedup(mode="keep_last")),
    Feature("batches"),
    Feature("breaker", hows=("ok", "down")),
    Feature("blocks"),
    Feature("pauses"),
    Feature("schedules"),
    Feature("max-pending", {"max_pending": 5}),
    Feature("expiry", job=lambda n: {"expires_in": 1.5 if n % 4 == 3 else 600}),
    Feature("bulk"),
    Feature("priority-changes"),
    Feature("strangers"),
    Feature("audits"),
    Feature("events", {"events": True}, hows=("ok", "flaky", "fatal")),
    Feature("alerts", {"alerts": (AlertRule("failed", above=1), AlertRule("dead", above=0, every=None))},
            hows=("ok", "flaky", "fatal")),
    Feature("reports"),
)  # fmt: skip

BY_NAME: Final = {one.name: one for one in FEATURES}

CLASHES: Final = (
    {"timeouts", "stalls"}, {"priorities", "lane-weights"}, {"rate-drop", "rate-bury"}, {"bulk", "dedup-debounce"},
    {"delays", "dedup-debounce"}, {"conflict-cancel", "groups-ordered"}, {"conflict-cancel", "dedup-keep-last"},
    {"conflict-cancel", "batches"}, {"dedup-debounce", "batches"}, {"dedup-keep-last", "batches"},
    {"groups", "groups-ordered"}, {"poison", "conflict-cancel"},
    {"groups-ordered", "batches"}, {"schedules", "max-pending"}, {"custom-ids", "bulk"}, {"poison", "batches"},
    {"groups-ordered", "priority-changes"}, {"delays", "bulk"}, {"strangers", "batches"},
)  # fmt: skip
"""Features that cannot be had together, or that would hide what each other does."""

_SAME = ("rate-handler", "rate-key", "rate-drop", "rate-bury"), ("concurrency-key", "conflict-drop", "conflict-cancel")


class Fault(NamedTuple):
    """A fault to come: at ``at`` seconds, for ``seconds``; ``draw`` chooses whom it befalls."""

    at: float
    kind: str
    seconds: float
    draw: float


FAULTS: Final[Mapping[str, tuple[int, float, float]]] = {
    "kill": (6, 0.2, 2.5),
    "freeze": (6, 0.3, 7.0),
    "partition": (4, 0.3, 6.0),
    "partition out": (2, 0.3, 6.0),
    "partition back": (3, 0.3, 6.0),
    "reset": (4, 0, 0),
    "client kill": (2, 0, 0),
    "script flush": (2, 0, 0),
    "crash": (2, 0.05, 1.5),
    "crash that loses writes": (2, 0.05, 1.5),
    "clock jump": (1, 0, 0),
    "out of memory": (2, 0.5, 3.0),
    "slow network": (2, 0.5, 3.0),
    "worker stops": (2, 0, 0),
    "skew": (1, 0, 0),
}
"""Kind -> weight, and from how many to how many seconds it lasts."""


@dataclass(frozen=True)
class Plan:
    """A world to be played. ``loss``: share of exchanges that meet a fault of the network in the storm."""

    seed: int
    features: tuple[Feature, ...]
    workers: int
    concurrency: int
    lease: float
    producers: int
    hows: tuple[str, ...]
    times: tuple[float, ...]
    faults: tuple[Fault, ...]
    loss: float

    @property
    def names(self) -> frozenset[str]:
        """Names of its features."""
        return frozenset(one.name for one in self.features)

    def has(self, *names: str) -> bool:
        """Whether one of these features is played."""
        return bool(self.names & set(names))

    def jumps(self) -> bool:
        """Whether the server's clock is moved."""
        return any(one.kind == "clock jump" for one in self.faults)

    def __str__(self) -> str:
        faults = ", ".join(f"{one.kind} at {one.at:.1f}" for one in self.faults) or "none"
        return (
            f"seed {self.seed}: {' + '.join(sorted(self.names))}; {len(self.hows)} jobs, {self.workers} workers of "
            f"{self.concurrency}, lease {self.lease:g} s, loss {self.loss:.0%}; faults: {faults}"
        )


def draw(seed: int) -> Plan:
    """Return the plan of a seed."""
    rng = random.Random(f"plan {seed}")
    features = _features(rng)
    names = {one.name for one in features}
    count = rng.randint(6, 22)
    extra = [how for one in features for how in one.hows] or ["ok", "flaky"]
    hows = ["ok" if rng.random() < 0.55 else rng.choice(extra) for _ in range(count)]
    poison = [at for at, how in enumerate(hows) if how == "poison"]
    for at in poison[1:]:
        hows[at] = "ok"
    return Plan(
        seed=seed,
        features=features,
        workers=rng.choice([1, 2, 2, 3]),
        concurrency=rng.choice([1, 2, 3, 5]),
        lease=rng.choice([1.5, 2.5, 4.0]),
        producers=rng.choice([1, 2]),
        hows=tuple(hows),
        times=tuple(sorted(rng.uniform(0, STORM * 0.7) ** rng.choice([1, 1, 0.5]) for _ in range(count))),
        faults=tuple(_faults(rng, names)),
        loss=rng.choice([0.0, 0.02, 0.05, 0.15]),
    )


def _features(rng: random.Random) -> tuple[Feature, ...]:
    while True:
        found = rng.sample(FEATURES, rng.choice([1, 2, 2, 2, 3]))
        names = {one.name for one in found}
        if any(clash <= names for clash in CLASHES) or any(len(names & set(same)) > 1 for same in _SAME):
            continue
        return tuple(found)


def _faults(rng: random.Random, names: set[str]) -> list[Fault]:
    kinds = dict(FAULTS)
    if names & {"schedules", "dedup-throttle", "dedup-debounce", "expiry"}:
        del kinds["clock jump"]  # an hour of ticks, or a lock of an hour: that is what they are to do then
    found: list[Fault] = []
    for kind in rng.choices(list(kinds), [one[0] for one in kinds.values()], k=rng.choice([0, 1, 2, 3, 4, 6])):
        _, least, most = kinds[kind]
        found.append(Fault(rng.uniform(0.2, STORM), kind, rng.uniform(least, most), rng.random()))
    return sorted(found)
