"""``streamq breakers``: the circuit breakers of a queue."""

from __future__ import annotations

from typing import Any

import click

from .. import BreakerInfo
from .connect import awaited, known, opened
from .options import Command, chosen, printing
from .say import ago, note, table
from .show import emit


@click.command(cls=Command)
@click.argument("queue_name", metavar="QUEUE")
@printing
@awaited
async def breakers(queue_name: str, **options: Any) -> None:
    """List the circuit breakers of QUEUE: closed, open or half open, why, and how many jobs wait for them.

    Known are those that ever counted a failure, or were opened by hand; failures are those of the last minute.
    """
    async with opened(await known(queue_name, options), options) as queue:
        found = await queue.breakers()
    if chosen(options, "as_json"):
        emit({"queue": queue.name, "breakers": found})
        return
    if not found:
        note("no circuit breaker has counted a failure")
        return
    head = ("breaker", "state", "failures", "next probe", "jobs", "since", "by", "reason")
    table(head, [_row(one) for one in found], right=("failures", "jobs"))


def _row(one: BreakerInfo) -> list[str]:
    state = one.state.replace("_", " ")
    probe = "-" if one.state == "closed" else ago(one.next_probe) if one.state == "open" else "now"
    by, reason = one.by or "-", one.reason or "-"
    return [one.name, state, str(one.failures), probe, f"{one.waiting:,}", ago(one.changed_at), by, reason]
