"""``streamq limits``: list, set and clear the limits of a queue while it runs."""

from __future__ import annotations

import re
from typing import Any

import click

from .. import LimitInfo, Queue, RateLimit
from .._core.units import parse_duration
from .connect import awaited, known, opened
from .options import Command, chosen, printing
from .say import ago, duration, note, table
from .show import emit
from .typos import note_unknown_handler

_RATE = re.compile(r"(\d+)/(.+)")
_UNITS = {"ms", "s", "m", "h", "d", "w"}


SET = """\
Set limits of GATE over what code declares; what is not given stays.

\b
GATE:  q            the queue
       g            all groups
       g:<group>    one of them
       h.<handler>  a handler
       r.<limit>    a named limit of the queue, or a handler's rate limit by key
       k.<handler>  a handler's concurrency by key

It counts for every job that starts from now on. What runs goes on: a lower limit is reached as jobs end.
"""


@click.group()
def limits() -> None:
    """List, set and clear limits while workers run."""


def rate(value: str) -> RateLimit | None:
    """Convert "50/1s", "600/m" or "none"."""
    if value == "none":
        return None
    found = _RATE.fullmatch(value.strip().replace(" ", ""))
    problem = click.BadParameter(f"{value!r} is no rate; write 50/1s, 600/m or 1000/24h, or none for no bound")
    if found is None:
        raise problem
    try:
        return RateLimit(int(found[1]), per=parse_duration(f"1{found[2]}" if found[2] in _UNITS else found[2]))
    except ValueError:  # a ConfigError is one
        raise problem from None


def whole(value: str) -> int | None:
    """Convert a whole number from 1, or "none"."""
    if value == "none":
        return None
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 10**9:
        raise click.BadParameter(f"{value!r} is no number of jobs; write 1 or more, or none for no bound")
    return int(value)


@limits.command("list", cls=Command)
@click.argument("queue_name", metavar="QUEUE")
@printing
@awaited
async def list_limits(queue_name: str, **options: Any) -> None:
    """List what is in force: what code declares, what was set live over it, and who uses it now."""
    async with opened(await known(queue_name, options), options) as queue:
        found = await queue.limits.list()
    if chosen(options, "as_json"):
        emit({"queue": queue.name, "limits": found})
        return
    shown = [one for one in found if not one.gate.startswith("x.")]
    if not shown:
        note("no limits")
    else:
        head = ("gate", "at once", "rate", "weight", "size", "running", "in line", "state", "set by")
        table(head, [_row(one) for one in shown], right=("at once", "weight", "size", "running", "in line"))
    if len(shown) < len(found):
        note(f"and {len(found) - len(shown)} in force to hold jobs: streamq blocks {queue.name}")


@limits.command("set", cls=Command, help=SET)
@click.argument("queue_name", metavar="QUEUE")
@click.argument("gate")
@click.option("--concurrency", type=whole, metavar="N|none", help="Jobs that may run at once.")
@click.option("--rate", type=rate, metavar="N/TIME|none", help="Jobs that may start, such as 50/1s or 1000/24h.")
@click.option("--weight", type=float, help="Of a group: its share of the turns; 1 is usual.")
@click.option("--size", type=whole, metavar="N|none", help="Of a group: jobs that may wait.")
@printing
@click.pass_context
@awaited
async def set_limits(ctx: click.Context, /, queue_name: str, gate: str, **options: Any) -> None:
    """Set limits."""
    # None is a value here, the one of "none".
    given = {
        name: options[name]
        for name in ("concurrency", "rate", "weight", "size")
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    }
    if not given:
        raise click.UsageError("say what to set: --concurrency, --rate, --weight or --size")
    async with opened(await known(queue_name, options), options) as queue:
        changed = await queue.limits.set(gate, **given)
        await note_unknown_handler(queue, _handler_of(gate))
        await _tell(queue, gate, options, "" if changed else "unchanged: ", changed=changed)


@limits.command("clear", cls=Command)
@click.argument("queue_name", metavar="QUEUE")
@click.argument("gate")
@printing
@awaited
async def clear_limits(queue_name: str, gate: str, **options: Any) -> None:
    """Take away what was set live for GATE, a pause included; what code declares is in force again."""
    async with opened(await known(queue_name, options), options) as queue:
        changed = await queue.limits.clear(gate)
        await _tell(
            queue,
            gate,
            options,
            "cleared; in force: " if changed else "nothing was set live; in force: ",
            changed=changed,
        )


async def _tell(queue: Queue, gate: str, options: dict[str, Any], before: str, *, changed: bool) -> None:
    found = next((one for one in await queue.limits.list() if one.gate == gate), None)
    if chosen(options, "as_json"):
        emit({"queue": queue.name, "gate": gate, "changed": changed, "limit": found})
    else:
        click.echo(f"{queue.name} {gate}: {before}{_sentence(found)}")


def _sentence(found: LimitInfo | None) -> str:
    if found is None:
        return "no limit"
    parts = [f"{found.concurrency:,} at once"] if found.concurrency is not None else []
    parts += [found.rate] if found.rate is not None else []
    parts += [f"weight {found.weight:g}"] if found.weight != 1 else []
    parts += [f"at most {found.size:,} in line"] if found.size is not None else []
    parts += [_paused(found)] if found.paused else []
    return ", ".join(parts) or "no limit"


def _row(one: LimitInfo) -> list[str]:
    # A class counts nothing: its limits hold for each of its gates. Jobs of the queue's gate wait in their lanes.
    is_class = one.gate == "g" or (one.gate.startswith("k.") and "=" not in one.gate)
    by = "" if one.overridden_by is None else f"{one.overridden_by}, {ago(one.overridden_at)}"
    return [
        one.gate,
        "-" if one.concurrency is None else f"{one.concurrency:,}",
        one.rate or "-",
        f"{one.weight:g}",
        "-" if one.size is None else f"{one.size:,}",
        "-" if is_class else f"{one.used:,}",
        "-" if is_class or one.gate == "q" else f"{one.waiting:,}",
        _state(one),
        by or "code",
    ]


def _state(one: LimitInfo) -> str:
    if one.paused:
        return _paused(one)
    if one.state == "rate":
        return f"closed, opens in {duration(one.opens_in)}"
    return "full" if one.state == "slots" else one.state


def _paused(one: LimitInfo) -> str:
    return f"paused: {one.reason}" if one.reason else "paused"


def _handler_of(gate: str) -> str | None:
    return gate[2:] if gate[:2] in ("h.", "k.") and "=" not in gate else None
