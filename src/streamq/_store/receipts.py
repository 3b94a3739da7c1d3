"""What the server says of the jobs of a batch that it did not add."""

from __future__ import annotations

from collections.abc import Sequence

from .._core import pairs
from .._core.options import Priority
from ..errors import GroupFull, QueueFull
from .entry import Entry, Receipt, Refusal


def refused(queue: str, batch: Sequence[Entry], refusals: bytes) -> dict[int, Receipt]:
    """Return the receipts of the jobs that were refused, by their place in the batch (enqueue.lua says how)."""
    found: dict[int, Receipt] = {}
    for one in refusals.decode().split(",")[:-1]:
        position, reason, detail = one.split(":", 2)
        at = int(position) - 1
        found[at] = _receipt(queue, batch[at], reason, detail)
    return found


def _receipt(queue: str, entry: Entry, reason: str, detail: str) -> Receipt:
    if reason == "exists":
        return Refusal(reason, detail)
    if reason == "full":
        return QueueFull(queue, entry.job_id, int(detail))
    if reason == "group":
        limit, waiting, name = detail.split("/", 2)
        return GroupFull(queue, _unhex(name), entry.job_id, int(waiting), int(limit))
    if reason == "order":
        runs_at, _, line = detail.partition("/")
        return pairs.out_of_order(_unhex(line), Priority(int(runs_at)).name, Priority(entry.lane).name)
    return Refusal(reason, _unhex(detail))


def _unhex(text: str) -> str:
    return bytes.fromhex(text).decode("utf-8", "replace")
