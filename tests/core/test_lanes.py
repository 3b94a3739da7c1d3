"""The order of the lanes: strict, by weights, and with a clock; against a model of what fetch.lua does with it."""

from __future__ import annotations

from collections import Counter, deque
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq._core.lanes import LANES, NAMES, STRICT, LaneOrder, LanePolicy, Took, checked
from streamq.errors import ConfigError

HALVING = (16, 8, 4, 2, 1)
WEIGHTS = dict(zip(NAMES, HALVING, strict=True))


class Lanes:
    """Five lanes of jobs ([when they came, how many]), and one worker's walk over them, as fetch.lua does it."""

    def __init__(self, policy: LanePolicy) -> None:
        self.order = LaneOrder(policy)
        self.waiting: tuple[deque[list[float]], ...] = tuple(deque() for _ in LANES)
        self.now = 1000.0
        self.taken: Counter[int] = Counter()

    def add(self, lane: int, jobs: int = 1) -> None:
        self.waiting[lane].append([self.now, jobs])

    def fetch(self, want: int, *, adopted: int = 0) -> list[Took]:
        """Take up to ``want`` jobs; returns what the places of the walk gave."""
        order = self.order.next(want, self.now)
        left, took = want - adopted, list[Took]()
        if b":" in order:
            places = [(int(lane), int(most)) for lane, _, most in (one.partition(b":") for one in order.split())]
            walks = [places, [(lane, want) for lane, _ in places]]
        else:
            walks = [[(int(lane), want) for lane in order.decode()]]
        for walk in walks:
            for lane, most in walk:
                jobs, age = self._pop(lane, min(left, most))
                if jobs:
                    took.append(Took(lane, jobs, age))
                    self.taken[lane] += jobs
                    left -= jobs
        self.order.walked(adopted, took, self.now)
        return took

    def _pop(self, lane: int, most: int) -> tuple[int, float]:
        waiting, popped = self.waiting[lane], 0
        age = self.now - waiting[0][0] if waiting else 0.0
        while waiting and popped < most:
            some = min(int(waiting[0][1]), most - popped)
            popped += some
            waiting[0][1] -= some
            if not waiting[0][1]:
                waiting.popleft()
        return popped, age


wants = st.integers(1, 500)
weights = st.lists(st.integers(1, 30), min_size=5, max_size=5).map(tuple)
policies = st.builds(LanePolicy, st.none() | weights, st.none() | st.floats(0.1, 100))
scenes = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(LANES), st.integers(1, 50)),
        st.integers(1, 60),
        st.floats(0, 30),
        st.integers(0, 3),
    ),
    max_size=40,
)


# -- any policy --------------------------------------------------------------------------------------


@given(policies, scenes)
def test_a_fetch_gets_all_it_asked_for_or_all_there_is(
    policy: LanePolicy, scene: list[tuple[dict[int, int], int, float, int]]
) -> None:
    lanes = Lanes(policy)
    for arrivals, want, passed, adopted in scene:
        for lane, count in arrivals.items():
            lanes.add(lane, count)
        waiting = sum(jobs for lane in lanes.waiting for _, jobs in lane)
        got = sum(one.jobs for one in lanes.fetch(want, adopted=min(adopted, want)))
        assert got == min(want - min(adopted, want), waiting)
        lanes.now += passed


@given(policies, scenes, wants)
def test_an_order_names_each_lane_once(
    policy: LanePolicy, scene: list[tuple[dict[int, int], int, float, int]], want: int
) -> None:
    lanes = Lanes(policy)
    for arrivals, some, passed, _ in scene:
        for lane, count in arrivals.items():
            lanes.add(lane, count)
        lanes.fetch(some)
        lanes.now += passed
    order = lanes.order.next(want, lanes.now)
    places = [one.split(b":") for one in order.split()] if b":" in order else [[b"%c" % one] for one in order]
    assert sorted(place[0] for place in places) == [b"0", b"1", b"2", b"3", b"4"]
    assert all(int(place[1]) >= 0 for place in places if len(place) > 1)


@given(policies, scenes)
def test_nothing_starves_with_weights_or_a_clock(
    policy: LanePolicy, scene: list[tuple[dict[int, int], int, float, int]]
) -> None:
    if policy.weights is None and policy.max_wait is None:
        return
    lanes = Lanes(policy)
    for arrivals, want, passed, _ in scene:
        for lane, count in arrivals.items():
            lanes.add(lane, count)
        lanes.fetch(want)
        lanes.now += passed
    # Whatever it went through before: with a backlog everywhere, each lane is served within its round.
    for lane in LANES:
        lanes.add(lane, 200_000)
    before = Counter(lanes.taken)
    for _ in range(100):
        lanes.fetch(10)
        lanes.now += policy.max_wait or 1.0
    assert all(lanes.taken[lane] > before[lane] for lane in LANES)


# -- strict ------------------------------------------------------------------------------------------


