"""What one event loop has open for one queue partition: the producer, a few links for rare calls, waiters for results.

Connections belong to the loop that made them. A fork forgets them all without closing the parent's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import RedisUnavailable, ServerUnfit, StreamqError
from .clock import ServerClock
from .dial import clock_of, open_link
from .faults import server_error
from .keys import Keys, registry_key
from .link import Command, Link, LinkDown, Refused, Reply, ReplyError, redacted
from .producer import Producer

log = logging.getLogger("streamq")

POOL = 4
"""Links for rare calls of one loop; the busy ones ride the producer's and the worker's own."""

REVIVE_EVERY = 2.0
"""Seconds between two looks after a silent embedded server."""

FIRST_ANSWER = 2.5
"""Seconds the first answers of a connection may take: one that is silent leaves callers time for another try."""

_graveyard: list[Any] = []
"""After a fork: the parent's connections, kept so that nothing closes or finalises them here."""

_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


class Store:
    """One queue partition on one server, for all event loops of the process."""

    def __init__(self, url: str, prefix: str, queue: str, *, partition: int = 0, max_pending: int = 0) -> None:
        self.url = url
        self.queue = queue
        self.prefix = prefix
        self.keys: Keys = Keys(prefix, queue, partition)
        self.max_pending = max_pending
        self.reviver: Callable[[], object] | None = None
        self._revived_at = 0.0
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Session] = weakref.WeakKeyDictionary()

    def session(self) -> Session:
        """Return what the running loop has open, opening nothing yet."""
        loop = asyncio.get_running_loop()
        found = self._loops.get(loop)
        if found is None or found.forgotten:
            self._drop_closed()
            found = self._loops[loop] = Session(self)
        return found

    def _drop_closed(self) -> None:
        # A session's connections refer to its loop: the weak key alone would keep both, and their sockets, alive.
        for ref in self._loops.keyrefs():
            loop = ref()
            if loop is not None and loop.is_closed():
                self._loops.pop(loop, None)

    async def away(self) -> None:
        """Take note that the server cannot be reached; an embedded one is started again by whoever notices first."""
        now = time.monotonic()
        if self.reviver is not None and now - self._revived_at > REVIVE_EVERY:
            self._revived_at = now
            try:
                await asyncio.to_thread(self.reviver)
            except StreamqError as problem:
                log.warning("%s", problem)

    async def call(self, command: Command, *, wait: float = 5.0) -> Reply:
        """Call a verb that may be repeated; see `Session.call`."""
        return (await self.session().call(command, wait=wait))[0]

    async def call_noting(self, command: Command, *, wait: float = 5.0) -> tuple[Reply, bool]:
        """Call a verb; also whether an earlier sending of it may have been run, whose reply was lost."""
        return await self.session().call(command, wait=wait)


class Session:
    """One loop's connections for a `Store`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.forgotten: bool = False
        self._checked = False
        self._registered = False
        self.clock: ServerClock = clock_of(store.url)
        self.producer: Producer = Producer(store, self.clock, check=self.register)
        self.waiters: Waiters = Waiters(store)
        self._idle: list[Link] = []
        self._slots = asyncio.Semaphore(POOL)
        _sessions.add(self)

    async def _check_once(self, link: Link) -> None:
        if not self._checked:
            await check_server(link, strict=False)
            seconds, micros = await link.call(b"TIME", timeout=FIRST_ANSWER)
            self.clock.heard(int(seconds) * 1000 + int(micros) // 1000)
            self._checked = True

    async def register(self, link: Link) -> None:
        """Make the queue's name known. For its producers and workers: who only looks must not bring a queue about."""
        await self._check_once(link)
        if not self._registered:
            await link.call(b"SADD", registry_key(self.store.prefix), self.store.queue, timeout=FIRST_ANSWER)
            self._registered = True

    async def announce(self) -> None:
        """Make the queue's name known, for a worker: people shall see its queue before the first job.

        Refused (memory is full, say), that is no reason not to work: a worker is what frees the memory.
        """
        with suppress(ServerUnfit):
            await self.call((b"SADD", registry_key(self.store.prefix), self.store.queue))

    async def server_ms(self) -> int:
        """Return the server's time in ms; asks it once."""
        if not self._checked:
            await self.call((b"PING",))
        return self.clock.now_ms()

    async def call(self, command: Command, *, wait: float = 5.0) -> tuple[Reply, bool]:
        """Return the reply to a command that may be sent again, and whether a lost sending may have been run.

        Retries for ``wait`` seconds; an answer may take half of that, so that a silent connection leaves time to retry.

        Raises `RedisUnavailable` when nothing answered in time, `ServerUnfit` for what waiting does not mend.
        """
        deadline = asyncio.get_running_loop().time() + wait
        pause, again = 0.02, False
        async with self._slots:
            while True:
                link = self._idle.pop() if self._idle else open_link(self.store.url, "streamq")
                try:
                    await link.connect()
                    await self._check_once(link)
                    reply = await link.call(*command, timeout=max(1.0, wait / 2))
                    self._idle.append(link)
                except Refused as problem:
                    await link.close()
                    raise ServerUnfit(
                        redacted(self.store.url), problem.reason, "check STREAMQ_URL and its credentials"
                    ) from None
                except LinkDown as problem:
                    await link.close()
                    await self.store.away()
                    again = again or problem.sent
                    reply = ReplyError("LOADING", problem.reason)
                except BaseException:
                    await link.close()
                    raise
                if not isinstance(reply, ReplyError):
                    return reply, again
                if not reply.passes:
                    raise server_error(self.store.url, self.store.queue, reply)
                if asyncio.get_running_loop().time() >= deadline:
                    raise RedisUnavailable(redacted(self.store.url), reply.text)
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                pause = min(pause * 2, 0.5)

    async def aclose(self) -> None:
        """Flush the producer and close every connection of this loop."""
        await self.producer.aclose()
        await self.waiters.aclose()
        for link in self._idle:
            await link.close()
        self._idle.clear()

    def forget(self) -> None:
        """After a fork: these connections are the parent's."""
        self.forgotten = True
        _graveyard.append(self)


