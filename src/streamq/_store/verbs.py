"""The worker's verbs: commands for the scripts, and their replies as values. No I/O: the exchange sends them.

Ids, tokens and bodies stay bytes on this path; they become text where a person or a handler looks at them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from .keys import Keys
from .link import Command, Reply, ReplyError
from .scripts import PROTOCOL, script

MEMO_MS = 600_000
"""How long a memo outlives its batch: ten minutes, ten times what a producer or worker goes on re-sending."""

MAX_ITEMS = 500
"""Most items of a batch; keeps a script below a few milliseconds and its unpack below 1,000 values."""

MAX_BYTES = 262_144
"""Most bytes of a batch (a single larger item goes alone); bounds how far a batch may overshoot maxmemory."""

_PROTOCOL = str(PROTOCOL).encode()


class Taken(NamedTuple):
    """A job a worker got: ``body`` is None for an entry that is none of ours; ``deliveries`` how often handed out."""

    id: bytes
    token: bytes
    body: bytes | None
    deliveries: int


class Fetched(NamedTuple):
    """Reply of fetch. ``why``: full, empty, paused, or an error text of one lane."""

    now_ms: int
    why: str
    jobs: list[Taken]


class Ticked(NamedTuple):
    """Reply of tick. ``next_due_ms`` is -1 when nothing is delayed; ``marks`` are ids asked to stop."""

    now_ms: int
    next_due_ms: int
    turn: bytes
    pending: int
    parked: int
    paused: bool
    stalled: list[Taken]
    marks: list[bytes]
    waiting: bool


class Promoted(NamedTuple):
    """Reply of promote."""

    now_ms: int
    promoted: int
    next_due_ms: int
    turn: bytes


class Item(NamedTuple):
    """One settlement: verb letter, job, fence token, the verb's arguments; ``record`` if it writes one."""

    verb: bytes
    id: bytes
    token: bytes
    args: tuple[bytes | str | int, ...] = ()
    record: bytes | None = None

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
    """Commands of one worker for one queue partition."""

    def __init__(self, keys: Keys, settings: Settings, consumer: bytes) -> None:
        self.keys = keys
        self.consumer = consumer
        self._settings = settings
        lanes = keys.lanes
        self._fetch = (keys.meta, keys.index, *lanes, keys.taken, keys.bell)
        self._settle = (
            keys.meta, keys.index, *lanes, keys.taken, keys.delayed, keys.bodies, keys.dead, keys.dead_index,
            keys.window, keys.window_details, keys.waiters, keys.cancels, keys.parked, keys.bell,
            keys.worker_memo(consumer),
        )  # fmt: skip
        self._tick = (
            keys.meta, keys.index, *lanes, keys.taken, keys.delayed, keys.parked, keys.cancels, keys.workers,
            keys.beats, keys.bell, keys.window, keys.window_details,
        )  # fmt: skip
        self._promote = (
            keys.meta, keys.index, *lanes, keys.delayed, keys.bodies, keys.bell, keys.dead, keys.dead_index,
        )  # fmt: skip
        self._own = (keys.index, *lanes, keys.taken)

    def fetch(self, want: int, order: bytes = b"01234") -> Command:
        """Take up to ``want`` jobs, lanes in ``order``."""
        return script("fetch").call(self._fetch, _PROTOCOL, self.consumer, want, order)

    def settle(self, seq: int, items: Sequence[Item]) -> Command:
        """Settle a batch, once per ``seq``."""
        keys = self.keys
        settings = self._settings
        records = [keys.record(item.id) for item in items if item.record is not None]
        args: list[bytes | str | int] = [
            _PROTOCOL, seq, MEMO_MS, self.consumer, settings.window, keys.control, keys.done, settings.result_ms,
            len(items),
        ]  # fmt: skip
        for verb, job, token, more, record in items:
            args += (verb, job, token)
            args += more
            if record is not None:
                args.append(record)
        return script("settle").call([*self._settle, *records], *args)

    def tick(self, said: TickInput) -> Command:
        """Beat, sweep and ask what is due."""
        return script("tick").call(
            self._tick, _PROTOCOL, self.consumer, said.heartbeat, said.lease_ms, said.free, said.max_stalls,
            said.suspects, said.rest_ms, int(said.sweep), self._settings.window_age_ms,
        )  # fmt: skip

    def promote(self, limit: int = 200) -> Command:
        """Move due jobs to their lanes; 200 a call take about half a millisecond of the server."""
        return script("promote").call(self._promote, _PROTOCOL, self.consumer, limit)

    def unpark(self, want: int, names: Sequence[str]) -> Command:
        """Take parked jobs of these names."""
        keys = self.keys
        head = (keys.meta, keys.index, keys.taken, keys.bodies, keys.parked)
        return script("unpark").call(head, _PROTOCOL, self.consumer, want, *names)

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
        return script("purge").call((self.keys.dead, self.keys.dead_index), before_ms, keep, 100)

    def leave(self) -> Command:
        """Take our traces away, if we hold nothing."""
        keys = self.keys
        head = (keys.workers, keys.beats, *keys.lanes, keys.taken, keys.worker_memo(self.consumer))
        return script("leave").call(head, self.consumer)

    def ring(self) -> Command:
        """Give a bell token back that we cannot use."""
        return (b"LPUSH", self.keys.bell, b"1")


