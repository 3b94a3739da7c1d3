"""``streamq demo``: a notification service at work, for a few seconds, that leaves nothing behind."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from .. import Counts, Queue, Worker
from .._embedded import attach
from .._store.link import redacted
from ..settings import url_from_environment
from . import demo_load
from .connect import clear_prefix
from .dashboard import serve, web_room
from .demo_load import Load, percentile
from .demo_view import Moment, view
from .options import Command, chosen
from .say import CliError, count, duration, note, table
from .show import emit
from .signals import asked_to_end

LONGEST = 60.0
"""Seconds the jobs may take after the last was sent; then something is wrong."""


@click.command(cls=Command)
@click.option(
    "--jobs", type=click.IntRange(1, 1_000_000), default=2000, show_default=True, help="Notifications to send."
)
@click.option(
    "--seconds", type=click.FloatRange(0, 3600), default=3.0, show_default=True, help="Spread them over this."
)
@click.option(
    "-c", "--concurrency", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Jobs at a time."
)
@click.option("--url", help="Use this server instead of one of the demo's own.")
@click.option("--keep", is_flag=True, help="Go on at the same pace until Ctrl-C.")
@click.option("--dashboard", is_flag=True, help="The same, with the dashboard beside it.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8585, show_default=True, help="Of the dashboard.")
@click.option("--source", is_flag=True, help="Print the code of its handlers instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def demo(**options: Any) -> None:
    """Watch streamq send e-mails, SMS and pushes to providers that are not always well.

    Retries, rate limits, delayed jobs and a few dead letters come with it. It runs on an embedded server, under a
    prefix of its own, and cleans up.
    """
    if options["source"]:
        click.echo(inspect.getsource(demo_load), nl=False)
        return
    if options["dashboard"]:
        options["keep"] = True
        web_room()  # before a server is started for nothing
    # Its warnings are the subject of the display; as lines between they would only tear it.
    logging.getLogger("streamq").addHandler(logging.NullHandler())
    url = chosen(options, "url") or url_from_environment(os.environ)
    if url is not None:
        asyncio.run(_run(url, "your server", options))
        return
    os.environ.setdefault("STREAMQ_ENV", "development")
    with (
        tempfile.TemporaryDirectory(prefix="streamq-demo-", ignore_cleanup_errors=True) as folder,
        attach(Path(folder)) as server,
    ):
        asyncio.run(_run(server.url, f"an embedded {server.version}", options))


async def _run(url: str, where: str, options: dict[str, Any]) -> None:
    queue = Queue("notifications", url=url, prefix=f"streamq-demo-{os.urandom(4).hex()}", result_ttl=60)
    load = Load(queue)
    number, pace = count(options["jobs"], "notification"), options["jobs"] / max(1.0, options["seconds"])
    extent = f"{pace:,.0f} notifications a second" if options["keep"] else f"{number} over {options['seconds']:g} s"
    note(f"sending {extent} to {where}; one worker, {options['concurrency']} at a time")
    try:
        await queue.ping()
        began = time.monotonic()
        async with Worker(queue, concurrency=options["concurrency"], grace=5):
            await (_kept(load, url, pace, options) if options["keep"] else _watched(load, options))
        elapsed = time.monotonic() - began
        await _summary(load, elapsed, options)
    finally:
        await clear_prefix(queue)
        await queue.aclose()


async def _kept(load: Load, url: str, pace: float, options: dict[str, Any]) -> None:
    """Send until a signal comes, with the dashboard beside it if wanted."""
    prefix = load.queue.prefix
    note(f"look around  streamq top --url {redacted(url)} --prefix {prefix}")
    if options["dashboard"]:
        app = web_room().Dashboard(url=url, prefix=prefix, title="streamq demo")
        looking = asyncio.create_task(serve(app, "127.0.0.1", options["port"]))
    else:
        looking = asyncio.create_task(asked_to_end())
    sending = asyncio.create_task(load.go_on(pace))
    try:
        done, _ = await asyncio.wait({sending, looking}, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
    finally:
        sending.cancel()
        looking.cancel()
        await asyncio.gather(sending, looking, return_exceptions=True)


async def _watched(load: Load, options: dict[str, Any]) -> None:
    """Send, and show how far it is, until every job has ended."""
    shown = view(options["jobs"])
    sending = asyncio.create_task(load.send(options["jobs"], options["seconds"]))
    deadline = time.monotonic() + options["seconds"] + LONGEST
    try:
        while True:
            counts = await load.queue.counts()
            shown.show(Moment(options["jobs"], load.sent, counts))
            if sending.done():
                sending.result()
                if _is_over(counts):
                    return
            if time.monotonic() > deadline + options["jobs"] / 500:
                raise CliError("the demo's jobs did not come to an end", "please report this, it is a defect")
            await asyncio.sleep(0.05)
    finally:
        sending.cancel()
        shown.close()


def _is_over(counts: Counts) -> bool:
    return not (counts.waiting or counts.active or counts.delayed or counts.parked)


async def _summary(load: Load, elapsed: float, options: dict[str, Any]) -> None:
    counts = await load.queue.counts()
    dead = Counter([f"{one.name}  {_why(one.errors)}" async for one in load.queue.dlq.list()])
    p50, p95 = (percentile(load.waits, share) for share in (0.5, 0.95))
    if chosen(options, "as_json"):
        emit(
            {
                "jobs": load.sent,
                "seconds": round(elapsed, 3),
                "jobs_per_second": round(load.sent / elapsed, 1),
                "completed": counts.completed,
                "retried": counts.retried,
                "rate_limited": counts.limited,
                "dead": counts.dead,
                "wait_p50": p50,
                "wait_p95": p95,
            }
        )
        return
    click.echo(f"\n{count(load.sent, 'notification')} in {duration(elapsed)}, {load.sent / elapsed:,.0f} a second")
    click.echo(f"  completed     {counts.completed:,}")
    click.echo(f"  retried       {count(counts.retried, 'time')}, rate limited {count(counts.limited, 'time')}")
    click.echo(f"  dead letters  {counts.dead:,}")
    click.echo(f"  waited        p50 {duration(p50)}, p95 {duration(p95)} from enqueue to start")
    if dead:
        click.echo("\nwhat died, and why")
        table(("jobs", "handler and error"), [[str(n), what] for what, n in dead.most_common(5)], right=("jobs",))
    click.echo("\nnext")
    click.echo("  streamq demo --dashboard                       the same without an end, to look around in")
    click.echo("  streamq init && streamq dev                    your own first handlers, on a server of this folder")
    click.echo("  streamq send math:add a=2 b=3 --wait           in a second terminal")
    click.echo("  streamq queues, jobs list, dlq list, stats -w  see what is going on")


def _why(errors: Any) -> str:
    return f"{errors[-1].type.rpartition('.')[2]}: {errors[-1].message}" if errors else "?"
