"""streamq metrics: printed once, or served to Prometheus."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import time
from contextlib import suppress

import pytest

from tests.cli.shell import Background, Shell
from tests.scrape import samples
from tests.servers import StartServer


def with_jobs(shell: Shell) -> None:
    shell.run("send", "math:add", "a=1", "b=2", "--queue", "demo")
    shell.run("worker", "app:queue", "--burst")
    shell.run("send", "math:add", "a=1", "b=2", "--queue", "demo")


def test_metrics_are_printed_once(shell: Shell) -> None:
    with_jobs(shell)
    found = samples(shell.run("metrics").stdout)
    assert found["streamq_jobs_completed_total", "demo", "math:add"] == 1
    assert found["streamq_queue_jobs", "demo", "waiting"] == 1
    assert samples(shell.run("metrics", "demo", "--once").stdout).keys() == found.keys()
    text = shell.run("metrics", "--openmetrics").stdout
    assert text.endswith("# EOF\n")
    assert samples(text, as_openmetrics=True).keys() == found.keys()


def test_mistakes_are_told(shell: Shell) -> None:
    with_jobs(shell)
    assert "there is no queue 'demi'; did you mean 'demo'?" in shell.run("metrics", "demi", code=2).stderr
    assert "give one of them" in shell.run("metrics", "--once", "--port", "0", code=2).stderr


def test_without_a_server_it_says_so(bare: Shell) -> None:
    assert "cannot reach" in bare.run("metrics", "--url", "redis://127.0.0.1:1", code=4).stderr


def served(shell: Shell, *args: str, **environ: str) -> tuple[Background, int]:
    started = shell.start("metrics", "--port", "0", *args, **environ)
    said = started.says("metrics at http://127.0.0.1:")
    found = re.search(r":(\d+)/metrics", said)
    assert found is not None
    return started, int(found[1])


def asked(port: int, method: str = "GET", path: str = "/metrics", **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def test_metrics_are_served(shell: Shell) -> None:
    with_jobs(shell)
    started, port = served(shell)
    status, headers, body = asked(port)
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert samples(body)["streamq_jobs_completed_total", "demo", "math:add"] == 1
    # A queue that comes later is told of without a restart.
    shell.run("send", "late", "--queue", "other")
    assert samples(asked(port)[2])["streamq_up", "other"] == 1
    status, headers, body = asked(port, Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert samples(body, as_openmetrics=True)["streamq_up", "demo"] == 1
    status, headers, body = asked(port, "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["content-length"]) > 1000
    assert asked(port, "POST")[0] == 405
    assert asked(port, path="/secrets")[0] == 404
    assert asked(port, path="/metrics?x=1")[0] == 200
    started.signal(signal.SIGTERM)
    assert started.ends() == 0


@pytest.mark.parametrize("sent", [b"\r\n\r\n", b"GET\r\n\r\n", b"\x00\xff\r\n\r\n", b"GET / SPDY/9\r\n\r\n"])
def test_what_is_no_http_is_refused(shell: Shell, sent: bytes) -> None:
    with_jobs(shell)
    _, port = served(shell)
    with socket.create_connection(("127.0.0.1", port), timeout=15) as wire:
        wire.sendall(sent)
        assert wire.recv(1000).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection(("127.0.0.1", port), timeout=15) as wire, suppress(ConnectionError):
        wire.sendall(b"GET /" + b"x" * 100_000)
        assert wire.recv(1000) == b""
    assert asked(port)[0] == 200


def test_a_server_that_goes_away_is_told_and_one_that_comes_back(shell: Shell, fresh_server: StartServer) -> None:
    server = fresh_server("valkey", aof=True, tcp=True)
    shell.run("send", "boom", "--queue", "demo", STREAMQ_URL=server.url)
    _, port = served(shell, STREAMQ_URL=server.url)
    assert samples(asked(port)[2])["streamq_up", "demo"] == 1
    server.stop()
    status, _, body = asked(port)
    assert status == 200
    assert samples(body)["streamq_up", "demo"] == 0
    server.start()
    deadline = time.monotonic() + 20
    while samples(asked(port)[2])["streamq_up", "demo"] != 1:
        assert time.monotonic() < deadline
