"""How a command that serves is asked to end."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress


async def asked_to_end() -> None:
    """Wait for Ctrl-C or SIGTERM, which from now on do nothing else."""
    ended = asyncio.Event()
    with suppress(NotImplementedError):  # no signals of this kind on Windows: Ctrl-C raises
        for one in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(one, ended.set)
    await ended.wait()
