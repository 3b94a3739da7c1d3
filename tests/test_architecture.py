"""The house keeps its shape: imports point down, files and functions stay short, no room is called utils."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "streamq"
PYTHON = sorted(SOURCE.rglob("*.py"))
LUA = sorted(SOURCE.rglob("*.lua"))

FILE_LINES = 300
FUNCTION_LINES = 50
CLASS_LINES = 350
LUA_LINES = 100
PARAMETERS = 10
"""Limits; `EXCEPTIONS` may allow more, with its reason."""

EXCEPTIONS: dict[str, tuple[int, str]] = {
    # file or file:thing -> (lines allowed, why)
    "_runtime/exchange.py": (510, "one loop with its states; settling and the table of jobs are cut out already"),
    "_store/link.py": (340, "the whole of a connection: reconnect, watchdog and pipelining share their state"),
    "queue.py": (340, "the public class; its parts live in sending, reading and settings, the docstrings stay here"),
    "_runtime/exchange.py:Exchange": (430, "see its file"),
    "_store/lua/enqueue.lua": (125, "one atomic step: memo, reads, every way to place a job, wake-up, reply"),
    "_store/lua/take.lua": (130, "one atomic step: the queue's gate, lanes and lines by turns, delivery, wake-up"),
    "_store/lua/settle.lua": (140, "one atomic step: all verbs of a batch share destinations, ack, index and memo"),
    "_store/lua/tick.lua": (130, "one round trip every two seconds instead of five"),
}

VAGUE = {"utils", "util", "common", "helpers", "helper", "types", "misc", "tools", "base", "shared", "lib", "stuff"}


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def definitions(kinds: tuple[type[ast.AST], ...]) -> Iterator[tuple[str, ast.AST]]:
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kinds):
                yield f"{name_of(path)}:{getattr(node, 'name', '')}", node


def length(node: ast.AST) -> int:
    start, end = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
    return int(end) - int(start) + 1


def sizes() -> Iterator[tuple[str, int, int]]:
    """Every thing with a limit: its name, its lines, and how many it may have."""
    for path in PYTHON:
        yield name_of(path), lines_of(path), FILE_LINES
    for path in LUA:
        yield name_of(path), lines_of(path), LUA_LINES
    for name, node in definitions((ast.FunctionDef, ast.AsyncFunctionDef)):
        yield name, length(node), FUNCTION_LINES
    for name, node in definitions((ast.ClassDef,)):
        yield name, length(node), CLASS_LINES


@pytest.mark.skipif(importlib.util.find_spec("importlinter") is None, reason="import-linter is in the group lint")
def test_imports_keep_the_contract() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_outgrows_its_limit() -> None:
    found = {name: (lines, limit) for name, lines, limit in sizes()}
    over = {name: pair for name, pair in found.items() if pair[0] > EXCEPTIONS.get(name, (pair[1], ""))[0]}
    assert over == {}, "cut it, or say in EXCEPTIONS why not: (lines, limit)"


def test_every_exception_is_still_needed_and_close() -> None:
    needed = {name: lines for name, lines, limit in sizes() if lines > limit}
    assert EXCEPTIONS.keys() - needed.keys() == set(), "within the limit again: take it out of the table"
    assert {name: lines for name, lines in needed.items() if lines < EXCEPTIONS[name][0] - 60} == {}, "lower the limit"


def test_no_function_takes_too_many_arguments() -> None:
    wide: dict[str, int] = {}
    for name, node in definitions((ast.FunctionDef, ast.AsyncFunctionDef)):
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        arguments = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        wide[name] = len([one for one in arguments if one not in {"self", "cls"}])
    assert {name: count for name, count in wide.items() if count > PARAMETERS} == {}


def test_no_module_is_named_for_nothing() -> None:
    rooms = {part.strip("_") for path in PYTHON for part in path.relative_to(SOURCE).with_suffix("").parts}
    assert rooms & VAGUE == set()


def test_every_module_says_what_it_is_for() -> None:
    assert [name_of(path) for path in PYTHON if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_a_switched_off_check_carries_its_reason() -> None:
    # As in "noqa: X - why".
    bare = [
        f"{name_of(path)}:{number}"
        for path in PYTHON
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "# noqa" in line and " - " not in line.partition("# noqa")[2]
    ]
    assert bare == []


def test_the_package_is_typed() -> None:
    assert (SOURCE / "py.typed").exists()
