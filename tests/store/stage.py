"""The protocol without loops: producers and workers as hands that call the verbs one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from streamq._core.flow import Flow
from streamq._store import limits, lines, replies
from streamq._store.dial import open_link
from streamq._store.link import Command, Reply, ReplyError
from streamq._store.replies import Fetched, Offer, Promoted, Taken, Ticked
from streamq._store.scripts import PROTOCOL, lines_script, script
from streamq._store.session import Store
from streamq._store.verbs import Item, Settings, TickInput, WorkerVerbs
from tests.servers import Server
from tests.store import snapshot
from tests.store.snapshot import Snapshot

Job = tuple[str, str, str]
"""Id, lane ('2', or '2c' for a custom id), when ('0', '+ms', '@ms')."""


class Lined(NamedTuple):
    """A job with a `Flow`, or one that is enqueued together with such jobs. ``body``: None is the usual one."""

    id: str
    flow: Flow | None
    lane: str = "2"
    when: str = "0"
    expires_ms: int = 0
    body: bytes | None = None


ODD_IDS = (
    "a:b|c,d 'e' \"f\"",
    "é€😀",
    "{q:0}",
    "~",
    "!",
    "-",
    "0",
    "$",
    "raw-2",
    "%s%d%%",
    "[*?]",
    "x" * 200,
)
"""Ids that would break a protocol which built or parsed strings carelessly. All pass the door."""


def now_ms() -> int:
    """The clock of this machine."""
    return time.time_ns() // 1_000_000


class Refusal(Exception):
    """The server answered with an error."""


class Stage:
    """One queue partition on a server."""

    def __init__(self, server: Server, prefix: str, *, window: int = 1000, result_ms: int = 60_000) -> None:
        self.server = server
        self.store = Store(server.url, prefix, "q")
        self.keys = self.store.keys
        self.settings = Settings(result_ms=result_ms, window=window, window_age_ms=0)
        self.link = open_link(server.url, "stage")
        self._seq: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        await self.link.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.link.close()
        await self.store.session().aclose()

    async def call(self, command: Command) -> Reply:
        """Return the reply; an error reply is raised."""
        reply = await self.link.call(*command)
        if isinstance(reply, ReplyError):
            raise Refusal(f"{reply.code} {reply.text}")
        return reply

    def hand(self, name: str = "w1", *, window: int | None = None) -> Hand:
        """Return a worker's hand."""
        settings = self.settings
        if window is not None:
            settings = Settings(settings.result_ms, window, settings.window_age_ms)
        return Hand(self, name, settings)

    # -- producing --------------------------------------------------------------------------------------

    def enqueue_command(
        self,
        jobs: Sequence[Job],
        *,
        producer: str = "p",
        seq: int = 1,
        max_pending: int = 0,
        protocol: int = PROTOCOL,
        counted: bytes = b"",
    ) -> Command:
        """Return the call for a batch; the envelope of a job is its id."""
        keys = self.keys
        head = [
            keys.meta, keys.index, *keys.lanes, keys.delayed, keys.bodies, keys.dead_index, keys.bell,
            keys.producer_memo(producer.encode()), keys.counters, keys.minutes(now_ms()),
            *(keys.record(job) for job, lane, _ in jobs if lane.endswith("c")),
        ]  # fmt: skip
        flat = [part for job, lane, when in jobs for part in (job, lane, when, body_of(job))]
        return script("enqueue").call(head, protocol, seq, 600_000, max_pending, keys.control, counted, *flat)

    async def enqueue(self, *jobs: str | Job, producer: str = "p", **options: Any) -> dict[int, str]:
        """Enqueue jobs under the next sequence number; returns the refusals by position, from 0."""
        seq = options.pop("seq", None)
        if seq is None:
            seq = self._seq[producer] = self._seq.get(producer, 0) + 1
        whole = [(job, "2", "0") if isinstance(job, str) else job for job in jobs]
        return refusals(await self.call(self.enqueue_command(whole, producer=producer, seq=seq, **options)))

    def lines_command(
        self,
        jobs: Sequence[Lined],
        *,
        producer: str = "p",
        seq: int = 1,
        max_pending: int = 0,
        counted: bytes = b"",
    ) -> Command:
        """Return the call for a batch with jobs that wait in lines."""
        keys = self.keys
        head = [
            keys.meta, keys.index, *keys.lanes, keys.delayed, keys.bodies, keys.dead_index, keys.bell,
            keys.producer_memo(producer.encode()), keys.counters, keys.minutes(now_ms()), *keys.flow,
            *(keys.record(job.id) for job in jobs if job.lane.endswith("c")),
        ]  # fmt: skip
        flat: list[str | bytes] = []
        for job, flow, lane, when, expires_ms, body in jobs:
            flat += [job, lane, when, body_of(job) if body is None else body]
            flat += [lines.record(flow, int(lane[0]), expires_ms), lines.dedup(flow.dedup if flow else None)]
        return lines_script("enqueue").call(head, PROTOCOL, seq, 600_000, max_pending, keys.control, counted, *flat)

    async def line_up(self, *jobs: Lined, producer: str = "p", **options: Any) -> dict[int, str]:
        """Enqueue jobs that wait in lines under the next sequence number; returns the refusals by position, from 0."""
        seq = self._seq[producer] = self._seq.get(producer, 0) + 1
        return refusals(await self.call(self.lines_command(jobs, producer=producer, seq=seq, **options)))

    # -- limits -----------------------------------------------------------------------------------------

    async def set(self, gate: str, *, rule: bytes = b"", **options: object) -> bool:
        """Set options of a gate or class by their short names (`GateConfig`); whether that changed something."""
        return await limits.override(self.store, gate, options, by="test", rule=rule)

    async def clear(self, gate: str) -> bool:
        """Take an override and a rule away."""
        return await limits.clear(self.store, gate, by="test")

    async def shut(self, gate: str, ms: int) -> None:
        """Shut a gate for a time."""
        await limits.shut(self.store, gate, ms, by="test")

    async def declare(self, digest: str, gates: Mapping[str, dict[str, Any] | bool]) -> bool:
        """Declare limits as a worker does; whether that changed something."""
        return (await limits.declare(self.store, digest, gates, "test"))[0]

    # -- looking ----------------------------------------------------------------------------------------

    def look(self) -> Snapshot:
        """Return what there is, after a check that it hangs together."""
        return snapshot.check(self.server, self.keys)

    def take(self) -> Snapshot:
        """Return what there is, unchecked: for states that foreign hands have spoilt."""
        return snapshot.take(self.server, self.keys)

    def age(self, *tokens: bytes, ms: int = 60_000) -> None:
        """Make the leases of these tokens as old as if their worker had vanished ``ms`` ago."""
        for token in tokens:
            key, entry = self.stream(token), entry_of(token)
            owner = snapshot.pending_of(self.server, key)[entry.decode()][0]
            self.server.command("XCLAIM", key, "w", owner, 0, entry, "IDLE", ms, "JUSTID")

    def stream(self, token: bytes) -> bytes:
        """Return the stream of a token."""
        lane = token[:1]
        return self.keys.taken if lane == b"t" else self.keys.lanes[int(lane)]

    def spoil(self, key: bytes) -> None:
        """Put a key of another type in the way."""
        self.server.command("DEL", key)
        self.server.command("SADD", key, "foreign")


