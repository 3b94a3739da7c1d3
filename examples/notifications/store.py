"""Rows in SQLite. A write of a run that has lost its job is refused by the fence."""

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

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
    created_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE INDEX IF NOT EXISTS notifications_by_status ON notifications (status);
CREATE TABLE IF NOT EXISTS inbox (
    notification_id TEXT PRIMARY KEY,
    user_id         TEXT NOT NULL,
    title           TEXT NOT NULL,
    body            TEXT NOT NULL
);
"""
TOUCHED = "updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"


class SupersededError(Exception):
    """Another run has this notification now; what this one wanted to write was refused."""


class Store:
    """The service's database: WAL, one connection, safe to call from any thread.

    A run is named by its job and its fence, which streamq raises with every take of a job. ``begin`` takes the row for a
    run; from then on only that run may write it.
    """

    def __init__(self, path: str | Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(SCHEMA)

    # -- by the worker --------------------------------------------------------------------------------------------------

    def begin(self, notification_id: str, job_id: str, fence: int) -> bool:
        """Take the row for a run; False if the notification has been sent already. Raises `SupersededError`."""
        taken = self._change(
            f"UPDATE notifications SET fence = ?, status = 'PENDING', attempts = attempts + 1, {TOUCHED}"
            " WHERE id = ? AND job_id = ? AND fence < ? AND status != 'SENT'",
            (fence, notification_id, job_id, fence),
        )
        if taken:
            return True
        row = self.get(notification_id)
        if row is not None and row.job_id == job_id and row.status is Status.SENT:
            return False
        raise SupersededError(f"run {fence} of job {job_id} may not begin {notification_id}")

    def sent(self, notification_id: str, job_id: str, fence: int, provider_id: str) -> None:
        """End the run well."""
        self._write(notification_id, job_id, fence, Status.SENT, None, provider_id)

    def failed(self, notification_id: str, job_id: str, fence: int, error: str, *, final: bool) -> None:
        """End the run with an error; unless ``final`` it will be run again."""
        self._write(notification_id, job_id, fence, Status.FAILED if final else Status.PENDING, error, None)

    def deliver(self, notification: Notification, title: str, body: str) -> str:
        """Put a notification into its user's inbox, once however often it is called; returns its id there."""
        self._change(
            "INSERT INTO inbox VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (notification.id, notification.user_id, title, body),
        )
        return f"inbox-{notification.id}"

    def _write(self, id_: str, job_id: str, fence: int, status: Status, error: str | None, provider: str | None) -> None:
        if not self._change(
            f"UPDATE notifications SET status = ?, error_message = ?, provider_id = ?, {TOUCHED}"
            " WHERE id = ? AND job_id = ? AND fence = ? AND status = 'PENDING'",
            (status, error, provider, id_, job_id, fence),
        ):
            raise SupersededError(f"run {fence} of job {job_id} may not write {status} to {id_}")

    # -- by the service -------------------------------------------------------------------------------------------------

    def add(self, notifications: Iterable[Notification]) -> None:
        """Store new notifications as PENDING, all or none; the job of each has the notification's id."""
        rows = [(one.id, one.channel, msgspec.json.encode(one).decode(), one.id) for one in notifications]
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(
                    "INSERT INTO notifications (id, channel, notification, status, job_id) VALUES (?, ?, ?, 'PENDING', ?)",
                    rows,
                )
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def reopen(self, notification_id: str, job_id: str) -> bool:
        """Make a FAILED row PENDING under another job; False if it was not FAILED (any more)."""
        return self._change(
            "UPDATE notifications SET status = 'PENDING', error_message = 'Scheduled for retry', job_id = ?, fence = -1,"
            f" {TOUCHED} WHERE id = ? AND status = 'FAILED'",
            (job_id, notification_id),
        )

    def mark(self, job_id: str, source: Status, target: Status, error: str) -> bool:
        """Move the row of a job that nobody runs; False if it was not in ``source``."""
        return self._change(
            f"UPDATE notifications SET status = ?, error_message = ?, {TOUCHED} WHERE job_id = ? AND status = ?",
            (target, error, job_id, source),
        )

    def get(self, notification_id: str) -> Row | None:
        """Return one row, None if there is none."""
        found = self._rows("WHERE id = ?", (notification_id,))
        return found[0] if found else None

    def with_status(self, status: Status) -> list[Row]:
        """Return the rows of a status."""
        return self._rows("WHERE status = ? ORDER BY id", (status,))

    def totals(self) -> Counter[tuple[Channel, Status]]:
        """Count rows by channel and status."""
        found = self._all("SELECT channel, status, count(*) FROM notifications GROUP BY channel, status")
        return Counter({(Channel(channel), Status(status)): count for channel, status, count in found})

    def count(self, status: Status) -> int:
        """Count the rows of a status."""
        return int(self._all("SELECT count(*) FROM notifications WHERE status = ?", (status,))[0][0])

    # -- the connection -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _rows(self, where: str, values: Sequence[Any]) -> list[Row]:
        columns = "notification, status, attempts, error_message, provider_id, job_id"
        found = self._all(f"SELECT {columns} FROM notifications {where}", values)
        return [Row(msgspec.json.decode(text, type=Notification), Status(status), *rest) for text, status, *rest in found]

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _change(self, sql: str, values: Sequence[Any]) -> bool:
        with self._lock:
            return self._connection.execute(sql, values).rowcount > 0
