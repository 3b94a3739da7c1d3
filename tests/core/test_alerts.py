"""Rules and how they stand: hold-down, repetition, escalation, resolution. Pure: the clock is a number."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq import AlertRule
from streamq._core import alerts, standing
from streamq._core.standing import Standing
from streamq.errors import ConfigError

START = 1_700_000_000_000


class Watch:
    """A rule that meets values; ``told`` is what somebody would have heard, with the second it was heard in."""

    def __init__(self, rule: AlertRule, *, delivers: bool = True) -> None:
        self.rule = rule
        self.standing = Standing()
        self.delivers = delivers
        self.told: list[tuple[float, str, str]] = []

    def at(self, second: float, value: float | None) -> Watch:
        now = START + int(second * 1000)
        after = standing.judged(self.rule, self.standing, value, now)
        if standing.is_to_be_told(self.standing, after):
            alert = standing.alert("q", self.rule, after, now)
            self.told.append((second, alert.state, alert.severity))
            if self.delivers:
                after.untold = ""
        self.standing = standing.decode(standing.encode({"r": after}))["r"]
        return self

    def over(self, first: float, last: float, value: float, step: float = 5) -> Watch:
        second = first
        while second <= last:
            self.at(second, value)
            second += step
        return self


def rule(**options: Any) -> AlertRule:
    given: dict[str, Any] = {"above": 50, **options}
    return AlertRule("dead", **given)


def test_it_fires_once_and_is_resolved_once() -> None:
    watch = Watch(rule()).over(0, 100, 60).over(105, 200, 10)
    assert watch.told == [(0, "firing", "warning"), (105, "resolved", "warning")]


def test_a_value_at_the_limit_is_fine() -> None:
    assert Watch(rule()).over(0, 100, 50).told == []
    assert Watch(AlertRule("workers", below=2)).over(0, 100, 2).told == []
    assert Watch(AlertRule("workers", below=2)).at(0, 1).told == [(0, "firing", "warning")]


def test_it_is_held_down_until_it_lasted() -> None:
    watch = Watch(rule(for_=60))
    watch.over(0, 55, 60).at(58, 10)  # back in time
    assert watch.told == []
    watch.over(60, 130, 60)
    assert watch.told == [(120, "firing", "warning")]
    watch.over(135, 190, 10).at(193, 60)  # not back for long enough
    assert len(watch.told) == 1
    watch.over(195, 300, 10)
    assert watch.told[1:] == [(255, "resolved", "warning")]


def test_it_is_told_again_every_so_often_while_it_lasts() -> None:
    watch = Watch(rule(every=60)).over(0, 130, 60)
    assert [second for second, _, _ in watch.told] == [0, 60, 120]
    assert watch.standing.count == 3
    assert len(Watch(rule(every=None)).over(0, 100_000, 60, 1000).told) == 1


def test_what_comes_back_soon_is_told_only_when_its_time_has_come() -> None:
    watch = Watch(rule(every=600))
    watch.over(0, 20, 60).over(25, 40, 10)  # fired, resolved
    watch.over(45, 500, 60, 5)
    assert watch.told == [(0, "firing", "warning"), (25, "resolved", "warning")], "no firing again before `every`"
    watch.over(505, 605, 60)
    assert watch.told[2:] == [(600, "firing", "warning")], "but it is not forgotten"
    watch.over(610, 640, 10)
    assert watch.told[3:] == [(610, "resolved", "warning")]


def test_a_flapping_value_that_nobody_heard_of_is_not_resolved_either() -> None:
    watch = Watch(rule(every=600)).at(0, 60).at(5, 10)
    for second in range(10, 500, 10):
        watch.at(second, 60).at(second + 5, 10)
    assert len(watch.told) == 2


def test_two_limits_are_two_severities_and_the_graver_one_is_news_at_once() -> None:
    watch = Watch(rule(above=(50, 200), every=3600))
    watch.over(0, 20, 60).over(25, 40, 300).over(45, 60, 60).over(65, 80, 300).at(85, 0)
    assert watch.told == [
        (0, "firing", "warning"),
        (25, "firing", "critical"),
        (85, "resolved", "critical"),
    ], "back to a warning and up again is no news"


def test_the_second_limit_is_held_down_by_itself() -> None:
    watch = Watch(rule(above=(50, 200), for_=30))
    watch.over(0, 30, 60).over(35, 60, 300)
    assert watch.told == [(30, "firing", "warning")]
    watch.at(65, 300)
    assert watch.told[1:] == [(65, "firing", "critical")]


def test_it_escalates_when_it_lasts() -> None:
    watch = Watch(rule(escalate_after=300, every=None)).over(0, 400, 60).over(405, 500, 10)
    assert watch.told == [(0, "firing", "warning"), (300, "firing", "critical"), (405, "resolved", "critical")]
    assert not watch.standing.escalated


def test_an_unknown_value_changes_nothing() -> None:
    watch = Watch(rule(for_=20)).at(0, 60)
    for second in (5, 10, 15):
        watch.at(second, None)
    assert watch.told == []
    assert watch.at(20, 60).told == [(20, "firing", "warning")]
    assert watch.at(25, None).standing.level == "warning"


def test_what_could_not_be_told_is_told_again_a_minute_later() -> None:
    watch = Watch(rule(every=None), delivers=False).over(0, 100, 60)
    assert [second for second, _, _ in watch.told] == [0, 60]
    watch.delivers = True
    watch.over(105, 200, 60)
    assert [second for second, _, _ in watch.told] == [0, 60, 120]
    watch.delivers = False
    watch.over(205, 270, 10)
    assert watch.told[3:] == [(205, "resolved", "warning"), (265, "resolved", "warning")]


def test_an_alert_says_what_when_and_what_to_do() -> None:
    watch = Watch(rule(above=(50, 200), for_=10))
    watch.over(0, 15, 300)
    found = standing.alert("mail", watch.rule, watch.standing, START + 15_000, told=False)
    assert (found.state, found.severity, found.value, found.limit) == ("firing", "critical", 300, 200)
    assert (found.at - found.since).total_seconds() == 15
    assert str(found) == "[critical] mail: 300 dead letters, limit 200; see why: streamq dlq list --queue mail"
    after = standing.judged(watch.rule, watch.standing, 3, START + 20_000)
    after = standing.judged(watch.rule, after, 3, START + 30_000)
    over = standing.alert("mail", watch.rule, after, START + 30_000)
    assert str(over) == "[resolved] mail: 3 dead letters, limit 50"


@given(st.lists(st.sampled_from([0.0, 60.0, 300.0, None]), max_size=60), st.sampled_from([0, 20]))
def test_whatever_the_values_are_nothing_is_resolved_that_was_not_told(values: list[float | None], for_: float) -> None:
    watch = Watch(rule(above=(50, 200), for_=for_, every=60, escalate_after=100))
    for number, value in enumerate(values):
        watch.at(number * 5, value)
    is_open = False
    for _, state, _ in watch.told:
        assert state == "firing" or is_open
        is_open = state == "firing"
    firings = [(second, severity) for second, state, severity in watch.told if state == "firing"]
    for (first, was), (second, now) in itertools.pairwise(firings):
        assert second - first >= 60 or (was, now) == ("warning", "critical")


def test_names_say_what_a_rule_says() -> None:
    assert rule(for_=300).name == "dead > 50 for 300 s"
    assert AlertRule("error_rate", above=(0.05, 0.2)).name == "error_rate > 0.05, 0.2"
    assert AlertRule("workers", below=1, name="nobody works").name == "nobody works"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"metric": "deadness", "above": 1}, "AlertRule(metric)"),
        ({"metric": "dead"}, "AlertRule(above)"),
        ({"metric": "dead", "above": 1, "below": 1}, "AlertRule(above)"),
        ({"metric": "dead", "above": "1"}, "AlertRule(above)"),
        ({"metric": "dead", "above": (5, 1)}, "AlertRule(above)"),
        ({"metric": "dead", "above": ()}, "AlertRule(above)"),
        ({"metric": "workers", "below": (1, 5)}, "AlertRule(below)"),
        ({"metric": "dead", "above": 1, "severity": "bad"}, "AlertRule(severity)"),
        ({"metric": "dead", "above": 1, "for_": -1}, "AlertRule(for_)"),
        ({"metric": "dead", "above": 1, "every": 0}, "AlertRule(every)"),
        ({"metric": "dead", "above": 1, "escalate_after": timedelta(0)}, "AlertRule(escalate_after)"),
        ({"metric": "dead", "above": 1, "window": 5}, "AlertRule(window)"),
    ],
)
def test_what_cannot_be_right_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AlertRule(**options)
    assert caught.value.option == named


def test_rules_of_a_queue_have_names_of_their_own() -> None:
    one = rule()
    assert alerts.checked_rules("alerts", one) == (one,)
    assert alerts.checked_rules("alerts", [one, AlertRule("oldest", above=60)])[0] is one
    with pytest.raises(ConfigError, match="two rules"):
        alerts.checked_rules("alerts", [one, rule()])
    with pytest.raises(ConfigError, match="AlertRule"):
        alerts.checked_rules("alerts", ["dead > 50"])


def test_rules_of_other_code_are_kept_for_a_day() -> None:
    day = standing.FORGET_MS
    found = {"theirs": Standing(seen=START), "old": Standing(seen=START - day)}
    kept = standing.with_what_others_know(found, {"ours": Standing(seen=START)}, START + 1)
    assert kept.keys() == {"theirs", "ours"}
    assert standing.decode(b"") == {}
    assert standing.decode(b"nonsense") == {}
