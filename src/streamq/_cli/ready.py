"""The half of ``streamq health`` that asks the server."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from .connect import known, names
from .options import chosen
from .queues import Row, read_all
from .say import count, duration
from .show import emit


def check(options: dict[str, Any]) -> int:
    """Print what is wrong, or that nothing is; returns the exit code."""
    return asyncio.run(_check(options))


async def _check(options: dict[str, Any]) -> int:
    given = options["queue_name"]
    found = [await known(given, options)] if given else await names(options)
    rows = await read_all(found, options)
    problems = {row.name: _problems(row, options) for row in rows}
    well = not any(problems.values())
    if chosen(options, "as_json"):
        listed = [{**row.data(), "problems": problems[row.name]} for row in rows]
        emit({"healthy": well, "queues": listed})
        return 0 if well else 1
    for name, said in problems.items():
        for one in said:
            click.echo(f"{name}: {one}")
    if well:
        click.echo(f"{count(len(rows), 'queue')}, all well")
    return 0 if well else 1


def _problems(row: Row, options: dict[str, Any]) -> list[str]:
    counts, said = row.counts, list[str]()
    if counts.waiting and not row.alive and not counts.paused:
        said.append(f"{count(counts.waiting, 'job')} waiting, no worker")
    if options["max_lag"] is not None and counts.waiting > options["max_lag"]:
        said.append(f"{counts.waiting:,} waiting, limit {options['max_lag']:,}")
    if options["max_age"] is not None and counts.oldest is not None and counts.oldest > options["max_age"]:
        said.append(f"oldest has waited {duration(counts.oldest)}, limit {duration(options['max_age'])}")
    return said
