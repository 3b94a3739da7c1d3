"""``streamq completion``, and what is completed besides commands and options: names of queues and of handlers."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from .options import Command, chosen

VARIABLE = "_STREAMQ_COMPLETE"
"""What click looks at to know that a shell asks."""

SHELLS = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc",
    "fish": "~/.config/fish/completions/streamq.fish",
}

Ask = Callable[[Any, dict[str, Any]], Coroutine[Any, Any, list[str]]]

BUDGET = 0.3
"""Seconds that asking the server may take (STREAMQ_COMPLETION_BUDGET): somebody has pressed a key and waits."""


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(tuple(SHELLS)))
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    r"""Print what makes SHELL complete commands, options, and names of queues and handlers.

    \b
    bash  echo 'eval "$(streamq completion bash)"' >> ~/.bashrc
    zsh   echo 'eval "$(streamq completion zsh)"' >> ~/.zshrc
    fish  streamq completion fish > ~/.config/fish/completions/streamq.fish
    """
    kind = get_completion_class(shell)
    root = ctx.find_root().command
    if kind is None:
        raise click.UsageError(f"this click knows no completion for {shell}")
    click.echo(kind(root, {}, "streamq", VARIABLE).source())


def queue_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a queue."""
    del param
    return _items(_answer(_queues, _options(ctx)), incomplete)


def handler_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a handler that a live worker has."""
    del param
    return _items(_answer(_handlers, _options(ctx)), incomplete)


def _options(ctx: click.Context) -> dict[str, Any]:
    above: dict[str, Any] = ctx.find_root().params
    with ctx:
        return {name: chosen(ctx.params, name) or above.get(name) for name in ("url", "prefix", "queue_name")}


def _items(names: list[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _answer(ask: Ask, options: dict[str, Any]) -> list[str]:
    """Return what the server says within the budget; nothing for whatever goes wrong: this is no place for errors."""
    found: list[str] = []
    with suppress(Exception):
        connect = importlib.import_module(".connect", __package__)  # printing a script needs no Redis client
        found = asyncio.run(_within(ask(connect, options)))
    return found


async def _within(asked: Coroutine[Any, Any, list[str]]) -> list[str]:
    async with asyncio.timeout(float(os.environ.get("STREAMQ_COMPLETION_BUDGET") or BUDGET)):
        return await asked


async def _queues(connect: Any, options: dict[str, Any]) -> list[str]:
    found: list[str] = await connect.names(options)
    return found


async def _handlers(connect: Any, options: dict[str, Any]) -> list[str]:
    given: str | None = options.get("queue_name")
    names: set[str] = set()
    for name in [given] if given else await connect.names(options):
        async with connect.opened(name, options) as queue:
            names |= {handler for worker in await queue.workers() for handler in worker.handlers}
    return sorted(names)
