"""What jobs are found by: the same words in the API, the command line and the dashboard. Pure: on what is known of one.

A search never looks at more than a bounded window of jobs (`reading.page`); this only says which of those fit.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

import msgspec

from ._core import condition, units
from ._core.condition import Condition
from ._core.options import Priority
from ._core.units import Seconds
from .errors import ConfigError
from .info import JobInfo


class JobFilter(TypedDict, total=False):
    """What jobs are found by; a job must fit everything that is given, and None is as good as not given.

    Completed jobs are remembered by id, name and time only: they never fit anything else.

    name: of the handler. tenant: whose job it is. id: the whole id, or how it ends. error: text in the reason, or in
    the type or message of an error that is kept. text: a word in id, name, tenant or error, capitals or not. priority:
    lane. attempts: at least so many runs have ended. since, until: when it ended, or was enqueued if it has not ended;
    an aware datetime, or so many seconds ago. worker: how the name of its worker begins. where: a condition on its
    arguments, such as ``Arg("country") == "GR"``.
    """

    name: str | None
    tenant: str | None
    id: str | None
    error: str | None
    text: str | None
    priority: Priority | None
    attempts: int | None
    since: Seconds | datetime | None
    until: Seconds | datetime | None
    worker: str | None
    where: Condition | None


class Search(msgspec.Struct, frozen=True):
    """A `JobFilter` after its checks; instants for ``since`` and ``until``."""

    name: str | None = None
    tenant: str | None = None
    id: str | None = None
    error: str | None = None
    text: str | None = None
    priority: Priority | None = None
    attempts: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    worker: str | None = None
    where: Condition | None = None

    @property
    def is_open(self) -> bool:
        """Whether it lets everything through."""
        return self == EVERY

    def passes(self, info: JobInfo) -> bool:
        """Whether a job is wanted."""
        return self._named(info) and self._timed(info) and self._told(info) and self._argued(info)

    def _named(self, info: JobInfo) -> bool:
        return (
            (self.name is None or info.name == self.name)
            and (self.tenant is None or info.tenant == self.tenant)
            and (self.id is None or info.id.endswith(self.id))
            and (self.priority is None or info.priority == self.priority)
            and (self.attempts is None or info.attempts >= self.attempts)
            and (self.worker is None or (info.worker or "").startswith(self.worker))
        )

    def _timed(self, info: JobInfo) -> bool:
        if self.since is None and self.until is None:
            return True
        when = info.finished_at or info.created_at
        if when is None:
            return False
        return (self.since is None or when >= self.since) and (self.until is None or when <= self.until)

    def _told(self, info: JobInfo) -> bool:
        if self.error is not None and not any(self.error in one for one in _errors(info)):
            return False
        if self.text is None:
            return True
        wanted = self.text.casefold()
        return any(wanted in one.casefold() for one in (info.id, info.name, info.tenant or "", *_errors(info)))

    def _argued(self, info: JobInfo) -> bool:
        return self.where is None or (info.args is not None and self.where.matches(info.args))


EVERY = Search()


def check(given: JobFilter) -> Search:
    """Return ``given`` checked; raises `ConfigError` naming filter, value and remedy."""
    for option, value in given.items():
        if option not in JobFilter.__annotations__:
            raise ConfigError(option, value, f"is no filter; there are {', '.join(JobFilter.__annotations__)}")
    for option in ("name", "tenant", "id", "error", "text", "worker"):
        value = given.get(option)
        if value is not None and not isinstance(value, str):
            raise ConfigError(option, value, "give text")
    priority, where = given.get("priority"), given.get("where")
    attempts: Any = given.get("attempts")
    # Callers may be untyped.
    if priority is not None and not isinstance(priority, Priority):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError("priority", priority, "use Priority.CRITICAL, HIGH, NORMAL, LOW or BACKGROUND")
    if attempts is not None and (isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 0):
        raise ConfigError("attempts", attempts, "counts runs that have ended: a whole number from 0")
    return Search(
        name=given.get("name"),
        tenant=given.get("tenant"),
        id=given.get("id"),
        error=given.get("error"),
        text=given.get("text"),
        priority=priority,
        attempts=attempts,
        since=_instant("since", given.get("since")),
        until=_instant("until", given.get("until")),
        worker=given.get("worker"),
        where=None if where is None else condition.checked("where", where),
    )


def _instant(option: str, value: Seconds | datetime | None) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        units.instant_ms(option, value)  # refuses one without a time zone
        return value
    return datetime.now(UTC) - timedelta(seconds=units.seconds(option, value))


def _errors(info: JobInfo) -> list[str]:
    return [info.reason, *(f"{one.type}: {one.message}" for one in info.errors)]