class Hand:
    """One worker's hand: calls its verbs, remembers its sequence number."""

    def __init__(self, stage: Stage, name: str, settings: Settings) -> None:
        self.name = name
        self.verbs = WorkerVerbs(stage.keys, settings, name.encode())
        self.seq = 0
        self.epoch = b"0"
        self._stage = stage

    async def fetch(self, want: int = 500, order: bytes = b"01234") -> list[Taken]:
        """Take jobs."""
        return (await self.fetched(want, order)).jobs

    async def fetched(self, want: int = 500, order: bytes = b"01234") -> Fetched:
        """Take jobs; the whole reply."""
        return replies.read_fetched(await self._stage.call(self.verbs.fetch(want, order)))

    async def take(self, want: int = 500, **options: Any) -> list[Taken]:
        """Take jobs of lanes and lines, as a worker does on a queue with flow control."""
        return (await self.offered(want, **options)).fetched.jobs

    async def offered(self, want: int = 500, order: bytes = b"01234", *, free: int = 500, places: int = 500) -> Offer:
        """Take jobs of lanes and lines; the whole reply."""
        self.verbs.knows_lines = True
        reply = await self._stage.call(self.verbs.take(want, order, free, places, self.epoch))
        offer = replies.read_offer(reply, self.epoch)
        self.epoch = offer.epoch
        return offer

    async def one(self) -> Taken:
        """Take one job; there must be one."""
        jobs = await self.fetch(1)
        assert len(jobs) == 1
        return jobs[0]

    async def settle(self, *items: Item) -> str:
        """Settle a batch under the next sequence number; returns the answers."""
        self.seq += 1
        return await self.again(*items)

    async def again(self, *items: Item) -> str:
        """Send a batch under the same sequence number again."""
        reply: bytes = await self._stage.call(self.verbs.settle(self.seq, items))
        return reply.decode()

    async def tick(
        self, *, lease_ms: int = 15_000, free: int = 100, max_stalls: int = 2, suspects: int = 1, sweep: bool = True
    ) -> Ticked:
        """Tick; sweeps although the last sweep was a moment ago."""
        self._stage.server.command("HDEL", self._stage.keys.meta, "swept")
        said = TickInput(b"beat", lease_ms, free, max_stalls, suspects, sweep)
        return replies.read_ticked(await self._stage.call(self.verbs.tick(said)))

    async def renew(self, *jobs: Taken) -> str:
        """Renew leases; returns the answers."""
        reply: bytes = await self._stage.call(self.verbs.renew([(job.id, job.token) for job in jobs]))
        return reply.decode()

    async def promote(self, limit: int = 200) -> Promoted:
        """Promote what is due."""
        return replies.read_promoted(await self._stage.call(self.verbs.promote(limit)))

    async def unpark(self, *names: str, want: int = 500, suspects: int = 1) -> list[Taken]:
        """Take parked jobs of these names."""
        return replies.read_unparked(await self._stage.call(self.verbs.unpark(want, names, suspects)))

    async def own_pending(self) -> set[bytes]:
        """List own pending entries."""
        return replies.read_own_pending(await self._stage.call(self.verbs.own_pending()))

    async def adopt(self, *places: bytes) -> list[Taken]:
        """Adopt ghosts."""
        return replies.read_adopted(await self._stage.call(self.verbs.adopt(places)))

    async def leave(self) -> int:
        """Leave; returns what is still held."""
        return int(await self._stage.call(self.verbs.leave()))


