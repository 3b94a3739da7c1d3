"""``streamq queues``: every queue of the prefix with its counts."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import click
import msgspec

from .. import Counts, WorkerInfo
from .connect import awaited, names, opened
from .options import Command, chosen, printing
from .say import duration, note, table
from .show import emit


class Row(NamedTuple):
    """One queue in a moment."""

    name: str
    counts: Counts
    workers: list[WorkerInfo]

    @property
    def alive(self) -> int:
        """Workers that show signs of life."""
        return sum(worker.alive for worker in self.workers)

    def data(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"queue": self.name, **msgspec.structs.asdict(self.counts), "workers": self.alive}


async def read(name: str, options: dict[str, Any]) -> Row:
    """Return a queue's row."""
    async with opened(name, options) as queue:
        return Row(name, await queue.counts(), await queue.workers())


async def read_all(found: list[str], options: dict[str, Any]) -> list[Row]:
    """Return the rows of several queues."""
    return list(await asyncio.gather(*(read(name, options) for name in found)))


@click.command(cls=Command)
@printing
@awaited
async def queues(**options: Any) -> None:
    """List the queues of the prefix with their counts."""
    rows = await read_all(await names(options), options)
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
            paused(row.counts),
        ]
        for row in rows
    ]
    table(head, lines, right=head[1:8])


def paused(counts: Counts) -> str:
    """Return whether and why a queue is paused."""
    if not counts.paused:
        return ""
    return f"paused: {counts.pause_reason}" if counts.pause_reason else "paused"
