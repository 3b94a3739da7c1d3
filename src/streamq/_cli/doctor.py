"""``streamq doctor``: what to change about the server, the queues, the workers, and this machine."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from typing import Any

import click

from .. import Queue
from .._core import checkup
from .._core.checkup import Check, ClientFacts, QueueFacts
from .._store.checkup import server_facts
from ..errors import VersionMismatch
from .connect import awaited, names, opened
from .options import Command, chosen, printing
from .say import count
from .show import emit

LOOKED_AT = 200
"""Things of each sort that the quick look at a queue takes; `streamq verify` looks at all."""

COLOURS = {"ok": "green", "warn": "yellow", "bad": "red"}


@click.command(cls=Command)
@printing
@click.pass_context
@awaited
async def doctor(ctx: click.Context, /, **options: Any) -> None:
    """Tell what to change about the server, the queues, the workers and this machine; exit code 1 if it is grave.

    With --json it is what to put into a bug report: it holds no payloads and no passwords.
    """
    async with opened("streamq", options) as queue:  # any name: looking brings no queue about
        facts = await server_facts((await queue.stores())[0])
    checks = [*checkup.server(facts)]
    for name in await names(options):
        async with opened(name, options) as queue:
            checks += checkup.queue(await _queue(queue))
    checks += checkup.client(_client())
    level = checkup.worst(checks)
    if chosen(options, "as_json"):
        emit({"level": level, "checks": [one._asdict() for one in checks]})
    else:
        _show(facts.title, checks)
    if level == "bad":
        ctx.exit(1)


async def _queue(queue: Queue) -> QueueFacts:
    try:
        counts, workers = await queue.counts(), await queue.workers()
        found = await queue.verify(limit=LOOKED_AT, examples=0)
    except VersionMismatch as problem:
        return QueueFacts(queue.name, 0, 0, False, 0, (), (), (), str(problem))  # noqa: FBT003 - not paused
    alive = [one for one in workers if one.alive]
    damage = [f"{one.kind} ({one.count:,})" for one in found.findings]
    protocol = next((one.means for one in found.findings if one.kind == "protocol"), "")
    return QueueFacts(
        name=queue.name,
        waiting=counts.waiting + counts.due,
        parked=counts.parked,
        paused=counts.paused,
        alive=len(alive),
        silent=[one.name for one in workers if not one.alive],
        versions=sorted({one.version for one in alive}),
        damage=damage,
        protocol=protocol,
    )


def _client() -> ClientFacts:
    versions = {name: _version(name) for name in ("streamq", "redis", "hiredis", "msgspec", "uvloop")}
    return ClientFacts(platform.python_version(), versions, _files())


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _files() -> int:
    """Return how many files a process may open; 0 where that is not told."""
    try:
        resource: Any = importlib.import_module("resource")
    except ImportError:
        return 0
    soft: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(0, soft)


def _show(title: str, checks: list[Check]) -> None:
    troubles = sorted((one for one in checks if one.level != "ok"), key=lambda one: one.level)  # bad before warn
    well = [one for one in checks if one.level == "ok"]
    said = f"{count(len(troubles), 'thing')} to change" if troubles else "nothing to change"
    click.echo(click.style(f"{title}: {said}", bold=True))
    for one in troubles:
        click.echo(f"{click.style(f'{one.level:<4}', fg=COLOURS[one.level])}  {one.name}: {one.said}")
        click.echo(f"      {one.remedy}")
    for one in well:
        click.echo(click.style(f"ok    {one.name}: {one.said}", dim=True))
