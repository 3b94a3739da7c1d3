"""``streamq verify`` and ``streamq recover``: whether a queue hangs together, and how it is mended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from .. import Finding, Recovery, Verification
from .connect import awaited, known, names, opened, several
from .options import Command, chosen, complete_queues, printing
from .say import count, duration, note, table
from .show import emit


@click.command(cls=Command)
@click.argument("queue_names", nargs=-1, metavar="[QUEUE]...", shell_complete=complete_queues)
@click.option("--limit", type=click.IntRange(1), help="Look at no more than so many things of each sort.")
@click.option("--examples", type=click.IntRange(0, 1000), default=3, show_default=True, help="Of each kind of damage.")
@printing
@click.pass_context
@awaited
async def verify(ctx: click.Context, /, queue_names: Sequence[str], **options: Any) -> None:
    """Check that everything QUEUE keeps hangs together, or every queue's; exit code 1 if something does not.

    Reads only, page by page: workers and producers go on meanwhile.
    """
    found = [await known(name, options) for name in queue_names] or await names(options)
    seen: list[Verification] = []
    for name in found:
        async with opened(name, options) as queue:
            seen.append(await queue.verify(limit=options["limit"], examples=options["examples"]))
    sound = all(one.sound for one in seen)
    if chosen(options, "as_json"):
        emit({"sound": sound, "queues": seen})
    elif not seen:
        note("no queue yet; a queue shows up with its first job or worker")
    for one in seen if not chosen(options, "as_json") else ():
        _show(one)
    if not sound:
        ctx.exit(1)


def _show(found: Verification) -> None:
    said = "sound" if found.sound else f"{count(len(found.findings), 'kind')} of damage"
    click.echo(click.style(found.queue, bold=True) + f"  {said}")
    looked = [f"{sort} {number:,}" for sort, number in found.looked_at.items() if number]
    note(f"  looked at {', '.join(looked) or 'nothing'}; took {duration(found.took)}")
    for one in found.notes:
        note(f"  {one}")
    if found.sound:
        return
    _table(found.findings)
    if any(one.mends for one in found.findings):
        note(f"to mend it: streamq recover {found.queue} --apply")


def _table(findings: Sequence[Finding]) -> None:
    rows = [[one.kind, f"{one.count:,}", one.means, one.mends or "nothing"] for one in findings]
    table(("kind", "things", "what it is", "recover"), rows, right=("things",))
    for one in findings:
        for example in one.examples:
            click.echo(f"  {one.kind}  {example}")


@click.command(cls=Command)
@click.argument("queue_names", nargs=-1, metavar="[QUEUE]...", shell_complete=complete_queues)
@click.option("--all", "everything", is_flag=True, help="Every queue of the prefix.")
@click.option("--apply", is_flag=True, help="Do it; without it only say what would be done.")
@click.option("--limit", type=click.IntRange(1), help="Look at no more than so many things of each sort.")
@printing
@click.pass_context
@awaited
async def recover(ctx: click.Context, /, queue_names: Sequence[str], **options: Any) -> None:
    """Mend what `streamq verify` finds in QUEUE: says what it would do, and with --apply does it.

    No job is dropped that still has its envelope: it waits again, and may run twice. Each repair looks once more and
    mends in one step, so workers and producers go on meanwhile. Exit code 1 if something is left to mend.
    """
    seen: list[Recovery] = []
    for name in await several(queue_names, options):
        async with opened(name, options) as queue:
            seen.append(await queue.recover(apply=options["apply"], limit=options["limit"]))
    if chosen(options, "as_json"):
        emit({"queues": [msgspec.to_builtins(one) for one in seen]})
    else:
        for one in seen:
            _tell(one)
    if any(one.left for one in seen):
        ctx.exit(1)


def _tell(done: Recovery) -> None:
    for one in done.repairs:
        about = ": ".join(part for part in (one.job and f"job {one.job}", one.detail) if part)
        verb = "" if done.applied else "would be "
        click.echo(f"{done.queue}  {one.kind}  {about or 'the queue'}  ({verb}{one.mends})")
    for job in done.lost:
        click.echo(f"{done.queue}  nothing that could run is left of job {job}")
    things = count(len(done.repairs), "thing")
    if not done.applied and done.repairs:
        note(f"{done.queue}: {things} to mend; to do it: streamq recover {done.queue} --apply")
    elif done.applied:
        note(f"{done.queue}: {things} mended in {duration(done.took)}")
    else:
        note(f"{done.queue}: nothing to mend")
    unmended = [one for one in done.left if done.applied or not one.mends]
    if unmended:
        note(f"{done.queue}: left as it is")
        _table(unmended)
