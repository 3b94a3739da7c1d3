"""Worker processes that play the matrix: started, killed by their process ids, and started again."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from tests.ledger import Line, Reader
from tests.matrix.actor import CASTS, Casts

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


class Crew:
    """Some worker processes of all queues of a matrix, run as a module, and the ledger they write."""

    def __init__(self, folder: Path, casts: Casts | None = None, module: str = "tests.matrix.actor") -> None:
        self.folder = folder
        self.killed: dict[int, float] = {}
        self._module = module
        self._reader = Reader(folder)
        self._lines: list[Line] = []
        self._ready: set[int] = set()
        self._held: dict[int, set[tuple[str, Any]]] = defaultdict(set)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        if casts is not None:
            (folder / CASTS).write_bytes(msgspec.json.encode(casts))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def lines(self) -> Sequence[Line]:
        """Every line so far."""
        for line in self._reader.new():
            self._lines.append(line)
            if line.what == "ready":
                self._ready.add(line.pid)
            elif line.what == "start":
                self._held[line.pid].add((line.job, line.more.get("call")))
            elif line.what == "end":
                self._held[line.pid].discard((line.job, line.more.get("call")))
        return self._lines

    async def start(self, *names: str) -> None:
        """Start workers and wait until they are ready."""
        for name in names:
            with (self.folder / f"{name}.err").open("ab") as sink:
                self._processes[name] = subprocess.Popen(  # noqa: ASYNC220 - it only forks
                    [sys.executable, "-m", self._module, str(self.folder), name],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                )
        pids = {self._processes[name].pid for name in names}
        await self.wait(lambda: self.lines() and pids <= self._ready, f"{names} are ready")

    async def kill(self, name: str, *, holding: int) -> int:
        """SIGKILL a worker in the middle of so many jobs, if it comes to have them; returns how many it had."""
        process = self._processes[name]
        began = time.monotonic()
        while time.monotonic() - began < 3.0:
            self.lines()
            if len(self._held[process.pid]) >= holding:
                break
            await asyncio.sleep(0.005)
        process.kill()
        process.wait()
        self.killed[process.pid] = time.monotonic()
        self.lines()
        return len(self._held[process.pid])

    async def stop(self) -> None:
        """End all in good order."""
        for process in self._processes.values():
            process.terminate()
        for name, process in self._processes.items():
            code = await asyncio.to_thread(process.wait, 20)
            assert code == 0, f"{name} ended with {code}:\n{self.errors(name)}"

    def errors(self, name: str) -> str:
        """What a worker wrote to its standard error."""
        return (self.folder / f"{name}.err").read_text("utf-8", "replace")[-3000:]

    async def wait(self, fact: Callable[[], object], what: str) -> None:
        """Wait for a fact."""
        began = time.monotonic()
        while not fact():
            errors = "".join(f"\n{name}: {self.errors(name)}" for name in self._processes)
            assert time.monotonic() - began < PATIENCE, f"not within {PATIENCE:g} s: {what}{errors}"
            await asyncio.sleep(0.02)
