"""``streamq top``: queues, workers, running jobs and dead letters, live; lines where nobody looks."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from ..glance import Glance, QueueGlance
from .connect import awaited, known
from .options import DURATION, Command, chosen, complete_queues, printing
from .say import CliError
from .show import emit_line
from .terminal import is_terminal
from .top_live import Live, facts
from .top_model import Fact, Model
from .watching import Away, Queues, watching

EVERY = 10.0
"""Seconds between two verdicts of a queue in the plain output, at the least."""


@click.command(cls=Command)
@click.option(
    "-q", "--queue", "queue_names", multiple=True, shell_complete=complete_queues, help="Only this one; again for more."
)
@click.option("--interval", type=DURATION, default=1.0, help="Between two looks, at least 100 ms.  [default: 1s]")
@click.option("--times", type=click.IntRange(1), help="Look so often, print lines, then end.")
@printing
@awaited
async def top(queue_names: Sequence[str], **options: Any) -> None:
    """Watch queues, workers, running jobs and dead letters; act on them by keys (? lists them).

    Without a terminal, with --times and with --json it prints a line a queue and interval. When Redis goes away it says
    so and waits.
    """
    interval: float = options["interval"]
    if interval < 0.1:
        raise CliError("--interval must be at least 100ms", code=2)
    only = [await known(name, options) for name in queue_names]
    queues = Queues(options)
    try:
        async with watching(options, only, interval) as watch:
            if is_terminal() and options["times"] is None and not chosen(options, "as_json"):
                await Live(watch, queues, only, colour=_colour()).run()
            else:
                await _lines(watch, queues, options)
    finally:
        await queues.aclose()


def _colour() -> bool:
    context = click.get_current_context(silent=True)
    return context is None or context.color is not False


async def _lines(watch: Any, queues: Queues, options: dict[str, Any]) -> None:
    """Print a line a queue and look."""
    model, asked = Model(), dict[str, float]()
    left: int | None = options["times"]
    while left is None or left > 0:
        found = await watch.look()
        now = time.monotonic()
        if isinstance(found, Away):
            _away(found, options)
        else:
            model.saw(found, now)
            for one in found.queues:
                if now - asked.get(one.name, -EVERY) >= EVERY:
                    asked[one.name] = now
                    model.facts[one.name] = await facts(queues.named(one.name))
            _print(model, found, options)
        left = None if left is None else left - 1


def _stamp() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _away(found: Away, options: dict[str, Any]) -> None:
    if chosen(options, "as_json"):
        emit_line({"time": _stamp(), "away": True, "reason": found.reason})
    else:
        click.echo(f"{_stamp()} away reason={json.dumps(found.reason)}")


def _print(model: Model, found: Glance, options: dict[str, Any]) -> None:
    for one in found.queues:
        data = _data(model, one)
        if chosen(options, "as_json"):
            emit_line({"time": _stamp(), **data})
            continue
        shown = {key: value for key, value in data.items() if value is not None and key not in {"queue", "level"}}
        pairs = " ".join(f"{key}={_text(value)}" for key, value in shown.items())
        click.echo(f"{_stamp()} {one.name} {data['level']} {pairs}")


def _data(model: Model, one: QueueGlance) -> dict[str, Any]:
    counts, rates = one.counts, model.rates(one.name)
    fact = model.facts.get(one.name, Fact())
    slots = {worker.name: worker.concurrency for worker in one.alive}
    return {
        "queue": one.name,
        "level": model.level(one),
        "active": counts.active,
        "waiting": counts.waiting,
        "delayed": counts.delayed,
        "parked": counts.parked,
        "dead": counts.dead,
        "in": None if rates.arrived is None else round(rates.arrived, 1),
        "done": None if rates.done is None else round(rates.done, 1),
        "oldest": counts.oldest,
        "workers": len(one.alive),
        "slots": sum(slots.values()),
        "reason": (counts.pause_reason if counts.paused else fact.reason) or None,
    }


def _text(value: Any) -> str:
    return (
        json.dumps(value, ensure_ascii=False)
        if isinstance(value, str)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
