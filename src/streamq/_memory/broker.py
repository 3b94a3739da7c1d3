"""The broker: one command after the other, scripts as one, and what of it can be replayed after a crash."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .._store.clock import ServerClock
from .._store.link import Command, Reply
from . import commands, server
from .arguments import Args, CommandError, as_bytes, shown, whole
from .commands_keys import blocking_pop
from .connection import Blocked, Connection, ConnectionGone
from .lua import Script, machine
from .transport import Transport
from .values import Keyspace, List

OOM = "OOM command not allowed when used memory > 'maxmemory'."


class Unit(NamedTuple):
    """What one command of a client wrote, all or nothing: at what time, the writing commands in order."""

    now_us: int
    writes: tuple[tuple[bytes, ...], ...]


class _Running(NamedTuple):
    """The script that runs: its keys, and whether it may grow the memory."""

    keys: frozenset[bytes]
    allow_oom: bool


class Broker:
    """A Redis in memory, of the commands that streamq uses. ``now_us``: its clock; ``seed``: for what it chooses.

    With ``journal`` it notes what is written, so that `crash` can lose the last of it. ``short_of_memory`` refuses what
    a server over maxmemory refuses. ``on_command`` is called after each command of a client, with its words.
    ``make_clock``: how clients know its time.
    Thread-safe; calls that wait are answered in the thread that served them.
    """

    def __init__(self, now_us: Callable[[], int], seed: int = 0, *, journal: bool = False) -> None:
        self.transport: Transport = Transport()
        self.short_of_memory: bool = False
        self.on_command: Callable[[Sequence[bytes]], None] | None = None
        self.journal: list[Unit] | None = [] if journal else None
        self.now_us = now_us
        self.make_clock: Callable[[], ServerClock] = ServerClock
        self.starts: int = 0
        self.connections: dict[int, Connection] = {}
        self._seed = seed
        self._numbers = 0
        self._lock = threading.RLock()
        self._scripts: dict[bytes, Script] = {}
        self._blocked: dict[bytes, list[Blocked]] = {}
        self._channels: dict[bytes, dict[int, Connection]] = {}
        self._running: _Running | None = None
        self._writes: list[tuple[bytes, ...]] = []
        self._start()

    def _start(self) -> None:
        self.starts += 1
        self._space = Keyspace(self._seed)
        self._space.publish = self.publish

    @property
    def run_id(self) -> str:
        """What names this run of the server: another after each crash."""
        return hashlib.sha1(f"{self._seed}:{self.starts}".encode(), usedforsecurity=False).hexdigest()

    # -- connections ------------------------------------------------------------------------------------

    def connect(self, name: str) -> Connection:
        """Open a connection. ``name`` is as in CLIENT LIST."""
        with self._lock:
            self._numbers += 1
            made = self.connections[self._numbers] = Connection(self, self._numbers, name)
            return made

    def close(self, connection: Connection, *, told: bool) -> None:
        """Close a connection; ``told``: its client learns of it. Does nothing when closed."""
        with self._lock:
            if connection.closed:
                return
            connection.closed = True
            self.connections.pop(connection.number, None)
            for channel in list(connection.channels):
                self.unsubscribe(connection, channel)
            if connection.waits is not None and told:
                connection.waits.finish(ConnectionGone("the server closed the connection"))
            elif connection.waits is not None:
                connection.waits.cancel()
            if told:
                connection.on_close()

    def subscribe(self, connection: Connection, channel: bytes) -> None:
        """Let a connection hear a channel."""
        connection.channels[channel] = None
        self._channels.setdefault(channel, {})[connection.number] = connection

    def unsubscribe(self, connection: Connection, channel: bytes) -> None:
        """Let it hear the channel no more."""
        connection.channels.pop(channel, None)
        heard = self._channels.get(channel, {})
        heard.pop(connection.number, None)
        if not heard:
            self._channels.pop(channel, None)

    def publish(self, channel: bytes, message: bytes) -> int:
        """Tell those who hear a channel; returns how many they are."""
        ears = list(self._channels.get(channel, {}).values())
        for connection in ears:
            self.transport.deliver(connection, [b"smessage", channel, message])
        return len(ears)

    # -- commands ---------------------------------------------------------------------------------------

    def execute(self, connection: Connection, command: Command) -> Reply | Blocked:
        """Run a client's command; see `Connection.execute`."""
        words = [as_bytes(part) for part in command]
        with self._lock:
            if connection.closed:
                raise ConnectionGone("the connection is closed")
            self._space.now_us = self.now_us()
            self._writes = []
            try:
                reply = self._dispatch(connection, words)
            except CommandError as problem:
                reply = problem.reply
            self._commit()
            self._serve()
            if self.on_command is not None:
                self.on_command(words)
            return reply

    def _dispatch(self, connection: Connection, words: Sequence[bytes]) -> Any:
        if connection.waits is not None:
            raise CommandError("ERR streamq memory broker: this connection waits in BLPOP")
        name, args = words[0].upper(), words[1:]
        if name in {b"EVALSHA", b"EVAL"}:
            return self._evaluate(name, args)
        if name == b"BLPOP":
            return self._pop_or_wait(connection, args)
        if name in server.VERBS:
            return server.VERBS[name](connection, args)
        return self._run(name, args)

    def _run(self, name: bytes, args: Args) -> Any:
        verb = commands.verb_of(name, args)
        running = self._running
        if running is not None and not running.keys.issuperset(verb.keys(args)):
            raise UndeclaredKeyError(name, verb.keys(args), running.keys)
        if verb.grows and self.short_of_memory and not (running and (running.allow_oom or self._writes)):
            raise CommandError(OOM)
        reply = verb.run(self._space, args)
        if verb.writes:
            self._writes.append((name, *args))
        return reply

    def _commit(self) -> None:
        if self._writes and self.journal is not None:
            self.journal.append(Unit(self._space.now_us, tuple(self._writes)))
        self._writes = []

    # -- scripts ----------------------------------------------------------------------------------------

    def load_script(self, source: bytes) -> Script:
        """Compile a script and keep it; raises `CommandError`."""
        script = machine().load(source)
        self._scripts[script.sha] = script
        return script

    def knows_script(self, sha: bytes) -> bool:
        """Whether a script of this name is loaded."""
        return sha.lower() in self._scripts

    def flush_scripts(self) -> None:
        """Forget all scripts."""
        self._scripts.clear()

    def _evaluate(self, name: bytes, args: Args) -> Any:
        if len(args) < 2:
            raise CommandError(f"ERR wrong number of arguments for '{shown(name).lower()}' command")
        count = whole(args[1])
        if not 0 <= count <= len(args) - 2:
            raise CommandError("ERR Number of keys can't be greater than number of args")
        script = self.load_script(args[0]) if name == b"EVAL" else self._scripts.get(args[0].lower())
        if script is None:
            raise CommandError("NOSCRIPT No matching script. Please use EVAL.")
        if self._running is not None:
            raise CommandError("ERR This Redis command is not allowed from script")
        keys = args[2 : 2 + count]
        self._running = _Running(frozenset(keys), script.allow_oom)
        try:
            return machine().run(script, keys, args[2 + count :], self._run_for_script)
        finally:
            self._running = None

    def _run_for_script(self, words: Sequence[bytes]) -> Any:
        return self._run(words[0].upper(), words[1:])

    # -- waiting ----------------------------------------------------------------------------------------

    def _pop_or_wait(self, connection: Connection, args: Args) -> Any:
        key, seconds = blocking_pop(self._space, args)
        found = self._pop(key)
        if found is not None:
            return [key, found]
        made = connection.waits = Blocked(connection, key, seconds, self._left)
        self._blocked.setdefault(key, []).append(made)
        return made

    def _pop(self, key: bytes) -> bytes | None:
        found: bytes | None = self._run(b"LPOP", [key]) if isinstance(self._space.get(key), List) else None
        return found

    def _left(self, blocked: Blocked) -> None:
        with self._lock:
            waiting = self._blocked.get(blocked.key, [])
            if blocked in waiting:
                waiting.remove(blocked)
            if not waiting:
                self._blocked.pop(blocked.key, None)

    def _serve(self) -> None:
        """Hand what was pushed to those who waited longest."""
        for key in list(self._blocked):
            while self._blocked.get(key):
                found = self._pop(key)
                if found is None:
                    break
                self._commit()
                self._blocked[key][0].finish([key, found])

    # -- what is there ----------------------------------------------------------------------------------

    def dump(self) -> dict[bytes, tuple[str, Any, int | None]]:
        """Return everything: type, plain value and time of expiry (ms) of each key."""
        with self._lock:
            self._space.now_us = self.now_us()
            return self._space.dump()

    def crash(self, lost: int = 0) -> None:
        """Start anew without the last ``lost`` units of the journal; connections and scripts are gone."""
        if self.journal is None:
            raise ValueError("Broker(journal=True) keeps what a crash can leave")
        self.replay(len(self.journal) - lost)

    def replay(self, units: int) -> None:
        """Start anew with the first ``units`` units of the journal; connections and scripts are gone."""
        with self._lock:
            kept = (self.journal or [])[:units]
            for connection in list(self.connections.values()):
                self.close(connection, told=True)
            self._scripts.clear()
            self._start()
            for unit in kept:
                self._space.now_us = unit.now_us
                for name, *args in unit.writes:
                    commands.verb_of(name, args).run(self._space, args)
            self.journal = kept


class UndeclaredKeyError(Exception):
    """A script touched a key that it was not given (I14): a defect, so it reaches whoever called, past redis.pcall."""

    def __init__(self, command: bytes, keys: Args, declared: frozenset[bytes]) -> None:
        strange = ", ".join(shown(key) for key in keys if key not in declared)
        super().__init__(f"a script called {shown(command)} with keys that it was not given: {strange}")


_named: dict[str, Broker] = {}


def wall_us() -> int:
    """Return the time of this machine in microseconds."""
    return time.time_ns() // 1000


def named(url: str) -> Broker:
    """Return the broker of a url or name; the first who asks for it makes it, on this machine's clock."""
    name = url.removeprefix("memory://")
    if name not in _named:
        _named[name] = Broker(wall_us)
    return _named[name]


def put(name: str, broker: Broker | None) -> None:
    """Let urls ``memory://name`` lead to this broker; None: to a new one."""
    _named.pop(name, None)
    if broker is not None:
        _named[name] = broker
