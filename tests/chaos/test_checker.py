"""The checker against histories made by hand: one for every verdict, each wrong in one way. No server, no processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import ticks
from tests.chaos.checker import Final, Terms, Verdict, check
from tests.chaos.report import Faults, Report, added, load_all, page, table
from tests.chaos.run import seeds_of
from tests.chaos.runs import TAKES
from tests.ledger import Line

TERMS = Terms(lease=3.0, sweep=2.0, max_stalls=2, period=1.0)
WALL = 1_795_000_000.0
"""The wall clock when the monotonic one says zero."""


class History:
    """A ledger in the making; times in seconds."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._faults = 0

    def say(self, at: float, pid: int, what: str, job: str = "", /, **more: object) -> History:
        self.lines.append(Line(at, pid, what, job, dict(more)))
        return self

    def sent(self, job: str, at: float = 0.0, answer: str = "ok", **more: object) -> History:
        self.say(at, 1, "try", job, **more)
        return self.say(at + 0.01, 1, answer, job) if answer else self

    def start(self, job: str, at: float, pid: int, **more: object) -> History:
        facts: dict[str, object] = {"attempt": 1, "stalls": 0, "fence": 0, "wall": WALL + at}
        return self.say(at, pid, "start", job, **{**facts, **more})

    def effect(self, job: str, at: float, pid: int) -> History:
        return self.say(at, pid, "effect", job)

    def settled(
        self, job: str, at: float, pid: int, answer: str = "a", verb: str = "c", place: str = "21-0", take: int = 0
    ) -> History:
        return self.say(at, pid, "settled", job, verb=verb, answer=answer, token=f"{place}:{take}")

    def lost(self, job: str, at: float, pid: int, take: int = 0) -> History:
        return self.say(at, pid, "lost", job, token=f"21-0:{take}")

    def run(self, job: str, at: float, pid: int, answer: str = "a", place: str = "21-0") -> History:
        """A whole run of 0.1 s."""
        return self.start(job, at, pid).effect(job, at + 0.1, pid).settled(job, at + 0.11, pid, answer, place=place)

    def fault(self, kind: str, since: float, until: float, *, explains: bool = True) -> History:
        self._faults += 1
        self.say(since, 9, "fault", n=self._faults, kind=kind, explains=explains, wall=WALL + since)
        return self.say(until, 9, "healed", n=self._faults)

    def judge(self, completed: dict[str, int] | None = None, **final: Any) -> Verdict:
        lines = sorted(self.lines, key=lambda line: line.at)
        return check(lines, Final(completed=completed or {}, **final), TERMS)


def test_a_job_that_ran_once() -> None:
    verdict = History().sent("a").run("a", 1, 10).judge({"a": 1})
    assert verdict.wrong == {}
    assert (verdict.jobs, verdict.runs, verdict.ambiguous) == (1, 1, 0)


# -- 1 and 2: enqueues ------------------------------------------------------------------------------------


def test_acknowledged_and_lost() -> None:
    assert History().sent("a").sent("b").run("b", 1, 10).judge({"b": 1}).wrong == {"lost": ["a"]}


def test_acknowledged_and_still_there_is_stuck_not_lost() -> None:
    assert History().sent("a").judge(stuck=["a"]).wrong == {"stuck": ["a"]}


def test_acknowledged_and_cancelled_is_an_end() -> None:
    assert History().sent("a").say(1, 1, "cancelled", "a").judge().wrong == {}


def test_whose_cancel_was_not_answered_may_have_ended_by_it() -> None:
    assert History().sent("a").say(1, 1, "cancelling", "a").judge().wrong == {}
    history = History().sent("a").say(1, 1, "cancelling", "a").say(1, 2, "kept", "a")
    assert history.judge().wrong == {"lost": ["a"]}


