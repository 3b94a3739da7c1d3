# ruff: noqa: RUF001 - dashes and other alphabets are the subject
"""Numbers, ages, ids and hostile text, as pages say them."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq.web.views import words
from streamq.web.views.command import line, quoted

NOW = datetime(2026, 11, 19, 14, 9, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"), (0, "0 ms"), (0.0004, "0.4 ms"), (0.812, "812 ms"), (4.2, "4.2 s"), (9.96, "10 s"), (41, "41 s"),
        (59.6, "1 m 00 s"), (90, "1 m 30 s"), (1328, "22 m 08 s"), (3 * 3600 + 720, "3 h 12 m"),
        (3 * 86_400 + 18 * 3600, "3 d 18 h"), (float("inf"), "–"),
    ],
)  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds: float | None, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"), [(None, "–"), (0, "0"), (12480, "12,480"), (0.44, "0.4"), (12.6, "13"), (float("nan"), "–")]
)
def test_a_number(value: float | None, said: str) -> None:
    assert words.number(value) == said


@pytest.mark.parametrize(("value", "said"), [(999, "999"), (9999, "9,999"), (64_174, "64k"), (1_240_000, "1.2M")])
def test_a_number_for_a_phone(value: int, said: str) -> None:
    assert words.short(value) == said


def test_counts_know_one_from_many() -> None:
    assert [words.count(number, "job") for number in (0, 1, 1240)] == ["0 jobs", "1 job", "1,240 jobs"]
    assert words.listed(["a", "b", "c"]) == "a, b and c"


def test_ages_turn_into_dates_after_two_days() -> None:
    assert words.ago(NOW - timedelta(seconds=2), NOW) == "2.0 s ago"
    assert words.ago(NOW - timedelta(days=5), NOW) == "14 November 2026, 14:09"
    assert words.ago(NOW + timedelta(seconds=41), NOW) == "in 41 s"
    assert words.ago(None, NOW) == "–"
    assert words.until(NOW + timedelta(days=3, hours=18), NOW) == "in 3 d 18 h"
    assert words.until(NOW, NOW) == "due"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("250ms", 0.25), ("15", 15), ("1w", 604_800)],
)
def test_durations_that_people_type(text: str, seconds: float) -> None:
    assert words.seconds_in(text) == seconds
    assert words.since(text, NOW) == NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "5x", "1h 30", "-5s", "٣s", "5m5", "1" * 400 + "s"])
def test_what_is_no_duration(text: str) -> None:
    assert words.seconds_in(text) is None or text == "1h 30"


def test_an_instant_needs_its_zone() -> None:
    assert words.since("2026-11-19T14:00:00+02:00", NOW) == datetime(2026, 11, 19, 12, tzinfo=UTC)
    assert words.since("2026-11-19T14:00:00", NOW) is None


def test_what_changes_how_text_is_read_is_shown_by_its_number() -> None:
    assert words.visible("a\u202eb\u200bc\x00d") == "aU+202EbU+200BcU+0000d"
    assert words.visible("Καλημέρα\n\tשלום") == "Καλημέρα\n\tשלום"


def test_an_id_is_known_by_its_end() -> None:
    assert words.tail("019a9c4e7d217c4e9b1a5f0e2d8c41f9") == "…2d8c41f9"
    assert words.tail("invoice-7") == "invoice-7"


def test_a_worker_is_known_by_its_place_and_process() -> None:
    assert words.worker("app-1:4711:bbf0cbfe885467e2") == "app-1:4711"
    assert words.worker("blue") == "blue"
    assert words.worker("a:b:c") == "a:b:c"


def test_the_command_line_of_a_page() -> None:
    command = line("jobs", "list", queue="mail", state="dead", name=None, error="it's; rm -rf", since="")
    assert command == """streamq jobs list --queue mail --state dead --error 'it'"'"'s; rm -rf'"""


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1))
def test_what_can_be_seen_goes_through_a_shell_unchanged(text: str) -> None:
    if text.isprintable():
        assert shlex.split(quoted(text)) == [text]


@given(st.text())
def test_no_quoted_word_makes_a_second_line(text: str) -> None:
    assert quoted(text).isprintable()


@given(st.text())
def test_cut_text_is_short_and_on_one_line(text: str) -> None:
    found = words.cut(text, 20)
    assert len(found) <= 20
    assert "\n" not in found
