"""``streamq worker`` as a process: first line, signals, exit codes, several processes, reload."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.cli.shell import Shell, wait_until
from tests.servers import StartServer


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in found.read_text().split()] if found.exists() else []


def _state(shell: Shell, job: str) -> str:
    return str(shell.json("jobs", "show", job, "--queue", "demo")["state"])


def test_the_first_line_says_what_runs_and_sigterm_ends_it_well(shell: Shell) -> None:
    worker = shell.worker("app:queue", "app:other", "-c", "5")
    first = worker.output.splitlines()[0]
    assert re.match(r"streamq \S+ · Python 3\.\d+\.\d+ · Valkey 9\S* at unix:///", first), first
    assert "2 queues: demo, other · 3 handlers: boom, math:add, slow · concurrency 5" in first
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0


@pytest.mark.parametrize(("target", "concurrency"), [("app:worker", "7"), ("app:both", "100"), ("app:other", "100")])
def test_a_worker_or_a_list_of_queues_can_be_named(shell: Shell, target: str, concurrency: str) -> None:
    worker = shell.worker(target)
    assert f"concurrency {concurrency} " in worker.output
    worker.signal(signal.SIGINT)
    assert worker.ends() == 0


def test_options_override_those_of_the_apps_worker(shell: Shell) -> None:
    assert "concurrency 3 " in shell.worker("app:worker", "--concurrency", "3").output


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_running_job_finishes_within_grace(shell: Shell, loop: str) -> None:
    pytest.importorskip(loop)
    worker = shell.worker("app:queue", "--grace", "10s", "--loop", loop)
    job = shell.run("send", "slow", "seconds=1", "--queue", "demo").stdout.strip()
    wait_until((shell.folder / "mark").exists, "the start of the job")
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    assert "1 job may finish within 10 s" in worker.output
    assert _state(shell, job) == "completed"


def test_when_grace_has_passed_the_job_is_handed_back_and_charged_nothing(shell: Shell) -> None:
    worker = shell.worker("app:queue", "--grace", "200ms")
    job = shell.run("send", "slow", "seconds=30", "--queue", "demo").stdout.strip()
    wait_until((shell.folder / "mark").exists, "the start of the job")
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 7
    assert "1 running job handed back" in worker.output
    info = shell.json("jobs", "show", job)
    assert (info["state"], info["attempts"], info["errors"]) == ("waiting", 0, [])
    second = shell.worker("app:queue", "--grace", "0")
    runs = wait_until(lambda: len(lines := (shell.folder / "mark").read_text().splitlines()) > 1 and lines, "a 2nd run")
    assert [run.split()[0] for run in runs] == ["1", "1"]
    assert runs[0].split()[1] != runs[1].split()[1]
    second.signal(signal.SIGTERM)
    assert second.ends() == 7


def test_the_second_signal_cancels(shell: Shell) -> None:
    worker = shell.worker("app:queue", "--grace", "60s")
    shell.run("send", "slow", "seconds=30", "--queue", "demo")
    wait_until((shell.folder / "mark").exists, "the start of the job")
    worker.signal(signal.SIGINT)
    worker.says("may finish within")
    worker.signal(signal.SIGINT)
    assert worker.ends() == 7
    assert "cancelling what runs" in worker.output


def test_the_third_signal_kills_even_a_blocked_loop(shell: Shell) -> None:
    (shell.folder / "stuck.py").write_text(
        "import time\nfrom pathlib import Path\nfrom streamq import Queue\nqueue = Queue('demo')\n"
        "@queue.handler('stuck')\nasync def stuck() -> None:\n"
        "    Path('mark').touch()\n    while True:\n        time.sleep(0.01)\n"
    )
    worker = shell.worker("stuck:queue", "--grace", "60s")
    shell.run("send", "stuck", "--queue", "demo")
    wait_until((shell.folder / "mark").exists, "the start of the job")
    for _ in range(3):
        worker.signal(signal.SIGTERM)
        time.sleep(0.1)  # signals of one kind that are pending become one
    assert worker.ends() == 143


def test_burst_ends_when_nothing_is_left(shell: Shell) -> None:
    jobs = [shell.run("send", "math:add", f"a={n}", "b=1", "--queue", "demo").stdout.strip() for n in range(3)]
    shell.run("worker", "app:queue", "--burst")
    assert {_state(shell, job) for job in jobs} == {"completed"}


@pytest.mark.parametrize(
    ("target", "said"),
    [("ap:queue", "did you mean 'app'?"), ("app:quue", "did you mean app:queue?"), ("app:nothing", "is a int")],
)
def test_an_app_that_cannot_be_loaded_is_exit_code_3(shell: Shell, target: str, said: str) -> None:
    for more in ((), ("--processes", "2")):
        done = shell.run("worker", target, *more, code=3)
        assert said in done.stderr


def test_no_app_at_all_is_exit_code_3_and_pyproject_names_one(shell: Shell) -> None:
    assert "which app?" in shell.run("worker", code=3).stderr
    (shell.folder / "pyproject.toml").write_text('[tool.streamq]\napp = "app:queue"\n')
    shell.run("worker", "--burst")


def test_redis_away_is_exit_code_4_in_one_line_with_remedies(bare: Shell) -> None:
    away = {"STREAMQ_URL": f"unix://{bare.folder}/none.sock"}
    tcp = {"STREAMQ_URL": "redis://127.0.0.1:1/0"}
    done = bare.run("worker", "app:queue", code=4, **tcp)
    first, *remedies = done.stderr.splitlines()
    assert first == "streamq: cannot reach Redis at redis://127.0.0.1:1/0 (connection refused)"
    assert all(line.startswith("  • ") for line in remedies)
    assert "no such socket" in bare.run("worker", "app:queue", code=4, **away).stderr
    assert "cannot reach" in bare.run("worker", "app:queue", "--processes", "2", code=4, **away).stderr
    deployment = bare.run("worker", "app:queue", code=4, STREAMQ_ENV="staging")
    assert "no server configured" in deployment.stderr


def test_a_wrong_password_is_exit_code_4(bare: Shell, fresh_server: StartServer) -> None:
    server = fresh_server(tcp=True)
    server.command("CONFIG", "SET", "requirepass", "right")
    for password, url in (("", server.url), ("wrong", server.url.replace("//", "//:wrong@"))):
        done = bare.run("worker", "app:queue", "--wait-for-redis", "1s", code=4, STREAMQ_URL=url)
        assert "password" in done.stderr.lower() or "auth" in done.stderr.lower()
        assert not password or password not in done.stderr.replace("WRONGPASS", "")
    bare.run("worker", "app:queue", "--burst", STREAMQ_URL=server.url.replace("//", "//:right@"))


def test_a_worker_waits_for_redis_and_can_be_stopped_meanwhile(bare: Shell, fresh_server: StartServer) -> None:
    server = fresh_server(tcp=True)
    server.stop()
    patient = bare.start("worker", "app:queue", "--wait-for-redis", "60s", STREAMQ_URL=server.url)
    told = bare.start("worker", "app:queue", "--wait-for-redis", "60s", STREAMQ_URL=server.url)
    wait_until(lambda: _catches(told.process.pid), "the signal handlers")
    told.signal(signal.SIGTERM)
    assert told.ends() == 0
    server.start()
    patient.says("worker started")
    patient.signal(signal.SIGTERM)
    assert patient.ends() == 0


def _catches(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM."""
    caught = re.search(r"SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_two_processes_one_killed_and_replaced(shell: Shell) -> None:
    worker = shell.start("worker", "app:queue", "--processes", "2")
    worker.says("worker started", times=2)
    victim, survivor = _children(worker.process.pid)
    os.kill(victim, signal.SIGKILL)
    worker.says("worker started", times=3)
    assert "worker ended with SIGKILL; starting another" in worker.output
    now = _children(worker.process.pid)
    assert survivor in now
    assert len(now) == 2
    assert shell.run("send", "math:add", "a=2", "b=3", "--wait").stdout == "5\n"
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    assert worker.output.count("worker stopped") == 2


def test_a_child_that_dies_young_again_and_again_ends_everything(shell: Shell) -> None:
    (shell.folder / "short.py").write_text(
        "import os, threading\nfrom streamq import Queue\nqueue = Queue('demo')\n"
        "threading.Timer(0.05, os._exit, (9,)).start()\n"
    )
    worker = shell.start("worker", "short:queue", "--processes", "2")
    assert worker.ends() == 9
    assert "giving up" in worker.output


def test_processes_in_burst_end_together(shell: Shell) -> None:
    shell.run("send", "math:add", "a=2", "b=3", "--queue", "demo")
    shell.run("worker", "app:queue", "--burst", "--processes", "2")
    assert shell.json("queues")["queues"][0]["completed"] == 1


def test_children_stop_when_their_supervisor_was_killed(shell: Shell) -> None:
    worker = shell.start("worker", "app:queue", "--processes", "2")
    worker.says("worker started", times=2)
    children = _children(worker.process.pid)
    worker.process.kill()
    worker.process.wait()
    wait_until(lambda: not any(_runs(child) for child in children), "the end of the children")
    assert worker.output.count("worker stopped") == 2


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_reload_takes_the_new_code_and_survives_broken_code(shell: Shell) -> None:
    pytest.importorskip("watchfiles")
    worker = shell.start("worker", "app:queue", "--reload")
    worker.says("worker started")
    app = shell.folder / "app.py"
    good = app.read_text()
    # The watcher may not watch yet when the first worker works: write again until it has noticed.
    worker.says_after("waiting for a change", lambda: app.write_text(good + "\nbroken ="))
    worker.says_after("4 handlers", lambda: app.write_text(good + "\nqueue.handler('more')(lambda: None)\n"))
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0


def test_json_logs_are_json_from_the_first_line_on(shell: Shell) -> None:
    worker = shell.worker("app:queue", "--log-format", "json", "--log-level", "debug")
    shell.run("send", "math:add", "a=2", "b=3", "--wait")
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    lines = [json.loads(line) for line in worker.output.splitlines()]
    starting = next(line for line in lines if line.get("event") == "worker.starting")  # asyncio may speak before
    assert starting["handlers"] == ["boom", "math:add", "slow"]
    done = next(line for line in lines if line.get("event") == "succeeded")
    assert (done["queue"], done["handler"], done["attempt"]) == ("demo", "math:add", 1)
    assert "payload" not in done


def test_logging_is_left_alone_if_asked(shell: Shell) -> None:
    worker = shell.start("worker", "app:queue", "--no-configure-logging")
    worker.says("concurrency 100")
    wait_until(lambda: shell.json("health", "--live", code=0)["healthy"], "the worker's sign of life")
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    assert "worker started" not in worker.output


def test_the_live_probe_sees_a_worker_and_a_stuck_one(shell: Shell) -> None:
    assert shell.run("health", "--live", code=1).stdout == "no worker runs here\n"
    worker = shell.worker()
    wait_until(lambda: list((shell.folder / f"streamq-{os.getuid()}").glob("worker-*.alive")), "the file")
    assert shell.run("health", "--live", "--queue", "demo").stdout == "1 worker alive\n"
    shell.run("health", "--live", "--queue", "mail", code=1)
    worker.signal(signal.SIGSTOP)
    try:
        time.sleep(0.2)  # what is waited for is that nothing happens
        assert "has not turned its loop" in shell.run("health", "--live", "--stale", "100ms", code=1).stdout
    finally:
        worker.signal(signal.SIGCONT)
    worker.process.kill()
    worker.process.wait()
    assert shell.run("health", "--live", code=1).stdout == "no worker runs here\n"