@pytest.mark.parametrize(("kept", "wrong"), [(2.5, {}), (1.5, {"lost": ["a"]})])
def test_a_cancel_that_a_flush_came_between_may_have_been_made(kept: float, wrong: dict[str, list[str]]) -> None:
    history = History().sent("a").say(1, 1, "cancelling", "a").fault("FLUSHALL", 2, 2.1).say(2, 9, "wiped", jobs=[])
    assert history.say(kept, 1, "kept", "a").judge().wrong == wrong


def test_what_a_thawed_worker_says_of_its_next_run_is_not_said_of_the_one_it_lost() -> None:
    history = History().sent("a").say(1.5, 9, "frozen", pid=10).start("a", 1, 10).start("a", 5, 11, fence=1)
    history.say(5.05, 9, "thawed", pid=10).lost("a", 5.1, 10).settled("a", 5.2, 11, verb="r", take=1)
    history.start("a", 5.3, 10, fence=TAKES, attempt=2).settled("a", 5.4, 10, place="22-0")
    assert history.judge({"a": 1}).wrong == {}


@pytest.mark.parametrize("answer", ["unknown", ""])
@pytest.mark.parametrize("exists", [True, False])
def test_an_ambiguous_enqueue_may_have_made_a_job_or_not(answer: str, *, exists: bool) -> None:
    history = History().sent("a", answer=answer)
    verdict = history.run("a", 1, 10).judge({"a": 1}) if exists else history.judge()
    assert verdict.wrong == {}
    assert verdict.ambiguous == 1


def test_an_ambiguous_enqueue_that_made_two() -> None:
    history = History().sent("a", answer="unknown")
    history.run("a", 1, 10, place="21-0").run("a", 2, 11, place="22-0")
    wrong = history.judge({"a": 2}).wrong
    assert wrong["double_enqueue"] == ["a"]
    assert "unexplained" in wrong


@pytest.mark.parametrize("answer", ["unsent", "refused"])
def test_what_was_not_enqueued_must_not_exist(answer: str) -> None:
    history = History().sent("a", answer=answer)
    assert history.judge().wrong == {}
    assert history.run("a", 1, 10).judge({"a": 1}).wrong == {"invented": ["a"]}


def test_a_job_of_nobody() -> None:
    assert History().judge({"a": 1}).wrong == {"invented": ["a"]}


# -- 3: the fence -----------------------------------------------------------------------------------------


def test_two_accepted_settlements_of_one_entry() -> None:
    history = History().sent("a").run("a", 1, 10).start("a", 1.05, 11).settled("a", 2, 11)
    assert history.judge({"a": 1}).wrong["fence_broken"] == ["a"]


def test_a_settlement_under_a_token_that_was_outdated() -> None:
    """The zombie's was accepted, his successor's refused: one end, and the fence is broken all the same."""
    history = History().sent("a").start("a", 1, 10).say(2, 9, "frozen", pid=10).say(7, 9, "thawed", pid=10)
    history.start("a", 6, 11, fence=1).lost("a", 7.05, 10).settled("a", 7.1, 10).settled("a", 8, 11, "g", take=1)
    assert history.judge({"a": 1}).wrong["fence_broken"] == ["a"]


def test_two_ends_that_the_server_counted() -> None:
    assert History().sent("a").run("a", 1, 10).judge({"a": 2}).wrong == {"fence_broken": ["a"]}


def test_completed_and_dead() -> None:
    history = History().sent("a").run("a", 1, 10).say(0, 1, "doomed", "a")
    assert history.judge({"a": 1}, dead={"a": "stalled"}).wrong == {"fence_broken": ["a"]}


def test_a_refused_settlement_is_none() -> None:
    history = History().sent("a").start("a", 1, 10).say(2, 9, "frozen", pid=10).say(9, 9, "thawed", pid=10)
    history.run("a", 7, 11).settled("a", 9.1, 10, "l")
    verdict = history.judge({"a": 1})
    assert verdict.wrong == {}
    assert verdict.why == {"worker frozen beyond its lease": 1}


