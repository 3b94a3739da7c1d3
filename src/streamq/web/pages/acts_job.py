"""Acts on one job: retry, cancel, run now, remove, retry with changes, duplicate, enqueue a new one."""

from __future__ import annotations

from typing import Any

import msgspec

from ...errors import JobUnknown
from ...info import JobInfo
from ...job import Job
from ...queue import Queue
from ..views import payload, states, words
from ..views.command import line
from .acting import Act, Ask, Field, Form, Outcome, Wrong

MOST = 1_000_000
"""Characters of a payload that can be edited here."""


async def found(form: Form) -> tuple[Queue, Job[Any], JobInfo]:
    """Return the job a form names; raises `JobUnknown`."""
    queue = form.site.named(form["queue"])
    job = await queue.job(form["id"])
    if job is None:
        raise JobUnknown(form["id"])
    return queue, job, await job.info()


def _job_page(queue: str, job_id: str, text: str) -> Outcome:
    return Outcome(text, "/job", {"queue": queue, "id": job_id})


async def retry(form: Form) -> Outcome:
    """Run a dead job again, or a delayed one now."""
    queue, job, info = await found(form)
    async with form.site.acting(form.request, "job.retry", queue.name, f"id={job.id}") as act:
        await job.retry()
        act.count = 1
    return Outcome(f"{info.name} {words.tail(job.id)} waits again, with all its attempts.")


async def promote(form: Form) -> Outcome:
    """Run a delayed job now."""
    queue, job, info = await found(form)
    async with form.site.acting(form.request, "job.promote", queue.name, f"id={job.id}") as act:
        await job.promote()
        act.count = 1
    return Outcome(f"{info.name} {words.tail(job.id)} is in line now.")


async def ask_cancel(form: Form) -> Ask:
    """Ask before a running job is interrupted."""
    queue, job, info = await found(form)
    if str(info.state) == "active":
        says = "Its handler is interrupted where it is, within about two seconds."
        mind = "What it already did stays done."
    else:
        says, mind = "It leaves its place and does not run.", ""
    return Ask(
        f"Cancel {info.name} {words.tail(job.id)}?", says, [("Job", f"{job.id} of {queue.name}")], mind=mind,
        command=line("jobs", "cancel", job.id, queue=queue.name), button="Cancel this job", danger=True,
        fields=[("queue", queue.name), ("id", job.id)],
    )  # fmt: skip


async def cancel(form: Form) -> Outcome:
    """Cancel a job."""
    queue, job, info = await found(form)
    async with form.site.acting(form.request, "job.cancel", queue.name, f"id={job.id}") as act:
        was_there = await job.cancel()
        act.count = int(was_there)
        act.outcome = "done" if was_there else "it had ended already"
    if not was_there:
        return Outcome("Nothing was done: it had ended already.", failed=True)
    asked = str(info.state) == "active"
    return Outcome(f"{info.name} {words.tail(job.id)} " + ("was asked to stop." if asked else "is cancelled."))


async def ask_remove(form: Form) -> Ask:
    """Ask before a job is gone."""
    queue, job, info = await found(form)
    return Ask(
        f"Remove {info.name} {words.tail(job.id)} for good?",
        "It is gone, with its payload and its history. It cannot be brought back.",
        [("Job", f"{job.id} of {queue.name}"), ("State", states.shown(info))],
        command=line("jobs", "remove", job.id, queue=queue.name), button="Remove this job", danger=True,
        fields=[("queue", queue.name), ("id", job.id)],
    )  # fmt: skip


async def remove(form: Form) -> Outcome:
    """Remove a job."""
    queue, job, info = await found(form)
    async with form.site.acting(form.request, "job.remove", queue.name, f"id={job.id}") as act:
        await job.remove()
        act.count = 1
    text = f"{info.name} {words.tail(job.id)} is removed."
    return Outcome(text, "/jobs", {"queue": queue.name, "state": states.shown(info)})


# -- with a payload ---------------------------------------------------------------------------------


async def ask_edit(form: Form) -> Ask:
    """Show the payload of a dead job to change it."""
    return await _ask_payload(
        form, "Retry {} with changes", "A new job with this payload, and a header that says which it was made from.",
        "Retry with these changes", "The dead letter stays until you purge it.",
    )  # fmt: skip


async def ask_duplicate(form: Form) -> Ask:
    """Show the payload of a job to make another of it."""
    return await _ask_payload(form, "Duplicate {}", "A new job of the same handler.", "Enqueue it", "")


