"""In which order a worker walks the lanes of a queue: strictly, or by weights; and a clock for lanes never reached.

The worker draws the order, the fetch script follows it, so that none of this costs the server anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import msgspec

from ..errors import ConfigError
from . import units
from .options import Priority
from .units import Seconds

LANES = tuple(int(one) for one in Priority)
NAMES = tuple(one.name.lower() for one in Priority)

STRICT = b"01234"
"""The order of a worker that looks at nothing else: the best lane first, each as far as it goes."""

MOST = 1000
"""Highest weight: with more the lightest lane would be looked at less than once in a thousand jobs."""


class LanePolicy(msgspec.Struct, frozen=True):
    """How lanes share a worker. ``weights``: by lane, None is strict; ``max_wait``: seconds, None is no clock."""

    weights: tuple[int, ...] | None = None
    max_wait: float | None = None


class Took(NamedTuple):
    """What one place of a walk gave: lane, number of jobs (at least 1), and how long the first had waited, seconds."""

    lane: int
    jobs: int
    age: float


def checked(lanes: object, max_wait: Seconds | None) -> LanePolicy:
    """Return queue options ``lanes`` and ``max_wait`` checked; raises `ConfigError`."""
    wait = None if max_wait is None else units.seconds("max_wait", max_wait, least=0.05)
    if lanes == "strict":
        return LanePolicy(None, wait)
    if not isinstance(lanes, Mapping):
        raise ConfigError("lanes", lanes, f'give "strict", or a weight for each of {", ".join(NAMES)}')
    weights = cast("Mapping[object, object]", lanes)
    unknown = [name for name in weights if name not in NAMES]
    missing = [name for name in NAMES if name not in weights]
    if unknown:
        raise ConfigError("lanes", weights, f"{unknown[0]!r} is no lane; there are {', '.join(NAMES)}")
    if missing:
        raise ConfigError("lanes", weights, f"give {missing[0]!r} a weight, too: each lane needs one, 1 is the least")
    return LanePolicy(tuple(_weight(name, weights[name], weights) for name in NAMES), wait)


def lane_of(priority: object) -> int:
    """Return the lane of a `Priority`; raises `ConfigError` for anything else."""
    if not isinstance(priority, Priority):
        raise ConfigError("priority", priority, "use Priority.CRITICAL, HIGH, NORMAL, LOW or BACKGROUND")
    return int(priority)


def _weight(name: str, value: object, lanes: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise ConfigError("lanes", lanes, f"the weight of {name!r} must be a whole number from 1 to {MOST}")
    return value


class LaneOrder:
    """The order of one worker's walks over the lanes of one queue. Pure: ``now`` is any clock in seconds.

    `next` before each fetch, `walked` after its answer; an answer that got lost is left out.

    Weights are deficit counters. Each fetch credits every lane with its part of what is asked for, in proportion to the
    weights of the lanes that have jobs; each job taken costs one. So the shares are right in the long run, whatever a
    single fetch could get. A lane found empty saves nothing up; what it left is taken by the others in the same fetch.

    The clock: a lane that no walk has reached for ``max_wait`` is put first with one job, once. If that job was older
    than ``max_wait``, the lane stays first, with half of what is taken, until its first job is younger: the other half
    keeps the better lanes from waiting for an old backlog.
    """

    __slots__ = (
        "_aged", "_credits", "_dry", "_first", "_max_wait", "_missed", "_odd", "_unanswered", "_walk", "_want",
        "_weights",
    )  # fmt: skip

    def __init__(self, policy: LanePolicy | None = None) -> None:
        policy = policy or LanePolicy()
        self._weights = policy.weights
        self._max_wait = policy.max_wait
        self._credits = [0.0] * len(LANES)
        self._unanswered: list[float] | None = None  # credits before an order whose answer has not come
        self._dry: set[int] = set()  # lanes that were empty when last reached
        self._missed: list[float | None] = [None] * len(LANES)  # when a walk first did not reach them
        self._aged: list[int] = []  # lanes whose first job was older than max_wait, in turn
        self._odd = 0
        self._first: int | None = None
        self._want = 0
        self._walk: list[tuple[int, int]] = []

    @property
    def is_plain(self) -> bool:
        """Whether the order never changes, so that nobody needs to say what a walk gave."""
        return self._weights is None and self._max_wait is None

    def next(self, want: int, now: float) -> bytes:
        """Return the order for a fetch of ``want`` jobs, as fetch.lua takes it."""
        if self.is_plain:
            return STRICT
        first, most = self._put_first(want, now)
        self._first = first
        self._want = want
        if self._weights is None:
            self._walk = [(lane, want) for lane in LANES if lane != first]
        else:
            self._walk = [place for place in self._drawn(want, self._weights) if place[0] != first]
        if first is not None:
            self._walk.insert(0, (first, most))
        elif self._weights is None:
            return STRICT
        return b" ".join(b"%d:%d" % place for place in self._walk)

    def walked(self, adopted: int, took: Sequence[Took], now: float) -> None:
        """Hear what came of the last order: jobs that came before the walk, and what its places gave, in order."""
        self._unanswered = None
        reached, dry = self._traced(adopted, took)
        if self._max_wait is not None:
            for lane in LANES:
                missed = self._missed[lane]
                self._missed[lane] = None if lane in reached else now if missed is None else missed
            self._aged = [lane for lane in self._aged if lane not in dry]
            if self._first in reached:
                self._age(self._first, took, self._max_wait)
        if self._weights is not None:
            self._charge(self._weights, took, dry)
        self._dry = (self._dry - reached) | dry

    # -- the clock ----------------------------------------------------------------------------------

    def _put_first(self, want: int, now: float) -> tuple[int | None, int]:
        """Return the lane whose turn the clock says it is, and how many jobs it may give."""
        if self._max_wait is None:
            return None, 0
        late = [
            (missed, lane)
            for lane, missed in enumerate(self._missed)
            if missed is not None and now - missed >= self._max_wait
        ]
        if late:
            return min(late)[1], 1
        if self._aged:
            half, self._odd = divmod(want + self._odd, 2)
            if half:
                return self._aged[0], half
        return None, 0

    def _age(self, lane: int, took: Sequence[Took], max_wait: float) -> None:
        """Keep a lane that was put first among the aged, last in turn, or take it out."""
        if lane in self._aged:
            self._aged.remove(lane)
        age = next((one.age for one in took if one.lane == lane), 0.0)
        if age >= max_wait:
            self._aged.append(lane)

    # -- the weights --------------------------------------------------------------------------------

    def _drawn(self, want: int, weights: Sequence[int]) -> list[tuple[int, int]]:
        """Return lanes, the most deserving first, and how many jobs each may give before the others had theirs."""
        if self._unanswered is not None:
            self._credits = self._unanswered
        self._unanswered = [*self._credits]
        credit = self._credits
        busy = [lane for lane in LANES if lane not in self._dry] or list(LANES)
        together, everybody = sum(weights[lane] for lane in busy), sum(weights)
        for lane in LANES:
            credit[lane] += want * weights[lane] / (together if lane in busy else everybody)
        bounds = [max(0, int(credit[lane])) for lane in LANES]
        # The busy lanes share exactly what is asked for; an empty one is looked at once a whole job is to its credit.
        left = want - sum(bounds[lane] for lane in busy)
        for _ in range(left):
            # Of those with something to their credit the one that would have a whole job soonest.
            having = [lane for lane in busy if credit[lane] > bounds[lane]] or busy
            bounds[min(having, key=lambda lane: (1 + bounds[lane] - credit[lane]) / weights[lane])] += 1
        for _ in range(-left):
            having = [lane for lane in busy if bounds[lane]]
            bounds[max(having, key=lambda lane: (1 + bounds[lane] - credit[lane]) / weights[lane])] -= 1
        # The empty ones first: a job that came meanwhile waits for no more than their turn.
        order = sorted(LANES, key=lambda lane: (lane in busy or not bounds[lane], -credit[lane], lane))
        return [(lane, bounds[lane]) for lane in order]

    def _charge(self, weights: Sequence[int], took: Sequence[Took], dry: set[int]) -> None:
        """Take what was taken from the credits; they add up to nothing again."""
        credit = self._credits
        for one in took:
            credit[one.lane] -= one.jobs
        busy = [lane for lane in LANES if lane not in (self._dry | dry) or lane in {one.lane for one in took} - dry]
        for lane in dry:
            credit[lane] = 0.0  # no saving up while there is nothing to do, no debt for what the others left
        total, together = sum(credit[lane] for lane in busy), sum(weights[lane] for lane in busy)
        for lane in busy:
            credit[lane] -= total * weights[lane] / together

    def _traced(self, adopted: int, took: Sequence[Took]) -> tuple[set[int], set[int]]:
        """Return the lanes the last walk reached, and those it found empty; fetch.lua walks in the same way."""
        reached: set[int] = set()
        dry: set[int] = set()
        left, at = self._want - adopted, 0
        for bounded in (True, False):
            for lane, most in self._walk:
                asked = min(left, most) if bounded else left
                if asked <= 0 or lane in dry:
                    continue
                reached.add(lane)
                got = took[at].jobs if at < len(took) and took[at].lane == lane else 0
                at += got > 0
                left -= got
                if got < asked:
                    dry.add(lane)
        return reached, dry
