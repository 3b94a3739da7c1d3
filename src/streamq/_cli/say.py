"""Words for people: errors with their remedies, tables, numbers, durations. Imports nothing heavy."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO, Any

import click

USAGE, APP, REDIS, FAILED, TIMEOUT, HANDED_BACK = 2, 3, 4, 5, 6, 7
"""Exit codes above 1; ``streamq --help`` explains them."""


class CliError(click.ClickException):
    """What went wrong in one line, and what to do about it, a line each."""

    def __init__(self, message: str, *remedies: str, code: int = 1) -> None:
        super().__init__(message)
        self.remedies = remedies
        # click reads it from the instance, and declares it on the class.
        self.exit_code = code  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

    def show(self, file: IO[Any] | None = None) -> None:
        """Write it to standard error."""
        bullet = sign("•", "*")
        lines = [f"streamq: {self.message}", *(f"  {bullet} {remedy}" for remedy in self.remedies)]
        click.echo("\n".join(lines), file=file, err=file is None)


def sign(glyph: str, plain: str) -> str:
    """Return ``glyph`` where the terminal can show it, else ``plain``."""
    try:
        glyph.encode(getattr(sys.stderr, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return plain
    return glyph


def note(text: str) -> None:
    """Say something beside the data: on standard error, so that a pipe gets the data alone."""
    click.echo(text, err=True)


def printable(text: str) -> str:
    """Return ``text`` without anything that a terminal would obey: names and errors are strangers' text."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else " " if one in "\n\r\t" else "\N{REPLACEMENT CHARACTER}" for one in text
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print a table: two spaces between columns, no boxes. On a terminal what does not fit is cut."""
    lines = [list(head), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    limit = _columns()
    for number, line in enumerate(lines):
        cells = [
            cell.rjust(widths[at]) if head[at] in right else cell.ljust(widths[at]) for at, cell in enumerate(line)
        ]
        text = "  ".join(cells).rstrip()
        text = text if limit is None or len(text) <= limit else text[: limit - 1] + "…"
        click.echo(click.style(text, dim=True) if number == 0 else text)


def _columns() -> int | None:
    return max(40, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def count(number: int, noun: str) -> str:
    """Return "1 job", "1,240 jobs"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float | None) -> str:
    """Return a duration in at most two units: 0.4 ms, 41 s, 1 m 30 s, 3 d 18 h."""
    if seconds is None:
        return "-"
    if seconds < 1:
        ms = seconds * 1000
        return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    for unit, size, small, part in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part:02d} {small}"
    return f"{whole} s"


def ago(when: datetime | None) -> str:
    """Return how long ago something was, or how long it is off; the date beyond two days."""
    if when is None:
        return "-"
    seconds = (datetime.now(UTC) - when).total_seconds()
    if abs(seconds) > 2 * 86_400:
        return f"{when:%Y-%m-%d %H:%M}Z"
    return f"in {duration(-seconds)}" if seconds < 0 else f"{duration(seconds)} ago"


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; without a terminal only ``--yes`` will do."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError(f"{question} Nothing was done: there is no terminal to ask on", "say --yes to do it", code=USAGE)
    if not click.confirm(question, default=False, err=True):
        note("left as is")
        raise click.exceptions.Exit(1)