# -- 4: every further run has a reason --------------------------------------------------------------------


def test_a_run_for_no_reason() -> None:
    history = History().sent("a").start("a", 1, 10).run("a", 2, 11)
    assert list(history.judge({"a": 1}).wrong) == ["unexplained", "too_many_runs"]


@pytest.mark.parametrize("done", [True, False])
def test_a_killed_worker(*, done: bool) -> None:
    history = History().sent("a").start("a", 1, 10).say(2, 9, "killed", pid=10).run("a", 6, 11)
    if done:
        history.effect("a", 1.5, 10)
    verdict = history.judge({"a": 1})
    assert verdict.wrong == {}
    assert verdict.why == {f"worker killed {'after its effect' if done else 'in its run'}": 1}
    assert verdict.effects_twice == done
    assert [one.seconds for one in verdict.recoveries] == [4.0]


def test_a_worker_killed_after_the_second_run_began_explains_nothing() -> None:
    history = History().sent("a").start("a", 1, 10).run("a", 2, 11).say(3, 9, "killed", pid=10)
    assert "unexplained" in history.judge({"a": 1}).wrong


def test_a_retry_and_a_hand_back() -> None:
    history = History().sent("a").start("a", 1, 10).settled("a", 1.1, 10, verb="r")
    history.start("a", 2, 10).settled("a", 2.1, 10, verb="U").run("a", 3, 11)
    verdict = history.judge({"a": 1})
    assert verdict.wrong == {}
    assert verdict.why == {"retried by its handler": 1, "handed back at stop": 1}


def test_a_fault_of_all_explains_a_run_that_was_refused() -> None:
    history = History().sent("a").fault("partition", 2, 5).start("a", 1, 10).lost("a", 5, 10)
    verdict = history.run("a", 7, 11).judge({"a": 1})
    assert verdict.wrong == {}
    assert verdict.why == {"lease lost: partition": 1}


def test_a_fault_of_all_explains_nothing_when_nobody_was_refused() -> None:
    history = History().sent("a").fault("partition", 2, 5).run("a", 1, 10).start("a", 7, 11)
    assert "unexplained" in history.judge({"a": 1}).wrong


def test_a_fault_that_cannot_cost_a_lease_explains_nothing() -> None:
    history = History().sent("a").fault("event loop blocked beyond the lease", 2, 5, explains=False)
    history.start("a", 1, 10).lost("a", 5, 10).run("a", 7, 11)
    assert "unexplained" in history.judge({"a": 1}).wrong


def test_a_fault_long_ago_explains_nothing() -> None:
    history = History().sent("a").fault("partition", 2, 5).start("a", 20, 10).lost("a", 21, 10)
    assert "unexplained" in history.run("a", 22, 11).judge({"a": 1}).wrong


def test_an_answer_belongs_to_the_run_of_its_take() -> None:
    """A worker has a job twice: handed back by a reconnect, the first run was refused."""
    history = History().sent("a").fault("reply lost", 0, 1).start("a", 1, 10, fence=0).start("a", 2, 10, fence=1)
    history.settled("a", 3, 10, take=1).settled("a", 4, 10, "l")
    assert history.judge({"a": 1}).wrong == {}


@pytest.mark.parametrize("fault", ["group destroyed", "power loss"])
@pytest.mark.parametrize("who", [10, 11])
def test_who_was_given_what_another_holds_and_was_killed_before_he_was_refused(fault: str, who: int) -> None:
    other = 21 - who

    def history(*, killed: float | None, start: float = 2.1, kind: str = fault, take: int = 0) -> dict[str, list[str]]:
        made = History().sent("a").start("a", 1.9, 10).fault(kind, 2, 2.05).start("a", start, 11, fence=take)
        made.settled("a", start + 0.2, other, take=take if other == 11 else 0)
        if killed is not None:
            made.say(killed, 9, "killed", pid=who)
        return made.judge({"a": 1}).wrong

    assert history(killed=2.5) == {}
    assert "unexplained" in history(killed=None), "it would have been told"
    assert "unexplained" in history(killed=2.05 if who == 11 else 1.5), "another process of that number"
    assert "unexplained" in history(killed=30), "it had the time to hear"
    assert "unexplained" in history(killed=2.5, kind="partition"), "that does not make the server forget"
    assert "unexplained" in history(killed=12.5, start=12), "too long after it"
    assert "unexplained" in history(killed=2.5, take=1), "taken over, not given anew"


