"""Would the tests notice? Each defect of the catalogue, in a copy of the source, must turn the named tests red."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS, Edit, Mutant

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "streamq"

GREEN, RED = 0, 1
"""How pytest ends; anything else is a run that showed nothing."""


def slug(mutant: Mutant) -> str:
    return re.sub(r"\W+", "-", mutant.name).strip("-").lower()


def edited(text: str, edit: Edit) -> str:
    """Return ``text`` with an edit; it must fit exactly once."""
    found = text.count(edit.old)
    assert found == 1, f"{edit.path}: found {found} times, not once; the mutant needs a new patch:\n{edit.old}"
    return text.replace(edit.old, edit.new)


def mutate(package: Path, mutant: Mutant) -> None:
    for edit in mutant.edits:
        path = package / edit.path
        path.write_text(edited(path.read_text("utf-8"), edit), "utf-8")


def copy_source(folder: Path) -> Path:
    package = folder / "src" / "streamq"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
    return package


def environment(package: Path) -> dict[str, str]:
    """Whoever imports streamq gets the copy, processes that tests start included."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "STREAMQ_", "REDIS_"))}
    return {**kept, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "1000"}


def run(package: Path, tests: tuple[str, ...], *options: str) -> tuple[int, str]:
    """Run tests on a copy; returns how pytest ended and what it said."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-rfE", "-p", "no:cacheprovider", *options]
    # What a mutant leaves open must not end pytest before it has said which tests are red.
    command += ["-W", "ignore::pytest.PytestUnraisableExceptionWarning"]
    # Parameters in the id of a killer are a beginning: all tests whose id begins so are meant.
    whole = (test if test.endswith("]") else test.partition("[")[0] for test in tests)
    command += dict.fromkeys(whole)
    done = subprocess.run(
        command, cwd=ROOT, env=environment(package), capture_output=True, text=True, check=False, timeout=240
    )
    return done.returncode, done.stdout + done.stderr[-2000:]


def uses_copy(package: Path) -> bool:
    program = "import streamq; print(streamq.__file__)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment(package), capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()).is_relative_to(package)


@pytest.mark.parametrize("mutant", MUTANTS, ids=slug)
def test_its_patch_fits_the_source(mutant: Mutant) -> None:
    """Quick, so that whoever changes the source hears of it at once."""
    texts: dict[str, str] = {}
    for edit in mutant.edits:
        texts[edit.path] = edited(texts.get(edit.path) or (SOURCE / edit.path).read_text("utf-8"), edit)
        assert edit.new not in (SOURCE / edit.path).read_text("utf-8") or edit.new in edit.old


def test_its_tests_exist() -> None:
    for mutant in MUTANTS:
        assert mutant.killers, mutant.name
        for test in (*mutant.killers, *mutant.alive):
            path, _, rest = test.partition("::")
            text = (ROOT / path).read_text("utf-8")
            name = rest.partition("[")[0]
            assert not name or re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE), f"{mutant.name}: {test}"


@pytest.mark.mutants
@pytest.mark.timeout(300)
def test_the_tests_are_green_without_a_mutant(tmp_path: Path) -> None:
    package = copy_source(tmp_path)
    assert uses_copy(package)
    every = tuple(dict.fromkeys(test for one in MUTANTS for test in (*one.killers, *one.alive)))
    ended, said = run(package, every)
    assert ended == GREEN, said[-4000:]


@pytest.mark.mutants
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS, ids=slug)
def test_a_mutant_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    package = copy_source(tmp_path)
    mutate(package, mutant)
    assert uses_copy(package)
    ended, said = run(package, mutant.alive)
    assert ended == GREEN, f"{mutant.name} breaks everything, so that it shows nothing:\n{said[-4000:]}"
    ended, said = run(package, mutant.killers)
    assert ended == RED, f"{mutant.name} survives: {mutant.why}\n{said[-4000:]}"
    red = re.findall(r"^FAILED (\S.*?)(?: - |$)", said, re.MULTILINE)
    silent = [test for test in mutant.killers if not any(one.startswith(test) for one in red)]
    assert not silent, f"{mutant.name} is not noticed by {silent}; red: {red}"
