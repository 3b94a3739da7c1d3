"""``streamq dev``, ``init`` and ``demo``: the first ten minutes, on the embedded server."""

from __future__ import annotations

import json
import re
import signal
from typing import Any

import httpx

from tests.cli.shell import Shell, wait_until
from tests.servers import Server


def test_init_dev_and_send_from_another_process(bare: Shell) -> None:
    (bare.folder / "app.py").unlink()
    assert "next:  streamq dev\n" in bare.run("init").stdout
    dev = bare.start("dev", "--no-reload")
    said = dev.says("try:  streamq send math:add a=2 b=3 --wait")
    assert "embedded Valkey" in said.splitlines()[0]
    assert "2 handlers · concurrency 10 · greet, math:add" in said
    assert bare.run("send", "math:add", "a=2", "b=3", "--wait").stdout == "5\n"
    assert bare.run("send", "greet", "--wait").stdout == "hello you, attempt 1\n"
    later = bare.run("send", "greet", "--delay", "1h").stdout.strip()
    dev.signal(signal.SIGINT)
    assert dev.ends() == 0
    wait_until(lambda: not (bare.folder / ".streamq" / "url").exists(), "the end of the server")
    bare.run("queues", code=4)

    again = bare.start("dev", "--no-reload")
    again.says("waiting for jobs")
    assert bare.json("jobs", "show", later)["state"] == "delayed"
    again.signal(signal.SIGTERM)
    assert again.ends() == 0

    reset = bare.start("dev", "--no-reload", "--reset", "--yes")
    reset.says("waiting for jobs")
    bare.run("jobs", "show", later, code=1)
    reset.signal(signal.SIGTERM)
    assert reset.ends() == 0


def test_dev_reloads_while_jobs_come_in(bare: Shell) -> None:
    dev = bare.start("dev")
    dev.says("waiting for jobs")
    app = bare.folder / "app.py"
    text = app.read_text() + "\nqueue.handler('more')(lambda: 7)\n"
    dev.says_after("4 handlers", lambda: app.write_text(text))
    assert bare.run("send", "more", "--wait", "--force").stdout == "7\n"


def test_dev_says_what_stands_in_its_way(bare: Shell) -> None:
    assert "STREAMQ_ENV=production" in bare.run("dev", code=2, STREAMQ_ENV="production").stderr
    assert "did you mean app:queue?" in bare.run("dev", "app:quee", "--no-reload", code=3).stderr
    (bare.folder / "app.py").unlink()
    assert "streamq init" in bare.run("dev", code=3).stderr


def test_demo_ends_by_itself_and_leaves_nothing_behind(bare: Shell, server: Server) -> None:
    done = bare.run("demo", "--jobs", "400", "--seconds", "0.5")
    assert "400 notifications in" in done.stdout
    assert "MailboxUnknownError" in done.stdout
    assert "sending 400 notifications over 0.5 s to an embedded Valkey" in done.stderr
    assert not (bare.folder / ".streamq").exists()

    found = json.loads(bare.run("demo", "--jobs", "200", "--seconds", "0", "--json", STREAMQ_URL=server.url).stdout)
    assert found["completed"] + found["dead"] == found["jobs"] == 200
    assert found["dead"] > 0
    assert server.command("KEYS", "streamq-demo-*") == []


def test_demo_with_all_defaults_takes_seconds(bare: Shell) -> None:
    found = json.loads(bare.run("demo", "--json").stdout)
    assert found["jobs"] == 2000
    assert found["retried"] > 0
    assert found["seconds"] < 15
    assert 0 < found["wait_p50"] <= found["wait_p95"]


def test_demo_goes_on_until_it_is_asked_to_end(bare: Shell, server: Server) -> None:
    demo = bare.start("demo", "--keep", "--jobs", "100", "--seconds", "1", "--json", STREAMQ_URL=server.url)
    prefix = demo.says("--prefix").partition("--prefix ")[2].split()[0]

    def done() -> Any:
        found = bare.json("queues", "--url", server.url, "--prefix", prefix)
        return found["queues"][0]["completed"] if found["queues"] else 0

    wait_until(lambda: done() > 150, "more than it sends in its first second")
    demo.signal(signal.SIGINT)
    assert demo.ends() == 0
    assert '"completed"' in demo.output
    assert "Traceback" not in demo.output
    assert server.command("KEYS", f"{prefix}*") == []


def test_demo_with_the_dashboard(bare: Shell) -> None:
    demo = bare.start("demo", "--dashboard", "--port", "0", "--jobs", "100", "--seconds", "1")
    found = re.search(r"dashboard  (http://\S+)", demo.says("dashboard  http"))
    assert found is not None
    at = found[1]

    def died() -> Any:
        (queue,) = httpx.get(f"{at}/api/queues").json()["queues"]
        return queue["counts"]["dead"]

    wait_until(died, "a mail that bounced")
    assert "notifications" in httpx.get(at, follow_redirects=True).text
    demo.signal(signal.SIGTERM)
    assert demo.ends() == 0
    assert "MailboxUnknownError" in demo.output
    assert "Traceback" not in demo.output


def test_demo_shows_its_code(bare: Shell) -> None:
    assert "async def _send_email(" in bare.run("demo", "--source").stdout