def test_two_who_were_both_answered_well_are_not_explained_by_a_lost_group() -> None:
    history = History().sent("a").fault("group destroyed", 2, 2.05).run("a", 1.9, 10).run("a", 2.1, 11, place="22-0")
    assert "unexplained" in history.say(2.5, 9, "killed", pid=11).judge({"a": 1}).wrong


@pytest.mark.parametrize("killed", [2.0, 2.4, 30.0, None])
def test_a_retry_whose_worker_did_not_live_to_hear_of_it(killed: float | None) -> None:
    """Noted as killed a moment after: the next run may have begun by then."""
    history = History().sent("a").start("a", 1, 10).start("a", 2.2, 11, fence=TAKES, attempt=2)
    history.settled("a", 2.3, 11, place="22-0")
    if killed is not None:
        history.say(killed, 9, "killed", pid=10)
    assert (history.judge({"a": 1}).wrong == {}) == (killed in {2.0, 2.4})


@pytest.mark.parametrize("more", [{"fence": 1}, {"fence": 0}, {"fence": TAKES}, {"fence": 1, "stalls": 1}])
@pytest.mark.parametrize("stopped", [True, False])
def test_a_hand_back_whose_worker_did_not_live_to_hear_of_it(more: dict[str, int], *, stopped: bool) -> None:
    history = History().sent("a").start("a", 1, 10).start("a", 2.2, 11, **more).settled("a", 2.3, 11)
    history.say(2.4, 9, "killed", pid=10)
    if stopped:
        history.say(2, 9, "stopped", pid=10)
    assert (history.judge({"a": 1}).wrong == {}) == (stopped and more == {"fence": 1})


@pytest.mark.parametrize(("killed", "is_explained"), [(7.1, True), (20.0, False), (None, False)])
@pytest.mark.parametrize("begun", [1.0, 7.05])
def test_a_thawed_worker_that_did_not_live_to_hear_what_it_lost(
    begun: float, killed: float | None, *, is_explained: bool
) -> None:
    history = History().sent("a").start("a", begun, 10).say(2, 9, "frozen", pid=10).say(7, 9, "thawed", pid=10)
    history.start("a", 7.06, 11, fence=1).settled("a", 7.2, 11, take=1)
    if killed is not None:
        history.say(killed, 9, "killed", pid=10)
    assert ("unexplained" not in history.judge({"a": 1}).wrong) == is_explained


# -- 5 and 6: how many runs, how many stalls --------------------------------------------------------------


def test_more_runs_than_faults() -> None:
    history = History().sent("a").say(1, 9, "frozen", pid=10).say(4, 9, "thawed", pid=10)
    history.start("a", 0.5, 10).lost("a", 3.9, 10)
    history.start("a", 2, 10).lost("a", 3.95, 10).run("a", 3, 11)
    assert list(history.judge({"a": 1}).wrong) == ["too_many_runs"]


def test_dead_without_enough_faults() -> None:
    history = History().sent("a").start("a", 1, 10).say(2, 9, "killed", pid=10)
    assert list(history.judge(dead={"a": "stalled"}).wrong) == ["wrongly_dead"]


