"""The whole service on a bad day, end to end: ``python -m examples.notifications.run [--count 2000] [--dir FOLDER]``.

The exit code is 0 only if every mail has arrived, every row is final, and no job is left in any queue.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from datetime import timedelta
from pathlib import Path

from streamq import StreamqError

from .app import queues
from .audit import Audit
from .crew import Crew
from .models import Status
from .people import notifications
from .provider_server import MailServer, ProviderServer
from .service import CannotRetryError, NotificationService
from .store import Store

CHECKOUT = Path(__file__).parents[2]
ORPHANS = 5
"""Rows whose producer dies before it has enqueued them."""
PATIENCE = 60.0
"""Seconds any phase may take."""


class Story:
    """What happens to ``count`` notifications. ``crew``: the workers, none started yet."""

    def __init__(self, count: int, store: Store, provider: ProviderServer, crew: Crew) -> None:
        self.by_hand = 0
        self._count = count
        self._store = store
        self._provider = provider
        self._crew = crew
        self._service = NotificationService(store)
        self._began = time.monotonic()

    async def tell(self) -> None:
        """Queue all, kill a worker half way, survive an outage, and mend by hand what is left."""
        self._provider.outage.set()
        await self._queue_all()
        first, second = await self._crew.start(), await self._crew.start()
        await self._until(self._half_is_final, "half of the rows to be final")
        await self._crew.kill(first)
        self._say(f"worker {first.pid} is killed with SIGKILL half way; worker {second.pid} takes over")
        await self._until(self._is_settled, "the queues to be empty and every row final")

        self._provider.outage.clear()
        replayed = await self._service.replay_dead_letters("HTTP 503")
        self._say(f"the push provider is back, {replayed} dead letters of its outage are replayed")
        await self._until(self._is_settled, "the replayed jobs to end")

        await self._retry_failed()
        await self._until(self._is_settled, "the retried notifications to end")
        codes = await self._crew.stop()
        self._say(f"worker {second.pid} is asked to stop and ends with exit code {codes[0]}")

    async def _queue_all(self) -> None:
        everything = list(notifications(self._count))
        await self._service.queue_notifications(everything[:-ORPHANS])
        self._store.add(everything[-ORPHANS:])  # and here the producer dies
        self._say(f"{self._count:,} notifications are stored, all but {ORPHANS} are queued")
        self._say(f"{await self._service.requeue_pending()} rows had no job and got one")

    async def _retry_failed(self) -> None:
        failed = self._store.with_status(Status.FAILED)
        for row in failed:
            await self._service.retry_notification(row.notification.id)
        self.by_hand = len(failed)
        self._say(f"{self.by_hand} notifications that FAILED are retried by hand")
        sent = self._store.with_status(Status.SENT)[0].notification
        try:
            await self._service.retry_notification(sent.id)
        except CannotRetryError as refused:
            self._say(f"one more is refused: {refused}")

    async def _half_is_final(self) -> bool:
        return self._store.count(Status.PENDING) <= self._count // 2

    async def _is_settled(self) -> bool:
        stats = (await self._service.get_queue_stats()).values()
        if any(one.waiting or one.active or one.delayed or one.parked for one in stats):
            return False
        await self._service.settle_dead_letters()
        return self._store.count(Status.PENDING) == 0

    async def _until(self, fact: Callable[[], Awaitable[bool]], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await fact():
            self._crew.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {PATIENCE:g} s in vain for {what}")
            await asyncio.sleep(0.05)
        self._say("rows: " + ", ".join(f"{self._store.count(status):,} {status}" for status in Status))

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)


async def run(count: int, folder: Path) -> int:
    """Run the story with everything on loopback, print the summary, and return the exit code."""
    async with AsyncExitStack() as stack:
        for queue in queues:
            await stack.enter_async_context(queue)
        provider = stack.enter_context(ProviderServer(folder / "provider.jsonl"))
        mail = await stack.enter_async_context(MailServer(folder / "spool"))
        store = stack.enter_context(closing(Store(folder / "notifications.sqlite3")))
        crew = Crew(folder, worker_environment(folder, provider, mail))
        stack.push_async_callback(crew.stop)
        print(f"Server: {queues[0].where}. Provider: {provider.url}. Mail: 127.0.0.1:{mail.port}. Folder: {folder}.")

        service = NotificationService(store)
        before = await service.get_queue_stats()
        story = Story(count, store, provider, crew)
        await story.tell()

        audit = Audit(store, folder, before.values(), (await service.get_queue_stats()).values())
        for name, figure in audit.figures(by_hand=story.by_hand, duplicates=provider.duplicates).items():
            print(f"  {name:<38} {figure:>6,}")
        complaints = audit.complaints(count)
        await service.clean_queues(completed=timedelta(0), failed=timedelta(0))
        if left := sum(one.dead for one in (await service.get_queue_stats()).values()):
            complaints.append(f"{left} dead letters are left after cleaning")
    print(
        "\n".join(f"WRONG: {one}" for one in complaints)
        or "Every mail has arrived, every row is final, no job is left."
    )
    return 1 if complaints else 0


def worker_environment(folder: Path, provider: ProviderServer, mail: MailServer) -> dict[str, str]:
    """Return what the workers are told; what the caller has set stands."""
    return {
        "JOB_CONCURRENCY": "20",
        "JOB_BACKOFF": "0.2",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH")))),
        "DATABASE_PATH": str(folder / "notifications.sqlite3"),
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(mail.port),
        "PROVIDER_URL": provider.url,
        "PROVIDER_TIMEOUT": "1",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="notifications to send (2000)")
    parser.add_argument(
        "--dir", type=Path, help="new folder for rows, mails and logs (a temporary one, deleted at the end)"
    )
    arguments = parser.parse_args()
    if arguments.count < 20:
        parser.error("--count must be at least 20, or there is no story to tell")
    if arguments.dir is not None and arguments.dir.exists() and any(arguments.dir.iterdir()):
        parser.error(f"--dir {arguments.dir} is not empty")
    # With no server configured, use the one that streamq brings along for development.
    os.environ.setdefault("STREAMQ_ENV", "development")
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder: Path = (arguments.dir or Path(temporary)).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            return asyncio.run(run(arguments.count, folder))
    except (StreamqError, TimeoutError, RuntimeError) as problem:
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
