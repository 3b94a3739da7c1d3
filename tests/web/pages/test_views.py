"""What pages say of facts, without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq import AttemptInfo, Counts, JobInfo, JobState, WorkerInfo
from streamq._cli.jobs import jobs as cli_jobs
from streamq._core.health import Reason
from streamq.grouping import DeadGroup, DeadGroups
from streamq.timetable import ScheduleInfo
from streamq.web.redaction import Redaction
from streamq.web.views import (
    bars,
    charts,
    dead,
    filters,
    job,
    jobs,
    overview,
    payload,
    schedules,
    states,
    traces,
    workers,
)
from streamq.web.views.filters import JobFilter

NOW = datetime(2026, 11, 19, 14, 9, 31, tzinfo=UTC)


class Minute(NamedTuple):
    arrived: int
    completed: int
    dead: int


def facts(name: str, **options: Any) -> overview.QueueFacts:
    counts: dict[str, Any] = {"waiting": 0, "active": 0, "delayed": 0, "parked": 0, "dead": 0}
    reasons = options.pop("reasons", ())
    crew = options.pop("workers", ())
    series = options.pop("series", ())
    return overview.QueueFacts(name, Counts(**{**counts, **options}), crew, series, reasons)


def worker(name: str, *, alive: bool = True, **options: Any) -> WorkerInfo:
    defaults: dict[str, Any] = {
        "host": "h", "pid": 1, "version": "0.1.0", "started_at": NOW - timedelta(hours=1), "seen_at": NOW,
        "concurrency": 10, "active": 4, "running": [("job-1", "mail:send", 12.0)], "handlers": ["mail:send"],
    }  # fmt: skip
    return WorkerInfo(name=name, alive=alive, **{**defaults, **options})


def test_a_worker_is_told_with_its_release_memory_and_cpu() -> None:
    told = worker("new:1", release="2.14.0", memory=61_000_000, cpu=0.114)
    new, old = workers.rows({"q": [told, worker("old:2")]}, NOW)
    assert (new.memory, new.cpu, "release 2.14.0, streamq 0.1.0" in new.under) == ("61 MB", "11 %", True)
    assert (old.memory, old.cpu, "release" in old.under) == ("", "", False)


# -- bars -------------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(bars.ORDER), st.integers(0, 10**9)))
def test_a_bar_fills_its_width_and_shows_every_state_that_has_a_job(counts: Mapping[str, int]) -> None:
    parts = bars.parts(counts, 274.0)
    shown = [one.state for one in parts]
    assert shown == [state for state in bars.ORDER if counts.get(state)]
    if parts:
        assert min(one.width for one in parts) >= bars.LEAST
        assert parts[-1].x + parts[-1].width == pytest.approx(274.0, abs=0.6)


# -- charts -----------------------------------------------------------------------------------------


def test_the_words_beside_a_chart() -> None:
    growing = [Minute(100, 40, 0)] * 12
    keeping = [Minute(100, 100, 0)] * 12
    emptying = [Minute(0, 60, 0)] * 12
    assert charts.trend(growing, 500) == charts.Trend("growing 60", "100 in, 40 done", "worse")
    assert charts.trend(growing, 500, paused=True).tone == "plain"
    assert charts.trend(keeping, 500) == charts.Trend("keeping up", "100 in, 100 done", "ok")
    assert charts.trend(emptying, 240).words == "empties in 4 m 00 s"
    assert charts.trend([Minute(0, 0, 0)] * 12, 3).words == "still"
    assert charts.trend([], 3).words == "no history yet"


def test_a_chart_says_what_it_shows() -> None:
    found = charts.gap([Minute(9, 8, 0), Minute(9, 8, 3)])
    assert found is not None
    assert found.said == "last 2 min: 18 in, 16 done, 3 deaths"
    assert len(found.deaths) == 1
    assert charts.gap([Minute(1, 1, 0)]) is None


@given(st.lists(st.tuples(*[st.integers(0, 10**7)] * 3), min_size=2, max_size=80))
def test_no_chart_leaves_its_box(series: list[tuple[int, int, int]]) -> None:
    found = charts.gap([Minute(*one) for one in series], 160, 34)
    assert found is not None
    numbers = [float(one) for one in found.line[1:].replace("L", " ").split()]
    assert all(0 <= x <= 160.1 for x in numbers[::2])
    assert all(0 <= y <= 34 for y in numbers[1::2])
    assert all(one.y >= 0 and one.y + one.height <= 34 for one in found.deaths)


# -- overview ---------------------------------------------------------------------------------------


def test_the_heading_is_the_answer() -> None:
    well, paused = facts("a", workers=[worker("w")]), facts("b", paused=True, waiting=5)
    bad = facts("c", waiting=3, reasons=[Reason("size", "critical", "3 waiting, limit 2")])
    assert overview.heading([]) == "No queue yet"
    assert overview.heading([well]) == "The queue is well"
    assert overview.heading([well, well]) == "All 2 queues are well"
    assert overview.heading([well, paused]) == "1 of 2 queues are well, 1 is paused"
    assert overview.heading([well, paused, bad]) == "1 of 3 queues needs you, 1 is paused"
    assert overview.heading([bad, bad, paused]) == "2 of 3 queues need you, 1 is paused"
    assert [one.name for one in overview.ordered([well, paused, bad])] == ["c", "b", "a"]


def test_a_verdict_has_its_reason_its_limit_and_the_next_step() -> None:
    reason = Reason("oldest", "warning", "oldest has waited 1 min 30 s, limit 1 min", 90, 60, "ask: streamq explain ID")
    found = overview.verdict(facts("events", waiting=12480, reasons=[reason], workers=[worker("w")]), NOW)
    assert found is not None
    assert (found.level, found.fact, found.rest) == ("warning", "Oldest has waited 1 min 30 s", ", limit 1 min.")
    assert (found.does, found.label) == ("waiting", "See what waits")
    assert overview.verdict(facts("calm", workers=[worker("w")]), NOW) is None


def test_a_paused_queue_says_since_when_and_why() -> None:
    paused = facts(
        "campaigns", paused=True, pause_reason="template rejected", waiting=48_200,
        paused_at=NOW - timedelta(minutes=22),
        reasons=[Reason("paused", "warning", "paused (template rejected), 48,200 jobs waiting")],
    )  # fmt: skip
    found = overview.verdict(paused, NOW)
    assert found is not None
    assert (found.level, found.fact) == ("paused", "Paused 22 m 00 s ago")
    assert found.rest == ": “template rejected”. 48,200 jobs wait."


def test_lost_workers_and_parked_jobs_are_warnings() -> None:
    lost = overview.verdict(facts("q", workers=[worker("w1", alive=False)]), NOW)
    parked = overview.verdict(facts("q", parked=2, workers=[worker("w1")]), NOW)
    assert lost is not None
    assert parked is not None
    assert (lost.level, lost.fact) == ("warning", "1 worker went silent")
    assert (parked.level, parked.fact, parked.does) == ("warning", "2 jobs parked", "parked")


def test_totals_count_a_worker_of_two_queues_once() -> None:
    crew = [worker("w1"), worker("w2", alive=False)]
    found = overview.totals([facts("a", workers=crew), facts("b", workers=crew)])
    assert (found.busy, found.slots, found.workers, found.lost) == (4, 10, 1, 1)
    assert found.arrived is None


def test_series_are_added_up_from_the_last_minute_backwards() -> None:
    long, short = [Minute(1, 1, 0), Minute(2, 2, 1)], [Minute(5, 5, 5)]
    summed = overview.together([facts("a", series=long), facts("b", series=short)])
    assert [tuple(one) for one in summed] == [(1, 1, 0), (7, 7, 6)]


# -- filters ----------------------------------------------------------------------------------------


def test_a_filter_goes_from_the_bar_to_the_address_and_back() -> None:
    found, wrong = filters.parsed({"queue": "mail", "add": 'state:dead error:"no answer" since:6h timeo'})
    assert wrong == []
    assert found == JobFilter(queue="mail", state="dead", error="no answer", since="6h", text="timeo")
    url = found.url("/jobs")
    assert url == "/jobs?queue=mail&state=dead&error=no+answer&since=6h&q=timeo"
    again, _ = filters.parsed({"queue": "mail", "state": "dead", "error": "no answer", "since": "6h", "q": "timeo"})
    assert again == found
    assert [(one.key, one.value) for one in filters.tokens(found, "/jobs")][-1] == ("q", "timeo")
    assert filters.tokens(found, "/jobs")[1].without == "/jobs?queue=mail&error=no+answer&since=6h&q=timeo"
    assert filters.command(found) == (
        "streamq jobs list --queue mail --state dead --error 'no answer' --search timeo --since 6h"
    )


def test_the_command_line_has_every_filter_of_the_page() -> None:
    listing = cli_jobs.commands["list"]
    options = {word.removeprefix("--") for one in listing.params for word in one.opts}
    spelt = {"payload": "where", "text": "search"}
    assert {spelt.get(key, key) for key in (*filters.KEYS, "text")} <= options


def test_what_looks_like_an_id_is_one() -> None:
    found, _ = filters.parsed({"add": "019a9c4e7d217c4e9b1a5f0e2d8c41f9"})
    assert (found.id, found.text) == ("019a9c4e7d217c4e9b1a5f0e2d8c41f9", "")


def test_what_cannot_be_understood_is_said() -> None:
    found, wrong = filters.parsed({"state": "sleeping", "since": "yesterday"})
    assert (found.state, found.since) == ("", "")
    assert "sleeping" in wrong[0]
    assert "yesterday" in wrong[1]


@given(st.dictionaries(st.sampled_from([*filters.KEYS, "q", "add"]), st.text(max_size=40)))
def test_no_query_string_breaks_the_filter(params: dict[str, str]) -> None:
    found, _ = filters.parsed(params)
    filters.command(found)
    filters.tokens(found, "/jobs")


# -- jobs -------------------------------------------------------------------------------------------


def info(state: str = "dead", **options: Any) -> JobInfo:
    defaults: dict[str, Any] = {
        "id": "019a9c4e7d217c4e9b1a5f0e2d8c41f9", "queue": "mail", "name": "mail:send", "args": {"to": "x"},
        "attempts": 5, "max_attempts": 5, "errors": (), "headers": {},
        "created_at": NOW - timedelta(minutes=3),
        "finished_at": NOW - timedelta(seconds=2) if state == "dead" else None,
    }  # fmt: skip
    return JobInfo(state=JobState(state), **{**defaults, **options})


def failed(attempt: int, ago: float, ran: float, traceback: str = "") -> AttemptInfo:
    return AttemptInfo(attempt, "Timeout", "no answer", traceback, NOW - timedelta(seconds=ago), ran, "w:1")


def test_headings_of_lists_count_only_what_was_seen() -> None:
    whole = jobs.Found([info()], 1552, is_whole=True, total=1552, ms=38)
    part = jobs.Found([info()], 5000, is_whole=False, total=412_000, ms=120)
    wanted = JobFilter(queue="mail", state="dead", error="Timeout")
    assert jobs.heading(wanted, whole) == "1 dead job matches"
    assert jobs.heading(wanted, part) == "At least 1 dead job matches"
    assert jobs.looked(wanted, whole) == "Found in 38 ms; looked at all 1,552 dead jobs."
    assert jobs.looked(wanted, part) == "Found in 120 ms; looked at 5,000 dead jobs of 412,000; there may be more."
    assert jobs.heading(JobFilter(queue="mail", state="dead"), whole) == "1,552 dead jobs"


def test_a_row_says_the_time_that_matters() -> None:
    assert jobs.row(info(), NOW).when == "2.0 s ago"
    delayed = info("delayed", attempts=0, due_at=NOW + timedelta(seconds=41))
    assert (jobs.row(delayed, NOW).state, jobs.row(delayed, NOW).when) == ("delayed", "due in 41 s")
    assert states.shown(info("delayed", attempts=2)) == "retrying"
    assert jobs.row(info(errors=[failed(1, 5, 1)]), NOW).error == "Timeout: no answer"


# -- one job ----------------------------------------------------------------------------------------


def test_headings_of_a_job() -> None:
    assert job.heading(info(), "", NOW) == "mail:send is dead after 5 attempts"
    assert job.heading(info("completed", duration=0.8), "", NOW) == "mail:send completed in 800 ms"
    assert job.heading(info("active", worker="w-1"), "", NOW) == "mail:send runs on w-1"
    tries = info("delayed", attempts=2, due_at=NOW + timedelta(seconds=41))
    assert job.heading(tries, "", NOW) == "mail:send tries again in 41 s, after 2 attempts"
    assert job.heading(info("waiting", attempts=0), "waits in lane NORMAL", NOW) == "mail:send waits in lane NORMAL"


def test_the_timeline_has_every_wait_and_every_run_in_order() -> None:
    errors = [failed(1, 150, 30), failed(2, 110, 30), failed(3, 2, 30)]
    found = job.timeline(info(errors=errors, attempts=3), NOW)
    assert [one.kind for one in found.parts] == ["ran", "paused", "ran", "paused", "ran"]
    assert [one.number for one in found.parts if one.kind == "ran"] == [1, 2, 3]
    assert found.said == "2 m 58 s in all: 1 m 30 s running, 1 m 28 s between attempts"
    assert all(one.width >= 6 for one in found.parts)


def test_the_timeline_of_one_that_runs_goes_on() -> None:
    found = job.timeline(info("active", attempts=0), NOW, running=4.2)
    assert [(one.kind, round(one.seconds, 1)) for one in found.parts] == [("waited", 175.8), ("running", 4.2)]


def test_attempts_that_were_not_kept_are_counted() -> None:
    kept = [failed(1, 900, 1), *(failed(number, 20 - number, 0.5) for number in range(6, 15))]
    assert job.unkept(kept, 14) == 4
    assert "unkept" in [one.kind for one in job.timeline(info(errors=kept, attempts=14), NOW).parts]


@pytest.mark.parametrize(
    ("state", "acts"),
    [
        ("dead", ["job-retry", "job-edit", "job-duplicate", "job-remove"]),
        ("delayed", ["job-promote", "job-duplicate", "job-cancel", "job-remove"]),
        ("active", ["job-duplicate", "job-cancel"]),
        ("waiting", ["job-duplicate", "job-cancel", "job-remove"]),
        ("completed", ["job-duplicate"]),
    ],
)
def test_only_what_makes_sense_is_offered(state: str, acts: list[str]) -> None:
    assert [one.act for one in job.deeds(info(state))] == acts


TRACE = """Traceback (most recent call last):
  File "/app/src/delivery/handlers.py", line 41, in send
    receipt = await provider.send(channel)
              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/venv/lib/python3.12/site-packages/httpx/_client.py", line 1, in request
    raise exc
  File "/venv/lib/python3.12/site-packages/anyio/x.py", line 2, in go
    yield
  File "/app/src/delivery/providers/whatsapp.py", line 88, in send
    raise ProviderTimeout("no answer")
