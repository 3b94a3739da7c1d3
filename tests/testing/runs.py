"""pytest run in a process of its own, on test files of a user."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest


class Done(NamedTuple):
    """How a run of pytest ended: its output, and how many tests were what ("passed", "failed", "errors")."""

    output: str
    counts: dict[str, int]


def needs(*modules: str) -> None:
    """Skip the test where one of these is not installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def run(folder: Path, *options: str, plugins: Sequence[str] = ("anyio",)) -> Done:
    """Run the tests of a folder with our plugin, those named, and no other."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMQ_", "PYTEST_"))}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    given = [part for name in plugins for part in ("-p", name)]
    command = [sys.executable, "-m", "pytest", "-p", "streamq.testing.plugin", "-W", "error", *given, *options]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=50)
    said = done.stdout + done.stderr
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
    return Done(said, {what: int(number) for number, what in re.findall(r"(\d+) (\w+)", last.partition(" in ")[0])})
