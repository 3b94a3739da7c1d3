"""Dead letters by what they died of: counted by the server, with examples from a bounded look."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

import msgspec

from ._core import envelope as _wire
from ._core import fingerprint
from ._core.fingerprint import HALF_HOURS, OTHER, Death, Found, Grouping
from ._core.units import from_ms
from ._store import deaths, inspector
from ._store.deaths import Count
from ._store.inspector import Seen
from ._store.session import Store

PAGE = 500
MOST = 10_000
"""Letters looked at in one go, and in all."""

FIELDS = 10
"""Payload fields that shares are told of; longer values than `TEXT` tell nothing."""

TEXT = 60

OTHERS = ("other", "errors beyond the first thousand, which are not told apart")
"""Type and message of the group of those."""


class DeadGroup(msgspec.Struct, frozen=True):
    """Dead letters of one error. ``key`` names the group; in ``message`` words such as N and ID stand for what varies.

    count: how many there are, exactly. first_at: when the first died since there were none. newest_id: '' if that
    letter was put back or purged and no other was met. By the letters that were looked at: half_hours, deaths in each
    of the last 48, oldest first; shares, of "release", "tenant", "worker" and those "payload." fields that are alike in
    nearly all, the commonest values with counts, by the newest ``shared`` letters.
    """

    key: str
    name: str
    type: str
    message: str
    count: int
    first_at: datetime
    newest_at: datetime
    newest_id: str
    half_hours: Sequence[int]
    shares: Mapping[str, Sequence[tuple[str, int]]]
    shared: int


class DeadGroups(msgspec.Struct, frozen=True):
    """Dead letters by error, the largest group first; counted by the server with each that comes and goes.

    total: how many there are. looked_at: letters that were read for shares and half hours; all there are if ``whole``.
    as_of: the moment of the counts. exact: False while ``recover`` counts anew.
    """

    groups: Sequence[DeadGroup]
    looked_at: int
    total: int
    whole: bool
    as_of: datetime
    exact: bool = True


async def dead_groups(store: Store, *, most: int = MOST, seconds: float = 0.12) -> DeadGroups:
    """Return the groups, and what the newest letters have in common: at most ``most``, no page after ``seconds``."""
    counted = await deaths.deaths(store)
    grouping = Grouping(counted.now_ms)
    started, cursor, looked, whole = time.perf_counter(), "", 0, not counted.letters
    while looked < most and not whole and (looked == 0 or time.perf_counter() - started < seconds):
        page = await inspector.dead(store, cursor, min(PAGE, most - looked))
        for seen in page.jobs:
            grouping.add(_death(seen))
        looked += len(page.jobs)
        cursor = page.cursor
        whole = not cursor
    found = grouping.found()
    unmet = {one.newest_id: label for label, one in counted.labels.items() if label not in found}
    there = await deaths.are_dead(store, list(unmet))
    gone = {label for label, is_there in zip(unmet.values(), there, strict=True) if not is_there}
    groups = [_group(label, one, found.get(label), is_gone=label in gone) for label, one in counted.labels.items()]
    groups.sort(key=lambda one: (-one.count, -one.newest_at.timestamp(), one.key))
    return DeadGroups(groups, looked, counted.letters, whole, from_ms(counted.now_ms), counted.exact)


def _death(seen: Seen) -> Death:
    try:
        envelope = _wire.decode(seen.body)
    except _wire.MALFORMED:
        return Death(seen.label, seen.since_ms, seen.id, "", seen.consumer, "", dict)
    last = envelope.errors[-1] if envelope.errors else None

    def fields() -> dict[str, str]:
        return _fields(envelope.args)

    worker = (last.worker if last else "") or seen.consumer
    release = last.release if last else ""
    return Death(seen.label, seen.since_ms, seen.id, envelope.tenant or "", worker, release, fields)


def _fields(args: msgspec.Raw) -> dict[str, str]:
    try:
        found = _wire.plain(args)
    except _wire.MALFORMED:
        return {}
    if not isinstance(found, dict):
        return {}
    pairs = list(cast("dict[object, object]", found).items())[:FIELDS]
    return {
        f"payload.{name}": str(value)
        for name, value in pairs
        if isinstance(value, str | int | bool) and len(str(value)) <= TEXT
    }


def _group(label: bytes, counted: Count, found: Found | None, *, is_gone: bool) -> DeadGroup:
    name, kind, message = ("", *OTHERS) if label == OTHER else fingerprint.parted(label)
    newest_ms, newest_id = counted.newest_ms, "" if is_gone else counted.newest_id
    half_hours, shares, shared = (0,) * HALF_HOURS, dict[str, list[tuple[str, int]]](), 0
    if found is not None:
        newest_ms, newest_id, half_hours, shares, shared = found
    return DeadGroup(
        fingerprint.key(label), name, kind, message, counted.number, from_ms(counted.first_ms), from_ms(newest_ms),
        newest_id, half_hours, shares, shared,
    )  # fmt: skip
