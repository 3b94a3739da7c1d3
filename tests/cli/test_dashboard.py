"""``streamq dashboard``: who it lets in, what it serves, how it ends."""

from __future__ import annotations

import re
import signal

import httpx
import pytest

from tests.cli.shell import Background, Shell

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested is that it is refused


def address(running: Background) -> str:
    """Wait until it listens; returns where."""
    found = re.search(r"dashboard  (http://\S+)", running.says("dashboard  http"))
    assert found is not None
    return found[1]


def test_it_serves_the_queues_of_the_prefix_to_this_machine(shell: Shell) -> None:
    running = shell.start("dashboard", "--port", "0")
    at = address(running)

    assert httpx.get(f"{at}/api/queues").json() == {"queues": []}
    assert httpx.get(f"{at}/api/queues", headers={"host": "queues.example.org"}).status_code == 403
    running.signal(signal.SIGINT)
    assert running.ends() == 0
    assert "Traceback" not in running.output


def test_with_an_app_submissions_are_checked(shell: Shell) -> None:
    at = address(shell.start("dashboard", "app:queue", "--port", "0"))

    wrong = httpx.post(f"{at}/api/queues/demo/jobs", json={"name": "math:add", "payload": {"a": "x", "b": 1}})
    assert wrong.status_code == 422
    right = httpx.post(f"{at}/api/queues/demo/jobs", json={"name": "math:add", "payload": {"a": 1, "b": 1}})
    assert right.status_code == 202
    shell.worker()
    ended = httpx.get(f"{at}{right.json()['result']}", params={"wait": "15s"}, timeout=20)
    assert ended.json()["result"] == 2


def test_users_and_tokens(shell: Shell) -> None:
    running = shell.start(
        "dashboard", "--port", "0", "--token", "ci:t0ken", "--read-user", "guest:visit",
        STREAMQ_DASHBOARD_USERS="omar:secret ada:lace",
    )  # fmt: skip
    at = f"{address(running)}/api/queues"

    assert httpx.get(at).status_code == 401
    assert httpx.get(at, auth=("omar", "secret")).status_code == 200
    assert httpx.get(at, auth=("ada", "lace")).status_code == 200
    assert httpx.get(at, auth=("guest", "visit")).status_code == 200
    assert httpx.post(f"{at}/x/pause", auth=("guest", "visit")).status_code == 403
    assert httpx.post(f"{at}/x/pause", headers={"authorization": "Bearer t0ken"}).status_code == 404


def test_read_only(shell: Shell) -> None:
    at = address(shell.start("dashboard", "app:queue", "--port", "0", "--read-only"))
    assert httpx.get(f"{at}/api/queues/demo").status_code == 200
    assert httpx.post(f"{at}/api/queues/demo/pause").status_code == 403


def test_an_access_function_of_ones_own(shell: Shell) -> None:
    (shell.folder / "mine.py").write_text(
        "def rule(request):\n    return 'read' if 'x' in request.query_params else 'deny'\n"
    )
    at = address(shell.start("dashboard", "--port", "0", "--host", EVERYWHERE, "--access", "mine:rule"))
    at = at.replace(EVERYWHERE, "127.0.0.1")
    assert httpx.get(f"{at}/api/queues").status_code == 403
    assert httpx.get(f"{at}/api/queues?x=1").status_code == 200


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "10.1.2.3", "example.org"])
def test_it_is_open_to_nobody_unasked(shell: Shell, host: str) -> None:
    done = shell.run("dashboard", "--host", host, "--port", "0", code=2)
    assert "nobody is asked who they are" in done.stderr
    assert "--user NAME:PASSWORD" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--user", "omar"), "wants NAME:SECRET"),
        (("--user", "omar:"), "wants NAME:SECRET"),
        (("--access", "nothing:rule"), "cannot load --access"),
        (("--access", "app:nothing"), "is no function"),
        (("--trace-url", "https://jaeger.example"), "give an address with {trace_id} in it"),
        (("app:queu",), "has no 'queu'"),
    ],
)
def test_wrong_usage_is_one_line(shell: Shell, options: tuple[str, ...], said: str) -> None:
    code = 3 if options[0] == "app:queu" else 2
    assert said in shell.run("dashboard", "--port", "0", *options, code=code).stderr


def test_a_port_that_is_taken(shell: Shell) -> None:
    at = address(shell.start("dashboard", "--port", "0"))
    port = at.rpartition(":")[2]
    shell.run("dashboard", "--port", port, code=1)
