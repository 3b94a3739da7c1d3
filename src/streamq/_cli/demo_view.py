"""How far the demo is: a live line with rich on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from typing import Any, NamedTuple, Protocol

from .. import Counts
from .say import note

EVERY = 0.5
"""Seconds between two plain lines."""


COUNTS = (
    "[blue]▸ {task.fields[active]}[/] active",
    "○ {task.fields[waiting]} waiting",
    "[magenta]◷ {task.fields[delayed]}[/] later",
    "[yellow]↻ {task.fields[retried]}[/] retried",
    "[red]✕ {task.fields[dead]}[/] dead",
)
"""What stands beside the bar, for rich."""


class Moment(NamedTuple):
    """What there is to show. ``ended``: completed and dead."""

    jobs: int
    sent: int
    counts: Counts

    @property
    def ended(self) -> int:
        """Jobs that need nothing more."""
        return self.counts.completed + self.counts.dead


class View(Protocol):
    """Something that shows moments until it is closed."""

    def show(self, moment: Moment) -> None:
        """Show a moment."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def view(jobs: int) -> View:
    """Return the view for where standard error leads to."""
    if sys.stderr.isatty() and importlib.util.find_spec("rich") is not None:
        return LiveView(jobs)
    return PlainView()


class PlainView:
    """A line each half second."""

    def __init__(self) -> None:
        self._next = 0.0

    def show(self, moment: Moment) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        counts = moment.counts
        note(
            f"  sent {moment.sent:,} of {moment.jobs:,}  waiting {counts.waiting:,}  active {counts.active:,}  "
            f"delayed {counts.delayed:,}  completed {counts.completed:,}  "
            f"retried {counts.retried:,}  dead {counts.dead:,}"
        )

    def close(self) -> None:
        """Nothing to restore."""


class LiveView:
    """A bar and the counts, in place."""

    def __init__(self, jobs: int) -> None:
        module: Any = importlib.import_module("rich.progress")
        console: Any = importlib.import_module("rich.console").Console(stderr=True)
        counts = "  ".join(COUNTS)
        self._progress = module.Progress(
            module.BarColumn(bar_width=24), module.MofNCompleteColumn(), module.TextColumn(counts), console=console
        )
        fields = dict.fromkeys(("active", "waiting", "delayed", "retried", "dead"), 0)
        self._task = self._progress.add_task("", total=jobs, **fields)
        self._progress.start()

    def show(self, moment: Moment) -> None:
        """Move the bar."""
        counts = moment.counts
        self._progress.update(
            self._task,
            completed=moment.ended,
            active=counts.active,
            waiting=counts.waiting,
            delayed=counts.delayed,
            retried=counts.retried,
            dead=counts.dead,
        )

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._progress.stop()
