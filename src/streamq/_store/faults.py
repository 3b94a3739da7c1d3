"""Error replies of the server as errors for people: what happened, and what to do next."""

from __future__ import annotations

from ..errors import RedisUnavailable, ServerUnfit, StreamqError, VersionMismatch
from .link import ReplyError, redacted
from .scripts import PROTOCOL

_REMEDIES: dict[str, tuple[str, str]] = {
    "OOM": (
        "its memory is full (maxmemory)",
        "nothing was enqueued; drain the queue, purge dead letters or raise maxmemory",
    ),
    "NOPERM": (
        "the user lacks a permission ({text})",
        "grant it: the commands are listed in docs/reference/scripts.md",
    ),
    "NOAUTH": ("it wants a password", "put it into the url: redis://:password@host:6379/0"),
    "WRONGTYPE": (
        "a key of another type is in the way of queue {queue!r}",
        "choose another prefix (STREAMQ_PREFIX) or remove that key",
    ),
}


def server_error(url: str, queue: str, reply: ReplyError) -> StreamqError:
    """Return an error reply as an error that says what to do."""
    where = redacted(url)
    if reply.code == "SQVERSION":
        return VersionMismatch(where, queue, reply.text.rsplit(" ", 1)[-1], PROTOCOL)
    if reply.passes:
        return RedisUnavailable(where, f"{reply.code} {reply.text}")
    code = "WRONGTYPE" if "WRONGTYPE" in reply.text else reply.code
    problem, remedy = _REMEDIES.get(code, ("it answered {code} {text}", "see the server's log"))
    return ServerUnfit(where, problem.format(queue=queue, text=reply.text, code=reply.code), remedy)
