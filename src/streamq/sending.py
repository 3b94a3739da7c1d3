"""From a built job to what the producer takes: envelopes, staggering, and one answer for a bulk call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

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
from .errors import ConfigError, EnqueueManyError, EnqueueUnknown, InvalidPayload, PayloadTooLarge, StreamqError
from .job import Home, Job, JobSpec
from .settings import Settings, whole

R = TypeVar("R")


class Encoding(NamedTuple):
    """What turns specs into entries: ``deadline`` on the event loop's clock, ``now_ms`` the server's.

    ``plain``: all of them are jobs without options, which cannot fail when they are made.
    """

    settings: Settings
    lane_of: Callable[[str], int]
    deadline: float
    now_ms: int
    plain: bool

    def entry(self, spec: JobSpec[Any]) -> Entry:
        """Return ``spec`` encoded, with an id."""
        lane = self.lane_of(spec.name)
        if spec.options is not _options.DEFAULT or spec.flow is not None:
            return _entry(self.settings, spec, lane, self.deadline, self.now_ms)
        body = _wire.encode_plain(spec.name, spec.args, lane)
        timeout = self.settings.enqueue_timeout
        return Entry(new_id(), lane, "0", body, False, timeout, self.deadline, spec.name)  # noqa: FBT003 - a struct is made fastest by position


async def encoding(
    store: Store, owner: Home, settings: Settings, specs: Sequence[JobSpec[Any]], lane_of: Callable[[str], int]
) -> Encoding:
    """Return how to encode ``specs``; ``lane_of`` a handler. Raises `ConfigError`, `PayloadTooLarge`."""
    most, default, plain, expires = settings.max_payload, _options.DEFAULT, True, False
    for spec in specs:  # the one look at all of a bulk call before anything is sent
        if spec.owner is not owner:
            raise ConfigError("job", spec.name, f"was built for queue {spec.owner.name!r}, not {owner.name!r}")
        if len(spec.args) > most:
            raise PayloadTooLarge(spec.name, len(spec.args), most)
        if spec.options is not default or spec.flow is not None:
            plain = False
            expires = expires or spec.options.expires_in_ms is not None
    deadline = asyncio.get_running_loop().time() + settings.enqueue_timeout
    return Encoding(settings, lane_of, deadline, await store.session().server_ms() if expires else 0, plain)


def _entry(settings: Settings, spec: JobSpec[Any], default_lane: int, deadline: float, now_ms: int) -> Entry:
    options = spec.options
    lane = default_lane if options.lane is None else int(options.lane)  # never an enum: hiredis refuses it
    timeout = settings.enqueue_timeout
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
        self._refused: dict[Entry, Receipt] = {}
        self._left = count
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not count:
            self._done.set_result(None)

    def made(self, encoding: Encoding, specs: Iterable[JobSpec[Any]]) -> Iterator[Entry]:
        """Make the entries, one whenever it is asked for."""
        answer, add = self._take, self.entries.append
        for spec in specs:
            entry = encoding.entry(spec)
            entry.answer = answer
            add(entry)
            yield entry

    def _take(self, entry: Entry, receipt: Receipt) -> None:
        if receipt is not None:
            self._refused[entry] = receipt
        self._left -= 1
        if not self._left and not self._done.done():
            self._done.set_result(None)

    async def wait(self) -> Mapping[Entry, Receipt]:
        """Return the answers that are not None, once all are there."""
        await self._done
        return self._refused


def raise_if_any(entries: Sequence[Entry], receipts: Mapping[Entry, Receipt]) -> None:
    """Raise `EnqueueManyError` unless all jobs were acknowledged."""
    refused = {entry.job_id: r for entry, r in receipts.items() if isinstance(r, StreamqError)}
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
    receipts: Mapping[Entry, Receipt],
    returns: Callable[[str], Any],
) -> list[Job[R]]:
    """Return the handles of a bulk call; raises `EnqueueManyError` unless all jobs were acknowledged."""
    raise_if_any(entries, receipts)
    returned = {name: returns(name) for name in {spec.name for spec in specs}}
    return [
        handle(home, entry.job_id, returned[spec.name], receipts.get(entry), spec.name)
        for entry, spec in zip(entries, specs, strict=True)
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


def arguments(name: str, payload: object) -> dict[str, Any]:
    """Return the arguments of a job enqueued by name. Raises `InvalidPayload` for what is no mapping of names."""
    kind = type(payload).__name__
    if payload is None:
        return {}
    if isinstance(payload, Mapping):
        given: dict[Any, Any] = dict(cast("Any", payload))
        if all(isinstance(one, str) for one in given):
            return given
    raise InvalidPayload(name, f"give a mapping of argument names to values, not {kind}")
