"""Every tick at its instant: the calendar against cronsim and by hand, changes of the clock, bounds and misfires."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from cronsim import CronSim
from hypothesis import given, reject
from hypothesis import strategies as st

from streamq._core.schedule import AtSchedule, CronSchedule, EverySchedule, Misfire, Plan, Schedule, due, preview
from streamq.errors import ConfigError

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)

PLAIN_ZONES = ["America/New_York", "Asia/Kolkata", "Europe/Athens", "Europe/London", "UTC"]
"""No change at midnight and none by less than an hour: cronsim follows elapsed time exactly."""

ODD_ZONES = [
    "Africa/Cairo",  # skips midnight
    "Africa/Casablanca",  # goes back for Ramadan
    "America/Havana",  # repeats midnight
    "America/Santiago",  # goes back over midnight, into the day before
    "America/St_Johns",  # half an hour off; until 2011 it went back at 00:01
    "Antarctica/Troll",  # changes by two hours
    "Asia/Gaza",
    "Asia/Tehran",
    "Australia/Lord_Howe",  # changes by half an hour
    "Pacific/Apia",  # had no 30 December 2011
    "Pacific/Chatham",  # changes at 02:45
]
ZONES = PLAIN_ZONES + ODD_ZONES


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def changes(zone: str, first_year: int, last_year: int) -> list[datetime]:
    """Days of UTC in which the clock changes."""
    tz, day, found = ZoneInfo(zone), datetime(first_year, 1, 1, tzinfo=UTC), list[datetime]()
    while day.year <= last_year:
        if day.astimezone(tz).utcoffset() != (day + DAY).astimezone(tz).utcoffset():
            found.append(day)
        day += DAY
    return found


CHANGES = {zone: changes(zone, 2005, 2028) for zone in ZONES}


def ticks(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    tick = schedule.next(after)
    while tick is not None:
        yield tick
        tick = schedule.next(tick)


def cronsim_ticks(expression: str, zone: str, after: datetime) -> Iterator[datetime]:
    """What cronsim says, without the ticks it gives twice when several skipped times move to the same moment."""
    last = after
    for one in CronSim(expression, after.astimezone(ZoneInfo(zone))):
        tick = one.astimezone(UTC)
        if tick > last:
            yield tick
            last = tick


def local(schedule: CronSchedule, after: str, count: int) -> list[str]:
    """Local times of the next ticks after a UTC instant, such as ``03-08 03:00-04:00``."""
    zone = ZoneInfo(schedule.tz)
    return [
        tick.astimezone(zone).isoformat()[5:16].replace("T", " ") + tick.astimezone(zone).isoformat()[19:]
        for tick in islice(ticks(schedule, utc(after)), count)
    ]


# -- the calendar, against cronsim ------------------------------------------------------------------

FIXED = [
    "0 0 * * *",
    "30 0 * * *",
    "15,45 0-3 * * *",
    "0 1 * * *",
    "30 1 * * *",
    "30 2 * * *",
    "0 2-3 * * *",
    "50 23 * * SUN",
    "0 12 L * *",
    "5 2 * 3,4,10,11 0#1,5L",
    "0 4 1-7 * MON",
    "0 0 */2 * 1-5",
]
ELAPSED = ["*/20 * * * *", "7 * * * *", "0 */2 * * *", "*/30 1-2 * * *", "45 */6 * * 6,7"]


@pytest.mark.parametrize("zone", ZONES)
def test_fixed_times_agree_with_cronsim_around_every_change(zone: str) -> None:
    for day in CHANGES[zone][-6:] or [utc("2026-03-08")]:
        for expression in FIXED:
            found = list(islice(ticks(CronSchedule(expression, zone), day - HOUR), 7))
            assert found == list(islice(cronsim_ticks(expression, zone, day - HOUR), 7)), (expression, day)


@pytest.mark.parametrize("zone", PLAIN_ZONES)
def test_elapsed_times_agree_with_cronsim_around_every_change(zone: str) -> None:
    for day in CHANGES[zone][-6:] or [utc("2026-03-08")]:
        for expression in ELAPSED:
            found = list(islice(ticks(CronSchedule(expression, zone), day - HOUR), 25))
            assert found == list(islice(cronsim_ticks(expression, zone, day - HOUR), 25)), (expression, day)


@pytest.mark.parametrize("zone", ZONES)
def test_elapsed_times_are_all_instants_whose_local_time_matches(zone: str) -> None:
    """By definition, minute by minute: also where cronsim steps over some, see below."""
    tz = ZoneInfo(zone)
    for day in CHANGES[zone][-4:] or [utc("2026-03-08")]:
        for expression in ("*/20 * * * *", "7 */2 * * *", "*/15 0-3 * * 0-5", "50 * L * *"):
            rule = CronSim(expression, day)
            minutes = (day - 6 * HOUR + MINUTE * n for n in range(1, 42 * 60))
            walls = ((minute, minute.astimezone(tz)) for minute in minutes)
            expected = [
                minute
                for minute, wall in walls
                if wall.minute in rule.minutes and wall.hour in rule.hours and rule.match_day(wall.date())
            ]
            found = list(islice(ticks(CronSchedule(expression, zone), day - 6 * HOUR), len(expected)))
            assert found == expected, (expression, day)


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ranges = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: f"{pair[0]}-{pair[1]}")
    steps = st.tuples(ranges | number.map(str), st.integers(1, high)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    return st.lists(number.map(str) | ranges | steps, min_size=1, max_size=3).map(",".join)


def stars(high: int) -> st.SearchStrategy[str]:
    return st.just("*") | st.integers(1, high).map(lambda step: f"*/{step}")


DAYS = st.tuples(
    st.just("*") | numbers(1, 31) | stars(31) | st.just("L"),
    st.just("*") | numbers(1, 12) | stars(12) | st.sampled_from(["JAN,JUL", "mar-oct"]),
    st.just("*") | numbers(0, 7) | stars(7) | st.sampled_from(["SUN", "mon-fri", "5L", "MON#1", "0#5"]),
).map(" ".join)
FIXED_TIMES = st.tuples(numbers(0, 59), numbers(0, 23), DAYS).map(" ".join)
ELAPSED_TIMES = st.tuples(numbers(0, 59) | stars(59), stars(23), DAYS).map(" ".join)


def compare(expression: str, zone: str, day: datetime) -> None:
    try:
        schedule = CronSchedule(expression, zone)
    except ConfigError:
        with pytest.raises(StopIteration):
            next(CronSim(expression, utc("2000-01-01")))
        reject()
    else:
        found = list(islice(ticks(schedule, day), 6))
        assert found == list(islice(cronsim_ticks(expression, zone, day), 6))


@given(FIXED_TIMES, st.data())
def test_any_fixed_times_agree_with_cronsim(expression: str, data: st.DataObject) -> None:
    zone = data.draw(st.sampled_from(ZONES))
    day = data.draw(st.sampled_from(CHANGES[zone] or [utc("2020-02-28")])) - data.draw(st.integers(0, 60)) * HOUR
    compare(expression, zone, day)


@given(ELAPSED_TIMES, st.data())
def test_any_elapsed_times_agree_with_cronsim(expression: str, data: st.DataObject) -> None:
    zone = data.draw(st.sampled_from(PLAIN_ZONES))
    day = data.draw(st.sampled_from(CHANGES[zone] or [utc("2020-02-28")])) - data.draw(st.integers(0, 60)) * HOUR
    compare(expression, zone, day)


@pytest.mark.parametrize(
    ("expression", "zone", "after", "ours", "cronsim"),
    [
        # A range of one with a step: cronsim goes on to the end of the field, here 9, 13, 17 and 21.
        ("0 9-9/4 * * *", "UTC", "2026-01-01T10:00", "2026-01-02T09:00", "2026-01-01T13:00"),
        # Whole hours from a half: cronsim looks at 03:30 next, not at 03:00.
        ("*/10 3 * * *", "Australia/Lord_Howe", "2026-04-04T12:00", "2026-04-04T16:30", "2026-04-04T17:00"),
        # Midnight is skipped: cronsim runs at 01:00, though only fixed times are moved.
        ("*/20 0 * * FRI", "Africa/Cairo", "2026-04-23T12:00", "2026-04-30T21:00", "2026-04-23T22:00"),
        # The clock goes back into the day before: cronsim leaves out its second 23:54 (or never returns).
        ("54 * L * FRI", "Asia/Pyongyang", "2015-08-14T14:54", "2015-08-14T15:24", "2015-08-20T16:24"),
    ],
)
def test_known_differences_from_cronsim(expression: str, zone: str, after: str, ours: str, cronsim: str) -> None:
    assert CronSchedule(expression, zone).next(utc(after)) == utc(ours)
    assert next(cronsim_ticks(expression, zone, utc(after))) == utc(cronsim)


# -- the calendar, by hand --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        # Skipped: once, at the first valid moment, however many of its times are skipped.
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00", ["03-08 03:00-04:00", "03-09 02:30-04:00"]),
        ("5,10,50 2 * * *", "America/New_York", "2026-03-08T00:00", ["03-08 03:00-04:00", "03-09 02:05-04:00"]),
        ("0 2-4 * * *", "America/New_York", "2026-03-08T00:00", ["03-08 03:00-04:00", "03-08 04:00-04:00"]),
        ("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00", ["04-24 01:00+03:00", "04-25 00:00+03:00"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00", ["10-04 02:30+11:00", "10-05 02:15+11:00"]),
        (
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-29T12:00",
            ["12-29 12:00-10:00", "12-31 00:00+14:00", "12-31 12:00+14:00"],
        ),
        # Repeated: once, the first time.
        ("30 1 * * *", "America/New_York", "2026-10-31T12:00", ["11-01 01:30-04:00", "11-02 01:30-05:00"]),
        ("30 1 * * *", "Europe/London", "2026-10-24T12:00", ["10-25 01:30+01:00", "10-26 01:30+00:00"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00", ["04-05 01:45+11:00", "04-06 01:45+10:30"]),
        ("0 1-3 * * *", "America/New_York", "2026-11-01T03:00", ["11-01 01:00-04:00", "11-01 02:00-05:00"]),
        # Asked within the second pass: its times have had their turn, 02:00 has not.
        ("30 1 * * *", "America/New_York", "2026-11-01T06:10", ["11-02 01:30-05:00"]),
        ("0,30 1,2 * * *", "America/New_York", "2026-11-01T06:10", ["11-01 02:00-05:00"]),
        # Neither: elapsed time.
        (
            "30 * * * *",
            "America/New_York",
            "2026-11-01T05:00",
            ["11-01 01:30-04:00", "11-01 01:30-05:00", "11-01 02:30-05:00"],
        ),
        ("30 * * * *", "America/New_York", "2026-03-08T06:00", ["03-08 01:30-05:00", "03-08 03:30-04:00"]),
        ("*/30 2 * * *", "America/New_York", "2026-03-07T12:00", ["03-09 02:00-04:00", "03-09 02:30-04:00"]),
        # The second pass is not missed, though the next such local time of the first offset is a year away.
        ("*/30 1 1 11 *", "America/New_York", "2026-11-01T05:40", ["11-01 01:00-05:00", "11-01 01:30-05:00"]),
        ("@hourly", "Australia/Lord_Howe", "2026-04-04T14:30", ["04-05 02:00+10:30", "04-05 03:00+10:30"]),
        ("@hourly", "Asia/Kolkata", "2026-01-01T00:00", ["01-01 06:00+05:30", "01-01 07:00+05:30"]),
    ],
)
def test_changes_of_the_clock(expression: str, zone: str, after: str, expected: list[str]) -> None:
    assert local(CronSchedule(expression, zone), after, len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("@hourly", ["01-15 13:00", "01-15 14:00"]),
        ("@daily", ["01-16 00:00", "01-17 00:00"]),
        ("@midnight", ["01-16 00:00", "01-17 00:00"]),
        ("@weekly", ["01-18 00:00", "01-25 00:00"]),
        ("@Monthly", ["02-01 00:00", "03-01 00:00"]),
        ("@yearly", ["01-01 00:00", "01-01 00:00"]),
        ("@annually", ["01-01 00:00", "01-01 00:00"]),
        ("0 22-1/3 * * *", ["01-15 22:00", "01-16 01:00"]),
        ("0 0 * * SAT-MON", ["01-17 00:00", "01-18 00:00", "01-19 00:00", "01-24 00:00"]),
        ("0 0 * * 7-2", ["01-18 00:00", "01-19 00:00", "01-20 00:00", "01-25 00:00"]),
        ("0 0 1 NOV-FEB *", ["02-01 00:00", "11-01 00:00", "12-01 00:00", "01-01 00:00"]),
        ("0 0 L * *", ["01-31 00:00", "02-28 00:00", "03-31 00:00"]),
        ("0 0 15,L * *", ["01-31 00:00", "02-15 00:00", "02-28 00:00"]),
        ("0 0 * * FRIL", ["01-30 00:00", "02-27 00:00"]),
        ("0 0 * * L5", ["01-30 00:00", "02-27 00:00"]),
        ("0 0 * * MON#1,MON#3,SUN", ["01-18 00:00", "01-19 00:00", "01-25 00:00", "02-01 00:00", "02-02 00:00"]),
        # One of the day fields, or, with a star before one of them, both.
        ("0 0 16 * SAT", ["01-16 00:00", "01-17 00:00", "01-24 00:00"]),
        ("0 0 */16 * SAT", ["01-17 00:00", "08-01 00:00"]),
        ("0 0 1-31 * SAT", ["01-16 00:00", "01-17 00:00", "01-18 00:00"]),
        ("0 0 30 2 SAT", ["02-07 00:00", "02-14 00:00"]),
        ("0 0 20 * MON#1", ["01-20 00:00", "02-02 00:00"]),
    ],
)
def test_forms_of_expressions(expression: str, expected: list[str]) -> None:
    assert [one[:11] for one in local(CronSchedule(expression), "2026-01-15T12:00", len(expected))] == expected


def test_a_leap_day_comes_after_the_year_without_one() -> None:
    schedule = CronSchedule("0 0 29 2 *")
    assert schedule.next(utc("2096-02-29T00:00")) == utc("2104-02-29T00:00")


@given(FIXED_TIMES | ELAPSED_TIMES, st.sampled_from(ZONES), st.integers(0, 3 * 10**9), st.integers(0, 10**6))
def test_next_is_the_same_from_anywhere_before_it(expression: str, zone: str, at: int, part: int) -> None:
    after = datetime.fromtimestamp(at, UTC) + timedelta(microseconds=part % 10**6)
    try:
        schedule = CronSchedule(expression, zone)
    except ConfigError:
        reject()
    tick = schedule.next(after)
    assert tick is not None
    assert tick > after
    assert tick.tzinfo is UTC
    between = after + (tick - after) * part / 10**6
    assert schedule.next(min(between, tick - timedelta(microseconds=1))) == tick
    following = schedule.next(tick)
    assert following is not None
    assert following > tick


@pytest.mark.parametrize(
    "schedule", [CronSchedule("@daily"), CronSchedule("30 2 * * *", "Asia/Tehran"), EverySchedule(1)]
)
def test_the_zone_of_the_question_does_not_matter(schedule: Schedule) -> None:
    asked = utc("2026-06-01T12:00")
    assert schedule.next(asked.astimezone(timezone(timedelta(hours=-11)))) == schedule.next(asked)


@pytest.mark.parametrize("schedule", [CronSchedule("@daily", "Pacific/Apia"), EverySchedule(1)])
def test_time_has_an_end_but_no_crash(schedule: Schedule) -> None:
    assert schedule.next(datetime.max.replace(tzinfo=UTC)) is None
    last = schedule.next(utc("9997-12-31T23:59") + 59.5 * SECOND)
    assert last is not None
    assert schedule.next(last) is None
    early = schedule.next(datetime.min.replace(tzinfo=timezone(timedelta(hours=14))))
    assert early is not None
    assert early.year == 1970


@pytest.mark.parametrize("expression", ["0 0 */30 12 FRI", "0 * */30 12 FRI"])
@pytest.mark.parametrize("zone", ["Pacific/Honolulu", "Pacific/Kiritimati"])
def test_the_last_day_of_all_is_out_of_reach(expression: str, zone: str) -> None:
    found = list(ticks(CronSchedule(expression, zone), utc("9980-01-01")))
    assert found
    assert found[-1].year < 9999


# -- bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("61 * * * *", "minute '61' is wrong; use 0 to 59"),
        ("* 24 * * *", "hour '24' is wrong; use 0 to 23"),
        ("* * 0 * *", "day of month '0' is wrong; use 1 to 31"),
        ("* * * 13 *", "month '13' is wrong; use 1 to 12 or JAN"),
        ("* * * FOO *", "month 'FOO' is wrong"),
        ("* * * * 8", "day of week '8' is wrong"),
        ("* * * * 1#6", "day of week '1#6' is wrong"),
        ("* * * * MONDAY", "SUN to SAT"),
        ("1,,2 * * * *", "minute '1,,2' is wrong"),
        ("*-5 * * * *", "minute '*-5' is wrong"),
        ("*/0 * * * *", "minute '*/0' is wrong"),
        ("*/90 * * * *", "use every="),
        ("-1 * * * *", "minute '-1' is wrong"),
        ("\N{ARABIC-INDIC DIGIT THREE} * * * *", "minute"),
        ("H * * * *", "minute 'H' is wrong"),  # croniter: anywhere within the hour
        ("R * * * *", "minute 'R' is wrong"),  # croniter: elsewhere in every process
        ("0 0 ? * 2", "Quartz"),
        ("0 0 15W * *", "nearest weekday"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
        ("0 0 */31 * 1#2", "never comes"),
        ("*/10 * * * * *", "six fields"),
        ("*/10 * * * * *", "use every="),
        ("0 0 * *", "has 4 fields"),
        ("", "has 0 fields"),
        ("@dayly", "did you mean '@daily'?"),
        ("@reboot", "known are @hourly"),
        ("@every 5m", "use every="),
        ("* " * 600, "over 1000 characters"),
        (None, "give text"),
        (5, "give text"),
    ],
)
def test_bad_expressions_say_what_is_wrong(expression: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CronSchedule(expression)
    assert words in caught.value.remedy
    assert caught.value.option == "CronSchedule(expression)"


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("europe/athen", "did you mean 'Europe/Athens'?"),
        ("New York", "did you mean 'America/New_York'?"),
        ("Amerca/New_York", "did you mean 'America/New_York'?"),
        ("Europe", "no known time zone"),
        ("../UTC", "no known time zone"),
        ("\0", "no known time zone"),
        ("", "IANA name"),
        ("localtime", "differs between machines"),
        (None, "name of a time zone"),
        ([], "name of a time zone"),
    ],
)
def test_unknown_zones_name_the_nearest(zone: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CronSchedule("@daily", zone)
    assert words in caught.value.remedy
    assert caught.value.option == "CronSchedule(tz)"


@pytest.mark.parametrize("schedule", [CronSchedule("@daily"), EverySchedule(1), AtSchedule(utc("2026-01-01"))])
def test_a_naive_question_is_refused(schedule: Schedule) -> None:
    with pytest.raises(ConfigError, match=r"after=.*naive"):
        schedule.next(datetime(2026, 1, 1))  # noqa: DTZ001 - naive on purpose


@pytest.mark.parametrize("every", [0, -1, 0.05, 1 / 3, 0.1234, float("nan"), 1e9, True, "5"])
def test_bad_intervals_are_refused(every: Any) -> None:
    with pytest.raises(ConfigError, match=r"EverySchedule\(seconds\)="):
        EverySchedule(every)


@pytest.mark.parametrize("at", [datetime(2026, 1, 1), utc("1969-12-31"), "2026-01-01", None])  # noqa: DTZ001 - naive on purpose
def test_bad_instants_are_refused(at: Any) -> None:
    with pytest.raises(ConfigError, match=r"AtSchedule\(at\)="):
        AtSchedule(at)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": datetime(2026, 1, 1)}, "start=.*naive"),  # noqa: DTZ001 - naive on purpose
        ({"start": utc("2026-01-02"), "end": utc("2026-01-02")}, "end=.*must be after start"),
        ({"start": utc("2026-01-02T00:00"), "end": utc("2026-01-02T02:00")}, "end=.*leaves no tick of: every day"),
        ({"limit": 0}, "limit=0"),
        ({"limit": True}, "limit=True"),
        ({"limit": 1.5}, "limit=1.5"),
        ({"misfire": "fireonce"}, "did you mean 'fire_once'"),
        ({"misfire": None}, "use one of 'skip', 'fire_once', 'catch_up'"),
        ({"catch_up": 0}, "catch_up=0"),
        ({"catch_up": 1001}, "catch_up=1001"),
        ({"grace": 0}, "grace=0"),
        ({"grace": 3601}, "grace=3601"),
        ({"schedule": "@daily"}, "give CronSchedule"),
    ],
)
def test_bad_plans_are_refused(options: dict[str, Any], words: str) -> None:
    given_options: dict[str, Any] = {"schedule": CronSchedule("30 3 * * *")} | options
    with pytest.raises(ConfigError, match=words):
        Plan(**given_options)


def test_a_plan_that_starts_after_its_only_tick_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"start=.*leaves no tick of: once at 2026-01-01"):
        Plan(AtSchedule(utc("2026-01-01")), start=utc("2026-01-02"))


# -- intervals, instants, the wire, words -----------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "after", "expected"),
    [
        (900, "2026-01-01T10:07", "2026-01-01T10:15"),
        (900, "2026-01-01T10:15", "2026-01-01T10:30"),
        (timedelta(hours=1), "2026-01-01T10:07", "2026-01-01T11:00"),
        (86_400, "2026-01-01T10:07", "2026-01-02T00:00"),
        (7 * 86_400, "2026-01-01T00:00", "2026-01-08T00:00"),
        (0.1, "2026-01-01T00:00:00.250", "2026-01-01T00:00:00.300"),
        (0.3, "2026-01-01T00:00:00.900", "2026-01-01T00:00:01.200"),
    ],
)
def test_intervals_are_aligned_to_the_clock(every: float | timedelta, after: str, expected: str) -> None:
    assert EverySchedule(every).next(utc(after)) == utc(expected)


@given(st.integers(100, 10**9), st.integers(0, 4 * 10**15))
def test_intervals_never_drift(every_ms: int, after_us: int) -> None:
    epoch, after = utc("1970-01-01"), utc("1970-01-01") + timedelta(microseconds=after_us)
    every = timedelta(milliseconds=every_ms)
    tick = EverySchedule(every_ms / 1000).next(after)
    assert tick is not None
    assert timedelta(0) < tick - after <= every
    assert (tick - epoch) % every == timedelta(0)


def test_an_instant_comes_once() -> None:
    at = utc("2026-01-01T10:00")
    assert AtSchedule(at).next(at - SECOND) == at
    assert AtSchedule(at).next(at) is None
    assert AtSchedule(at.astimezone(ZoneInfo("Asia/Kolkata"))) == AtSchedule(at)
    assert AtSchedule(at + timedelta(microseconds=1)).at == at + timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "plan",
    [
        Plan(CronSchedule("0 2 * * *", "Europe/Athens")),
        Plan(EverySchedule(timedelta(minutes=5)), limit=3, misfire="catch_up", catch_up=7, grace=timedelta(seconds=5)),
        Plan(AtSchedule(utc("2026-01-01T10:00")), start=utc("2025-01-01"), end=utc("2027-01-01"), misfire="skip"),
    ],
)
def test_plans_survive_the_wire(plan: Plan) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(plan), type=Plan) == plan


def test_the_wire_is_checked_too() -> None:
    with pytest.raises(msgspec.ValidationError, match="minute '99'"):
        msgspec.msgpack.decode(msgspec.msgpack.encode({"schedule": ["c", "99 * * * *"]}), type=Plan)


def test_spaces_make_no_other_schedule() -> None:
    assert CronSchedule("  0  2 * *\t* ") == CronSchedule("0 2 * * *")


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (CronSchedule("* * * * *"), "every minute UTC"),
        (CronSchedule("*/15 * * * *"), "every 15 minutes UTC"),
        (CronSchedule("0,30 * * * *"), "every 30 minutes UTC"),
        (CronSchedule("@hourly"), "every hour at :00 UTC"),
        (CronSchedule("5 */2 * * *"), "every 2 hours at :05 UTC"),
        (CronSchedule("@daily", "Europe/Athens"), "every day at 00:00 Europe/Athens"),
        (CronSchedule("5 9,17 * * *"), "every day at 09:05 and 17:05 UTC"),
        (CronSchedule("0 9 * * 1-5"), "Monday to Friday at 09:00 UTC"),
        (CronSchedule("@weekly"), "every Sunday at 00:00 UTC"),
        (CronSchedule("0 9 * * SUN,MON,WED"), "every Monday, Wednesday and Sunday at 09:00 UTC"),
        (CronSchedule("0 9 * * MON#2"), "on the second Monday of every month at 09:00 UTC"),
        (CronSchedule("0 9 * * 5L"), "on the last Friday of every month at 09:00 UTC"),
        (CronSchedule("@monthly"), "on day 1 of every month at 00:00 UTC"),
        (CronSchedule("0 0 1,15,L * *"), "on days 1 and 15 and the last day of every month at 00:00 UTC"),
        (CronSchedule("@yearly"), "every year on 1 January at 00:00 UTC"),
        (CronSchedule("*/7 * * * *"), "cron */7 * * * * UTC"),
        (CronSchedule("0 9 1 * MON"), "cron 0 9 1 * MON UTC"),
        (CronSchedule("0 9 * * MON,5L"), "cron 0 9 * * MON,5L UTC"),
        (CronSchedule("0 9 * 1-3 *"), "cron 0 9 * 1-3 * UTC"),
        (CronSchedule("*/5 9 * * 1-5"), "cron */5 9 * * 1-5 UTC"),
        (EverySchedule(1), "every second"),
        (EverySchedule(0.5), "every 0.5 seconds"),
        (EverySchedule(90), "every 90 seconds"),
        (EverySchedule(300), "every 5 minutes"),
        (EverySchedule(86_400), "every day"),
        (AtSchedule(utc("2026-01-01T10:00")), "once at 2026-01-01 10:00:00 UTC"),
    ],
)
def test_words(schedule: Schedule, words: str) -> None:
    assert schedule.describe() == words


# -- plans ------------------------------------------------------------------------------------------

TEN = utc("2026-06-01T10:00")
POLICIES: list[Misfire] = ["skip", "fire_once", "catch_up"]


def at(*minutes: float) -> list[datetime]:
    return [TEN + minute * MINUTE for minute in minutes]


@pytest.mark.parametrize(
    ("misfire", "now", "expected"),
    [
        # Ticks at 10:10, 10:20, ...; the last one fired was at 10:00; grace 60 s.
        ("skip", 9.9, []),
        ("skip", 10, at(10)),
        ("skip", 11, at(10)),  # 60 s late is on time
        ("skip", 11.1, []),
        ("skip", 35, []),
        ("skip", 40.5, at(40)),
        ("fire_once", 9.9, []),
        ("fire_once", 11, at(10)),
        ("fire_once", 11.1, at(10)),
        ("fire_once", 35, at(30)),
        ("fire_once", 40.5, at(30, 40)),
        ("catch_up", 9.9, []),
        ("catch_up", 11, at(10)),
        ("catch_up", 11.1, at(10)),
        ("catch_up", 35, at(10, 20, 30)),
        ("catch_up", 55, at(30, 40, 50)),  # the latest three, oldest first
        ("catch_up", 60.5, at(30, 40, 50, 60)),
    ],
)
def test_misfires(misfire: Misfire, now: float, expected: list[datetime]) -> None:
    plan = Plan(EverySchedule(600), misfire=misfire, catch_up=3)
    fired, following = due(plan, TEN, TEN - DAY, TEN + now * MINUTE, 5)
    assert fired == expected
    assert following == TEN + (now // 10 + 1) * 10 * MINUTE


def test_nothing_is_owed_from_before_the_schedule_came_into_force() -> None:
    plan = Plan(EverySchedule(600), misfire="catch_up")
    assert due(plan, None, TEN + 15 * MINUTE, TEN + 35 * MINUTE, 0)[0] == at(20, 30)
    assert due(plan, TEN, TEN + 15 * MINUTE, TEN + 35 * MINUTE, 0)[0] == at(20, 30)
    assert due(plan, TEN + 20 * MINUTE, TEN, TEN + 35 * MINUTE, 0)[0] == at(30)


@pytest.mark.parametrize(
    ("misfire", "late", "expected"),
    [("skip", 0, at(0)), ("skip", 30, []), ("fire_once", 30, at(0)), ("catch_up", 30, at(0)), ("fire_once", -1, [])],
)
def test_an_instant_that_was_past_when_created_is_still_owed(
    misfire: Misfire, late: int, expected: list[datetime]
) -> None:
    now = TEN + late * MINUTE
    plan = Plan(AtSchedule(TEN), misfire=misfire)
    assert due(plan, None, now, now, 0) == (expected, TEN if late < 0 else None)
    assert due(plan, TEN, now, now, 1)[0] == []


def test_start_is_included_and_end_is_not() -> None:
    plan = Plan(EverySchedule(600), start=TEN + 10 * MINUTE, end=TEN + 30 * MINUTE, misfire="catch_up")
    assert due(plan, None, TEN - DAY, TEN, 0) == ([], TEN + 10 * MINUTE)
    assert due(plan, None, TEN - DAY, TEN + 10 * MINUTE, 0) == (at(10), TEN + 20 * MINUTE)
    assert due(plan, None, TEN - DAY, TEN + 20 * MINUTE, 0) == (at(10, 20), None)
    assert due(plan, None, TEN - DAY, TEN + DAY, 0) == (at(10, 20), None)
    assert preview(plan, TEN - DAY, 5) == at(10, 20)


def test_a_limit_counts_what_was_fired() -> None:
    plan = Plan(EverySchedule(600), limit=3, misfire="catch_up")
    assert due(plan, TEN, TEN, TEN + 10 * MINUTE, 1) == (at(10), TEN + 20 * MINUTE)
    assert due(plan, TEN, TEN, TEN + 10 * MINUTE, 2) == (at(10), None)
    assert due(plan, TEN, TEN, TEN + 35 * MINUTE, 1) == (at(10, 20), None)
    assert due(plan, TEN, TEN, TEN + 35 * MINUTE, 3) == ([], None)
    assert preview(plan, TEN, 9) == at(10, 20, 30)
    assert preview(plan, TEN, 9, fired=2) == at(10)
    assert preview(plan, TEN, 9, fired=4) == []


def test_a_clock_that_goes_back_fires_nothing_again() -> None:
    plan = Plan(EverySchedule(600), misfire="catch_up")
    assert due(plan, TEN + 10 * MINUTE, TEN, TEN + 3 * MINUTE, 1) == ([], TEN + 20 * MINUTE)


@pytest.mark.parametrize("n", [-1, 1001, 1.0, True])
def test_a_preview_has_bounds(n: Any) -> None:
    with pytest.raises(ConfigError, match="n="):
        preview(Plan(EverySchedule(1)), TEN, n)


def test_a_preview_crosses_a_change_of_the_clock() -> None:
    plan = Plan(CronSchedule("0 9 * * *", "Europe/London"))
    assert preview(plan, utc("2026-03-27T12:00"), 3) == [
        utc("2026-03-28T09:00"),
        utc("2026-03-29T08:00"),
        utc("2026-03-30T08:00"),
    ]
    assert preview(plan, TEN, 0) == []


SCHEDULES = st.one_of(
    st.integers(20, 2000).map(EverySchedule),
    st.sampled_from(["*/7 * * * *", "0,1,2,50 * * * *", "30 */2 * * *", "* 1 * * *", "30 1 * * *"]).map(
        lambda expression: CronSchedule(expression, "America/New_York")
    ),
    st.just(AtSchedule(utc("2026-11-01T06:00"))),
)
PLANS = st.builds(
    Plan,
    SCHEDULES,
    limit=st.none() | st.integers(1, 20),
    misfire=st.sampled_from(POLICIES),
    catch_up=st.integers(1, 8),
    grace=st.integers(1, 3600),
)
SPANS = st.integers(0, 8 * 3600)


def by_hand(plan: Plan, since: datetime, now: datetime, fired: int) -> list[datetime]:
    """The same by walking over every tick."""
    owed = list[datetime]()
    for tick in ticks(plan.schedule, since):
        if tick > now:
            break
        owed.append(tick)
    assert isinstance(plan.grace, float)
    late = [tick for tick in owed if (now - tick).total_seconds() > plan.grace]
    allowed = {"skip": 0, "fire_once": 1, "catch_up": plan.catch_up}[plan.misfire]
    kept = late[max(0, len(late) - allowed) :] + owed[len(late) :]
    return kept if plan.limit is None else kept[: max(0, plan.limit - fired)]


@given(PLANS, SPANS, SPANS, st.integers(0, 20))
def test_due_is_what_walking_over_every_tick_gives(plan: Plan, offset: int, span: int, fired: int) -> None:
    since = utc("2026-11-01T03:00") + offset * SECOND
    now = since + span * SECOND
    found, following = due(plan, since, since, now, fired)
    assert found == by_hand(plan, since, now, fired)
    if plan.limit is None:
        assert following == plan.schedule.next(now)
    else:
        assert following == (plan.schedule.next(now) if fired + len(found) < plan.limit else None)


@given(PLANS, SPANS, st.integers(0, 70))
def test_a_crash_in_between_changes_nothing(plan: Plan, span: int, count: int) -> None:
    since = utc("2026-11-01T03:00")
    now = since + span * SECOND
    owed, following = due(plan, since, since, now, 0)
    done = owed[:count]
    rest = due(plan, done[-1] if done else since, since, now, len(done))
    assert rest == (owed[count:], following)


@pytest.mark.parametrize("misfire", POLICIES)
@pytest.mark.parametrize("offline", [DAY, 30 * DAY, 20 * 365 * DAY])
def test_the_work_does_not_grow_with_the_time_missed(
    misfire: Misfire, offline: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def counted(kind: type[EverySchedule | CronSchedule]) -> None:
        plain: Any = kind.next

        def counting(schedule: Schedule, after: datetime) -> datetime | None:
            nonlocal asked
            asked += 1
            return plain(schedule, after)  # type: ignore[no-any-return]  # the wrapped function is Any

        monkeypatch.setattr(kind, "next", counting)

    counted(EverySchedule)
    counted(CronSchedule)
    for schedule in (EverySchedule(1), CronSchedule("* * * * *"), CronSchedule("* * 1 1 *", "Europe/Athens")):
        asked = 0
        found, _ = due(Plan(schedule, misfire=misfire), TEN - offline, TEN - offline, TEN + 30 * SECOND, 0)
        assert all(earlier < later for earlier, later in pairwise(found))
        assert asked < 250
