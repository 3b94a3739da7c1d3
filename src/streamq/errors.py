"""Every error streamq raises, drawn as a tree.

    StreamqError
    ├── ConfigError (ValueError)          an option, name or url that cannot be right; says option, value and remedy
    │   ├── UnknownHandler, UnknownLimit  no handler, no limit of that name is declared here
    │   └── ConflictingOptions            each is right, but not together
    ├── InvalidPayload (ValueError)       arguments do not fit the handler
    │   └── PayloadTooLarge               encoded arguments over max_payload
    ├── RedisUnavailable (ConnectionError) nothing answered, or not in time
    ├── ServerUnfit                       something answered, but it cannot keep a queue safely
    │   └── VersionMismatch               the queue is kept by an incompatible streamq
    ├── EnqueueError
    │   ├── EnqueueTimeout                not enqueued
    │   ├── EnqueueUnknown                may or may not be enqueued; ``queue.job(job_id)`` tells
    │   ├── EnqueueManyError              a bulk call that went only partly well
    │   └── QueueFull, GroupFull          back-pressure: max_pending, or the size of a group is reached
    ├── JobStateError                     the verb does not fit the state the job is in
    ├── ScheduleUnknown                   no schedule of that id, or it was removed
    ├── ResultError
    │   ├── JobDead, JobCancelled, JobExpired   how the job ended instead of with a result
    │   ├── ResultExpired                 it ended too long ago to know the result
    │   ├── ResultUnavailable             the handler's value could not be kept
    │   └── JobUnknown                    no trace of such a job
    └── AppImportError                    "module:attribute" could not be loaded (command line)

Each carries its data as attributes and says what to do next. What a handler raises to steer
(`Retry`, `Snooze`, ...) is not an error and lives in ``streamq._core.steer``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def revived(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    """Return a pickled exception as it was, without running its ``__init__``, which takes more than a text."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class StreamqError(Exception):
    """Base of everything streamq raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross a process boundary as it is: by default an exception is made anew from its text alone."""
        return revived, (type(self), self.args, self.__dict__)


class ConfigError(StreamqError, ValueError):
    """An option has a value that cannot be right."""

    def __init__(self, option: str, value: object, remedy: str, text: str = "") -> None:
        self.option = option
        self.value = value
        self.remedy = remedy
        super().__init__(text or f"{option}={value!r}: {remedy}")


class UnknownHandler(ConfigError):
    """No handler of that name is declared on this queue."""

    def __init__(self, queue: str, name: str, known: Sequence[str], hint: str = "") -> None:
        self.queue = queue
        self.name = name
        self.known: tuple[str, ...] = tuple(known)
        listed = ", ".join(repr(one) for one in known) or "none"
        remedy = f"queue {queue!r} has no such handler{hint}; declared: {listed}"
        super().__init__("handler", name, remedy)


class UnknownLimit(ConfigError):
    """``rate_key`` names no limit of the queue, and the job's handler has no rate limit for it to be a key of."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known: tuple[str, ...] = tuple(known)
        text = f"no limit named {name!r}; known: {', '.join(known) or 'none'}. Declare it in Queue(limits={{...}})."
        super().__init__("rate_key", name, "declare it in Queue(limits={...})", text)


class ConflictingOptions(ConfigError):
    """Options that are right each for itself, but have no meaning together. ``options`` holds their names."""

    def __init__(self, options: Sequence[str], text: str) -> None:
        self.options: tuple[str, ...] = tuple(options)
        super().__init__(" and ".join(options), None, text, text)


class InvalidPayload(StreamqError, ValueError):
    """Arguments do not fit the handler's signature; nothing was enqueued."""

    def __init__(self, handler: str, problem: str) -> None:
        self.handler = handler
        self.problem = problem
        super().__init__(f"arguments of {handler!r}: {problem}")


class PayloadTooLarge(InvalidPayload):
    """Encoded arguments are over the queue's ``max_payload`` (bytes)."""

    def __init__(self, handler: str, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            handler,
            f"{size:,} bytes, over max_payload={limit:,}; store the data elsewhere and send its id, "
            "or raise Queue(max_payload=...)",
        )


class RedisUnavailable(StreamqError, ConnectionError):
    """No usable server answered at the url within the time allowed."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"cannot reach Redis at {url} ({reason})")


class ServerUnfit(StreamqError):
    """A server answered, but streamq must not keep a queue on it."""

    def __init__(self, url: str, problem: str, remedy: str) -> None:
        self.url = url
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{url}: {problem}; {remedy}")


class VersionMismatch(ServerUnfit):
    """The queue's keys were written under another protocol version."""

    def __init__(self, url: str, queue: str, found: str, ours: int) -> None:
        self.queue = queue
        self.found = found
        self.ours = ours
        super().__init__(
            url,
            f"queue {queue!r} is kept under protocol {found}, this streamq speaks {ours}",
            "upgrade the older side, or use another prefix until the queue is drained",
        )


class EnqueueError(StreamqError):
    """An enqueue that did not end in an acknowledged job."""


