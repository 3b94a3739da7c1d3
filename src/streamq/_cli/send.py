"""``streamq send``: enqueues one job from a shell, and waits for its end if asked to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import click
import msgspec

from .. import Job, JobOptions, Priority, Queue
from ..errors import JobCancelled, JobDead, JobExpired, ResultUnavailable
from .connect import awaited, known, names, opened
from .loader import load
from .options import DURATION, INSTANT, Command, chosen, one_queue, printing
from .say import FAILED, TIMEOUT, USAGE, CliError, note
from .show import as_json, emit
from .typos import unknown_handler


@click.command(cls=Command)
@click.argument("name")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-d", "--data", help="Arguments as a JSON object, @file or - for standard input.")
@one_queue
@click.option("--delay", type=DURATION, help="Not before this has passed.")
@click.option("--at", type=INSTANT, help="Not before this instant.")
@click.option(
    "--priority", type=click.Choice([one.name.lower() for one in Priority], case_sensitive=False), help="Lane."
)
@click.option("--id", "job_id", help="Custom id; a second job of this id is not enqueued.")
@click.option("--max-attempts", type=click.IntRange(1, 10_000), help="Runs, the first included.")
@click.option("--header", "headers", multiple=True, metavar="KEY=VALUE", help="Handed to the handler; repeatable.")
@click.option("--tenant", help="Whose job it is.")
@click.option("--expires-in", type=DURATION, help="Must start by then, else it ends as expired.")
@click.option("--wait", is_flag=True, help="Wait for the end and print the result.")
@click.option("--timeout", type=DURATION, help="With --wait: give up after this, exit code 6. The job goes on.")
@click.option("--force", is_flag=True, help="Send it although no worker knows the name.")
@click.option("--app", help="Check the arguments against this app's handlers, module:attribute.")
@click.option("--app-dir", default=".", type=click.Path(file_okay=False), help="Put on sys.path, with --app.")
@printing
@click.pass_context
@awaited
async def send(ctx: click.Context, /, name: str, arguments: Sequence[str], **options: Any) -> None:
    """Enqueue a job for the handler NAME and print its id.

    Values are JSON where they parse as JSON (a=2, on=true, to='["x"]'), else text. Exit codes with --wait: 0 it
    completed, 5 it failed, 6 --timeout passed.
    """
    payload = _payload(options["data"], arguments)
    if options["app"]:
        _check(name, payload, options)
    queue_name = await _queue_for(name, options)
    async with opened(queue_name, options) as queue:
        if not options["force"] and not options["app"]:
            await _known_handler(queue, name)
        job = await queue.enqueue(name, payload, **_job_options(options))
        if not options["wait"]:
            _say_sent(job, options)
            return
        ctx.exit(await _wait(job, options))


def _say_sent(job: Job[Any], options: dict[str, Any]) -> None:
    if chosen(options, "as_json"):
        emit({"id": job.id, "queue": job.queue, "created": job.created})
        return
    click.echo(job.id)
    if not job.created:
        note("a job of this id was there already; nothing was enqueued")


async def _wait(job: Job[Any], options: dict[str, Any]) -> int:
    """Wait for the end, print the result, and return the exit code."""
    wants_json = chosen(options, "as_json")
    try:
        result = await job.result(timeout=options["timeout"])
    except TimeoutError:
        note(f"streamq: job {job.id} has not ended yet; look: streamq jobs show {job.id} --queue {job.queue}")
        if wants_json:
            emit({"id": job.id, "queue": job.queue, "state": str(await job.state())})
        return TIMEOUT
    except (JobDead, JobCancelled, JobExpired) as end:
        note(f"streamq: {_failure(job, end)}")
        if wants_json:
            emit({"id": job.id, "queue": job.queue, "state": str(await job.state()), "error": str(end)})
        return FAILED
    except ResultUnavailable as end:
        note(f"streamq: {end}")
        result = None
    if wants_json:
        emit({"id": job.id, "queue": job.queue, "state": "completed", "result": result})
    else:
        click.echo(result if isinstance(result, str) else as_json(result, indent=0))
    return 0


def _failure(job: Job[Any], end: JobDead | JobCancelled | JobExpired) -> str:
    if not isinstance(end, JobDead):
        return str(end)
    said = f": {end.error_type}: {end.message}" if end.error_type else ""
    return f"job {job.id} is dead ({end.reason}){said}; look: streamq dlq show {job.id} --queue {job.queue}"


def _payload(data: str | None, arguments: Sequence[str]) -> dict[str, Any]:
    payload: dict[str, Any] = {} if data is None else _document(data)
    for pair in arguments:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{pair!r} is no argument; write key=value, or give JSON with --data")
        payload[key] = _value(text)
    return payload


def _document(data: str) -> dict[str, Any]:
    try:
        text = (
            sys.stdin.read() if data == "-" else Path(data[1:]).read_text(encoding="utf-8") if data[:1] == "@" else data
        )
    except (OSError, UnicodeDecodeError) as problem:
        raise CliError(f"cannot read --data {data}: {problem}", code=USAGE) from None
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as problem:
        raise CliError(f"--data is not JSON: {problem}", code=USAGE) from None
    if not isinstance(found, dict):
        raise CliError("--data is no JSON object", "give the arguments by name: --data '{\"a\": 2}'", code=USAGE)
    return cast("dict[str, Any]", found)


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _job_options(options: dict[str, Any]) -> JobOptions:
    found: dict[str, Any] = {
        name: options[name]
        for name in ("delay", "at", "job_id", "max_attempts", "tenant", "expires_in")
        if options[name] is not None
    }
    if options["priority"] is not None:
        found["priority"] = Priority[options["priority"].upper()]
    if options["headers"]:
        found["headers"] = dict(_header(pair) for pair in options["headers"])
    if options["wait"]:
        found["keep_result"] = True  # else a plain completion leaves nothing to tell it by later
    return cast("JobOptions", found)


def _header(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{pair!r} is no header; write --header name=value")
    return name, value


def _check(name: str, payload: dict[str, Any], options: dict[str, Any]) -> None:
    """Check name and arguments against the app; take the queue from it too."""
    queues = load(options["app"].replace(",", " ").split(), options["app_dir"]).queues
    wanted = options["queue_name"]
    candidates = [queue for queue in queues if queue.name == wanted or (not wanted and name in queue.handlers)]
    checked = (candidates or list(queues))[0]
    checked.spec(name, payload, **_job_options(options))
    options["queue_name"] = checked.name


async def _queue_for(name: str, options: dict[str, Any]) -> str:
    """Return the queue to send to: the one named, the only one, or the one whose workers know the handler."""
    given: str | None = options["queue_name"]
    if given:
        return given
    found = await names(options)
    if len(found) > 1:
        knowing = [one for one in found if name in await _handlers(one, options)]
        if len(knowing) == 1:
            return knowing[0]
        raise CliError(f"which queue? there are {', '.join(found)}", "name one with --queue", code=USAGE)
    if not found:
        raise CliError("which queue? none is known yet", "name it with --queue, or start its worker first", code=USAGE)
    return await known(found[0], options)


async def _handlers(queue_name: str, options: dict[str, Any]) -> set[str]:
    async with opened(queue_name, options) as queue:
        return {name for worker in await queue.workers() if worker.alive for name in worker.handlers}


async def _known_handler(queue: Queue, name: str) -> None:
    """Refuse a name that the workers of the queue do not know: most often it is a typing mistake."""
    odd = await unknown_handler(queue, name)
    if odd is not None:
        raise CliError(odd, "--force sends it all the same: it waits, parked, for a worker that has it", code=USAGE)