def test_dead_after_three_kills() -> None:
    history = History().sent("a")
    for pid in (10, 11, 12):
        history.start("a", pid - 9.0, pid, stalls=pid - 10).say(pid - 8.5, 9, "killed", pid=pid)
    assert history.judge(dead={"a": "stalled"}).wrong == {}


def test_dead_for_another_reason() -> None:
    assert list(History().sent("a").judge(dead={"a": "attempts exhausted"}).wrong) == ["wrongly_dead"]


def test_a_run_with_more_stalls_than_allowed() -> None:
    history = History().sent("a").start("a", 1, 10, stalls=3).settled("a", 2, 10)
    assert list(history.judge({"a": 1}).wrong) == ["wrongly_dead"]


def test_a_job_that_is_to_be_dead_and_is_not() -> None:
    history = History().say(0, 1, "doomed", "a")
    assert list(history.judge().wrong) == ["wrongly_dead"]
    assert history.judge(dead={"a": "stalled", "raw-21-0": "no job"}).wrong == {}


# -- 7, 8, 9: what is left, how long it took, when --------------------------------------------------------


def test_what_is_left_behind() -> None:
    assert History().judge(leaks=["consumer w1"]).wrong == {"leaks": ["consumer w1"]}


def test_a_killed_workers_job_that_came_back_late() -> None:
    history = History().sent("a").start("a", 1, 10).say(2, 9, "killed", pid=10).run("a", 8.1, 11)
    assert list(history.judge({"a": 1}).wrong) == ["slow"]


def test_suspects_come_back_one_a_sweep() -> None:
    history = History().sent("a").start("a", 1, 10).sent("b").start("b", 1, 10).say(2, 9, "killed", pid=10)
    history.start("b", 5, 11, stalls=2, fence=1).effect("b", 5.1, 11).settled("b", 5.2, 11, take=1)
    history.start("a", 9.5, 11, stalls=2, fence=1).effect("a", 9.6, 11).settled("a", 9.7, 11, take=1)
    assert history.judge({"a": 1, "b": 1}).wrong == {}


@pytest.mark.parametrize("stalls", [(1, 2), (2, 1)])
def test_nobody_else_waits_for_suspects(stalls: tuple[int, int]) -> None:
    history = History().sent("a").start("a", 1, 10).sent("b").start("b", 1, 10).say(2, 9, "killed", pid=10)
    history.start("b", 5, 11, stalls=stalls[0], fence=1).effect("b", 5.1, 11).settled("b", 5.2, 11, take=1)
    history.start("a", 9.5, 11, stalls=stalls[1], fence=1).effect("a", 9.6, 11).settled("a", 9.7, 11, take=1)
    assert list(history.judge({"a": 1, "b": 1}).wrong) == ["slow"]


def test_late_because_its_rescuer_was_hit_too() -> None:
    history = History().sent("a").start("a", 1, 10).say(2, 9, "killed", pid=10).say(4, 9, "killed", pid=11)
    assert history.run("a", 8.1, 12).judge({"a": 1}).wrong == {}


def test_a_start_before_it_was_due() -> None:
    history = History().sent("a", due=WALL + 2).run("a", 1.9, 10)
    assert list(history.judge({"a": 1}).wrong) == ["early"]
    history = History().sent("a", due=WALL + 2).run("a", 1.9, 10).fault("clock jump", 1, 1.5)
    assert history.judge({"a": 1}).wrong == {}


TICKS = {f"tick@2026-11-18T11:06:{second:02}Z": 1 for second in (40, 41, 43, 44)}


def test_a_tick_that_never_was() -> None:
    at = 1_795_000_002 - WALL  # 11:06:42
    history = History().fault("reply lost", at, at + 1)
    assert history.judge(TICKS).wrong == {"ticks_missing": ["tick@2026-11-18T11:06:42Z"]}
    assert history.fault("FLUSHALL", at - 1, at).judge(TICKS).wrong == {}


def test_a_tick_that_ran_twice() -> None:
    first = next(iter(TICKS))
    assert History().judge({first: 2}).wrong == {"fence_broken": [first]}


