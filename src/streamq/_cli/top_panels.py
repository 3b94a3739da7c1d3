"""The panels of ``streamq top`` below its queues: what runs, the workers, what died. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from .. import WorkerInfo
from .lines import Glyphs, Line, Piece, bar, fitted, width
from .say import count, duration, printable
from .top_model import Died, Model, Panel, Running, short, why

SIDE_BY_SIDE = 100
"""Columns from which on running jobs and workers stand beside each other."""

TALL = 24
"""Lines below which panels take turns."""


class Room(NamedTuple):
    """How much room there is, and when it is now: monotonic seconds, and as people read it."""

    columns: int
    lines: int
    now: float
    clock: str
    signs: Glyphs


def panels(model: Model, room: Room, left: int) -> list[Line]:
    """Return what fits: running jobs beside workers, then dead letters; or one of them where there is little room."""
    if left < 4:
        return []
    if room.lines < TALL or room.columns < SIDE_BY_SIDE:
        together: list[Panel] = [model.panel]
        if room.lines >= TALL:
            together = ["running", "died"] if model.panel == "running" else ["workers", "died"]
            together = together if model.panel != "died" else ["died"]
        each = left // len(together)
        found: list[Line] = []
        for panel in together:
            found += [[], *_panel(model, panel, room, each - 1)]
        return found
    upper = max(3, (left - 2) // 2)
    half = (room.columns - 4) // 2
    first = _panel(model, "running", room._replace(columns=half), upper)
    second = _panel(model, "workers", room._replace(columns=half), upper)
    beside = [_beside(first, second, at, half) for at in range(max(len(first), len(second)))]
    return [[], *beside, [], *_panel(model, "died", room, left - len(beside) - 2)]


def _beside(first: Sequence[Line], second: Sequence[Line], at: int, half: int) -> Line:
    left = list(first[at]) if at < len(first) else []
    taken = sum(width(one.text) for one in left)
    return [*left, Piece(" " * (half + 3 - taken)), *(second[at] if at < len(second) else [])]


def _panel(model: Model, panel: Panel, room: Room, lines: int) -> list[Line]:
    found = {"running": _running, "workers": _workers, "died": _died}[panel](model, room, lines - 1)
    return found[: max(0, lines)]


def _running(model: Model, room: Room, lines: int) -> list[Line]:
    jobs = model.running()
    if not jobs:
        return [[Piece(" nothing runs", "dim")]]
    head = [Piece(f" running, longest first ({len(jobs):,})", "dim")]
    return [head, *(_job(one, room) for one in jobs[: max(0, lines)])]


def _job(one: Running, room: Room) -> Line:
    tail = f"{duration(one.seconds):>10}"
    names = max(8, room.columns - 12 - len(tail) - 2)
    handler = names * 3 // 5
    return [
        Piece(f" {_id(one.job, room.signs)}  ", "active"),
        Piece(fitted(one.handler, handler, cut=room.signs.cut)),
        Piece(" " + fitted(one.worker, names - handler - 1, cut=room.signs.cut), "dim"),
        Piece(f" {tail}"),
    ]


def _workers(model: Model, room: Room, lines: int) -> list[Line]:
    seen: dict[str, tuple[WorkerInfo, int]] = {}
    for one in model.rows():
        for worker in one.workers:
            known = seen.get(worker.name)
            seen[worker.name] = (worker, worker.active + (known[1] if known else 0))
    lost = sum(not worker.alive for worker, _ in seen.values())
    head = f" {count(len(seen), 'worker')}" + (f", {lost} lost" if lost else "")
    ordered = sorted(seen.values(), key=lambda pair: (pair[0].alive, -pair[1], pair[0].name))
    return [[Piece(head, "dim")], *(_worker(worker, busy, room) for worker, busy in ordered[: max(0, lines)])]


def _worker(worker: WorkerInfo, busy: int, room: Room) -> Line:
    name = max(8, min(28, room.columns - 32))
    label = fitted(short(worker.name), name, cut=room.signs.cut)
    if not worker.alive:
        silent = duration((datetime.now(UTC) - worker.seen_at).total_seconds())
        return [Piece(f" {room.signs.critical:<2}{label}  lost, silent for {silent}", "critical")]
    filled = bar(busy / worker.concurrency, 10, room.signs)
    line = [Piece(f"   {label}  "), Piece(filled, "active"), Piece(f" {busy:,} of {worker.concurrency:,}")]
    told = [f"{worker.memory / 1e6:,.0f} MB", f"{100 * worker.cpu:.0f} % cpu"] if worker.memory else []
    said = "".join(f"  {printable(one)}" for one in (*told, worker.release) if one)
    spare = room.columns - sum(width(one.text) for one in line)
    if said and spare > 12:
        line.append(Piece(fitted(said, spare, cut=room.signs.cut).rstrip(), "dim"))
    return line


def _died(model: Model, room: Room, lines: int) -> list[Line]:
    letters = model.died()
    if not letters:
        return [[Piece(" no dead letters", "dim")]]
    shown = letters[: max(0, lines)]
    names = min(max(12, room.columns // 3), max((width(printable(_who(one))) for one in shown), default=12))
    return [[Piece(" died, newest first", "dim")], *(_letter(one, names, room) for one in shown)]


def _who(one: Died) -> str:
    return " ".join(part for part in (one.queue, one.job.name, one.job.tenant or "") if part)


def _letter(one: Died, names: int, room: Room) -> Line:
    job = one.job
    ago = "" if job.finished_at is None else duration((datetime.now(UTC) - job.finished_at).total_seconds())
    rest = max(0, room.columns - 10 - 13 - names - 3)
    return [
        Piece(f" {ago:>9}", "dim"),
        Piece(f"  {_id(job.id, room.signs)}  ", "dead"),
        Piece(fitted(_who(one), names, cut=room.signs.cut)),
        Piece("  " + fitted(why(job), rest, cut=room.signs.cut), "dim"),
    ]


def _id(job_id: str, signs: Glyphs) -> str:
    """Return the end of an id, nine cells: its front is time and looks alike."""
    return fitted(job_id, 9) if len(job_id) <= 9 else signs.cut + fitted(job_id[-8:], 8)
