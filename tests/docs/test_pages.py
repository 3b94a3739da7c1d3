"""The words are true: every Python block of README, tutorial and how-to pages runs on a real server, in page order."""

import ast
import asyncio
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path
from typing import Any

import pytest

from streamq import Queue
from tests.docs.pages import ROOT, Block, blocks, pages
from tests.servers import Server

PAGES = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages()]


@pytest.mark.parametrize("page", PAGES)
async def test_python_blocks_run(
    page: Path, server: Server, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMQ_URL", server.url)
    monkeypatch.setenv("STREAMQ_PREFIX", prefix)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    names: dict[str, Any] = {"__name__": "__page__"}

    try:
        async with closed_at_the_end(names, tmp_path):
            for block in blocks(page, "python", "console"):
                if block.language == "console":
                    check_output(block, tmp_path)
                else:
                    await run(block, names, tmp_path)
    finally:
        for name in set(sys.modules) - before:
            if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]


async def run(block: Block, names: dict[str, Any], folder: Path) -> None:
    # Compiled at its place in the page, so that a traceback leads there.
    code = compile("\n" * (block.line - 1) + block.code, str(block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    needed = re.match(r"needs: (\w+)", block.mark)
    if block.mark.startswith("compile only: ") or (needed and importlib.util.find_spec(needed[1]) is None):
        return
    assert not block.mark or needed, f"{block.where}: unknown mark {block.mark!r}"
    if block.file is None:
        result = eval(code, names)  # noqa: S307 - our own pages
        if inspect.iscoroutine(result):
            await result
        return
    # Not imported now: a later block does that, or a console block runs it as a program.
    (folder / block.file).write_text(block.code, "utf-8")
    importlib.invalidate_caches()


def check_output(block: Block, folder: Path) -> None:
    """Run ``$ python file.py`` for files of the page and compare what it prints; "..." stands for anything."""
    for command, expected in re.findall(r"^\$ python (\w+\.py)\n((?:(?!\$ ).*\n)*)", block.code, re.MULTILINE):
        if not (folder / command).exists():
            continue
        done = subprocess.run(
            [sys.executable, command], cwd=folder, env=os.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block.where}\n{done.stderr}"
        same = OutputChecker().check_output(expected, done.stdout, ELLIPSIS)
        assert same, f"{block.where}: expected\n{expected}\ngot\n{done.stdout}"


@asynccontextmanager
async def closed_at_the_end(names: dict[str, Any], folder: Path) -> AsyncGenerator[None]:
    """Close the queues that the page declared, in its blocks and in its files."""
    try:
        yield
    finally:
        modules = [one for one in sys.modules.values() if str(folder) in (getattr(one, "__file__", None) or "")]
        held = [*names.values(), *(value for module in modules for value in vars(module).values())]
        for queue in {id(one): one for one in held if isinstance(one, Queue)}.values():
            await queue.aclose()
        await asyncio.sleep(0)


@pytest.mark.parametrize("page", [*PAGES, pytest.param(ROOT / "ARCHITECTURE.md", id="ARCHITECTURE.md")])
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text("utf-8"))

    missing = [target for target in targets if not (page.parent / target).exists()]

    assert missing == []


def test_the_architecture_page_names_every_module() -> None:
    package = ROOT / "src" / "streamq"
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    tree = page[page.index("```text") : page.index("## Who may import whom")]
    rooms = {"": tree.split("    _core/")[0]}
    rooms |= dict(
        re.findall(r"^    (_\w+|testing)/(.*?)(?=^    (?:_\w+|testing)/|```)", tree, re.MULTILINE | re.DOTALL)
    )

    for room, listed in rooms.items():
        if room == "_cli":
            continue  # one module a command: `streamq --help` lists those
        there = {path.name for path in (package / room).glob("*.py")} - ({"__init__.py"} if room else set())
        named = set(re.findall(r"^ +(\w+\.py) ", listed, re.MULTILINE))
        assert named - there == set(), f"not there: {room}"
        assert there - named == set(), f"say in ARCHITECTURE.md what it is for: {room}"
