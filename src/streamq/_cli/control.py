"""``streamq pause``, ``resume``, ``drain``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from .connect import awaited, known, opened, several
from .options import Command, chosen, complete_queues, printing
from .say import confirm, count
from .show import emit
from .typos import note_unknown_handler

F = TypeVar("F", bound=Callable[..., Any])


def _of(command: F) -> F:
    """Add which part of a queue is meant."""
    everything = click.option("--all", "everything", is_flag=True, help="Every queue of the prefix.")
    group = click.option("--group", help="Only the jobs of this group.")
    handler = click.option("--handler", help="Only the jobs of this handler.")
    return everything(group(handler(command)))


@click.command(cls=Command)
@click.argument("queue_names", nargs=-1, metavar="[QUEUE]...", shell_complete=complete_queues)
@_of
@click.option("--reason", default="", help="Shown to whoever wonders why nothing runs.")
@printing
@awaited
async def pause(queue_names: Sequence[str], **options: Any) -> None:
    """Hand out no more jobs of QUEUE, or of a group or handler of it, anywhere; running ones finish."""
    part, said = _part(options)
    changed: dict[str, bool] = {}
    for name in await several(queue_names, options):
        async with opened(name, options) as queue:
            # Without a reason a second pause would wipe out that of the first.
            keeps = not part and not options["reason"] and (await queue.counts()).paused
            changed[name] = not keeps and await queue.pause(reason=options["reason"], **part)
            await note_unknown_handler(queue, options["handler"])
    _tell(changed, said, ("paused", "is paused already"), options)


@click.command(cls=Command)
@click.argument("queue_names", nargs=-1, metavar="[QUEUE]...", shell_complete=complete_queues)
@_of
@printing
@awaited
async def resume(queue_names: Sequence[str], **options: Any) -> None:
    """Hand out the jobs of QUEUE again, or of a group or handler of it."""
    part, said = _part(options)
    changed: dict[str, bool] = {}
    for name in await several(queue_names, options):
        async with opened(name, options) as queue:
            changed[name] = await queue.resume(**part)
    _tell(changed, said, ("resumed", "was not paused"), options)


@click.command(cls=Command)
@click.argument("queue_name", metavar="QUEUE")
@click.option("--include-delayed", is_flag=True, help="Remove delayed jobs as well.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@printing
@awaited
async def drain(queue_name: str, **options: Any) -> None:
    """Remove what waits in QUEUE and has not started, for good; running jobs go on."""
    as_json = chosen(options, "as_json")
    async with opened(await known(queue_name, options), options) as queue:
        counts = await queue.counts()
        there = counts.waiting + counts.parked + (counts.delayed if options["include_delayed"] else 0)
        if not options["dry_run"] and there:
            confirm(f"Remove {count(there, 'job')} from {queue.name}? They are gone for good.", yes=options["yes"])
        removed = there if options["dry_run"] else await queue.drain(include_delayed=options["include_delayed"])
    if as_json:
        emit({"queue": queue.name, "removed": removed, "dry_run": options["dry_run"]})
    else:
        click.echo(
            f"{'would remove ' if options['dry_run'] else ''}{count(removed, 'job')}"
            + ("" if options["dry_run"] else " removed")
        )


def _part(options: dict[str, Any]) -> tuple[dict[str, str], str]:
    """Return which part of a queue is meant: for the call, and in words ("" for the whole)."""
    given = {name: options[name] for name in ("group", "handler") if options[name] is not None}
    if len(given) > 1:
        raise click.UsageError("give --group or --handler, not both")
    return given, "".join(f": {name} {value}" for name, value in given.items())


def _tell(changed: dict[str, bool], part: str, words: tuple[str, str], options: dict[str, Any]) -> None:
    if chosen(options, "as_json"):
        emit({"queues": [{"queue": name, "changed": value} for name, value in changed.items()]})
        return
    for name, value in changed.items():
        click.echo(f"{name}{part} {words[0] if value else words[1]}")
