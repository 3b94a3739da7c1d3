"""Data for people and for programs: JSON documents, masked payloads, jobs as lines and pages."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Sized
from datetime import datetime
from typing import Any, cast

import click
import msgspec

from .. import AttemptInfo, JobInfo
from .say import ago, duration, printable, table

COLOURS: dict[str, dict[str, Any]] = {
    "active": {"fg": "blue"},
    "delayed": {"fg": "magenta"},
    "parked": {"fg": "cyan"},
    "completed": {"fg": "green"},
    "dead": {"fg": "red", "bold": True},
}


_KINDS: dict[type, str] = {str: "text", bytes: "bytes", list: "list", tuple: "list"}


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Return ``value`` as JSON; what JSON does not know becomes text."""
    data = msgspec.json.encode(value, enc_hook=str)
    if indent is None:
        indent = 2 if sys.stdout.isatty() else 0
    return (msgspec.json.format(data, indent=indent) if indent else data).decode()


def emit(value: Any) -> None:
    """Print one JSON document."""
    click.echo(as_json(value))


def emit_line(value: Any) -> None:
    """Print one line of JSON lines, at once."""
    click.echo(as_json(value, indent=0))
    sys.stdout.flush()


def masked(value: Any) -> Any:
    """Return a payload whose keys can be read and whose values cannot: they may be personal data."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        inside = cast("Mapping[object, object]", value)
        return {str(key): masked(inner) for key, inner in inside.items()}
    if isinstance(value, bool):
        return "<hidden: true or false>"
    if isinstance(value, int | float):
        return "<hidden: number>"
    kind = _KINDS.get(type(cast("object", value)), "value")
    return f"<hidden: {kind} of {len(value)}>" if isinstance(value, Sized) else "<hidden>"


def without_payload(info: JobInfo, *, show: bool) -> JobInfo:
    """Return ``info`` as it may be shown."""
    return info if show else msgspec.structs.replace(info, args=masked(info.args))


def job_table(jobs: Sequence[JobInfo]) -> None:
    """Print jobs, a line each."""
    rows = [[job.id, str(job.state), job.name, _attempts(job), _when(job), _last(job)] for job in jobs]
    table(("id", "state", "handler", "runs", "when", "error"), rows, right=("runs",))


def job_page(info: JobInfo) -> None:
    """Print everything known of a job."""
    colour = COLOURS.get(str(info.state), {})
    click.echo(f"{printable(info.id)}  {click.style(str(info.state), **colour)}  {printable(info.name)}")
    for label, value in _facts(info):
        if value not in ("", "-", None):
            click.echo(f"  {label:<9} {printable(value)}")
    if info.args is not None:
        click.echo("  payload")
        for key, value in info.args.items():
            click.echo(printable(f"    {key}: {value if isinstance(value, str) else as_json(value, indent=0)}"))
    for error in info.errors:
        click.echo(f"  attempt {error.attempt} failed {ago(error.at)} after {duration(error.duration)}{_of(error)}")
        click.echo(f"    {printable(_error(error))}")
    if info.errors and info.errors[-1].traceback:
        click.echo("  last traceback")
        for line in info.errors[-1].traceback.rstrip().splitlines():
            click.echo(click.style(f"    {printable(line)}", dim=True))


def _facts(info: JobInfo) -> list[tuple[str, str | None]]:
    return [
        ("queue", info.queue),
        ("runs", _attempts(info)),
        ("reason", info.reason),
        ("created", _instant(info.created_at)),
        ("due", _instant(info.due_at)),
        ("finished", _instant(info.finished_at)),
        ("took", duration(info.duration)),
        ("expires", _instant(info.expires_at)),
        ("deadline", _instant(info.deadline)),
        ("worker", info.worker),
        ("stalls", str(info.stalls) if info.stalls else ""),
        ("tenant", info.tenant),
        ("priority", info.priority.name.lower() if info.priority is not None else ""),
        *((f"header {name}", value) for name, value in info.headers.items()),
    ]


def _instant(when: datetime | None) -> str:
    return "" if when is None else f"{when:%Y-%m-%d %H:%M:%S}Z, {ago(when)}"


def _attempts(job: JobInfo) -> str:
    return str(job.attempts) if job.max_attempts is None else f"{job.attempts} of {job.max_attempts}"


def _when(job: JobInfo) -> str:
    if job.due_at is not None:
        return f"due {ago(job.due_at)}"
    return ago(job.finished_at or job.created_at)


def _last(job: JobInfo) -> str:
    return _error(job.errors[-1]) if job.errors else job.reason


def _of(error: AttemptInfo) -> str:
    return f", release {printable(error.release)}" if error.release else ""


def _error(error: AttemptInfo) -> str:
    return " ".join(f"{error.type}: {error.message}".split())
