"""``streamq``: finds the command, and turns what goes wrong into one line and an exit code. Imports nothing heavy."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from .say import CliError

EXIT_CODES = """\
\b
Exit codes:
  0  done; a worker that was asked to stop and finished its jobs
  1  unhealthy (health: a warning), or it failed while running
  2  wrong usage; health: critical
  3  the app cannot be imported; health: wrong usage
  4  Redis cannot be reached, or refused us
  5  the job that was waited for failed
  6  waited too long
  7  the grace period passed, and running jobs were handed back
  130, 143  ended at once by the third SIGINT or SIGTERM
"""


class Place(NamedTuple):
    """Where a command lives, and its line in ``streamq --help``: known without importing it."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    "worker": Place("worker", "worker", "Run jobs."),
    "scheduler": Place("scheduler", "scheduler", "Fire the ticks of schedules, without running jobs."),
    "dev": Place("dev", "dev", "Run jobs on a server of its own, and reload on changes."),
    "init": Place("init", "init", "Write a small app.py to start from."),
    "demo": Place("demo", "demo", "Watch a small notification service work, for a few seconds."),
    "send": Place("send", "send", "Enqueue a job."),
    "jobs": Place("jobs", "jobs", "List, show, retry, cancel and remove jobs."),
    "dlq": Place("dlq", "dlq", "List, show, replay and purge dead letters."),
    "cron": Place("cron", "cron", "List, preview, run, pause, resume and remove schedules."),
    "queues": Place("queues", "queues", "List the queues with their counts."),
    "top": Place("top", "top", "Watch queues, workers, running jobs and dead letters, live."),
    "stats": Place("stats", "stats", "Show the counters of queues, once or again and again."),
    "metrics": Place("metrics", "metrics", "Print or serve metrics for Prometheus."),
    "explain": Place("explain", "explain", "Tell why a job waits."),
    "limits": Place("limits", "limits", "List, set and clear limits while workers run."),
    "pause": Place("control", "pause", "Hand out no more jobs of a queue, a group or a handler."),
    "resume": Place("control", "resume", "Hand out jobs again."),
    "block": Place("blocks", "block", "Hold the jobs that fit a condition."),
    "unblock": Place("blocks", "unblock", "Let blocked jobs go on."),
    "blocks": Place("blocks", "blocks", "List the blocks in force."),
    "breakers": Place("breakers", "breakers", "List the circuit breakers of a queue."),
    "dedup": Place("dedup", "dedup", "Look at dedup keys, and release them."),
    "drain": Place("control", "drain", "Remove what waits and has not started."),
    "bench": Place("bench", "bench", "Measure how fast this machine and that server are."),
    "dashboard": Place("dashboard", "dashboard", "Serve the dashboard and the REST operations."),
    "health": Place("health", "health", "Tell whether all is well, as an exit code."),
    "doctor": Place("doctor", "doctor", "Tell what to change about server, queues, workers and this machine."),
    "verify": Place("verify", "verify", "Check that everything a queue keeps hangs together."),
    "recover": Place("verify", "recover", "Mend what verify found; says first what it would do."),
    "grafana": Place("grafana", "grafana", "Write the dashboards and alert rules that come with streamq."),
    "completion": Place("completion", "completion", "Print what makes a shell complete streamq commands."),
}
ALIASES = {"enqueue": "send"}


class LazyGroup(click.Group):
    """Imports a command's module when the command is chosen."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order people need them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None if there is none of this name."""
        del ctx
        place = COMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        if place is None:
            return None
        command: click.Command = getattr(importlib.import_module(f".{place.module}", __package__), place.attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown one name the nearest."""
        name = args[0]
        if not name.startswith("-") and name not in COMMANDS and name not in ALIASES:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            ctx.fail(f"there is no command {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command without importing any."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=one.help) for name, one in COMMANDS.items() if name.startswith(incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run; what streamq raises on purpose becomes one line and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            raise click.exceptions.Exit(130) from None
        except BrokenPipeError:
            # Whoever read us (head, less) has seen enough. Python would complain once more at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(0) from None
        except Exception as problem:
            told = _told(problem)
            if told is None:
                raise
            raise told from None


def _told(problem: Exception) -> CliError | None:
    return importlib.import_module(".trouble", __package__).told(problem)  # type: ignore[no-any-return]


def _version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
    del param
    if wanted:
        metadata = importlib.import_module("importlib.metadata")
        click.echo(f"streamq {metadata.version('streamq')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "STREAMQ", "max_content_width": 110},
)
@click.option("--url", help="Redis or Valkey server; else STREAMQ_URL, REDIS_URL, REDIS_HOST, the folder's own server.")
@click.option("--prefix", help='Prefix of all keys; else STREAMQ_PREFIX, "streamq".')
@click.option("--json", "as_json", is_flag=True, help="Print data as one JSON document, streams as JSON lines.")
@click.option("--no-color", is_flag=True, help="No colours; the same as NO_COLOR=1.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Jobs in the background: run them, send them, see them, mend them.

    `streamq COMMAND --help` explains a command, `--help-env` names its environment variables.
    """
    ctx.obj = options
    if options["no_color"] or os.environ.get("NO_COLOR"):
        os.environ["NO_COLOR"] = "1"  # for rich, and for the processes started from here
        ctx.color = False


def main() -> None:
    """Entry point of the ``streamq`` script."""
    cli.main(prog_name="streamq")
