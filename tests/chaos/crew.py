"""Worker processes under the tests' hands: started, killed, frozen, thawed, and stopped by their process ids."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.ledger import Ledger, Line, Reader

ROOT = Path(__file__).parents[2]


class Crew:
    """Some worker processes of one queue, and everybody's ledger."""

    def __init__(self, url: str, prefix: str, *, lease: float = 3.0, concurrency: int = 10) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sq-ledger-"))
        self.nemesis = Ledger(self.folder, "nemesis")
        self._reader = Reader(self.folder)
        self._ledgers: list[Ledger] = []
        self._lines: list[Line] = []
        self._starts: Counter[int] = Counter()
        self._held: dict[int, set[str]] = defaultdict(set)
        self._options = ["--url", url, "--prefix", prefix, "--ledger", str(self.folder)]
        self._options += ["--lease", str(lease), "--concurrency", str(concurrency)]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._errors: dict[str, Path] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self.nemesis.close()
        for ledger in self._ledgers:
            ledger.close()
        for path in [*self.folder.iterdir()]:
            path.unlink()
        self.folder.rmdir()

    def ledger(self, actor: str) -> Ledger:
        """A ledger for an actor of the test's own process; closed with the crew."""
        made = Ledger(self.folder, actor)
        self._ledgers.append(made)
        return made

    def lines(self) -> list[Line]:
        """Every line so far, oldest first."""
        self._poll()
        return sorted(self._lines, key=lambda line: line.at)

    def _poll(self) -> None:
        for line in self._reader.new():
            self._lines.append(line)
            if line.what == "start":
                self._starts[line.pid] += 1
                self._held[line.pid].add(line.job)
            elif line.what in {"settled", "lost"}:
                self._held[line.pid].discard(line.job)

    def pid(self, name: str) -> int:
        """Process id of a worker."""
        return self._processes[name].pid

    def start(self, *names: str) -> None:
        """Start workers and wait until they are ready."""
        for name in names:
            errors = self.folder / f"{name}.err"
            with errors.open("ab") as sink:
                self._processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "tests.chaos.actor", "--name", name, *self._options],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                )
            self._errors[name] = errors
        pids = {self.pid(name) for name in names}
        self.wait(lambda: pids <= {line.pid for line in self.lines() if line.what == "ready"}, f"{names} ready")

    def kill(self, name: str) -> None:
        """SIGKILL a worker."""
        process = self._processes[name]
        process.kill()
        process.wait()
        self.nemesis.write("killed", pid=process.pid)
        del self._processes[name]

    def freeze(self, name: str) -> None:
        """SIGSTOP a worker."""
        self._processes[name].send_signal(signal.SIGSTOP)
        self.nemesis.write("frozen", pid=self.pid(name))

    def thaw(self, name: str) -> None:
        """SIGCONT a worker."""
        self.nemesis.write("thawed", pid=self.pid(name))
        self._processes[name].send_signal(signal.SIGCONT)

    def died(self, name: str) -> bool:
        """Whether a worker's process ended by itself; noted as killed."""
        process = self._processes[name]
        if process.poll() is None:
            return False
        self.nemesis.write("killed", pid=process.pid)
        return True

    def stop(self) -> None:
        """End all workers in good order."""
        for process in self._processes.values():
            process.terminate()
        for name, process in self._processes.items():
            assert process.wait(20) == 0, f"{name} ended with {process.returncode}:\n{self.errors(name)}"

    def errors(self, name: str) -> str:
        """What a worker wrote to its standard error."""
        return self._errors[name].read_text("utf-8", "replace")[-3000:]

    def starts(self, name: str) -> int:
        """How many jobs the present process of a worker has begun."""
        self._poll()
        return self._starts[self.pid(name)]

    def holds(self, name: str) -> int:
        """How many jobs the present process of a worker has begun and not settled."""
        self._poll()
        return len(self._held[self.pid(name)])

    def caught(self, name: str) -> bool:
        """Stop a worker if it is in the middle of some jobs; then it holds them for sure."""
        if not self.holds(name):
            return False
        process = self._processes[name]
        process.send_signal(signal.SIGSTOP)
        if self.holds(name):
            return True
        process.send_signal(signal.SIGCONT)
        return False

    def wait(self, fact: Callable[[], object], what: str, seconds: float = 20.0) -> float:
        """Wait for a fact; returns how long it took."""
        began = time.monotonic()
        while not fact():
            if time.monotonic() - began > seconds:
                report = "".join(f"\n{name}: {self.errors(name)}" for name in self._errors)
                raise AssertionError(f"not within {seconds:g} s: {what}{report}")
            time.sleep(0.02)
        return time.monotonic() - began
