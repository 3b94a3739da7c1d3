"""attach() and find(): how a process comes to the server of its folder."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from .errors import HAVE_A_URL, EmbeddedServerError, PlaceUnusable
from .launch import start, start_keeper, version_of
from .location import places
from .locks import LockBusyError, acquire, excludes, exclusive, is_current, is_free, pause
from .place import Place, Record, new_record, read_record
from .resp import about, is_ready

logger = logging.getLogger("streamq.embedded")

FOREIGN_AFTER = 2.0  # seconds of silence after which a server that another host's record names is taken for foreign
KEEPER_BY = 5.0  # seconds after a start by which its keeper runs


class _Server(NamedTuple):
    """The live server that was found or started, and the lock that keeps it."""

    place: Place
    users: int
    record: Record
    started_in: float | None


class EmbeddedServer:
    """A live server of one folder that stays for as long as this is not released (or its process lives).

    Made by `attach`. A process may hold several; each counts. After ``fork`` the child holds a copy: releasing it
    there leaves the parent's alone, and the server stays until both are gone.
    """

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._users: int | None = server.users
        self._lock_file = os.fstat(server.users)

    @property
    def url(self) -> str:
        """``unix:///...sock``, as redis-py takes it. May change in `revive`."""
        return self._server.record.url

    @property
    def pid(self) -> int:
        """The server's process id. Changes in `revive`."""
        return self._server.record.pid

    @property
    def version(self) -> str:
        """Name and version of the server, such as "Valkey 9.1.2"."""
        return self._server.record.version

    @property
    def folder(self) -> Path:
        """The folder whose server this is, with symbolic links resolved."""
        return self._server.place.folder

    @property
    def state(self) -> Path:
        """Where its data and log are: ``.streamq`` in the folder, unless that is not possible."""
        return self._server.place.state

    @property
    def started(self) -> bool:
        """Whether this call of `attach` started it; False if it was there already."""
        return self._server.started_in is not None

    @property
    def started_in(self) -> float:
        """Seconds from the decision to start until it answered; 0 if it was there already."""
        return self._server.started_in or 0.0

    def revive(self, *, timeout: float = 10.0) -> bool:
        """The server answers again, with the data it had; says whether it is another process than before.

        For whoever finds that connecting fails. Read `url` again afterwards. Blocks; not for two threads at once.

        Raises:
            EmbeddedServerError: It was released, or does not come up in ``timeout`` seconds.
        """
        if self._users is None:
            raise EmbeddedServerError("this one was released", "call attach() again")
        place = self._server.place
        if is_current(self._users, place.users) and self._answers():
            return False
        found, before = _attach(place.folder, timeout), self.pid
        self.release()
        self._server, self._users, self._lock_file = found, found.users, os.fstat(found.users)
        return self.pid != before

    def _answers(self) -> bool:
        # Somebody else may have repaired it already, at the same path.
        path = self._server.record.socket
        return is_ready(path) and about(path).get("process_id") == str(self.pid)

    def release(self) -> None:
        """One user less; the server ends about a second after its last user. Safe to call again."""
        fd, self._users = self._users, None
        if fd is None:
            return
        with contextlib.suppress(OSError):
            # A program that became a daemon closed all descriptors; the number may by now be somebody else's.
            if os.path.samestat(os.fstat(fd), self._lock_file):
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<EmbeddedServer {self.version} pid={self.pid} {self.url} of {self.folder}>"


def attach(folder: Path | None = None, *, timeout: float = 10.0) -> EmbeddedServer:
    """The server of a folder, started if need be, for as long as the result is not released.

    Blocks (so in async code: ``asyncio.to_thread``): 40 ms for a start, 1 ms otherwise.

    Args:
        folder: Whose server. Default: the working directory, since that is what several terminals share.
        timeout: Seconds to give up after. The default is for loading the jobs of a big append-only file.

    Raises:
        EmbeddedServerError: STREAMQ_ENV=production, no server program, or it does not come up.
    """
    return EmbeddedServer(_attach(folder, timeout))


def find(folder: Path | None = None) -> str | None:
    """The url of the live server of a folder (default: the working directory), or None. Starts nothing."""
    for place in places(folder):
        record = read_record(place.url)
        if record is not None and is_ready(record.socket):
            return record.url
    return None


def _attach(folder: Path | None, timeout: float) -> _Server:
    if os.environ.get("STREAMQ_ENV", "").strip().lower() == "production":
        raise EmbeddedServerError("STREAMQ_ENV=production never starts one", HAVE_A_URL)
    deadline = time.monotonic() + timeout
    problems: list[str] = []
    for place in places(folder):
        try:
            found = _attach_at(place, deadline)
        except PlaceUnusable as problem:
            problems.append(f"{place.state}: {problem}")
            continue
        except LockBusyError:
            raise EmbeddedServerError(
                f"the server of {place.folder} neither answered nor ended within {timeout:g} s",
                f"see {place.log}; end the process named in {place.pid}, or give attach() a longer timeout",
            ) from None
        if problems:
            logger.warning("embedded server keeps its files in %s (%s)", place.state, "; ".join(problems))
        return found
    raise EmbeddedServerError(f"no directory can hold its files ({'; '.join(problems)})", HAVE_A_URL)


def _attach_at(place: Place, deadline: float) -> _Server:
    try:
        place.prepare()
        # Before start.lock: whoever may start a server must already be counted, or the keeper could stop it again.
        users = acquire(place.users, shared=True, deadline=deadline)
    except OSError as problem:
        raise PlaceUnusable(problem.strerror or str(problem)) from problem
    try:
        with exclusive(place.start, deadline):
            record, started_in = _find_or_start(place, deadline)
    except BaseException:
        os.close(users)
        raise
    return _Server(place, users, record, started_in)


def _find_or_start(place: Place, deadline: float) -> tuple[Record, float | None]:
    if not excludes(place.start):
        raise PlaceUnusable("file locks do not work there")
    began = time.monotonic()
    while True:
        record = _live(place)
        if record is not None:
            _ensure_kept(place, record)
            return record, None
        if is_free(place.server):
            break
        # Alive but silent: loading, ending, hanging, or out of reach. Never start a second one beside it.
        _refuse_foreign(place, silent_for=time.monotonic() - began)
        pause(deadline)
    began = time.monotonic()
    return start(place, deadline), time.monotonic() - began


def _live(place: Place) -> Record | None:
    record = read_record(place.url)
    if record is not None and is_ready(record.socket):
        return record
    # Whoever started it may have been killed before it could write the url.
    unnamed = read_record(place.server)
    if unnamed is None or (record and record.socket == unnamed.socket) or not is_ready(unnamed.socket):
        return None
    answer = about(unnamed.socket)
    record = new_record(unnamed.socket, int(answer.get("process_id", "0")), version_of(answer))
    place.publish(record)
    return record


def _refuse_foreign(place: Place, silent_for: float) -> None:
    record = read_record(place.server)
    if record is not None and record.host != os.uname().nodename and silent_for > FOREIGN_AFTER:
        raise PlaceUnusable(f"a server on {record.host} is using it")


def _ensure_kept(place: Place, record: Record) -> None:
    try:
        age = time.time() - place.url.stat().st_mtime
    except FileNotFoundError:
        return
    if age < KEEPER_BY or not is_free(place.keeper):
        return
    logger.warning("the keeper of embedded server %s was gone; starting another", record.pid)
    os.utime(place.url)
    start_keeper(place, record)