delivery.ProviderTimeout: no answer
"""


def test_a_traceback_shows_the_users_frames_and_counts_the_others() -> None:
    lines, folded = traces.folded(TRACE)
    assert folded == "2 library frames folded: httpx 1, anyio 1"
    assert lines == [
        ("frame", "src/delivery/handlers.py:41  send"),
        ("code", "    receipt = await provider.send(channel)"),
        ("frame", "delivery/providers/whatsapp.py:88  send"),
        ("raise", '    raise ProviderTimeout("no answer")'),
        ("error", "delivery.ProviderTimeout: no answer"),
    ]


def test_a_traceback_of_libraries_alone_is_shown_whole() -> None:
    text = 'Traceback (most recent call last):\n  File "/x/site-packages/a/b.py", line 1, in c\n    d()\nE: f'
    lines, folded = traces.folded(text)
    assert folded == ""
    assert [one for _, one in lines] == text.splitlines()


@given(st.text(max_size=500))
def test_no_traceback_breaks_the_page(text: str) -> None:
    traces.folded(text)


# -- payloads ---------------------------------------------------------------------------------------


def test_a_tree_hides_what_is_hidden_and_folds_what_is_deep() -> None:
    value = {"order": 9007199254740993, "token": "s3cret", "a": {"b": {"c": {"d": 1}}}, "media": list(range(30))}
    nodes = payload.tree(Redaction().clean(value))
    assert [(one.key, one.kind, one.text) for one in nodes] == [
        ("order", "number", "9007199254740993"),
        ("token", "hidden", "hidden, text of 6"),
        ("a", "object", "1 field"),
        ("media", "list", "30 items"),
    ]
    assert (nodes[2].folded, nodes[2].inside[0].inside[0].folded, nodes[3].folded) == (False, True, True)


def test_hidden_fields_survive_an_edit_unseen() -> None:
    before = {"to": "x", "auth": {"token": "s3cret"}, "keys": [{"pin": 1}]}
    shown = payload.kept(Redaction().clean(before))
    assert "s3cret" not in payload.as_json(shown)
    edited = {**shown, "to": "y"}
    after = payload.restored(edited, before)
    assert after == {**before, "to": "y"}
    assert payload.changed(before, after) == ["to"]
    with pytest.raises(ValueError, match=r"payload\.other"):
        payload.restored({"other": payload.KEPT}, before)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(ANYTHING)
def test_any_payload_has_a_tree_of_bounded_size(value: Any) -> None:
    def size(nodes: list[payload.Node]) -> int:
        return sum(1 + size(one.inside) for one in nodes)

    assert size(payload.tree(Redaction().clean(value))) <= payload.MOST * 2
    assert payload.pieces(value) is not None


# -- the rest ---------------------------------------------------------------------------------------


def test_the_words_that_stand_for_what_varies_are_marked() -> None:
    assert dead.pieces("no answer within N s from 'TEXT'") == [
        ("no answer within ", False), ("N", True), (" s from '", False), ("TEXT", True), ("'", False),
    ]  # fmt: skip
    assert dead.pieces("NOT N") == [("NOT ", False), ("N", True)]


def test_headings_of_dead_letters() -> None:
    assert dead.heading(0, 0, whole=True) == "No dead letters. Good."
    assert dead.heading(1561, 5, whole=True) == "1,561 dead letters, 5 errors"
    assert dead.heading(50_000, 5, whole=False) == "50,000 dead letters, at least 5 errors"


def grouped(*names: str, whole: bool = True, exact: bool = True) -> DeadGroups:
    groups = [DeadGroup(one, one, "E", "", 700, NOW, NOW, "id", (), {}, 0) for one in names]
    return DeadGroups(groups, 500, 700 * len(names), whole, NOW, exact)


def test_what_is_not_told_of_all_dead_letters_is_said() -> None:
    assert dead.looked([grouped("a"), grouped("b")]) == ""
    assert dead.looked([grouped("a"), grouped("b", "c", whole=False)]) == (
        "Numbers are exact; histories and shares are by the newest 1,000 of 2,100."
    )
    assert dead.looked([grouped("a", exact=False)]).startswith("Dead letters are being counted anew")
    assert dead.are_told_apart([grouped("a"), grouped("b", whole=False)])
    assert not dead.are_told_apart([grouped("a"), grouped("")]), "those beyond the thousandth have no handler"
    assert not dead.are_told_apart([grouped("a", exact=False)])


def test_a_schedule_is_in_plain_english_and_both_zones() -> None:
    given_ = ScheduleInfo(
        "weekly", "report", "every Monday at 09:00", cron="0 9 * * MON", tz="Europe/Athens",
        next=datetime(2026, 11, 23, 7, 0, tzinfo=UTC),
    )  # fmt: skip
    row = schedules.row("q", given_, NOW)
    assert (row.when, row.under) == ("Every Monday at 09:00", "0 9 * * MON, Europe/Athens")
    assert row.local == "Mon 23 Nov, 09:00 in Athens, 07:00 UTC"
    assert row.until == "in 3 d 16 h"
    assert schedules.heading([row]) == "1 schedule, next in 3 d 16 h"
    assert schedules.heading([]) == "No schedule yet"


def test_runs_that_fall_together_are_one_mark() -> None:
    six = [(f"s{number}", NOW + timedelta(hours=2, seconds=number)) for number in range(6)]
    found = schedules.marks([*six, ("late", NOW + timedelta(days=3))], NOW)
    assert [one.count for one in found] == [6]


def test_workers_that_are_lost_come_first() -> None:
    by_queue = {"a": [worker("w1"), worker("w2", alive=False)], "b": [worker("w1", active=3, running=[])]}
    rows = workers.rows(by_queue, NOW)
    assert [(one.name, one.lost, one.busy) for one in rows] == [("w2", True, 4), ("w1", False, 7)]
    assert workers.heading(rows) == "2 workers, 1 lost"
    assert rows[1].queues == ["a", "b"]
    assert [one.id for one in workers.running(by_queue)] == ["job-1"]


def test_json_for_a_form_shows_what_cannot_be_seen_and_reads_back_the_same() -> None:
    value = {"a": "x\u202ey\U000e0041z\x7f", "b": 2**63}
    text = payload.as_json(value)
    assert "\\u202e" in text
    assert "\u202e" not in text
    assert json.loads(text) == value
