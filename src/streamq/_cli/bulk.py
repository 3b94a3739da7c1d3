"""One verb for many jobs: which ones, how many, asked for, done, told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import click

from ..errors import JobStateError, JobUnknown
from .say import CliError, confirm, count, note
from .show import emit

ABREAST = 20
"""Calls under way at a time."""


class Verb(NamedTuple):
    """What to do, in words: "cancel", "cancelled"."""

    word: str
    done: str
    warning: str = ""


class Manner(NamedTuple):
    """How: as the options say."""

    dry_run: bool
    yes: bool
    as_json: bool
    ask: bool


async def apply(
    verb: Verb, ids: Sequence[str], act: Callable[[str], Awaitable[object]], manner: Manner, *, noun: str = "job"
) -> None:
    """Do it to every job; what cannot be done is told, and makes the exit code 1.

    ``act`` raises `JobUnknown` or `JobStateError`, or returns False, for a job it cannot be done to.
    """
    if manner.dry_run:
        _tell({"matched": len(ids), "dry_run": True}, f"would {verb.word} {count(len(ids), noun)}", manner)
        return
    if manner.ask and ids:
        confirm(f"{verb.word.capitalize()} {count(len(ids), noun)}?{verb.warning}", yes=manner.yes)
    skipped: dict[str, str] = {}
    gate = asyncio.Semaphore(ABREAST)

    async def one(job_id: str) -> None:
        async with gate:
            try:
                if await act(job_id) is False:
                    skipped[job_id] = "has ended already, or is unknown"
            except (JobUnknown, JobStateError) as problem:
                skipped[job_id] = str(problem)

    await asyncio.gather(*(one(job_id) for job_id in ids))
    done = len(ids) - len(skipped)
    _tell({"matched": len(ids), "done": done, "skipped": skipped}, f"{count(done, noun)} {verb.done}", manner)
    if skipped and not manner.as_json:
        for job_id, why in list(skipped.items())[:10]:
            note(f"  not {job_id}: {why}")
        if len(skipped) > 10:
            note(f"  and {len(skipped) - 10} more")
    if skipped:
        raise click.exceptions.Exit(1)


def ids_or_all(ids: Sequence[str], *, everything: bool, filtered: bool) -> None:
    """Refuse what could mean two things: ids beside filters, or filters that nobody said ``--all`` to."""
    if ids and (everything or filtered):
        raise click.UsageError("give ids, or --all with filters, not both")
    if not ids and not everything:
        raise CliError("which ones?", "give ids, or --all with filters such as --name", "--dry-run only counts", code=2)


def _tell(data: dict[str, object], text: str, manner: Manner) -> None:
    if manner.as_json:
        emit(data)
    else:
        click.echo(text)