def test_a_process_that_ended_for_no_reason() -> None:
    assert History().say(1, 9, "crashed", name="w1", said="ended with 1").judge().wrong == {
        "crashed": ["w1: ended with 1"]
    }


@pytest.mark.parametrize("how", ["wiped", "torn"])
def test_what_the_server_lost_itself_is_excused(how: str) -> None:
    history = History().sent("a").sent("b").sent("c").say(1, 9, how, jobs=["a", "b", "zzz"])
    history.run("b", 0.5, 10).run("b", 2, 11, place="22-0")
    verdict = history.judge({"b": 2})
    assert verdict.wrong == {"lost": ["c"]}
    assert verdict.excused == 2


@pytest.mark.parametrize(("acked", "wrong"), [(2.5, {}), (1.5, {"double_enqueue": ["a"]})])
def test_an_enqueue_that_a_flush_came_between_may_be_made_twice(acked: float, wrong: dict[str, list[str]]) -> None:
    """Its answer was lost; when it was asked for again, the server had forgotten that it had done it."""
    history = History().say(1, 1, "try", "a").say(acked, 1, "ok", "a").fault("FLUSHALL", 2, 2.1)
    history.say(2, 9, "wiped", jobs=[]).run("a", 1.2, 10).run("a", 2.6, 11, place="22-0")
    found = history.judge({"a": 2}).wrong
    assert {name: jobs for name, jobs in found.items() if name == "double_enqueue"} == wrong


@pytest.mark.parametrize(("second", "wrong"), [(43, []), (42, ["double_enqueue", "unexplained"])])
def test_a_tick_of_a_clock_ahead_comes_again_after_a_flush(second: int, wrong: list[str]) -> None:
    """Its instant was to come when the server forgot it; one whose instant was past does not."""
    tick = f"tick@2026-11-18T11:06:{second:02}Z"
    at = ticks.instant("tick@2026-11-18T11:06:43Z").timestamp() - WALL
    history = History().run(tick, at - 2, 10).fault("FLUSHALL", at - 0.5, at - 0.4).say(at - 0.5, 9, "wiped", jobs=[])
    found = history.run(tick, at, 11, place="22-0").judge({tick: 2}).wrong
    assert [name for name in found if name in {"double_enqueue", "unexplained"}] == wrong


def test_delivered_again_to_the_worker_that_runs_it() -> None:
    """A group was destroyed, so the entry comes again under the same token: one run is lost, the other settles."""
    history = History().sent("a").fault("group destroyed", 1.02, 1.05).start("a", 1, 10).lost("a", 1.06, 10)
    history.start("a", 1.06, 10).effect("a", 1.12, 10).settled("a", 1.13, 10)
    verdict = history.judge({"a": 1})
    assert verdict.wrong == {}
    assert verdict.why == {"lease lost: group destroyed": 1}


# -- 10: order --------------------------------------------------------------------------------------------


def crowd(**lanes: int) -> History:
    """Jobs that were sent one after the other, a tenth of a second apart, from second 0 on."""
    history = History()
    for number, (job, lane) in enumerate(lanes.items()):
        history.sent(job, number / 10, lane=lane)
    return history


def test_who_came_first_starts_first() -> None:
    history = crowd(a=2, b=2, c=2).run("a", 3, 10).run("b", 3.1, 11).run("c", 3.2, 10)
    verdict = history.judge({"a": 1, "b": 1, "c": 1})
    assert verdict.wrong == {}
    assert verdict.calm == 3


def test_a_job_that_was_overtaken_in_its_lane() -> None:
    wrong = crowd(a=2, b=2).run("b", 3, 10).run("a", 4.5, 11).judge({"a": 1, "b": 1}).wrong
    assert wrong == {"overtaken": ["a (lane 2) started 1.50 s after b (lane 2)"]}


