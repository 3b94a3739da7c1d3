"""A queue whose provider is up or down by a file, for workers in this process and in others."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from streamq import CircuitBreaker, Context, Fixed, Keep, Queue, Worker


class Provider:
    """Something that answers, or does not: down while the file ``down`` is there. It hangs while ``hang`` is there.

    Every call leaves lines in ``calls``: what (begins, fails or ends), job, attempt.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = 0
        self.most_while_down = 0

    @property
    def is_down(self) -> bool:
        return (self.folder / "down").exists()

    def fall(self) -> None:
        (self.folder / "down").touch()
        self.most_while_down = 0

    def rise(self) -> None:
        (self.folder / "down").unlink()

    def calls(self, what: str = "begins") -> list[tuple[str, int]]:
        """Job and attempt of each call that began, failed or ended, in order."""
        file = self.folder / "calls"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [(job, int(attempt)) for said, job, attempt in lines if said == what]

    def _note(self, what: str, ctx: Context) -> None:
        with (self.folder / "calls").open("a") as file:
            file.write(f"{what} {ctx.job_id} {ctx.attempt}\n")

    async def call(self, ctx: Context, seconds: float = 0.002) -> str:
        """Send something."""
        self._note("begins", ctx)
        self.running += 1
        if self.is_down:
            self.most_while_down = max(self.most_while_down, self.running)
        try:
            await asyncio.sleep(seconds)
            while (self.folder / "hang").exists():  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.005)
            if self.is_down:
                self._note("fails", ctx)
                raise ConnectionError("no line")
        finally:
            self.running -= 1
        self._note("ends", ctx)
        return "sent"


def make(url: str, prefix: str, folder: Path, *, open_for: float = 0.3) -> tuple[Queue, CircuitBreaker, Provider]:
    """A queue as each process has one."""
    queue = Queue("phones", url=url, prefix=prefix, backoff=Fixed(0), keep_completed=Keep(count=100_000))
    provider = Provider(folder)
    breaker = CircuitBreaker("twilio", failures=5, open_for=open_for, handlers=("sms:send",))
    queue.use(breaker)

    @queue.handler("sms:send", max_attempts=3)
    async def send(ctx: Context, n: int) -> str:
        return await provider.call(ctx)

    @queue.handler("mail:send", max_attempts=3)
    async def mail(ctx: Context, n: int) -> str:
        return f"mailed {n}"

    return queue, breaker, provider


async def work(url: str, prefix: str, folder: Path) -> None:
    """A worker as a process."""
    queue, _, _ = make(url, prefix, folder)
    async with Worker(queue, lease=1.5, concurrency=5):
        (folder / "ready").touch()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
