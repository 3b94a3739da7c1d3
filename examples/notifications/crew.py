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
        self._running: list[Process] = []
        self._started = 0

    async def start(self) -> Process:
        """Start a worker."""
        self._started += 1
        program = shutil.which("streamq", path=str(Path(sys.executable).parent)) or "streamq"
        with (self._folder / f"worker-{self._started}.log").open("wb") as log:
            worker = await asyncio.create_subprocess_exec(
                *(program, "worker", "examples.notifications.app:queues", "--lease", "3"),
                *("--concurrency", self._environment["JOB_CONCURRENCY"]),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._running.append(worker)
        return worker

    async def kill(self, worker: Process) -> None:
        """Kill a worker as the kernel does when memory runs out: it can do nothing about it."""
        self._running.remove(worker)
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
        """Raise if a worker has ended by itself."""
        for worker in self._running:
            if worker.returncode is not None:
                raise RuntimeError(f"worker {worker.pid} ended by itself with code {worker.returncode}")