# -- settlements ----------------------------------------------------------------------------------------


def completed(job: Taken, record: bytes | None = None, at_ms: int = 1) -> Item:
    """The handler returned."""
    verb = b"c" if record is None else b"C"
    return Item(verb, job.id, job.token, (b"%d 1 5 send" % at_ms,), record)


def retried(job: Taken, when: str = "+60000", lane: int = 2, counter: str = "retried") -> Item:
    """Back among the delayed."""
    return Item(b"r", job.id, job.token, (when, lane, b"again:" + job.id, counter))


def buried(job: Taken, reason: str = "attempts exhausted", *, failed: bool = True, label: bytes = b"") -> Item:
    """To the dead letters; of one of five errors, by the id, if no label is given."""
    label = label or b"send\0Error%d\0no" % (sum(job.id) % 5)
    return Item(b"b", job.id, job.token, (reason, b"dead:" + job.id, int(failed), label), b"record:" + job.id)


def ended(job: Taken, state: str = "cancelled") -> Item:
    """Cancelled or expired."""
    return Item(b"e", job.id, job.token, (state,), b"record:" + job.id)


def released(job: Taken) -> Item:
    """Handed back."""
    return Item(b"u", job.id, job.token)


def parked(job: Taken, name: str = "send", lane: int = 2) -> Item:
    """Nobody here can run it."""
    return Item(b"p", job.id, job.token, (lane, name))


def raw(job: Taken, reason: str = "not a job", *, label: bytes = b"?\0not a job\0") -> Item:
    """No job of ours."""
    return Item(b"x", job.id, job.token, (reason, label))


def valued(job: Taken) -> Item:
    """The handler returned a value."""
    return completed(job, b"record")


def limited(job: Taken, gate: str, ms: int = 1000) -> Item:
    """Its provider said "too many"."""
    return Item(b"l", job.id, job.token, (ms, gate, b"again:" + job.id))


def diverted(job: Taken, flow: Flow, lane: int = 2) -> Item:
    """It needs gates that it was handed out without."""
    held = lines.held(job.token)
    if held is None:
        return Item(b"v", job.id, job.token, (lane, lines.record(flow, lane)))
    return Item(b"v", job.id, job.token, (lane, lines.replaced(held, gates=flow.gates, line=flow.line)))


Outcome = Callable[[Taken], Item]

EVERY_OUTCOME: dict[str, Outcome] = {
    "complete": completed,
    "complete with a value": valued,
    "retry": retried,
    "bury": buried,
    "end": ended,
    "release": released,
    "park": parked,
}
"""Each way to settle; `raw` has another fence."""


def body_of(job: str) -> bytes:
    """The envelope of a job in these tests."""
    return b"body of " + job.encode()


def entry_of(token: bytes) -> bytes:
    """The entry id of a token."""
    return token[1:].split(b":")[0]


def refusals(reply: bytes) -> dict[int, str]:
    """Refusals of an enqueue by position: 'reason:detail'."""
    _, _, listed = reply.decode().partition("|")
    found: dict[int, str] = {}
    for one in listed.split(",")[:-1]:
        position, _, why = one.partition(":")
        found[int(position) - 1] = why
    return found
