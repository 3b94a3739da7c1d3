"""Commands that concern the connection or the server, not its keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .arguments import OK, Args, CommandError, Status, shown, unsupported, whole
from .connection import Connection

VERSION: Final = "7.0.0"
"""The server it stands for: the oldest that streamq takes."""


def _ping(connection: Connection, args: Args) -> bytes:
    """PING [text]."""
    del connection
    return args[0] if args else Status(b"PONG")


def _info(connection: Connection, args: Args) -> bytes:
    """INFO [section]...: always all there is to say."""
    del args
    broker = connection.broker
    lines = [
        "# Server", f"redis_version:{VERSION}", "redis_mode:standalone", "streamq_broker:memory",
        f"run_id:{broker.run_id}", f"server_time_usec:{broker.now_us()}", "# Clients",
        f"connected_clients:{len(broker.connections)}", "# Memory", "maxmemory:0", "maxmemory_policy:noeviction",
    ]  # fmt: skip
    return "".join(f"{line}\r\n" for line in lines).encode()


def _select(connection: Connection, args: Args) -> Status:
    """SELECT 0."""
    del connection
    if list(args) != [b"0"]:
        raise unsupported("SELECT of another database than 0")
    return OK


def _client(connection: Connection, args: Args) -> Any:
    """CLIENT ID, CLIENT KILL ID id, CLIENT SETNAME name."""
    words = [args[0].upper(), *args[1:]] if args else []
    if words == [b"ID"]:
        return connection.number
    if len(words) == 2 and words[0] == b"SETNAME":
        connection.name = shown(words[1])
        return OK
    if len(words) == 3 and words[0] == b"KILL" and words[1].upper() == b"ID":
        other = connection.broker.connections.get(whole(words[2]))
        if other is None:
            return 0
        connection.broker.close(other, told=True)
        return 1
    raise unsupported(f"CLIENT {' '.join(shown(word) for word in words)}")


def _script(connection: Connection, args: Args) -> Any:
    """SCRIPT LOAD source, SCRIPT FLUSH, SCRIPT EXISTS sha..."""
    broker, what = connection.broker, args[0].upper() if args else b""
    if what == b"LOAD" and len(args) == 2:
        return broker.load_script(args[1]).sha
    if what == b"FLUSH":
        broker.flush_scripts()
        return OK
    if what == b"EXISTS" and len(args) > 1:
        return [int(broker.knows_script(sha)) for sha in args[1:]]
    raise unsupported(f"SCRIPT {shown(what)} of {len(args)} arguments")


def _ssubscribe(connection: Connection, args: Args) -> Any:
    """SSUBSCRIBE channel...: the answers come as messages do."""
    if not args:
        raise CommandError("ERR wrong number of arguments for 'ssubscribe' command")
    for channel in args:
        connection.broker.subscribe(connection, channel)
        told = [b"ssubscribe", channel, len(connection.channels)]
        connection.broker.transport.deliver(connection, told)


def _sunsubscribe(connection: Connection, args: Args) -> Any:
    """SUNSUBSCRIBE [channel]...: the answers come as messages do."""
    for channel in args or list(connection.channels):
        connection.broker.unsubscribe(connection, channel)
        told = [b"sunsubscribe", channel, len(connection.channels)]
        connection.broker.transport.deliver(connection, told)


VERBS: Final[dict[bytes, Callable[[Connection, Args], Any]]] = {
    b"PING": _ping,
    b"INFO": _info,
    b"SELECT": _select,
    b"CLIENT": _client,
    b"SCRIPT": _script,
    b"SSUBSCRIBE": _ssubscribe,
    b"SUNSUBSCRIBE": _sunsubscribe,
}
