"""The worker's verbs: commands for the scripts. No I/O: the exchange sends them. Their replies: replies.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from .._core import tally
from .._core.tally import Fact, minute_of
from .keys import Keys
from .link import Command
from .scripts import PROTOCOL, Script, lines_script, script

MEMO_MS = 600_000
"""How long a memo outlives its batch: ten minutes, ten times what a producer or worker goes on re-sending."""

MAX_ITEMS = 500
"""Most items of a batch; keeps a script below a few milliseconds and its unpack below 1,000 values."""

MAX_BYTES = 262_144
"""Most bytes of a batch (a single larger item goes alone); bounds how far a batch may overshoot maxmemory."""

_PROTOCOL = str(PROTOCOL).encode()


class Item(NamedTuple):
    """One settlement: verb letter, job, fence token, the verb's arguments.

    ``record``: the record it writes, if it writes one. ``fact``: what is to be counted of it.
    """

    verb: bytes
    id: bytes
    token: bytes
    args: tuple[bytes | str | int, ...] = ()
    record: bytes | None = None
    fact: Fact | None = None

    @property
    def size(self) -> int:
        """Bytes it adds to a batch, roughly."""
        size = 100 + (len(self.record) if self.record else 0)
        for arg in self.args:
            if isinstance(arg, bytes):
                size += len(arg)
        return size


class TickInput(NamedTuple):
    """What a worker says in its tick. Times in ms; ``rest_ms``: not to sweep if somebody did so more lately."""

    heartbeat: bytes
    lease_ms: int
    free: int
    max_stalls: int
    suspects: int
    sweep: bool
    rest_ms: int = 1000


class Settings(msgspec.Struct, frozen=True):
    """Queue settings that the scripts need. Times in ms."""

    result_ms: int
    window: int
    window_age_ms: int


class WorkerVerbs:
    """Commands of one worker for one queue partition. ``now_ms``: the server's clock, the wall clock if left out."""

    def __init__(
        self, keys: Keys, settings: Settings, consumer: bytes, now_ms: Callable[[], int] | None = None
    ) -> None:
        self.keys = keys
        self.consumer = consumer
        self._now_ms = now_ms or _wall_ms
        self.knows_lines: bool = False
        """Whether the queue has limits or lines. The builds of the verbs that know of them cost a little more."""
        self._settings = settings
        lanes = keys.lanes
        self._fetch = (keys.meta, keys.index, *lanes, keys.taken, keys.bell)
        self._settle = (
            keys.meta, keys.index, *lanes, keys.taken, keys.delayed, keys.bodies, keys.dead, keys.dead_index,
            keys.window, keys.window_details, keys.waiters, keys.cancels, keys.parked, keys.bell,
            keys.worker_memo(consumer), keys.counters,
        )  # fmt: skip
        self._tick = (
            keys.meta, keys.index, *lanes, keys.taken, keys.delayed, keys.parked, keys.cancels, keys.workers,
            keys.beats, keys.bell, keys.window, keys.window_details, keys.counters,
        )  # fmt: skip
        self._promote = (
            keys.meta, keys.index, *lanes, keys.delayed, keys.bodies, keys.bell, keys.dead, keys.dead_index,
            keys.waiters, keys.cancels, keys.deaths,
        )  # fmt: skip
        self._own = (keys.index, *lanes, keys.taken)
        self._take = (*self._fetch, keys.dead, keys.dead_index, keys.waiters, keys.deaths, *keys.flow)

    def fetch(self, want: int, order: bytes = b"01234") -> Command:
        """Take up to ``want`` jobs, lanes in ``order`` (fetch.lua; made by `LaneOrder`)."""
        return script("fetch").call(self._fetch, _PROTOCOL, self.consumer, want, order)

    def take(self, want: int, order: bytes, free: int, places: int, epoch: bytes) -> Command:
        """Take up to ``want`` jobs of lanes and of lines with open gates; ``free`` of ``places`` are the worker's."""
        return script("take").call(
            self._take, _PROTOCOL, self.consumer, want, order, free, places, epoch
        )  # fmt: skip

    def settle(self, seq: int, items: Sequence[Item]) -> Command:
        """Settle a batch, once per ``seq``."""
        keys = self.keys
        settings = self._settings
        records = [keys.record(item.id) for item in items if item.record is not None]
        now = self._now_ms()
        head = [*self._settle, keys.minutes(now), keys.deaths]
        args: list[bytes | str | int] = [
            _PROTOCOL, seq, MEMO_MS, self.consumer, settings.window, keys.control, keys.done, settings.result_ms,
            len(items), *tally.settled([item.fact for item in items], minute_of(now)),
        ]  # fmt: skip
        for verb, job, token, more, record, _ in items:
            args += (verb, job, token)
            args += more
            if record is not None:
                args.append(record)
        if not self.knows_lines:
            self.knows_lines = any(b"|" in item.token or item.verb == b"v" for item in items)
        if self.knows_lines:
            return lines_script("settle").call([*head, *keys.flow, *records], *args)
        return script("settle").call([*head, *records], *args)

    def tick(self, said: TickInput) -> Command:
        """Beat, sweep and ask what is due."""
        now = self._now_ms()
        return self._build("tick").call(
            (*self._tick, self.keys.minutes(now), *self._more), _PROTOCOL, self.consumer, said.heartbeat,
            said.lease_ms, said.free, said.max_stalls, said.suspects, said.rest_ms, int(said.sweep),
            self._settings.window_age_ms, minute_of(now),
        )  # fmt: skip

    def promote(self, limit: int = 100) -> Command:
        """Move due jobs to their lanes; with a million delayed, 100 take some 3 ms of the server, with few one."""
        return self._build("promote").call((*self._promote, *self._more), _PROTOCOL, self.consumer, limit)

    def unpark(self, want: int, names: Sequence[str], suspects: int) -> Command:
        """Take parked jobs of these names; at most so many that stalled twice."""
        keys = self.keys
        head = (
            keys.meta, keys.index, keys.taken, keys.bodies, keys.parked, keys.dead, keys.dead_index, keys.waiters,
            keys.deaths, *keys.flow,
        )  # fmt: skip
        return script("unpark").call(head, _PROTOCOL, self.consumer, want, suspects, *names)

    def own_pending(self) -> Command:
        """List the entries the server believes we hold."""
        return script("reconcile").call(self._own, self.consumer, 0)

    def adopt(self, entries: Sequence[bytes]) -> Command:
        """Take these ghosts (lane letter + entry id) over."""
        return script("reconcile").call(self._own, self.consumer, len(entries), *entries)

    def renew(self, jobs: Sequence[tuple[bytes, bytes]]) -> Command:
        """Start the leases of (id, token) anew."""
        flat = [part for job in jobs for part in job]
        return script("renew").call((*self._own, self.keys.beats), self.consumer, *flat)

    def purge_dead(self, before_ms: int, keep: int) -> Command:
        """Forget the oldest dead letters by age and number (-1: any number); 100 a call."""
        keys = self.keys
        return script("purge").call((keys.dead, keys.dead_index, keys.deaths), before_ms, keep, 100)

    def leave(self) -> Command:
        """Take our traces away, if we hold nothing."""
        keys = self.keys
        head = (keys.workers, keys.beats, *keys.lanes, keys.taken, keys.worker_memo(self.consumer))
        return script("leave").call(head, self.consumer)

    @property
    def _more(self) -> tuple[bytes, ...]:
        return self.keys.flow if self.knows_lines else ()

    def _build(self, verb: str) -> Script:
        return lines_script(verb) if self.knows_lines else script(verb)

    def ring(self) -> Command:
        """Give a bell token back that we cannot use."""
        return (b"LPUSH", self.keys.bell, b"1")


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
