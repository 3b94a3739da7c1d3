"""What jobs are found by on the command line: the filters of the API and of the dashboard, in the same words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from .. import Priority
from .._core.condition import Condition
from .._core.units import parse_duration
from ..search import JobFilter
from .options import INSTANT, STATE, STATES, complete_handlers
from .where import parse

F = TypeVar("F", bound=Callable[..., Any])

NAMES = ("name", "tenant", "id", "error", "text", "priority", "attempts", "since", "until", "worker", "where")


def moment(value: str | float | datetime) -> float | datetime:
    """Convert "1h" (ago) or an ISO instant with a time zone."""
    if isinstance(value, int | float | datetime):
        return value
    try:
        return parse_duration(value)
    except ValueError:
        return INSTANT(value)


def lane(value: Any) -> Any:
    """Convert the name of a priority."""
    found = Priority.__members__.get(str(getattr(value, "name", value)).upper())
    if found is None:
        known = ", ".join(one.lower() for one in Priority.__members__)
        raise click.BadParameter(f"{value!r} is no priority; there are {known}")
    return found


def condition(value: str | Condition) -> Condition:
    """Convert a condition on the arguments."""
    return value if isinstance(value, Condition) else parse(value)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--state", type=STATE, help=f"One of {', '.join(STATES)}."),
    click.option("--name", shell_complete=complete_handlers, help="Only of this handler."),
    click.option("--tenant", help="Only of this tenant."),
    click.option("--id", help="Only the job with this id, or whose id ends so."),
    click.option("--error", help="Only with this text in reason, error type or message."),
    click.option("--search", "text", help="Only with this text in id, name, tenant or error, capitals or not."),
    click.option("--priority", type=lane, help="Only of this lane: critical, high, normal, low or background."),
    click.option("--attempts", type=click.IntRange(0), help="Only those with so many runs behind them, or more."),
    click.option(
        "--since", type=moment, help="Ended, or enqueued if it has not ended, within 1h, or since an instant."
    ),
    click.option("--until", type=moment, help="The same, before then."),
    click.option("--worker", help="Only of workers whose name begins so."),
    click.option("--where", type=condition, help="Only whose arguments fit, such as 'country == \"GR\"'."),
)


def filters(command: F) -> F:
    """Add what jobs are found by."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def wanted(options: dict[str, Any]) -> JobFilter:
    """Return the filters that were given."""
    found: Any = {name: options[name] for name in NAMES if options[name] is not None}
    return found  # type: ignore[no-any-return]  # NAMES are the keys of JobFilter


def filtered(options: dict[str, Any]) -> bool:
    """Whether anything was given."""
    return options["state"] is not None or bool(wanted(options))
