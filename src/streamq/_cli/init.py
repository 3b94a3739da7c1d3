"""``streamq init``: a first app.py."""

from __future__ import annotations

from pathlib import Path

import click

from .options import Command
from .say import USAGE, CliError

APP = '''\
"""Try it: `streamq dev`, then in a second terminal `streamq send math:add a=2 b=3 --wait`."""

from streamq import Context, Exponential, Queue

queue = Queue("demo")


@queue.handler("math:add")
async def add(a: int, b: int) -> int:
    return a + b


@queue.handler("greet", max_attempts=3, backoff=Exponential(1))
async def greet(ctx: Context, name: str = "you") -> str:
    return f"hello {name}, attempt {ctx.attempt}"
'''


@click.command(cls=Command)
@click.argument("path", default="app.py", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def init(path: Path, *, force: bool) -> None:
    """Write a small app to PATH (app.py)."""
    if path.exists() and not force:
        raise CliError(f"{path} is there already", "name another file, or write over it with --force", code=USAGE)
    try:
        path.write_text(APP, encoding="utf-8")
    except OSError as problem:
        raise CliError(f"cannot write {path}: {problem.strerror}") from None
    click.echo(f"{path} written: {len(APP.splitlines())} lines, two handlers")
    target = "" if path.name == "app.py" else f" {path.stem}:queue"
    click.echo(f"next:  streamq dev{target}")
