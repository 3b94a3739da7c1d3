"""What a handler raises to steer: values, units, and what makes no sense."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamq import Discard, Fatal, RateLimited, Retry, Snooze, StreamqError
from streamq._core.steer import Steer
from streamq.errors import ConfigError

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def test_durations_become_milliseconds() -> None:
    assert Retry(after=1.5).after_ms == 1500
    assert Retry(after=0).after_ms == 0
    assert Retry().after_ms is None
    assert Snooze(timedelta(minutes=1)).after_ms == 60_000
    assert Snooze(until=NOON).until_ms == int(NOON.timestamp() * 1000)
    assert RateLimited(0.0001).after_ms == 1


@pytest.mark.parametrize(
    ("steer", "text", "reason"),
    [
        (Retry(), "retry asked for", ""),
        (Retry("busy"), "busy", "busy"),
        (Snooze(1), "snoozed", ""),
        (Snooze(1, reason="night"), "night", "night"),
        (RateLimited(1), "rate limited", ""),
        (RateLimited(1, reason="429"), "429", "429"),
        (Discard(), "discarded", ""),
        (Discard("stale"), "stale", "stale"),
        (Fatal(), "fatal", ""),
        (Fatal("no such user"), "no such user", "no such user"),
    ],
)
def test_each_says_what_it_is(steer: Steer, text: str, reason: str) -> None:
    assert str(steer) == text
    assert getattr(steer, "reason", None) == reason


def test_none_of_them_is_an_error_of_streamq() -> None:
    for kind in (Retry, Snooze, RateLimited, Discard, Fatal):
        assert issubclass(kind, Steer)
        assert not issubclass(kind, StreamqError)


@pytest.mark.parametrize(("after", "until"), [(None, None), (1, NOON)])
def test_snooze_takes_exactly_one_of_after_and_until(after: float | None, until: datetime | None) -> None:
    with pytest.raises(TypeError, match="exactly one"):
        Snooze(after, until=until)


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: Retry(after=-1), r"Retry\(after\)=-1"),
        (lambda: Retry(after=True), r"Retry\(after\)=True"),
        (lambda: Snooze(float("nan")), r"Snooze\(after\)=nan"),
        (lambda: Snooze(until=datetime(2030, 1, 1)), r"Snooze\(until\)=datetime"),  # noqa: DTZ001
        (lambda: RateLimited(1_700_000_000), r"RateLimited\(after\)=1700000000"),
    ],
)
def test_a_wrong_duration_names_its_option(make: Any, option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        make()


@pytest.mark.parametrize(
    "steer",
    [Retry("busy", after=5), Snooze(60, reason="night"), Snooze(until=NOON), RateLimited(3), Discard("a"), Fatal("b")],
    ids=repr,
)
def test_all_of_them_cross_from_a_child_process_as_they_are(steer: Steer) -> None:
    copy = pickle.loads(pickle.dumps(steer))  # noqa: S301 - our own bytes, as a process pool sends them
    assert type(copy) is type(steer)
    assert copy.args == steer.args
    assert vars(copy) == vars(steer)
