"""``streamq health`` by the policy that workers declare, and the probes of ``streamq worker --health-port``."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Background, Shell, wait_until
from tests.servers import Server, StartServer

APP = """\
import asyncio
import time
from pathlib import Path
from streamq import HealthPolicy, Queue

queue = Queue("demo", health=HealthPolicy(size=(1, 3)))
other = Queue("other")

@queue.handler("stuck")
async def stuck(seconds: float) -> None:
    time.sleep(seconds)

@queue.handler("slow")
async def slow(seconds: float) -> None:
    await asyncio.sleep(seconds)

@queue.health_check("disk")
async def disk() -> None:
    if Path("full").exists():
        raise OSError("no space left")
"""


class Probe:
    """A worker with a health port."""

    def __init__(self, shell: Shell, *args: str) -> None:
        (shell.folder / "watched.py").write_text(APP)
        self.worker: Background = shell.start("worker", "watched:queue", "watched:other", "--health-port", "0", *args)
        self.worker.says("probes at http://")
        found = re.search(r"http://127\.0\.0\.1:(\d+)/health", self.worker.output)
        assert found is not None, self.worker.output
        self.port = int(found[1])

    def ask(self, path: str, method: str = "GET") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read()
            assert response.headers["Content-Length"]
            is_json = (response.headers["Content-Type"] or "").startswith("application/json")
            return response.status, json.loads(body) if is_json and body else body
        finally:
            connection.close()

    def becomes(self, path: str, status: int) -> Any:
        found: list[Any] = []

        def answered() -> bool:
            found[:] = self.ask(path)
            return bool(found[0] == status)

        wait_until(answered, f"{path} answers {status}")
        return found[1]


def raw(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(4096):
            received += part
    return received


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_exit_code_is_the_level_by_the_policy_of_the_workers(shell: Shell) -> None:
    probe = Probe(shell)
    probe.becomes("/health", 200)
    assert shell.run("health", "--queue", "demo").stdout == "1 queue, all well\n"
    for _ in range(2):
        shell.run("send", "slow", "seconds=1", "--queue", "demo")
    probe.worker.signal(signal.SIGKILL)
    probe.worker.ends()
    shell.run("pause", "demo")
    shell.run("send", "slow", "seconds=1", "--queue", "demo")
    found = shell.json("health", "--queue", "demo", code=1)
    assert found["level"] == "warning"
    assert {one["what"] for one in found["queues"][0]["reasons"]} >= {"paused"}
    for _ in range(5):
        shell.run("send", "slow", "seconds=1", "--queue", "demo")
    said = shell.run("health", "--queue", "demo", code=2).stdout
    assert re.search(r"demo: critical: \d waiting, limit 3\n  add workers", said), said


def test_limits_of_the_command_line_are_critical(shell: Shell) -> None:
    shell.worker()
    shell.run("pause", "demo")
    shell.run("send", "math:add", "a=1", "b=2", "--queue", "demo")
    shell.run("health", code=1)
    assert "demo: critical: 1 waiting, limit 0" in shell.run("health", "--max-lag", "0", code=2).stdout
    assert "demo: critical: oldest has waited" in shell.run("health", "--max-age", "1ms", code=2).stdout
    shell.run("health", "--max-lag", "5", "--max-age", "1h", code=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max-lag", "many"), "'many' is not a valid integer"),
        (("--nonsense",), "No such option"),
        (("--queue", "demi"), "there is no queue 'demi'"),
        (("--url", "http://localhost"), "url"),
    ],
)
def test_a_mistake_in_the_command_is_no_verdict(shell: Shell, words: tuple[str, ...], said: str) -> None:
    shell.run("send", "slow", "seconds=1", "--queue", "demo")
    assert said in shell.run("health", *words, code=3).stderr


# -- the port --------------------------------------------------------------------------------------------------------


def test_a_worker_answers_probes(shell: Shell) -> None:
    probe = Probe(shell)
    found = probe.becomes("/health", 200)
    assert (found["level"], found["reasons"]) == ("ok", [])
    assert found["facts"]["queues"] == ["demo", "other"]
    assert "disk" in found["facts"]["checks"]
    assert probe.ask("/live") == (200, {"live": True})
    status, found = probe.ask("/queue/health")
    assert (status, found["level"], list(found["queues"])) == (200, "ok", ["demo", "other"])
    status, found = probe.ask("/queue/health?queue=other")
    assert list(found["queues"]) == ["other"]
    assert probe.ask("/queue/health?queue=none")[0] == 404
    assert probe.ask("/")[0] == 404
    assert probe.ask("/live", "POST")[0] == 405
    assert probe.ask("/live", "HEAD") == (200, b"")

    (shell.folder / "full").touch()
    status, found = probe.ask("/health")
    assert (status, found["level"]) == (503, "critical")
    assert found["reasons"][0]["said"] == "disk: OSError: no space left"
    assert probe.ask("/live")[0] == 200
    probe.worker.signal(signal.SIGTERM)
    assert probe.worker.ends() == 0


def test_a_full_queue_is_no_reason_to_call_a_worker_unready(shell: Shell) -> None:
    probe = Probe(shell)
    probe.becomes("/health", 200)
    shell.run("pause", "demo")
    for _ in range(4):
        shell.run("send", "slow", "seconds=0", "--queue", "demo")
    status, found = probe.ask("/queue/health")
    assert (status, found["level"]) == (503, "critical")
    (reason,) = [one for one in found["queues"]["demo"]["reasons"] if one["what"] == "size"]
    assert (reason["value"], reason["limit"]) == (4, 3)
    assert reason["said"] == "4 waiting, limit 3"
    assert "streamq jobs list --queue demo" in reason["do"]
    assert probe.ask("/health")[0] == 200


def test_a_draining_worker_is_not_ready_but_alive(shell: Shell) -> None:
    probe = Probe(shell, "--grace", "30s")
    probe.becomes("/health", 200)
    shell.run("send", "slow", "seconds=50", "--queue", "demo")
    wait_until(lambda: shell.json("stats", "demo")["queues"][0]["active"], "the job runs")
    probe.worker.signal(signal.SIGTERM)
    assert probe.becomes("/health", 503)["problem"] == "stopping"
    assert probe.ask("/live")[0] == 200
    probe.worker.signal(signal.SIGTERM)
    assert probe.worker.ends() == 7, "the job was handed back"


def test_a_server_that_is_away_makes_nobody_dead(tmp_path: Path, fresh_server: StartServer) -> None:
    server: Server = fresh_server("valkey", aof=True)
    with Shell(tmp_path, {"STREAMQ_URL": server.url}) as shell:
        probe = Probe(shell)
        probe.becomes("/health", 200)
        server.kill()
        found = probe.becomes("/health", 503)
        assert found["reasons"][0]["what"] == "redis"
        assert "streamq doctor" in found["reasons"][0]["do"]
        assert probe.ask("/queue/health")[0] == 503
        assert probe.ask("/live") == (200, {"live": True})
        server.start()
        probe.becomes("/health", 200)


def test_probes_are_answered_before_the_server_is_there(shell: Shell) -> None:
    away = {"STREAMQ_URL": f"unix://{shell.folder}/nobody.sock"}
    shell.env |= away
    probe = Probe(shell, "--wait-for-redis", "60s")
    assert probe.ask("/health") == (503, {"level": "critical", "problem": "starting"})
    assert probe.ask("/live")[0] == 200


def test_a_stuck_loop_is_told_by_the_thread_beside_it(shell: Shell) -> None:
    probe = Probe(shell)
    probe.becomes("/health", 200)
    shell.run("send", "stuck", "seconds=18", "--queue", "demo")
    started = time.monotonic()
    found = probe.becomes("/live", 503)
    assert found["live"] is False
    assert "has not turned" in found["problem"]
    assert time.monotonic() - started > 5, "a loop that is late is not a loop that is stuck"
    assert probe.ask("/health")[0] == 503
    probe.becomes("/live", 200)


def test_what_is_no_request_is_refused(shell: Shell) -> None:
    probe = Probe(shell)
    assert raw(probe.port, b"\x16\x03\x01nonsense\n\n").startswith(b"HTTP/1.1 400 ")
    assert raw(probe.port, b"GET /live\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert raw(probe.port, b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert raw(probe.port, b"GET /live HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n").startswith(b"HTTP/1.1 400 ")
    assert raw(probe.port, b"") == b""
    assert raw(probe.port, b"GET /live HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_slow_request_holds_up_nobody(shell: Shell) -> None:
    probe = Probe(shell)
    with socket.create_connection(("127.0.0.1", probe.port), timeout=15) as slow:
        slow.sendall(b"GET /live HTTP/1.1\r\n")
        assert probe.ask("/live")[0] == 200
        slow.settimeout(15)
        assert slow.recv(100) == b"", "it is closed after a few seconds"


def test_a_port_that_is_taken_or_would_have_to_be_shared(shell: Shell) -> None:
    probe = Probe(shell)
    taken = shell.run("worker", "watched:queue", "--health-port", str(probe.port), code=1)
    assert "cannot listen on 127.0.0.1" in taken.stderr
    assert "choose another --health-port" in taken.stderr
    shared = shell.run("worker", "watched:queue", "--health-port", "0", "--processes", "2", code=2)
    assert "streamq health --live" in shared.stderr


def test_a_burst_ends_with_its_probes(shell: Shell) -> None:
    probe = Probe(shell, "--burst")
    assert probe.worker.ends() == 0
    assert "Traceback" not in probe.worker.output


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_probing_leaks_nothing(shell: Shell) -> None:
    probe = Probe(shell)
    probe.becomes("/health", 200)
    pid = probe.worker.process.pid

    def ask() -> None:
        for path in ("/live", "/health", "/queue/health", "/none"):
            probe.ask(path)

    ask()
    if not Path("/proc").exists() or not os.access(f"/proc/{pid}/fd", os.R_OK):
        return
    before = open_files(pid)
    for _ in range(20):
        ask()
    wait_until(lambda: open_files(pid) <= before + 2, "connections are closed")


def test_metrics_are_served_too(shell: Shell) -> None:
    probe = Probe(shell)
    status, body = probe.ask("/metrics")
    assert status == 200
    assert b'streamq_up{queue="demo"} 1' in body
    assert b'streamq_up{queue="other"} 1' in body
