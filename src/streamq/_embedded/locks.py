"""File locks that end with their holder: flock, without waiting in the kernel so that a deadline holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from pathlib import Path

POLL = 0.005  # seconds between two tries; a start takes some 40 ms, so this is not felt


class LockBusyError(Exception):
    """Somebody else held the lock until the deadline."""


def open_lock(path: Path) -> int:
    """A descriptor of the lock file, made if missing. Not inherited by other programs."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def try_lock(fd: int, *, shared: bool) -> bool:
    """Whether the lock is now held by this descriptor."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    """Let go of the lock for every copy of the descriptor."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock exclusively at this moment."""
    with transient(path) as fd:
        return try_lock(fd, shared=True)


def is_current(fd: int, path: Path) -> bool:
    """Whether ``path`` still names the file behind ``fd``: a lock on a deleted file excludes nobody."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def acquire(path: Path, *, shared: bool, deadline: float) -> int:
    """A descriptor that holds the lock.

    Args:
        path: The lock file.
        shared: Whether others may hold it too.
        deadline: The instant of ``time.monotonic()`` after which to give up.

    Raises:
        LockBusyError: It was not to be had in time.
        OSError: This file system knows no locks, or is read-only.
    """
    while True:
        fd = open_lock(path)
        try:
            while not try_lock(fd, shared=shared):
                pause(deadline)
            if is_current(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def pause(deadline: float, seconds: float = POLL) -> None:
    """Sleep a moment between two tries, or raise LockBusyError when ``deadline`` is past."""
    if time.monotonic() >= deadline:
        raise LockBusyError
    time.sleep(seconds)


# A child forked by another thread in the middle of a start would hold copies of these for as long as it lives, and
# with them the locks. (The users' lock is not among them: a forked child may well go on using the server.)
_transient: set[int] = set()


def _forget_in_child() -> None:
    for fd in _transient:
        with contextlib.suppress(OSError):
            os.close(fd)
    _transient.clear()


os.register_at_fork(after_in_child=_forget_in_child)


@contextlib.contextmanager
def transient(path: Path) -> Generator[int]:
    """A descriptor of the lock file for the length of a block, not locked yet and never kept by a forked child."""
    fd = open_lock(path)
    _transient.add(fd)
    try:
        yield fd
    finally:
        _transient.discard(fd)
        os.close(fd)


@contextlib.contextmanager
def exclusive(path: Path, deadline: float) -> Generator[None]:
    """Hold the lock alone for the length of a block. Raises LockBusyError past ``deadline``."""
    while True:
        with transient(path) as fd:
            while not try_lock(fd, shared=False):
                pause(deadline)
            if not is_current(fd, path):
                continue
            try:
                yield
            finally:
                unlock(fd)
            return


def excludes(path: Path) -> bool:
    """Whether a lock that is held exclusively really keeps others out; some file systems only pretend."""
    return not is_free(path)
