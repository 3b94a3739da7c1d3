"""From a built job to what the producer takes: envelopes, staggering, and one answer for a bulk call."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from ._core import envelope as _wire
from ._core import options as _options
from ._core import pairs, units
from ._core.envelope import Envelope
from ._core.ids import new_id
from ._core.options import Checked
from ._core.units import Seconds
from ._store import lines
from ._store.entry import Entry, Receipt, Refusal
from ._store.session import Store
from .errors import ConfigError, EnqueueManyError, EnqueueUnknown, PayloadTooLarge, StreamqError
from .job import Home, Job, JobSpec
from .settings import Settings, whole

R = TypeVar("R")


class Encoding(NamedTuple):
    """What turns specs into entries: ``deadline`` on the event loop's clock, ``now_ms`` the server's."""

    settings: Settings
    lane_of: Callable[[str], int]
    deadline: float
    now_ms: int = 0

    def entry(self, spec: JobSpec[Any]) -> Entry:
        """Return ``spec`` encoded, with an id."""
        return _entry(self.settings, spec, self.lane_of(spec.name), self.deadline, self.now_ms)


async def encoding(
    store: Store, settings: Settings, specs: Sequence[JobSpec[Any]], lane_of: Callable[[str], int]
) -> Encoding:
    """Return how to encode ``specs``; raises `PayloadTooLarge`."""
    for spec in specs:
        if len(spec.args) > settings.max_payload:
            raise PayloadTooLarge(spec.name, len(spec.args), settings.max_payload)
    deadline = asyncio.get_running_loop().time() + settings.enqueue_timeout
    expires = any(spec.options.expires_in_ms is not None for spec in specs)
    return Encoding(settings, lane_of, deadline, await store.session().server_ms() if expires else 0)


def _entry(settings: Settings, spec: JobSpec[Any], default_lane: int, deadline: float, now_ms: int) -> Entry:
    options = spec.options
    lane = int(default_lane if options.lane is None else options.lane)  # never an enum: hiredis refuses it
    timeout = settings.enqueue_timeout
    if options is _options.DEFAULT and spec.flow is None:
        body = _wire.encode_plain(spec.name, spec.args, lane)
        return Entry(new_id(), lane, "0", body, False, timeout, deadline, spec.name)  # noqa: FBT003 - a struct is made fastest by position
    envelope = _envelope(spec, lane)
    if options.expires_in_ms is not None:
        envelope = _wire.replaced(envelope, expires_ms=now_ms + options.expires_in_ms)
    custom = options.job_id is not None
    body = _wire.encode(envelope)
    made = Entry(
        options.job_id or new_id(), lane, options.when, body, custom, timeout, deadline, spec.name, envelope.tenant
    )  # fmt: skip
    if spec.flow is not None:
        made.record = lines.record(spec.flow, lane, envelope.expires_ms or 0)
        made.dedup = lines.dedup(spec.flow.dedup)
    return made


def template(spec: JobSpec[Any], default_lane: int, max_payload: int) -> Envelope:
    """Return the envelope of a job that is to be enqueued again and again; raises `PayloadTooLarge`."""
    if len(spec.args) > max_payload:
        raise PayloadTooLarge(spec.name, len(spec.args), max_payload)
    return _envelope(spec, int(default_lane if spec.options.lane is None else spec.options.lane))


class Bulk:
    """Counts the answers of a bulk call: one future for all of its jobs."""

    def __init__(self, count: int) -> None:
        self.entries: list[Entry] = []
        self._receipts: list[Receipt] = [None] * count
        self._left = count
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not count:
            self._done.set_result(None)

    def made(self, encoding: Encoding, specs: Iterable[JobSpec[Any]]) -> Iterator[Entry]:
        """Make the entries, one whenever it is asked for."""
        for at, spec in enumerate(specs):
            entry = encoding.entry(spec)
            entry.answer = functools.partial(self._take, at)
            self.entries.append(entry)
            yield entry

    def _take(self, at: int, receipt: Receipt) -> None:
        self._receipts[at] = receipt
        self._left -= 1
        if not self._left and not self._done.done():
            self._done.set_result(None)

    async def wait(self) -> list[Receipt]:
        """Return all answers, once they are there."""
        await self._done
        return self._receipts


def raise_if_any(entries: Sequence[Entry], receipts: Sequence[Receipt]) -> None:
    """Raise `EnqueueManyError` unless all jobs were acknowledged."""
    refused = {e.job_id: r for e, r in zip(entries, receipts, strict=True) if isinstance(r, StreamqError)}
    if not refused:
        return
    unknown = [job for job, error in refused.items() if isinstance(error, EnqueueUnknown)]
    done = [e.job_id for e in entries if e.job_id not in refused]
    raise EnqueueManyError(done, unknown, {job: error for job, error in refused.items() if job not in unknown})


def handle(home: Home, job_id: str, returns: Any, receipt: Receipt, name: str) -> Job[Any]:
    """Return the handle of what became of an enqueue that raised nothing."""
    if not isinstance(receipt, Refusal):
        if home.notices.wanted:
            home.notices.note("added", job_id, name)
        return Job(home, job_id, returns=returns, acknowledged=True)
    if receipt.reason == "met":
        job = Job[Any](home, receipt.detail, returns=returns, created=False, acknowledged=True)
        job.met = receipt.detail
        return job
    dropped = receipt.reason in {"limited", "conflict"}
    job = Job[Any](home, job_id, returns=returns, created=False, acknowledged=not dropped)
    if dropped:
        job.refused = "limited" if receipt.reason == "limited" else "conflict"
    return job


def handles(
    home: Home,
    specs: Sequence[JobSpec[R]],
    entries: Sequence[Entry],
    receipts: Sequence[Receipt],
    returns: Callable[[str], Any],
) -> list[Job[R]]:
    """Return the handles of a bulk call; raises `EnqueueManyError` unless all jobs were acknowledged."""
    raise_if_any(entries, receipts)
    returned = {name: returns(name) for name in {spec.name for spec in specs}}
    return [
        handle(home, entry.job_id, returned[spec.name], receipt, spec.name)
        for entry, spec, receipt in zip(entries, specs, receipts, strict=True)
    ]


def staggered(specs: list[JobSpec[R]], chunk: int | None, every: Seconds | None) -> list[JobSpec[R]]:
    """Return the jobs with due times so that ``chunk`` of them start every ``every`` seconds."""
    if chunk is None and every is None:
        return specs
    if chunk is None or every is None:
        raise ConfigError("chunk", chunk, "give chunk= and every= together: so many jobs every so many seconds")
    whole("chunk", chunk, least=1)
    step = units.millis("every", every)
    return [_later(spec, (at // chunk) * step) for at, spec in enumerate(specs)]


def _later(spec: JobSpec[R], ms: int) -> JobSpec[R]:
    if not ms:
        return spec
    when = spec.options.when
    moved = f"+{ms}" if when == "0" else f"{when[0]}{int(when[1:]) + ms}"
    pairs.check_delay(spec.flow.dedup if spec.flow is not None else None, moved)
    return JobSpec(spec.owner, spec.name, spec.args, msgspec.structs.replace(spec.options, when=moved), spec.flow)


def _envelope(spec: JobSpec[Any], lane: int) -> Envelope:
    options: Checked = spec.options
    return Envelope(
        name=spec.name,
        args=msgspec.Raw(spec.args),
        max_attempts=options.max_attempts,
        backoff=options.backoff,
        timeout_ms=options.timeout_ms,
        headers=options.headers,
        tenant=options.tenant,
        deadline_ms=options.deadline_ms,
        keep_result=options.keep_result,
        created_ms=time.time_ns() // 1_000_000 if options.job_id is not None else None,
        lane=lane,
    )
