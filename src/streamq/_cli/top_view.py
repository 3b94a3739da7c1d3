"""The screen of ``streamq top`` as lines: from what it knows, and how much room there is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ..glance import Glance, QueueGlance
from .lines import Glyphs, Line, Piece, brief, fitted, spark, width
from .say import count, duration
from .top_model import Model
from .top_panels import Room, panels

KEYS = (("↑↓", "row"), ("enter", "open"), ("p", "pause"), ("r", "replay"), ("d", "dead"), ("w", "workers"),
        ("/", "filter"), ("s", "sort"), ("h", "hold"), ("?", "keys"), ("q", "quit"))  # fmt: skip

FEW = {"pause", "replay", "filter", "keys", "quit"}
"""Keys that are named where there is no room for all."""

HELP = (
    ("up, down, j, k", "another queue"),
    ("enter, esc", "only this queue; all of them again"),
    ("p", "pause the queue, with a reason; resume it when it is paused"),
    ("r", "replay its dead letters: one first, or all of them at 50 a second"),
    ("/", "show what has this text in its name, handler, tenant, worker or error"),
    ("s", "sort: worst first, by name, by waiting, by dead"),
    ("tab, w, d", "the next panel where there is room for one only; workers; dead letters"),
    ("h", "hold the numbers, to read them"),
    ("q, ctrl-c", "quit"),
)


class Column(NamedTuple):
    """A column of the table of queues: its head, its width, from how wide a screen on it is shown."""

    head: str
    cells: int
    least: int
    right: bool = True


COLUMNS = (
    Column("active", 6, 0),
    Column("waiting", 8, 0),
    Column("delayed", 8, 60),
    Column("retries/min", 11, 124),
    Column("parked", 6, 112),
    Column("dead", 7, 0),
    Column("last 60 min", 16, 98, right=False),
    Column("a minute", 15, 78, right=False),
    Column("oldest", 9, 50),
)


def screen(model: Model, room: Room) -> list[Line]:
    """Return the screen: at most ``room.lines`` lines."""
    foot = [_foot(model, room)]
    body: list[Line]
    if model.help:
        body = [*_head(model, room), [], *([Piece(f"  {keys:<16} {what}")] for keys, what in HELP)]
    elif model.glance is None:
        body = _head(model, room)
    else:
        queues = _queues(model, room)
        body = [*_head(model, room), [], *queues]
        left = room.lines - len(body) - len(foot)
        body += panels(model, room, left)
    body = body[: room.lines - 1]
    return [*body, *([] for _ in range(room.lines - 1 - len(body))), *foot]


# -- head -------------------------------------------------------------------------------------------


def _head(model: Model, room: Room) -> list[Line]:
    glance = model.glance
    if glance is None:
        return [[Piece("streamq", "bold"), Piece(f"  {_state(model, room)}")]]
    left = [Piece("streamq", "bold"), Piece(f"  {glance.server}  {duration(glance.seconds)}", "dim")]
    right = Piece(f"{room.clock}  {'held' if model.held else 'live'}", "reverse" if model.held else "dim")
    if model.away:
        left = [Piece("streamq", "bold"), Piece(f"  {_state(model, room)}", "critical")]
        right = Piece(room.clock, "dim")
    return [_apart(left, [right], room), _apart([Piece(headline(model), "bold")], [Piece(_totals(model), "dim")], room)]


def _state(model: Model, room: Room) -> str:
    if not model.away:
        return "looking"
    again = max(0, round(model.next_try - room.now))
    said = f"no answer ({model.away})"
    if model.glance is not None:
        said += f", numbers are {duration(round(room.now - model.seen_at))} old"
    return f"{said}, next try in {again} s"


def headline(model: Model) -> str:
    """Return the answer to "how is it?": a sentence."""
    glance = model.glance
    if glance is None or not glance.queues:
        return "no queue yet; a queue shows up with its first job or worker"
    levels = [model.level(one) for one in glance.queues]
    troubled = sum(one in {"warning", "critical"} for one in levels)
    paused = sum(one.counts.paused for one in glance.queues)
    total = len(levels) + glance.more
    said = f"{troubled} of {count(total, 'queue')} need you" if troubled else f"{count(total, 'queue')}, all well"
    if troubled == 1:
        said = f"1 of {count(total, 'queue')} needs you"
    if paused:
        said += f", {paused} {'is' if paused == 1 else 'are'} paused"
    return said + (f", {glance.more} not shown" if glance.more else "")


def _totals(model: Model) -> str:
    glance = model.glance
    if glance is None:
        return ""
    rates = [model.rates(one.name) for one in glance.queues]
    arrived = sum(one.arrived for one in rates if one.arrived is not None)
    done = sum(one.done for one in rates if one.done is not None)
    slots, busy = _slots(glance)
    known = any(one.done is not None for one in rates)
    speed = f"in {arrived:,.0f}/min  done {done:,.0f}/min  " if known else ""
    return f"{speed}slots {busy:,} of {slots:,}"


def _slots(glance: Glance) -> tuple[int, int]:
    """Return the places of all workers and how many are taken; a worker of several queues counts once."""
    places: dict[str, int] = {}
    busy = 0
    for one in glance.queues:
        for worker in one.alive:
            places[worker.name] = worker.concurrency
            busy += worker.active
    return sum(places.values()), busy


def _apart(left: Sequence[Piece], right: Sequence[Piece], room: Room) -> Line:
    """Return two ends of a line; the right one goes when there is no room for both."""
    taken = sum(width(one.text) for one in (*left, *right))
    if taken + 2 > room.columns:
        return left
    return [*left, Piece(" " * (room.columns - taken)), *right]


# -- queues -----------------------------------------------------------------------------------------


def _queues(model: Model, room: Room) -> list[Line]:
    shown = [one for one in COLUMNS if room.columns >= one.least]
    heads = "".join(f"  {one.head:>{one.cells}}" if one.right else f"  {one.head:<{one.cells}}" for one in shown)
    name = max(8, min(40, room.columns - 4 - sum(one.cells + 2 for one in shown)))
    found: list[Line] = [[Piece(f"    {'queue':<{name}}{heads}"[: room.columns], "dim")]]
    rows = model.rows()
    for one in rows[_first(model, rows, room) :]:
        if len(found) >= _most(room):
            break
        found += _queue(model, one, shown, name, room)
    if not rows:
        found.append([Piece(f"    nothing fits {model.filter!r}" if model.filter else "    no queue yet", "dim")])
    return found


def _most(room: Room) -> int:
    """Return how many lines the table of queues may take."""
    return max(4, room.lines - 4 if room.lines < 16 else room.lines // 2)


def _first(model: Model, rows: Sequence[QueueGlance], room: Room) -> int:
    """Return which row to begin with, so that the selected one is in view."""
    at = next((number for number, one in enumerate(rows) if one.name == model.selected), 0)
    return max(0, at - (_most(room) - 2) // 2)


def _queue(model: Model, one: QueueGlance, shown: Sequence[Column], name: int, room: Room) -> list[Line]:
    level = model.level(one)
    here = one.name == model.selected
    stale = bool(model.away)
    values = _values(model, one, room.signs)
    line = [
        Piece(room.signs.row if here else " "),
        Piece(f"{getattr(room.signs, level):<2} ", "dim" if stale else level),
        Piece(fitted(one.name, name, cut=room.signs.cut), "reverse" if here else "bold"),
    ]
    for column in shown:
        text, style = values[column.head]
        cell = fitted(text, column.cells, right=column.right, cut=room.signs.cut)
        line.append(Piece(f"  {cell}", "dim" if stale else style))
    said = _said(model, one)
    return [line, [Piece(f"     {said}", "dim" if stale or level == "paused" else level)]] if said else [line]


def _values(model: Model, one: QueueGlance, signs: Glyphs) -> dict[str, tuple[str, str]]:
    counts, rates = one.counts, model.rates(one.name)
    fact = model.facts.get(one.name)
    words, retried = rates.words, rates.retried
    return {
        "active": (brief(counts.active), "active" if counts.active else "dim"),
        "waiting": (brief(counts.waiting), "" if counts.waiting else "dim"),
        "delayed": (brief(counts.delayed), "delayed" if counts.delayed else "dim"),
        "retries/min": (signs.none if retried is None else brief(round(retried)), "retrying" if retried else "dim"),
        "parked": (brief(counts.parked), "parked" if counts.parked else "dim"),
        "dead": (brief(counts.dead), "dead" if counts.dead else "dim"),
        "last 60 min": (spark(fact.minutes if fact else (), 16, signs), ""),
        "a minute": (words, "gap" if words.startswith("growing") else "dim"),
        "oldest": (signs.none if counts.oldest is None else duration(counts.oldest), "" if counts.oldest else "dim"),
    }


def _said(model: Model, one: QueueGlance) -> str:
    fact = model.facts.get(one.name)
    if one.counts.paused:
        since = one.counts.paused_at
        ago = f" {duration((datetime.now(UTC) - since).total_seconds())} ago" if since is not None else ""
        return f"paused{ago}" + (f": {one.counts.pause_reason}" if one.counts.pause_reason else "")
    return fact.reason if fact is not None else ""


# -- foot -------------------------------------------------------------------------------------------


def _foot(model: Model, room: Room) -> Line:
    ask = model.ask
    if ask is not None:
        typed = "" if ask.typed is None else f": {ask.typed}_  (enter, esc leaves it)"
        return [Piece(fitted(f" {ask.said}{typed}", room.columns, cut=room.signs.cut).rstrip(), "reverse")]
    if model.said:
        return [Piece(f" {fitted(model.said, max(0, room.columns - 1), cut=room.signs.cut).rstrip()}", "bold")]
    shown = f"  filter {model.filter!r}" if model.filter else f"  only {model.focus}" if model.focus else ""
    text = " " + "  ".join(f"{key} {what}" for key, what in KEYS) + shown
    if width(text) > room.columns:
        few = [f"{key} {what}" for key, what in KEYS if what in FEW]
        text = " " + "  ".join(few) + shown
    return [Piece(text, "dim")]
