"""``streamq dlq``: list, show, replay, purge dead letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import msgspec

from .. import DeadLetter, Queue
from ..errors import JobUnknown
from . import bulk
from .connect import awaited, one_name, opened
from .options import DURATION, RATE, Command, chosen, one_queue, printing
from .options import bulk as bulk_options
from .say import CliError, ago, confirm, count, duration, note, table
from .show import emit, job_page, masked

F = TypeVar("F", bound=Callable[..., Any])

GROUP = ("key", "name", "type", "message", "count", "first_at", "newest_at", "newest_id")
"""What is told of a group in JSON: not its shares, which are of payloads."""


@click.group()
def dlq() -> None:
    """List, show, replay and purge dead letters."""


def filters(command: F) -> F:
    """Add what dead letters are found by."""
    name = click.option("--name", help="Only of this handler.")
    tenant = click.option("--tenant", help="Only of this tenant.")
    since = click.option("--since", type=DURATION, help="Died within this, such as 6h.")
    error = click.option("--error", help="With this text in reason, error type or message.")
    group = click.option("--group", metavar="KEY", help="Only of this group of one error (streamq dlq groups).")
    return name(tenant(since(error(group(command)))))


@dlq.command("list", cls=Command)
@one_queue
@filters
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@click.option("--payload", is_flag=True, help="Show arguments, in JSON.")
@printing
@awaited
async def list_dead(**options: Any) -> None:
    """List dead letters, newest first."""
    letters: list[DeadLetter] = []
    more = False
    async with opened(await one_name(options), options) as queue:
        async for letter in queue.dlq.list(**_filters(options)):
            if len(letters) == options["limit"]:
                more = True
                break
            letters.append(letter)
    if chosen(options, "as_json"):
        shown = [one if options["payload"] else _masked(one) for one in letters]
        emit({"queue": queue.name, "dead": shown, "more": more})
        return
    if not letters:
        note("no dead letter matches" if _filtered(options) else "no dead letters")
        return
    rows = [[one.id, one.name, str(one.attempts), ago(one.died_at), one.tenant or "", _why(one)] for one in letters]
    table(("id", "handler", "runs", "died", "tenant", "why"), rows, right=("runs",))
    if more:
        note(f"there is more: --limit {options['limit'] * 10}")


@dlq.command("groups", cls=Command)
@one_queue
@printing
@awaited
async def list_groups(**options: Any) -> None:
    """List what dead letters died of and how many, the most frequent first."""
    async with opened(await one_name(options), options) as queue:
        found = await queue.dead_groups(most=500)
    if chosen(options, "as_json"):
        told = [{name: getattr(one, name) for name in GROUP} for one in found.groups]
        emit({"queue": queue.name, "dead": found.total, "groups": told})
        return
    if not found.groups:
        note("no dead letters")
        return
    rows = [
        [one.key, f"{one.count:,}", ago(one.newest_at), one.name, " ".join(f"{one.type}: {one.message}".split())]
        for one in found.groups
    ]
    table(("group", "letters", "newest", "handler", "error"), rows, right=("letters",))


@dlq.command("show", cls=Command)
@click.argument("job_id")
@one_queue
@click.option("--payload", is_flag=True, help="Show the arguments; they may be personal data.")
@printing
@awaited
async def show_dead(job_id: str, **options: Any) -> None:
    """Show a dead letter with every failed attempt that was kept."""
    async with opened(await one_name(options), options) as queue:
        letter = await queue.dlq.get(job_id)
        if letter is None:
            raise _no_letter(queue, job_id)
        if chosen(options, "as_json"):
            emit(letter if options["payload"] else _masked(letter))
            return
        job = await queue.job(job_id)
        if job is None:
            raise _no_letter(queue, job_id)
        info = await job.info()
        job_page(info if options["payload"] else msgspec.structs.replace(info, args=masked(info.args)))


@dlq.command("replay", cls=Command)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@one_queue
@filters
@click.option("--rate", type=RATE, help="With --all: spread them out, such as 50/s.")
@bulk_options
@printing
@awaited
async def replay(ids: Sequence[str], **options: Any) -> None:
    """Put dead letters back: same id, all attempts anew, history kept."""
    bulk.ids_or_all(ids, everything=options["everything"], filtered=_filtered(options) or options["rate"] is not None)
    async with opened(await one_name(options), options) as queue:
        if ids:
            verb = bulk.Verb("replay", "replayed")
            await bulk.apply(verb, ids, queue.dlq.replay, _manner(options, ask=False), noun="dead letter")
        else:
            await _replay_all(queue, options)


async def _replay_all(queue: Queue, options: dict[str, Any]) -> None:
    as_json = chosen(options, "as_json")
    wanted = _filters(options)
    matched = (await queue.dlq.replay_all(**wanted, dry_run=True)).replayed
    rate: float | None = options["rate"]
    pace = f" at {rate:g} a second, over {duration(matched / rate)}" if rate else ""
    if options["dry_run"]:
        if as_json:
            emit({"matched": matched, "dry_run": True})
        else:
            click.echo(f"would replay {count(matched, 'dead letter')}{pace}")
        return
    if matched:
        confirm(
            f"Replay {count(matched, 'dead letter')} of {queue.name}{pace}? Each may do again what it did before.",
            yes=options["yes"],
        )
    done = await queue.dlq.replay_all(**wanted, rate=rate)
    if as_json:
        emit({"matched": matched, "done": done.replayed, "refused": list(done.refused)})
    else:
        click.echo(f"{count(done.replayed, 'dead letter')} replayed{pace}")
        if done.refused:
            note(f"  {count(len(done.refused), 'job')} of these ids live again already, and were left alone")


@dlq.command("purge", cls=Command)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@one_queue
@filters
@click.option("--older-than", type=DURATION, help="Died longer ago than this, such as 30d.")
@bulk_options
@printing
@awaited
async def purge(ids: Sequence[str], **options: Any) -> None:
    """Forget dead letters, for good."""
    older = options["older_than"]
    bulk.ids_or_all(ids, everything=options["everything"], filtered=_filtered(options) or older is not None)
    async with opened(await one_name(options), options) as queue:
        found = list(ids) or await _matching(queue, options, older)

        async def one(job_id: str) -> None:
            if not await queue.dlq.purge(job_id):
                raise JobUnknown(job_id)

        verb = bulk.Verb("purge", "purged", " They are gone for good.")
        await bulk.apply(verb, found, one, _manner(options, ask=True), noun="dead letter")


async def _matching(queue: Queue, options: dict[str, Any], older: float | None) -> list[str]:
    letters = queue.dlq.list(**_filters(options))
    return [one.id async for one in letters if older is None or _age(one) >= older]


def _age(letter: DeadLetter) -> float:
    return (letter.died_at.now(letter.died_at.tzinfo) - letter.died_at).total_seconds()


def _filters(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("name", "tenant", "since", "error", "group")}


def _filtered(options: dict[str, Any]) -> bool:
    return any(value is not None for value in _filters(options).values())


def _manner(options: dict[str, Any], *, ask: bool) -> bulk.Manner:
    return bulk.Manner(options["dry_run"], options["yes"], bool(chosen(options, "as_json")), ask)


def _masked(letter: DeadLetter) -> DeadLetter:
    return msgspec.structs.replace(letter, payload=masked(letter.payload))


def _why(letter: DeadLetter) -> str:
    last = letter.errors[-1] if letter.errors else None
    return letter.reason if last is None else " ".join(f"{letter.reason}: {last.type}: {last.message}".split())


def _no_letter(queue: Queue, job_id: str) -> CliError:
    return CliError(f"queue {queue.name!r} has no dead letter {job_id}", "streamq dlq list shows what there is")
