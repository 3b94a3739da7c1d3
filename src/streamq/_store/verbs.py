"""The worker's verbs: commands for the scripts, and their replies as values. No I/O: the exchange sends them.

Ids, tokens and bodies stay bytes on this path; they become text where a person or a handler looks at them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from .._core.lanes import Took
from .keys import Keys
from .link import Command, Reply, ReplyError
from .scripts import PROTOCOL, Script, lines_script, script

MEMO_MS = 600_000
"""How long a memo outlives its batch: ten minutes, ten times what a producer or worker goes on re-sending."""

MAX_ITEMS = 500
"""Most items of a batch; keeps a script below a few milliseconds and its unpack below 1,000 values."""

MAX_BYTES = 262_144
"""Most bytes of a batch (a single larger item goes alone); bounds how far a batch may overshoot maxmemory."""

_PROTOCOL = str(PROTOCOL).encode()


class Taken(NamedTuple):
    """A job a worker got: ``body`` is None for an entry that is none of ours; ``deliveries`` how often handed out.

    ``mark`` is for jobs of lines: limited (to be dropped or buried), batch (first of one), or the entry of its first.
    """

    id: bytes
    token: bytes
    body: bytes | None
    deliveries: int
    mark: bytes = b""


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
    epoch: bytes = b"0"


class Promoted(NamedTuple):
    """Reply of promote."""

    now_ms: int
    promoted: int
    next_due_ms: int
    turn: bytes
    left: int


class Offer(NamedTuple):
    """Reply of take. ``alarm_ms`` -1: nothing opens by time; ``rules`` None: those of the epoch asked with hold."""

    fetched: Fetched
    alarm_ms: int
    epoch: bytes
    rules: dict[bytes, bytes] | None
    walk: list[Took]


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
        self.knows_lines: bool = False
        """Whether the queue has limits or lines. The builds of the verbs that know of them cost a little more."""
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
        self._take = (*self._fetch, keys.dead, keys.dead_index, *keys.flow)

    def fetch(self, want: int, order: bytes = b"01234") -> Command:
        """Take up to ``want`` jobs, lanes in ``order`` (fetch.lua; made by `LaneOrder`)."""
        return script("fetch").call(self._fetch, _PROTOCOL, self.consumer, want, order)

    def take(self, want: int, order: bytes, free: int, places: int, epoch: bytes) -> Command:
        """Take up to ``want`` jobs of lanes and of lines whose gates are open; ``free`` of ``places`` are the worker's."""
        return script("take").call(
            self._take, _PROTOCOL, self.consumer, want, order, free, places, epoch
        )  # fmt: skip

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
        if not self.knows_lines:
            self.knows_lines = any(b"|" in item.token or item.verb == b"v" for item in items)
        if self.knows_lines:
            return lines_script("settle").call([*self._settle, *keys.flow, *records], *args)
        return script("settle").call([*self._settle, *records], *args)

    def tick(self, said: TickInput) -> Command:
        """Beat, sweep and ask what is due."""
        return self._build("tick").call(
            (*self._tick, *self._more), _PROTOCOL, self.consumer, said.heartbeat, said.lease_ms, said.free, said.max_stalls,
            said.suspects, said.rest_ms, int(said.sweep), self._settings.window_age_ms,
        )  # fmt: skip

    def promote(self, limit: int = 200) -> Command:
        """Move due jobs to their lanes; 200 a call take about half a millisecond of the server."""
        return self._build("promote").call((*self._promote, *self._more), _PROTOCOL, self.consumer, limit)

    def unpark(self, want: int, names: Sequence[str]) -> Command:
        """Take parked jobs of these names."""
        keys = self.keys
        head = (keys.meta, keys.index, keys.taken, keys.bodies, keys.parked, *keys.flow)
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

    @property
    def _more(self) -> tuple[bytes, ...]:
        return self.keys.flow if self.knows_lines else ()

    def _build(self, verb: str) -> Script:
        return lines_script(verb) if self.knows_lines else script(verb)

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


def read_offer(reply: Reply, epoch: bytes) -> Offer:
    """Read the reply of take, asked with ``epoch``."""
    now_ms = int(reply[0])
    walk = [
        Took(int(lane), count, max(0, now_ms - int(since)) / 1000)
        for lane, count, since in zip(*[iter(reply[6])] * 3, strict=True)
    ]
    rules = None if reply[4] == epoch else dict(zip(reply[5][::2], reply[5][1::2], strict=True))
    fetched = read_fetched([*reply[:3], *reply[7:]])
    return Offer(fetched, int(reply[3]), reply[4], rules, walk)


def read_walk(reply: Reply) -> tuple[int, list[Took]]:
    """Read from the reply of fetch how many jobs were adopted, and what the walk over the lanes gave, in its order."""
    now_ms = int(reply[0])
    walk: list[Took] = []
    for at in range(3, len(reply), 2):
        entries = reply[at + 1]
        walk.append(Took(int(reply[at]), len(entries), (now_ms - int(entries[0][0].split(b"-")[0])) / 1000))
    return len(reply[2]), walk


def read_ticked(reply: Reply) -> Ticked:
    """Read the reply of tick."""
    now, due, turn, pending, parked, paused, stalled, marks, waiting, epoch = reply
    jobs = [_claimed(one) for one in stalled]
    return Ticked(int(now), _ms(due), turn, pending, parked, bool(paused), jobs, list(marks), bool(waiting), epoch)


def read_promoted(reply: Reply) -> Promoted:
    """Read the reply of promote."""
    return Promoted(int(reply[0]), reply[1], _ms(reply[2]), reply[3], reply[4])


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
    lane, entry, fields, token, count, *mark = one
    found = {fields[at]: fields[at + 1] for at in range(0, len(fields) - 1, 2)}
    job, body = found.get(b"j"), found.get(b"d")
    if job is None or body is None or not _is_id(job):
        return Taken(b"raw-%b%b" % (lane, entry), token, None, count)
    return Taken(job, token, body, count, mark[0] if mark else b"")


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
