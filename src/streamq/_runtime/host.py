"""What an exchange knows of its worker, and asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from .._store.link import ReplyError
from ..errors import StreamqError


class Host(Protocol):
    """What an exchange asks of its worker."""

    def learn(self, rules: Mapping[bytes, bytes]) -> None:
        """Take note of the blocks and limits set live; called before the jobs that came with them are begun."""
        ...

    def forgotten(self) -> None:
        """Hear that the server lost what it knew of limits."""
        ...

    def heartbeat(self) -> bytes:
        """Return what people shall see of this worker."""
        ...

    def names(self) -> Sequence[str]:
        """Return what parked jobs may be called that we can run."""
        ...

    def error_text(self, reply: ReplyError) -> StreamqError:
        """Return an error reply as an error for people."""
        ...


class Limits:
    """What an exchange needs to know of its worker. ``lease`` in seconds; dead_count -1 and dead_age_ms 0: no bound."""

    __slots__ = ("dead_age_ms", "dead_count", "lease", "max_stalls")

    def __init__(self, lease: float, max_stalls: int, dead_count: int, dead_age_ms: int) -> None:
        self.lease: float = lease
        self.max_stalls: int = max_stalls
        self.dead_count: int = dead_count
        self.dead_age_ms: int = dead_age_ms
