"""Processes under the tests' hands: started, killed, frozen, thawed, and stopped by their process ids."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.ledger import Ledger, Line, Reader

ROOT = Path(__file__).parents[2]

WORKER = "tests.chaos.actor"


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a process that is to find streamq and the tests of ``home`` first."""
    own = [str(home)] if home == ROOT else [str(home), str(home / "src")]
    path = os.pathsep.join([*own, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


class Crew:
    """Some worker processes of one queue, perhaps producers and schedulers, and everybody's ledger.

    ``lines``: whether they know that groups of the queue have a bound.
    """

    def __init__(
        self, url: str, prefix: str, *, lease: float = 3.0, concurrency: int = 10, lines: bool = False
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sq-ledger-"))
        self.nemesis = Ledger(self.folder, "nemesis")
        self._reader = Reader(self.folder)
        self._ledgers: list[Ledger] = []
        self._lines: list[Line] = []
        self._polling = threading.Lock()
        self._ready: set[int] = set()
        self._begun: dict[str, list[int]] = defaultdict(list)
        self._starts: Counter[int] = Counter()
        self._held: dict[int, set[str]] = defaultdict(set)
        self._accepted = 0
        self._acknowledged = 0
        self._url = url
        self._common = ["--prefix", prefix, "--ledger", str(self.folder), *(["--lines"] if lines else [])]
        self._options = ["--lease", str(lease), "--concurrency", str(concurrency)]
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
        with self._polling:  # the nemesis waits in threads
            for line in self._reader.new():
                self._lines.append(line)
                if line.what == "ready":
                    self._ready.add(line.pid)
                elif line.what == "start":
                    self._begun[line.job].append(line.pid)
                    self._starts[line.pid] += 1
                    self._held[line.pid].add(line.job)
                elif line.what in {"settled", "lost"}:
                    self._held[line.pid].discard(line.job)
                    self._accepted += line.what == "settled" and line.more["answer"] == "a"
                elif line.what == "ok":
                    self._acknowledged += 1

    def done(self) -> int:
        """How many settlements were accepted so far."""
        self._poll()
        return self._accepted

    def acknowledged(self) -> int:
        """How many enqueues were acknowledged so far."""
        self._poll()
        return self._acknowledged

    def began(self, job: str) -> int:
        """How many runs of a job have begun."""
        self._poll()
        return len(self._begun.get(job, ()))

    def runner(self, job: str) -> str:
        """Name of the process that began a job last; '' if it is not there any more."""
        pids = self._begun.get(job, [0])
        return next((name for name, one in list(self._processes.items()) if one.pid == pids[-1]), "")

    def names(self, beginning: str = "") -> list[str]:
        """Names of the processes that were started and not killed or stopped."""
        return [name for name in list(self._processes) if name.startswith(beginning)]

    def is_up(self, name: str) -> bool:
        """Whether a process has said that it is ready, and still runs."""
        self._poll()
        process = self._processes.get(name)
        return process is not None and process.poll() is None and process.pid in self._ready

    def pid(self, name: str) -> int:
        """Process id of a worker."""
        return self._processes[name].pid

    def start(self, *names: str, options: Sequence[str] = (), url: str = "", home: Path = ROOT) -> None:
        """Start workers and wait until they are ready; ``url`` if not the crew's, ``home`` of another version."""
        for name in names:
            self.launch(name, WORKER, *self._options, *options, url=url, home=home)
        self.wait_ready(*names)

    def launch(self, name: str, module: str, *options: str, url: str = "", home: Path = ROOT) -> None:
        """Start a process; does not wait for it."""
        errors = self.folder / f"{name}.err"
        command = [sys.executable, "-m", module, "--name", name, "--url", url or self._url, *self._common, *options]
        with errors.open("ab") as sink:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=home,
                env=environment(home),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )
        self._errors[name] = errors

    def wait_ready(self, *names: str) -> None:
        """Wait until these processes say that they are ready."""
        pids = {self.pid(name) for name in names}

        def are_ready() -> bool:
            self._poll()
            return pids <= self._ready

        self.wait(are_ready, f"{names} ready")

    def kill(self, name: str) -> None:
        """SIGKILL a worker."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()
        self.nemesis.write("killed", pid=process.pid)

    def freeze(self, name: str) -> None:
        """SIGSTOP a worker."""
        self._processes[name].send_signal(signal.SIGSTOP)
        self.nemesis.write("frozen", pid=self.pid(name))

    def thaw(self, name: str) -> None:
        """SIGCONT a worker."""
        self.nemesis.write("thawed", pid=self.pid(name))
        self._processes[name].send_signal(signal.SIGCONT)

    def tell(self, name: str, what: str) -> None:
        """Put a word into a process's file and wake it by SIGUSR1."""
        (self.folder / f"{name}.doom").write_text(what, "utf-8")
        self._processes[name].send_signal(signal.SIGUSR1)

    def died(self, name: str) -> bool:
        """Whether a worker's process ended by itself; noted as killed."""
        process = self._processes[name]
        if process.poll() is None:
            return False
        self.nemesis.write("killed", pid=process.pid)
        return True

    def ended(self, name: str) -> int | None:
        """How a process ended; None while it runs, or when it was taken off the list."""
        process = self._processes.get(name)
        return None if process is None else process.poll()

    def retire(self, name: str, seconds: float = 20.0) -> None:
        """SIGTERM one process, wait for its end and forget it."""
        process = self._processes.pop(name)
        self.nemesis.write("stopped", pid=process.pid)
        process.terminate()
        code = process.wait(seconds)
        if code == -signal.SIGKILL:  # by the job it ran
            self.nemesis.write("killed", pid=process.pid)
            return
        assert code == 0, f"{name} ended with {code}:\n{self.errors(name)}"

    def forget(self, name: str) -> None:
        """Take a process that has ended off the list."""
        self._processes.pop(name).wait()

    def stop(self) -> None:
        """End all processes in good order."""
        for process in self._processes.values():
            self.nemesis.write("stopped", pid=process.pid)
            process.terminate()
        for name, process in self._processes.items():
            assert process.wait(20) == 0, f"{name} ended with {process.returncode}:\n{self.errors(name)}"
        self._processes.clear()

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
