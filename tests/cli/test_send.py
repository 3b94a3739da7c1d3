"""``streamq send``: what it prints, how it ends, and what it refuses."""

from __future__ import annotations

import json
import signal

from tests.cli.shell import Shell


def test_wait_prints_the_result(shell: Shell) -> None:
    shell.worker()
    assert shell.run("send", "math:add", "a=2", "b=3", "--wait").stdout == "5\n"
    found = shell.json("send", "math:add", "a=2", "b=3", "--wait")
    assert (found["state"], found["result"], found["queue"]) == ("completed", 5, "demo")


def test_without_wait_the_id_is_printed(shell: Shell) -> None:
    job = shell.run("send", "math:add", "a=2", "b=3", "--queue", "demo").stdout.strip()
    assert shell.json("jobs", "show", job)["state"] == "waiting"
    twice = [shell.json("send", "x", "--id", "mine", "--queue", "demo") for _ in range(2)]
    assert [one["created"] for one in twice] == [True, False]
    assert twice[0]["id"] == "mine"


def test_a_job_that_fails_is_exit_code_5(shell: Shell) -> None:
    shell.worker()
    done = shell.run("send", "boom", "--wait", code=5)
    assert "is dead (attempts exhausted): ValueError: it broke" in done.stderr
    assert done.stdout == ""
    assert shell.json("send", "boom", "--wait", code=5)["state"] == "dead"


def test_a_timeout_is_exit_code_6_and_leaves_the_job(shell: Shell) -> None:
    done = shell.run("send", "math:add", "a=1", "b=1", "--queue", "demo", "--wait", "--timeout", "100ms", code=6)
    assert "has not ended yet" in done.stderr
    assert shell.json("queues")["queues"][0]["waiting"] == 1


def test_options_arrive(shell: Shell) -> None:
    job = shell.run(
        *("send", "mail", "--queue", "demo", "--data", '{"to": "a", "n": 1}', "n=2", 'tags=["x"]', "text=true story"),
        *("--delay", "1h", "--priority", "high", "--max-attempts", "3", "--header", "x-request-id=r=1"),
        *("--tenant", "acme", "--expires-in", "1d", "--id", "m1"),
    ).stdout.strip()
    info = shell.json("jobs", "show", job, "--payload")
    assert info["args"] == {"to": "a", "n": 2, "tags": ["x"], "text": "true story"}
    assert (info["state"], info["max_attempts"], info["tenant"]) == ("delayed", 3, "acme")
    assert info["headers"] == {"x-request-id": "r=1"}
    assert info["due_at"] < info["expires_at"]


def test_data_from_a_file_and_from_standard_input(shell: Shell) -> None:
    (shell.folder / "data.json").write_text('{"a": 1}')
    for given, stdin in (("@data.json", ""), ("-", '{"a": 1}')):
        job = shell.run("send", "x", "--queue", "demo", "--data", given, stdin=stdin).stdout.strip()
        assert shell.json("jobs", "show", job, "--payload")["args"] == {"a": 1}


def test_a_name_no_worker_knows_is_refused_with_the_nearest(shell: Shell) -> None:
    worker = shell.worker()
    assert shell.run("send", "math:add", "a=1", "b=1", "--wait").stdout == "2\n"  # its heartbeat has been seen
    done = shell.run("send", "math:ad", "a=1", code=2)
    assert "did you mean 'math:add'?" in done.stderr
    assert shell.json("queues")["queues"][0]["parked"] == 0
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    shell.run("send", "math:ad", "a=1", "--force")


def test_with_an_app_the_arguments_are_checked_first(shell: Shell) -> None:
    assert "unknown argument 'c'" in shell.run("send", "math:add", "c=1", "--app", "app:queue", code=2).stderr
    assert "Expected `int`" in shell.run("send", "math:add", "a=x", "b=1", "--app", "app:queue", code=2).stderr
    assert "did you mean 'boom'?" in shell.run("send", "bom", "--app", "app:queue", code=2).stderr
    assert shell.json("queues") == {"queues": []}
    shell.run("send", "math:add", "a=1", "b=1", "--app", "app:queue")
    assert shell.json("queues")["queues"][0]["queue"] == "demo"


def test_the_queue_must_be_clear(shell: Shell) -> None:
    assert "none is known yet" in shell.run("send", "x", code=2).stderr
    for name in ("one", "two"):
        shell.run("send", "x", "--queue", name)
    assert "there are one, two" in shell.run("send", "x", code=2).stderr


def test_the_queue_whose_workers_know_the_name_is_taken(shell: Shell) -> None:
    shell.run("send", "x", "--queue", "aaa")
    worker = shell.worker()
    assert shell.run("send", "math:add", "a=2", "b=3", "--wait").stdout == "5\n"
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0


def test_no_server_is_exit_code_4(bare: Shell) -> None:
    assert "no server: none is set" in bare.run("send", "x", "--queue", "q", code=4).stderr
    away = bare.run("send", "x", "--queue", "q", "--force", "--url", "redis://127.0.0.1:1/0", code=4)
    assert "connection refused" in away.stderr.lower()


def test_global_options_go_before_the_command_too(shell: Shell) -> None:
    url = shell.env.pop("STREAMQ_URL")
    prefix = shell.env.pop("STREAMQ_PREFIX")
    shell.run("--url", url, "--prefix", prefix, "send", "x", "--queue", "q")
    done = shell.run("--json", "queues", "--url", url, "--prefix", prefix)
    assert [one["queue"] for one in json.loads(done.stdout)["queues"]] == ["q"]
