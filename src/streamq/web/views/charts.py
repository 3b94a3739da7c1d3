"""The gap chart: what arrived over what completed, the space between them, deaths on the ground; and the words beside.

Made on the server as SVG paths: a page with fifty of them needs no script.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from .words import count, duration, number

WIDTH, HEIGHT = 160.0, 34.0

STEADY = 0.02
"""Part of what arrives that counts as no difference."""

LOOKED_AT = 10
"""Minutes by which the words go; the one that runs is left out."""


class Minute(Protocol):
    """One minute of `Stats.series`."""

    @property
    def arrived(self) -> int:
        """Jobs enqueued."""
        ...

    @property
    def completed(self) -> int:
        """Jobs completed."""
        ...

    @property
    def dead(self) -> int:
        """Jobs that died."""
        ...


class Tick(NamedTuple):
    """A death on the ground of the chart."""

    x: float
    y: float
    height: float


class Gap(NamedTuple):
    """A chart as paths. ``said``: the whole of it as a sentence."""

    gap: str
    area: str
    line: str
    deaths: list[Tick]
    said: str


class Trend(NamedTuple):
    """Whether it is getting better or worse. ``tone``: ok, worse or plain."""

    words: str
    under: str
    tone: str


def gap(series: Sequence[Minute], width: float = WIDTH, height: float = HEIGHT) -> Gap | None:
    """Return the chart of a series; None when there is nothing to draw."""
    if len(series) < 2:
        return None
    top = max(1, *(max(one.arrived, one.completed) for one in series))
    step = width / (len(series) - 1)
    ground = height - 1.0
    arrived = [(at * step, ground - (ground - 2) * one.arrived / top) for at, one in enumerate(series)]
    done = [(at * step, ground - (ground - 2) * one.completed / top) for at, one in enumerate(series)]
    most = max(one.dead for one in series)
    deaths = [
        Tick(round(at * step - 1, 1), round(ground - tall, 1), round(tall, 1))
        for at, one in enumerate(series)
        if one.dead
        for tall in (max(4.0, height * 0.4 * one.dead / most),)
    ]
    return Gap(_area(arrived, ground), _area(done, ground), _line(arrived), deaths, _told(series))


def spark(values: Sequence[float], width: float = WIDTH, height: float = HEIGHT) -> tuple[str, str] | None:
    """Return area and line of one value a minute; None when there is nothing to draw."""
    if len(values) < 2:
        return None
    top = max(*values, 1e-9)
    step = width / (len(values) - 1)
    ground = height - 1.0
    points = [(at * step, ground - (ground - 2) * value / top) for at, value in enumerate(values)]
    return _area(points, ground), _line(points)


def trend(series: Sequence[Minute], waiting: int, *, paused: bool = False) -> Trend:
    """Return the words beside the chart: growing, keeping up, empties in."""
    recent = [*series][-LOOKED_AT - 1 : -1]
    if not recent:
        return Trend("no history yet", "", "plain")
    came = sum(one.arrived for one in recent) / len(recent)
    went = sum(one.completed + one.dead for one in recent) / len(recent)
    under = f"{number(round(came, 1))} in, {number(round(went, 1))} done"
    more = came - went
    if more > max(0.5, came * STEADY):
        return Trend(f"growing {number(round(more))}", under, "plain" if paused else "worse")
    if more < -max(0.5, came * STEADY) and waiting:
        return Trend(f"empties in {duration(60 * waiting / -more)}", under, "ok")
    if not came and not went:
        return Trend("paused" if paused else "still" if waiting else "idle", under, "plain")
    return Trend("keeping up", under, "ok")


def _told(series: Sequence[Minute]) -> str:
    minutes = len(series)
    came, went = sum(one.arrived for one in series), sum(one.completed for one in series)
    died = sum(one.dead for one in series)
    text = f"last {minutes} min: {came:,} in, {went:,} done"
    return f"{text}, {count(died, 'death')}" if died else text


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _area(points: Sequence[tuple[float, float]], ground: float) -> str:
    return f"{_line(points)}L{points[-1][0]:.1f} {ground:.1f}L{points[0][0]:.1f} {ground:.1f}Z"
