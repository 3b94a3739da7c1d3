"""Workers, their places and what runs in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from ...reading import WorkerInfo
from . import words

SQUARES = 200
"""Places drawn one by one; a worker with more gets a bar."""

SLOW = 60.0
"""Seconds from which a run is marked, where no timeout is known."""


class Row(NamedTuple):
    """One worker. ``squares``: kind and how many of it: busy, free, lost. memory, cpu: '' where it does not tell."""

    name: str
    queues: list[str]
    under: str
    lost: bool
    busy: int
    places: int
    squares: list[tuple[str, int]]
    seen: str
    seen_at: datetime
    since: datetime
    memory: str
    cpu: str


class Run(NamedTuple):
    """A job that runs."""

    id: str
    queue: str
    handler: str
    worker: str
    seconds: float
    ran: str
    width: float


def gathered(by_queue: Mapping[str, Sequence[WorkerInfo]]) -> list[tuple[WorkerInfo, list[str]]]:
    """Return each worker once with the queues it serves; places are its own, not those of a queue."""
    found: dict[str, tuple[WorkerInfo, list[str]]] = {}
    for queue, workers in by_queue.items():
        for one in workers:
            if one.name in found:
                found[one.name][1].append(queue)
            else:
                found[one.name] = (one, [queue])
    return list(found.values())


def rows(by_queue: Mapping[str, Sequence[WorkerInfo]], now: datetime) -> list[Row]:
    """Return the workers, the lost ones first, then the busiest."""
    found: list[Row] = []
    for one, queues in gathered(by_queue):
        busy = sum(other.active for workers in by_queue.values() for other in workers if other.name == one.name)
        busy = min(busy, one.concurrency) if one.concurrency else busy
        seen = words.ago(one.seen_at, now)
        release = f"release {one.release}, " if one.release else ""
        under = f"{', '.join(queues[:4])}{' …' if len(queues) > 4 else ''}, {one.host}, {release}streamq {one.version}"
        squares, since = _squares(one, busy), one.started_at
        lost, places = not one.alive, one.concurrency
        memory = words.size(one.memory) if one.memory else ""
        cpu = f"{100 * one.cpu:.0f} %" if one.memory or one.cpu else ""
        found.append(Row(one.name, queues, under, lost, busy, places, squares, seen, one.seen_at, since, memory, cpu))
    return sorted(found, key=lambda one: (not one.lost, -one.busy, one.name))


def _squares(worker: WorkerInfo, busy: int) -> list[tuple[str, int]]:
    if not worker.alive:
        return [("lost", worker.concurrency)]
    return [("busy", busy), ("free", max(0, worker.concurrency - busy))]


def running(by_queue: Mapping[str, Sequence[WorkerInfo]], most: int = 50) -> list[Run]:
    """Return what runs, longest first."""
    found = [
        (seconds, job_id, queue, handler, one.name)
        for queue, workers in by_queue.items()
        for one in workers
        if one.alive
        for job_id, handler, seconds in one.running
    ]
    found.sort(key=lambda one: -one[0])
    longest = found[0][0] if found else 1.0
    most_wide = 210 / max(longest, 0.001)
    return [
        Run(job_id, queue, handler, worker, seconds, words.duration(seconds), round(most_wide * seconds, 1))
        for seconds, job_id, queue, handler, worker in found[:most]
    ]


def heading(found: Sequence[Row]) -> str:
    """Return the page's answer: "12 workers, 1 lost"."""
    if not found:
        return "No worker is connected"
    lost = sum(one.lost for one in found)
    return words.count(len(found), "worker") + (f", {lost} lost" if lost else "")


def under(found: Sequence[Row], waiting: int) -> str:
    """Return the line under the heading: places in use, what becomes of the jobs of the lost."""
    alive, lost = [one for one in found if not one.lost], [one for one in found if one.lost]
    if not alive:
        return f"{words.count(waiting, 'job')} wait." if waiting else ""
    said = f"{sum(one.busy for one in alive):,} of {sum(one.places for one in alive):,} slots busy."
    if lost:
        first = lost[0]
        said += f" {first.name} went silent {first.seen}; its jobs return to waiting by themselves."
    return said
