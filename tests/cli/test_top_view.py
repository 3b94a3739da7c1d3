"""What ``streamq top`` shows and what its keys mean, without a terminal and without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamq import AttemptInfo, Counts, JobInfo, JobState, WorkerInfo
from streamq._cli.lines import ASCII, UNICODE, Glyphs, bar, brief, drawn, fitted, plain, resampled, spark, width
from streamq._cli.terminal import keys
from streamq._cli.top_keys import press
from streamq._cli.top_model import Do, Fact, Model, Rates
from streamq._cli.top_panels import Room
from streamq._cli.top_view import headline, screen
from streamq.glance import Glance, QueueGlance

NOW = 1000.0


def counts(**changes: Any) -> Counts:
    zeros: dict[str, Any] = dict.fromkeys(("waiting", "active", "delayed", "parked", "dead"), 0)
    return Counts(**{**zeros, **changes})


def worker(name: str, *, alive: bool = True, running: tuple[tuple[str, str, float], ...] = ()) -> WorkerInfo:
    now = datetime.now(UTC)
    return WorkerInfo(
        name=f"{name}:17:0a1b2c", host=name, pid=17, version="0.1.0", started_at=now,
        seen_at=now - timedelta(seconds=2),
        concurrency=50, active=len(running), running=running, handlers=("send",), alive=alive,
    )  # fmt: skip


def letter(job_id: str, message: str, *, ago: float = 2.0) -> JobInfo:
    at = datetime.now(UTC) - timedelta(seconds=ago)
    error = AttemptInfo(5, "ProviderTimeout", message, "", at, 30.0, "w")
    return JobInfo(
        job_id, "delivery", "delivery:send", JobState.DEAD, None, 5, 5, (error,), {}, tenant="acme", finished_at=at
    )


def seen(**more: Any) -> Glance:
    """Three queues: one with dead letters, one that is paused, one that is well."""
    delivery = QueueGlance(
        "delivery",
        counts(active=2, waiting=3482, delayed=1293, dead=1552, oldest=41.0, completed=1000),
        [worker("blue", running=(("019a-aaaa1111", "delivery:send", 29.0), ("019a-bbbb2222", "delivery:send", 4.0)))],
        [letter("019a9c4e7d217c4e9b1a5f0e2d8c41f9", "whatsapp: no answer within 30 s")],
    )
    campaigns = QueueGlance(
        "campaigns",
        counts(waiting=48_200, paused=True, pause_reason="template rejected", oldest=1328.0),
        [worker("green", alive=False)],
        [],
    )
    house = QueueGlance("housekeeping", counts(active=1), [worker("blue", running=(("h-1", "compact", 214.0),))], [])
    return Glance([campaigns, delivery, house], "Valkey 9.1.2", 0, 0.0004, **more)


@pytest.fixture
def model() -> Model:
    found = Model()
    found.saw(seen(), NOW)
    found.facts["delivery"] = Fact("critical", "1,249 died in the last hour, limit 200", tuple(range(60)))
    return found


def shown(model: Model, columns: int = 100, lines: int = 30, signs: Glyphs = UNICODE) -> list[str]:
    return plain(screen(model, Room(columns, lines, NOW, "14:09:31", signs)), columns)


def test_the_screen_answers_the_question_first(model: Model) -> None:
    text = shown(model)
    assert text[0].startswith("streamq  Valkey 9.1.2  0.4 ms")
    assert text[0].endswith("14:09:31  live")
    assert text[1].startswith("1 of 3 queues needs you, 1 is paused")
    assert text[1].endswith("slots 3 of 50"), "a worker of two queues has its places once"
    assert text[3].split() == [
        "queue",
        "active",
        "waiting",
        "delayed",
        "dead",
        "last",
        "60",
        "min",
        "a",
        "minute",
        "oldest",
    ]


def test_the_worst_is_at_the_top_with_its_reason_below(model: Model) -> None:
    rows = [line for line in shown(model)[4:12] if line]
    assert rows[0].split()[:2] == ["◆", "delivery"]
    text = "\n".join(rows)
    assert text.index("delivery") < text.index("campaigns") < text.index("housekeeping")
    assert "     1,249 died in the last hour, limit 200" in text
    assert "     paused: template rejected" in text
    assert "▂▂▂▃▃▃▄▄▅▅▆▆▇▇██" in text
    assert "22 m 08 s" in text


def test_panels_show_what_runs_longest_the_lost_worker_and_the_newest_dead(model: Model) -> None:
    text = "\n".join(shown(model))
    assert text.index(" h-1") < text.index("…aaaa1111") < text.index("…bbbb2222")
    assert "2 workers, 1 lost" in text
    assert "lost, silent for" in text
    assert "3 of 50" in text
    assert "…2d8c41f9  delivery delivery:send acme" in text
    assert "ProviderTimeout: whatsapp: no answer within" in text


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 100, 132, 200])
@pytest.mark.parametrize("lines", [6, 12, 23, 24, 50])
@pytest.mark.parametrize("signs", [UNICODE, ASCII])
def test_it_fits_every_terminal(model: Model, columns: int, lines: int, signs: Glyphs) -> None:
    text = shown(model, columns, lines, signs)
    assert len(text) == lines
    assert max(width(line) for line in text) <= columns
    if signs is ASCII and columns >= 80:
        assert "".join(text).replace("↑↓", "").isascii()


def test_at_eighty_columns_every_number_is_there_and_the_sparkline_is_not(model: Model) -> None:
    text = "\n".join(shown(model, 80, 24))
    for number in ("3,482", "1,293", "1,552", "48,200", "41 s", "22 m 08 s"):
        assert number in text
    assert "last 60 min" not in text
    assert "a minute" in text


def test_a_small_terminal_shows_one_panel_at_a_time(model: Model) -> None:
    assert "running, longest first" in "\n".join(shown(model, 80, 20))
    press(model, "tab")
    assert "2 workers, 1 lost" in "\n".join(shown(model, 80, 20))
    press(model, "tab")
    text = "\n".join(shown(model, 80, 20))
    assert "died, newest first" in text
    assert "running" not in text


def test_redis_away_is_said_and_the_numbers_stay(model: Model) -> None:
    model.lost("connection refused", NOW + 4)
    model.seen_at = NOW - 39
    text = shown(model)
    assert "no answer (connection refused), numbers are 39 s old, next try in 4 s" in text[0]
    assert "3,482" in "\n".join(text)
    model.saw(seen(), NOW)
    assert "no answer" not in shown(model)[0]


def test_away_from_the_start() -> None:
    model = Model()
    model.lost("connection refused", NOW + 1)
    assert shown(model)[0] == "streamq  no answer (connection refused), next try in 1 s"


def test_no_queue_yet() -> None:
    model = Model()
    model.saw(Glance([], "Valkey 9", 0, 0.001), NOW)
    assert headline(model).startswith("no queue yet")
    assert len(shown(model)) == 30


def test_rates_come_from_what_changed(model: Model) -> None:
    assert model.rates("delivery") == Rates(None, None)
    later = seen()
    queues = [
        QueueGlance(
            one.name, counts(active=2, waiting=3542, delayed=1293, dead=1552, completed=1100, retried=6), (), ()
        )
        if one.name == "delivery"
        else one
        for one in later.queues
    ]
    model.saw(Glance(queues, later.server, 0, 0.001), NOW + 30)
    rates = model.rates("delivery")
    assert (rates.arrived, rates.done, rates.retried) == (320.0, 200.0, 12.0)
    assert rates.words == "growing 120"
    assert Rates(100.0, 100.5).words == "keeping up"
    assert Rates(0.0, 0.0).words == "quiet"
    assert Rates(1.0, 1501.0).words == "shrinking 1,500"


def test_a_wide_screen_tells_of_retries(model: Model) -> None:
    def cell(name: str) -> str:
        head = next(line for line in shown(model, columns=140) if "retries/min" in line)
        row = next(line for line in shown(model, columns=140) if name in line)
        end = head.index("retries/min") + len("retries/min")
        return row[end - len("retries/min") : end].strip()

    assert cell("delivery") == UNICODE.none
    later = [one for one in seen().queues if one.name != "delivery"]
    later.append(QueueGlance("delivery", counts(completed=1100, retried=6), (), ()))
    model.saw(Glance(later, "Valkey 9", 0, 0.001), NOW + 30)
    assert (cell("delivery"), cell("housekeeping")) == ("12", "0")
    lines = screen(model, Room(140, 30, NOW, "", UNICODE))
    assert f"\x1b[33m{'12':>13}\x1b[0m" in "".join(drawn(line, 140, colour=True) for line in lines), "in its colour"
    assert "retries/min" not in "".join(shown(model, columns=123))


def test_hostile_text_reaches_no_terminal(model: Model) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202ebad\nline"
    glance = seen()
    queue = glance.queues[1]
    nasty = QueueGlance(queue.name, counts(dead=1), queue.workers, [letter("x\x1b[31m", evil)])
    model.saw(Glance([nasty], "Valkey", 0, 0.0, 0), NOW)
    model.facts["delivery"] = Fact("warning", evil)
    lines = screen(model, Room(120, 30, NOW, "", UNICODE))
    for line in lines:
        assert "\x1b" not in drawn(line, 120, colour=False)
        assert all(one.isprintable() for one in drawn(line, 120, colour=False))


def test_wide_characters_are_counted_as_two_cells() -> None:
    assert width("日本") == 4
    assert fitted("日本語", 5) == "日本…"
    assert width(fitted("日本語", 4)) == 4
    assert fitted("abc", 5, right=True) == "  abc"
    assert width("e\u0301") == 1


def test_bars_sparks_and_numbers() -> None:
    assert bar(0, 10, UNICODE) == "░" * 10
    assert bar(0.001, 10, UNICODE) == "█" + "░" * 9
    assert bar(0.999, 10, UNICODE) == "█" * 9 + "░"
    assert bar(1, 10, UNICODE) == "█" * 10
    assert spark((), 4, UNICODE) == "    "
    assert spark((0, 0), 4, UNICODE) == "▁▁▁▁"
    assert spark((0, 1, 50, 100), 4, UNICODE) == "▁▂▅█" or spark((0, 1, 50, 100), 4, UNICODE)[0] == "▁"
    assert resampled([1, 1, 3, 3], 2) == [1, 3]
    assert resampled([5], 3) == [0, 0, 5]
    assert [brief(one) for one in (0, 48_200, 1_240_000, 48_200_000)] == ["0", "48,200", "1.24M", "48.2M"]


# -- keys -------------------------------------------------------------------------------------------


def test_keys_as_terminals_send_them() -> None:
    assert keys("a\x1b[A\x1b[B\r\n\t\x7f\x1b") == ["a", "up", "down", "enter", "enter", "tab", "backspace", "esc"]
    assert keys("\x1b[1;5Cx") == ["x"], "a key we do not know is no text"
    assert keys("\x1bOAé") == ["up", "é"]


def test_moving_opening_and_filtering(model: Model) -> None:
    assert model.selected == "campaigns"
    model.saw(seen(), NOW + 1)
    assert model.selected == "delivery", "the worst, until somebody chooses"
    press(model, "j")
    assert model.selected == "campaigns"
    press(model, "up")
    press(model, "up")
    assert model.selected == "delivery"
    press(model, "enter")
    assert [one.name for one in model.rows()] == ["delivery"]
    press(model, "esc")
    for key in ("/", "h", "o", "x", "backspace", "u", "enter"):
        press(model, key)
    assert model.filter == "hou"
    assert [one.name for one in model.rows()] == ["housekeeping"]
    press(model, "esc")
    for key in ("/", *"whatsapp", "enter"):
        press(model, key)
    assert [one.name for one in model.rows()] == ["delivery"], "its dead letter has that text"
    assert model.running() == []


def test_sorting_and_holding(model: Model) -> None:
    orders: list[tuple[str, str]] = []
    for _ in range(4):
        press(model, "s")
        orders.append((model.order, model.rows()[0].name))
    assert orders == [("name", "campaigns"), ("waiting", "campaigns"), ("dead", "delivery"), ("worst", "delivery")]
    press(model, "h")
    held = model.glance
    model.saw(seen(more=3), NOW + 1)
    assert model.glance is held
    assert shown(model)[0].endswith("held")
    press(model, "h")
    model.saw(seen(more=3), NOW + 2)
    assert model.glance is not held
    assert "3 not shown" in shown(model)[1]


def test_pause_asks_for_a_reason_and_resume_only_when_much_waits(model: Model) -> None:
    model.selected = "delivery"
    assert press(model, "p") is None
    assert shown(model)[-1].startswith(" pause delivery, reason: _")
    for key in "bad day":
        assert press(model, key) is None
    assert press(model, "enter") == Do("pause", "delivery", "bad day")
    model.selected = "campaigns"
    assert press(model, "p") is None
    assert "resume campaigns? 48,200 jobs wait" in shown(model)[-1]
    assert press(model, "x") is None
    assert model.said == "left as is"
    press(model, "p")
    assert press(model, "y") == Do("resume", "campaigns")


def test_replay_puts_the_number_into_the_question_and_no_is_the_default(model: Model) -> None:
    model.selected = "delivery"
    for answer, expected in (("enter", None), ("esc", None), ("o", "replay one"), ("a", "replay all")):
        press(model, "r")
        assert shown(model)[-1] == " replay 1,552 dead letters of delivery?  [o]ne first  [a]ll  [N]o"
        done = press(model, answer)
        assert (done.verb if done else None) == expected
    model.selected = "housekeeping"
    assert press(model, "r") is None
    assert model.said == "no dead letters in housekeeping"


def test_help_lists_the_keys_and_any_key_leaves_it(model: Model) -> None:
    press(model, "?")
    text = "\n".join(shown(model))
    assert "pause the queue, with a reason" in text
    press(model, "q")
    assert not model.over
    press(model, "q")
    assert model.over