def test_a_worse_priority_that_started_first() -> None:
    wrong = crowd(good=0, bad=4).run("bad", 3, 10).run("good", 4.5, 11).judge({"good": 1, "bad": 1}).wrong
    assert wrong == {"overtaken": ["good (lane 0) started 1.50 s after bad (lane 4)"]}


def test_a_better_priority_may_overtake() -> None:
    assert crowd(bad=4, good=0).run("good", 3, 10).run("bad", 9, 11).judge({"good": 1, "bad": 1}).wrong == {}


def test_a_worker_may_hold_a_few_ready() -> None:
    assert crowd(a=2, b=2).run("b", 3, 10).run("a", 3.9, 11).judge({"a": 1, "b": 1}).wrong == {}


def test_jobs_sent_at_once_have_no_order() -> None:
    history = History().say(0, 1, "try", "a", lane=2).say(0, 1, "try", "b", lane=2)
    history.say(0.1, 1, "ok", "a").say(0.1, 1, "ok", "b").run("b", 3, 10).run("a", 9, 11)
    assert history.judge({"a": 1, "b": 1}).wrong == {}


def test_delayed_jobs_and_those_of_groups_have_no_order() -> None:
    assert History().sent("a").sent("b", 1).run("b", 3, 10).run("a", 9, 11).judge({"a": 1, "b": 1}).calm == 0


@pytest.mark.parametrize("when", ["before it was sent", "while it waited", "at its start"])
def test_while_something_is_wrong_there_is_no_order(when: str) -> None:
    history = crowd(a=2, b=2).run("b", 3, 10).run("a", 4.5, 11)
    match when:
        case "before it was sent":
            history.fault("reply lost", -8, -6)
        case "while it waited":
            history.say(2, 9, "killed", pid=12)
        case _:
            history.fault("server killed", 4.4, 4.6)
    verdict = history.judge({"a": 1, "b": 1})
    assert "overtaken" not in verdict.wrong


def test_what_was_wrong_long_ago_is_no_excuse() -> None:
    history = crowd(a=2, b=2).run("b", 3, 10).run("a", 4.5, 11)
    history.fault("reply lost", -20, -19).say(-20, 9, "killed", pid=12)
    assert "overtaken" in history.judge({"a": 1, "b": 1}).wrong


# -- reports ----------------------------------------------------------------------------------------------


def reported(kind: str, seed: int, history: History, **final: Any) -> Report:
    verdict = history.judge(**final)
    spans = {"server killed": [0.5, 1.5]}
    return Report.of(kind, "7.0", seed, 60.0, verdict, Faults({"server killed": 2}, {}, spans, spans), 3)


def test_reports_are_added_up(tmp_path: Path) -> None:
    good = History().sent("a").start("a", 1, 10).say(2, 9, "killed", pid=10).run("a", 6, 11)
    one = reported("redis7", 1, good, completed={"a": 1})
    two = reported("valkey", 2, History().sent("b"))
    for report in (one, two):
        report.save(tmp_path)
    found = load_all(tmp_path)
    assert found == [one, two]
    total = added(found)
    assert (total.jobs, total.seeds, total.faults, total.wrong) == (2, [1, 2], {"server killed": 4}, {"lost": 1})
    assert (one.is_clean, total.is_clean) == (True, False)
    said = page(found)
    assert "| **lost** | 0 | 1 | 1 |" in said
    assert "| server killed | 4 | 1.50 / 1.5 s | 1.50 / 1.5 s |" in said
    assert total.stalls == 6
    assert "lost: b" in table(two)
    json.loads((tmp_path / "redis7-0001.json").read_text())


def test_no_reports() -> None:
    with pytest.raises(ValueError, match="no reports"):
        added([])


def test_seeds() -> None:
    assert seeds_of("3") == [3]
    assert seeds_of("1,4,7-9") == [1, 4, 7, 8, 9]
