"""Jobs, dead letters, queues: listed, shown and mended from the command line. No app is imported for any of it."""

from __future__ import annotations

import json

import pytest

from streamq import Queue
from tests.cli.shell import Shell


@pytest.fixture
def deaths(shell: Shell) -> list[str]:
    """Ids of three dead jobs, oldest first."""
    (shell.folder / "jobs.json").write_text('{"secret": "s3cret"}')
    jobs = [
        shell.run("send", "boom", "--data", "@jobs.json", "--queue", "demo", "--tenant", tenant).stdout.strip()
        for tenant in ("acme", "acme", "other")
    ]
    shell.run("worker", "app:queue", "--burst", "-c", "1")
    (shell.folder / "app.py").unlink()  # whatever follows must not need it
    return jobs


def test_looking_brings_no_queue_about(shell: Shell) -> None:
    assert "there is no queue" in shell.run("jobs", "list", "--queue", "typo", code=2).stderr
    shell.run("jobs", "show", "x", "--queue", "typo", code=1)
    assert shell.json("queues") == {"queues": []}
    assert "no queue yet" in shell.run("queues").stderr


def test_jobs_are_listed_in_pages(shell: Shell) -> None:
    for number in range(5):
        shell.run("send", "x", f"n={number}", "--queue", "demo", "--tenant", "even" if number % 2 == 0 else "odd")
    shell.run("send", "later", "--queue", "demo", "--delay", "1h")
    first = shell.json("jobs", "list", "--limit", "4")
    second = shell.json("jobs", "list", "--limit", "4", "--cursor", first["cursor"])
    found = first["jobs"] + second["jobs"]
    assert [job["name"] for job in found] == ["x"] * 5 + ["later"]
    assert second["cursor"] == ""
    assert found[0]["args"] == {"n": "<hidden: number>"}
    assert shell.json("jobs", "list", "--state", "wait", "--payload")["jobs"][0]["args"] == {"n": 0}
    assert len(shell.json("jobs", "list", "--tenant", "odd")["jobs"]) == 2
    assert len(shell.json("jobs", "list", "--name", "later")["jobs"]) == 1
    table = shell.run("jobs", "list", "--state", "delayed").stdout.splitlines()
    assert table[0].split() == ["id", "state", "handler", "runs", "when", "error"]
    assert "due in 59 m" in table[1] or "due in 1 h" in table[1]
    assert shell.run("jobs", "list", "--name", "nobody").stderr == "no job matches\n"


def test_a_job_is_shown_without_its_payload_unless_asked(shell: Shell, deaths: list[str]) -> None:
    for command in (("jobs", "show"), ("dlq", "show"), ("jobs", "list"), ("dlq", "list")):
        ids = [deaths[0]] if command[1] == "show" else []
        for more in ((), ("--json",)):
            shown = shell.run(*command, *ids, *more).stdout
            assert deaths[0] in shown
            assert "s3cret" not in shown
        assert "s3cret" in shell.run(*command, *ids, "--payload", "--json").stdout
    page = shell.run("jobs", "show", deaths[0]).stdout
    assert "ValueError: it broke" in page
    assert "Traceback" in page
    assert "secret: <hidden: text of 6>" in page


def test_an_unknown_job_is_one_line(shell: Shell, deaths: list[str]) -> None:
    del deaths
    assert shell.run("jobs", "show", "nope", code=1).stderr.startswith("streamq: no trace of job nope in demo\n")
    assert "no dead letter nope" in shell.run("dlq", "show", "nope", code=1).stderr
    done = shell.run("jobs", "cancel", "nope", code=1)
    assert "job nope is unknown" in done.stderr
    assert done.stdout == "0 jobs cancelled\n"


def test_jobs_are_cancelled_and_removed_by_id_and_by_filter(shell: Shell) -> None:
    jobs = [shell.run("send", "x", "--queue", "demo", "--tenant", f"t{n % 2}").stdout.strip() for n in range(6)]
    assert shell.run("jobs", "cancel", jobs[0]).stdout == "1 job cancelled\n"
    assert shell.json("jobs", "cancel", "--all", "--tenant", "t0", "--dry-run") == {"matched": 2, "dry_run": True}
    refused = shell.run("jobs", "cancel", "--all", "--tenant", "t0", code=2)
    assert "no terminal to ask on" in refused.stderr
    assert shell.json("jobs", "cancel", "--all", "--tenant", "t0", "--yes")["done"] == 2
    assert "no terminal to ask on" in shell.run("jobs", "remove", jobs[1], code=2).stderr
    assert shell.run("jobs", "remove", jobs[1], jobs[3], "-y").stdout == "2 jobs removed\n"
    assert shell.json("jobs", "cancel", jobs[0], jobs[5], code=1)["done"] == 1
    assert shell.json("queues")["queues"][0]["waiting"] == 0