class EnqueueTimeout(EnqueueError, TimeoutError):
    """The job was not enqueued: its time ran out before it was sent."""

    sent = False

    def __init__(self, job_id: str, seconds: float, reason: str) -> None:
        self.job_id = job_id
        self.seconds = seconds
        self.reason = reason
        super().__init__(f"job {job_id} was not enqueued within {seconds:g} s ({reason}); it is safe to try again")


class EnqueueUnknown(EnqueueError):
    """The job was sent but no answer came: it may or may not exist."""

    sent = True

    def __init__(self, job_id: str, reason: str) -> None:
        self.job_id = job_id
        self.reason = reason
        said = f"no answer to the enqueue of job {job_id} ({reason}); it may exist"
        super().__init__(f"{said}: ask queue.job({job_id!r}), or enqueue again with the same job_id")


class EnqueueManyError(EnqueueError):
    """A bulk enqueue that went only partly well. ``done``, ``unknown`` and ``refused`` hold job ids."""

    def __init__(self, done: Sequence[str], unknown: Sequence[str], refused: dict[str, StreamqError]) -> None:
        self.done: tuple[str, ...] = tuple(done)
        self.unknown: tuple[str, ...] = tuple(unknown)
        self.refused: dict[str, StreamqError] = dict(refused)
        first = next(iter(self.refused.values()), None)
        said = f"{len(done)} enqueued, {len(unknown)} unknown, {len(self.refused)} not enqueued"
        super().__init__(said + (f"; the first: {first}" if first else ""))


class QueueFull(EnqueueError):
    """The queue holds ``max_pending`` unsettled jobs; the job was not enqueued."""

    def __init__(self, queue: str, job_id: str, limit: int) -> None:
        self.queue = queue
        self.job_id = job_id
        self.limit = limit
        said = f"queue {queue!r} holds max_pending={limit:,} unsettled jobs"
        super().__init__(f"{said}; slow down, add workers, or raise the limit")


class GroupFull(EnqueueError):
    """``Group(size=limit)`` jobs of this group wait already; the job was not enqueued."""

    def __init__(self, queue: str, group: str, job_id: str, waiting: int, limit: int) -> None:
        self.queue = queue
        self.group = group
        self.job_id = job_id
        self.waiting = waiting
        self.limit = limit
        said = f"group {group!r} of {queue!r} has {waiting} waiting jobs (limit {limit})"
        super().__init__(f"{said}. Retry later or raise Group(size=).")


class JobStateError(StreamqError):
    """The verb does not fit the state the job is in; nothing was changed."""

    def __init__(self, job_id: str, verb: str, state: str, remedy: str = "") -> None:
        self.job_id = job_id
        self.verb = verb
        self.state = state
        super().__init__(f"cannot {verb} job {job_id}: it is {state}" + (f"; {remedy}" if remedy else ""))


class ScheduleUnknown(StreamqError):
    """No schedule of that id is kept for this queue; ``removed`` tells whether there was one."""

    def __init__(self, queue: str, schedule_id: str, *, removed: bool = False, hint: str = "") -> None:
        self.queue = queue
        self.schedule_id = schedule_id
        self.removed = removed
        said = "was removed; upsert brings it back" if removed else f"does not exist{hint}"
        super().__init__(f"schedule {schedule_id!r} of queue {queue!r} {said}")


class ResultError(StreamqError):
    """There is no result to hand over. ``job_id`` says of which job."""

    def __init__(self, job_id: str, text: str) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id} {text}")


class JobDead(ResultError):
    """The job was given up on; it lies among the dead letters."""

    def __init__(self, job_id: str, reason: str, error_type: str = "", message: str = "") -> None:
        self.reason = reason
        self.error_type = error_type
        self.message = message
        said = f": {error_type}: {message}" if error_type else ""
        super().__init__(job_id, f"is dead ({reason}){said}; see queue.dlq.get({job_id!r})")


class JobCancelled(ResultError):
    """The job was cancelled, discarded or removed."""

    def __init__(self, job_id: str, reason: str = "") -> None:
        self.reason = reason
        super().__init__(job_id, "was cancelled" + (f": {reason}" if reason else ""))


class JobExpired(ResultError):
    """The job's ``expires_in`` passed before it could start."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, "expired before it could start")


class ResultExpired(ResultError):
    """The job has left no trace: it ended more than ``result_ttl`` ago, or never existed."""

    def __init__(self, job_id: str, result_ttl: float) -> None:
        self.result_ttl = result_ttl
        kept = f"results are kept {result_ttl:g} s (Queue(result_ttl=...))"
        super().__init__(job_id, f"has left no trace; {kept}, so whether it succeeded cannot be told")


class ResultUnavailable(ResultError):
    """The job completed, but its value could not be kept."""

    def __init__(self, job_id: str, problem: str) -> None:
        self.problem = problem
        super().__init__(job_id, f"completed, but its result was not kept: {problem}")


class JobUnknown(ResultError):
    """No trace of a job of this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, "is unknown to this queue")


class AppImportError(StreamqError):
    """The target, written module:attribute, does not lead to a Queue or Worker."""

    def __init__(self, target: str, problem: str, remedy: str) -> None:
        self.target = target
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"cannot load {target!r}: {problem}; {remedy}")
