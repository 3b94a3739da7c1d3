"""A terminal that is drawn on as a whole and read key by key, and that is given back as it was, however one leaves."""

from __future__ import annotations

import asyncio
import codecs
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

ENTER = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J"
"""The other screen, no cursor, blank."""

LEAVE = "\x1b[?25h\x1b[?1049l"

_SEQUENCES = {
    "[A": "up",
    "[B": "down",
    "OA": "up",
    "OB": "down",
    "[5~": "up",
    "[6~": "down",
}
_NAMES = {"\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\b": "backspace", "\x03": "q", "\x04": "q"}


def is_terminal() -> bool:
    """Whether people look at standard output and type on standard input."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def keys(text: str) -> list[str]:
    """Return what was typed as keys: characters as they are; enter, tab, backspace, esc, up, down."""
    found: list[str] = []
    while text:
        if text[0] != "\x1b":
            found.append(_NAMES.get(text[0], text[0]))
            text = text[1:]
            continue
        sequence = next((one for one in _SEQUENCES if text.startswith(one, 1)), None)
        if sequence is not None:
            found.append(_SEQUENCES[sequence])
            text = text[1 + len(sequence) :]
        elif len(text) > 1 and text[1] in "[O":
            # A key we do not know: up to its last byte.
            end = next((at for at, one in enumerate(text[2:], 2) if "@" <= one <= "~"), len(text) - 1)
            text = text[end + 1 :]
        else:
            found.append("esc")
            text = text[1:]
    return found


class Terminal:
    """The terminal of this process, for the time of a ``with`` block. ``pressed`` is called with each key.

    ``quit_`` is called on SIGINT, SIGTERM and SIGHUP, ``drawn`` when everything has to be drawn again: after a resize,
    or after the process was stopped (ctrl-z) and goes on.
    """

    def __init__(self, pressed: Callable[[str], None], quit_: Callable[[], None], drawn: Callable[[], None]) -> None:
        self._pressed = pressed
        self._quit = quit_
        self._redraw = drawn
        self._saved: Any = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._loop = asyncio.get_running_loop()
        self._signals: list[int] = []

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._take()
        self._loop.add_reader(sys.stdin.fileno(), self._read)
        wanted: dict[str, Callable[[], None]] = {
            "SIGINT": self._quit,
            "SIGTERM": self._quit,
            "SIGHUP": self._quit,
            "SIGTSTP": self._stop,
            "SIGWINCH": self._redraw,
        }
        for name, act in wanted.items():
            number = getattr(signal, name, None)
            if number is not None:
                self._loop.add_signal_handler(number, act)
                self._signals.append(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        self._loop.remove_reader(sys.stdin.fileno())
        for number in self._signals:
            self._loop.remove_signal_handler(number)
        self._give_back()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            found = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            found = shutil.get_terminal_size()
        return max(20, found.columns), max(6, found.lines)

    def draw(self, lines: Sequence[str]) -> None:
        """Draw the screen: in one write, and without clearing it first, so that nothing flickers."""
        self._write("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")

    def _read(self) -> None:
        try:
            data = os.read(sys.stdin.fileno(), 1024)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            self._quit()
            return
        for key in keys(self._decoder.decode(data)):
            self._pressed(key)

    def _stop(self) -> None:
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
        self._redraw()

    def _take(self) -> None:
        termios: Any = importlib.import_module("termios")
        fd = sys.stdin.fileno()
        self._saved = termios.tcgetattr(fd)
        mode = termios.tcgetattr(fd)
        # No echo, no lines; signals and the translation of what is printed stay.
        mode[3] &= ~(termios.ECHO | termios.ICANON)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(fd, termios.TCSADRAIN, mode)
        self._write(ENTER)

    def _give_back(self) -> None:
        self._write(LEAVE)
        if self._saved is not None:
            termios: Any = importlib.import_module("termios")
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._saved)
            self._saved = None

    @staticmethod
    def _write(text: str) -> None:
        data = text.encode(getattr(sys.stdout, "encoding", None) or "ascii", "replace")
        fd = sys.stdout.fileno()
        try:
            while data:
                data = data[os.write(fd, data) :]
        except OSError:  # nobody looks any more; the reader hears of it
            return
