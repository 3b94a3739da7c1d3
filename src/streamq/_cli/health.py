"""``streamq health``: an exit code for probes. The local half needs nothing else of streamq."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from typing import Any

import click

from . import alive
from .options import DURATION, Command, chosen, one_queue, printing
from .say import USAGE

UNKNOWN = 3
"""Exit code of wrong usage, as of every plugin of a monitor: 2 says that something is critical."""


class Probe(Command):
    """A command that monitors call: a mistake in the call must not look like a verdict."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the words of the command line."""
        try:
            return super().make_context(*args, **extra)
        except click.ClickException as problem:
            raise _unknown(problem) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run."""
        try:
            return super().invoke(ctx)
        except click.ClickException as problem:
            raise _unknown(problem) from None
        except click.exceptions.Exit:
            raise
        except Exception as problem:
            told: click.ClickException | None = importlib.import_module(".trouble", __package__).told(problem)
            if told is None:
                raise
            raise _unknown(told) from None


def _unknown(problem: click.ClickException) -> click.ClickException:
    if problem.exit_code == USAGE:
        problem.exit_code = UNKNOWN  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    return problem


@click.command(cls=Probe)
@click.option("--live", is_flag=True, help="Only: do the event loops of this machine's workers turn? Asks no server.")
@one_queue
@click.option("--max-lag", type=click.IntRange(0), help="Critical with more jobs waiting than this.")
@click.option("--max-age", type=DURATION, help="Critical when the oldest has waited longer.")
@click.option(
    "--stale",
    type=DURATION,
    default=alive.STALE,
    help="With --live: a loop that is silent so long is stuck.  [default: 10s]",
)
@printing
@click.pass_context
def health(ctx: click.Context, /, **options: Any) -> None:
    """Exit with 0 if all is well, 1 with a warning, 2 if something is critical.

    With 3 if the command is wrong, 4 if Redis cannot be reached: both say nothing of the queues.

    Judged by the HealthPolicy that the queue's workers declare, else by the default one; every queue needs a worker
    while jobs wait. For a liveness probe use --live, which exits with 0 or 1: a Redis that is away must not restart
    workers.
    """
    if not options["live"]:
        ready = importlib.import_module(".ready", __package__)
        ctx.exit(ready.check(options))
    ctx.exit(_live(options))


def _live(options: dict[str, Any]) -> int:
    wanted: str | None = options["queue_name"]
    workers = [one for one in alive.look() if wanted is None or wanted in one.queues]
    stuck = [one for one in workers if one.age > options["stale"]]
    well = bool(workers) and not stuck
    if chosen(options, "as_json"):
        found = [{"pid": one.pid, "age": round(one.age, 3), "queues": one.queues} for one in workers]
        click.echo(json.dumps({"healthy": well, "workers": found}))
    elif not workers:
        click.echo("no worker runs here" + (f" for queue {wanted}" if wanted else ""))
    else:
        click.echo(_sentence(workers, stuck))
    return 0 if well else 1


def _sentence(workers: Sequence[alive.Seen], stuck: Sequence[alive.Seen]) -> str:
    if not stuck:
        return f"{len(workers)} worker{'s' if len(workers) > 1 else ''} alive"
    return "; ".join(f"worker {one.pid} has not turned its loop for {one.age:.0f} s" for one in stuck)
