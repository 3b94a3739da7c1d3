"""The whole service on a bad day, end to end: ``python -m examples.notifications.run [--count 2000] [--dir FOLDER]``.

Exit code 0 only if every mail has arrived, every row is final, and no job is left in any queue.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Awaitable, Callable
from email import message_from_bytes
from pathlib import Path

from streamq import Counts, StreamqError

from .app import queues
from .models import Channel, Status
from .people import notifications
from .provider_server import MailServer, ProviderServer
from .service import CannotRetryError, NotificationService
from .store import Store

CHECKOUT = Path(__file__).parents[2]
ORPHANS = 5
"""Rows whose producer dies before it has enqueued them."""
PATIENCE = 60.0
"""Seconds any phase may take."""


class Crew:
    """Worker processes: ``streamq worker``, each with a log file of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._running: list[Process] = []
        self._started = 0

    async def start(self) -> Process:
        """Start a worker."""
        self._started += 1
        concurrency = self._environment["JOB_CONCURRENCY"]
        with (self._folder / f"worker-{self._started}.log").open("wb") as log:
            worker = await asyncio.create_subprocess_exec(
                _script("streamq"),
                *("worker", "examples.notifications.app:queues", "--concurrency", concurrency, "--lease", "3"),
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
                raise RuntimeError(f"worker {worker.pid} ended by itself with code {worker.returncode}; see its log")


class Scenario:
    """One run of the story in `play`, and what is known of it afterwards."""

    def __init__(self, folder: Path, count: int, provider: ProviderServer, mail: MailServer, store: Store) -> None:
        self.folder = folder
        self.count = count
        self.provider = provider
        self.mail = mail
        self.store = store
        self.service = NotificationService(store)
        self.crew = Crew(folder, _environment(folder, provider, mail))
        self.retried_by_hand = 0
        self.left: dict[Channel, Counts] = {}
        self.exit_codes: list[int] = []
        self._began = time.monotonic()

    async def play(self) -> None:
        """Tell the story."""
        self.provider.outage.set()
        await self._queue_all()
        first, second = await self.crew.start(), await self.crew.start()
        await self._until(self._half_is_final, "half of the rows to be final")
        await self.crew.kill(first)
        self._say(f"killed worker {first.pid} with SIGKILL half way; worker {second.pid} takes over")
        await self._until(self._is_settled, "the queues to be empty and every row final")
        self._say(f"first round is over: {self._rows()}")

        self.provider.outage.clear()
        replayed = await self.service.replay_dead_letters("HTTP 503")
        self._say(f"the push provider is back: {replayed} dead letters of the outage replayed")
        await self._until(self._is_settled, "the replayed jobs to end")

        await self._retry_failed()
        await self._until(self._is_settled, "the retried notifications to end")
        self._say(f"last round is over: {self._rows()}")
        self.exit_codes = await self.crew.stop()

    async def _queue_all(self) -> None:
        everything = list(notifications(self.count))
        await self.service.queue_notifications(everything[:-ORPHANS])
        self.store.add(everything[-ORPHANS:])  # and here, let us say, the producer dies
        self._say(f"{self.count:,} notifications stored as PENDING, all but {ORPHANS} queued")
        self._say(f"{await self.service.requeue_pending()} rows had no job and got one")

    async def _retry_failed(self) -> None:
        failed = await asyncio.to_thread(self.store.with_status, Status.FAILED)
        for row in failed:
            await self.service.retry_notification(row.notification.id)
        self.retried_by_hand = len(failed)
        self._say(f"{len(failed)} FAILED notifications retried by hand")
        for row in self.store.with_status(Status.SENT)[:1]:
            try:
                await self.service.retry_notification(row.notification.id)
            except CannotRetryError as refused:
                self._say(f"one too many is refused: {refused}")

    async def _half_is_final(self) -> bool:
        return self.store.count(Status.PENDING) <= self.count // 2

    async def _is_settled(self) -> bool:
        stats = (await self.service.get_queue_stats()).values()
        if any(one.waiting or one.active or one.delayed or one.parked for one in stats):
            return False
        await self.service.settle_dead_letters()
        return self.store.count(Status.PENDING) == 0

    async def _until(self, fact: Callable[[], Awaitable[bool]], what: str) -> None:
        async with asyncio.timeout(PATIENCE) as patience:
            while not await fact():
                self.crew.check()
                await asyncio.sleep(0.05)
        if patience.expired():
            raise TimeoutError(f"waited {PATIENCE:g} s in vain for {what}")

    def _rows(self) -> str:
        return ", ".join(f"{self.store.count(status):,} {status}" for status in Status)

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)

    # -- afterwards

    async def report(self) -> list[str]:
        """Print the summary, tidy up, and return what went wrong."""
        totals = (await self.service.get_queue_stats()).values()
        mails = [message_from_bytes(path.read_bytes())["Message-ID"] for path in (self.folder / "spool").iterdir()]
        by_channel = self.store.totals()
        for channel in Channel:
            sent, failed = by_channel[channel, Status.SENT], by_channel[channel, Status.FAILED]
            print(f"  {channel:<8} {sent:>6,} sent {failed:>6,} failed for good")
        figures = {
            "sent": self.store.count(Status.SENT),
            "failed for good": self.store.count(Status.FAILED),
            "retried after an error": sum(one.retried for one in totals),
            "put off by Retry-After": sum(one.limited for one in totals),
            "replayed dead letters": sum(one.replayed for one in totals),
            "retried by hand": self.retried_by_hand,
            "reclaimed from the killed worker": sum(one.stalled for one in totals),
            "duplicates refused by idempotency key": self.provider.duplicates,
            "mails received": len(mails),
            "distinct Message-IDs": len(set(mails)),
        }
        for name, figure in figures.items():
            print(f"  {name:<38} {figure:>6,}")
        dead = sum(one.dead for one in totals)
        await self.service.clean_queues(completed=_NOW, failed=_NOW)
        left = await self.service.get_queue_stats()
        return [*self._wrong_rows(dead), *self._wrong_messages(set(mails)), *_wrong_queues(left), *self._wrong_workers()]

    def _wrong_rows(self, dead: int) -> list[str]:
        sent, failed = self.store.count(Status.SENT), self.store.count(Status.FAILED)
        wrong = []
        if sent + failed != self.count:
            wrong.append(f"{self.count - sent - failed} rows are not final")
        if dead != failed:
            wrong.append(f"{failed} rows are FAILED, but there are {dead} dead letters")
        return wrong

    def _wrong_messages(self, mails: set[str]) -> list[str]:
        wrong = []
        rows = [row.notification for row in self.store.with_status(Status.SENT)]
        wanted = {one.id for one in notifications_of(rows, Channel.EMAIL)}
        arrived = {mail.strip("<>").partition("@")[0] for mail in mails}
        emails = self.store.totals()[Channel.EMAIL, Status.SENT] + self.store.totals()[Channel.EMAIL, Status.FAILED]
        if wanted - arrived or len(arrived) != emails:
            wrong.append(f"{emails - len(arrived)} mails have not arrived")
        journal = (self.folder / "provider.jsonl").read_text(encoding="utf-8").splitlines()
        keys = Counter(json.loads(line)["key"] for line in journal)
        lost = [one for one in rows if one.channel in (Channel.SMS, Channel.PUSH) and keys[one.id] != 1]
        if lost:
            wrong.append(f"{len(lost)} messages reached the provider never, or twice")
        return wrong