def read_fetched(reply: Reply) -> Fetched:
    """Read the reply of fetch."""
    jobs = [_claimed(one) for one in reply[2]]
    for at in range(3, len(reply), 2):
        lane = reply[at]
        for entry, fields in reply[at + 1]:
            if len(fields) == 4 and fields[0] == b"j" and fields[2] == b"d" and _is_id(fields[1]):
                jobs.append(Taken(fields[1], b"%b%b:0" % (lane, entry), fields[3], 1))
            else:
                jobs.append(_claimed((lane, entry, fields, b"%b%b:0" % (lane, entry), 1)))
    return Fetched(int(reply[0]), reply[1].decode(), jobs)


def read_ticked(reply: Reply) -> Ticked:
    """Read the reply of tick."""
    now, due, turn, pending, parked, paused, stalled, marks, waiting = reply
    jobs = [_claimed(one) for one in stalled]
    return Ticked(int(now), _ms(due), turn, pending, parked, bool(paused), jobs, list(marks), bool(waiting))


def read_promoted(reply: Reply) -> Promoted:
    """Read the reply of promote."""
    return Promoted(int(reply[0]), reply[1], _ms(reply[2]), reply[3])


def read_unparked(reply: Reply) -> list[Taken]:
    """Read the reply of unpark."""
    return [_claimed(one) for one in reply[1:]]


def read_adopted(reply: Reply) -> list[Taken]:
    """Read the reply of adopt."""
    return [_claimed(one) for one in reply]


def read_own_pending(reply: Reply) -> set[bytes]:
    """Read the reply of own_pending: lane letter + entry id of each."""
    return {reply[at] + entry for at in range(0, len(reply), 2) for entry in reply[at + 1]}


def place_of(token: bytes) -> bytes:
    """Return lane letter + entry id of a token."""
    return token.split(b":", 1)[0]


def failed(reply: Reply) -> ReplyError | None:
    """Return the reply if it is an error."""
    return reply if type(reply) is ReplyError else None


def _claimed(one: Reply) -> Taken:
    lane, entry, fields, token, count = one
    found = {fields[at]: fields[at + 1] for at in range(0, len(fields) - 1, 2)}
    job, body = found.get(b"j"), found.get(b"d")
    if job is None or body is None or not _is_id(job):
        return Taken(b"raw-%b%b" % (lane, entry), token, None, count)
    return Taken(job, token, body, count)


def _is_id(job: bytes) -> bool:
    """Whether an id can be one of ours: people must be able to name it."""
    if not 0 < len(job) <= 1000:
        return False
    if job.isascii():
        return True
    try:
        job.decode()
    except UnicodeDecodeError:
        return False
    return True


def _ms(text: bytes) -> int:
    return int(float(text))
