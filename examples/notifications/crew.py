"""Worker processes of the example: ``streamq worker``, as an operator would start it."""

import asyncio
import shutil
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from pathlib import Path


class Crew:
    """Starts, kills and stops workers. Each logs into a file of ``folder``."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._running: dict[Process, Path] = {}
        self._started = 0

    async def start(self) -> Process:
        """Start a worker."""
        self._started += 1
        program = shutil.which("streamq", path=str(Path(sys.executable).parent)) or "streamq"
        path = self._folder / f"worker-{self._started}.log"
        with path.open("wb") as log:
            worker = await asyncio.create_subprocess_exec(
                *(program, "worker", "examples.notifications.app:queues", "--lease", "3"),
                *("--concurrency", self._environment["JOB_CONCURRENCY"]),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._running[worker] = path
        return worker

    async def kill(self, worker: Process) -> None:
        """Kill a worker as the kernel does when memory runs out: it can do nothing about it."""
        del self._running[worker]
        worker.kill()
        await worker.wait()

    async def stop(self) -> list[int]:
        """Ask all to stop, wait for them, and return their exit codes."""
        for worker in self._running:
            if worker.returncode is None:
                worker.send_signal(signal.SIGTERM)
        codes = [await worker.wait() for worker in self._running]
        self._running.clear()
        return codes

    def check(self) -> None:
        """Raise if a worker has ended by itself, with its last words."""
        for worker, log in self._running.items():
            if worker.returncode is not None:
                words = log.read_text(errors="replace").strip().splitlines()
                raise RuntimeError(
                    f"a worker ended with exit code {worker.returncode}: {words[-1] if words else 'silent'}"
                )
