"""Verbs for people and producers, outside the worker's loop: look, cancel, promote, replay, purge, pause, counts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from .._core.tally import minute_of
from .keys import Keys
from .link import Command, Reply
from .replies import due_ms
from .scripts import PROTOCOL, lines_script, script
from .session import Store


class Look(NamedTuple):
    """Where a job is. ``place``: row, record, dead, window or absent; the rest as far as it applies."""

    place: str
    row: str = ""
    body: bytes = b""
    deliveries: int = 0
    consumer: str = ""
    idle_ms: int = 0
    due_ms: int = 0
    entry: str = ""
    fields: dict[str, bytes] = {}  # noqa: RUF012 - never changed


class Counted(NamedTuple):
    """Reply of counts: lengths in one moment, and the meta hash."""

    now_ms: int
    meta: dict[str, str]
    entries: int
    pending: int
    delayed: int
    parked: int
    dead: int
    unsettled: int
    oldest_ms: int
    window: int
    lanes: tuple[int, ...]
    lanes_pending: tuple[int, ...]
    due: int
    in_lines: int


async def look(store: Store, job_id: str, *, channel: str = "", full: bool = True, wait: float = 5.0) -> Look:
    """Return where a job is; with ``channel`` its end will be told there."""
    keys = store.keys
    head = (
        keys.index, *keys.lanes, keys.taken, keys.bodies, keys.record(job_id), keys.dead_index, keys.dead,
        keys.window_details, keys.waiters, keys.delayed,
    )  # fmt: skip
    reply = await store.call(script("look").call(head, job_id, channel, int(full)), wait=wait)
    place = reply[0].decode()
    if place == "row":
        _, row, body, deliveries, consumer, idle, score = reply
        # The record of a job in a line stands behind the bar, in bytes that are no text.
        return Look(
            place,
            row.partition(b"|")[0].decode("utf-8", "replace"),
            body,
            deliveries,
            consumer.decode(),
            idle,
            max(0, due_ms(score)),
        )
    if place == "dead":
        return Look(place, entry=reply[1].decode(), fields=pairs(reply[2]))
    return Look(place, body=reply[1] if len(reply) > 1 else b"")


async def cancel(store: Store, job_ids: Sequence[str], record: bytes, *, result_ms: int, ask: bool) -> str:
    """Cancel jobs that wait, and ask running ones to stop if ``ask``; one letter each (cancel.lua)."""
    keys, now = store.keys, await store.session().server_ms()
    head = [
        keys.meta, keys.index, *keys.lanes, keys.taken, keys.delayed, keys.bodies, keys.parked, keys.cancels,
        keys.waiters, keys.counters, keys.minutes(now), *keys.flow, *(keys.record(job_id) for job_id in job_ids),
    ]  # fmt: skip
    command = script("cancel").call(
        head, PROTOCOL, result_ms, keys.control, keys.done, record, int(ask), minute_of(now), *job_ids
    )
    return str((await store.call(command)).decode())


async def promote(store: Store, job_ids: Sequence[str]) -> int:
    """Move delayed jobs to their lanes now; returns how many. A repeated call counts all: the lost one may have."""
    keys = store.keys
    head = (
        keys.meta, keys.index, *keys.lanes, keys.delayed, keys.bodies, keys.bell, keys.dead, keys.dead_index,
        keys.waiters, keys.cancels, keys.deaths, *keys.flow,
    )  # fmt: skip
    reply, again = await store.call_noting(lines_script("promote").call(head, PROTOCOL, "", len(job_ids), *job_ids))
    return len(job_ids) if again else int(reply[1])


async def replay(store: Store, jobs: Sequence[tuple[str, int, str, bytes]]) -> str:
    """Put dead letters (id, lane, when, envelope) back; one letter each (replay.lua).

    The callers saw them among the dead: one that a repeated call finds gone was put back by the call that got lost.
    """
    keys = store.keys
    head = [
        keys.meta, keys.index, *keys.lanes, keys.delayed, keys.bodies, keys.dead, keys.dead_index, keys.bell,
        keys.deaths, *keys.flow, *(keys.record(job[0]) for job in jobs),
    ]  # fmt: skip
    flat = [part for job in jobs for part in job]
    reply, again = await store.call_noting(script("replay").call(head, PROTOCOL, keys.control, *flat))
    answers = str(reply.decode())
    return answers.replace("g", "a") if again else answers


async def reprioritise(store: Store, jobs: Sequence[tuple[str, int, bytes, bytes]]) -> str:
    """Move jobs (id, lane, envelope as seen, envelope with the lane); one letter each (reprioritise.lua)."""
    keys = store.keys
    head = (keys.meta, keys.index, *keys.lanes, keys.taken, *keys.flow)
    flat = [
        part
        for job_id, lane, seen, envelope in jobs
        for part in (job_id, lane, hashlib.sha1(seen, usedforsecurity=False).hexdigest(), envelope)
    ]
    return str((await store.call(script("reprioritise").call(head, PROTOCOL, *flat))).decode())


async def purge(store: Store, *, before_ms: int = 0, keep: int = -1, limit: int = 100, ids: Sequence[str] = ()) -> int:
    """Forget dead letters by id, or the oldest by age and number; returns how many."""
    keys = store.keys
    command = script("purge").call((keys.dead, keys.dead_index, keys.deaths), before_ms, keep, limit, *ids)
    reply, again = await store.call_noting(command)
    return len(ids) if again and ids else int(reply)


async def pause(store: Store, reason: str) -> bool:
    """Stop handing out jobs; True if that changed something."""
    return await _flag(store, reason, 1)


async def resume(store: Store) -> bool:
    """Hand out jobs again; True if that changed something."""
    return await _flag(store, "", 0)


async def _flag(store: Store, reason: str, on: int) -> bool:
    command = script("pause").call((store.keys.meta, store.keys.bell), reason, on, PROTOCOL)
    reply, again = await store.call_noting(command)
    return bool(reply) or again


async def counts(store: Store) -> Counted:
    """Return how many jobs are where."""
    return counted(await store.call(counting(store.keys)))


def counting(keys: Keys) -> Command:
    """Return the command that counts; its reply goes to `counted`."""
    head = (
        keys.meta, *keys.lanes, keys.taken, keys.delayed, keys.parked, keys.dead_index, keys.index, keys.window,
        keys.lines,
    )  # fmt: skip
    return script("counts").call(head, PROTOCOL)


def counted(reply: Reply) -> Counted:
    """Return a reply of counts as a value."""
    (
        now, meta, entries, pending, delayed, parked, dead, unsettled, oldest, window, lanes, held, due, lined,
    ) = reply  # fmt: skip
    return Counted(
        int(now), {name: value.decode("utf-8", "replace") for name, value in pairs(meta).items()}, entries, pending,
        delayed, parked, dead, unsettled, int(oldest.split(b"-")[0]) if oldest else 0, window, tuple(lanes),
        tuple(held),
        due,
        lined,
    )  # fmt: skip


def pairs(flat: Reply) -> dict[str, bytes]:
    """Return a flat reply of names and values as a dict."""
    return {flat[at].decode("utf-8", "replace"): flat[at + 1] for at in range(0, len(flat) - 1, 2)}


async def clean_window(store: Store, age_ms: int) -> int:
    """Forget completed jobs older than ``age_ms`` from the window; returns how many."""
    keys, total = store.keys, 0
    command = script("clean").call((keys.window, keys.window_details), age_ms, 500)
    while True:
        gone = int(await store.call(command))
        total += gone
        if gone < 500:
            return total