@given(scenes)
def test_strict_without_a_clock_is_one_constant(scene: list[tuple[dict[int, int], int, float, int]]) -> None:
    lanes = Lanes(LanePolicy())
    assert lanes.order.is_plain
    for arrivals, want, passed, _ in scene:
        for lane, count in arrivals.items():
            lanes.add(lane, count)
        assert lanes.order.next(want, lanes.now) is STRICT
        took = lanes.fetch(want)
        assert [one.lane for one in took] == sorted(one.lane for one in took)
        # No inversion: a better lane is empty before a worse one is touched.
        assert all(not lanes.waiting[lane] for one in took for lane in range(one.lane))
        lanes.now += passed


@given(scenes)
def test_a_clock_changes_nothing_while_every_lane_is_reached_in_time(
    scene: list[tuple[dict[int, int], int, float, int]],
) -> None:
    lanes = Lanes(LanePolicy(max_wait=60))
    for arrivals, want, passed, _ in scene:
        for lane, count in arrivals.items():
            lanes.add(lane, count)
        assert lanes.order.next(want, lanes.now) is STRICT
        lanes.fetch(want)
        lanes.fetch(10_000)  # reaches them all
        lanes.now += passed


def test_an_unreached_lane_is_looked_at_with_one_job_and_goes_back_when_that_is_young() -> None:
    lanes = Lanes(LanePolicy(max_wait=10))
    lanes.add(0, 1000)
    lanes.fetch(10)
    lanes.now += 9
    lanes.add(3, 5)
    assert lanes.order.next(10, lanes.now) == STRICT
    lanes.fetch(10)
    lanes.now += 1
    # Unreached since ten seconds: one job each, the better lane of equals first. There is none in 1 and 2.
    assert lanes.order.next(10, lanes.now) == b"1:1 0:10 2:10 3:10 4:10"
    assert [(one.lane, one.jobs) for one in lanes.fetch(10)] == [(0, 10)]
    assert [(one.lane, one.jobs) for one in lanes.fetch(10)] == [(0, 10)]  # looked at 2
    assert [(one.lane, one.jobs) for one in lanes.fetch(10)] == [(3, 1), (0, 9)]
    assert [(one.lane, one.jobs) for one in lanes.fetch(10)] == [(0, 10)]  # looked at 4
    assert lanes.order.next(10, lanes.now) == STRICT  # the job of lane 3 was a second old


def test_an_aged_lane_gets_half_until_its_first_job_is_young_again() -> None:
    lanes = Lanes(LanePolicy(max_wait=10))
    lanes.add(0, 10_000)
    lanes.add(4, 30)
    for _ in range(10):
        lanes.fetch(10)
        lanes.now += 1
    lanes.add(4, 1000)
    for _ in range(4):
        lanes.fetch(10)  # looks at 1, 2, 3, 4
    assert lanes.taken[4] == 1
    halves = 0
    while lanes.order.next(10, lanes.now) != STRICT:
        lanes.fetch(10)
        halves += 1
    # 29 were old; the fetch whose first job is a young one is the last.
    assert (halves, lanes.taken[4]) == (7, 36)


def test_half_of_one_is_every_second() -> None:
    lanes = Lanes(LanePolicy(max_wait=10))
    lanes.add(0, 1000)
    lanes.add(4, 100)
    for _ in range(12):
        lanes.fetch(1)
        lanes.now += 1
    lanes.taken.clear()
    for _ in range(40):
        lanes.fetch(1)
    assert abs(lanes.taken[4] - 20) <= 2


def test_aged_lanes_take_turns() -> None:
    lanes = Lanes(LanePolicy(max_wait=10))
    for lane in LANES:
        lanes.add(lane, 10_000)
    for _ in range(12):
        lanes.fetch(10)
        lanes.now += 1
    for _ in range(8):
        lanes.fetch(10)
    lanes.taken.clear()
    for _ in range(80):
        lanes.fetch(10)
    assert lanes.taken[0] == 400
    assert all(lanes.taken[lane] == 100 for lane in (1, 2, 3, 4))


def test_a_pause_is_no_starvation() -> None:
    lanes = Lanes(LanePolicy(max_wait=10))
    lanes.add(0, 100)
    lanes.fetch(10)
    lanes.order.next(10, lanes.now)
    lanes.order.walked(0, [], lanes.now)  # what a paused queue answers
    lanes.now += 60
    assert lanes.order.next(10, lanes.now) == STRICT


# -- weights -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("want", [1, 2, 3, 7, 10, 31, 50, 100, 500])
@pytest.mark.parametrize("weights", [HALVING, (1, 1, 1, 1, 1), (1000, 1, 1, 1, 1), (1, 2, 3, 4, 5)])
def test_under_backlog_the_shares_are_the_weights(weights: tuple[int, ...], want: int) -> None:
    lanes = Lanes(LanePolicy(weights))
    total = max(sum(weights) * 20, 10 * want)
    for lane in LANES:
        lanes.add(lane, 2 * total)
    while sum(lanes.taken.values()) < total:
        lanes.fetch(want)
    taken = sum(lanes.taken.values())
    for lane in LANES:
        # Exact but for the job that is being counted up to.
        assert abs(lanes.taken[lane] - taken * weights[lane] / sum(weights)) <= 2


