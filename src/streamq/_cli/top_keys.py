"""What a key means in ``streamq top``: changes to what is shown, questions, and what is to be done. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from ..glance import QueueGlance
from .top_model import ORDERS, PANELS, Ask, Do, Model

MANY = 1000
"""Waiting jobs from which on a resume asks first."""


def press(model: Model, key: str) -> Do | None:
    """Take a key; returns what is to be done outside of here."""
    model.touched = True  # from now on the selection stays where it is, whatever moves
    if model.ask is not None:
        return _answer(model, model.ask, key)
    model.said = ""
    if model.help:
        model.help = False
        return None
    if key in _SHOWN:
        _SHOWN[key](model)
        return None
    act = {"p": _pause, "r": _retry}.get(key)
    one = next((row for row in model.rows() if row.name == model.selected), None)
    return act(model, one) if act is not None and one is not None else None


def _quit(model: Model) -> None:
    model.over = True


def _help(model: Model) -> None:
    model.help = True


def _hold(model: Model) -> None:
    model.held = not model.held


def _sort(model: Model) -> None:
    model.order = ORDERS[(ORDERS.index(model.order) + 1) % len(ORDERS)]
    model.said = f"sorted by {model.order}"


def _filter(model: Model) -> None:
    model.ask = Ask("filter", "", "filter", typed=model.filter)


def _turn(model: Model) -> None:
    model.panel = PANELS[(PANELS.index(model.panel) + 1) % len(PANELS)]


def _workers(model: Model) -> None:
    model.panel = "workers"


def _dead(model: Model) -> None:
    model.panel = "died"


def _open(model: Model) -> None:
    model.focus = "" if model.focus else model.selected


def _back(model: Model) -> None:
    model.focus = model.filter = ""


def _up(model: Model) -> None:
    _move(model, -1)


def _down(model: Model) -> None:
    _move(model, 1)


def _move(model: Model, by: int) -> None:
    names = [one.name for one in model.rows()]
    if names:
        at = names.index(model.selected) + by if model.selected in names else 0
        model.selected = names[min(max(at, 0), len(names) - 1)]


_SHOWN: dict[str, Callable[[Model], None]] = {
    "q": _quit,
    "?": _help,
    "h": _hold,
    "s": _sort,
    "/": _filter,
    "tab": _turn,
    "w": _workers,
    "d": _dead,
    "enter": _open,
    "esc": _back,
    "up": _up,
    "k": _up,
    "down": _down,
    "j": _down,
}


def _pause(model: Model, one: QueueGlance) -> Do | None:
    if not one.counts.paused:
        model.ask = Ask("pause", one.name, f"pause {one.name}, reason", typed="")
        return None
    if one.counts.waiting <= MANY:
        return Do("resume", one.name)
    said = f"resume {one.name}? {one.counts.waiting:,} jobs wait  [y]es  [N]o"
    model.ask = Ask("resume", one.name, said, {"y": "resume"})
    return None


def _retry(model: Model, one: QueueGlance) -> Do | None:
    dead = one.counts.dead
    if not dead:
        model.said = f"no dead letters in {one.name}"
    elif dead == 1:
        model.ask = Ask("replay", one.name, f"replay the dead letter of {one.name}?  [y]es  [N]o", {"y": "replay one"})
    else:
        said = f"replay {dead:,} dead letters of {one.name}?  [o]ne first  [a]ll  [N]o"
        model.ask = Ask("replay", one.name, said, {"o": "replay one", "a": "replay all"})
    return None


def _answer(model: Model, ask: Ask, key: str) -> Do | None:
    if ask.typed is not None:
        return _typed(model, ask, ask.typed, key)
    model.ask = None
    verb = ask.keys.get(key)
    model.said = "" if verb else "left as is"
    return Do(verb, ask.queue) if verb else None


def _typed(model: Model, ask: Ask, text: str, key: str) -> Do | None:
    if key == "enter":
        model.ask = None
        if ask.what == "filter":
            model.filter = text
            return None
        return Do(ask.what, ask.queue, text)
    if key == "esc":
        model.ask = None
        model.said = "" if ask.what == "filter" else "left as is"
    elif key == "backspace":
        model.ask = ask._replace(typed=text[:-1])
    elif len(key) == 1 and key.isprintable():
        model.ask = ask._replace(typed=(text + key)[:200])
    return None
