"""Keeps the leases of running jobs from a thread, so that a handler that blocks the event loop keeps its job.

Not while C code holds the GIL for longer than the lease: no thread runs then. A loop that has not ticked for
`STUCK_AFTER` is given up: its stacks are dumped and its jobs left to other workers, for a dead loop must not hold jobs
for ever.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from .._store.dial import in_memory, open_link, open_sync_link
from .._store.link import Command, Link, LinkDown, Reply, ReplyError, SyncLink
from .attempt import Attempt

log = logging.getLogger("streamq.worker")

STUCK_AFTER = 120.0
"""Seconds without a tick of the event loop after which it counts as dead."""

OVERTIME = 30.0
"""Seconds past its timeout after which a job is not renewed: whatever hangs there must not keep it for ever."""

BATCH = 200


class Kept(Protocol):
    """A table of attempts whose leases are to be kept."""

    url: str

    def leased(self) -> Sequence[Attempt]:
        """Return the attempts we hold; called from the thread."""
        ...

    def renew_command(self, jobs: Sequence[tuple[bytes, bytes]]) -> Command:
        """Return the command that renews (id, token)s."""
        ...

    def lost(self, ids: Sequence[bytes]) -> None:
        """Hear, in the loop, that these are ours no more."""
        ...


class Keeper:
    """One thread for all queues of a worker; started with the first job. ``lease`` in seconds.

    For queues in memory it is a task: their time is that of the event loop, and a thread would have its own.
    """

    def __init__(self, tables: Sequence[Kept], lease: float) -> None:
        self._tables = tables
        self._lease = lease
        self._patience = max(1.0, lease / 3)  # seconds an answer may take
        self._links: dict[str, SyncLink] = {}
        self._wake = threading.Event()
        self._stop = False
        self._warned = False
        self._kicked = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.loop_ticked = time.monotonic()

    def start(self) -> None:
        """Start the thread, if it does not run yet."""
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        if all(in_memory(table.url) for table in self._tables):
            self._task = self._loop.create_task(self._run_here(), name="streamq-keeper")
            return
        self._thread = threading.Thread(target=self._run, name="streamq-keeper", daemon=True)
        self._thread.start()

    def kick(self) -> None:
        """Renew now: after an outage, before anybody reclaims."""
        self._wake.set()
        self._kicked.set()

    def stop(self) -> None:
        """End the thread; returns when it is gone, or after two seconds."""
        self._stop = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(2.0)
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        while True:
            kicked = self._wake.wait(self._lease / 3)
            self._wake.clear()
            if self._stop:
                break
            if self._is_stuck():
                continue
            for table in self._tables:
                try:
                    self._renew(table, everything=kicked)
                except LinkDown as problem:
                    log.debug("lease renewal failed", extra={"event": "renew_failed", "reason": problem.reason})
        for link in self._links.values():
            link.close()

    def _is_stuck(self) -> bool:
        stuck = time.monotonic() - self.loop_ticked > STUCK_AFTER
        if stuck and not self._warned:
            log.error("event loop stuck; its jobs are left to other workers", extra={"event": "loop_stuck"})
            faulthandler.dump_traceback(sys.stderr)
        self._warned = stuck
        return stuck

    def _renew(self, table: Kept, *, everything: bool) -> None:
        for batch in self._due(table, everything=everything):
            sent = time.monotonic()
            link = self._links.get(table.url)
            if link is None:
                link = self._links[table.url] = open_sync_link(table.url, "streamq:keeper", self._patience)
            reply = link.call(table.renew_command([(one.id, one.token) for one in batch]))
            if not self._read(table, batch, reply, sent):
                return

    async def _run_here(self) -> None:
        links = {table.url: open_link(table.url, "streamq:keeper") for table in self._tables}
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._lease / 3):
                        await self._kicked.wait()
                kicked = self._kicked.is_set()
                self._kicked.clear()
                for table in self._tables:
                    try:
                        await self._renew_here(table, links[table.url], everything=kicked)
                    except LinkDown as problem:
                        log.debug("lease renewal failed", extra={"event": "renew_failed", "reason": problem.reason})
        finally:
            for link in links.values():
                await link.close()

    async def _renew_here(self, table: Kept, link: Link, *, everything: bool) -> None:
        for batch in self._due(table, everything=everything):
            sent = time.monotonic()
            await link.connect()
            command = table.renew_command([(one.id, one.token) for one in batch])
            if not self._read(table, batch, await link.call(*command, timeout=self._patience), sent):
                return

    def _due(self, table: Kept, *, everything: bool) -> list[list[Attempt]]:
        now = time.monotonic()
        old = 0.0 if everything else self._lease / 6  # so that no lease is ever older than half
        due = [one for one in table.leased() if now - one.touched >= old and now < one.limit + OVERTIME]
        return [due[at : at + BATCH] for at in range(0, len(due), BATCH)]

    def _read(self, table: Kept, batch: Sequence[Attempt], reply: Reply, sent: float) -> bool:
        if isinstance(reply, ReplyError):
            log.warning("lease renewal refused: %s", reply, extra={"event": "renew_refused"})
            return False
        lost: list[bytes] = []
        for one, answer in zip(batch, reply.decode(), strict=True):
            if answer == "a":
                one.touched = sent
            elif not one.settling:
                lost.append(one.id)
        if lost and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_tell, table.lost, lost)
        return True


def _tell(lost: Callable[[Sequence[bytes]], None], ids: Sequence[bytes]) -> None:
    lost(ids)
