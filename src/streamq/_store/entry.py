"""One job on its way to the server, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from ..errors import StreamqError


class Refusal(NamedTuple):
    """Why a job was not added, without an error.

    ``reason``: exists (its id; ``detail`` says where), met (a job of its dedup key: its id), limited or conflict (the
    gate).
    """

    reason: str
    detail: str


Receipt = Refusal | StreamqError | None
"""What came of a job: None new, a refusal that is no error, or the error."""


class Entry:
    """One encoded job on its way; ``timeout`` in seconds. ``answer`` is called once with its `Receipt`.

    ``record`` and ``dedup``: as lines.py makes them, b"" for a job without.
    """

    __slots__ = (
        "answer", "body", "custom", "deadline", "dedup", "job_id", "lane", "record", "sent", "timeout", "when",
        "withdrawn",
    )  # fmt: skip

    def __init__(self, job_id: str, lane: int, when: str, body: bytes, *, custom: bool, timeout: float) -> None:
        self.job_id: str = job_id
        self.lane: int = lane
        self.when: str = when
        self.body: bytes = body
        self.custom: bool = custom
        self.timeout: float = timeout
        self.deadline: float = asyncio.get_running_loop().time() + timeout
        self.sent: bool = False
        self.withdrawn: bool = False
        self.record: bytes = b""
        self.dedup: bytes = b""
        self.answer: Callable[[Receipt], None] = nobody

    @property
    def size(self) -> int:
        """Bytes in the batch."""
        return len(self.body) + len(self.job_id) + len(self.record) + len(self.dedup) + 40


def nobody(receipt: Receipt) -> None:
    """Take an answer that nobody waits for."""
    del receipt
