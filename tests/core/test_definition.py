"""What is kept of a schedule: its digest tells what changed, its ticks name their jobs, and odd instants say so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from streamq._core import envelope
from streamq._core.envelope import MALFORMED, Envelope
from streamq._core.schedule import (
    ID_LIMIT,
    AtSchedule,
    CronSchedule,
    Definition,
    EverySchedule,
    Plan,
    Schedule,
    decode,
    encode,
    tick_id,
)

TEN = datetime(2026, 6, 1, 10, tzinfo=UTC)
DAILY = Plan(CronSchedule("0 2 * * *", "Europe/Athens"))


def made(plan: Plan = DAILY, expires_in_ms: int | None = None, **job: Any) -> Definition:
    return Definition(plan, Envelope("send", **job), expires_in_ms)


@pytest.mark.parametrize(
    "definition",
    [
        made(),
        made(Plan(EverySchedule(15), limit=3, misfire="skip"), expires_in_ms=500),
        Definition(Plan(AtSchedule(TEN)), Envelope("send", msgspec.Raw(b"\x81\xa1n\x05"), lane=0, headers={"a": "b"})),
    ],
)
def test_what_is_kept_is_what_was_given(definition: Definition) -> None:
    assert decode(encode(definition)) == definition
    assert decode(encode(definition)).version == definition.version


def test_a_version_says_whether_the_ticks_changed() -> None:
    ticks, whole = made().version[:8], made().version
    assert len(whole) == 16
    for other in (
        made(lane=0),
        made(expires_in_ms=5),
        made(Plan(DAILY.schedule, misfire="skip")),
        made(Plan(DAILY.schedule, limit=3)),
    ):
        assert other.version[:8] == ticks
        assert other.version != whole
    for plan in (
        Plan(CronSchedule("0 3 * * *", "Europe/Athens")),
        Plan(CronSchedule("0 2 * * *", "Europe/London")),
        Plan(DAILY.schedule, start=TEN),
        Plan(DAILY.schedule, end=TEN),
    ):
        assert made(plan).version[:8] != ticks


def test_the_order_of_headers_makes_no_other_version() -> None:
    assert made(headers={"a": "1", "b": "2"}).version == made(headers={"b": "2", "a": "1"}).version


def test_versions_outlive_releases() -> None:
    # Removed schedules would come back, and changed ones be forgotten, if an update of streamq moved them.
    assert made().version == "780f81a650a49949"


def test_what_a_newer_streamq_adds_is_passed_over_and_what_makes_no_sense_is_malformed() -> None:
    plain = msgspec.msgpack.decode(encode(made()))
    assert decode(msgspec.msgpack.encode({**plain, "new": 1})) == made()
    for broken in (
        b"",
        b"\xc0",
        encode(made())[:-1],
        msgspec.msgpack.encode({**plain, "plan": {"schedule": ["z", 1]}}),
    ):
        with pytest.raises(MALFORMED):
            decode(broken)


def test_the_job_of_a_tick_expires_after_it_was_fired() -> None:
    found = envelope.decode(made(expires_in_ms=500).body(1000))
    assert (found.created_ms, found.expires_ms) == (1000, 1500)
    assert envelope.decode(made().body(1000)).expires_ms is None


def test_the_id_of_a_tick_is_readable_and_short_enough_for_a_job() -> None:
    assert tick_id("daily", TEN) == "daily@2026-06-01T10:00:00Z"
    assert tick_id("poll", TEN + timedelta(milliseconds=50)) == "poll@2026-06-01T10:00:00.050Z"
    assert len(tick_id("x" * ID_LIMIT, TEN + timedelta(milliseconds=1))) <= 200


@pytest.mark.parametrize(
    ("schedule", "after", "note"),
    [
        (CronSchedule("30 3 * * *", "Europe/Athens"), "2026-03-28T12:00", "is skipped, so it runs at 04:00"),
        (CronSchedule("30 3 * * *", "Europe/Athens"), "2026-10-24T12:00", "03:30 comes twice, this is the first"),
        (CronSchedule("*/30 * * * *", "Europe/Athens"), "2026-10-25T01:10", "03:30 comes twice, this is the second"),
        (CronSchedule("30 3 * * *", "Europe/Athens"), "2026-06-01T12:00", ""),
        (CronSchedule("30 3 * * *"), "2026-03-28T12:00", ""),
        (EverySchedule(60), "2026-03-28T12:00", ""),
        (AtSchedule(TEN), "2026-03-28T12:00", ""),
    ],
)
def test_an_odd_instant_says_why(schedule: Schedule, after: str, note: str) -> None:
    tick = schedule.next(datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert tick is not None
    found = schedule.note(tick)
    assert found.endswith(note)
    assert bool(found) == bool(note)


def test_words_leave_the_zone_out() -> None:
    assert CronSchedule("0 9 * * MON", "Europe/Athens").words() == "every Monday at 09:00"
    assert CronSchedule("*/7 * * * *").words() == "cron */7 * * * *"
    assert AtSchedule(TEN).words() == "once at 2026-06-01 10:00:00"
