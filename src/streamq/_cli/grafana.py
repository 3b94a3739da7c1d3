"""``streamq grafana``: writes the dashboards and alert rules that come with streamq."""

from __future__ import annotations

import json
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import click

from .options import Command, chosen
from .say import USAGE, CliError, note

WRITTEN = (".json", ".yml", ".yaml")


def shipped() -> dict[str, Traversable]:
    """Return the files that come with streamq, by name."""
    folder = resources.files("streamq") / "grafana"
    if not folder.is_dir():
        return {}
    return {one.name: one for one in sorted(folder.iterdir(), key=lambda one: one.name) if one.name.endswith(WRITTEN)}


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-d", "--directory", type=click.Path(file_okay=False, path_type=Path), help="Write them there.")
@click.option("--force", is_flag=True, help="With --directory: replace files that are there and differ.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def grafana(names: tuple[str, ...], **options: Any) -> None:
    """Write the Grafana dashboards and Prometheus rules that come with streamq; without NAME all of them.

    Without --directory: with one NAME prints that file, else lists what there is.
    """
    files = shipped()
    unknown = [name for name in names if name not in files]
    if unknown:
        raise CliError(f"there is no {unknown[0]!r}", f"there are {', '.join(files) or 'none'}", code=USAGE)
    wanted = {name: files[name] for name in names or files}
    if options["directory"] is not None:
        _write(wanted, options["directory"], options)
    elif len(names) == 1:
        click.echo(wanted[names[0]].read_text("utf-8"), nl=False)
    elif chosen(options, "as_json"):
        click.echo(json.dumps({"files": [{"name": name, "title": _title(one)} for name, one in wanted.items()]}))
    else:
        for name, one in wanted.items():
            click.echo(f"{name:<24}  {_title(one)}".rstrip())
        note("print one: streamq grafana NAME; write all: streamq grafana --directory DIR")


def _title(file: Traversable) -> str:
    if not file.name.endswith(".json"):
        return "Prometheus rules"
    return f"Grafana dashboard: {json.loads(file.read_text('utf-8')).get('title', '')}"


def _write(wanted: dict[str, Traversable], folder: Path, options: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    texts = {folder / name: one.read_text("utf-8") for name, one in wanted.items()}
    other = [path for path, text in texts.items() if path.exists() and path.read_text("utf-8") != text]
    if other and not options["force"]:
        raise CliError(f"{other[0]} is there already and differs; nothing was written", "say --force to replace it")
    for path, text in texts.items():
        path.write_text(text, "utf-8")
    if chosen(options, "as_json"):
        click.echo(json.dumps({"written": [str(path) for path in texts]}))
        return
    for path in texts:
        click.echo(path)
