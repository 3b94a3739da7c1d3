"""The web room as a server of its own: uvicorn, that says where it listens and ends quietly when it is asked to."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Generator
from typing import Any

import uvicorn

from .app import Dashboard


class ListenError(OSError):
    """The address cannot be listened on; uvicorn has said why."""


class Server(uvicorn.Server):
    """A server that tells ``announce`` its port once it listens; SIGINT and SIGTERM end it, and nothing else."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[int], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._announce(int(self.servers[0].sockets[0].getsockname()[1]))

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """End when asked to; uvicorn itself would raise the signal once more, which looks like a crash."""
        before: dict[signal.Signals, Any] = {
            one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


async def serve(app: Dashboard, host: str, port: int, announce: Callable[[int], None]) -> None:
    """Serve an app until a signal ends it, then close its queues. Raises `ListenError`."""
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    try:
        await Server(config, announce).serve()
    except SystemExit:
        raise ListenError(f"cannot listen on {host}:{port}") from None
    finally:
        for queue in app.site.queues.values():
            await queue.aclose()