@given(weights, st.sets(st.sampled_from(LANES), min_size=1), st.lists(wants, min_size=5, max_size=40))
def test_lanes_without_jobs_give_their_part_to_the_others_by_their_weights(
    weights: tuple[int, ...], busy: set[int], wanted: list[int]
) -> None:
    lanes = Lanes(LanePolicy(weights))
    for lane in busy:
        lanes.add(lane, 100_000)
    lanes.fetch(1)
    for _ in range(6):
        lanes.fetch(1000)  # by now it is known which are empty, and made up for
    lanes.taken.clear()
    for want in wanted:
        lanes.fetch(want)
    taken = sum(lanes.taken.values())
    assert taken == sum(wanted)
    together = sum(weights[lane] for lane in busy)
    for lane in busy:
        assert abs(lanes.taken[lane] - taken * weights[lane] / together) <= 4


@pytest.mark.parametrize(("want", "fetches"), [(1, 3), (2, 2), (3, 1), (10, 1), (31, 1), (100, 1)])
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_a_critical_job_goes_with_the_next_fetch(want: int, fetches: int, pauses: list[int]) -> None:
    # Or with the third when jobs are taken one by one and the critical ones had more than their share just before.
    lanes = Lanes(LanePolicy(HALVING))
    for lane in (1, 2, 3, 4):
        lanes.add(lane, 100_000)
    for pause in pauses:
        for _ in range(pause):
            lanes.fetch(want)
        lanes.add(0)
        needed = 0
        while lanes.waiting[0]:
            lanes.fetch(want)
            needed += 1
        assert needed <= fetches


@pytest.mark.parametrize("want", [1, 10, 100])
def test_a_lane_saves_nothing_up_while_it_is_empty(want: int) -> None:
    lanes = Lanes(LanePolicy(HALVING))
    lanes.add(4, 100_000)
    lanes.add(3, 100_000)
    for _ in range(500):
        lanes.fetch(want)
    lanes.taken.clear()
    lanes.add(0, 100_000)
    for _ in range(100):
        lanes.fetch(want)
    taken = 100 * want
    assert abs(lanes.taken[0] - taken * 16 / 19) <= 2 + want


def test_what_others_left_over_is_not_paid_for_later() -> None:
    lanes = Lanes(LanePolicy(HALVING))
    lanes.add(4, 5000)
    for _ in range(10):
        lanes.fetch(500)
    lanes.fetch(500)
    for lane in LANES:
        lanes.add(lane, 10_000)
    lanes.taken.clear()
    for _ in range(31):
        lanes.fetch(10)
    assert all(abs(lanes.taken[lane] - HALVING[lane] * 10) <= 2 for lane in LANES)


def test_an_order_whose_answer_got_lost_counts_for_nothing() -> None:
    one, other = Lanes(LanePolicy(HALVING)), Lanes(LanePolicy(HALVING))
    for lanes in (one, other):
        lanes.add(0, 100_000)
        lanes.add(1, 100_000)
        lanes.fetch(7)
    for _ in range(100):
        one.order.next(50, one.now)
    for lanes in (one, other):
        lanes.add(4, 100_000)
    for _ in range(50):
        assert one.fetch(3) == other.fetch(3)


def test_a_trickle_of_the_worst_lane_gets_no_more_than_its_share() -> None:
    lanes = Lanes(LanePolicy(HALVING))
    lanes.add(0, 100_000)
    for _ in range(2000):
        if not lanes.waiting[4]:
            lanes.add(4)
        lanes.fetch(1)
    assert 2000 / 17 * 0.5 <= lanes.taken[4] <= 2000 / 17 + 2


# -- options -----------------------------------------------------------------------------------------


def test_options() -> None:
    assert checked("strict", None) == LanePolicy()
    assert checked("strict", timedelta(minutes=1)) == LanePolicy(max_wait=60.0)
    assert checked(WEIGHTS, 5) == LanePolicy(HALVING, 5.0)
    assert checked(dict(reversed(WEIGHTS.items())), None) == LanePolicy(HALVING)


@pytest.mark.parametrize(
    ("lanes", "max_wait", "said"),
    [
        ("weighted", None, "lanes='weighted'.*give \"strict\", or a weight for each of critical, high"),
        (None, None, "lanes=None"),
        ([16, 8], None, r"lanes=\[16, 8\]"),
        ({"critical": 1}, None, "give 'high' a weight"),
        ({**WEIGHTS, "urgent": 3}, None, "'urgent' is no lane; there are critical, high, normal, low, background"),
        ({**WEIGHTS, "low": 0}, None, "weight of 'low' must be a whole number from 1 to 1000"),
        ({**WEIGHTS, "low": 1.5}, None, "weight of 'low'"),
        ({**WEIGHTS, "low": True}, None, "weight of 'low'"),
        ({**WEIGHTS, "low": 1001}, None, "weight of 'low'"),
        ("strict", 0, "max_wait=0.*at least 0.05 s"),
        ("strict", "60", "max_wait='60'"),
    ],
)
def test_options_that_could_not_work_name_option_value_and_remedy(lanes: Any, max_wait: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        checked(lanes, max_wait)
