"""What users' type checkers say of correct and of wrong calls, against the package as it is installed (py.typed)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".mypy_cache" / "typing"
LEAST_COMPLETE = 0.99
"""Share of public symbols whose type is said, not inferred."""

Checker = Literal["mypy", "pyright"]
Place = tuple[str, int]

pytestmark = pytest.mark.timeout(240)  # cold caches, on two cores


def run(*command: str) -> str:
    # In this folder, so that neither checker finds the settings or the source tree of the repository.
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=HERE, capture_output=True, text=True, check=False, timeout=230
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


@cache
def mypy() -> dict[Place, str]:
    said = run(
        "mypy", "--config-file=", "--strict", "--python-version=3.11", f"--cache-dir={CACHE}", "good.py", "bad.py"
    )
    assert "checked 2 source files" in said, said
    found = re.findall(r"^(\w+\.py):(\d+): error: (.*)$", said, re.MULTILINE)
    return {(file, int(line)): text for file, line, text in found}


@cache
def pyright() -> dict[Place, str]:
    said: dict[str, Any] = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable, "--project", "."))
    assert said["summary"]["filesAnalyzed"] == 2, said["summary"]
    return {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"]
        for one in said["generalDiagnostics"]
        if one["severity"] != "information"
    }


CHECK = {"mypy": mypy, "pyright": pyright}


def marked(checker: Checker) -> set[Place]:
    """The lines of bad.py that say this checker refuses them."""
    lines = (HERE / "bad.py").read_text().splitlines()
    marks = {number: re.search(r"# E: (\S+)$", line) for number, line in enumerate(lines, 1)}
    return {("bad.py", number) for number, mark in marks.items() if mark and checker in mark[1].split(",")}


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_every_correct_call_passes(checker: Checker) -> None:
    errors = {place: text for place, text in CHECK[checker]().items() if place[0] == "good.py"}
    assert errors == {}


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_every_wrong_call_is_refused_and_nothing_else(checker: Checker) -> None:
    errors = {place: text for place, text in CHECK[checker]().items() if place[0] == "bad.py"}
    expected = marked(checker)
    assert len(expected) > 60
    assert sorted(expected - errors.keys()) == [], "passed, though wrong"
    assert {place: errors[place] for place in errors.keys() - expected} == {}


def test_public_symbols_have_declared_types() -> None:
    # Inferred types may differ from checker to checker, and slow all of them down.
    said: dict[str, Any] = json.loads(
        run("pyright", "--outputjson", "--pythonpath", sys.executable, "--verifytypes", "streamq", "--ignoreexternal")
    )
    report = said["typeCompleteness"]
    vague = [one["name"] for one in report["symbols"] if one["isExported"] and not one["isTypeKnown"]]
    assert report["completenessScore"] >= LEAST_COMPLETE, vague
