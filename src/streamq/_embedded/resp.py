"""As much of the Redis protocol as it takes to say PING, INFO and SHUTDOWN."""

from __future__ import annotations

import socket
from pathlib import Path


def ask(path: Path, *words: str, timeout: float = 1.0) -> str | None:
    """The server's answer to one command, or None when nobody answers in ``timeout`` seconds.

    An empty answer means that the server closed the connection, as it does after SHUTDOWN.
    """
    request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(timeout)
            link.connect(str(path))
            link.sendall(request.encode())
            with link.makefile("rb") as reply:
                line = reply.readline()
                return (reply.read(int(line[1:])) if line.startswith(b"$") else line.strip()).decode()
    except (OSError, ValueError):
        return None


def is_ready(path: Path) -> bool:
    """Whether a server takes commands there; one that is still loading its file does not."""
    return ask(path, "PING") == "+PONG"


def about(path: Path) -> dict[str, str]:
    """``INFO server`` as a dictionary; empty when nobody answers."""
    lines = (ask(path, "INFO", "server") or "").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
