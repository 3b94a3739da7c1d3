"""Operations on jobs: submit, status, result, list and search, retry, cancel, promote, remove, explain."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ..._core.dedup import Dedup
from ...errors import ConfigError, JobCancelled, JobDead, JobExpired, JobUnknown, ResultUnavailable
from ...explain import Explanation
from ...job import Job
from ...queue import Queue
from ..conditions import condition_of
from ..links import in_words
from ..problems import Refusal
from ..redaction import Redaction
from .shapes import Acted, Deduplicate, Ended, JobList, JobView, Receipt, Retrying, Submission, job_view, receipt
from .table import Call, Table
from .words import LISTED, Cursor, Level, Limit, Listed, Needle, lapse, priority

table: Table = Table("jobs")

MAX_WAIT = 60.0
"""Seconds a request for a result may wait."""

_ENDS: dict[type[Exception], str] = {
    JobDead: "dead",
    JobCancelled: "cancelled",
    JobExpired: "expired",
    ResultUnavailable: "completed",
}
"""States by the errors that a result is instead."""

_CURSORS: dict[str, re.Pattern[str]] = {
    "waiting": re.compile(r"|lines:\d{0,12}|[0-6]:(\d{1,15}-\d{1,15})?"),
    "active": re.compile(r"|[0-6]:(\d{1,15}-\d{1,15})?"),
    "delayed": re.compile(r"\d{0,12}"),
    "parked": re.compile(r"\d{0,12}"),
    "completed": re.compile(r"\d{0,12}"),
    "dead": re.compile(r"|\d{1,15}-\d{1,15}"),
}


class JobQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which jobs: what is given has to fit. id: how it ends. text: in id, name, tenant or error. since, until: ages.

    payload: fields and their values, such as contact_id=c_88213,country=GR; hidden fields are refused.
    """

    state: Listed | None = None
    name: Needle = ""
    tenant: Needle = ""
    id: Needle = ""
    error: Needle = ""
    text: Needle = ""
    payload: Needle = ""
    worker: Needle = ""
    priority: Level | None = None
    attempts: int | None = None
    since: Needle = ""
    until: Needle = ""
    limit: Limit = 50
    cursor: Cursor = ""


class WaitQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How long to wait for the end, such as 30s; at most a minute."""

    wait: Needle = ""


@table.post("/queues/{queue}/jobs", status=202, also=(200,), errors=(400, 404, 413, 415, 429))
async def submit(call: Call, body: Submission) -> Receipt:
    """Enqueue a job.

    Idempotent by ``job_id``, or by the header Idempotency-Key: a second time answers 200 and created=false. The payload
    is checked against the handler's signature where this app declares it, else by the worker. 429 when this client
    submits faster than it may.
    """
    found = await enqueue(call, call.queue, body)
    if not found.created:
        call.status = 200
    return found


async def enqueue(call: Call, queue: Queue, body: Submission) -> Receipt:
    """Enqueue a job for a client, at the pace it may have, and tell where it is."""
    _paced(call)
    key = call.request.headers.get("idempotency-key")
    if body.job_id is None and key:
        body.job_id = key.strip('"')
    job = await queue.enqueue(body.name, body.payload, **options_of(body))
    outcome = "done" if job.created else job.refused or "there already"
    call.site.told(
        call.request, "job.submit", queue.name, {"name": body.name, "job": job.id}, int(job.created), outcome
    )
    url = call.job_url(queue.name, job.id)
    call.headers["Location"] = url
    return receipt(job, url)


def options_of(body: Submission) -> Any:
    """Return the options of a submission as `JobOptions`, without what was left open."""
    given: dict[str, Any] = {
        "job_id": body.job_id, "delay": lapse("delay", body.delay), "at": body.at, "priority": priority(body.priority),
        "max_attempts": body.max_attempts, "timeout": lapse("timeout", body.timeout), "headers": body.headers or None,
        "tenant": body.tenant, "expires_in": lapse("expires_in", body.expires_in), "deadline": body.deadline,
        "keep_result": body.keep_result or None, "group": body.group, "rate_key": body.rate_key, "cost": body.cost,
        "dedup": None if body.dedup is None else _dedup(body.dedup),
    }  # fmt: skip
    return {name: value for name, value in given.items() if value is not None}


def _dedup(given: Deduplicate) -> Dedup:
    return Dedup(
        given.key, by=None if given.by is None else tuple(given.by), mode=given.mode, ttl=lapse("ttl", given.ttl),
        max_wait=lapse("max_wait", given.max_wait), scope=given.scope,
    )  # fmt: skip


def _paced(call: Call) -> None:
    meter = call.site.meter
    if meter is None:
        return
    wait = meter.take(call.site.who(call.request) or call.site.origin(call.request))
    if wait:
        detail = f"{meter.count} jobs in {meter.per:g} s is what one client may submit; again in {wait:.1f} s"
        raise Refusal(429, "TooFast", detail, {"Retry-After": str(int(wait) + 1)})


@table.get("/queues/{queue}/jobs", errors=(404,))
async def list_jobs(call: Call, query: JobQuery) -> JobList:
    """List and search jobs, of one state or of each in turn.

    A search looks at no more than 5,000 jobs of a state a request, and says how many; the cursor goes on from there.
    """
    state, _, inner = query.cursor.rpartition("/")
    states: list[Listed] = list(LISTED) if query.state is None else [query.state]
    if query.cursor and state not in states:
        raise ConfigError("cursor", query.cursor, "give the cursor of an earlier page of the same list")
    if state:
        states = states[[str(one) for one in states].index(state) :]
    found: list[JobView] = []
    looked = 0
    wanted = _wanted(query, call.site.redaction)
    for number, one in enumerate(states):
        if not _CURSORS[one].fullmatch(inner):
            raise ConfigError("cursor", query.cursor, "give the cursor of an earlier page of the same list")
        page = await call.queue.jobs(one, limit=query.limit - len(found), cursor=inner, **wanted)
        found += [job_view(info, call.site.redaction, whole=False) for info in page.jobs]
        looked += page.looked_at
        inner = page.cursor
        if inner:
            return JobList(jobs=found, looked_at=looked, complete=False, cursor=f"{one}/{inner}")
        if len(found) >= query.limit and number + 1 < len(states):
            return JobList(jobs=found, looked_at=looked, complete=False, cursor=f"{states[number + 1]}/")
    return JobList(jobs=found, looked_at=looked, complete=True, cursor="")


def _wanted(query: JobQuery, redaction: Redaction) -> Any:
    words = {name: getattr(query, name) or None for name in ("name", "tenant", "id", "error", "text", "worker")}
    return {
        **words, "priority": priority(query.priority), "attempts": query.attempts, "since": lapse("since", query.since),
        "until": lapse("until", query.until),
        "where": condition_of(query.payload, redaction) if query.payload else None,
    }  # fmt: skip


@table.get("/queues/{queue}/jobs/{job_id:path}/result", also=(202,), errors=(404,))
async def result(call: Call, query: WaitQuery) -> Ended:
    """Return how a job ended; with ``wait`` hold on for its end. 202 while it has not ended.

    A dead, cancelled or expired job is an answer, too: see ``state``. 404 when it has left no trace.
    """
    job = await found_job(call)
    seconds = min(lapse("wait", query.wait) or 0.0, MAX_WAIT)
    ended = await ending(job, seconds)
    if ended is None:
        state = await job.state()
        # It may have ended meanwhile; whoever asks again is told how.
        call.status = 202
        return Ended(id=job.id, state=str(state), finished=state.is_final)
    ended.result = call.site.redact(ended.result)
    return ended


async def ending(job: Job[Any], seconds: float) -> Ended | None:
    """Wait for a job's end; None if it has not ended within ``seconds``. Raises `ResultExpired`."""
    if not seconds and not (await job.state()).is_final:
        return None
    try:
        value = await job.result(timeout=seconds or 2.0)
    except TimeoutError:
        return None
    except (JobDead, JobCancelled, JobExpired, ResultUnavailable) as problem:
        return Ended(id=job.id, state=_ENDS[type(problem)], finished=True, problem=str(problem))
    return Ended(id=job.id, state="completed", finished=True, result=value)


