"""The runbook is true: each of its situations is brought about, each command is run, and prints what the page says."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from streamq import Counts, Queue
from tests.cli.shell import Background, Shell, wait_until
from tests.docs.pages import ROOT
from tests.servers import Server, StartServer

PAGE = ROOT / "docs" / "how-to" / "runbook.md"
T = TypeVar("T")

pytestmark = pytest.mark.timeout(180)  # some thirty programs, one after the other

_FENCE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)

APP = """\
import time
from streamq import Queue

queue = Queue("demo")

@queue.handler("math:add")
async def add(a: int, b: int) -> int:
    return a + b

@queue.handler("slow", timeout=None)
async def slow() -> None:
    import asyncio
    await asyncio.sleep(600)

@queue.handler("hang", timeout=None)
async def hang() -> None:
    time.sleep(600)

@queue.handler("boom", max_attempts=1)
async def boom() -> None:
    raise ValueError("it broke")
"""


def sections() -> dict[str, list[tuple[str, str]]]:
    """Each command of the page with what it is said to print, by the heading above it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for part in re.split(r"^## ", "## First\n" + PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        name, _, text = part.partition("\n")
        found[name] = [pair for block in _FENCE.findall(text) for pair in _COMMAND.findall(block)]
    return found


class Incident:
    """A shell in which something is wrong, and the job that stands for all."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.job = ""
        self.before: dict[str, Callable[[], object]] = {}
        (shell.folder / "app.py").write_text(APP)

    def send(self, name: str, **payload: int) -> str:
        """Enqueue a job; returns its id."""

        async def sent(queue: Queue) -> str:
            return (await queue.enqueue(name, payload)).id

        return self.ask(sent)

    def ask(self, what: Callable[[Queue], Coroutine[Any, Any, T]]) -> T:
        """Ask the queue."""

        async def asked() -> T:
            async with Queue("demo", url=env["STREAMQ_URL"], prefix=env.get("STREAMQ_PREFIX")) as queue:
                return await what(queue)

        env = self.shell.env
        return asyncio.run(asked())

    def worker(self) -> Background:
        return self.shell.worker("app:queue")

    def follow(self, name: str) -> None:
        """Run the commands of a section, and compare what they print with what the page says."""
        for line, expected in sections()[name]:
            self.before.get(line, lambda: None)()
            self._check(line, expected)

    def _check(self, line: str, expected: str) -> None:
        words = [self.job if word == "JOB" else word for word in shlex.split(line)]
        assert words[0] == "streamq", line
        to_file = words[words.index(">") + 1] if ">" in words else None
        words = words[1 : words.index(">")] if to_file else words[1:]
        if words == ["top"]:
            words = ["top", "--times", "1"]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "streamq", *words],
            env=self.shell.env,
            cwd=self.shell.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        printed = done.stdout + done.stderr
        assert "Traceback" not in done.stderr, f"{line}\n{printed}"
        assert "Usage:" not in printed, f"{line}\n{printed}"
        if to_file:
            (self.shell.folder / to_file).write_text(done.stdout)
            printed = done.stderr
        same = OutputChecker().check_output(expected, printed, ELLIPSIS | NORMALIZE_WHITESPACE)
        assert same, f"{line}: the page says\n{expected}\nand it printed\n{printed}"


@pytest.fixture
def incident(tmp_path: Path, server: Server, prefix: str) -> Iterator[Incident]:
    with Shell(tmp_path, {"STREAMQ_URL": server.url, "STREAMQ_PREFIX": prefix}) as shell:
        yield Incident(shell)


def counts(incident: Incident) -> Counts:
    return incident.ask(lambda queue: queue.counts())


def test_first(incident: Incident) -> None:
    incident.send("math:add", a=1, b=2)
    incident.follow("First")


def test_queue_backed_up(incident: Incident) -> None:
    incident.job = incident.send("math:add", a=1, b=2)
    for _ in range(4):
        incident.send("math:add", a=1, b=2)
    incident.before["streamq resume demo"] = lambda: incident.ask(lambda queue: queue.pause(reason="incident"))

    def busy() -> None:
        incident.send("slow")
        incident.worker()
        wait_until(lambda: counts(incident).active == 1 and not counts(incident).waiting, "it is busy")
        wait_until(lambda: incident.ask(lambda queue: queue.workers())[0].active == 1, "its heartbeat says so")

    incident.before["streamq jobs list --queue demo --state active"] = busy
    incident.before["streamq drain demo --dry-run"] = lambda: [incident.send("later") for _ in range(3)]
    incident.follow("Queue backed up")
    assert counts(incident).waiting == 0


def test_jobs_failing(incident: Incident) -> None:
    jobs = [incident.send("boom") for _ in range(3)]
    incident.shell.run("worker", "app:queue", "--burst", "-c", "1")
    incident.job = jobs[-1]

    def repaired() -> None:
        app = incident.shell.folder / "app.py"
        app.write_text(app.read_text().replace('raise ValueError("it broke")', "pass"))
        incident.worker()

    def completed() -> None:
        wait_until(lambda: counts(incident).completed == 1, "the first one is done")

    incident.before["streamq resume demo --handler boom"] = repaired
    incident.before["streamq jobs show JOB --queue demo"] = completed
    incident.follow("Jobs failing")
    wait_until(lambda: counts(incident).completed == 3 and not counts(incident).dead, "all are replayed and done")


def test_redis_full(tmp_path: Path, fresh_server: StartServer) -> None:
    server = fresh_server("valkey")
    with Shell(tmp_path, {"STREAMQ_URL": server.url}) as shell:
        incident = Incident(shell)
        for _ in range(3):
            incident.send("boom")
        shell.run("worker", "app:queue", "--burst")
        told = server.command("INFO", "memory")
        used = int(dict(re.findall(r"(\w+):(\d+)", told.decode() if isinstance(told, bytes) else told))["used_memory"])
        server.command("CONFIG", "SET", "maxmemory", str(used // 2))
        incident.follow("Redis full")
        assert counts(incident).dead == 0
        assert '"name": "boom"' in (shell.folder / "dead.json").read_text().replace('":"', '": "')


def test_a_worker_hangs(incident: Incident) -> None:
    incident.send("hang")
    incident.worker()
    wait_until(lambda: counts(incident).active == 1, "it runs")
    time.sleep(1.5)  # for so long its loop has to stand still until it counts as stuck

    def waits() -> None:
        incident.job = incident.send("slow")
        other = incident.shell.start("worker", "app:queue")
        other.says("worker started")
        wait_until(lambda: counts(incident).active == 2, "another one runs")

    incident.before["streamq jobs cancel JOB --queue demo"] = waits
    incident.follow("A worker hangs")
    wait_until(lambda: counts(incident).cancelled == 1, "it is cancelled")


def test_stop_everything(incident: Incident) -> None:
    job = incident.send("math:add", a=1, b=2)

    def damaged() -> None:
        prefix = incident.shell.env["STREAMQ_PREFIX"]
        url = incident.shell.env["STREAMQ_URL"]
        hand: Any = vars(redis)["Redis"].from_url(url)
        hand.hdel(f"{prefix}:{{demo:0}}:i", job)
        hand.close()

    incident.before["streamq verify demo"] = damaged
    incident.follow("Stop everything")
    assert incident.shell.run("jobs", "cancel", job).stdout == "1 job cancelled\n", "the index knows it again"


def test_every_section_is_tested() -> None:
    tested = {"First", "Queue backed up", "Jobs failing", "Redis full", "A worker hangs", "Stop everything"}
    assert {name for name, commands in sections().items() if commands} == tested
