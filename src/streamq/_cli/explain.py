"""``streamq explain``: why a job is where it is."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from .. import JobState
from .connect import awaited, known, opened
from .options import Command, chosen, printing
from .say import CliError, note, table
from .show import emit


@click.command(cls=Command)
@click.argument("queue_name", metavar="QUEUE")
@click.argument("job_id", metavar="JOB")
@printing
@awaited
async def explain(queue_name: str, job_id: str, **options: Any) -> None:
    """Tell why JOB is where it is: its line, its place in it, and what each of its limits says."""
    async with opened(await known(queue_name, options), options) as queue:
        found = await queue.explain(job_id)
    if found.state is JobState.UNKNOWN:
        raise CliError(
            f"no trace of job {job_id} in {queue.name}",
            "what completed is remembered for a while only; is --prefix right?",
            f"streamq jobs list --queue {queue.name} shows what there is",
        )
    if chosen(options, "as_json"):
        emit({"queue": queue.name, **msgspec.structs.asdict(found)})
        return
    click.echo(found.text)
    if found.gates and found.state is JobState.WAITING:
        table(("limit", "state", "now"), [[one.gate, one.state, one.text] for one in found.gates])
    for one in found.gates:
        if one.gate.startswith("x.") and one.state == "paused" and found.state is JobState.WAITING:
            note(f"to let go: streamq unblock {queue.name} {one.gate[2:]}")
    if found.state is JobState.DEAD:
        note(f"look: streamq dlq show {job_id} --queue {queue.name}")
