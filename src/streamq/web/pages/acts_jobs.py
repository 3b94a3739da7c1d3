"""Acts on many jobs: those that were selected, or all that match a filter; frozen when the dialog opens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ...errors import JobStateError, JobUnknown
from ...job import Job
from ...queue import Queue
from ..redaction import Redaction
from ..views import filters, words
from ..views.filters import JobFilter
from .acting import Act, Ask, Field, Form, Outcome, Wrong
from .finding import options_of
from .operations import Operation, Step

PAGE = 500
LOOK = 0.12
"""Seconds a dialog may count; then it says that there are more."""

MOST = 100_000
"""Jobs of one act."""

TOGETHER = 20


class Verb(NamedTuple):
    """What is done to each job. ``doing``, ``done``: "Retrying", "retried"."""

    word: str
    button: str
    doing: str
    done: str
    says: str
    mind: str
    action: str
    command: str
    act: Callable[[Queue, str], Awaitable[bool]]
    danger: bool = False


async def _retried(queue: Queue, job_id: str) -> bool:
    await queue.dlq.replay(job_id)
    return True


async def _cancelled(queue: Queue, job_id: str) -> bool:
    return await Job[Any](queue, job_id).cancel()


async def _promoted(queue: Queue, job_id: str) -> bool:
    await Job[Any](queue, job_id).promote()
    return True


async def _removed(queue: Queue, job_id: str) -> bool:
    await Job[Any](queue, job_id).remove()
    return True


VERBS = {
    "jobs-retry": Verb(
        "Retry", "Retry", "Retrying", "retried",
        "They go back to waiting with all their attempts. Their history stays.",
        "What their runs already did, a retry may do again.", "job.retry", "retry", _retried,
    ),
    "jobs-cancel": Verb(
        "Cancel", "Cancel", "Cancelling", "cancelled", "Those that wait are out at once, running ones are interrupted.",
        "What they already did stays done.", "job.cancel", "cancel", _cancelled, danger=True,
    ),
    "jobs-promote": Verb(
        "Run", "Run", "Moving", "in line now", "They do not wait for their time any longer.", "",
        "job.promote", "retry", _promoted,
    ),
    "jobs-remove": Verb(
        "Remove", "Remove", "Removing", "removed", "They are gone, with their payloads. They cannot be brought back.",
        "", "job.remove", "remove", _removed, danger=True,
    ),
}  # fmt: skip


def _wanted(form: Form) -> JobFilter:
    wanted, wrong = filters.parsed(form.given)
    if wrong:
        raise Wrong(" ".join(wrong))
    if not wanted.queue or not wanted.state:
        raise Wrong("Name a queue and a state first.")
    return wanted.replaced(id="")


async def _matching(
    queue: Queue, wanted: JobFilter, redaction: Redaction, until: datetime, seconds: float
) -> tuple[list[str], bool]:
    """Return the ids of all that match and were there at ``until``; and whether that is all of them."""
    state = "delayed" if wanted.state == "retrying" else wanted.state
    options: dict[str, Any] = {
        **({"attempts": 1} if wanted.state == "retrying" else {}),
        **options_of(wanted, redaction),
    }
    options["until"] = min(until, options.get("until") or until)
    found: dict[str, None] = {}
    cursor, started = "", time.perf_counter()
    while len(found) < MOST:
        page = await queue.jobs(state, limit=PAGE, cursor=cursor, **options)
        found.update((info.id, None) for info in page.jobs)
        cursor = page.cursor
        if not cursor:
            return list(found), True
        if seconds and time.perf_counter() - started > seconds:
            break
    return list(found), False


async def _ask(name: str, form: Form) -> Ask:
    verb, wanted = VERBS[name], _wanted(form)
    queue = form.site.named(wanted.queue)
    until = datetime.now(UTC)
    if form.ids:
        number, is_whole, which = len(form.ids), True, f"{words.count(len(form.ids), 'job')} selected, of {queue.name}"
    else:
        ids, is_whole = await _matching(queue, wanted, form.site.redaction, until, LOOK)
        number, which = len(ids), filters.told(wanted)
    if not number and is_whole:
        return Ask("No job matches any more", "Nothing to do.", [("Which", which)])
    shown = f"{number:,}" if is_whole else f"all {wanted.state} jobs that match, at least {number:,}"
    noun = f"{wanted.state} {'job' if number == 1 else 'jobs'}" if is_whole else ""
    frozen = f"Frozen at {words.clock(until)} UTC: jobs that come later are left out."
    if not is_whole:
        frozen += f" At most {MOST:,} at a time."
    fields: list[tuple[str, object]] = [*wanted.given(), ("frozen", until.isoformat()), ("count", number)]
    fields += [("id", one) for one in form.ids]
    typed = [Field("typed", "To confirm", "typed", str(number), f"{number:,}")] if verb.danger and number >= 100 else []
    return Ask(
        f"{verb.word} {shown} {noun}".strip() + "?", verb.says, [("Which", f"{which}. {frozen}")],
        [*_pace(name, number), *typed], verb.mind,
        "" if form.ids else filters.command(wanted, "jobs", verb.command) + " --all",
        f"{verb.button} {words.count(number, 'job') if is_whole else 'them all'}", verb.danger, fields,
    )  # fmt: skip


def _pace(name: str, number: int) -> list[Field]:
    if name != "jobs-retry" or number < 2:
        return []
    return [pace_field(number)]


def pace_field(number: int) -> Field:
    """Return the choice of a pace for so many jobs."""
    took = words.duration(number / 50)
    fast = f"Spread at 50 a second, done in about {took}"
    choices = [("50", fast), ("5", "Spread at 5 a second"), ("", "All at once")]
    return Field("rate", "Pace", "choice", "50", choices=choices)


def rate_of(form: Form) -> float | None:
    """Return the pace that was chosen; None for at once."""
    text = form["rate"]
    if not text:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 100_000:
        raise Wrong(f"“{text}” is no pace: so many jobs a second.")
    return rate


def instant_of(form: Form) -> datetime:
    """Return when a dialog was frozen; now when it does not say."""
    try:
        when = datetime.fromisoformat(form["frozen"])
    except ValueError:
        return datetime.now(UTC)
    return when if when.tzinfo is not None else datetime.now(UTC)


def typed_right(form: Form, number: int) -> None:
    """Raise `Wrong` unless the number was typed that a large irreversible act asks for."""
    if number >= 100 and form["typed"].replace(",", "").strip() != str(number):
        raise Wrong(f"Type {number:,} to confirm.")


async def _do(name: str, form: Form) -> Outcome:
    verb, wanted = VERBS[name], _wanted(form)
    queue = form.site.named(wanted.queue)
    told = form["count"]
    number = len(form.ids) or (int(told) if told.isascii() and told.isdigit() else 0)
    if verb.danger:
        typed_right(form, number)
    until, request = instant_of(form), form.request
    ids: Sequence[str] = form.ids
    if not ids:
        ids, _ = await _matching(queue, wanted, form.site.redaction, until, 0)
    operation = Operation(
        (verb.doing, verb.done), "job", len(ids), form.site.who(request),
        ("/jobs", {"queue": queue.name, "state": wanted.state}, "See the others"),
    )  # fmt: skip
    operation.rate = rate_of(form)
    which = f"{words.count(len(form.ids), 'job')} selected" if form.ids else filters.told(wanted)

    async def ended(one: Operation) -> None:
        await form.site.audited(request, verb.action, queue.name, which, one.done, outcome=outcome_of(one))

    form.ground.operations.start(operation, _steps(verb, queue, ids), ended)
    return Outcome("", "/jobs", dict(wanted.given()), operation=operation)


def outcome_of(one: Operation) -> str:
    """Return how an operation ended, for the audit trail."""
    if one.problem:
        return f"failed: {one.problem}"
    parts = [f"{one.skipped:,} skipped" + (f": {one.why}" if one.why else "")] if one.skipped else []
    parts += ["stopped"] if one.stopped else []
    return ", ".join(parts) or "done"


async def _steps(verb: Verb, queue: Queue, ids: Sequence[str]) -> AsyncIterator[Step]:
    for at in range(0, len(ids), TOGETHER):
        answers = await asyncio.gather(*(_one(verb, queue, job_id) for job_id in ids[at : at + TOGETHER]))
        skipped = [why for why in answers if why]
        yield Step(len(answers) - len(skipped), len(skipped), skipped[0] if skipped else "")


async def _one(verb: Verb, queue: Queue, job_id: str) -> str:
    """Do it to one job; returns why it was left alone, '' when it was not."""
    try:
        return "" if await verb.act(queue, job_id) else "it had ended already"
    except JobStateError as problem:
        return f"it is {problem.state}"
    except JobUnknown:
        return "it is gone"


def _act(name: str) -> Act:
    async def ask(form: Form) -> Ask:
        return await _ask(name, form)

    async def do(form: Form) -> Outcome:
        return await _do(name, form)

    return Act(ask, do)


ACTS: dict[str, Act] = {name: _act(name) for name in VERBS}
