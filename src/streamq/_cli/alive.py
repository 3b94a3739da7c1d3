"""The sign of life of a worker on this machine: a file, touched by its event loop, locked for as long as it lives.

A probe asks the file and nothing else: it must not import the app, and a Redis that is away must not restart workers.
Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

if sys.platform != "win32":  # there a dead worker's file is told by its age alone
    import fcntl

EVERY = 2.0
"""Seconds between two touches."""

STALE = 10.0
"""Seconds without a touch after which an event loop counts as stuck."""

FORGET = 3600.0
"""Seconds after which files of dead workers are deleted."""


class Seen(NamedTuple):
    """A worker's file as a probe finds it. ``age``: seconds since its event loop last turned."""

    pid: int
    age: float
    queues: tuple[str, ...]


def folder() -> Path:
    """Return the directory of the files: the runtime directory of this user."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"streamq-{os.getuid() if hasattr(os, 'getuid') else 0}"


class Alive:
    """This process's file; gone with `close`, and counted as dead as soon as the process is."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._path = folder() / f"worker-{os.getpid()}.alive"
        self._queues = queues
        self._fd: int | None = None

    def open(self) -> None:
        """Make the file. A machine that refuses it has no probes; the worker works all the same."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _forget_dead(self._path.parent)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            _locked(self._fd)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, "\n".join(self._queues).encode(), 0)

    def touch(self) -> None:
        """Say that the event loop turns."""
        if self._fd is None:
            return
        try:
            os.utime(self._path)
        except FileNotFoundError:  # a cleaner of temp directories took it
            self.close()
            self.open()
        except OSError:
            return

    def close(self) -> None:
        """Take the file away."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(fd)


def look() -> Iterator[Seen]:
    """Yield the workers of this user that are alive as processes."""
    now = time.time()
    for path in sorted(folder().glob("worker-*.alive")):
        with contextlib.suppress(OSError, ValueError):
            if _is_held(path):
                queues = tuple(path.read_text(encoding="utf-8").split())
                yield Seen(int(path.stem.partition("-")[2]), max(0.0, now - path.stat().st_mtime), queues)


def _locked(fd: int) -> None:
    if sys.platform != "win32":
        fcntl.flock(fd, fcntl.LOCK_EX)


def _is_held(path: Path) -> bool:
    """Whether the process that made the file lives: the kernel frees its lock when it ends, however it ends."""
    if sys.platform == "win32":
        return time.time() - path.stat().st_mtime < FORGET
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _forget_dead(directory: Path) -> None:
    for path in directory.glob("worker-*.alive"):
        # Only old ones: a young one may be another worker's that is about to be locked.
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > FORGET and not _is_held(path):
                path.unlink()