async def _ask_payload(form: Form, title: str, says: str, button: str, mind: str) -> Ask:
    queue, job, info = await found(form)
    shown = title.format(f"{info.name} {words.tail(job.id)}")
    if info.args is None or not payload.is_plain(info.args):
        return Ask(shown, "Its payload holds what JSON cannot say, such as binary data: enqueue it from code.")
    text = payload.as_json(payload.kept(form.site.redact(info.args)))
    if len(text) > MOST:
        return Ask(shown, f"Its payload has {len(text):,} characters: enqueue it from code.")
    hint = f"Hidden fields stay as they are while they say {payload.KEPT}."
    given = form["payload"] or text
    return Ask(
        shown, says, [("Queue", queue.name), ("Handler", info.name), ("Kept", _kept(info))],
        [Field("payload", "Payload", "json", given, hint)], mind=mind, button=button,
        fields=[("queue", queue.name), ("id", job.id)],
    )  # fmt: skip


def _kept(info: JobInfo) -> str:
    parts = ["headers"] + (["tenant"] if info.tenant else []) + (["priority"] if info.priority is not None else [])
    return f"{words.listed(parts)}; not group, rate key, dedup key or delay"


async def edit(form: Form) -> Outcome:
    """Enqueue a dead job with another payload."""
    return await _again(form, "job.edit")


async def duplicate(form: Form) -> Outcome:
    """Enqueue a job like another."""
    return await _again(form, "job.duplicate")


async def _again(form: Form, action: str) -> Outcome:
    queue, job, info = await found(form)
    given = _decoded(form["payload"])
    try:
        args = payload.restored(given, info.args)
    except ValueError as problem:
        raise Wrong(f"{problem}.") from None
    changed = payload.changed(info.args, args)
    options: dict[str, Any] = {"headers": {**info.headers, "replay_of": job.id}}
    if info.tenant:
        options["tenant"] = info.tenant
    if info.priority is not None:
        options["priority"] = info.priority
    if info.max_attempts:
        options["max_attempts"] = info.max_attempts
    async with form.site.acting(form.request, action, queue.name, f"id={job.id}") as act:
        made = await queue.enqueue(info.name, args, **options)
        act.count = 1
        act.outcome = f"new job {made.id}" + (f"; changed {', '.join(changed)[:200]}" if changed else "")
    what = f", changed: {words.cut(', '.join(changed), 200)}" if changed else ", nothing changed"
    return _job_page(queue.name, made.id, f"This is the new job, made from {words.tail(job.id)}{what}.")


def _decoded(text: str) -> dict[str, Any]:
    try:
        value: Any = msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError, UnicodeEncodeError, RecursionError) as problem:
        raise Wrong(f"This is no JSON: {problem}.") from None
    if not isinstance(value, dict):
        raise Wrong("The payload is an object: arguments by name.")
    return value  # pyright: ignore[reportUnknownVariableType] - JSON


async def ask_new(form: Form) -> Ask:
    """Ask for a new job."""
    queue = form.site.named(form["queue"])
    declared = sorted(queue.handlers)
    seen = {name for worker in await queue.workers() for name in worker.handlers}
    known = declared or sorted(seen)
    return Ask(
        f"Enqueue a new job of {queue.name}", "It waits in line like any other.",
        [("Handlers", words.cut(", ".join(known), 300) or "none is known here")],
        [
            Field("name", "Handler", "text", form["name"] or (known[0] if len(known) == 1 else "")),
            Field("payload", "Payload", "json", form["payload"] or "{}", "Arguments by name, as JSON."),
            Field("tenant", "Tenant", "text", form["tenant"], "optional"),
            Field("delay", "Delay", "text", form["delay"], "none; such as 30s or 5m"),
        ],
        button="Enqueue it", fields=[("queue", queue.name)],
    )  # fmt: skip


async def new(form: Form) -> Outcome:
    """Enqueue a job."""
    queue = form.site.named(form["queue"])
    args = _decoded(form["payload"] or "{}")
    options: dict[str, Any] = {}
    if form["tenant"].strip():
        options["tenant"] = form["tenant"].strip()
    if form["delay"].strip():
        delay = words.seconds_in(form["delay"])
        if delay is None:
            raise Wrong(f"“{form['delay']}” is no duration; write 30s, 5m or 1h30m.")
        options["delay"] = delay
    async with form.site.acting(form.request, "job.submit", queue.name, f"name={form['name']}") as act:
        made = await queue.enqueue(form["name"].strip(), args, **options)
        act.count = int(made.created)
        act.outcome = f"new job {made.id}" if made.created else "nothing was added"
    return _job_page(queue.name, made.id, "Enqueued." if made.created else "Nothing was added: there is such a job.")


ACTS: dict[str, Act] = {
    "job-retry": Act(None, retry),
    "job-promote": Act(None, promote),
    "job-cancel": Act(ask_cancel, cancel),
    "job-remove": Act(ask_remove, remove),
    "job-edit": Act(ask_edit, edit),
    "job-duplicate": Act(ask_duplicate, duplicate),
    "job-new": Act(ask_new, new),
}
