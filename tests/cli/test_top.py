"""``streamq top`` in a real terminal, against a real server; and its lines where there is no terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import PATIENCE, Shell, wait_until
from tests.servers import Server, StartServer

SGR = re.compile(r"\x1b\[[0-9;]*m")


class Screen:
    """A program in a terminal of its own; what it drew last, and how it left the terminal."""

    def __init__(self, shell: Shell, *args: str, columns: int = 100, lines: int = 30, **environ: str) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.data = b""
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "streamq", *args],
            env={**shell.env, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environ},
            cwd=shell.folder,
            stdin=self.slave,
            stdout=self.slave,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select([self.master], [], [], 0.1)
            if ready:
                try:
                    self.data += os.read(self.master, 65_536)
                except OSError:
                    return
            elif self.process.poll() is not None:
                return

    @property
    def frame(self) -> list[str]:
        """The lines of the last whole frame, without colours."""
        frames = self.data.decode("utf-8", "replace").split("\x1b[H")
        whole = [one for one in frames if one.endswith("\x1b[J") or "\x1b[J" in one]
        if not whole:
            return []
        text = SGR.sub("", whole[-1].partition("\x1b[J")[0]).replace("\x1b[K", "")
        return text.replace("\r", "").split("\n")

    @property
    def text(self) -> str:
        return "\n".join(self.frame)

    def shows(self, *parts: str) -> str:
        """Wait until the last frame has all of these."""

        def there() -> bool:
            assert self.process.poll() is None, (self.process.returncode, self.data[-2000:], self.errors())
            return all(part in self.text for part in parts)

        try:
            wait_until(there, f"{parts} on the screen")
        except AssertionError:
            raise AssertionError(f"{parts} not in\n{self.text}") from None
        return self.text

    def types(self, text: str) -> None:
        os.write(self.master, text.encode())

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def ends(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def is_restored(self) -> bool:
        """Whether the terminal is as it was: mode, screen and cursor."""
        mode = termios.tcgetattr(self.slave)[3] == self.before[3]
        return mode and self.data.rstrip().endswith(b"\x1b[?25h\x1b[?1049l")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(PATIENCE)
        os.close(self.master)
        os.close(self.slave)
        if self.process.stderr is not None:
            self.process.stderr.close()


StartScreen = Callable[..., Screen]


@pytest.fixture
def start(shell: Shell) -> Iterator[StartScreen]:
    """Start programs in terminals."""
    made: list[Screen] = []

    def screen(*args: str, **options: Any) -> Screen:
        found = Screen(options.pop("shell", shell), *args, **options)
        made.append(found)
        return found

    yield screen
    for one in made:
        one.close()


@pytest.fixture
def dead(shell: Shell) -> list[str]:
    """Ids of three dead jobs; the app is repaired afterwards, so that they may be replayed."""
    jobs = [shell.run("send", "boom", "--queue", "demo").stdout.strip() for _ in range(3)]
    shell.run("worker", "app:queue", "--burst", "-c", "1")
    app = shell.folder / "app.py"
    app.write_text(app.read_text().replace('raise ValueError("it broke")', "pass"))
    return jobs


def test_it_shows_what_is_there_and_leaves_the_terminal_as_it_was(
    shell: Shell, start: StartScreen, dead: list[str]
) -> None:
    for _ in range(4):
        shell.run("send", "math:add", "a=1", "b=2", "--queue", "demo")
    top = start("top")
    text = top.shows("demo", "ValueError: it broke", "workers")
    assert dead[-1][-8:] in text
    row = next(line for line in top.frame if " demo " in line)
    assert row.split()[-10:].count("4") >= 1
    top.types("q")
    assert top.ends() == 0
    assert top.is_restored()


def test_new_jobs_and_workers_show_up(shell: Shell, start: StartScreen) -> None:
    shell.run("send", "math:add", "a=1", "b=2", "--queue", "demo")
    top = start("top", "--interval", "200ms")
    top.shows("demo", "0 workers")
    shell.worker()
    top.shows("slots 0 of 100", "1 worker")
    shell.run("send", "slow", "seconds=30", "--queue", "demo")
    top.shows("slow", "running, longest first (1)", "1 of 100")
    shell.run("send", "x", "--queue", "another")
    top.shows("another")


def test_keys_pause_and_resume(shell: Shell, start: StartScreen) -> None:
    shell.run("send", "math:add", "a=1", "b=2", "--queue", "demo")
    top = start("top")
    top.shows("demo")
    top.types("p")
    top.shows("pause demo, reason")
    top.types("bad day\r")
    top.shows("paused", "bad day", "1 is paused")
    assert shell.json("queues")["queues"][0]["pause_reason"] == "bad day"
    top.types("p")
    top.shows("demo goes on")
    wait_until(lambda: not shell.json("queues")["queues"][0]["paused"], "resumed")


def test_replay_one_first_and_then_the_others(shell: Shell, start: StartScreen, dead: list[str]) -> None:
    del dead
    shell.worker()
    top = start("top")
    top.shows("demo", "it broke")
    top.types("r")
    top.shows("replay 3 dead letters of demo?  [o]ne first  [a]ll  [N]o")
    top.types("x")
    top.shows("left as is")
    assert shell.json("queues")["queues"][0]["dead"] == 3
    top.types("r")
    top.shows("[o]ne first")
    top.types("o")
    top.shows("it completed in", "Replay the other 2?")
    assert shell.json("queues")["queues"][0]["dead"] == 2
    top.types("a")
    top.shows("2 dead letters replayed")
    wait_until(lambda: shell.json("queues")["queues"][0]["dead"] == 0, "all replayed")


def test_the_filter(shell: Shell, start: StartScreen) -> None:
    for queue in ("demo", "other"):
        shell.run("send", "x", "--queue", queue)
    top = start("top")
    top.shows(" demo ", " other ")
    top.types("/oth\r")
    top.shows("filter 'oth'", " other ")
    assert " demo " not in top.text
    top.types("\x1b")
    top.shows(" demo ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_restore_the_terminal(shell: Shell, start: StartScreen, number: signal.Signals) -> None:
    shell.run("send", "x", "--queue", "demo")
    top = start("top")
    top.shows("demo")
    top.process.send_signal(number)
    assert top.ends() == 0
    assert top.is_restored()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at the state of the process in /proc")
def test_a_stopped_program_gives_the_terminal_back_and_takes_it_again(shell: Shell, start: StartScreen) -> None:
    shell.run("send", "x", "--queue", "demo")
    top = start("top")
    top.shows("demo")
    top.process.send_signal(signal.SIGTSTP)
    stat = Path(f"/proc/{top.process.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it is stopped")
    wait_until(top.is_restored, "the terminal is as it was")
    seen = len(top.data)
    top.process.send_signal(signal.SIGCONT)
    wait_until(lambda: b"\x1b[?1049h" in top.data[seen:] and b"demo" in top.data[seen:], "it is back")
    top.types("q")
    assert top.ends() == 0


def test_a_crash_restores_the_terminal_and_is_told_after_it(shell: Shell, start: StartScreen, tmp_path: Path) -> None:
    shell.run("send", "x", "--queue", "demo")
    breaking = tmp_path / "sitecustomize.py"
    breaking.write_text(
        "import streamq._cli.top_model as model\n"
        "def broken(self, glance, now): raise RuntimeError('a defect')\n"
        "model.Model.saw = broken\n"
    )
    top = start("top", PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    assert top.ends() == 1
    assert top.is_restored()
    assert "RuntimeError: a defect" in top.errors()


def test_redis_away_is_shown_and_it_recovers(shell: Shell, fresh_server: StartServer, start: StartScreen) -> None:
    server = fresh_server("valkey", aof=True)
    shell.env["STREAMQ_URL"] = server.url
    shell.run("send", "x", "--queue", "demo")
    top = start("top", "--interval", "200ms")
    top.shows("demo", "live")
    server.kill()
    top.shows("no answer (", "numbers are", "next try in", "demo")
    server.start()
    top.shows("demo", "live")
    top.types("q")
    assert top.ends() == 0


def test_it_follows_the_size_of_the_terminal(shell: Shell, start: StartScreen) -> None:
    shell.run("send", "x", "--queue", "demo")
    top = start("top", columns=120)
    top.shows("last 60 min", "parked")
    fcntl.ioctl(top.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    top.process.send_signal(signal.SIGWINCH)
    wait_until(lambda: "last 60 min" not in top.text and "waiting" in top.text, "drawn anew")
    assert len(top.frame) == 24
    assert max(len(line) for line in top.frame) <= 80


def test_no_color(shell: Shell, start: StartScreen) -> None:
    shell.run("send", "x", "--queue", "demo")
    top = start("--no-color", "top")
    top.shows("demo")
    assert not SGR.search(top.data.decode("utf-8", "replace"))


def test_a_look_is_one_round_trip(shell: Shell, fresh_server: StartServer) -> None:
    server: Server = fresh_server("valkey")
    shell.env["STREAMQ_URL"] = server.url
    for queue in ("a", "b", "c"):
        shell.run("send", "x", "--queue", queue)
    server.command("CONFIG", "RESETSTAT")
    lines = shell.run("top", "--times", "12", "--interval", "100ms").stdout.splitlines()
    assert len(lines) == 36
    found = server.commandstats()
    # Three queues: counts, dead letters, workers and heartbeats each; the verdicts come once in ten seconds.
    assert found["evalsha"] - 3 * 12 <= 3 * 6, found
    assert 12 <= found["smembers"] <= 16, found


def test_lines_without_a_terminal(shell: Shell, dead: list[str]) -> None:
    del dead
    done = shell.run("top", "--times", "2", "--interval", "100ms").stdout.splitlines()
    assert len(done) == 2
    assert re.match(
        r"\d{4}-\d\d-\d\dT[\d:]{8}[+-]\d\d:\d\d demo \w+ active=0 waiting=0 delayed=0 parked=0 dead=3 in=", done[1]
    ), done
    as_json = [json.loads(line) for line in shell.run("top", "--times", "1", "--json").stdout.splitlines()]
    assert (as_json[0]["queue"], as_json[0]["dead"], as_json[0]["done"]) == ("demo", 3, None)
    assert "no queue 'nope'" in shell.run("top", "-q", "nope", "--times", "1", code=2).stderr


def test_lines_while_redis_is_away(shell: Shell, fresh_server: StartServer) -> None:
    server = fresh_server("valkey", aof=True)
    shell.env["STREAMQ_URL"] = server.url
    shell.run("send", "x", "--queue", "demo")
    top = shell.start("top", "--interval", "100ms")
    top.says(" demo ")
    server.kill()
    top.says(" away reason=")
    server.start()
    seen = top.output.count(" demo ")
    wait_until(lambda: top.output.count(" demo ") > seen, "lines again")


def test_stats_watch_survives_it_too(shell: Shell, fresh_server: StartServer) -> None:
    server = fresh_server("valkey", aof=True)
    shell.env["STREAMQ_URL"] = server.url
    shell.run("send", "x", "--queue", "demo")
    watch = shell.start("stats", "--watch", "--interval", "100ms")
    watch.says(" demo active=0 waiting=1")
    server.kill()
    watch.says("no answer (")
    server.start()
    seen = watch.output.count(" demo active=0")
    wait_until(lambda: watch.output.count(" demo active=0") > seen, "lines again")


def test_no_server_at_the_start_is_an_error(shell: Shell) -> None:
    started = time.monotonic()
    done = shell.run("top", "--url", "redis://localhost:1/0", code=4)
    assert "cannot reach Redis" in done.stderr
    assert time.monotonic() - started < PATIENCE
