"""Rows in SQLite. A write of a run that has lost its job is refused by the fence."""

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .models import Channel, Notification, Row, Status

SCHEMA = """
CREATE TABLE IF NOT EXISTS notifications (
    id            TEXT PRIMARY KEY,
    channel       TEXT NOT NULL,
    notification  TEXT NOT NULL,                -- everything the job carries, as JSON
    status        TEXT NOT NULL CHECK (status IN ('PENDING', 'SENT', 'FAILED')),
    attempts      INTEGER NOT NULL DEFAULT 0,
    error_message TEXT,
    provider_id   TEXT,
    job_id        TEXT NOT NULL UNIQUE,         -- the job that may write this row
    fence         INTEGER NOT NULL DEFAULT -1,  -- the latest run of it that has begun
    updated_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE INDEX IF NOT EXISTS notifications_by_status ON notifications (status);
CREATE TRIGGER IF NOT EXISTS touched AFTER UPDATE OF status, attempts ON notifications BEGIN
    UPDATE notifications SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = NEW.id;
END;
CREATE TABLE IF NOT EXISTS inbox (
    notification_id TEXT PRIMARY KEY,
    user_id         TEXT NOT NULL,
    title           TEXT NOT NULL,
    body            TEXT NOT NULL
);
"""


class SupersededError(Exception):
    """Another run has this notification now; what this one wanted to write was refused."""


class Run(NamedTuple):
    """One run of a job. streamq raises the fence with every take of the job, so a later run has a higher one."""

    job_id: str
    fence: int


class Store:
    """The service's database: WAL, one connection, safe to call from any thread.

    `begin` takes a row for a run; from then on no earlier run can write it, however late it wakes up.
    """

    def __init__(self, path: str | Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(SCHEMA)

    # -- by the worker

    def begin(self, run: Run) -> bool:
        """Take the job's row for a run; False if it says SENT already. Raises `SupersededError`."""
        if self._change(
            "UPDATE notifications SET fence = ?, status = 'PENDING', attempts = attempts + 1"
            " WHERE job_id = ? AND fence < ? AND status != 'SENT'",
            (run.fence, run.job_id, run.fence),
        ):
            return True
        if self._all("SELECT 1 FROM notifications WHERE job_id = ? AND status = 'SENT'", (run.job_id,)):
            return False
        raise SupersededError(f"{run} may not begin: the row belongs to a later run or another job")

    def sent(self, run: Run, provider_id: str) -> None:
        """End the run well."""
        self._end(run, Status.SENT, None, provider_id)

    def failed(self, run: Run, error: str, *, final: bool) -> None:
        """End the run with an error; unless ``final`` there will be another."""
        self._end(run, Status.FAILED if final else Status.PENDING, error, None)

    def deliver(self, notification: Notification, title: str, body: str) -> str:
        """Put a notification into its user's inbox, once however often this is called; returns its id there."""
        self._change(
            "INSERT INTO inbox VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (notification.id, notification.user_id, title, body),
        )
        return f"inbox-{notification.id}"

    def _end(self, run: Run, status: Status, error: str | None, provider_id: str | None) -> None:
        if not self._change(
            "UPDATE notifications SET status = ?, error_message = ?, provider_id = ?"
            " WHERE job_id = ? AND fence = ? AND status = 'PENDING'",
            (status, error, provider_id, *run),
        ):
            raise SupersededError(f"{run} may not write {status}: the row belongs to a later run or another job")

    # -- by the service

    def add(self, notifications: Iterable[Notification]) -> None:
        """Store new notifications as PENDING, all or none; the job of each has the notification's id."""
        rows = [(one.id, one.channel, msgspec.json.encode(one).decode(), one.id) for one in notifications]
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(
                    "INSERT INTO notifications (id, channel, notification, job_id, status)"
                    " VALUES (?, ?, ?, ?, 'PENDING')",
                    rows,
                )
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def reopen(self, notification_id: str, job_id: str) -> bool:
        """Give a FAILED row, PENDING again, to another job; False if it was not FAILED (any more)."""
        return self._change(
            "UPDATE notifications SET status = 'PENDING', error_message = 'Scheduled for retry', job_id = ?, fence = -1"
            " WHERE id = ? AND status = 'FAILED'",
            (job_id, notification_id),
        )

    def mark(self, job_id: str, source: Status, target: Status, why: str) -> bool:
        """Move the row of a job that is not running; False if it was not in ``source``."""
        return self._change(
            "UPDATE notifications SET status = ?, error_message = ? WHERE job_id = ? AND status = ?",
            (target, why, job_id, source),
        )

    def get(self, notification_id: str) -> Row | None:
        """Return one row, None if there is none."""
        found = self._all(
            "SELECT notification, status, attempts, error_message, provider_id, job_id FROM notifications WHERE id = ?",
            (notification_id,),
        )
        return _row(found[0]) if found else None

    def with_status(self, status: Status) -> list[Row]:
        """Return the rows of a status."""
        found = self._all(
            "SELECT notification, status, attempts, error_message, provider_id, job_id FROM notifications"
            " WHERE status = ? ORDER BY id",
            (status,),
        )
        return [_row(one) for one in found]

    def totals(self) -> Counter[tuple[Channel, Status]]:
        """Count rows by channel and status."""
        found = self._all("SELECT channel, status, count(*) FROM notifications GROUP BY channel, status")
        return Counter({(Channel(channel), Status(status)): count for channel, status, count in found})

    def count(self, status: Status) -> int:
        """Count the rows of a status."""
        return int(self._all("SELECT count(*) FROM notifications WHERE status = ?", (status,))[0][0])

    # -- the connection

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _change(self, sql: str, values: Sequence[Any]) -> bool:
        with self._lock:
            return self._connection.execute(sql, values).rowcount > 0


def _row(found: tuple[Any, ...]) -> Row:
    text, status, *rest = found
    return Row(msgspec.json.decode(text, type=Notification), Status(status), *rest)
