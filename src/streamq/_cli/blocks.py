"""``streamq block``, ``unblock``, ``blocks``: jobs held back by what they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from .. import Block
from .connect import awaited, known, opened
from .options import Command, chosen, printing
from .say import CliError, ago, count, note, table
from .show import emit
from .typos import note_unknown_handler
from .where import parse


@click.command(cls=Command)
@click.argument("queue_name", metavar="QUEUE")
@click.option("--name", help="Only jobs of this handler.")
@click.option("--tenant", help="Only jobs of this tenant.")
@click.option("--where", type=parse, help="Only jobs whose arguments fit, such as 'country == \"GR\" and amount > 10'.")
@click.option("--reason", default="", help="Shown to whoever wonders why they wait.")
@printing
@awaited
async def block(queue_name: str, **options: Any) -> None:
    """Hold the jobs of QUEUE that fit all that is given, and print the block's id.

    They are not dropped: they wait in line, in their order, until the block is released. Jobs that run go on.
    """
    given = {name: options[name] for name in ("name", "tenant", "where") if options[name] is not None}
    if not given:
        raise click.UsageError("say which jobs: --name, --tenant or --where; streamq pause holds the whole queue")
    async with opened(await known(queue_name, options), options) as queue:
        made = await queue.block(**given, reason=options["reason"])
        await note_unknown_handler(queue, options["name"])
    if chosen(options, "as_json"):
        emit({"queue": queue.name, **_data(made)})
        return
    click.echo(made.id)
    note(f"{queue.name} holds {_which(made)}; to let go: streamq unblock {queue.name} {made.id}")


@click.command(cls=Command)
@click.argument("queue_name", metavar="QUEUE")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@printing
@awaited
async def unblock(queue_name: str, ids: Sequence[str], **options: Any) -> None:
    """Release blocks: what they held goes on, in order."""
    async with opened(await known(queue_name, options), options) as queue:
        changed = {one: await queue.unblock(one) for one in ids}
    if chosen(options, "as_json"):
        emit({"queue": queue.name, "blocks": [{"id": one, "changed": value} for one, value in changed.items()]})
    else:
        for one, value in changed.items():
            if value:
                click.echo(f"{one} released")
    unknown = [one for one, value in changed.items() if not value]
    if unknown:
        raise CliError(
            f"{queue.name} has no block {', '.join(unknown)}",
            f"streamq blocks {queue.name} shows what is in force",
        )


@click.command(cls=Command)
@click.argument("queue_name", metavar="QUEUE")
@printing
@awaited
async def blocks(queue_name: str, **options: Any) -> None:
    """List the blocks in force and how many jobs wait for each, the oldest first."""
    async with opened(await known(queue_name, options), options) as queue:
        found = await queue.blocks()
    if chosen(options, "as_json"):
        emit({"queue": queue.name, "blocks": [_data(one) for one in found]})
        return
    if not found:
        note("no blocks")
        return
    head = ("id", "holds", "jobs", "since", "by", "reason")
    rows = [[one.id, _which(one), f"{one.held:,}", ago(one.created_at), one.by, one.reason or "-"] for one in found]
    table(head, rows, right=("jobs",))
    note(f"{count(len(found), 'block')}. One goes by: streamq unblock {queue.name} {found[0].id}")


def _which(block: Block) -> str:
    parts = [f"jobs of {block.name}" if block.name else "jobs"]
    parts += [f"of tenant {block.tenant}"] if block.tenant else []
    parts += [f"where {block.where}"] if block.where else []
    return " ".join(parts)


def _data(block: Block) -> dict[str, Any]:
    names = ("id", "name", "tenant", "where", "reason", "by", "created_at", "held")
    return {name: getattr(block, name) for name in names}
