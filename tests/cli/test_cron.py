"""Schedules from the command line: fired by workers and by schedulers, listed and managed without the app."""

from __future__ import annotations

import re
import signal

import pytest

from tests.cli.shell import Shell, wait_until

APP = """\
from pathlib import Path
from streamq import Context, Queue, Scheduler, Worker

queue = Queue("demo")
other = Queue("other")
scheduler = Scheduler(queue, tz="Europe/Athens")
worker = Worker(queue, scheduler=scheduler)
alone = Queue("alone")

@scheduler.every(0.1, id="poll")
async def poll(ctx: Context) -> None:
    with Path("ran").open("a") as file:
        file.write(ctx.job_id + "\\n")

@scheduler.cron("0 9 * * MON", id="weekly_report")
async def report(secret: str = "s3cret") -> None: ...
"""


@pytest.fixture
def app(shell: Shell) -> Shell:
    (shell.folder / "app.py").write_text(APP)
    return shell


@pytest.fixture
def declared(app: Shell) -> Shell:
    """The schedules of the app are known, and the app itself is gone."""
    app.run("scheduler", "app:scheduler", "--burst")
    (app.folder / "app.py").unlink()
    return app


def ran(shell: Shell) -> list[str]:
    file = shell.folder / "ran"
    return file.read_text().split() if file.exists() else []


@pytest.mark.parametrize("target", ["app:queue", "app:worker", "app:scheduler"])
def test_a_worker_fires_the_schedules_beside_its_queue(app: Shell, target: str) -> None:
    worker = app.worker(target)
    wait_until(lambda: len(ran(app)) >= 3, "ticks run")
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    assert len(set(ran(app))) == len(ran(app))


@pytest.mark.parametrize("target", ["app:queue", "app:worker"])
def test_a_worker_can_leave_them_to_others(app: Shell, target: str) -> None:
    worker = app.worker(target, "--no-scheduler")
    assert "no schedules" in app.run("cron", "list", "--queue", "demo").stderr
    scheduler = app.start("scheduler", "app:scheduler")
    scheduler.says("scheduler started")
    assert "2 schedules declared: poll, weekly_report" in scheduler.output
    wait_until(lambda: len(ran(app)) >= 3, "ticks run")
    scheduler.signal(signal.SIGTERM)
    assert scheduler.ends() == 0
    assert "scheduler stopped" in scheduler.output
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0


def test_children_are_told_to_leave_them_to_others(app: Shell) -> None:
    workers = app.start("worker", "app:queue", "--processes", "2", "--no-scheduler")
    workers.says("worker started", times=2)
    assert app.json("cron", "list", "--queue", "demo")["schedules"] == []


def test_a_scheduler_is_found_beside_its_queue_or_missed(app: Shell) -> None:
    app.run("scheduler", "app:queue", "--burst")
    assert len(app.json("cron", "list")["schedules"]) == 2
    told = app.run("scheduler", "app:alone", code=3).stderr
    assert told.startswith("streamq: app:alone has no Scheduler\n")
    assert "app:scheduler" in told
    assert "which app?" in app.run("scheduler", code=3).stderr


def test_schedules_are_listed_in_words(declared: Shell) -> None:
    table = declared.run("cron", "list").stdout.splitlines()
    assert re.split(r"  +", table[0]) == ["schedule", "when", "next", "last", "fired", "handler", "last job"]
    report = next(line for line in table if line.startswith("weekly_report"))
    assert "every Monday at 09:00 Europe/Athens" in report
    assert re.search(r"in \d+ [hd m]|\d{4}-\d\d-\d\d", report)
    for more in ((), ("--json",)):
        assert "s3cret" not in declared.run("cron", "list", *more).stdout
    found = {one["id"]: one for one in declared.json("cron", "list")["schedules"]}
    assert (found["poll"]["every"], found["poll"]["when"]) == (0.1, "every 0.1 seconds")
    assert found["weekly_report"]["last_job_id"] is None


def test_the_next_ticks_of_a_schedule(declared: Shell) -> None:
    shown = declared.run("cron", "next", "weekly_report", "-n", "3").stdout.splitlines()
    assert shown[0] == "every Monday at 09:00 Europe/Athens"
    assert len(shown) == 4
    assert all(
        re.match(r"  Mon \d{4}-\d\d-\d\d 09:00:00 \+0[23]00, \d{4}-\d\d-\d\d 0[67]:00Z", line) for line in shown[1:]
    )
    assert len(declared.json("cron", "next", "poll")["ticks"]) == 5
    assert "did you mean 'weekly_report'" in declared.run("cron", "next", "weekly_reprot", code=1).stderr
    assert "--tz is for" in declared.run("cron", "next", "poll", "--tz", "UTC", code=2).stderr


def test_the_next_ticks_of_an_expression_need_no_server(bare: Shell) -> None:
    found = bare.json("cron", "next", "30 3 * 3,10 SUN", "--tz", "Europe/Athens", "-n", "20")
    notes = {one["note"] for one in found["ticks"]}
    assert any("runs at 04:00" in one for one in notes)
    assert any("comes twice" in one for one in notes)
    assert bare.run("cron", "next", "@daily").stdout.startswith("every day at 00:00 UTC\n")
    assert "minute '99' is wrong" in bare.run("cron", "next", "99 * * * *", code=2).stderr


def test_an_extra_run(declared: Shell) -> None:
    job = declared.run("cron", "run", "weekly_report").stdout.strip()
    assert declared.json("jobs", "show", job)["name"] == "weekly_report"
    assert declared.json("cron", "run", "weekly_report")["schedule"] == "weekly_report"
    assert declared.json("cron", "next", "weekly_report")["paused"] is False


def test_pause_resume_remove(declared: Shell) -> None:
    assert declared.run("cron", "pause", "poll", "weekly_report").stdout == "poll paused\nweekly_report paused\n"
    assert declared.run("cron", "pause", "poll").stdout == "poll is paused already\n"
    assert declared.run("cron", "list").stdout.count("paused") == 2
    assert declared.run("cron", "next", "poll").stdout.startswith("every 0.1 seconds, paused\n")
    assert declared.json("cron", "resume", "poll")["schedules"] == [{"id": "poll", "changed": True}]
    assert declared.run("cron", "resume", "poll").stdout == "poll was not paused\n"
    assert "say --yes" in declared.run("cron", "remove", "poll", code=2).stderr
    assert declared.run("cron", "remove", "poll", "--yes").stdout == "poll removed\n"
    assert declared.run("cron", "remove", "poll", "--yes").stdout == "poll was removed already\n"
    assert "was removed; upsert brings it back" in declared.run("cron", "pause", "poll", code=1).stderr
    assert "does not exist" in declared.run("cron", "pause", "nobody", code=1).stderr
    (declared.folder / "app.py").write_text(APP)
    assert "stays so" in declared.run("scheduler", "app:scheduler", "--burst").stderr
    assert [one["id"] for one in declared.json("cron", "list")["schedules"]] == ["weekly_report"]