class Waiters:
    """Those of this loop who wait for the end of a job: one subscription for all, opened with the first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.suffix: str = os.urandom(8).hex()
        self._futures: dict[bytes, list[asyncio.Future[bool]]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._ready: asyncio.Event | None = None

    async def subscribe(self) -> None:
        """Be subscribed before anybody registers; returns after two seconds in any case (waiting then polls)."""
        if self._reader is None or self._reader.done():
            self._ready = asyncio.Event()
            self._reader = asyncio.get_running_loop().create_task(self._read(), name="streamq-waiters")
        if self._ready is not None and not self._ready.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await self._ready.wait()

    @contextmanager
    def expecting(self, job_id: bytes) -> Generator[asyncio.Future[bool]]:
        """Listen for the word that a job ended: True it left a record, False it completed with None.

        To be entered before the server is asked to tell us: the word may be here sooner than that answer.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._futures.setdefault(job_id, []).append(future)
        try:
            yield future
        finally:
            left = self._futures.get(job_id, [])
            if future in left:
                left.remove(future)
            if not left:
                self._futures.pop(job_id, None)

    async def _read(self) -> None:
        link = open_link(self._store.url, "streamq:waiter")
        channel = self._store.keys.done + self.suffix.encode()
        try:
            while True:
                try:
                    await link.connect()
                    await link.send(b"SSUBSCRIBE", channel)
                    while True:
                        self._hear(await link.receive())
                except LinkDown:
                    await link.close()
                    await asyncio.sleep(random.uniform(0.2, 0.6))  # noqa: S311 - jitter; waiting polls meanwhile
        finally:
            await link.close()

    def _hear(self, message: Reply) -> None:
        if isinstance(message, ReplyError):
            return
        if message[0] == b"ssubscribe":
            if self._ready is not None:
                self._ready.set()
        elif message[0] == b"smessage":
            text = bytes(message[2])
            for future in self._futures.get(text[1:], ()):
                if not future.done():
                    future.set_result(text[:1] == b"r")

    async def aclose(self) -> None:
        """End the subscription."""
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None


async def check_server(link: Link, *, strict: bool) -> dict[str, str]:
    """Look whether this server can keep a queue: version, eviction policy. Returns what INFO said.

    Raises `ServerUnfit` for a server below Redis 7.0, and when ``strict`` (a worker) also for one that may evict keys;
    a producer only warns, because refusing to enqueue would lose what waiting could save.
    """
    where = redacted(link.url)
    replies = await link.call_many([(b"INFO", b"server"), (b"INFO", b"memory")], timeout=FIRST_ANSWER)
    for reply in replies:
        if isinstance(reply, ReplyError):
            if reply.code == "NOPERM":
                return {}
            if reply.passes:
                raise LinkDown(reply.text, sent=False)
            raise server_error(link.url, "", reply)
    info = dict(re.findall(r"^(\w+):(.*?)\r?$", b"\n".join(replies).decode("utf-8", "replace"), re.MULTILINE))
    version = info.get("redis_version", "0")
    if int(version.split(".", 1)[0] or 0) < 7:
        raise ServerUnfit(where, f"it is Redis {version}", "streamq needs Redis 7.0 or Valkey 7.2, or newer")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys") and info.get("maxmemory", "0") != "0":
        remedy = "set maxmemory-policy noeviction: an evicted stream is a lost queue"
        if strict:
            raise ServerUnfit(where, f"its eviction policy is {policy}", remedy)
        log.warning("server may evict queues: policy %s at %s; %s", policy, where, remedy)
    return info


def _after_fork() -> None:
    for session in list(_sessions):
        session.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
