"""Clients of an app: in this process, and over a socket."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx
import uvicorn

Asking = Callable[..., httpx.AsyncClient]


def _everybody(_: object) -> str:
    return "full"


OPEN: dict[str, Any] = {"access": _everybody}
"""For a dashboard that lets everybody in."""


def ask(app: Any, *, host: str = "127.0.0.1", base: str = "http://localhost", **options: Any) -> httpx.AsyncClient:
    """Return a client of an app, from an address."""
    transport = httpx.ASGITransport(app=app, client=(host, 4321))
    return httpx.AsyncClient(transport=transport, base_url=base, **options)


class Served:
    """An app behind a real socket, in a thread with an event loop of its own."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.run(self._server.serve([self._socket]))

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < deadline, "the app does not listen"
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
        assert not self._thread.is_alive()
