"""``streamq queues``: every queue of the prefix with its counts."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import click
import msgspec

from .. import Counts, Queue, WorkerInfo
from .._store import limits
from .connect import awaited, names, opened
from .options import Command, chosen, printing
from .say import count, duration, note, table
from .show import emit


class Held(NamedTuple):
    """What people hold back in a queue: names of paused groups and handlers, and how many blocks are in force."""

    groups: list[str]
    handlers: list[str]
    blocks: int

    def words(self) -> list[str]:
        """Return it for people."""
        return [count(number, noun) for number, noun in self._numbers() if number]

    def _numbers(self) -> tuple[tuple[int, str], ...]:
        return ((len(self.groups), "paused group"), (len(self.handlers), "paused handler"), (self.blocks, "block"))


class Row(NamedTuple):
    """One queue in a moment. ``held``: None when nobody asked."""

    name: str
    counts: Counts
    workers: list[WorkerInfo]
    held: Held | None = None

    @property
    def alive(self) -> int:
        """Workers that show signs of life."""
        return sum(worker.alive for worker in self.workers)

    def data(self) -> dict[str, Any]:
        """Return it for JSON."""
        found = {"queue": self.name, **msgspec.structs.asdict(self.counts), "workers": self.alive}
        if self.held is not None:
            held = {"paused_groups": self.held.groups, "paused_handlers": self.held.handlers}
            found |= {**held, "blocks": self.held.blocks}
        return found


async def read(name: str, options: dict[str, Any], *, held: bool = False) -> Row:
    """Return a queue's row; with ``held`` what people hold back, too, at the price of one more read."""
    async with opened(name, options) as queue:
        counts, workers = await asyncio.gather(queue.counts(), queue.workers())
        return Row(name, counts, workers, await _held(queue) if held else None)


async def read_all(found: list[str], options: dict[str, Any], *, held: bool = False) -> list[Row]:
    """Return the rows of several queues."""
    return list(await asyncio.gather(*(read(name, options, held=held) for name in found)))


async def _held(queue: Queue) -> Held:
    _, overrides = await limits.layers((await queue.stores())[0])
    paused = sorted(gate for gate, layer in overrides.items() if layer.conf.get("x") == 1)
    return Held(
        [gate[2:] for gate in paused if gate.startswith("g:")],
        [gate[2:] for gate in paused if gate.startswith("h.")],
        sum(gate.startswith("x.") for gate in paused),
    )


@click.command(cls=Command)
@printing
@awaited
async def queues(**options: Any) -> None:
    """List the queues of the prefix with their counts."""
    rows = await read_all(await names(options), options, held=True)
    if chosen(options, "as_json"):
        emit({"queues": [row.data() for row in rows]})
    elif rows:
        show(rows)
    else:
        note("no queue yet; a queue shows up with its first job or worker")


def show(rows: list[Row]) -> None:
    """Print rows as a table."""
    head = ("queue", "active", "waiting", "delayed", "parked", "dead", "oldest", "workers", "")
    lines = [
        [
            row.name,
            *(f"{value:,}" for value in (row.counts.active, row.counts.waiting, row.counts.delayed)),
            *(f"{value:,}" for value in (row.counts.parked, row.counts.dead)),
            duration(row.counts.oldest),
            str(row.alive),
            ", ".join(part for part in (paused(row.counts), *(row.held.words() if row.held else ())) if part),
        ]
        for row in rows
    ]
    table(head, lines, right=head[1:8])


def paused(counts: Counts) -> str:
    """Return whether and why a queue is paused."""
    if not counts.paused:
        return ""
    return f"paused: {counts.pause_reason}" if counts.pause_reason else "paused"
