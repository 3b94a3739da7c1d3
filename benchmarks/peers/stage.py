"""One measure's world: a fresh server, a producer, worker processes, and what the operating system says of them.

Linux only: CPU is read from /proc, of every process of a worker's group, so that a contender's children count too.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from benchmarks.peers.environments import Environment
from benchmarks.peers.roster import Contender
from tests.servers import Server, ServerKind

POLL = 0.002
LIMIT = 90.0  # seconds anything may take before it counts as hung


class HungError(Exception):
    """Something did not happen in time, or a process ended; the text says what, and the end of its log."""


class UnsupportedError(Exception):
    """The contender has no such thing; the text is its reason."""


class Moment(NamedTuple):
    """The server's counters; CPU in seconds, memory and traffic in bytes.

    memory is that of the data: buffers of connections and cached scripts are taken off, since they are no job's.
    """

    cpu: float
    memory: int
    commands: int
    reads: int
    sent: int
    received: int

    def per_job(self, before: Moment, jobs: int) -> dict[str, float]:
        """Return what a job cost since ``before``; CPU in microseconds."""
        return {
            "server": (self.cpu - before.cpu) / jobs * 1e6,
            "commands": (self.commands - before.commands) / jobs,
            "reads": (self.reads - before.reads) / jobs,
            "sent": (self.sent - before.sent) / jobs,
            "received": (self.received - before.received) / jobs,
        }


class Group:
    """A worker process, the leader of a process group of its own."""

    def __init__(self, command: list[str], environ: dict[str, str], folder: Path, number: int) -> None:
        self.log = folder / f"worker-{number}.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env=environ,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def pids(self) -> list[int]:
        """Return the processes of the group that are alive."""
        found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [pid for pid in found if _group(pid) == self.process.pid]

    def cpu(self) -> float:
        """Return the CPU seconds of all threads of all its processes."""
        return sum(_cpu(pid) for pid in self.pids())

    def resident(self) -> int:
        """Return the resident bytes of all its processes."""
        page = os.sysconf("SC_PAGE_SIZE")
        return sum(int(_read(f"/proc/{pid}/statm", "0 0").split()[1]) * page for pid in self.pids())

    def kill(self) -> None:
        """SIGKILL the whole group, and wait for its leader."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Producer:
    """The contender's producer process; asked in JSON lines."""

    def __init__(self, command: list[str], environ: dict[str, str], folder: Path) -> None:
        self.log = folder / "producer.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environ, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0,
                start_new_session=True,
            )  # fmt: skip
        self._answer(LIMIT)

    def ask(self, what: str, limit: float = LIMIT, **more: Any) -> dict[str, Any]:
        """Ask, and return the answer; raises `UnsupportedError`, `HungError`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, **more}).encode() + b"\n")
        found = self._answer(limit)
        if "unsupported" in found:
            raise UnsupportedError(found["unsupported"])
        return found

    def close(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _answer(self, limit: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        deadline = time.monotonic() + limit
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(self.process.stdout.fileno(), 65_536) if ready else b""
            if not part:
                why = "ended" if ready else f"gave no answer in {limit:g} s"
                raise HungError(f"the producer {why}\n{tail(self.log)}")
            line += part
        found: dict[str, Any] = json.loads(line)
        return found


class Stage:
    """Everything one measure of one contender needs, gone at its end."""

    def __init__(
        self,
        contender: Contender,
        environment: Environment,
        kind: ServerKind,
        concurrency: int,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.more = dict(more or {})  # environment variables of producer and workers
        self.contender = contender
        self.concurrency = concurrency
        self._environment = environment
        self.server = Server(kind, tcp=True)
        self.folder = Path(tempfile.mkdtemp(prefix="sq-peer-"))
        self.workers: list[Group] = []
        self._producer: Producer | None = None

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop_workers()
        if self._producer is not None:
            self._producer.close()
        self.server.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def producer(self) -> Producer:
        """The producer, started when first asked for."""
        if self._producer is None:
            self._producer = Producer(self._environment.command("produce"), self._environ(), self.folder)
        return self._producer

    def work(self, tool: Sequence[str] = (), **more: str) -> Group:
        """Start one worker process; with ``tool`` that module and its arguments instead of the contender's program."""
        command = self._environment.tool(*tool) if tool else self._environment.command("work")
        self.workers.append(Group(command, {**self._environ(), **more}, self.folder, len(self.workers)))
        return self.workers[-1]

    def stop_workers(self) -> None:
        """Kill every worker of this stage."""
        for worker in self.workers:
            worker.kill()

    def moment(self) -> Moment:
        """Return the server's counters."""
        info = self.server.info("everything")
        return Moment(
            cpu=float(info["used_cpu_user"]) + float(info["used_cpu_sys"]),
            memory=int(info["used_memory"])
            - int(info.get("mem_clients_normal", 0))
            - int(info.get("used_memory_scripts", 0)),
            commands=sum(self.server.commandstats().values()),
            reads=int(info["total_reads_processed"]),
            sent=int(info["total_net_input_bytes"]),
            received=int(info["total_net_output_bytes"]),
        )

    def count(self) -> int:
        """Return how many jobs have run."""
        return sum(self._counts().values())

    def has_run(self, worker: Group) -> bool:
        """Return whether a worker, any process of it, has run a job."""
        return any(count and _group(pid) == worker.process.pid for pid, count in self._counts().items())

    def told(self, word: str) -> list[list[str]]:
        """Return the lines that jobs have written and that begin with ``word``, without it."""
        lines = [line for path in self.folder.glob("log-*") for line in path.read_text().splitlines()]
        return [line.split()[1:] for line in lines if line.startswith(f"{word} ")]

    def wait(self, holds: Callable[[], bool], what: str, limit: float = LIMIT) -> None:
        """Look until it holds; raises `HungError`."""
        deadline = time.monotonic() + limit
        while not holds():
            for worker in self.workers:
                if worker.process.returncode is None and worker.process.poll() is not None:
                    raise HungError(f"a worker ended by itself\n{tail(worker.log)}")
            if time.monotonic() > deadline:
                logs = "\n".join(tail(worker.log) for worker in self.workers)
                raise HungError(f"{what}: not in {limit:g} s ({self.count()} have run)\n{logs}")
            time.sleep(POLL)

    def _counts(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for path in self.folder.glob("count-*"):
            found[int(path.name.removeprefix("count-"))] = int.from_bytes(path.read_bytes()[:8], "little")
        return found

    def _environ(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("STREAMQ_", "REDIS_", "PYTHON"))
        }
        return {
            **kept,
            **self._environment.variables(),
            "PEER_URL": self.server.url,
            "PEER_FOLDER": str(self.folder),
            "PEER_CONCURRENCY": str(self.concurrency),
            **self.more,
        }


def tail(path: Path) -> str:
    """Return the last lines of a log."""
    return path.read_text(errors="replace")[-600:] if path.exists() else ""


def _read(path: str, otherwise: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # it ended between two looks
        return otherwise


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def _cpu(pid: int) -> float:
    """Return CPU seconds from the scheduler's own nanoseconds; the ticks of /proc/stat are 10 ms."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        return 0.0
    return sum(int(_read(f"{thread}/schedstat", "0").split()[0]) for thread in threads) / 1e9
