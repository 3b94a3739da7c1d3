"""``streamq stats``: counters of queues, once or as they change."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from .connect import awaited, known, names
from .options import DURATION, Command, chosen, complete_queues, printing
from .queues import Held, Row, paused, read_all
from .say import count, duration, note
from .show import emit, emit_line
from .watching import Away, watching

TOTALS = ("completed", "failed", "retried", "snoozed", "limited", "cancelled", "expired", "stalled", "replayed")


@click.command(cls=Command)
@click.argument("queue_names", nargs=-1, metavar="[QUEUE]...", shell_complete=complete_queues)
@click.option("-w", "--watch", is_flag=True, help="Again and again, with rates; ends with Ctrl-C.")
@click.option("--interval", type=DURATION, default=1.0, help="With --watch.  [default: 1s]")
@click.option("--times", type=click.IntRange(1), help="With --watch: so often, then end.")
@printing
@awaited
async def stats(queue_names: Sequence[str], **options: Any) -> None:
    """Show counts and totals of QUEUE, or of every queue."""
    found = [await known(name, options) for name in queue_names] or await names(options)
    if not found:
        note("no queue yet; a queue shows up with its first job or worker")
    if options["watch"]:
        await _watch(found, options)
        return
    rows = await read_all(found, options, held=True)
    if chosen(options, "as_json"):
        emit({"queues": [row.data() for row in rows]})
        return
    for row in rows:
        _show(row)


def _show(row: Row) -> None:
    counts = row.counts
    click.echo(click.style(row.name, bold=True) + (f"  {paused(counts)}" if counts.paused else ""))
    now = f"{counts.active:,} active, {counts.waiting:,} waiting, {counts.delayed:,} delayed, {counts.parked:,} parked"
    oldest = f", oldest has waited {duration(counts.oldest)}" if counts.oldest is not None else ""
    click.echo(f"  now      {now}, {counts.dead:,} dead{oldest}")
    totals = [f"{getattr(counts, name):,} {name}" for name in TOTALS if getattr(counts, name) or name == "completed"]
    click.echo(f"  in all   {', '.join(totals)}")
    busy = sum(worker.active for worker in row.workers if worker.alive)
    slots = sum(worker.concurrency for worker in row.workers if worker.alive)
    click.echo(
        f"  workers  {count(row.alive, 'worker')}" + (f", {busy:,} of {slots:,} slots busy" if row.alive else "")
    )
    if row.held and row.held.words():
        click.echo(f"  held     {', '.join(row.held.words())}{_named(row.held)}")


def _named(held: Held) -> str:
    named = [*(f"g:{one}" for one in held.groups), *(f"h.{one}" for one in held.handlers)]
    return f" ({', '.join(named[:5])}{', ...' if len(named) > 5 else ''})" if named else ""


async def _watch(found: list[str], options: dict[str, Any]) -> None:
    """Print a line a queue and interval; the rate is what changed since the line before."""
    before: dict[str, tuple[float, int, int]] = {}
    left = options["times"]
    async with watching(options, found, options["interval"]) as watch:
        while left is None or left > 0:
            seen = await watch.look()
            if isinstance(seen, Away):
                note(f"no answer ({seen.reason}), next try in {duration(seen.again)}")
                continue
            now = time.monotonic()
            for one in seen.queues:
                done, failed = one.counts.completed, one.counts.failed
                last, was_done, was_failed = before.get(one.name, (now, done, failed))
                span = now - last
                before[one.name] = (now, done, failed)
                speed, misses = ((done - was_done) / span, (failed - was_failed) / span) if span else (None, None)
                _line(Row(one.name, one.counts, list(one.workers)), speed, misses, options)
            left = None if left is None else left - 1


def _line(row: Row, done: float | None, failed: float | None, options: dict[str, Any]) -> None:
    stamp = datetime.now().astimezone().isoformat(timespec="seconds")
    if chosen(options, "as_json"):
        emit_line({"time": stamp, **row.data(), "completed_per_second": done, "failed_per_second": failed})
        return
    counts = row.counts
    rates = "" if done is None else f" done={done:,.1f}/s failed={failed:,.1f}/s"
    state = " paused" if counts.paused else ""
    click.echo(
        f"{stamp} {row.name}{state} active={counts.active} waiting={counts.waiting} delayed={counts.delayed} "
        f"dead={counts.dead}{rates}" + (f" oldest={counts.oldest:.1f}" if counts.oldest is not None else "")
    )
