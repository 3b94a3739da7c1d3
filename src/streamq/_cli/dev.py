"""``streamq dev``: a server of the folder's own, a worker that reloads, and what to try next."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .._embedded import EmbeddedServer, allowed, attach
from .._embedded.location import places
from .loader import targets
from .options import DURATION, Command
from .say import APP, USAGE, CliError, confirm, note, sign
from .supervisor import Way
from .worker import app_options, log_options, supervise


@click.command(cls=Command)
@click.argument("apps", nargs=-1, metavar="[APP]...")
@app_options
@click.option(
    "-c", "--concurrency", type=click.IntRange(1, 100_000), default=10, show_default=True, help="Jobs at a time."
)
@click.option("--grace", type=DURATION, default=5.0, help="What running jobs get at stop.  [default: 5s]")
@click.option(
    "--reload/--no-reload", default=None, help="Start anew when a Python file changes.  [default: if possible]"
)
@click.option("--reload-dir", multiple=True, type=click.Path(exists=True), help="Watch this instead of --app-dir.")
@click.option(
    "--data-dir", default=".", type=click.Path(file_okay=False), help="The folder whose .streamq/ holds the jobs."
)
@click.option("--reset", is_flag=True, help="Delete the folder's jobs first.")
@click.option("-y", "--yes", is_flag=True, help="With --reset: do not ask.")
@log_options
@click.pass_context
def dev(ctx: click.Context, /, apps: Sequence[str], **options: Any) -> None:
    """Run APP on a server of this folder's own; nothing else has to be installed or started.

    APP is "module:attribute" of a Queue; without one, that of STREAMQ_APP or pyproject.toml, else app:queue. The jobs
    stay in .streamq/ from one run to the next, and every other streamq command in this folder finds them.
    """
    os.environ.setdefault("STREAMQ_ENV", "development")
    may, why = allowed(os.environ, isatty=True)
    if not may:
        raise CliError(why, code=USAGE)
    wanted = targets(apps, options["app"]) or (["app:queue"] if Path(options["app_dir"], "app.py").exists() else [])
    if not wanted:
        raise CliError("which app?", "name it: streamq dev app:queue", "or write a first one: streamq init", code=APP)
    folder = Path(options["data_dir"])
    folder = folder.parent if folder.name == ".streamq" else folder
    if options["reset"]:
        _reset(folder, yes=options["yes"])
    reload = _reload(options)
    with attach(folder) as server:
        os.environ["STREAMQ_URL"] = server.url
        _announce(server, reload=reload)
        folders = (options["reload_dir"] or (options["app_dir"],)) if reload else ()
        ctx.exit(supervise(_command(wanted, options), Way(reload=reload), folders))


def _command(wanted: Sequence[str], options: dict[str, Any]) -> list[str]:
    line = ["worker", *wanted, "--dev", f"--concurrency={options['concurrency']}", f"--grace={options['grace']}"]
    line += [f"--app-dir={options['app_dir']}", f"--log-level={options['log_level']}"]
    line += [f"--log-format={options['log_format']}"] if options["log_format"] else []
    line.append("--log-payload")  # these are the developer's own data, and the error text is what is looked for
    return line + (["--no-configure-logging"] if options["no_configure_logging"] else [])


def _reload(options: dict[str, Any]) -> bool:
    wanted: bool | None = options["reload"]
    return importlib.util.find_spec("watchfiles") is not None if wanted is None else wanted


def _reset(folder: Path, *, yes: bool) -> None:
    """Delete the folder's data. A server that still runs on it ends by itself when it sees that its folder is gone."""
    there = [place.state for place in places(folder) if place.users.exists()]
    if there:
        confirm(f"Delete all jobs in {', '.join(str(one) for one in there)}?", yes=yes)
    for state in there:
        shutil.rmtree(state, ignore_errors=True)


def _announce(server: EmbeddedServer, *, reload: bool) -> None:
    dot = sign(" · ", ", ")
    started = f"started in {server.started_in * 1000:.0f} ms" if server.started else "was running"
    where = f"embedded {server.version} ({server.state.name}/, unix socket, {started})"
    note(dot.join([f"streamq {importlib.metadata.version('streamq')}", f"Python {platform.python_version()}", where]))
    note(f"  producers  STREAMQ_URL={server.url}")
    note(f"  reload     {'on' if reload else 'off'}")
