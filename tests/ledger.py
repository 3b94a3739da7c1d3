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
    """One actor's file.

    The producer writes try, ok, unknown; a worker ready, start, effect, settled, lost; the nemesis its faults.
    """

    def __init__(self, folder: Path, actor: str) -> None:
        self._file = (folder / f"{actor}-{os.getpid()}.jsonl").open("a", buffering=1, encoding="utf-8")
        self._pid = os.getpid()

    def write(self, what: str, job: str = "", **more: object) -> None:
        """Append a line."""
        self._file.write(json.dumps([time.monotonic(), self._pid, what, job, more]) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Reader:
    """Reads the ledgers of a folder as they grow: each line once. A last line cut by SIGKILL is left out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets: dict[Path, int] = {}

    def new(self) -> list[Line]:
        """Lines written since the last call, oldest first."""
        return sorted(self._read(), key=lambda line: line.at)

    def _read(self) -> Iterator[Line]:
        for path in self._folder.glob("*.jsonl"):
            offset = self._offsets.get(path, 0)
            if path.stat().st_size <= offset:
                continue
            with path.open("rb") as file:
                file.seek(offset)
                whole = file.read().rpartition(b"\n")[0]
            if whole:
                self._offsets[path] = offset + len(whole) + 1
                for text in whole.split(b"\n"):
                    yield Line(*json.loads(text))
