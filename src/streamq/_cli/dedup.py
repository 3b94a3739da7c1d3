"""``streamq dedup``: look at a dedup key, release it by hand."""

from __future__ import annotations

from typing import Any

import click

from .connect import awaited, known, opened
from .options import Command, chosen, printing
from .say import note
from .show import emit


@click.group()
def dedup() -> None:
    """Look at dedup keys, and release them."""


@dedup.command("get", cls=Command)
@click.argument("queue_name", metavar="QUEUE")
@click.argument("key")
@printing
@click.pass_context
@awaited
async def get_key(ctx: click.Context, /, queue_name: str, key: str, **options: Any) -> None:
    """Print the id of the job that KEY remembers; exit code 1 if it remembers none."""
    async with opened(await known(queue_name, options), options) as queue:
        job_id = await queue.dedup.get(key)
        job = None if job_id is None else await queue.job(job_id)
        state = None if job_id is None else "unknown" if job is None else str(await job.state())
    if chosen(options, "as_json"):
        emit({"queue": queue.name, "key": key, "job": job_id, "state": state})
    elif job_id is None:
        note(f"no job of {queue.name} has the key {key}")
    else:
        click.echo(job_id)
        note(f"that job is {state}" if state != "unknown" else "that job has ended and left no trace")
    if job_id is None:
        ctx.exit(1)


@dedup.command("release", cls=Command)
@click.argument("queue_name", metavar="QUEUE")
@click.argument("key")
@printing
@awaited
async def release(queue_name: str, key: str, **options: Any) -> None:
    """Forget KEY, so that its next job is a new one, whatever became of the last; that one is left alone."""
    async with opened(await known(queue_name, options), options) as queue:
        changed = await queue.dedup.release(key)
    if chosen(options, "as_json"):
        emit({"queue": queue.name, "key": key, "changed": changed})
    else:
        click.echo(f"{key} {'released' if changed else 'was not known'}")
