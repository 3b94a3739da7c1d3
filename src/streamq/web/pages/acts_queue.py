"""Acts on queues, schedules, limits and blocks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from ...errors import ConfigError
from ...scheduler import Scheduler
from ..views import words
from ..views.command import line
from .acting import Act, Ask, Field, Form, Outcome, Wrong
from .acts_jobs import typed_right

# -- queues -----------------------------------------------------------------------------------------


async def ask_pause(form: Form) -> Ask:
    """Ask why a queue is paused."""
    queue = form.site.named(form["queue"])
    counts = await queue.counts()
    which = [("Queue", queue.name), ("Waiting", words.count(counts.waiting + counts.due, "job"))]
    return Ask(
        f"Pause {queue.name}?", "From then on no job of it is handed out; running ones finish. It lasts until resumed.",
        which, [Field("reason", "Why", "text", form["reason"], "for those who see it paused")],
        command=line("pause", queue.name), button=f"Pause {queue.name}", fields=[("queue", queue.name)],
    )  # fmt: skip


async def pause(form: Form) -> Outcome:
    """Pause a queue."""
    queue, reason = form.site.named(form["queue"]), form["reason"].strip()[:500]
    async with form.site.acting(form.request, "queue.pause", queue.name, f"reason={reason}" if reason else "") as act:
        changed = await queue.pause(reason=reason)
        act.count = int(changed)
    return Outcome(f"{queue.name} is paused." if changed else f"{queue.name} was paused already.")


async def ask_resume(form: Form) -> Ask:
    """Ask before what waits is let go."""
    queue = form.site.named(form["queue"])
    counts, stats = await asyncio.gather(queue.counts(), queue.stats(3600))
    waiting = counts.waiting + counts.due
    rate = sum(one.completed for one in stats.series) / max(1, len(stats.series))
    says = f"{words.count(waiting, 'job')} begin to run."
    if rate and waiting > 1000:
        says += f" At the pace of the last hour that takes {words.duration(60 * waiting / rate)}."
    which = [("Paused", words.ago(counts.paused_at, datetime.now(UTC)))] if counts.paused_at else []
    which += [("Because", counts.pause_reason)] if counts.pause_reason else []
    return Ask(
        f"Resume {queue.name}?", says, which, command=line("resume", queue.name), button=f"Resume {queue.name}",
        fields=[("queue", queue.name)],
    )  # fmt: skip


async def resume(form: Form) -> Outcome:
    """Resume a queue."""
    queue = form.site.named(form["queue"])
    async with form.site.acting(form.request, "queue.resume", queue.name) as act:
        changed = await queue.resume()
        act.count = int(changed)
    return Outcome(f"{queue.name} hands out jobs again." if changed else f"{queue.name} was not paused.")


async def ask_pause_all(form: Form) -> Ask:
    """Ask before everything stops."""
    facts = await form.ground.pulse.look()
    which = [(one.name, words.count(one.counts.waiting + one.counts.due, "job")) for one in facts if one.counts]
    number = words.count(len(form.site.queues), "queue")
    return Ask(
        f"Pause all {number}?", "No job is handed out any more, anywhere; running ones finish.", which[:50],
        [Field("reason", "Why", "text", form["reason"]), Field("typed", "To confirm", "typed", "pause", "pause")],
        command=line("pause") + " --all", button=f"Pause {number}", danger=True,
    )  # fmt: skip


async def pause_all(form: Form) -> Outcome:
    """Pause every queue."""
    if form["typed"].strip() != "pause":
        raise Wrong("Type pause to confirm.")
    reason = form["reason"].strip()[:500]
    done = 0
    async with form.site.acting(form.request, "queue.pause", "", f"all reason={reason}") as act:
        for queue in form.site.queues.values():
            done += await queue.pause(reason=reason)
            act.count = done
    return Outcome(f"{words.count(done, 'queue')} paused.", "/")


async def ask_drain(form: Form) -> Ask:
    """Ask before what waits is removed."""
    queue = form.site.named(form["queue"])
    counts = await queue.counts()
    number = counts.waiting + counts.parked
    if not number:
        return Ask(f"Nothing waits in {queue.name}", "There is nothing to drain.")
    typed = [Field("typed", "To confirm", "typed", str(number), f"{number:,}")] if number >= 100 else []
    return Ask(
        f"Drain {queue.name}: remove {words.count(number, 'job')} that wait?",
        "What has not started is removed for good. Running jobs go on, delayed ones stay.",
        [("Which", f"{counts.waiting:,} waiting, {counts.parked:,} parked")], typed,
        command=line("drain", queue.name), button=f"Remove {words.count(number, 'job')}", danger=True,
        fields=[("queue", queue.name), ("count", number)],
    )  # fmt: skip


async def drain(form: Form) -> Outcome:
    """Remove what waits."""
    queue, text = form.site.named(form["queue"]), form["count"]
    typed_right(form, int(text) if text.isascii() and text.isdigit() else 0)
    async with form.site.acting(form.request, "queue.drain", queue.name) as act:
        act.count = await queue.drain()
    return Outcome(f"{words.count(act.count, 'job')} of {queue.name} removed.")


_CLEANED = (("completed", "Completed jobs"), ("dead", "Dead letters"))


async def ask_clean(form: Form) -> Ask:
    """Ask which old records go."""
    queue = form.site.named(form["queue"])
    counts = await queue.counts()
    return Ask(
        f"Clean {queue.name}: forget finished jobs?", "They cannot be brought back.",
        [("There are", words.count(counts.dead, "dead letter"))],
        [
            Field("state", "Which", "choice", "completed", "", _CLEANED),
            Field("age", "Older than", "text", form["age"] or "7d", "such as 1h or 7d"),
            Field("typed", "To confirm", "typed", "clean", "clean"),
        ],
        command=line("dlq", "purge", queue=queue.name, older_than="7d") + " --all", button="Forget them", danger=True,
        fields=[("queue", queue.name)],
    )  # fmt: skip


async def clean(form: Form) -> Outcome:
    """Forget finished jobs by age."""
    queue, age = form.site.named(form["queue"]), words.seconds_in(form["age"])
    if age is None:
        raise Wrong(f"“{form['age']}” is no duration; write 1h or 7d.")
    if form["typed"].strip() != "clean":
        raise Wrong("Type clean to confirm.")
    which = f"state={form['state']} older_than={form['age']}"
    async with form.site.acting(form.request, "queue.clean", queue.name, which) as act:
        act.count = await queue.clean(form["state"], older_than=age)
    return Outcome(f"{words.count(act.count, 'job')} of {queue.name} forgotten.")


# -- schedules --------------------------------------------------------------------------------------


async def trigger(form: Form) -> Outcome:
    """Enqueue a job of a schedule now."""
    queue = form.site.named(form["queue"])
    async with form.site.acting(form.request, "schedule.trigger", queue.name, f"id={form['id']}") as act:
        job = await Scheduler(queue).trigger(form["id"])
        act.count = 1
    return Outcome(f"{form['id']} runs once more, as job {job.id}. Its next tick is unchanged.")


async def pause_schedule(form: Form) -> Outcome:
    """Fire no more ticks."""
    queue = form.site.named(form["queue"])
    async with form.site.acting(form.request, "schedule.pause", queue.name, f"id={form['id']}") as act:
        changed = await Scheduler(queue).pause(form["id"])
        act.count = int(changed)
    return Outcome(f"{form['id']} is paused." if changed else f"{form['id']} was paused already.")


async def resume_schedule(form: Form) -> Outcome:
    """Fire ticks again."""
    queue = form.site.named(form["queue"])
    async with form.site.acting(form.request, "schedule.resume", queue.name, f"id={form['id']}") as act:
        changed = await Scheduler(queue).resume(form["id"])
        act.count = int(changed)
    return Outcome(f"{form['id']} runs again from its next tick on." if changed else f"{form['id']} was not paused.")


async def ask_remove_schedule(form: Form) -> Ask:
    """Ask before a schedule is gone."""
    queue = form.site.named(form["queue"])
    return Ask(
        f"Remove the schedule {form['id']}?",
        "It fires no more ticks, and code that declares it does not bring it back.",
        [("Queue", queue.name)], command=line("cron", "remove", form["id"], queue=queue.name),
        button=f"Remove {form['id']}", danger=True, fields=[("queue", queue.name), ("id", form["id"])],
    )  # fmt: skip


async def remove_schedule(form: Form) -> Outcome:
    """Remove a schedule."""
    queue = form.site.named(form["queue"])
    async with form.site.acting(form.request, "schedule.remove", queue.name, f"id={form['id']}") as act:
        changed = await Scheduler(queue).remove(form["id"])
        act.count = int(changed)
    return Outcome(f"{form['id']} is removed." if changed else f"{form['id']} was removed already.", "/schedules")


# -- limits -----------------------------------------------------------------------------------------


async def ask_limit(form: Form) -> Ask:
    """Ask for another bound."""
    queue, gate = form.site.named(form["queue"]), form["gate"]
    found = next((one for one in await queue.limits.list() if one.gate == gate), None)
    now = "no bound" if found is None or found.concurrency is None else str(found.concurrency)
    is_paused = found is not None and found.paused
    choices = [("set", "Set how many may run at once"), ("clear", "Back to what the code declares")]
    choices.append(("resume", "Resume it") if is_paused else ("pause", "Pause it"))
    return Ask(
        f"Change the limit {gate} of {queue.name}", "It holds at once, on all workers. What runs already goes on.",
        [("Now", f"{now} at a time" + (f", {found.used} running, {found.waiting} waiting" if found else ""))],
        [
            Field("do", "What", "choice", "set", "", choices),
            Field("concurrency", "At a time", "text", "" if now == "no bound" else now, "a number; empty: no bound"),
        ],
        command=line("limits", "set", queue.name, gate, concurrency=now if now.isdigit() else "none"),
        button="Change it", fields=[("queue", queue.name), ("gate", gate)],
    )  # fmt: skip


async def set_limit(form: Form) -> Outcome:
    """Change a limit."""
    queue, gate, what = form.site.named(form["queue"]), form["gate"], form["do"]
    by = form.site.who(form.request) or "dashboard"
    text = form["concurrency"].strip()
    if what == "set" and text and not (text.isascii() and text.isdigit() and 0 < int(text) < 10**9):
        raise Wrong(f"“{text}” is no number of jobs; give 1 or more, or nothing for no bound.")
    action = "limit.clear" if what == "clear" else "limit.set"
    async with form.site.acting(form.request, action, queue.name, f"gate={gate} {what} {text}".strip()) as act:
        act.count = 1
        if what == "clear":
            await queue.limits.clear(gate, by=by)
        elif what == "pause":
            await queue.limits.pause(gate, reason=f"by {by}")
        elif what == "resume":
            await queue.limits.resume(gate)
        elif what == "set":
            await queue.limits.set(gate, concurrency=int(text) if text else None, by=by)
        else:
            raise ConfigError("do", what, "choose set, clear, pause or resume")
    return Outcome(f"{gate} of {queue.name} is changed.", "/limits")


async def release(form: Form) -> Outcome:
    """Let go on what a block holds."""
    queue = form.site.named(form["queue"])
    async with form.site.acting(form.request, "block.release", queue.name, f"id={form['id']}") as act:
        was_there = await queue.unblock(form["id"])
        act.count = int(was_there)
    return Outcome("Released: what it held goes on, in order." if was_there else "It was released already.", "/limits")


ACTS: dict[str, Act] = {
    "queue-pause": Act(ask_pause, pause),
    "queue-resume": Act(ask_resume, resume),
    "queue-drain": Act(ask_drain, drain),
    "queue-clean": Act(ask_clean, clean),
    "all-pause": Act(ask_pause_all, pause_all),
    "schedule-trigger": Act(None, trigger),
    "schedule-pause": Act(None, pause_schedule),
    "schedule-resume": Act(None, resume_schedule),
    "schedule-remove": Act(ask_remove_schedule, remove_schedule),
    "limit-set": Act(ask_limit, set_limit),
    "block-release": Act(None, release),
}
