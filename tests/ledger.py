"""Who did what when, written so that SIGKILL loses no line: each actor appends to a file of its own.

A line is one write to a file opened for appending. Times are CLOCK_MONOTONIC, which all processes share.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Line(NamedTuple):
    """One line: ``what`` happened to ``job`` in process ``pid`` at ``at``; ``more`` as the actor says."""

    at: float
    pid: int
    what: str
    job: str
    more: dict[str, Any]


class Ledger:
    """One actor's file. Actors: producer try, ok, unknown; worker ready, start, effect, settled, lost; nemesis fault."""

    def __init__(self, folder: Path, actor: str) -> None:
        self._file = (folder / f"{actor}-{os.getpid()}.jsonl").open("a", buffering=1, encoding="utf-8")
        self._pid = os.getpid()

    def write(self, what: str, job: str = "", **more: object) -> None:
        """Append a line."""
        self._file.write(json.dumps([time.monotonic(), self._pid, what, job, more]) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(folder: Path) -> list[Line]:
    """All lines of all actors, oldest first; a last line cut by SIGKILL is left out."""
    return sorted(_lines(folder), key=lambda line: line.at)


def _lines(folder: Path) -> Iterator[Line]:
    for path in folder.glob("*.jsonl"):
        for text in path.read_text("utf-8").splitlines(keepends=True):
            if text.endswith("\n"):
                yield Line(*json.loads(text))
