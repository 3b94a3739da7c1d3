"""Where a server's files and its socket can be."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import HAVE_A_URL, EmbeddedServerError
from .place import Place, make_private, read_record

# The address of a unix socket holds 108 bytes on Linux and 104 on macOS, the last one a zero.
MAX_SOCKET_PATH = 100


def places(folder: Path | None) -> Iterator[Place]:
    """Where the files of ``folder``'s server may be, best first.

    The folder itself; the user's cache when it is read-only; the temp directory when locks do not work in either.
    """
    real = Path(os.path.realpath(folder or Path.cwd()))
    yield Place(real, real / ".streamq")
    cache = _cache_directory()
    if cache is not None:
        yield Place(real, cache / "streamq" / _digest(real))
    yield Place(real, _ours(Path(tempfile.gettempdir())) / _digest(real), in_temp=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def _cache_directory() -> Path | None:
    configured = os.environ.get("XDG_CACHE_HOME")
    if configured and Path(configured).is_absolute():
        return Path(configured)
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home, as in some containers
        return None
    return home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"


def socket_name(place: Place) -> str:
    """The file name of the socket: the same for every process, however long the folder's own name is."""
    return f"{_digest(place.state)}.sock"


def choose_socket(place: Place) -> Path:
    """A socket path for the server of ``place``: short, private, on a file system that knows sockets.

    The path of the server before is kept if it can be, so that its other users find the new one without asking.

    Raises:
        EmbeddedServerError: No directory will do.
    """
    before = read_record(place.url)
    bases = [before.socket.parent.parent] if before else []
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_absolute():
        bases.append(Path(runtime))
    problems: list[str] = []
    for base in [*bases, Path(tempfile.gettempdir()), Path("/tmp")]:  # noqa: S108 - a private directory below it
        path = _ours(base) / socket_name(place)
        problem = _why_not(path)
        if problem is None:
            return path
        problems.append(f"{path.parent}: {problem}")
    raise EmbeddedServerError(
        "no directory can hold its socket (" + "; ".join(dict.fromkeys(problems)) + ")",
        f"set XDG_RUNTIME_DIR to a short path of yours with mode 700, or {HAVE_A_URL}",
    )


def _ours(base: Path) -> Path:
    return base / f"streamq-{os.getuid()}"


def _why_not(path: Path) -> str | None:
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        return f"a socket path there is longer than {MAX_SOCKET_PATH} bytes"
    try:
        make_private(path.parent)
        trial = path.with_suffix(f".{os.getpid()}")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(trial))
        trial.unlink()
    except OSError as problem:
        return problem.strerror or str(problem)
    return None
