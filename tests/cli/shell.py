"""The command line as a user runs it: real processes, in a folder with an app, against a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE = 20.0

APP = """\
import asyncio
from pathlib import Path
from streamq import Context, Fixed, Queue, Worker

queue = Queue("demo")
other = Queue("other")
both = [queue, other]
worker = Worker(queue, concurrency=7, grace=3)
nothing = 5

@queue.handler("math:add")
async def add(a: int, b: int) -> int:
    return a + b

@queue.handler("slow", max_attempts=2)
async def slow(ctx: Context, seconds: float, mark: str = "mark") -> int:
    with Path(mark).open("a") as file:
        file.write(f"{ctx.attempt} {ctx.worker}\\n")
    await asyncio.sleep(seconds)
    return ctx.attempt

@queue.handler("boom", max_attempts=1)
async def boom(secret: str = "") -> None:
    raise ValueError("it broke")
"""


def wait_until(holds: Any, what: str, seconds: float = PATIENCE) -> Any:
    """Ask again and again until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
    return answer


class Background:
    """A command that keeps running; its output can be read while it does."""

    def __init__(self, command: list[str], env: dict[str, str], cwd: Path, log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command, env=env, cwd=cwd, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def says(self, text: str, times: int = 1) -> str:
        """Wait for a text in the output."""

        def said() -> bool:
            return self.output.count(text) >= times or self.process.poll() is not None

        wait_until(said, f"{text!r} in {self.log}")
        assert self.output.count(text) >= times, self.output
        return self.output

    def says_after(self, text: str, act: Callable[[], object]) -> None:
        """Act until a text is in the output; for what may not be noticed the first time, with time to notice it."""

        def once_more() -> bool:
            act()
            deadline = time.monotonic() + 3
            while text not in self.output and time.monotonic() < deadline:
                time.sleep(0.05)
            return text in self.output

        wait_until(once_more, text)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends(self) -> int:
        """Wait for the end; returns the exit code."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it and whatever it started."""
        for _ in range(3):
            if self.process.poll() is not None:
                return
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(1.0)
            except subprocess.TimeoutExpired:
                continue
        self.process.kill()
        self.process.wait()


class Shell:
    """A folder with an app.py, and an environment that names the server."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        dropped = ("STREAMQ_", "REDIS_", "PYTEST_", "CI", "NO_COLOR")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        self.env = {**kept, "XDG_RUNTIME_DIR": str(folder), "COLUMNS": "200", **environ}
        self._started: list[Background] = []
        (folder / "app.py").write_text(APP)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for one in self._started:
            one.close()

    def run(self, *args: str, code: int = 0, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code."""
        done = subprocess.run(
            self._command(args), env={**self.env, **environ}, cwd=self.folder, input=stdin, text=True,
            capture_output=True, timeout=PATIENCE * 2, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{args} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, *args: str, code: int = 0) -> Any:
        """Run a command and return the one JSON document it prints."""
        return json.loads(self.run(*args, "--json", code=code).stdout)

    def start(self, *args: str, **environ: str) -> Background:
        """Start a command that keeps running."""
        log = self.folder / f"log-{len(self._started)}"
        started = Background(self._command(args), {**self.env, **environ}, self.folder, log)
        self._started.append(started)
        return started

    def worker(self, *args: str) -> Background:
        """Start a worker and wait until it works."""
        started = self.start("worker", *(args or ("app:queue",)))
        started.says("worker started")
        return started

    @staticmethod
    def _command(args: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-P", "-m", "streamq", *args]
