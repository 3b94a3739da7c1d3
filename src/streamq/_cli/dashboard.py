"""``streamq dashboard``: the web room as a server of its own."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .connect import server_url
from .loader import load
from .options import Command, chosen, connected
from .say import USAGE, CliError, note, sign

MISSING = 'it needs a few packages: pip install "streamq[dashboard]"'


@click.command(cls=Command)
@click.argument("apps", nargs=-1, metavar="[APP]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8585, show_default=True, help="Port; 0 for a free one.")
@click.option("--user", "users", multiple=True, metavar="NAME:PASSWORD", help="Who may look and act.")
@click.option("--read-user", "readers", multiple=True, metavar="NAME:PASSWORD", help="Who may look.")
@click.option("--token", "tokens", multiple=True, metavar="NAME:TOKEN", help="A program that may look and act.")
@click.option("--access", metavar="MODULE:FUNCTION", help="An access function of your own.")
@click.option("--read-only", is_flag=True, help="Nobody may act, whoever it is.")
@click.option("--redact", multiple=True, metavar="PATTERN", help="Hide these payload fields, too, such as '*.phone'.")
@click.option("--show-payloads", is_flag=True, help="Hide only what --redact names.")
@click.option("--title", default="streamq", show_default=True, help="Shown at the top.")
@click.option("--trace-url", metavar="URL", help="Where traces are shown: https://jaeger.example/trace/{trace_id}")
@click.option("--request-url", metavar="URL", help="Where a request's logs are: https://logs.example/?q={request_id}")
@click.option("--root-path", default="", help="Where a proxy serves it, such as /queues.")
@click.option("--app-dir", default=".", show_default=True, type=click.Path(file_okay=False), help="Put on sys.path.")
@connected
def dashboard(apps: Sequence[str], **options: Any) -> None:
    """Serve the dashboard and the REST operations of every queue of the prefix, or of the queues of APP.

    With APP ("module:attribute" of a Queue) submitted jobs are checked against its handlers. Without --user, --token or
    --access it listens on this machine only. Passwords are better given as STREAMQ_DASHBOARD_USERS="omar:secret".
    """
    web = web_room()
    rule = _access(web, options)
    is_local = importlib.import_module("streamq.web.access").is_loopback(options["host"])
    if rule is None and not is_local:
        raise CliError(
            f"--host {options['host']} is open to others, and nobody is asked who they are",
            "say who may come in: --user NAME:PASSWORD, --token NAME:TOKEN or --access module:function",
            "or listen on this machine only: --host 127.0.0.1",
            code=USAGE,
        )
    app = _app(web, apps, options, rule)
    _serve(app, options)


def web_room() -> Any:
    """Return `streamq.web`; raises `CliError` where it is not installed."""
    if importlib.util.find_spec("starlette") is None or importlib.util.find_spec("uvicorn") is None:
        raise CliError("the dashboard is not installed", MISSING, code=USAGE)
    return importlib.import_module("streamq.web")


def _app(web: Any, apps: Sequence[str], options: dict[str, Any], rule: Any) -> Any:
    patterns = (*(() if options["show_payloads"] else web.SENSITIVE), *options["redact"])
    common: dict[str, Any] = {
        "access": rule, "redact": patterns, "title": options["title"], "read_only": options["read_only"],
        "root_path": options["root_path"].rstrip("/"),
    }  # fmt: skip
    common |= {name: options[name] for name in ("trace_url", "request_url") if options[name]}
    if not apps:
        return web.Dashboard(url=server_url(options), prefix=chosen(options, "prefix"), **common)
    for name in ("url", "prefix"):
        if chosen(options, name):
            os.environ[f"STREAMQ_{name.upper()}"] = chosen(options, name)
    return web.Dashboard(load(apps, options["app_dir"]).queues, **common)


def _access(web: Any, options: dict[str, Any]) -> Any:
    """Return the access function that the options ask for; None if they ask for none."""
    rules: list[Any] = []
    users, readers = _pairs("--user", options["users"]), _pairs("--read-user", options["readers"])
    if users or readers:
        rules.append(web.basic(users, read=readers))
    if options["tokens"]:
        rules.append(web.bearer(_pairs("--token", options["tokens"])))
    if options["access"]:
        rules.append(_function(options["access"], options["app_dir"]))
    return web.any_of(*rules) if len(rules) > 1 else rules[0] if rules else None


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        name, colon, secret = one.partition(":")
        if not (name and colon and secret):
            raise CliError(f"{option} wants NAME:SECRET, and got no {'secret' if name else 'name'}", code=USAGE)
        found[name] = secret
    return found


def _function(target: str, app_dir: str) -> Any:
    folder = str(Path(app_dir).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(name), attribute)
    except (ImportError, AttributeError, ValueError) as problem:
        raise CliError(f"cannot load --access {target!r}: {problem}", "write module:function", code=USAGE) from None
    if not callable(found):
        raise CliError(f"--access {target!r} is no function", code=USAGE)
    return found


def _serve(app: Any, options: dict[str, Any]) -> None:
    asyncio.run(serve(app, options["host"], options["port"], options["root_path"]))


async def serve(app: Any, host: str, port: int, root_path: str = "") -> None:
    """Serve an app until a signal ends it, and say where; raises `CliError` where nobody can listen."""
    serving = importlib.import_module("streamq.web.serving")

    def announce(bound: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        note(f"dashboard  http://{shown}:{bound}{root_path}   {sign('·', '-')} Ctrl-C ends it")

    try:
        await serving.serve(app, host, port, announce)
    except serving.ListenError as problem:
        raise CliError(str(problem), "is another dashboard running? --port 0 takes a free one") from None
