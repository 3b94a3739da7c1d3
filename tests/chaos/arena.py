"""The place of a chaos run: a server that can be hurt, proxies in front of it, and the processes of one queue."""

from __future__ import annotations

import asyncio
import random
import struct
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import redis

from streamq import Priority, Queue
from streamq._store.link import Command
from streamq._store.scripts import by_sha
from streamq._store.verbs import Settings, TickInput, WorkerVerbs
from streamq.errors import EnqueueTimeout, EnqueueUnknown, StreamqError
from tests.chaos import clockwork, elder
from tests.chaos.actor import make_queue, real_time
from tests.chaos.checker import Final, Terms
from tests.chaos.crew import ROOT, Crew
from tests.faults.scene import Scene
from tests.proxy import Proxy
from tests.servers import Server, ServerKind
from tests.store import snapshot

PREFIX = NAME = "chaos"

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>
static volatile long long *offset;
static int (*real)(struct timeval *, void *);
__attribute__((constructor)) static void open_offset(void) {
  const char *path = getenv("CHAOS_CLOCK");
  int file = path ? open(path, O_RDONLY) : -1;
  if (file < 0) return;
  void *mapped = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
  if (mapped != MAP_FAILED) offset = mapped;
  close(file);
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  if (!real) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
  int answer = real(now, zone);
  if (offset && now) {
    long long us = now->tv_sec * 1000000LL + now->tv_usec + *offset;
    now->tv_sec = us / 1000000;
    now->tv_usec = us % 1000000;
  }
  return answer;
}
"""
"""Moves the server's clock by what stands in a file, in microseconds."""


class NotMetError(Exception):
    """The occasion for a fault did not come; it does not count."""


class Plan(NamedTuple):
    """One run. ``rate``: jobs a second of all producers; ``lines``: a tenth of them waits for places of their group."""

    kind: ServerKind
    seed: int
    jobs: int
    faults: int
    rate: float = 60.0
    lines: bool = True
    terms: Terms = Terms(lease=3.0, sweep=2.0, max_stalls=2, period=clockwork.PERIOD)


