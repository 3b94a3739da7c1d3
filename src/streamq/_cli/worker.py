"""``streamq worker``: runs jobs, in this process or in several."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from . import logs, probes, running
from .loader import load, targets
from .options import DURATION, Command, chosen, connected
from .say import APP, USAGE, CliError
from .supervisor import SUPERVISOR, Supervisor, Way, child_command, watcher

F = TypeVar("F", bound=Callable[..., Any])

OURS = {"apps", "processes", "reload", "reload_dir", "url", "prefix", "dev"}
"""Parameters that a child gets otherwise, or not at all."""


def app_options(command: F) -> F:
    """Add what says where the app is."""
    app = click.option(
        "--app", help="What to run, if not given; else STREAMQ_APP, [tool.streamq] app in pyproject.toml."
    )
    app_dir = click.option(
        "--app-dir", default=".", show_default=True, type=click.Path(file_okay=False), help="Put on sys.path."
    )
    return app(app_dir(command))


def log_options(command: F) -> F:
    """Add what shapes the log."""
    style = click.option(
        "--log-format", type=click.Choice(["plain", "json", "rich"]), help="Else rich on a terminal, plain elsewhere."
    )
    levels = click.Choice(["debug", "info", "warning", "error"], case_sensitive=False)
    level = click.option("--log-level", type=levels, default="info", show_default=True, help="Of everything that logs.")
    payload = click.option(
        "--log-payload",
        is_flag=True,
        default=None,
        help="Arguments and error texts in the log; they may be personal data.",
    )
    untouched = click.option("--no-configure-logging", is_flag=True, help="Leave logging to the app.")
    return style(level(payload(untouched(command))))


@click.command(cls=Command)
@click.argument("apps", nargs=-1, metavar="[APP]...")
@app_options
@click.option(
    "-c", "--concurrency", type=click.IntRange(1, 100_000), help="Jobs at a time, over all queues.  [default: 100]"
)
@click.option("-w", "--processes", type=click.IntRange(1, 1024), default=1, show_default=True, help="Worker processes.")
@click.option("--grace", type=DURATION, help="What running jobs get at stop.  [default: 25s]")
@click.option("--lease", type=DURATION, help="After this a vanished worker's jobs are run by others.  [default: 15s]")
@click.option(
    "--max-stalls", type=click.IntRange(0, 100), help="How often workers may vanish with a job.  [default: 2]"
)
@click.option("-b", "--burst", is_flag=True, help="End when nothing is waiting or running.")
@click.option(
    "--scheduler/--no-scheduler", default=True, help="Fire the ticks of the app's Schedulers.  [default: yes]"
)
@click.option("--reload", is_flag=True, help="Start anew when a Python file changes.")
@click.option("--reload-dir", multiple=True, type=click.Path(exists=True), help="Watch this instead of --app-dir.")
@log_options
@click.option("--name", help="First part of the worker's name.  [default: the host's]")
@click.option("--wait-for-redis", type=DURATION, default=0.0, help="Wait for a server at start.  [default: 0]")
@click.option(
    "--loop", type=click.Choice(["auto", "asyncio", "uvloop"]), default="auto", show_default=True, help="Event loop."
)
@click.option("--health-port", type=click.IntRange(0, 65535), help="Serve /live, /health and /queue/health there.")
@click.option("--health-host", default="127.0.0.1", show_default=True, help="Address of --health-port; 0.0.0.0: any.")
@click.option("--dev", is_flag=True, hidden=True)
@connected
@click.pass_context
def worker(ctx: click.Context, /, apps: Sequence[str], **options: Any) -> None:
    """Run the jobs of APP, "module:attribute" of a Queue, a Worker, a Scheduler or a list of Queues.

    Several APPs become one worker over all their queues; it also fires the ticks of the Schedulers beside them. The
    first SIGTERM or SIGINT lets running jobs finish within --grace, the second cancels them, the third ends the
    process. Options left out fall back to those of a Worker APP.
    """
    for variable, value in (("STREAMQ_URL", chosen(options, "url")), ("STREAMQ_PREFIX", chosen(options, "prefix"))):
        if value:
            os.environ[variable] = value  # the app's queues and the child processes look there
    wanted = targets(apps, options["app"])
    if not wanted:
        raise CliError(
            "which app?",
            "name it: streamq worker app:queue",
            "or set STREAMQ_APP, or [tool.streamq] app in pyproject.toml",
            code=APP,
        )
    probes.checked(options["health_port"], options["processes"])
    if options["processes"] > 1 or options["reload"]:
        ctx.exit(_supervise(wanted, arguments(ctx, wanted), options))
    ctx.exit(_run_here(wanted, options))


def arguments(ctx: click.Context, wanted: Sequence[str]) -> list[str]:
    """Return the command line of a child: the same options, without those that make children."""
    line = ["worker", *wanted]
    for parameter in ctx.command.params:
        value = ctx.params.get(parameter.name or "")
        if not isinstance(parameter, click.Option) or parameter.name in OURS:
            continue
        flag = max(parameter.opts, key=len)
        if value is False and parameter.secondary_opts:
            line += parameter.secondary_opts  # "--no-..." of a flag that is on by default
        elif value is True and not parameter.secondary_opts:
            line += [flag]
        elif value not in (None, True, False, ()):
            line += [f"{flag}={value}"]
    return [*line, "--dev"] if ctx.params.get("dev") else line


def supervise(command: Sequence[str], way: Way, folders: Sequence[str] = ()) -> int:
    """Run children, watching ``folders`` if there are any."""
    if sys.platform == "win32":
        raise CliError("--processes, --reload and dev need Linux or macOS", "start several workers instead", code=USAGE)
    supervisor = Supervisor(child_command(command), way)
    if folders:
        threading.Thread(target=watcher(folders, supervisor.changed), name="streamq-watcher", daemon=True).start()
    return supervisor.run()


def _supervise(wanted: Sequence[str], command: Sequence[str], options: dict[str, Any]) -> int:
    del wanted
    way = Way(options["processes"], burst=options["burst"], reload=options["reload"])
    folders = (options["reload_dir"] or (options["app_dir"],)) if options["reload"] else ()
    return supervise(command, way, folders)


def _run_here(wanted: Sequence[str], options: dict[str, Any]) -> int:
    style = logs.configure(options["log_format"], options["log_level"], untouched=options["no_configure_logging"])
    loaded = load(wanted, options["app_dir"])
    given = {name: options[name] for name in ("concurrency", "grace", "lease", "max_stalls", "name", "log_payload")}
    manner = running.Manner(
        burst=options["burst"],
        loop=options["loop"],
        log_style=style,
        wait_for_redis=options["wait_for_redis"],
        dev=options["dev"],
        probes=None if options["health_port"] is None else (options["health_host"], options["health_port"]),
        parent=os.getppid() if os.environ.get(SUPERVISOR) == str(os.getppid()) else None,
    )
    return running.run(running.build(loaded, given, scheduling=options["scheduler"]), manner)
