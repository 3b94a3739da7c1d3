"""Dead letters by what they died of, as far as a bounded look shows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

import msgspec

from ._core import envelope as _wire
from ._core.fingerprint import Death, Found, Grouping
from ._core.units import from_ms
from ._store import desk, inspector
from ._store.inspector import Seen
from ._store.session import Store

PAGE = 500
MOST = 10_000
"""Letters looked at in one go, and at a time."""

FIELDS = 10
"""Payload fields that shares are told of; longer values than `TEXT` tell nothing."""

TEXT = 60


class DeadGroup(msgspec.Struct, frozen=True):
    """Dead letters of one error. ``key`` names the group; in ``message`` words such as N and ID stand for what varies.

    half_hours: deaths in each of the last 48, oldest first. shares: of "tenant", "worker" and those "payload." fields
    that are alike in nearly all, the commonest values with counts, by the newest ``shared`` letters.
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
    """Dead letters by error, the largest group first. ``looked_at`` of ``total`` were read; all there are if ``whole``.

    as_of: when it was looked; what died later is in none of the counts.
    """

    groups: Sequence[DeadGroup]
    looked_at: int
    total: int
    whole: bool
    as_of: datetime


async def dead_groups(store: Store, *, most: int = MOST, seconds: float = 0.12) -> DeadGroups:
    """Group the newest dead letters: at most ``most`` of them, and no page more after ``seconds``."""
    counted = await desk.counts(store)
    grouping = Grouping(counted.now_ms)
    started, cursor, looked, whole = time.perf_counter(), "", 0, False
    while looked < most and not whole and (looked == 0 or time.perf_counter() - started < seconds):
        page = await inspector.dead(store, cursor, min(PAGE, most - looked))
        for seen in page.jobs:
            grouping.add(_death(seen))
        looked += len(page.jobs)
        cursor = page.cursor
        whole = not cursor
    groups = [_group(one) for one in grouping.found()]
    return DeadGroups(groups, looked, max(counted.dead, looked), whole, from_ms(counted.now_ms))


def _death(seen: Seen) -> Death:
    try:
        envelope = _wire.decode(seen.body)
    except _wire.MALFORMED:
        return Death("?", seen.reason, "", seen.since_ms, seen.id, "", seen.consumer, dict)
    last = envelope.errors[-1] if envelope.errors else None

    def fields() -> dict[str, str]:
        return _fields(envelope.args)

    return Death(
        envelope.name, last.type if last else seen.reason, last.message if last else "", seen.since_ms, seen.id,
        envelope.tenant or "", (last.worker if last else "") or seen.consumer, fields,
    )  # fmt: skip


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


def _group(found: Found) -> DeadGroup:
    return DeadGroup(
        found.key, found.name, found.type, found.message, found.count, from_ms(found.first_ms),
        from_ms(found.newest_ms), found.newest_id, found.half_hours, found.shares, found.shared,
    )  # fmt: skip
