"""Whether a queue is sound, and how it is mended: looks at everything it keeps while it goes on."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ._core.damage import KINDS, Damage, text
from ._store.audit import Audit, Seen
from ._store.session import Store
from .errors import VersionMismatch

log: Final = logging.getLogger("streamq")

PASSES = 6
"""Walks of one recovery: what is mended may bring other damage to light. A busy queue may need one more."""


class Finding(msgspec.Struct, frozen=True):
    """Damage of one kind: how many things have it, some of them, and what recover does ('': nothing).

    jobs: ids of jobs of which nothing is left that could run, as far as ``examples`` go.
    """

    kind: str
    means: str
    mends: str
    count: int
    examples: Sequence[str]
    jobs: Sequence[str] = ()


class Verification(msgspec.Struct, frozen=True):
    """What ``queue.verify()`` found. ``sound``: nothing.

    looked_at: things of each sort. notes: what was not looked at to the end, in words. took: seconds.
    """

    queue: str
    sound: bool
    findings: Sequence[Finding]
    looked_at: Mapping[str, int]
    notes: Sequence[str]
    took: float


class Repair(msgspec.Struct, frozen=True):
    """One thing that was mended (``outcome`` "mended"), or without ``apply`` would be ("would")."""

    kind: str
    job: str
    detail: str
    mends: str
    outcome: str


class Recovery(msgspec.Struct, frozen=True):
    """What ``queue.recover()`` did. ``left``: what it cannot mend, or did not get done on a busy queue.

    applied: whether anything was to be changed. lost: ids of jobs of which nothing is left that could run; they are
    told as dead letters where there was a row. took: seconds.
    """

    queue: str
    applied: bool
    repairs: Sequence[Repair]
    lost: Sequence[str]
    left: Sequence[Finding]
    took: float


async def verify(stores: Sequence[Store], *, limit: int, examples: int) -> Verification:
    """Look at everything; see ``Queue.verify``."""
    started = time.perf_counter()
    found, looked, notes = _Found(examples), Counter[str](), list[str]()
    for store in stores:
        audit = Audit(store, limit=limit)
        try:
            async for page in audit.damages():
                for seen in page:
                    found.add(seen)
        except VersionMismatch as problem:
            said = f"protocol {problem.found}, this streamq speaks {problem.ours}"
            found.add(Seen(b"", b"", Damage("protocol", "", b"", said)))
        looked.update(audit.looked)
        notes += audit.notes
    findings = found.findings()
    took = time.perf_counter() - started
    return Verification(stores[0].queue, not findings, findings, dict(looked), notes, took)


async def recover(stores: Sequence[Store], *, apply: bool, limit: int) -> Recovery:
    """Mend what can be mended; see ``Queue.recover``."""
    started = time.perf_counter()
    repairs: list[Repair] = []
    lost: dict[str, None] = {}
    left = _Found(5)
    for store in stores:
        for number in range(PASSES):
            acts, found = apply and number < PASSES - 1, _Found(5)
            done = await _pass(Audit(store, limit=limit), found, lost, apply=acts)
            if acts or not apply:
                repairs += [one for one in done if one.outcome != "moved"]
            if not (acts and done):
                left.join(found)
                break
    return Recovery(stores[0].queue, apply, repairs, list(lost), left.findings(), time.perf_counter() - started)


async def _pass(audit: Audit, found: _Found, lost: dict[str, None], *, apply: bool) -> list[Repair]:
    """Walk once; mend page by page if asked to. Raises `VersionMismatch`: nobody mends what he cannot read."""
    done: list[Repair] = []
    async for page in audit.damages():
        new = [seen for seen in page if (apply and seen.damage.mend) or found.add(seen)]
        mendable = [seen for seen in new if seen.damage.mend]
        answers = [False] * len(mendable)
        if apply and mendable:
            answers = await _mended(audit, mendable)
        for seen, answer in zip(mendable, answers, strict=True):
            repair = _told(seen, ("mended" if answer else "moved") if apply else "would")
            done.append(repair)
            if seen.damage.loses and (answer or not apply):
                lost[repair.job] = None
            if answer:
                log.info("recovered", extra=_said(audit.queue, repair))
    return done


async def _mended(audit: Audit, found: Sequence[Seen]) -> list[bool]:
    if found[0].damage.mend == "slots":
        await audit.mend_slots()
        return [True] * len(found)
    if found[0].damage.mend == "deaths":
        await audit.recount()
        return [True]
    return await audit.mend(found)


def _told(seen: Seen, outcome: str) -> Repair:
    damage = seen.damage
    return Repair(damage.kind, text(damage.job), damage.detail, KINDS[damage.kind].mends, outcome)


def _said(queue: str, repair: Repair) -> dict[str, str]:
    said = {"event": "recovered", "queue": queue, "kind": repair.kind, "detail": repair.detail}
    return {**said, "job_id": repair.job} if repair.job else said


class _Found:
    """Damages by kind, with some examples of each."""

    def __init__(self, examples: int) -> None:
        self._most = examples
        self.counts: Counter[str] = Counter()
        self.some: dict[str, list[Damage]] = {}
        self._known: set[tuple[str, bytes]] = set()

    def add(self, seen: Seen) -> bool:
        """Count a damage; False if it was seen already: the walk comes by some things twice."""
        damage = seen.damage
        key = (damage.kind, seen.thing or damage.detail.encode())
        if key in self._known:
            return False
        self._known.add(key)
        self.counts[damage.kind] += 1
        some = self.some.setdefault(damage.kind, [])
        if len(some) < self._most:
            some.append(damage)
        return True

    def join(self, other: _Found) -> None:
        self.counts.update(other.counts)
        for kind, some in other.some.items():
            self.some.setdefault(kind, []).extend(some)

    def findings(self) -> list[Finding]:
        order = [kind for kind in KINDS if self.counts[kind]]
        return [self._finding(kind) for kind in order]

    def _finding(self, kind: str) -> Finding:
        some, row = self.some[kind], KINDS[kind]
        lost = [text(one.job) for one in some if one.loses]
        return Finding(kind, row.means, row.mends, self.counts[kind], [_example(one) for one in some], lost)


def _example(damage: Damage) -> str:
    parts = (f"job {text(damage.job)}" if damage.job else "", damage.detail)
    return ": ".join(part for part in parts if part) or "the queue"
