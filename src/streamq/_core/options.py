"""Options a job or a handler may carry, and their checks at the edge where they enter."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal, TypedDict, cast

import msgspec

from ..errors import ConfigError
from . import backoff as _backoff
from . import dedup as _dedup
from . import gates, limits, names, units
from .backoff import Backoff, Exponential, Fixed, Linear
from .dedup import Dedup
from .lifecycle import Policy
from .limits import Key, OnConflict, OnLimit, RateLimit
from .units import Seconds


class Priority(IntEnum):
    """Five lanes, served in this order. An enum on purpose: the field disagrees whether 1 is high or low."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3
    BACKGROUND = 4


class JobOptions(TypedDict, total=False):
    """Options of one job: for ``with_options``, ``queue.enqueue`` and `JobSpec`.

    delay: seconds or timedelta before it may start. at: aware datetime before which it does not start (not with delay).
    priority: lane. max_attempts: runs in all, the first included. backoff: wait between runs. timeout: bounds one run.
    job_id: custom id, unique while the job is unsettled, dead, or within ``result_ttl``. headers: text pairs handed to
    the handler. tenant: whose job it is (else the running job's). expires_in: must start by, else it ends as expired.
    deadline: aware datetime by which all runs must have ended. keep_result: keep a record even of a None result. group:
    whose turn it is, such as a customer's id; groups take fair turns within what Queue(group=) allows each. rate_key: a
    limit of Queue(limits=) that counts this job too, or its key of the handler's rate_limit. cost: what a start takes
    of rate limits (1). dedup: which jobs are the same one (`Dedup`; instead of the handler's).
    """

    delay: Seconds
    at: datetime
    priority: Priority
    max_attempts: int
    backoff: Fixed | Linear | Exponential
    timeout: Seconds
    job_id: str
    headers: dict[str, str]
    tenant: str
    expires_in: Seconds
    deadline: datetime
    keep_result: bool
    group: str
    rate_key: str
    cost: int
    dedup: Dedup


class HandlerOptions(TypedDict, total=False):
    """Options of a handler; what is left out falls back to the queue's.

    max_attempts: runs in all (queue default 5). backoff: Fixed, Linear, Exponential or a function of the attempt
    (default Exponential(1)). timeout: seconds one run may take (default 30; None: no bound). no_retry: exceptions
    that go straight to the dead letters. pool: "thread" (default for def handlers) or "process". priority: lane
    of its jobs (NORMAL). keep_result: keep a record even of a None result (False). concurrency: how many may run at
    once over all workers (no bound). rate_limit: how many may start (`RateLimit`; no bound). rate_key: argument, or
    function of the arguments, for each value of which rate_limit counts apart. on_limit: what becomes of a job that
    meets a closed rate limit: "wait" (default), "drop" (not enqueued) or "bury". concurrency_key: argument, or function
    of the arguments, for each value of which at most key_concurrency (1) may run at once. key_concurrency: see
    concurrency_key. on_conflict: what becomes of a job whose places are taken: "queue" (default: it waits), "drop" (not
    enqueued) or "cancel_running". dedup: which of its jobs are the same one (`Dedup`).
    """

    max_attempts: int
    backoff: Backoff
    timeout: Seconds | None
    no_retry: tuple[type[BaseException], ...]
    pool: Literal["thread", "process"]
    priority: Priority
    keep_result: bool
    concurrency: int
    rate_limit: RateLimit
    rate_key: Key
    on_limit: OnLimit
    concurrency_key: Key
    key_concurrency: int
    on_conflict: OnConflict
    dedup: Dedup


class Checked(msgspec.Struct, frozen=True):
    """`JobOptions` after all checks; times in milliseconds."""

    when: str = "0"
    lane: int | None = None
    max_attempts: int | None = None
    backoff: Fixed | Linear | Exponential | None = None
    timeout_ms: int | None = None
    job_id: str | None = None
    headers: dict[str, str] = {}
    tenant: str | None = None
    expires_in_ms: int | None = None
    deadline_ms: int | None = None
    keep_result: bool = False
    group: str | None = None
    rate_key: str | None = None
    cost: int = 1
    dedup: Dedup | None = None

    @property
    def flows(self) -> bool:
        """Whether the job may wait for more than its turn."""
        return self.cost > 1 or self.group is not None or self.rate_key is not None or self.dedup is not None


DEFAULT = Checked()


