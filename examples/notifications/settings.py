"""Configuration from the environment. REDIS_HOST, REDIS_PORT and REDIS_PASSWORD are read by streamq itself."""

import os
from collections.abc import Mapping
from typing import Self

import msgspec


class Settings(msgspec.Struct, frozen=True):
    """Each field is the variable of its name; the first three are JOB_CONCURRENCY, JOB_ATTEMPT_LIMIT and JOB_BACKOFF.

    backoff and provider_timeout: seconds.
    """

    concurrency: int = 5
    attempt_limit: int = 3
    backoff: float = 5.0
    database_path: str = "notifications.sqlite3"
    smtp_host: str = "localhost"
    smtp_port: int = 25
    smtp_from: str = "Smarter Firms <no-reply@notifications.example>"
    provider_url: str = "http://localhost:8025"
    provider_timeout: float = 5.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read what is set; raises `msgspec.ValidationError` naming what cannot be right."""
        named = {field: environ.get(_VARIABLES.get(field, field.upper())) for field in cls.__struct_fields__}
        return msgspec.convert({field: value for field, value in named.items() if value}, cls, strict=False)


_VARIABLES = {"concurrency": "JOB_CONCURRENCY", "attempt_limit": "JOB_ATTEMPT_LIMIT", "backoff": "JOB_BACKOFF"}
