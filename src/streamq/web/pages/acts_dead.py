"""Acts on dead letters by error: one first, then the rest at a pace, or purged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from ...job import Job
from ...queue import Queue
from ..views import words
from ..views.command import line
from .acting import Act, Ask, Field, Form, Outcome
from .acts_jobs import instant_of, outcome_of, pace_field, rate_of, typed_right
from .operations import Operation, Step

PATIENCE = 60.0
"""Seconds for which the page follows the one that was replayed first."""

LOOK = 0.2


def _number(form: Form) -> int:
    text = form["count"]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def _fields(form: Form) -> list[tuple[str, object]]:
    return [(name, form[name]) for name in ("queue", "group", "count", "frozen", "type")]


def _which(form: Form) -> list[tuple[str, str]]:
    until = instant_of(form)
    error = words.cut(form["type"], 100)
    frozen = f"Frozen at {words.clock(until)} UTC: jobs that die later are left out."
    return [("Which", f"error {error}, queue {form['queue']}. {frozen}")]


async def one_first(form: Form) -> Outcome:
    """Replay one of a group, and follow it to its end."""
    queue = form.site.named(form["queue"])
    job_id, others = form["id"], max(0, _number(form) - 1)
    async with form.site.acting(form.request, "dead.replay", queue.name, f"id={job_id}") as act:
        await queue.dlq.replay(job_id)
        act.count = 1
    rest = {**{name: str(value) for name, value in _fields(form)}, "count": str(others)}
    label = f"Replay {others:,}…" if others else "Dead letters"
    next_page = ("/act/dead-replay", rest, label) if others else ("/dead", {"queue": queue.name}, label)
    operation = Operation(("Replaying", "replayed"), "dead letter", 1, form.site.who(form.request), next_page)

    async def ended(one: Operation) -> None:
        del one

    form.ground.operations.start(operation, _followed(queue, job_id, operation, others), ended)
    return Outcome("", "/dead", {"queue": queue.name}, operation=operation)


async def _followed(queue: Queue, job_id: str, operation: Operation, others: int) -> AsyncIterator[Step]:
    """Wait for the end of a job, and say in the operation how it was."""
    began = datetime.now(UTC)
    tail = f" The other {others:,} are as they were." if others else ""
    while (waited := (datetime.now(UTC) - began).total_seconds()) < PATIENCE:
        state = str(await Job[Any](queue, job_id).state())
        if state in {"completed", "unknown"}:
            operation.told = f"1 replayed and completed in {words.duration(waited)}.{tail}"
            break
        if state == "dead":
            letter = await queue.dlq.get(job_id)
            last = letter.errors[-1] if letter is not None and letter.errors else None
            why = words.cut(f"{last.type}: {last.message}", 160) if last else "its dead letter says why"
            operation.told = f"1 replayed, and it died again: {why}.{tail}"
            break
        if state in {"cancelled", "expired"}:
            operation.told = f"1 replayed; it was {state}.{tail}"
            break
        if state == "delayed":
            operation.told = f"1 replayed; it failed and tries again.{tail}"
        else:
            operation.told = f"1 replayed, now {state}. Watching it to its end."
        await asyncio.sleep(LOOK)
    else:
        operation.told = f"1 replayed, and it still runs or waits after {words.duration(PATIENCE)}.{tail}"
    yield Step(1)


async def ask_replay(form: Form) -> Ask:
    """Ask before a group goes back."""
    number = _number(form)
    many = words.count(number, "dead letter")
    pace = [pace_field(number)] if number > 1 else []
    return Ask(
        f"Replay {many}?", "They go back to waiting with all their attempts. Their history stays.", _which(form), pace,
        "What their attempts already did, a replay may do again.",
        line("dlq", "replay", queue=form["queue"], group=form["group"], rate="50/s") + " --all",
        f"Replay {many}", fields=_fields(form),
    )  # fmt: skip


async def replay(form: Form) -> Outcome:
    """Put a group back, newest first, at a pace."""
    queue, number = form.site.named(form["queue"]), _number(form)
    next_page = ("/jobs", {"queue": queue.name, "state": "waiting"}, "See what waits")
    operation = Operation(("Replaying", "replayed"), "dead letter", number, form.site.who(form.request), next_page)
    operation.rate = rate_of(form)
    until, group = instant_of(form), form["group"]
    size = 100 if operation.rate is None else max(1, min(100, int(operation.rate)))

    async def steps() -> AsyncIterator[Step]:
        async for step in queue.dlq.replay_each(group=group, until=until, step=size):
            yield Step(step.replayed, len(step.refused), "they live again already" if step.refused else "")

    async def ended(one: Operation) -> None:
        which = f"error={form['type'][:100]} group={group} until={until.isoformat(timespec='seconds')}"
        await form.site.audited(form.request, "dead.replay", queue.name, which, one.done, outcome=outcome_of(one))

    form.ground.operations.start(operation, steps(), ended)
    return Outcome("", "/dead", {"queue": queue.name}, operation=operation)


async def ask_purge(form: Form) -> Ask:
    """Ask before a group is gone."""
    number = _number(form)
    many = words.count(number, "dead letter")
    typed = [Field("typed", "To confirm", "typed", str(number), f"{number:,}")] if number >= 100 else []
    return Ask(
        f"Purge {many} for good?", "They cannot be brought back.", _which(form), typed, "",
        line("dlq", "purge", queue=form["queue"], group=form["group"]) + " --all",
        f"Purge {number:,} for good", danger=True, fields=_fields(form),
    )  # fmt: skip


async def purge(form: Form) -> Outcome:
    """Forget a group."""
    queue, number = form.site.named(form["queue"]), _number(form)
    typed_right(form, number)
    operation = Operation(("Purging", "purged"), "dead letter", number, form.site.who(form.request), ("", {}, ""))
    until, group = instant_of(form), form["group"]

    async def steps() -> AsyncIterator[Step]:
        async for gone in queue.dlq.purge_each(group=group, until=until):
            yield Step(gone)

    async def ended(one: Operation) -> None:
        which = f"error={form['type'][:100]} group={group} until={until.isoformat(timespec='seconds')}"
        await form.site.audited(form.request, "dead.purge", queue.name, which, one.done, outcome=outcome_of(one))

    form.ground.operations.start(operation, steps(), ended)
    return Outcome("", "/dead", {"queue": queue.name}, operation=operation)


ACTS: dict[str, Act] = {
    "dead-one": Act(None, one_first),
    "dead-replay": Act(ask_replay, replay),
    "dead-purge": Act(ask_purge, purge),
}
