"""The state bar: how many jobs are where, as parts of one line."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

LEAST = 5.0
"""Pixels of a state that has one job: it must be seen and hit."""

GAP = 1.5

ORDER = ("active", "waiting", "retrying", "delayed", "parked", "dead")


class Part(msgspec.Struct, frozen=True):
    """One part of a bar, in pixels."""

    state: str
    count: int
    x: float
    width: float


def parts(counts: Mapping[str, int], width: float = 400.0) -> list[Part]:
    """Return the parts of a bar that is ``width`` wide, in the order of states; nothing for an empty queue."""
    there = [(state, counts[state]) for state in ORDER if counts.get(state, 0) > 0]
    if not there:
        return []
    room = width - GAP * (len(there) - 1)
    wide = _widths([number for _, number in there], room)
    found: list[Part] = []
    x = 0.0
    for (state, number), size in zip(there, wide, strict=True):
        found.append(Part(state, number, round(x, 1), round(size, 1)))
        x += size + GAP
    return found


def _widths(numbers: list[int], room: float) -> list[float]:
    """Share ``room`` by ``numbers``, giving each at least `LEAST`: the small ones first, the rest by share."""
    fixed: set[int] = set()
    while True:
        left = room - LEAST * len(fixed)
        total = sum(number for at, number in enumerate(numbers) if at not in fixed)
        small = {at for at, number in enumerate(numbers) if at not in fixed and total and left * number / total < LEAST}
        if not small:
            break
        fixed |= small
    return [LEAST if at in fixed else left * number / total for at, number in enumerate(numbers)]


def told(counts: Mapping[str, int]) -> str:
    """Return the bar in words, for who cannot see it."""
    there = [f"{counts[state]:,} {state}" for state in ORDER if counts.get(state, 0) > 0]
    return ", ".join(there) or "empty"
