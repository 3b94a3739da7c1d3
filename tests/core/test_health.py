"""When a queue is well: limits, verdicts, reasons. Pure: no server."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from streamq import HealthPolicy
from streamq._core import health
from streamq._core.alerts import METRICS
from streamq._core.health import Facts, Reason, judge, worst
from streamq.errors import ConfigError

WELL = Facts("mail", workers=2, completed=1000, failed=10, stalled=0)


def facts(**changes: Any) -> Facts:
    return Facts(**{**{name: getattr(WELL, name) for name in WELL.__struct_fields__}, **changes})


def judged(policy: HealthPolicy | None = None, **changes: Any) -> list[Reason]:
    return list(judge(policy or HealthPolicy(), facts(**changes)))


def test_a_queue_that_is_well_has_no_reasons() -> None:
    assert judged() == []
    assert worst([]) == "ok"


@pytest.mark.parametrize(
    ("policy", "changes", "what"),
    [
        ({}, ("waiting", 1000, 1001, 5001), "size"),
        ({}, ("failed", 50, 51, 201), "failed"),
        ({}, ("stalled", 10, 11, 51), "stalled"),
        ({"oldest": (60, timedelta(minutes=10))}, ("oldest", 60.0, 60.5, 601.0), "oldest"),
        ({"dead": (5, 10)}, ("dead", 5, 6, 11), "dead"),
        ({"failed": None, "error_rate": (0.1, 0.5)}, ("failed", 100, 200, 2000), "error_rate"),
    ],
)
def test_a_limit_is_met_when_it_is_passed(
    policy: dict[str, Any], changes: tuple[str, float, float, float], what: str
) -> None:
    name, fine, warning, critical = changes
    known = HealthPolicy(**policy)
    assert judged(known, **{name: fine}) == []
    for value, level, limit in ((warning, "warning", 0), (critical, "critical", 1)):
        (one,) = judged(known, **{name: value})
        assert (one.what, one.level) == (what, level)
        limits = known.limits(what)
        assert limits is not None
        assert one.limit == limits[limit]
        assert "limit" in one.said
        assert "streamq " in one.do
        assert one.do in str(one)
        assert "{" not in str(one)


def test_a_reason_names_value_limit_and_the_next_step() -> None:
    (one,) = judged(waiting=5210)
    assert one.said == "5,210 waiting, limit 5,000"
    assert "streamq jobs list --queue mail --state waiting" in one.do
    (one,) = judged(HealthPolicy(oldest=(60, 300)), oldest=372.0)
    assert one.said == "oldest has waited 6 min 12 s, limit 5 min"
    (one,) = judged(HealthPolicy(failed=None, error_rate=(0.05, 0.2)), failed=1000)
    assert one.said == "50.0% of all attempts failed in 5 min, limit 20.0%"


def test_waiting_jobs_need_a_worker_unless_the_queue_is_paused() -> None:
    (one,) = judged(waiting=1, workers=0)
    assert (one.what, one.level, one.said) == ("workers", "critical", "1 job waiting, no worker")
    (one,) = judged(waiting=2, workers=0, paused=True, pause_reason="provider is down")
    assert (one.what, one.level) == ("paused", "warning")
    assert one.said == "paused (provider is down), 2 jobs waiting"
    assert one.do == "go on: streamq resume mail"
    assert judged(workers=0) == []
    assert judged(paused=True, workers=0) == []


def test_the_gravest_reason_comes_first_and_decides() -> None:
    found = judged(waiting=1500, workers=0, stalled=20)
    assert [one.level for one in found] == ["critical", "warning", "warning"]
    assert worst(found) == "critical"
    assert worst(found[1:]) == "warning"


def test_what_is_not_known_or_not_asked_for_is_no_reason() -> None:
    assert judged(failed=None, stalled=None, completed=None) == []
    assert judged(HealthPolicy(size=None), waiting=10**9) == []


def test_a_few_attempts_say_nothing_of_the_error_rate() -> None:
    policy = HealthPolicy(failed=None, error_rate=(0, 0))
    assert judged(policy, completed=0, failed=health.LEAST_ATTEMPTS - 1) == []
    assert judged(policy, completed=0, failed=health.LEAST_ATTEMPTS)[0].value == 1.0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"size": (5, 1)}, "HealthPolicy(size)"),
        ({"size": 5}, "HealthPolicy(size)"),
        ({"failed": (1, 2, 3)}, "HealthPolicy(failed)"),
        ({"stalled": (-1, 2)}, "HealthPolicy(stalled)"),
        ({"dead": (True, 2)}, "HealthPolicy(dead)"),
        ({"oldest": 60}, "HealthPolicy(oldest)"),
        ({"oldest": ("1", 2)}, "HealthPolicy(oldest)"),
        ({"oldest": (20, 10)}, "HealthPolicy(oldest)"),
        ({"error_rate": (5, 20)}, "HealthPolicy(error_rate)"),
        ({"error_rate": (float("nan"), 1)}, "HealthPolicy(error_rate)"),
        ({"window": 30}, "HealthPolicy(window)"),
        ({"window": timedelta(days=2)}, "HealthPolicy(window)"),
    ],
)
def test_what_cannot_be_right_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HealthPolicy(**options)
    assert caught.value.option == named
    assert caught.value.remedy


def test_a_policy_travels() -> None:
    policy = HealthPolicy(
        size=None, oldest=(1.5, timedelta(hours=1)), error_rate=(0.01, 0.1), window=timedelta(hours=1)
    )
    assert health.decode(health.encode(policy)) == policy
    assert policy.oldest == (1.5, 3600.0)
    assert policy.window_seconds == 3600.0
    assert health.decode(health.encode(HealthPolicy())) == HealthPolicy()
    assert health.decode('{"size": [9, 1]}') is None
    assert health.decode("nonsense") is None


def test_every_metric_has_words_and_a_next_step() -> None:
    for metric in METRICS:
        said = f"{health.words(metric, 3, 2, 300)}; {health.step(metric, 'mail')}"
        assert "{" not in said
        assert "streamq " in said
        assert WELL.value(metric) is not None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (5400, "1 h 30 m"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert health.words("oldest", seconds, 0, 300).startswith(f"oldest has waited {text}, limit")


def test_one_is_not_many() -> None:
    assert health.words("dead", 1, 0, 300) == "1 dead letter, limit 0"
    assert health.words("workers", 0, 1, 300) == "0 workers, limit 1"