def test_jobs_are_moved_to_another_lane(shell: Shell) -> None:
    jobs = [shell.run("send", "x", "--queue", "demo", "--tenant", f"t{n % 2}").stdout.strip() for n in range(4)]
    shell.run("send", "x", "--queue", "demo", "--tenant", "t1", "--delay", "1h")
    assert shell.run("jobs", "priority", jobs[0], "--to", "high").stdout == "1 job moved to high\n"
    assert "high" in shell.run("jobs", "show", jobs[0]).stdout
    moved = shell.json("jobs", "priority", "--to", "background", "--all", "--tenant", "t1", "--yes")
    assert (moved["matched"], moved["done"]) == (3, 3)
    listed = {job["id"]: job["priority"] for job in shell.json("jobs", "list")["jobs"]}
    assert [listed[job] for job in jobs] == [1, 4, 2, 4]
    assert "Missing option '--to'" in shell.run("jobs", "priority", jobs[0], code=2).stderr
    assert (
        "it works on waiting, delayed, parked"
        in shell.run("jobs", "priority", "--to", "low", "--all", "--state", "active", code=2).stderr
    )
    shell.run("jobs", "cancel", jobs[0])
    assert "it is cancelled" in shell.run("jobs", "priority", jobs[0], "--to", "low", code=1).stderr


def test_jobs_are_retried(shell: Shell, deaths: list[str]) -> None:
    assert shell.run("jobs", "retry", deaths[0]).stdout == "1 job retried\n"
    later = shell.run("send", "x", "--queue", "demo", "--delay", "1h").stdout.strip()
    assert shell.run("jobs", "retry", later).stdout == "1 job retried\n"
    assert shell.json("jobs", "retry", "--all", "--yes")["done"] == 2
    counts = shell.json("queues")["queues"][0]
    assert (counts["waiting"], counts["delayed"], counts["dead"]) == (4, 0, 0)
    assert "it is waiting" in shell.run("jobs", "retry", later, code=1).stderr


def test_dead_letters_are_listed_and_replayed(shell: Shell, deaths: list[str]) -> None:
    listed = shell.json("dlq", "list")
    assert [one["id"] for one in listed["dead"]] == deaths[::-1]
    assert shell.json("dlq", "list", "--limit", "2")["more"] is True
    for filters, number in (
        (("--tenant", "acme"), 2),
        (("--error", "it broke"), 3),
        (("--error", "zzz"), 0),
        (("--since", "1h"), 3),
    ):
        assert len(shell.json("dlq", "list", *filters)["dead"]) == number
    assert shell.run("dlq", "list", "--name", "nobody").stderr == "no dead letter matches\n"
    assert shell.run("dlq", "replay", deaths[0]).stdout == "1 dead letter replayed\n"
    assert shell.json("dlq", "replay", "--all", "--dry-run") == {"matched": 2, "dry_run": True}
    assert "no terminal" in shell.run("dlq", "replay", "--all", code=2).stderr
    assert shell.json("dlq", "replay", "--all", "--tenant", "acme", "--yes") == {"matched": 1, "done": 1, "refused": []}
    assert shell.json("dlq", "replay", "--all", "--yes", "--rate", "1/h")["done"] == 1
    assert shell.run("dlq", "replay", deaths[0], code=1).stdout == "0 dead letters replayed\n"


