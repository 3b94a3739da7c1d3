"""Every ``streamq ...`` in the words names a command and options that exist."""

import re
import shlex
from pathlib import Path

import click
import pytest

from tests.docs.pages import ROOT, Block, blocks, pages

PAGES = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages()]


def commands(block: Block) -> list[list[str]]:
    """The words after ``streamq`` of each call in a shell block."""
    found: list[list[str]] = []
    for line in block.code.replace("\\\n", " ").splitlines():
        if block.language == "console" and not line.startswith("$ "):
            continue
        for part in re.split(r"&&|\||;", line.removeprefix("$ ").split(" # ")[0]):
            words = shlex.split(part)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words[:1] == ["streamq"]:
                found.append(words[1:])
    return found


def resolve(words: list[str]) -> None:
    """Walk groups down to the command, then look for each option; raises click's errors."""
    main = pytest.importorskip("streamq._cli.main", reason="there is no command line yet")
    command: click.Command = main.cli
    context = click.Context(command, info_name="streamq")
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        try:
            found = command.get_command(context, name)
        except ModuleNotFoundError as missing:
            pytest.skip(f"streamq {name} is not written yet: {missing}")
        assert found is not None, f"there is no command {name!r} in {' '.join(['streamq', *words])!r}"
        command, context = found, click.Context(found, info_name=name, parent=context)
    known = {option for one in command.get_params(context) for option in (*one.opts, *one.secondary_opts)}
    given = {word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
    assert given <= known, f"{sorted(given - known)} are no options of {' '.join(['streamq', *words])!r}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page: Path) -> None:
    for block in blocks(page, "console", "sh", "dockerfile", "yaml"):
        for words in commands(block):
            resolve(words)
