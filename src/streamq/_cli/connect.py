"""How a command comes to a server and its queues, without importing anybody's app."""

from __future__ import annotations

import asyncio
import difflib
import functools
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

import click

from .. import Queue
from .._embedded import find
from .._store import inspector
from ..settings import url_from_environment
from .options import chosen
from .say import USAGE, CliError
from .trouble import nowhere

P = ParamSpec("P")
R = TypeVar("R")


def awaited(fn: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """Make a click callback of a coroutine function."""

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return asyncio.run(fn(*args, **kwargs))

    return call


def server_url(options: dict[str, Any]) -> str:
    """Return the server: --url, the environment, the embedded one that runs in this folder."""
    url: str | None = chosen(options, "url") or url_from_environment(os.environ) or find()
    if url is None:
        raise nowhere()
    return url


@asynccontextmanager
async def opened(name: str, options: dict[str, Any]) -> AsyncGenerator[Queue]:
    """Open a queue by name, for looking and managing; the app that owns it is not needed."""
    url, prefix = server_url(options), chosen(options, "prefix")
    queue = Queue(name, url=url, prefix=prefix, enqueue_timeout=5.0, events="declared")
    try:
        # A person waits at the other end: say at once that nothing answers, where a service would try again.
        await (await queue.stores())[0].call((b"PING",), wait=0.3)
        yield queue
    finally:
        await queue.aclose()


async def names(options: dict[str, Any]) -> list[str]:
    """Return the names of the queues that are known under this prefix."""
    async with opened("streamq", options) as queue:  # any name: looking brings no queue about
        return await inspector.queues((await queue.stores())[0])


async def one_name(options: dict[str, Any]) -> str:
    """Return the queue that ``--queue`` names, or the only one there is."""
    given: str | None = options.get("queue_name")
    if given:
        return await known(given, options)
    found = await names(options)
    if len(found) == 1:
        return found[0]
    if not found:
        raise CliError("there is no queue yet", "a queue shows up with its first job or worker", code=USAGE)
    raise CliError(f"which queue? there are {', '.join(found)}", "name one with --queue", code=USAGE)


async def known(name: str, options: dict[str, Any]) -> str:
    """Return ``name`` if there is such a queue; a typing mistake must not look like an empty queue."""
    found = await names(options)
    if name in found:
        return name
    near = difflib.get_close_matches(name, found, n=1)
    there = f"there are {', '.join(found)}" if found else "there is none yet"
    raise CliError(f"there is no queue {name!r}; " + (f"did you mean {near[0]!r}?" if near else there), code=USAGE)


async def several(given: Sequence[str], options: dict[str, Any]) -> list[str]:
    """Return the queues named, or with ``--all`` every one; naming none is a usage error."""
    if options.get("everything"):
        return await names(options)
    if not given:
        raise click.UsageError("name the queues, or say --all")
    return [await known(name, options) for name in given]


async def clear_prefix(queue: Queue) -> None:
    """Delete every key that begins with the queue's prefix: for those who made a prefix of their own."""
    store = (await queue.stores())[0]
    cursor: Any = b"0"
    while True:
        cursor, keys = await store.call((b"SCAN", cursor, b"MATCH", f"{queue.prefix}:*", b"COUNT", 1000))
        if keys:
            await store.call((b"UNLINK", *keys))
        if cursor == b"0":
            return
