"""The end of a world for those who operate it: what was counted and told is what was applied, and nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from streamq._core.report import Slots, plain
from tests.simulation.state import fields_of
from tests.simulation.world import World

TOTALS: Final = ("completed", "failed", "retried", "snoozed", "limited", "dead", "cancelled", "expired", "stalled")
"""Counters that the meta hash has as well: written by the same scripts, in another way."""

TOLD: Final[Mapping[str, str]] = {"completed": "cC", "retrying": "r", "dead": "b", "cancelled": "e", "expired": "e"}
"""Events of settlements, and the letters of these."""


def counted(world: World) -> Iterator[tuple[str, str]]:
    """Judge what was counted and told."""
    found = {key.removeprefix(world.state.keys.base): value for key, (_, value, _) in world.broker.dump().items()}
    total, lately = Slots(), Slots()
    for name, value in found.get(b"n", {}).items():
        total.add(plain(name[:1], value))
    for key, minutes in found.items():
        for name, value in minutes.items() if key.startswith(b"n:") else ():
            if name[:1] not in {b"T", b"#"}:
                lately.add(plain(name[:1], value))
    if total.found != lately.found:
        yield f"counted {total.found} ever, {lately.found} by the minute", ""
    meta = world.state.texts("m")
    for name in TOTALS:
        if total.one(name) != int(meta.get(name, 0)):
            yield f"counted {total.one(name)} {name}, there were {meta.get(name, 0)}", ""
    added = world.watch.adds["enqueue"] + world.watch.adds["fire"]
    if total.one("arrived") != added and not world.watch.torn:
        yield f"{added} were added, {total.one('arrived')} arrived", ""
    if world.plan.has("events"):
        yield from _told(world, found.get(b"ev", {"entries": ()})["entries"])


def _told(world: World, entries: Any) -> Iterator[tuple[str, str]]:
    """Events are of what was applied, each once; where nothing got lost none is missing."""
    rows = [fields_of(fields) for _, fields in entries]
    written = Counter((row["k"].decode(), row["j"].decode()) for row in rows)
    applied = world.watch.takes.applied
    for tellers, told in (("the stream", written), ("hooks", world.book.heard)):
        if tellers == "the stream" and world.watch.timeless:
            continue  # memos may be forgotten
        for (kind, job), times in told.items():
            most = sum(applied[letter, job] for letter in TOLD.get(kind, ""))
            most += kind == "cancelled" and world.watch.ended.get(job) == "cancel"
            if kind in TOLD and times > most and job not in world.watch.torn:
                yield f"{tellers} told {kind} {times} times, it was {most} times", job
        if world.plan.faults or world.plan.loss:
            continue
        for (letter, job), times in applied.items():
            if letter in "cCrb" and times > sum(told[kind, job] for kind, ways in TOLD.items() if letter in ways):
                yield f"{tellers} never told of {letter}", job
