"""Looks at everything that a queue keeps while it goes on, and mends what is wrong: the verbs verify, slots, recover.

What is wrong is told by facts of one moment, so a job that moved meanwhile is no finding.
"""

from __future__ import annotations

from asyncio import sleep
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from .._core.damage import Damage, text
from .._core.verify import Slots, damages
from . import deaths, things
from .scripts import PROTOCOL, script
from .session import Store
from .things import PAGE, cut

MENDED_AT_ONCE = 50

COUNTED = 900
"""Jobs that one call of slots counts; of more it is only known that they are there."""

TRIES = 5
"""Counts of slots: jobs come and go between the page that names them and the count."""

PATIENCE = 5.0
"""Seconds after which what a silent worker holds is looked at once more: two heartbeats.

After a jump of the server's clock all who live look silent, until they beat again.
"""

LIFETIME_MS = 3_600_000
"""What a record or a memo gets that would live for ever."""


class Seen(NamedTuple):
    """A thing that is damaged, and the digest of the facts that show it."""

    thing: bytes
    digest: bytes
    damage: Damage


class Audit:
    """One walk over a queue. ``limit``: most things of a sort to look at, 0 for all.

    looked: how many things of each sort were looked at. notes: what was not looked at to the end, in words.
    """

    def __init__(self, store: Store, *, limit: int = 0) -> None:
        self.queue: str = store.queue
        self.looked: Counter[str] = Counter()
        self.notes: list[str] = []
        self._store = store
        self._limit = limit
        self._found: set[bytes] = set()

    async def damages(self) -> AsyncGenerator[list[Seen]]:
        """Yield what is wrong, page by page. Raises `VersionMismatch` for a queue of another protocol."""
        [books] = await things.facts(self._store, [b"n"])
        yield self._judged([b"n"], [books])
        doubted: list[bytes] = []
        for sort, pages in things.walk(self._store, bodies=bool(books[5]), details=bool(books[6])):
            if self._is_enough(sort):
                continue
            async with aclosing(pages):
                async for page in pages:
                    for some in cut(page, PAGE):
                        judged = self._judged(some, await things.facts(self._store, some))
                        doubted += [one.thing for one in judged if one.damage.kind == "pending-silent"]
                        yield [one for one in judged if one.damage.kind != "pending-silent"]
                    self.looked[sort] += len(page)
                    if self._is_enough(sort):
                        self.notes.append(f"{sort}: no more than {self._limit:,} were looked at")
                        break
        if doubted:
            await sleep(PATIENCE)
            for some in cut(doubted, PAGE):
                yield self._judged(some, await things.facts(self._store, some))
        async with aclosing(self._keys()) as found:
            async for seen in found:
                yield seen
        yield await self._deaths()
        yield await self._slots()

    async def mend(self, found: Sequence[Seen]) -> list[bool]:
        """Mend what is still as it was seen; whether it was."""
        answers: list[bool] = []
        for some in cut(found, MENDED_AT_ONCE):
            args: list[bytes | str] = []
            for one in some:
                args += (one.thing, one.digest, one.damage.mend)
            reply = await things.ask(self._store, "recover", [one.thing for one in some], LIFETIME_MS, *args)
            answers += [letter == "a" for letter in reply.decode()]
        return answers

    async def mend_slots(self) -> None:
        """Set what gates count to what is certain."""
        await self._count(1)

    async def recount(self) -> None:
        """Count anew what the dead letters died of."""
        await deaths.recount(self._store)

    def _judged(self, looked_at: Sequence[bytes], told: Sequence[Sequence[bytes]]) -> list[Seen]:
        seen = [
            Seen(thing, digest, damage)
            for thing, (digest, *facts) in zip(looked_at, told, strict=True)
            for damage in damages(thing, facts)
        ]
        self._found.update(one.damage.job for one in seen if one.damage.kind in ("row-wrong", "row-missing"))
        # Its row leads nowhere, but the job was found elsewhere.
        return [one for one in seen if one.damage.kind != "job-lost" or one.damage.job not in self._found]

    def _is_enough(self, sort: str) -> bool:
        return 0 < self._limit <= self.looked[sort]

    async def _keys(self) -> AsyncGenerator[list[Seen]]:
        known = things.ours()
        async with aclosing(things.names(self._store)) as pages:
            async for page in pages:
                mortal = [name[:1] + name[2:] for name in page if things.is_mortal(name)]
                for some in cut(mortal, PAGE):
                    yield self._judged(some, await things.facts(self._store, some))
                for name in page:
                    ours = name in known or things.is_mortal(name) or things.is_minutes(name)
                    if not ours and await self._is_there(name):
                        yield [Seen(b"", b"", Damage("key-unknown", "", b"", text(name)))]
                self.looked["keys"] += len(page)
                if self._is_enough("keys"):
                    self.notes.append(f"keys: no more than {self._limit:,} were looked at")
                    return

    async def _is_there(self, name: bytes) -> bool:
        return bool(await self._store.call((b"EXISTS", self._store.keys.base + name)))

    async def _deaths(self) -> list[Seen]:
        problem = (await deaths.deaths(self._store)).problem
        return [Seen(b"", b"", Damage("deaths-count", "deaths", b"", problem))] if problem else []

    async def _slots(self) -> list[Seen]:
        found: dict[tuple[str, str], Seen] = {}
        for tries_left in reversed(range(TRIES)):
            counted = await self._count(0)
            for one in counted:
                for damage in one.damages():
                    found[damage.kind, one.gate] = Seen(b"", b"", damage)
            unknown = counted[0].taken + counted[0].lined if counted else 0
            if not unknown:
                break
            if not tries_left:
                self.notes.append(f"limits: {unknown:,} jobs that run or wait were not counted")
        return list(found.values())

    async def _count(self, mend: int) -> list[Slots]:
        """Count who holds slots and who waits, as far as that can be done in one step."""
        keys = self._store.keys
        gates: set[bytes] = set()
        async for page in things.fields(self._store, b"HSCAN", keys.gates):
            gates.update(page)
        if not gates and not await self._store.call((b"EXISTS", keys.lines, keys.taken)):
            return []
        taken = await self._taken(COUNTED * 2 // 3)
        members = await self._store.call((b"ZRANGE", keys.lines, 0, COUNTED - len(taken) - 1))
        ids = [*taken, *{one[9:]: None for one in members if one[9:] not in taken}]
        found: list[Slots] = []
        for named in [*cut(sorted(gates - {b"q"}), 90)] or [[]]:
            head = (keys.meta, keys.index, keys.taken, *keys.flow)
            command = script("slots").call(head, PROTOCOL, mend, len(ids), *ids, *named)
            left, lined, *rows = await self._store.call(command)
            for name, used, running, waiting, in_line in rows:
                if name != b"q":
                    unknown = (max(0, left), max(0, lined))
                    found.append(Slots(text(name), used, running, waiting, in_line, *unknown))
        return found

    async def _taken(self, most: int) -> dict[bytes, None]:
        found: dict[bytes, None] = {}
        async with aclosing(things.stream(self._store, "t")) as pages:
            async for page in pages:
                found.update((job, None) for _, job in page[: most - len(found)] if job)
                if len(found) >= most:
                    break
        return found
