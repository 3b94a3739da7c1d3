"""Dead letters by what they died of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from ...grouping import DeadGroup, DeadGroups
from . import words

WORDS = ("ADDRESS", "URL", "TIME", "TEXT", "ID", "IP", "N")
"""Words that stand for what varies in messages (`_core/fingerprint.py`)."""


class Bar(NamedTuple):
    """Deaths of half an hour, in pixels."""

    x: float
    y: float
    height: float


class Share(NamedTuple):
    """How much of a group has a value."""

    value: str
    width: float
    percent: str


class Group(msgspec.Struct, frozen=True):
    """One group as it is shown. ``pieces``: its message as (text, stands for what varies)."""

    queue: str
    key: str
    name: str
    type: str
    pieces: list[tuple[str, bool]]
    count: int
    first: datetime
    newest: datetime
    said: str
    bars: list[Bar]
    shares: list[tuple[str, list[Share]]]
    shared: int
    newest_id: str


def group(queue: str, found: DeadGroup, now: datetime, hidden: Sequence[str] = ()) -> Group:
    """Return a group for the page; shares of ``hidden`` payload fields are left out."""
    said = f"First {words.ago(found.first_at, now)}, newest {words.ago(found.newest_at, now)}."
    shares = [
        (name, [_share(value, number, found.shared) for value, number in top])
        for name, top in found.shares.items()
        if top and name not in hidden
    ]
    return Group(
        queue, found.key, found.name, found.type or "no error of its own", pieces(found.message), found.count,
        found.first_at, found.newest_at, said, history(found.half_hours), shares[:4], found.shared, found.newest_id,
    )  # fmt: skip


def _share(value: str, number: int, whole: int) -> Share:
    return Share(value, round(60 * number / whole, 1), words.percent(number, whole))


def pieces(message: str) -> list[tuple[str, bool]]:
    """Return a message in pieces, those marked that stand for what varies."""
    found: list[tuple[str, bool]] = []
    word = ""
    for char in message + "\0":
        if char.isalpha() and char.isupper():
            word += char
            continue
        if word:
            _append(found, word, is_word=word in WORDS)
            word = ""
        if char != "\0":
            _append(found, char, is_word=False)
    return found


def _append(found: list[tuple[str, bool]], text: str, *, is_word: bool) -> None:
    if found and not is_word and not found[-1][1]:
        found[-1] = (found[-1][0] + text, False)
    else:
        found.append((text, is_word))


def history(half_hours: Sequence[int], width: float = 200.0, height: float = 34.0) -> list[Bar]:
    """Return the last 24 hours as bars; a single death is still seen."""
    most = max(half_hours, default=0)
    if not most:
        return []
    step = width / len(half_hours)
    return [
        Bar(round(at * step, 1), round(height - tall, 1), round(tall, 1))
        for at, number in enumerate(half_hours)
        if number
        for tall in (max(3.0, height * number / most),)
    ]


def heading(total: int, errors: int, *, whole: bool) -> str:
    """Return the page's answer: "1,561 dead letters, 5 errors"."""
    if not total:
        return "No dead letters. Good."
    known = words.count(errors, "error") if whole else f"at least {words.count(errors, 'error')}"
    return f"{words.count(total, 'dead letter')}, {known}"


def under(groups: Sequence[Group], total: int) -> str:
    """Return the line under the heading: how the largest group stands."""
    if not groups or total < 2:
        return ""
    largest = max(groups, key=lambda one: one.count)
    if largest.count == total:
        return "All of them died of one error."
    return f"One error holds {largest.count:,} of them." if largest.count * 2 > total else ""


def are_told_apart(found: Sequence[DeadGroups]) -> bool:
    """Return whether every group is one error: none is of those beyond the thousandth, and all are counted."""
    return all(seen.exact and all(one.name for one in seen.groups) for seen in found)


def looked(found: Sequence[DeadGroups]) -> str:
    """Return what is not told of all letters, when that is so; '' else."""
    if not all(one.exact for one in found):
        return "Dead letters are being counted anew; the numbers grow until that is done (streamq recover)."
    seen, total = sum(one.looked_at for one in found), sum(one.total for one in found)
    if all(one.whole for one in found):
        return ""
    return f"Numbers are exact; histories and shares are by the newest {seen:,} of {total:,}."
