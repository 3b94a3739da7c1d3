"""The half of ``streamq health`` that asks the server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from .. import Health, Reason
from .connect import known, names, opened
from .options import chosen
from .say import count, duration
from .show import emit

LEVELS = ("ok", "warning", "critical")
"""By exit code."""

COLOURS = {"warning": "yellow", "critical": "red"}


def check(options: dict[str, Any]) -> int:
    """Print what is wrong, or that nothing is; returns the exit code."""
    return asyncio.run(_check(options))


async def _check(options: dict[str, Any]) -> int:
    given = options["queue_name"]
    found = [await known(given, options)] if given else await names(options)
    seen = dict(zip(found, await asyncio.gather(*(_health(name, options) for name in found)), strict=True))
    worst = max((LEVELS.index(one.level) for one in seen.values()), default=0)
    if chosen(options, "as_json"):
        queues = [
            {"queue": name, "problems": [reason.said for reason in one.reasons], **msgspec.structs.asdict(one)}
            for name, one in seen.items()
        ]
        emit({"level": LEVELS[worst], "healthy": not worst, "queues": queues})
        return worst
    for name, one in seen.items():
        _show(name, one)
    if not any(one.reasons for one in seen.values()):
        click.echo(f"{count(len(seen), 'queue')}, all well")
    return worst


async def _health(name: str, options: dict[str, Any]) -> Health:
    async with opened(name, options) as queue:
        found = await queue.health()
    reasons = [*_asked(found, options), *found.reasons]
    level = LEVELS[max((LEVELS.index(one.level) for one in reasons), default=0)]
    return msgspec.structs.replace(found, level=level, reasons=tuple(reasons))


def _asked(found: Health, options: dict[str, Any]) -> Iterator[Reason]:
    """Yield what is over the limits of this command line; they are critical: somebody asked for them."""
    waiting, oldest = found.facts.get("waiting", 0), found.facts.get("oldest")
    lag, age = options["max_lag"], options["max_age"]
    if lag is not None and waiting > lag:
        yield Reason("size", "critical", f"{waiting:,} waiting, limit {lag:,}", waiting, lag)
    if age is not None and oldest is not None and oldest > age:
        said = f"oldest has waited {duration(oldest)}, limit {duration(age)}"
        yield Reason("oldest", "critical", said, oldest, age)


def _show(name: str, found: Health) -> None:
    for one in found.reasons:
        click.echo(f"{name}: {click.style(one.level, fg=COLOURS.get(one.level))}: {one.said}")
        if one.do:
            click.echo(f"  {one.do}")
