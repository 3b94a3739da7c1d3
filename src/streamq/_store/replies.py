"""Replies of the worker's verbs as values.

Ids, tokens and bodies stay bytes on this path; they become text where a person or a handler looks at them.
"""

from __future__ import annotations

from typing import NamedTuple

from .._core.lanes import Took
from .link import Reply, ReplyError

NEVER = 253_402_300_799_999
"""The last ms of the year 9999."""


class Taken(NamedTuple):
    """A job a worker got: ``body`` is None for an entry that is none of ours; ``deliveries`` how often handed out.

    ``mark`` is for jobs of lines: limited (to be dropped or buried), batch (first of one), or the entry of its first.
    """

    id: bytes
    token: bytes
    body: bytes | None
    deliveries: int
    mark: bytes = b""


class Fetched(NamedTuple):
    """Reply of fetch. ``why``: full, empty, paused, or an error text of one lane."""

    now_ms: int
    why: str
    jobs: list[Taken]


class Ticked(NamedTuple):
    """Reply of tick. ``next_due_ms`` is -1 when nothing is delayed; ``marks`` are ids asked to stop."""

    now_ms: int
    next_due_ms: int
    turn: bytes
    pending: int
    parked: int
    paused: bool
    stalled: list[Taken]
    marks: list[bytes]
    waiting: bool
    epoch: bytes = b"0"


class Promoted(NamedTuple):
    """Reply of promote."""

    now_ms: int
    promoted: int
    next_due_ms: int
    turn: bytes
    left: int


class Offer(NamedTuple):
    """Reply of take. ``alarm_ms`` -1: nothing opens by time; ``rules`` None: those of the epoch asked with hold."""

    fetched: Fetched
    alarm_ms: int
    epoch: bytes
    rules: dict[bytes, bytes] | None
    walk: list[Took]


def read_fetched(reply: Reply) -> Fetched:
    """Read the reply of fetch."""
    jobs = [_claimed(one) for one in reply[2]]
    for at in range(3, len(reply), 2):
        lane = reply[at]
        for entry, job, body in zip(*[iter(reply[at + 1])] * 3, strict=True):
            token = b"%b%b:0" % (lane, entry)
            if _is_id(job):
                jobs.append(Taken(job, token, body, 1))
            else:
                fields = [b"j", job, b"d", body] if job else body
                jobs.append(_claimed((lane, entry, fields, token, 1)))
    return Fetched(int(reply[0]), reply[1].decode(), jobs)


def read_offer(reply: Reply, epoch: bytes) -> Offer:
    """Read the reply of take, asked with ``epoch``."""
    now_ms = int(reply[0])
    walk = [
        Took(int(lane), count, max(0, now_ms - int(since)) / 1000)
        for lane, count, since in zip(*[iter(reply[6])] * 3, strict=True)
    ]
    rules = None if reply[4] == epoch else dict(zip(reply[5][::2], reply[5][1::2], strict=True))
    fetched = read_fetched([*reply[:3], *reply[7:]])
    return Offer(fetched, int(reply[3]), reply[4], rules, walk)


def read_walk(reply: Reply) -> tuple[int, list[Took]]:
    """Read from the reply of fetch how many jobs were adopted, and what the walk over the lanes gave, in its order."""
    now_ms = int(reply[0])
    walk: list[Took] = []
    for at in range(3, len(reply), 2):
        entries = reply[at + 1]
        walk.append(Took(int(reply[at]), len(entries) // 3, (now_ms - int(entries[0].split(b"-")[0])) / 1000))
    return len(reply[2]), walk


def read_ticked(reply: Reply) -> Ticked:
    """Read the reply of tick."""
    now, next_due, turn, pending, parked, paused, stalled, marks, waiting, epoch = reply
    jobs = [_claimed(one) for one in stalled]
    return Ticked(
        int(now), due_ms(next_due), turn, pending, parked, bool(paused), jobs, list(marks), bool(waiting), epoch
    )


def read_promoted(reply: Reply) -> Promoted:
    """Read the reply of promote."""
    return Promoted(int(reply[0]), reply[1], due_ms(reply[2]), reply[3], reply[4])


def read_unparked(reply: Reply) -> list[Taken]:
    """Read the reply of unpark."""
    return [_claimed(one) for one in reply[1:]]


def read_adopted(reply: Reply) -> list[Taken]:
    """Read the reply of adopt."""
    return [_claimed(one) for one in reply]


def read_own_pending(reply: Reply) -> set[bytes]:
    """Read the reply of own_pending: lane letter + entry id of each."""
    return {reply[at] + entry for at in range(0, len(reply), 2) for entry in reply[at + 1]}


def place_of(token: bytes) -> bytes:
    """Return lane letter + entry id of a token."""
    return token.split(b":", 1)[0]


def failed(reply: Reply) -> ReplyError | None:
    """Return the reply if it is an error."""
    return reply if type(reply) is ReplyError else None


def _claimed(one: Reply) -> Taken:
    lane, entry, fields, token, count, *mark = one
    found = {fields[at]: fields[at + 1] for at in range(0, len(fields) - 1, 2)}
    job, body = found.get(b"j"), found.get(b"d")
    if job is None or body is None or not _is_id(job):
        return Taken(b"raw-%b%b" % (lane, entry), token, None, count)
    return Taken(job, token, body, count, mark[0] if mark else b"")


def _is_id(job: bytes) -> bool:
    """Whether an id can be one of ours: people must be able to name it."""
    if not 0 < len(job) <= 1000:
        return False
    if job.isascii():
        return True
    try:
        job.decode()
    except UnicodeDecodeError:
        return False
    return True


def due_ms(text: bytes) -> int:
    """Return the score of a delayed job in ms; a foreign hand's may be anything, so that it never comes."""
    return int(min(max(float(text), -1), NEVER))
