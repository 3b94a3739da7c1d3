"""What went wrong, as data: from an exception to RFC 9457 problem details."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException

from .. import errors
from .away import Away
from .roster import QueueUnknown


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Problem details.

    type: "about:blank", so ``title`` is the status in words. detail: what happened, and what to do. error: the
    library's class of it. option: which option of a request was wrong. job_id: which job it is about. away: facts of a
    server that cannot be used. id: of a defect, as the log has it.
    """

    status: int
    title: str
    type: str = "about:blank"
    detail: str = ""
    instance: str = ""
    error: str = ""
    option: str = ""
    job_id: str = ""
    away: Away | None = None
    id: str = ""


class Refusal(HTTPException):
    """A request that is refused, and the error's name for programs."""

    def __init__(self, status: int, error: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, headers)
        self.error = error


_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    # The first that fits: a subclass stands before its base.
    (errors.PayloadTooLarge, 413),
    (errors.InvalidPayload, 422),
    (errors.ConfigError, 422),
    (QueueUnknown, 404),
    (errors.RedisUnavailable, 503),
    (errors.ServerUnfit, 503),
    (errors.EnqueueError, 503),
    (errors.JobStateError, 409),
    (errors.ScheduleUnknown, 404),
    (errors.ResultError, 404),
)


def status_of(problem: BaseException) -> int:
    """Return the status an exception is answered with; 500 for a defect."""
    if isinstance(problem, HTTPException):
        return problem.status_code
    return next((status for kind, status in _STATUS if isinstance(problem, kind)), 500)


def headers_of(problem: BaseException) -> dict[str, str]:
    """Return the headers that go with the answer to an exception."""
    if isinstance(problem, HTTPException):
        return dict(problem.headers or {})
    if isinstance(problem, errors.EnqueueError | errors.RedisUnavailable):
        return {"Retry-After": "2"}
    return {}


def problem_of(problem: BaseException, *, instance: str = "", away: Away | None = None, defect: str = "") -> Problem:
    """Return the details of an exception. Those of a defect say nothing of it but ``defect``, its id in the log."""
    status = status_of(problem)
    try:
        title = http.HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    if status == 500:
        detail = f"this is a defect of the dashboard; the log has it as {defect}. Jobs are untouched by it."
        return Problem(status=status, title=title, detail=detail, instance=instance, error="Defect", id=defect)
    found = Problem(
        status=status, title=title, detail=_text(problem), instance=instance, error=_name(problem), away=away
    )
    if isinstance(problem, errors.ConfigError):
        found.option = problem.option
    job_id: Any = getattr(problem, "job_id", "")
    found.job_id = job_id if isinstance(job_id, str) else ""
    return found


def _name(problem: BaseException) -> str:
    if isinstance(problem, Refusal):
        return problem.error
    return "" if isinstance(problem, HTTPException) else type(problem).__name__


def _text(problem: BaseException) -> str:
    text = problem.detail if isinstance(problem, HTTPException) else str(problem)
    return text if len(text) <= 2000 else f"{text[:2000]}..."
