"""One job on its way to the server, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

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


def nobody(entry: Entry, receipt: Receipt) -> None:
    """Take an answer that nobody waits for."""
    del entry, receipt


class Entry(msgspec.Struct, eq=False):
    """One encoded job on its way. ``answer`` is called once with it and its `Receipt`.

    ``timeout`` in seconds, ``deadline`` on the event loop's clock. ``name`` and ``tenant``: whom it is counted for.
    ``record`` and ``dedup``: as lines.py makes them, b"" for a job without.
    """

    job_id: str
    lane: int
    when: str
    body: bytes
    custom: bool
    timeout: float
    deadline: float
    name: str = ""
    tenant: str | None = None
    sent: bool = False
    withdrawn: bool = False
    record: bytes = b""
    dedup: bytes = b""
    answer: Callable[[Entry, Receipt], None] = nobody

    @property
    def size(self) -> int:
        """Bytes in the batch."""
        return len(self.body) + len(self.job_id) + len(self.record) + len(self.dedup) + 40

    def withdraw(self) -> bool:
        """Take it back: its caller gave up. True: it is not enqueued; False: it is in flight and may be."""
        self.answer = nobody
        if self.sent:
            return False
        self.withdrawn = True
        return True
