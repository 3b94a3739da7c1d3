"""Arguments of commands as values, read as strictly as the server reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import inf
from typing import Final

from .._store.link import ReplyError

Args = Sequence[bytes]
"""Arguments of a command, its name left out."""

WRONG_TYPE: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"
SYNTAX: Final = "ERR syntax error"

_WHOLE = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_REAL = re.compile(rb"[+-]?(?:inf|infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)", re.IGNORECASE)

# What redis-py cuts off the text of an error, because it has a class for it.
_CUT = frozenset(
    {"ERR", "OOM", "WRONGPASS", "EXECABORT", "LOADING", "NOSCRIPT", "READONLY", "NOAUTH", "NOPERM", "ASK", "TRYAGAIN"}
    | {"MOVED", "CLUSTERDOWN", "CROSSSLOT", "MASTERDOWN"}
)


class CommandError(Exception):
    """The command is answered with this error; ``text`` begins with its code."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    @property
    def reply(self) -> ReplyError:
        """The error as a client gets it."""
        code, _, rest = self.text.partition(" ")
        if code in _CUT:
            return ReplyError(code, rest)
        return ReplyError(code if code.isupper() else "ERR", self.text)


class Status(bytes):
    """A status reply, such as OK: text to a client, a table to a script."""

    __slots__ = ()


OK: Final = Status(b"OK")


def unsupported(what: str) -> CommandError:
    """Return the error for what a server knows and this broker does not: never silence."""
    return CommandError(f"ERR streamq memory broker: {what} is not supported")


def shown(arg: bytes) -> str:
    """Return an argument as it stands in an error text."""
    return arg.decode("utf-8", "replace")


def as_bytes(part: object) -> bytes:
    """Return a part of a command as it travels."""
    if isinstance(part, bytes):
        return part
    if isinstance(part, str):
        return part.encode()
    if isinstance(part, int):
        return b"%d" % part
    if isinstance(part, float):
        return repr(part).encode()
    raise TypeError(f"a command is made of bytes, str, int and float, not {type(part).__name__}")


def whole(arg: bytes, problem: str = "ERR value is not an integer or out of range") -> int:
    """Return a whole number of 64 bits."""
    if _WHOLE.fullmatch(arg):
        number = int(arg)
        if -(2**63) <= number < 2**63:
            return number
    raise CommandError(problem)


def real(arg: bytes, problem: str = "ERR value is not a valid float") -> float:
    """Return a number that may be infinite."""
    if not _REAL.fullmatch(arg):
        raise CommandError(problem)
    return float(arg)


def score_bound(arg: bytes) -> tuple[float, bool]:
    """Return a bound of scores, and whether it is left out itself."""
    is_open = arg[:1] == b"("
    return real((arg[1:] if is_open else arg) or b"0", "ERR min or max is not a float"), is_open


def lex_bound(arg: bytes) -> tuple[int, bytes, bool]:
    """Return a bound of members: -1 and 1 for before and after all, with 0 the member; and whether it is left out."""
    if arg in {b"-", b"+"}:
        return (-1 if arg == b"-" else 1), b"", False
    if arg[:1] not in {b"[", b"("}:
        raise CommandError("ERR min or max not valid string range item")
    return 0, arg[1:], arg[:1] == b"("


def number_text(number: float) -> bytes:
    """Return a score as it is replied, and a number of Lua as an argument."""
    if number in {inf, -inf}:
        return b"inf" if number > 0 else b"-inf"
    return b"%.17g" % number
