"""Options that commands share, and the types of their values. Imports nothing heavy."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

STATES: tuple[str, ...] = ("waiting", "active", "delayed", "parked", "completed", "dead")
_ALIASES = {"wait": "waiting", "prioritized": "waiting", "failed": "dead", "running": "active", "scheduled": "delayed"}


def duration(value: str | float) -> float:
    """Convert a duration to seconds."""
    if isinstance(value, int | float):
        return float(value)
    from .._core.units import parse_duration  # noqa: PLC0415 - the live probe, which has none to read, imports nothing

    try:
        return parse_duration(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no duration; write 250ms, 90s, 5m, 1h30m or 2d") from None


def rate(value: str | float) -> float:
    """Convert "50", "50/s", "600/m" to so many a second."""
    if isinstance(value, int | float):
        return float(value)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/(s|m|h))?", value.strip())
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{value!r} is no rate; write 50/s or 600/m")
    from .._core.units import UNITS  # noqa: PLC0415 - the same

    return float(found[1]) / UNITS[found[2] or "s"]


def instant(value: str | datetime) -> datetime:
    """Convert an ISO instant that has a time zone."""
    if isinstance(value, datetime):
        return value
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no instant; write 2030-01-31T09:00:00+02:00") from None
    if when.tzinfo is None:
        raise click.BadParameter(f"{value!r} has no time zone; add Z for UTC, or an offset such as +02:00")
    return when


def state(value: str) -> str:
    """Convert a job's state, in our words or in BullMQ's, to ours."""
    found = _ALIASES.get(value, value)
    if found not in STATES:
        raise click.BadParameter(f"{value!r} is no state that can be listed; there are {', '.join(STATES)}")
    return found


DURATION, RATE, INSTANT, STATE = duration, rate, instant, state
"""Types of options; functions, because click's ParamType became generic only after the oldest click we take."""


class Command(click.Command):
    """A command that can name its environment variables in full: a deployer copies them, so nothing may cut them."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters, and ``--help-env``."""
        return [*super().get_params(ctx), _HELP_ENV]


def _help_env(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
    if not wanted:
        return
    for option in ctx.command.params:
        if isinstance(option, click.Option) and option.name:
            click.echo(f"{ctx.auto_envvar_prefix}_{option.name.upper()}  {max(option.opts, key=len)}")
    del param
    ctx.exit()


_HELP_ENV = click.Option(
    ["--help-env"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_help_env,
    help="Name the environment variables of these options.",
)


def connected(command: F) -> F:
    """Add ``--url`` and ``--prefix``."""
    url = click.option("--url", help="Redis or Valkey server, redis://user:password@host:6379/0.")
    prefix = click.option("--prefix", help='Prefix of all keys; else STREAMQ_PREFIX, "streamq".')
    return url(prefix(command))


def printing(command: F) -> F:
    """Add the options of every command that prints data of a server."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    return connected(as_json(command))


def complete_queues(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
    """Complete the name of a queue."""
    return importlib.import_module(".completion", __package__).queue_names(ctx, param, incomplete)


def complete_handlers(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
    """Complete the name of a handler."""
    return importlib.import_module(".completion", __package__).handler_names(ctx, param, incomplete)


def one_queue(command: F) -> F:
    """Add ``--queue``, for commands that work on a single one."""
    said = "The queue; not needed when there is only one."
    return click.option("-q", "--queue", "queue_name", shell_complete=complete_queues, help=said)(command)


def bulk(command: F) -> F:
    """Add the options of commands that work on many jobs."""
    everything = click.option("--all", "everything", is_flag=True, help="Every job that matches, instead of ids.")
    dry_run = click.option("--dry-run", is_flag=True, help="Only count.")
    yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
    return everything(dry_run(yes(command)))


def chosen(options: dict[str, Any], name: str) -> Any:
    """Return an option given to the command, else the one given to ``streamq`` itself before it."""
    value = options.get(name)
    context = click.get_current_context(silent=True)
    if value or context is None:
        return value
    above: dict[str, Any] = context.find_root().obj or {}
    return above.get(name, value)
