"""What dead letters died of, and how many of each: counted by the scripts that add and take away (lua/_deaths.lua)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from .._core.envelope import MALFORMED
from .._core.fingerprint import key
from .scripts import script
from .session import Store

PAGE = 200
"""Letters that one call counts anew."""

AT_WORK = b"#"
"""Stands among the labels while they are counted anew."""

_ROW = msgspec.msgpack.Decoder(tuple[int, int, int, msgspec.Raw])
_TEXT = msgspec.msgpack.Decoder(str)


class Count(NamedTuple):
    """Dead letters of a label: how many, when the first and the newest died, and the id of the newest.

    The first: since there were none of this label. The newest may be among the dead no more.
    """

    number: int
    first_ms: int
    newest_ms: int
    newest_id: str


class Deaths(NamedTuple):
    """What is counted in one moment. ``letters``: how many there are; ``exact``: not just being counted anew."""

    now_ms: int
    letters: int
    labels: Mapping[bytes, Count]
    exact: bool

    @property
    def problem(self) -> str:
        """What is wrong with the counts, in words; '' when they come to as many as there are."""
        counted = sum(one.number for one in self.labels.values())
        if not self.exact:
            return f"{counted:,} of {self.letters:,} are counted anew: that was begun and not ended"
        return "" if counted == self.letters else f"{counted:,} counted, {self.letters:,} there"


async def deaths(store: Store) -> Deaths:
    """Return what is counted, by label."""
    now, letters, *flat = await store.call(script("deaths").call((store.keys.deaths, store.keys.dead)))
    rows = dict(zip(flat[::2], flat[1::2], strict=True))
    at_work = rows.pop(AT_WORK, None)
    counts = {label: _count(row) for label, row in rows.items()}
    labels = {label: one for label, one in counts.items() if one is not None}
    return Deaths(int(now), letters, labels, exact=at_work is None)


async def span(store: Store, group: str | None, begin: str) -> tuple[str, int, int]:
    """Return where the letters of a group lie: the cursor to begin behind, when the first died, how many there are.

    group: the key of its label; None: of all, which are -1. begin: a cursor, '' for the newest.
    """
    if group is None:
        return begin, 0, -1
    counted = await deaths(store)
    if not counted.exact:
        return begin, 0, -1
    one = next((one for label, one in counted.labels.items() if key(label) == group), None)
    return (begin or f"{counted.now_ms + 1}-0", one.first_ms, one.number) if one else (begin, 0, 0)


async def recount(store: Store) -> None:
    """Count all anew, page by page, while letters come and go."""
    keys, begin = (store.keys.deaths, store.keys.dead), 1
    while not await store.call(script("recount").call(keys, begin, PAGE)):
        begin = 0


async def are_dead(store: Store, job_ids: list[str]) -> list[bool]:
    """Return which of these are among the dead letters."""
    found: list[bytes | None] = await store.call((b"HMGET", store.keys.dead_index, *job_ids)) if job_ids else []
    return [one is not None for one in found]


def _count(row: bytes) -> Count | None:
    """Return a row; None for one that a foreign hand wrote."""
    try:
        number, first, newest, job_id = _ROW.decode(row)
    except MALFORMED:
        return None
    try:
        return Count(number, first, newest, _TEXT.decode(job_id))
    except MALFORMED:
        return Count(number, first, newest, "")
