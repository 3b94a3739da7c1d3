"""Lua 5.1 as Redis gives it to scripts: redis.call and its kin, cmsgpack, struct, and conversions of replies."""

from __future__ import annotations

import hashlib
import importlib
import re
import struct
import threading
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from math import isfinite
from typing import Any, Final

from .arguments import CommandError, Status, number_text, unsupported

lua51: Any = importlib.import_module("lupa.lua51")
"""The very Lua of Redis; from the extra ``testing``."""

Call = Callable[[Sequence[bytes]], Any]
"""Runs one command for a script; raises `CommandError`."""

SPREAD: Final = 4000
"""Values of a table that come over in one go."""

_HEAD = re.compile(rb"\A#!(\S+)((?:[ \t]+[^\s]+)*)[ \t]*\r?\n")
_FLAGS: Final = frozenset({b"no-writes", b"allow-oom", b"allow-stale", b"no-cluster", b"allow-cross-slot-keys"})


class Script:
    """A loaded script. ``allow_oom``: it may be called while memory is short."""

    __slots__ = ("allow_oom", "chunk", "sha")

    def __init__(self, sha: bytes, chunk: Any, *, allow_oom: bool) -> None:
        self.sha = sha
        self.chunk = chunk
        self.allow_oom = allow_oom


class Machine:
    """One Lua state for the scripts of all brokers of a process: a script leaves nothing behind but its code."""

    def __init__(self) -> None:
        self._call: Call = _nobody_calls
        self._lock = threading.RLock()
        self._loaded: dict[bytes, Script] = {}
        state = lua51.LuaRuntime(
            encoding=None, unpack_returned_tuples=False, register_eval=False, register_builtins=False
        )
        self._table: Any = state.table_from
        self._type: Any = lua51.lua_type
        pack, unpack = (_part(state, name) for name in ("pack", "unpack"))
        given = {
            b"KEYS": self._table([]),
            b"ARGV": self._table([]),
            b"cmsgpack": self._table({b"pack": pack(_double), b"unpack": unpack(_undouble)}),
            b"struct": self._table({b"pack": _struct_pack}),
            b"redis": self._table(
                {
                    b"call": self._calls,
                    b"pcall": self._calls_protected,
                    b"error_reply": self._error_reply,
                    b"status_reply": self._status_reply,
                    b"sha1hex": _sha1hex,
                }
            ),
        }
        self._load, self._spread, self._set = _part(state, "runtime")(self._table(given))

    def load(self, source: bytes) -> Script:
        """Compile a script, once; raises `CommandError` for one that is none."""
        sha = sha1(source)
        if sha not in self._loaded:
            self._loaded[sha] = self._compile(sha, source)
        return self._loaded[sha]

    def _compile(self, sha: bytes, source: bytes) -> Script:
        head, body, flags = _HEAD.match(source), source, set[bytes]()
        if source[:2] == b"#!":
            if head is None or head[1] != b"lua":
                raise CommandError("ERR Could not find scripting engine of the script")
            options = head[2].split()
            if any(not one.startswith(b"flags=") for one in options):
                raise CommandError("ERR Unknown lua shebang option")
            flags = {flag for one in options for flag in one[6:].split(b",") if flag}
            if flags - _FLAGS:
                raise CommandError("ERR Unexpected flag in script shebang")
            body = b"\n" + source[head.end() :]
        chunk, problem = self._load(body)
        if chunk is None:
            why = bytes(problem).decode("utf-8", "replace")
            raise CommandError(f"ERR Error compiling script (new function): {why}")
        return Script(sha, chunk, allow_oom=b"allow-oom" in flags)

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes], call: Call) -> Any:
        """Return what a script answers, that calls by ``call``; raises `CommandError`, also for its own error reply."""
        with self._lock:
            self._call = call
            return self._reply(self._run(script, keys, args))

    def _run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        self._set(self._table(keys), self._table(args))
        try:
            return script.chunk()
        except CommandError as problem:
            raise CommandError(f"{problem.text} script: {script.sha.decode()}, on @user_script.") from None
        except lua51.LuaError as problem:
            text = str(problem).split("\n", 1)[0]
            raise CommandError(f"ERR {text} script: {script.sha.decode()}, on @user_script.") from None

    # -- redis.* ----------------------------------------------------------------------------------------

    def _calls(self, *args: Any) -> Any:
        return self._to_lua(self._call([_argument(one) for one in args]))

    def _calls_protected(self, *args: Any) -> Any:
        try:
            return self._calls(*args)
        except CommandError as problem:
            return self._table({b"err": problem.text.encode()})

    def _error_reply(self, text: bytes) -> Any:
        text = text.removeprefix(b"-")
        return self._table({b"err": text if b" " in text else b"ERR " + text})

    def _status_reply(self, text: bytes) -> Any:
        return self._table({b"ok": text})

    # -- conversions ------------------------------------------------------------------------------------

    def _to_lua(self, reply: Any) -> Any:
        if reply is None:
            return False
        if isinstance(reply, list):
            return self._table([self._to_lua(part) for part in _parts(reply)])
        if isinstance(reply, Status):
            return self._table({b"ok": bytes(reply)})
        return reply

    def _reply(self, value: Any) -> Any:
        if value is None or value is False:
            return None
        if value is True:
            return 1
        if isinstance(value, float):
            if not isfinite(value):
                raise unsupported(f"{value} in a reply of a script")
            return int(value)
        if self._type(value) != "table":
            return value if isinstance(value, bytes | int) else None
        spread: tuple[Any, ...] = self._spread(value)
        error, status, count = spread[:3]
        parts: Sequence[Any] = spread[3:]
        if isinstance(error, bytes):
            raise CommandError(error.decode("utf-8", "replace"))
        if isinstance(status, bytes):
            return Status(status)
        if count > SPREAD:
            parts = [value[at] for at in range(1, count + 1)]
        return [self._reply(part) for part in parts]


@cache
def machine() -> Machine:
    """Return the Lua state of this process."""
    return Machine()


def _nobody_calls(words: Sequence[bytes]) -> Any:
    raise CommandError(f"ERR no script runs that could call {words}")


def sha1(source: bytes) -> bytes:
    """Return the name of a script."""
    return hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()


def _part(state: Any, name: str) -> Any:
    source = resources.files(__package__ or "").joinpath(f"{name}.lua").read_bytes()
    return state.eval(b"function(...) " + source + b"\nend")


def _parts(reply: Any) -> Sequence[Any]:
    parts: Sequence[Any] = reply
    return parts


def _argument(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return b"%d" % value
    if isinstance(value, float):
        return number_text(value)
    raise CommandError("ERR Lua redis lib command arguments must be strings or integers")


def _sha1hex(data: Any) -> bytes:
    return sha1(_argument(data))


def _double(number: float) -> bytes:
    try:
        short = struct.pack(">f", number)
    except OverflowError:
        return b"\xcb" + struct.pack(">d", number)
    if struct.unpack(">f", short)[0] == number:
        return b"\xca" + short
    return b"\xcb" + struct.pack(">d", number)


def _undouble(data: bytes) -> float:
    return float(struct.unpack(">f" if len(data) == 4 else ">d", data)[0])


def _struct_pack(kind: bytes, number: float) -> bytes:
    if kind == b">I8":
        return int(number).to_bytes(8, "big")
    if kind == b">d":
        return struct.pack(">d", number)
    raise unsupported(f"struct.pack of {kind!r}")