class Arena:
    """What the faults act on. ``workers`` and ``producers`` are proxies; the nemesis itself goes past them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.chance = random.Random(plan.seed)
        self.server = Server(plan.kind, aof=True, args=["--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"])
        self.scene = Scene(self.server, self.server.url, PREFIX, NAME)
        self.keys = self.scene.keys
        self.crew: Crew
        self.workers: Proxy
        self.producers: Proxy
        self.queue: Queue
        self.has_clock: bool = False
        self.clock_offset: float = 0.0
        self.before: Counter[str] = Counter()  # completions that a flush wiped away
        self.buried: dict[str, str] = {}
        self.away: set[str] = set()  # processes whose end the nemesis itself brings about
        self.starting: asyncio.Lock = asyncio.Lock()  # held while a worker is replaced
        self._clock = self.server.folder / "clock"
        self._stack = AsyncExitStack()
        self._names = 0

    async def __aenter__(self) -> Self:
        try:
            self._bend_time()
            self.server.start()
            self.workers = await self._stack.enter_async_context(Proxy(self.server.socket))
            self.producers = await self._stack.enter_async_context(Proxy(self.server.socket))
            plan = self.plan
            crew = Crew(self.workers.url, PREFIX, lease=plan.terms.lease, concurrency=8, lines=plan.lines)
            self.crew = self._stack.enter_context(crew)
            self.ledger = self.crew.ledger("hand")
            queue = make_queue(self.server.url, PREFIX, lines=plan.lines, enqueue_timeout=10)
            self.queue = await self._stack.enter_async_context(queue)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._stack.aclose()
            await self.scene.queue.aclose()
        finally:
            self.server.close()

    # -- time -------------------------------------------------------------------------------------------

    def _bend_time(self) -> None:
        """Start the server with a clock that can be moved, where there is a C compiler."""
        library = self.server.folder / "shim.so"
        build = ["cc", "-x", "c", "-shared", "-fPIC", "-O2", "-o", str(library), "-", "-ldl"]
        try:
            subprocess.run(build, input=SHIM, text=True, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return
        self._clock.write_bytes(struct.pack("<q", 0))
        preload = ["env", f"LD_PRELOAD={library}", f"CHAOS_CLOCK={self._clock}"]
        self.server._command[:0] = preload  # pyright: ignore[reportPrivateUsage]
        self.has_clock = True

    def move_clock(self, seconds: float) -> None:
        """Let the server's clock be off by so much."""
        self.clock_offset = seconds
        with self._clock.open("r+b") as file:
            file.write(struct.pack("<q", int(seconds * 1_000_000)))

    # -- people -----------------------------------------------------------------------------------------

    def new_name(self, stem: str) -> str:
        """Return a name nobody had."""
        self._names += 1
        return f"{stem}{self._names}"

    def some_worker(self) -> str:
        """Return a worker that runs."""
        return self.one_of("w")

    def one_of(self, stem: str) -> str:
        """Return a process that runs, by the beginning of its name."""
        running = [one for one in self.crew.names(stem) if one not in self.away and self.crew.is_up(one)]
        if not running:
            raise NotMetError(f"no {stem} runs at the moment")
        return self.chance.choice(running)

    async def start_worker(self, *options: str, home: Path = ROOT) -> str:
        """Start another worker, perhaps of another version; some of them believe in another time of day."""
        name = self.new_name("w")
        skew = self.chance.choice((0, 0, 3600, -3600, 1.5, -0.5))
        await asyncio.to_thread(self.crew.start, name, options=["--skew", str(skew), *options], home=home)
        return name

    def start_producer(self, count: int, home: Path = ROOT) -> None:
        """Start a producer of so many jobs, perhaps of another version."""
        plan = self.plan
        words = ["--count", str(count), "--rate", str(plan.rate / 2), "--seed", str(plan.seed)]
        self.crew.launch(self.new_name("p"), "tests.chaos.sender", *words, url=self.producers.url, home=home)

    def start_scheduler(self) -> None:
        """Start a scheduler."""
        self.crew.launch(self.new_name("s"), "tests.chaos.clockwork")

    async def add(self, name: str, payload: dict[str, Any], *, doomed: bool = False, **options: Any) -> str:
        """Enqueue a job of the nemesis; ``doomed``: it is to end as a dead letter."""
        job_id = self.new_name("n-")
        waits = not options.keys() & {"delay", "at", "group"}
        lane = {"lane": int(options.get("priority", Priority.NORMAL))} if waits else {}
        self.ledger.write("try", job_id, **lane)
        try:
            await self.queue.enqueue(name, payload, job_id=job_id, **options)
        except EnqueueUnknown:
            self.ledger.write("unknown", job_id)
        except EnqueueTimeout:
            self.ledger.write("unsent", job_id)
        except StreamqError as problem:
            self.ledger.write("refused", job_id, said=str(problem)[:200])
        else:
            self.ledger.write("doomed" if doomed else "ok", job_id)
        return job_id

    def plant(self, job_id: str, body: bytes) -> None:
        """Put a foreign envelope into a lane, with its index row."""
        script = (
            "local entry = redis.call('XADD', KEYS[1], '*', 'j', ARGV[1], 'd', ARGV[2]) "
            "redis.call('HSET', KEYS[2], ARGV[1], '2' .. entry .. ':0')"
        )
        self.server.command("EVAL", script, 2, self.keys.lanes[2], self.keys.index, job_id, body)

    def elder(self) -> Path:
        """Return the home of another version of streamq: that of the last commit."""
        found = elder.unpack(self.server.folder)
        if found is None:
            raise NotMetError("no repository to take another version from")
        return found

    # -- facts ------------------------------------------------------------------------------------------

    def held_by(self, name: str) -> bool:
        """Whether anything is pending for a worker's present process."""
        mine = f"{name}:{self.crew.pid(name)}:"
        return any(owner.startswith(mine) for owner, _ in self.scene.pending().values())

    def began(self, job: str) -> int:
        """How many runs of a job have begun."""
        return self.crew.began(job)

    def wall(self) -> float:
        """Seconds since the epoch."""
        return real_time()

    def unsettled(self) -> set[str]:
        """Jobs that the index knows."""
        rows: list[bytes] = self.server.command("HKEYS", self.keys.index)
        return {row.decode("utf-8", "replace") for row in rows}

    def forget_the_dead(self) -> None:
        """Let ten minutes of silence have passed for all consumers, and somebody look after what they left."""
        verbs = WorkerVerbs(self.keys, Settings(result_ms=1000, window=1_000_000, window_age_ms=0), b"janitor")
        said = TickInput(b"", 1000, 0, 2, 0, sweep=False)
        self._run(verbs.tick(said))  # a first tick hears of those whose beats were lost
        self.server.command("EVAL", _SILENCE, 1, self.keys.beats)
        for _ in range(1000):
            self._run(verbs.tick(said))
            if int(self.server.command("ZCARD", self.keys.beats)) <= 1:  # the janitor himself
                break
        self._run(verbs.leave())

    def _run(self, command: Command) -> object:
        """Call a script by its text: the server may have forgotten it."""
        _, sha, *rest = command
        assert isinstance(sha, bytes)
        return self.server.command("EVAL", by_sha(sha).source, *rest)

    def final(self) -> Final:
        """Return what the server says in the end; to be asked when nobody works any more."""
        scene, leaks = self.scene, list[str]()
        stuck = self.unsettled()
        try:
            snapshot.check(self.server, self.keys)
        except AssertionError as problem:
            leaks.append(str(problem).splitlines()[0][:500])
        leaks += [f"pending: {entry!r} of {owner}" for entry, (owner, _) in scene.pending().items()]
        for key in (*self.keys.lanes, self.keys.taken):
            leaks += [f"consumer {one} of {key.decode()}" for one in self._consumers(key)]
        for name, key in (("delayed", self.keys.delayed), ("parked", self.keys.parked), ("in lines", self.keys.lines)):
            left = int(self.server.command("ZCARD", key))
            leaks += [f"{left} {name}"] if left else []
        for name, key in (("bodies", self.keys.bodies), ("cancels", self.keys.cancels)):
            left = int(self.server.command("HLEN", key))
            leaks += [f"{left} {name}"] if left else []
        leaks += [f"gate {name.decode()}" for name in self._held_gates()]
        completed, dead = scene.completed() + self.before, self.buried
        try:
            dead = {**dead, **scene.dead()}
        except AssertionError as problem:
            leaks.append(str(problem)[:500])
        return Final(completed, dead, sorted(stuck), leaks)

    def _consumers(self, key: bytes) -> list[str]:
        try:
            rows = self.server.command("XINFO", "CONSUMERS", key, "w")
        except redis.ResponseError:
            return []
        names = [row[1].decode() for row in rows]
        return [name for name in names if name not in {"~", "!"}]

    def _held_gates(self) -> list[bytes]:
        """Return the gates that still count a job as running."""
        flat: list[bytes] = self.server.command("EVAL", _HELD, 1, self.keys.gates)
        return flat


_SILENCE = """
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('ZADD', KEYS[1], 1, name) end
"""

_HELD = """
local held, flat = {}, redis.call('HGETALL', KEYS[1])
for n = 1, #flat, 2 do
  if cmsgpack.unpack(flat[n + 1])[1] > 0 then held[#held + 1] = flat[n] end
end
return held
"""

Act = Callable[[Arena], Awaitable[None]]
"""Brings a fault about and ends it."""