def test_dead_letters_are_grouped_by_what_they_died_of(shell: Shell, deaths: list[str]) -> None:
    found = shell.json("dlq", "groups")
    [group] = found["groups"]
    assert (found["dead"], group["count"], group["newest_id"]) == (3, 3, deaths[-1])
    assert "shares" not in group, "they are of payloads"
    told = shell.run("dlq", "groups").stdout
    assert group["key"] in told
    assert group["message"] in told
    wanted = ("--all", "--group", group["key"])
    assert shell.json("dlq", "replay", *wanted, "--dry-run") == {"matched": 3, "dry_run": True}
    assert shell.json("dlq", "list", "--group", "0" * 12)["dead"] == []
    assert shell.json("dlq", "purge", *wanted, "--yes")["done"] == 3
    assert shell.run("dlq", "groups").stderr == "no dead letters\n"


def test_dead_letters_are_purged(shell: Shell, deaths: list[str]) -> None:
    assert shell.json("dlq", "purge", "--all", "--older-than", "1h", "--yes")["done"] == 0
    assert shell.run("dlq", "purge", "--all", "--tenant", "acme", "--dry-run").stdout == "would purge 2 dead letters\n"
    assert "no terminal" in shell.run("dlq", "purge", deaths[0], code=2).stderr
    assert shell.run("dlq", "purge", deaths[0], "--yes").stdout == "1 dead letter purged\n"
    assert shell.json("dlq", "purge", "--all", "--yes")["done"] == 2
    assert shell.json("dlq", "list")["dead"] == []


def test_queues_pause_resume_and_drain(shell: Shell) -> None:
    for name in ("one", "two"):
        shell.run("send", "x", "--queue", name)
    shell.run("send", "x", "--queue", "two", "--delay", "1h")
    assert shell.run("pause", "one", "--reason", "provider down").stdout == "one paused\n"
    assert shell.run("pause", "one").stdout == "one is paused already\n"
    assert "paused: provider down" in shell.run("queues").stdout
    assert shell.json("resume", "--all")["queues"] == [
        {"queue": "one", "changed": True},
        {"queue": "two", "changed": False},
    ]
    assert "did you mean 'two'?" in shell.run("pause", "tw", code=2).stderr
    assert shell.run("drain", "two", "--dry-run").stdout == "would remove 1 job\n"
    assert "no terminal" in shell.run("drain", "two", code=2).stderr
    assert shell.json("drain", "two", "--yes")["removed"] == 1
    assert shell.run("drain", "two", "--include-delayed", "--yes").stdout == "1 job removed\n"


def test_stats_once_and_watched(shell: Shell, deaths: list[str]) -> None:
    del deaths
    assert shell.json("stats", "demo")["queues"][0]["failed"] == 3
    assert "3 dead" in shell.run("stats").stdout
    watched = shell.run("stats", "--watch", "--interval", "50ms", "--times", "3", "--json").stdout
    lines = [json.loads(line) for line in watched.splitlines()]
    assert [line["queue"] for line in lines] == ["demo"] * 3
    assert lines[1]["failed_per_second"] == 0
    assert "done=0.0/s" in shell.run("stats", "--watch", "--interval", "50ms", "--times", "2").stdout


def test_health(shell: Shell, bare: Shell) -> None:
    assert shell.json("health")["healthy"] is True
    shell.run("send", "x", "--queue", "demo")
    found = shell.json("health", code=2)
    assert found["queues"][0]["problems"] == ["1 job waiting, no worker"]
    assert "limit 0" in shell.run("health", "--max-lag", "0", code=2).stdout
    shell.run("pause", "demo")
    assert "demo: warning: paused, 1 job waiting\n  go on: streamq resume demo\n" in shell.run("health", code=1).stdout
    shell.run("drain", "demo", "--yes")
    assert shell.run("health").stdout == "1 queue, all well\n"
    bare.run("health", "--url", "redis://127.0.0.1:1/0", code=4)


async def test_a_job_with_an_app_of_its_own_is_managed_all_the_same(shell: Shell) -> None:
    queue = Queue("mail", url=shell.env["STREAMQ_URL"], prefix=shell.env["STREAMQ_PREFIX"])
    job = await queue.enqueue("send", {"to": "x"}, delay=60)
    assert shell.run("jobs", "cancel", job.id).stdout == "1 job cancelled\n"
    assert await job.state() == "cancelled"
    await queue.aclose()


def test_colours_only_on_a_terminal(shell: Shell, deaths: list[str]) -> None:
    assert "\x1b[" not in shell.run("jobs", "show", deaths[0]).stdout
    assert "\x1b[" not in shell.run("--no-color", "queues").stdout
