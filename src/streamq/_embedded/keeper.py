"""The keeper: a small process of its own that stops one server when its last user is gone.

It holds no connection and asks no user: each user holds ``users.lock`` shared, and the kernel lets go of it however
the user ends. Once a second the keeper tries to take it exclusively.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from .locks import is_current, open_lock, try_lock, unlock
from .place import Place
from .resp import about, ask

POLL = 1.0  # seconds; a server outlives its last user by at most this, and short commands in a row share one
TAKEOVER = 15.0  # seconds another keeper may take to notice that its server is dead: one, on a machine with time
UNREACHABLE = 3  # polls in a row without a socket file (a cleaner of temp directories took it) before a server is ended
PATIENCE = 5.0  # seconds a server gets for SHUTDOWN, and again for SIGTERM; new users wait meanwhile


def keep(state: Path, socket: Path, pid: int) -> None:
    """Guard the server ``pid`` until it has ended or has been stopped. Returns then."""
    place = Place(state.parent, state)
    try:
        keeper = Keeper(place, socket, pid)
    except FileNotFoundError:  # somebody deleted the folder in this very moment
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        return
    if keeper.is_alone():
        keeper.run()


class Keeper:
    """One server and the locks of its folder. Descriptors stay open to the end of the process, on purpose."""

    def __init__(self, place: Place, socket: Path, pid: int) -> None:
        self._place = place
        self._socket = socket
        self._pid = pid
        # Not made anew where they are missing: a deleted folder must stay deleted.
        self._users = os.open(place.users, os.O_RDWR)
        self._server = os.open(place.server, os.O_RDWR)
        self._keeper = open_lock(place.keeper)

    def is_alone(self) -> bool:
        """Whether this became the one keeper; the keeper of a dead server gets a moment to notice."""
        deadline = time.monotonic() + TAKEOVER
        while not try_lock(self._keeper, shared=False):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def run(self) -> None:
        """Look once a second; return when there is nothing left to guard."""
        missing = 0
        while True:
            time.sleep(POLL)
            if not is_current(self._users, self._place.users):
                # The folder was deleted: a reset. Its next user starts a new server, which this one must not meet.
                self._end_at_once()
                return
            is_unused = try_lock(self._users, shared=False)
            if not self._is_guarding():
                if is_unused:
                    self._clean_up()
                return
            missing = 0 if self._socket.exists() else missing + 1
            if is_unused or missing >= UNREACHABLE:
                self._stop()
                self._clean_up()
                return  # the locks go with the process, after the server

    def _is_guarding(self) -> bool:
        """Whether the server is alive and no other was started since."""
        return not self._has_ended() and self._started_last() is not False

    def _started_last(self) -> bool | None:
        """Whether ours is the server started last; None while that is being written down."""
        try:
            return int(self._place.pid.read_text()) == self._pid
        except (OSError, ValueError):
            return None

    def _has_ended(self) -> bool:
        # Not a question about the pid, which may be a zombie's or by now a stranger's: the lock is the server's own.
        if not try_lock(self._server, shared=True):
            return False
        unlock(self._server)
        return True

    def _stop(self) -> None:
        # The socket path may lead to a newer server by now.
        if about(self._socket).get("process_id") == str(self._pid):
            ask(self._socket, "SHUTDOWN", timeout=PATIENCE)
        for harder in (signal.SIGTERM, signal.SIGKILL):
            if self._ends_within(PATIENCE if harder == signal.SIGKILL else 1.0):
                return
            with suppress(ProcessLookupError):
                os.kill(self._pid, harder)
        self._ends_within(PATIENCE)

    def _end_at_once(self) -> None:
        # There is nothing to save any more, and a server that shuts down removes the file of its socket, which by then
        # may be the new server's: the path is the same.
        if about(self._socket).get("process_id") == str(self._pid):
            self._socket.unlink(missing_ok=True)
        if not self._has_ended():
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def _ends_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self._has_ended():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def _clean_up(self) -> None:
        if self._started_last():
            for path in (self._place.url, self._socket, self._place.pid):
                path.unlink(missing_ok=True)
