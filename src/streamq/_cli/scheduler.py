"""``streamq scheduler``: fires the ticks of schedules in a process of its own."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
from collections.abc import Sequence
from typing import Any

import click

from .. import Scheduler
from . import logs
from .loader import load, targets
from .options import DURATION, Command, chosen, connected
from .running import Signals, loop_factory, server_of
from .say import APP, CliError, count, note, sign
from .worker import app_options, log_options


class _Crew:
    """Several schedulers stop as one. There is nothing to wait for: a tick is fired in one step or not at all."""

    active = 0
    grace = 0.0

    def __init__(self, schedulers: Sequence[Scheduler]) -> None:
        self.schedulers = schedulers

    def stop(self) -> None:
        for one in self.schedulers:
            one.stop()

    def cancel(self) -> None:
        self.stop()


@click.command(cls=Command)
@click.argument("apps", nargs=-1, metavar="[APP]...")
@app_options
@click.option("-b", "--burst", is_flag=True, help="Fire what is due, and end.")
@log_options
@click.option("--wait-for-redis", type=DURATION, default=0.0, help="Wait for a server at start.  [default: 0]")
@connected
@click.pass_context
def scheduler(ctx: click.Context, /, apps: Sequence[str], **options: Any) -> None:
    """Fire the schedules of APP, "module:attribute" of a Scheduler, or of a Queue with Schedulers beside it.

    Workers do that, too; use this where they come and go. Any number may run: each tick is fired once.
    """
    for variable, value in (("STREAMQ_URL", chosen(options, "url")), ("STREAMQ_PREFIX", chosen(options, "prefix"))):
        if value:
            os.environ[variable] = value  # the app's queues look there
    wanted = targets(apps, options["app"])
    if not wanted:
        raise CliError(
            "which app?",
            "name it: streamq scheduler app:scheduler",
            "or set STREAMQ_APP, or [tool.streamq] app in pyproject.toml",
            code=APP,
        )
    style = logs.configure(options["log_format"], options["log_level"], untouched=options["no_configure_logging"])
    loaded = load(wanted, options["app_dir"])
    found = loaded.schedulers or (loaded.worker.schedulers if loaded.worker else ())
    if not found:
        raise CliError(
            f"{', '.join(wanted)} has no Scheduler",
            "name one: streamq scheduler app:scheduler",
            "or write scheduler = Scheduler(queue) there",
            code=APP,
        )
    with asyncio.Runner(loop_factory=loop_factory("auto")) as runner:
        runner.run(_run(found, options, quiet=style == "json"))
    ctx.exit(0)


async def _run(schedulers: Sequence[Scheduler], options: dict[str, Any], *, quiet: bool) -> None:
    signals = Signals(_Crew(schedulers))
    queues = list(dict.fromkeys(one.queue for one in schedulers))
    with signals.caught():
        server = asyncio.create_task(server_of(queues[0], options["wait_for_redis"]))
        asked = asyncio.create_task(signals.asked.wait())
        try:
            await asyncio.wait((server, asked), return_when=asyncio.FIRST_COMPLETED)
            if not server.done():
                return  # told to stop before there was anything to stop
            if not quiet:
                _announce(schedulers, server.result())
            runs = [asyncio.create_task(one.run(burst=options["burst"])) for one in schedulers]
            try:
                await asyncio.gather(*runs)
            finally:
                for run in runs:
                    run.cancel()
                await asyncio.gather(*runs, return_exceptions=True)
        finally:
            server.cancel()
            asked.cancel()
            for queue in queues:
                await queue.aclose()


def _announce(schedulers: Sequence[Scheduler], server: str) -> None:
    declared = [name for one in schedulers for name in one.declared]
    note(
        sign(" · ", ", ").join(
            [
                f"streamq {importlib.metadata.version('streamq')}",
                f"{server} at {schedulers[0].queue.where}",
                f"queue {', '.join(dict.fromkeys(one.queue.name for one in schedulers))}",
                f"{count(len(declared), 'schedule')} declared" + (f": {', '.join(declared[:8])}" if declared else ""),
                f"pid {os.getpid()}",
            ]
        )
    )