@table.post("/queues/{queue}/jobs/{job_id:path}/retry", errors=(400, 404, 409, 413, 415), body_required=False)
async def retry(call: Call, body: Retrying) -> Acted:
    """Run a dead job again with all its attempts, or a delayed one now."""
    job = await found_job(call)
    async with call.site.acting(call.request, "job.retry", job.queue, in_words({"job": job.id})) as act:
        await job.retry(delay=lapse("delay", body.delay), priority=priority(body.priority))
        act.count = 1
    return Acted(id=job.id, state=str(await job.state()), changed=True)


@table.post("/queues/{queue}/jobs/{job_id:path}/cancel", errors=(404,))
async def cancel(call: Call) -> Acted:
    """Cancel a job: one that waits is out at once, one that runs is asked to stop within two seconds."""
    job = await found_job(call)
    async with call.site.acting(call.request, "job.cancel", job.queue, in_words({"job": job.id})) as act:
        act.count = int(await job.cancel())
        act.outcome = "done" if act.count else "it had ended already"
    return Acted(id=job.id, state=str(await job.state()), changed=bool(act.count))


@table.post("/queues/{queue}/jobs/{job_id:path}/promote", errors=(404, 409))
async def promote(call: Call) -> Acted:
    """Move a delayed job to its lane now."""
    job = await found_job(call)
    async with call.site.acting(call.request, "job.promote", job.queue, in_words({"job": job.id})) as act:
        await job.promote()
        act.count = 1
    return Acted(id=job.id, state=str(await job.state()), changed=True)


@table.get("/queues/{queue}/jobs/{job_id:path}/explain", errors=(404,))
async def explain(call: Call) -> Explanation:
    """Tell why a job is where it is: its line, its place in it, and what each of its gates says."""
    job = await found_job(call)
    return await call.queue.explain(job.id)


@table.get("/queues/{queue}/jobs/{job_id:path}", errors=(404,))
async def show_job(call: Call) -> JobView:
    """Return everything known of a job; 404 when it has left no trace."""
    job = await found_job(call)
    return job_view(await job.info(), call.site.redaction, whole=True)


@table.delete("/queues/{queue}/jobs/{job_id:path}", status=204, errors=(404, 409))
async def remove_job(call: Call) -> None:
    """Take a job that has not started out of the queue, or a dead letter away. 409 for one that runs: cancel it."""
    await remove(call, await found_job(call))


async def remove(call: Call, job: Job[Any]) -> None:
    """Remove a job, and note it."""
    async with call.site.acting(call.request, "job.remove", job.queue, in_words({"job": job.id})) as act:
        await job.remove()
        act.count = 1


async def found_job(call: Call) -> Job[Any]:
    """Return the job of the path; raises `JobUnknown`."""
    return await job_of(call.queue, call.path("job_id"))


async def job_of(queue: Queue, job_id: str) -> Job[Any]:
    """Return a job of a queue; raises `JobUnknown` for one without trace, and for what cannot be an id."""
    try:
        job = await queue.job(job_id)
    except ConfigError:
        raise JobUnknown(job_id) from None
    if job is None:
        raise JobUnknown(job_id)
    return Job(queue, job.id)  # of no type: results are shown as plain data, whatever class they had
