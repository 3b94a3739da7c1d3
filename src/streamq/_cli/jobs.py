"""``streamq jobs``: list, show, retry, cancel, priority, remove."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from .. import Job, JobInfo, Priority, Queue
from ..errors import JobUnknown
from . import bulk
from .connect import awaited, names, one_name, opened
from .finding import filtered, filters, wanted
from .options import STATES, Command, chosen, one_queue, printing
from .options import bulk as bulk_options
from .say import CliError, note
from .show import emit, job_page, job_table, without_payload

LEVEL = click.Choice([one.name.lower() for one in Priority], case_sensitive=False)

PAGE = 500
"""Jobs asked for at a time when all are wanted."""


@click.group()
def jobs() -> None:
    """List, show, retry, cancel, move and remove jobs."""


@jobs.command("list", cls=Command)
@one_queue
@filters
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@click.option("--cursor", default="", help="Go on where an earlier list stopped.")
@click.option("--payload", is_flag=True, help="Show arguments, in JSON.")
@printing
@awaited
async def list_jobs(**options: Any) -> None:
    """List jobs: of one state, or of every state in turn."""
    async with opened(await one_name(options), options) as queue:
        found, cursor, looked = await _page(queue, options)
    if chosen(options, "as_json"):
        shown = [without_payload(job, show=options["payload"]) for job in found]
        emit({"queue": queue.name, "jobs": shown, "cursor": cursor, "looked_at": looked})
        return
    if found:
        job_table(found)
    else:
        note("no job matches" if filtered(options) else "no jobs")
    if cursor:
        note(f"there is more: --cursor {cursor}" + (f"; looked at {looked:,}" if wanted(options) else ""))


async def _page(queue: Queue, options: dict[str, Any]) -> tuple[list[JobInfo], str, int]:
    """Return a page and the cursor of the next; without a state it names the state it stopped in."""
    states = [options["state"]] if options["state"] else list(STATES)
    at, _, inner = str(options["cursor"]).rpartition("/")
    if at in states:
        states = states[states.index(at) :]
    found: list[JobInfo] = []
    looked = 0
    for number, state in enumerate(states):
        page = await queue.jobs(state, limit=options["limit"] - len(found), cursor=inner, **wanted(options))
        found += page.jobs
        looked += page.looked_at
        inner = page.cursor
        if inner or (len(found) >= options["limit"] and number + 1 < len(states)):
            return found, f"{state}/{inner}" if inner else f"{states[number + 1]}/", looked
    return found, "", looked


@jobs.command("show", cls=Command)
@click.argument("job_id")
@one_queue
@click.option("--payload", is_flag=True, help="Show the arguments; they may be personal data.")
@printing
@awaited
async def show_job(job_id: str, **options: Any) -> None:
    """Show everything known of a job."""
    info = without_payload(await _find(job_id, options), show=options["payload"])
    if chosen(options, "as_json"):
        emit(info)
    else:
        job_page(info)


async def _find(job_id: str, options: dict[str, Any]) -> JobInfo:
    """Look in the queue that was named, else in each."""
    looked = [options["queue_name"]] if options["queue_name"] else await names(options)
    for name in looked:
        async with opened(name, options) as queue:
            job = await queue.job(job_id)
            if job is not None:
                return await job.info()
    raise CliError(
        f"no trace of job {job_id} in {', '.join(looked) or 'any queue'}",
        "what completed is remembered for a while only; is --prefix right?",
        "streamq jobs list shows what there is",
    )


def _verb(word: str, help_text: str) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command that does something to jobs by id, or to all that match."""

    def make(fn: Callable[..., None]) -> click.Command:
        decorated = click.argument("ids", nargs=-1, metavar="[ID]...")(one_queue(filters(bulk_options(printing(fn)))))
        return jobs.command(word, cls=Command, help=help_text)(decorated)

    return make


@_verb("retry", "Run dead jobs again with all their attempts, and delayed ones now.")
@awaited
async def retry(ids: Sequence[str], **options: Any) -> None:
    """Retry."""
    verb = bulk.Verb("retry", "retried", " Each may do again what it did before.")
    await _each(verb, ids, options, ("dead",), ("dead", "delayed"), lambda job: job.retry())


@_verb("cancel", "Cancel jobs: those that wait are out at once, running ones are asked to stop.")
@awaited
async def cancel(ids: Sequence[str], **options: Any) -> None:
    """Cancel."""
    unended = ("waiting", "delayed", "parked", "active")
    await _each(bulk.Verb("cancel", "cancelled"), ids, options, unended, unended, lambda job: job.cancel())


@_verb("priority", "Move jobs that have not started to another lane, behind those that wait there.")
@click.option("--to", required=True, type=LEVEL, help="Lane.")
@awaited
async def priority(ids: Sequence[str], **options: Any) -> None:
    """Reprioritise."""
    level = Priority[options["to"].upper()]
    fitting = ("waiting", "delayed", "parked")
    verb = bulk.Verb("move", f"moved to {options['to'].lower()}")
    await _each(verb, ids, options, fitting, fitting, lambda job: job.set_priority(level))


@_verb("remove", "Take jobs that have not started out of the queue, and dead ones away, for good.")
@awaited
async def remove(ids: Sequence[str], **options: Any) -> None:
    """Remove."""
    fitting = ("waiting", "delayed", "parked", "dead")
    verb = bulk.Verb("remove", "removed", " They are gone for good, with their payloads.")
    await _each(verb, ids, options, fitting[:3], fitting, lambda job: job.remove())


async def _each(
    verb: bulk.Verb,
    ids: Sequence[str],
    options: dict[str, Any],
    usual: Sequence[str],
    fitting: Sequence[str],
    act: Callable[[Job[Any]], Any],
) -> None:
    """Do a verb to the jobs named or found; without ``--state`` to those in its ``usual`` states."""
    bulk.ids_or_all(ids, everything=options["everything"], filtered=filtered(options))
    state = options["state"]
    if state and state not in fitting:
        raise click.UsageError(f"{state} jobs cannot be {verb.done}; it works on {', '.join(fitting)}")
    async with opened(await one_name(options), options) as queue:
        found = list(ids) or await _matching(queue, [state] if state else usual, options)

        async def one(job_id: str) -> object:
            job = await queue.job(job_id)
            if job is None:
                raise JobUnknown(job_id)
            return await act(job)

        asks = options["everything"] or verb.word == "remove"
        manner = bulk.Manner(options["dry_run"], options["yes"], bool(chosen(options, "as_json")), asks)
        await bulk.apply(verb, found, one, manner)


async def _matching(queue: Queue, states: Sequence[str], options: dict[str, Any]) -> list[str]:
    """Return the ids of all that match now: what comes later is left alone."""
    found: dict[str, None] = {}
    for state in states:
        cursor = ""
        while True:
            page = await queue.jobs(state, limit=PAGE, cursor=cursor, **wanted(options))
            found.update((job.id, None) for job in page.jobs)
            cursor = page.cursor
            if not cursor:
                break
    return list(found)
