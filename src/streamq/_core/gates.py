"""Names of gates: what a job waits for, as text that scripts can take apart and people can read.

``q`` the queue, ``g:<group>`` a group, ``h.<handler>`` a handler, ``r.<limit>`` a named limit of the queue,
``r.<handler>=<value>`` a handler's rate limit for one key, ``k.<handler>=<value>`` its concurrency for one key,
``d.<key>`` the one place of a keep_last key, ``cb.<name>`` a circuit breaker. What stands before ``=`` (or ``g``) is
the class of a gate: what is declared for a class holds for each of its gates.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, date, datetime
from enum import Enum
from uuid import UUID

from ..errors import ConfigError

QUEUE = "q"
GROUPS = "g"
"""Class of the gates of groups."""

MOST_BYTES = 128
"""Longest value in a gate's name, in bytes of UTF-8."""

SEPARATOR = ">"
"""Stands between the gates in the name of a line, therefore in no gate."""

_UNSAFE = re.compile("[^ -~]|[%>]")


def group(name: str) -> str:
    """Return the gate of a group."""
    return "g:" + safe(name)


def handler(name: str) -> str:
    """Return the gate of a handler."""
    return "h." + name


def limit(name: str) -> str:
    """Return the gate of a named limit; with a handler's name, the class of its rate limit by key."""
    return "r." + name


def breaker(name: str) -> str:
    """Return the gate of a circuit breaker."""
    return "cb." + name


def keyed_rate(handler_name: str, value: str) -> str:
    """Return the gate of a handler's rate limit for one key."""
    return f"r.{handler_name}={safe(value)}"


def keys(handler_name: str) -> str:
    """Return the class of a handler's concurrency by key."""
    return "k." + handler_name


def keyed_slots(handler_name: str, value: str) -> str:
    """Return the gate of a handler's concurrency for one key."""
    return f"k.{handler_name}={safe(value)}"


def latest(key: str) -> str:
    """Return the gate of a keep_last key, one at a time by nature; the name of its line, too."""
    return "d." + safe(key)


def batch(handler_name: str, value: str) -> str:
    """Return the line of a batch."""
    return f"b.{handler_name}={safe(value)}"


def checked(option: str, value: object) -> str:
    """Return a name that a person chose (a group, a rate key, a dedup key): 1 to 128 bytes of printable text."""
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value.encode()) <= MOST_BYTES:
        raise ConfigError(option, value, f"use 1 to {MOST_BYTES} bytes of printable text")
    return value


def text(value: object) -> str | None:
    """Return the text of a value of an argument that is to be a key; None if its type has no single spelling.

    Text, whole numbers, True and False, UUIDs, dates and enums of these have one. A float and a Decimal have not (1 and
    1.0 would be two keys), nor have None and containers.
    """
    if isinstance(value, Enum):
        return text(value.value)
    if isinstance(value, str):
        return value
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID) or (isinstance(value, int) and -(2**63) <= value < 2**64):
        return str(value)
    return None


def shortened(value: str) -> str:
    """Return ``value`` if it has at most 128 bytes, else its beginning and a digest: keys come from data."""
    data = value.encode("utf-8", "surrogatepass")
    if len(data) <= MOST_BYTES:
        return value
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    return f"{data[: MOST_BYTES - 33].decode('utf-8', 'ignore')}#{digest}"


def safe(value: str) -> str:
    """Return ``value`` with control characters, ``%`` and ``>`` written as ``%3E``; other text stays as it is.

    One to one, so that no two values share a gate.
    """
    if value.isprintable() and "%" not in value and SEPARATOR not in value:
        return value
    return _UNSAFE.sub(_escaped, value)


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    if char.isprintable() and char not in "%>":
        return char
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
