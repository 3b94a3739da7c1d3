"""What people do to a queue while it runs: pause, block, drain, clean, and ask why a job waits."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from . import verify as _verify
from ._core import checkup, condition, gates, names, units
from ._core import envelope as _wire
from ._core import rules as _rules
from ._core.condition import Condition
from ._core.envelope import Record
from ._core.lifecycle import JobState
from ._core.rules import Rule
from ._core.stats import By, Stats, checked_by, checked_window
from ._core.units import Seconds, from_ms
from ._store import checkup as _checkup
from ._store import desk, inspector, statistics
from ._store import limits as _store
from ._store.session import Store
from .dlq import DeadLetters
from .errors import ConfigError
from .events import Notices
from .explain import Explanation, explained
from .grouping import DeadGroups, dead_groups
from .limits import Deduplication, Limits, person
from .verify import Recovery, Verification


class Block:
    """A block in force.

    id: to release it by. name: handler, tenant, where (as text): which jobs it holds. reason, by, created_at: why, who,
    when. held: jobs in line for it when it was looked at.
    """

    __slots__ = ("_home", "by", "created_at", "held", "id", "name", "reason", "tenant", "where")

    def __init__(self, home: Controls, block_id: str, rule: Rule, held: int) -> None:
        self._home = home
        self.id: str = block_id
        self.name: str | None = rule.names[0] if rule.names else None
        self.tenant: str | None = rule.tenant
        self.where: str = "" if rule.where is None else str(condition.from_wire(rule.where))
        self.reason: str = rule.reason
        self.by: str = rule.by
        self.created_at: datetime = from_ms(rule.at_ms)
        self.held: int = held

    def __repr__(self) -> str:
        """What it holds."""
        parts = [f"{option}={value!r}" for option, value in (("name", self.name), ("tenant", self.tenant)) if value]
        return f"<Block {self.id} {' '.join([*parts, self.where])}>"

    async def release(self) -> bool:
        """Let go on what it holds, in order; True if it was still in force."""
        return await self._home.unblock(self.id)


class Server(msgspec.Struct, frozen=True):
    """A server: kind and version, what was looked at, what INFO says, and how long an answer takes (ms)."""

    title: str
    checks: Sequence[checkup.Check]
    info: Mapping[str, str]
    ping_p50: float
    ping_p99: float


class Controls(ABC):
    """The controls of a queue."""

    name: str
    result_ttl: float
    dlq: DeadLetters

    def __init__(self) -> None:
        self.notices: Notices = Notices(self)
        self.limits: Limits = Limits(self)
        self.dedup: Deduplication = Deduplication(self)

    @abstractmethod
    async def stores(self) -> Sequence[Store]:
        """Return the partitions. Not for applications."""

    async def _partition(self) -> Store:
        return (await self.stores())[0]

    # -- pause and block ----------------------------------------------------------------------------

    async def pause(self, *, group: str | None = None, handler: str | None = None, reason: str = "") -> bool:
        """Hand out no more jobs: of this queue, of a group or of a handler; True if that is news.

        Exact, anywhere, from the moment this returns: jobs are handed out by one script that looks at the flag.
        Attempts fetched before go on, among them the few a saturated worker holds ready (at most a tenth of its
        concurrency and what ends within a millisecond). A paused job keeps its place; its ``expires_in`` goes on.
        """
        gate = _gate(group, handler)
        if gate is None:
            changed = await desk.pause(await self._partition(), reason)
        else:
            changed = await self.limits.pause(gate, reason=reason)
        if changed:
            self.notices.note("paused", reason=reason, group=group, handler=handler)
        return changed

    async def resume(self, *, group: str | None = None, handler: str | None = None) -> bool:
        """Hand out jobs again; True if the queue, the group or the handler was paused. Limits go on to hold."""
        gate = _gate(group, handler)
        changed = await desk.resume(await self._partition()) if gate is None else await self.limits.resume(gate)
        if changed:
            self.notices.note("resumed", group=group, handler=handler)
        return changed

    async def block(
        self,
        *,
        name: str | None = None,
        tenant: str | None = None,
        where: Condition | None = None,
        reason: str = "",
        by: str = "",
    ) -> Block:
        """Hold the jobs that fit all that is given (``name`` of a handler), until the block is released.

        ``where``: a condition on the arguments, such as ``Arg("country") == "GR"``. Held jobs are not dropped: they
        wait in line, in their order, and go on when the block is released. Jobs that run go on. No job that is handed
        out after this returned begins if it fits.
        """
        if name is None and tenant is None and where is None:
            raise ConfigError("block", None, "give name=, tenant= or where=; to hold everything pause the queue")
        wire = None if where is None else condition.to_wire(condition.checked("where", where))
        rule = Rule(
            () if name is None else (names.checked("name", name),),
            None if tenant is None else names.checked_text("tenant", tenant),
            wire,
            by or person(),
            reason,
            time.time_ns() // 1_000_000,
        )
        block_id = secrets.token_hex(4)
        for store in await self.stores():
            said = {"x": 1, "why": reason} if reason else {"x": 1}
            await _store.override(store, f"x.{block_id}", said, by=rule.by, rule=_rules.encode(rule))
        return Block(self, block_id, rule, 0)

    async def unblock(self, block_id: str) -> bool:
        """Release a block: what it held goes on, in order; True if there was one."""
        found = False
        for store in await self.stores():
            found = await _store.clear(store, f"x.{names.checked('block_id', block_id)}", by=person()) or found
        return found

    async def blocks(self) -> list[Block]:
        """Return the blocks in force, the oldest first."""
        store = await self._partition()
        found = {gate.decode()[2:]: data for gate, data in (await _store.rules(store)).items() if gate[:2] == b"x."}
        seen = await _store.explain(store, "", [f"x.{one}" for one in found])
        held = {gate.gate[2:]: gate.waiting for gate in seen.gates}
        return sorted((Block(self, one, _readable(data), held[one]) for one, data in found.items()), key=_age)

    async def stats(self, window: str | Seconds = "1h", *, by: By | None = None) -> Stats:
        """Return what happened in the last ``window``, by the minute: "90m", seconds or a timedelta, a minute to a day.

        by: "name" for a row a handler, "tenant" for a row a tenant (in steps of ten minutes then), None for one row.
        Counted by the server with each job that arrives or ends, so exact over all processes. A hundred handlers, and
        as many tenants in ten minutes, are told apart; the rest is "other". Bounded reads.
        """
        return await statistics.recent(await self._partition(), checked_window(window), checked_by(by))

    async def explain(self, job_id: str) -> Explanation:
        """Return why a job is where it is: its line, its place in it, and what each of its gates says."""
        store = await self._partition()
        found = await desk.look(store, names.checked_text("job_id", job_id))
        return explained(job_id, found, await _store.explain(store, job_id, [gates.QUEUE]), await desk.counts(store))

    async def dead_groups(self, *, most: int = 10_000, seconds: float = 0.12) -> DeadGroups:
        """Return the dead letters by what they died of: handler, type of the error, its message but for numbers.

        Counts are exact: kept by the server with each letter that comes or goes, for a thousand groups; the rest is
        one. What those of a group share is told by the newest ``most`` letters, as far as ``seconds`` suffice.
        """
        return await dead_groups(await self._partition(), most=most, seconds=seconds)

    async def server(self, *, pings: int = 10) -> Server:
        """Return what the server says of itself, judged: what is well, what to change and how."""
        facts = await _checkup.server_facts(await self._partition(), pings=pings)
        return Server(facts.title, tuple(checkup.server(facts)), facts.info, facts.ping_p50, facts.ping_p99)

    # -- verify and recover -------------------------------------------------------------------------

    async def verify(self, *, limit: int | None = None, examples: int = 5) -> Verification:
        """Look at everything the queue keeps, page by page while it goes on, and say what is damaged. Reads only.

        limit: most things of each sort to look at (None: all). examples: of each kind of damage.
        """
        return await _verify.verify(await self.stores(), limit=_limit(limit), examples=examples)

    async def recover(self, *, apply: bool = False, limit: int | None = None) -> Recovery:
        """Mend what `verify` finds; without ``apply`` say what would be done. Safe while workers run, and twice.

        No job that still has its envelope is dropped: it waits again, and may run a second time. limit: as in `verify`.
        Raises `VersionMismatch` for a queue of another protocol.
        """
        return await _verify.recover(await self.stores(), apply=apply, limit=_limit(limit))

    # -- drain and clean ----------------------------------------------------------------------------

    async def drain(self, *, include_delayed: bool = False) -> int:
        """Remove what waits and has not started (BullMQ's meaning); returns how many. Running jobs go on."""
        store = await self._partition()
        total = 0
        readers = [inspector.in_lanes, inspector.in_lines, inspector.parked]
        readers += [inspector.delayed] if include_delayed else []
        record = _wire.encode(
            Record(state=str(JobState.CANCELLED), reason="drained", finished_ms=time.time_ns() // 1_000_000)
        )
        for reader in readers:
            cursor = ""
            while True:
                page = await reader(store, cursor, 200)
                ids = [seen.id for seen in page.jobs]
                removed = 0
                if ids:
                    answers = await desk.cancel(store, ids, record, result_ms=int(self.result_ttl * 1000), ask=False)
                    removed = answers.count("c")
                    for job_id, answer in zip(ids, answers, strict=True):
                        if answer == "c":
                            self.notices.note("cancelled", job_id, reason="drained")
                total += removed
                # What was removed is gone from the front; only rank cursors must not move past what slid down.
                cursor = page.cursor if reader is inspector.in_lanes or not removed else ""
                if not page.jobs or (not page.cursor and (reader is inspector.in_lanes or not removed)):
                    break
        return total

    async def clean(self, state: JobState | str, *, older_than: Seconds | None = None) -> int:
        """Forget finished jobs: "dead" (dead letters) or "completed" (the window); returns how many."""
        wanted = JobState(state)
        if wanted is JobState.DEAD:
            return await self.dlq.purge(older_than=older_than)
        if wanted is JobState.COMPLETED:
            age = 0 if older_than is None else units.millis("older_than", older_than)
            return await desk.clean_window(await self._partition(), age)
        raise ConfigError(
            "state", str(state), 'clean takes "completed" or "dead"; cancelled and expired leave by result_ttl'
        )


def _limit(limit: int | None) -> int:
    if limit is not None and limit < 1:
        raise ConfigError("limit", limit, "give a whole number from 1, or None for all")
    return limit or 0


def _gate(group: str | None, handler: str | None) -> str | None:
    if group is not None and handler is not None:
        raise ConfigError("group", group, "give group= or handler=, not both")
    if handler is not None:
        return gates.handler(names.checked("handler", handler))
    return None if group is None else f"g:{gates.checked('group', group)}"


def _readable(data: bytes) -> Rule:
    """Return a rule; of one that a newer version wrote, that it cannot be read: it has to be seen to be released."""
    try:
        rule = _rules.decode(data)
        if rule.where is not None:
            condition.from_wire(rule.where)
    except (msgspec.DecodeError, ConfigError):
        return Rule(reason="this version cannot read what it holds")
    return rule


def _age(block: Block) -> datetime:
    return block.created_at
