"""``--processes`` and ``--reload``: fresh interpreters, watched. Has no event loop and no connections of its own."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NamedTuple

from .say import APP, HANDED_BACK, REDIS, USAGE, CliError, note

YOUNG = 10.0
"""Seconds; a child that dies younger says that the next one would too."""

YOUNG_DEATHS = 3
"""Deaths in a row, all young, after which restarting is no help."""

LONGEST_PAUSE = 10.0
"""Seconds; the most a restart waits after crashes."""

HOPELESS = (USAGE, APP, REDIS)
"""Exit codes that the next child would end with as well."""

HURRY = (2.0, 8.0)
"""Seconds after which a child that shall reload is signalled again, and killed."""

SUPERVISOR = "STREAMQ_SUPERVISOR"
"""Variable by which a child knows whose child it is."""


class Way(NamedTuple):
    """How to supervise. ``burst``: who ends well is not started again. ``reload``: a broken app waits for a change."""

    processes: int = 1
    burst: bool = False
    reload: bool = False


class _Child:
    """One place for a worker process, and what became of the processes in it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.born = 0.0
        self.next_start = 0.0
        self.young_deaths = 0
        self.crashes = 0
        self.done: int | None = None

    def start(self) -> None:
        """Start a fresh interpreter. In a process group of its own: Ctrl-C comes from us, once."""
        self.born = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 - our own command line again
            self._command,
            stdin=subprocess.DEVNULL,
            env={**os.environ, SUPERVISOR: str(os.getpid())},
            process_group=0,
        )

    def ended(self) -> int | None:
        """Return the exit code if the process has ended since; -9 for SIGKILL."""
        code = None if self.process is None else self.process.poll()
        if code is not None:
            self.process = None
        return code

    def signal(self, number: int) -> None:
        """Send a signal if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class Supervisor:
    """Keeps worker processes running until told to stop."""

    def __init__(self, command: Sequence[str], way: Way) -> None:
        self._way = way
        self._children = [_Child(command) for _ in range(way.processes)]
        self._signals = 0
        self._obeyed = 0
        self._changed = False
        self._stopping = False
        self._verdict: int | None = None
        self._waker, self._ear = socket.socketpair()
        for end in (self._waker, self._ear):
            end.setblocking(False)  # noqa: FBT003 - the standard library's signature

    def run(self) -> int:
        """Supervise; returns the exit code of the whole."""
        before = {one: signal.signal(one, self._hear) for one in (signal.SIGINT, signal.SIGTERM)}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _nothing)
        wakeup = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        try:
            while True:
                self._turn()
                if all(child.process is None and child.done is not None for child in self._children):
                    return self._outcome()
                self._rest()
        finally:
            signal.set_wakeup_fd(wakeup)
            for child in self._children:
                child.signal(signal.SIGKILL)
            for one, handler in before.items():
                signal.signal(one, handler)

    def changed(self) -> None:
        """Start every child anew: the code has changed. Called from the watching thread."""
        self._changed = True
        self._waker.send(b"c")

    def _turn(self) -> None:
        if self._obeyed < self._signals:
            self._obeyed += 1
            self._stop(signal.SIGTERM)
        for child in self._children:
            code = child.ended()
            if code is not None:
                self._bury(child, code)
        if self._changed and not self._stopping:
            self._changed = False
            self._renew()
        now = time.monotonic()
        for child in self._children:
            if child.process is None and child.done is None and now >= child.next_start:
                child.start()

    def _rest(self) -> None:
        waiting = [child.next_start for child in self._children if child.process is None and child.done is None]
        pause = max(0.0, min(waiting) - time.monotonic()) if waiting else 1.0
        if self._obeyed == self._signals and select.select([self._ear], [], [], min(pause, 1.0))[0]:
            self._ear.recv(4096)

    def _bury(self, child: _Child, code: int) -> None:
        """Decide what the end of a child means: it was asked to, it is done, it shall be restarted, or all must end."""
        if self._stopping or (self._way.burst and code in (0, HANDED_BACK)):
            # One that had not come as far as its own handlers ends of the signal itself.
            child.done = 0 if code == -signal.SIGTERM else code
        elif self._way.reload and code not in (USAGE, REDIS):
            # It cannot be imported, or crashed: the next change may mend it, trying again before that will not.
            child.next_start = float("inf")
            if code:
                note(f"worker ended with {_name(code)}; waiting for a change")
        elif code in HOPELESS:
            self._end(child, code)
        else:
            self._restart(child, code)

    def _restart(self, child: _Child, code: int) -> None:
        age = time.monotonic() - child.born
        child.young_deaths = child.young_deaths + 1 if age < YOUNG else 0
        child.crashes = child.crashes + 1 if age < LONGEST_PAUSE * 3 else 1
        if child.young_deaths >= YOUNG_DEATHS:
            note(f"streamq: a worker died {YOUNG_DEATHS} times within its first {YOUNG:g} s; giving up")
            self._end(child, code if code > 0 else 1)
            return
        pause = min(0.25 * 2 ** (child.crashes - 1), LONGEST_PAUSE)
        child.next_start = time.monotonic() + pause
        note(f"worker ended with {_name(code)}; starting another in {pause:g} s")

    def _end(self, child: _Child, code: int) -> None:
        """End everything with ``code``."""
        child.done = code
        if self._verdict is None:
            self._verdict = code
        self._stop(signal.SIGTERM)

    def _stop(self, number: int) -> None:
        self._stopping = True
        for child in self._children:
            if child.process is None and child.done is None:
                child.done = 0
            child.signal(number)

    def _renew(self) -> None:
        note("files changed: reloading")
        for child in self._children:
            self._end_quickly(child)
            child.next_start = 0.0
            child.young_deaths = child.crashes = 0

    def _end_quickly(self, child: _Child) -> None:
        """Stop a child within seconds: what it cannot finish it hands back to the one that comes after it."""
        for number, patience in ((signal.SIGTERM, HURRY[0]), (signal.SIGTERM, HURRY[1]), (signal.SIGKILL, None)):
            if child.process is None:
                return
            child.signal(number)
            try:
                child.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
            child.process = None

    def _hear(self, number: int, frame: FrameType | None) -> None:
        # Only counted: it may come while a child is being started, who would then never hear of it.
        del frame
        self._signals += 1
        if self._signals > 2:
            for child in self._children:
                child.signal(signal.SIGKILL)
            os._exit(128 + number)

    def _outcome(self) -> int:
        if self._verdict is not None:
            return self._verdict
        codes = [child.done or 0 for child in self._children]
        if HANDED_BACK in codes:
            return HANDED_BACK
        return max((code if code >= 0 else 1 for code in codes), default=0)


def child_command(arguments: Sequence[str]) -> list[str]:
    """Return how to start ``streamq`` in a fresh interpreter of the same kind."""
    here = {"", os.getcwd()}  # noqa: PTH109 - compared as text
    # -P keeps a file of the app called queue.py or select.py from standing in for the standard library's.
    safe = [] if here & set(sys.path) else ["-P"]
    return [sys.executable, *safe, "-m", "streamq", *arguments]


def watcher(folders: Sequence[str], changed: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls ``changed`` whenever a Python file below ``folders`` changes, for a thread."""
    try:
        import watchfiles  # noqa: PLC0415 - an extra; its absence has a remedy
    except ImportError:
        raise CliError("--reload needs the package watchfiles", 'pip install "streamq[dev]"') from None

    def watch() -> None:
        only_python = watchfiles.PythonFilter()
        for _ in watchfiles.watch(*folders, watch_filter=only_python, debounce=400, raise_interrupt=False):
            changed()

    return watch


def _name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _nothing(number: int, frame: FrameType | None) -> None:
    """Take SIGCHLD, so that it wakes the loop."""
