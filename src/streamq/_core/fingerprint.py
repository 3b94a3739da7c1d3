"""Which dead letters died of the same: by handler, type of the error, and its message with what varies left out."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from .envelope import AttemptError

HALF_HOURS = 48
"""Of the history of a group: 24 hours."""

SHARED = 500
"""Newest letters of a group by which shares are told."""

MESSAGE = 300
"""Characters of a message by which letters are told apart."""

PART = 200
"""Characters of the name of a handler, and of a type, in a label."""

OTHER = b"other"
"""Label of those that are not told apart: of groups beyond the thousandth (lua/_deaths.lua)."""

_VARIES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+\b"), "ADDRESS"),
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s'\"<>]{1,200}", re.IGNORECASE), "URL"),
    (re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE), "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"), "TIME"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"), "IP"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "ID"),
    (re.compile(r"'[^']{1,200}'"), "'TEXT'"),
    (re.compile(r'"[^"]{1,200}"'), '"TEXT"'),
    (re.compile(r"\b(?=[0-9a-z_-]*\d)(?=[0-9a-z_-]*[a-z])[0-9a-z_-]{8,}\b", re.IGNORECASE), "ID"),
    (re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?![\w.]*\d)"), "N"),
)
"""What differs from one letter to the next of the same error, and the word that stands for it. The order matters."""


class Death(NamedTuple):
    """What of a dead letter decides its group, and what shares are told of. ``fields`` makes arguments by name."""

    label: bytes
    died_ms: int
    id: str
    tenant: str
    worker: str
    release: str
    fields: Callable[[], Mapping[str, str]]


class Found(NamedTuple):
    """What the letters of a group have in common, as far as they were looked at. ``half_hours``: oldest first."""

    newest_ms: int
    newest_id: str
    half_hours: tuple[int, ...]
    shares: dict[str, list[tuple[str, int]]]
    shared: int


def plain(message: str) -> str:
    """Return a message with numbers, ids, addresses and quoted text replaced by words in capitals."""
    text = " ".join(message[: 4 * MESSAGE].split())[:MESSAGE]
    for pattern, word in _VARIES:
        text = pattern.sub(word, text)
    return text


def label(name: str, kind: str, message: str) -> bytes:
    """Return the label under which a dead letter counts: handler, type of the error, what is alike in its message.

    Parts are cut, so that a label has some hundred bytes.
    """
    parts = (name[:PART], kind[:PART], plain(message)[: 2 * MESSAGE])
    return "\0".join(part.replace("\0", " ") for part in parts).encode("utf-8", "replace")


def died_of(name: str, reason: str, error: AttemptError | None) -> bytes:
    """Return the label of a job that dies: by its last error, or by the reason if no attempt failed."""
    if error is not None:
        return label(name, error.type, error.message)
    kind, _, rest = reason.partition(": ")
    return label(name, kind, rest)


def parted(one: bytes) -> tuple[str, str, str]:
    """Return handler, type of the error, and message of a label."""
    name, _, rest = one.decode("utf-8", "replace").partition("\0")
    kind, _, text = rest.partition("\0")
    return name, kind, text


@lru_cache(maxsize=1024)
def key(one: bytes) -> str:
    """Return the key by which people name the group of a label."""
    return hashlib.sha1(one, usedforsecurity=False).hexdigest()[:12]


class Grouping:
    """Takes deaths, newest first, and tells what those of a group have in common."""

    def __init__(self, now_ms: int) -> None:
        self._now = now_ms
        self._groups: dict[bytes, _Group] = {}

    def add(self, death: Death) -> None:
        """Note one."""
        group = self._groups.get(death.label)
        if group is None:
            group = self._groups[death.label] = _Group(death)
        group.add(death, self._now)

    def found(self) -> dict[bytes, Found]:
        """Return what was found, by label."""
        return {one: group.found() for one, group in self._groups.items()}


class _Group:
    __slots__ = ("half_hours", "newest", "shared", "shares")

    def __init__(self, newest: Death) -> None:
        self.newest = newest
        self.half_hours = [0] * HALF_HOURS
        self.shares: dict[str, Counter[str]] = {}
        self.shared = 0

    def add(self, death: Death, now_ms: int) -> None:
        back = max(0, now_ms - death.died_ms) // 1_800_000
        if back < HALF_HOURS:
            self.half_hours[HALF_HOURS - 1 - back] += 1
        if self.shared < SHARED:
            self.shared += 1
            told = {"release": death.release, "tenant": death.tenant, "worker": death.worker, **death.fields()}
            for name, value in told.items():
                if value:
                    self.shares.setdefault(name, Counter())[value] += 1

    def found(self) -> Found:
        shares = {
            name: counter.most_common(3) for name, counter in self.shares.items() if self._is_telling(name, counter)
        }
        return Found(self.newest.died_ms, self.newest.id, tuple(self.half_hours), shares, self.shared)

    def _is_telling(self, name: str, counter: Counter[str]) -> bool:
        """Whether a share says something: of a payload field only when one value is in nearly all."""
        if name in {"release", "tenant", "worker"}:
            return len(counter) <= 50
        return counter.most_common(1)[0][1] >= 0.9 * self.shared and self.shared > 1
