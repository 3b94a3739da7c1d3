"""The nouns of the service."""

from enum import StrEnum

import msgspec


class Channel(StrEnum):
    """How a notification reaches its user."""

    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"
    IN_APP = "in_app"


class Status(StrEnum):
    """Where a notification is; SENT and FAILED are final until somebody retries or replays."""

    PENDING = "PENDING"
    SENT = "SENT"
    FAILED = "FAILED"


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one user over one channel; also the job's payload. ``to``: address, number, device or user."""

    id: str
    user_id: str
    notification_type_id: str
    channel: Channel
    to: str
    data: dict[str, str]
    metadata: dict[str, str] = {}


class Row(msgspec.Struct, frozen=True):
    """What the database knows of a notification. ``attempts``: runs begun, over all of its jobs."""

    notification: Notification
    status: Status
    attempts: int
    error_message: str | None
    provider_id: str | None
    job_id: str
