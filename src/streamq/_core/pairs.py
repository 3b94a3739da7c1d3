"""Options of flow control that have no meaning together, refused when a job is built or a handler declared.

Each function takes what is known at that moment and raises or returns `ConflictingOptions`, which says what is wrong
and what to do. Pairs that have a meaning are not here: their meaning is where it happens.
"""

from __future__ import annotations

from ..errors import ConflictingOptions
from .dedup import DedupPlan, Mode
from .limits import Key, OnConflict


def check_job(
    *,
    group: str | None,
    ordered: bool,
    slot_key: str | None,
    batch_key: str | None,
    dedup: DedupPlan | None,
    has_batch: bool,
    on_conflict: OnConflict,
    when: str,
) -> None:
    """Refuse what excludes each other in one job; ``ordered`` says that its group is."""
    if ordered and group is not None:
        _check_ordered(group, slot_key, dedup, on_conflict)
    if dedup is not None:
        check_delay(dedup, when)
        check_mode(dedup.mode, has_batch=has_batch, on_conflict=on_conflict)
    if has_batch and group is not None and batch_key is not None and group not in batch_key:
        raise ConflictingOptions(
            ("group", "batch key"),
            f"group {group!r} and batch key {batch_key!r} cannot be combined: a batch never mixes groups. "
            "Make the group part of the key, or leave the key out.",
        )


def check_delay(dedup: DedupPlan | None, when: str) -> None:
    """Refuse a delay of a debounced job; ``when`` as in `Checked` ("0": now)."""
    if dedup is None or dedup.mode != "debounce" or when == "0":
        return
    option = "at" if when[0] == "@" else "delay"
    raise ConflictingOptions(
        ("debounce", option),
        f"debounce and {option} cannot be combined: debounce sets the delay. "
        f'Drop {option}=, or use Dedup(mode="simple").',
    )


def check_mode(mode: Mode, *, has_batch: bool, on_conflict: OnConflict) -> None:
    """Refuse a mode of dedup beside a batch or ``on_conflict="cancel_running"``."""
    if has_batch and mode == "debounce":
        raise ConflictingOptions(
            ("debounce", "batch"),
            "debounce and batch cannot be combined: a batch waits already. Drop dedup=, and give the batch quiet=.",
        )
    if has_batch and mode == "keep_last":
        raise ConflictingOptions(
            ("keep_last", "batch"),
            "keep_last and batch cannot be combined: one keeps a single job, the other collects many. "
            'Drop one of them, or use Dedup(mode="simple").',
        )
    if mode == "keep_last" and on_conflict == "cancel_running":
        raise ConflictingOptions(
            ("on_conflict", "keep_last"),
            "cancel_running and keep_last cannot be combined: cancelling would undo the order. "
            'Use on_conflict="queue", or Dedup(mode="simple").',
        )


def check_handler(
    *, has_batch: bool, batch_key: Key | None, concurrency_key: Key | None, on_conflict: OnConflict
) -> None:
    """Refuse what excludes each other in a batch handler."""
    if not has_batch:
        return
    if on_conflict == "cancel_running":
        raise ConflictingOptions(
            ("on_conflict", "batch"),
            'cancel_running and batch cannot be combined: a batch has no single victim. Use on_conflict="queue".',
        )
    if concurrency_key is not None and concurrency_key != batch_key:
        raise ConflictingOptions(
            ("concurrency_key", "batch"),
            "concurrency_key and batch cannot be combined unless the batch has the same key: a batch takes one place. "
            "Give both the same key, or drop concurrency_key=.",
        )


def whole_and_keyed(handler: str, value: str) -> ConflictingOptions:
    """Return the error for a job's key of a limit that was declared for the handler as a whole, beside slots."""
    return ConflictingOptions(
        ("rate_key", "concurrency"),
        f"rate_key={value!r} cannot be a key of the rate limit of {handler!r}, which counts all its jobs together. "
        "Declare rate_key= at the handler, or name a limit in Queue(limits={...}).",
    )


def out_of_order(line: str, runs_at: str, priority: str) -> ConflictingOptions:
    """Return the error for a job of another priority than the ordered line it belongs to ("g:<group>", "d.<key>")."""
    what = f"group {line[2:]!r} is ordered (concurrency=1)" if line.startswith("g:") else f"key {line[2:]!r} is ordered"
    return ConflictingOptions(
        ("priority", "group" if line.startswith("g:") else "keep_last"),
        f"{what} and its line runs at {runs_at}; priority={priority} would break the order.",
    )


def _check_ordered(group: str, slot_key: str | None, dedup: DedupPlan | None, on_conflict: OnConflict) -> None:
    ordered = f"the ordered group {group!r} (concurrency=1)"
    if slot_key is not None and slot_key != group:
        raise ConflictingOptions(
            ("concurrency_key", "group"),
            f"concurrency_key {slot_key!r} and {ordered} cannot be combined: the group would wait for a key of others. "
            "Make the group the key, or drop concurrency_key=.",
        )
    if on_conflict == "cancel_running":
        raise ConflictingOptions(
            ("on_conflict", "group"),
            f"cancel_running and {ordered} cannot be combined: cancelling would undo the order. "
            'Use on_conflict="queue".',
        )
    if dedup is not None and dedup.mode == "keep_last" and dedup.key != group:
        raise ConflictingOptions(
            ("keep_last", "group"),
            f"keep_last with key {dedup.key!r} and {ordered} cannot be combined: both decide the order. "
            'Make the group the key, or use Dedup(mode="simple").',
        )