def check_job(options: JobOptions) -> Checked:
    """Return ``options`` checked; raises `ConfigError` naming option, value and remedy."""
    if not options:
        return DEFAULT
    _refuse_unknown("job", options, JobOptions.__annotations__)
    wait = options.get("delay")
    at = options.get("at")
    if wait is not None and at is not None:
        raise ConfigError("at", at, "give delay= or at=, not both")
    expires = options.get("expires_in")
    timeout = options.get("timeout")
    deadline = options.get("deadline")
    job_id = options.get("job_id")
    tenant = options.get("tenant")
    checked = Checked(
        when=_when(wait, at),
        lane=_lane(options.get("priority")),
        max_attempts=check_attempts(options.get("max_attempts")),
        backoff=_wire_backoff(options.get("backoff")),
        timeout_ms=None if timeout is None else units.millis("timeout", timeout, least=0.001),
        job_id=None if job_id is None else names.checked_text("job_id", job_id),
        headers=names.checked_headers(options.get("headers", {})),
        tenant=None if tenant is None else names.checked_text("tenant", tenant),
        expires_in_ms=None if expires is None else units.millis("expires_in", expires, least=0.001),
        deadline_ms=None if deadline is None else units.instant_ms("deadline", deadline),
        keep_result=_flag("keep_result", options.get("keep_result", False)),
        group=gates.checked("group", options["group"]) if "group" in options else None,
        rate_key=gates.checked("rate_key", options["rate_key"]) if "rate_key" in options else None,
        cost=limits.whole("cost", options.get("cost", 1)),
        dedup=_dedup.checked("dedup", options["dedup"]) if "dedup" in options else None,
    )
    if checked.expires_in_ms is not None and checked.when[0] == "+" and int(checked.when[1:]) >= checked.expires_in_ms:
        raise ConfigError("expires_in", expires, "is not longer than delay, so the job could never start")
    return checked


def check_handler(options: HandlerOptions, defaults: Policy) -> Policy:
    """Return a handler's rules: its options over the queue's ``defaults``."""
    _refuse_unknown("handler", options, HandlerOptions.__annotations__)
    timeout = defaults.timeout_ms
    if "timeout" in options:
        given = options["timeout"]
        timeout = None if given is None else units.millis("timeout", given, least=0.001)
    _lane(options.get("priority"))
    _flag("keep_result", options.get("keep_result", False))
    no_retry = options.get("no_retry", ())
    for kind in _each("no_retry", no_retry):
        if not (isinstance(kind, type) and issubclass(cast("type[object]", kind), BaseException)):
            raise ConfigError("no_retry", kind, "give a tuple of exception classes")
    return Policy(
        max_attempts=check_attempts(options.get("max_attempts")) or defaults.max_attempts,
        backoff=_backoff.checked("backoff", options["backoff"]) if "backoff" in options else defaults.backoff,
        timeout_ms=timeout,
        no_retry=no_retry,
    )


def check_attempts(value: object) -> int | None:
    """Return ``max_attempts``: at least 1, since the first run counts."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10_000:
        raise ConfigError("max_attempts", value, "counts runs, the first included: a whole number from 1 to 10,000")
    return value


def _each(option: str, value: object) -> tuple[object, ...]:
    if not isinstance(value, tuple):
        raise ConfigError(option, value, "give a tuple of exception classes")
    return cast("tuple[object, ...]", value)


def _when(wait: Seconds | None, at: datetime | None) -> str:
    if at is not None:
        return f"@{units.instant_ms('at', at)}"
    if wait is not None:
        ms = units.millis("delay", wait)
        return f"+{ms}" if ms else "0"
    return "0"


def _lane(priority: object) -> int | None:
    if priority is None:
        return None
    if not isinstance(priority, Priority):
        raise ConfigError("priority", priority, "use Priority.CRITICAL, HIGH, NORMAL, LOW or BACKGROUND")
    return int(priority)


def _flag(option: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(option, value, "give True or False")
    return value


def _wire_backoff(value: object) -> Fixed | Linear | Exponential | None:
    if value is None or isinstance(value, Fixed | Linear | Exponential):
        return value
    raise ConfigError("backoff", value, "a single job takes Fixed, Linear or Exponential; functions belong to handlers")


def _refuse_unknown(kind: str, options: Any, known: Iterable[str]) -> None:
    names_known = sorted(known)
    for name in options:
        if name not in names_known:
            raise ConfigError(name, options[name], f"is no {kind} option; there are {', '.join(names_known)}")
