"""Which dead letters died of the same: by handler, type of the error, and its message with what varies left out."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

HALF_HOURS = 48
"""Of the history of a group: 24 hours."""

SHARED = 500
"""Newest letters of a group by which shares are told."""

MESSAGE = 300
"""Characters of a message by which letters are told apart."""

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

    name: str
    type: str
    message: str
    died_ms: int
    id: str
    tenant: str
    worker: str
    fields: Callable[[], Mapping[str, str]]


class Found(msgspec.Struct, frozen=True):
    """A group as far as it was looked at: newest letter first."""

    key: str
    name: str
    type: str
    message: str
    count: int
    first_ms: int
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


def key(name: str, kind: str, message: str) -> str:
    """Return the key of the group that a letter belongs to; ``message`` as it was."""
    return _key(name, kind, plain(message))


def _key(name: str, kind: str, text: str) -> str:
    data = f"{name}\0{kind}\0{text}".encode("utf-8", "replace")
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()[:12]


class Grouping:
    """Takes deaths, newest first, and tells their groups."""

    def __init__(self, now_ms: int) -> None:
        self._now = now_ms
        self._groups: dict[str, _Group] = {}
        self._plain: dict[tuple[str, str, str], tuple[str, str]] = {}

    def add(self, death: Death) -> None:
        """Count one."""
        same = (death.name, death.type, death.message)
        known = self._plain.get(same)
        if known is None:
            text = plain(death.message)
            known = (_key(death.name, death.type, text), text)
            if len(self._plain) < 10_000:
                self._plain[same] = known
        group = self._groups.get(known[0])
        if group is None:
            group = self._groups[known[0]] = _Group(death, known[1])
        group.add(death, self._now)

    def found(self) -> list[Found]:
        """Return the groups, the largest first, then the newest."""
        groups = [group.found(name) for name, group in self._groups.items()]
        return sorted(groups, key=lambda one: (-one.count, -one.newest_ms, one.key))


class _Group:
    __slots__ = ("count", "first", "half_hours", "newest", "newest_id", "shared", "shares", "text", "type", "where")

    def __init__(self, death: Death, text: str) -> None:
        self.where = death.name
        self.type = death.type
        self.text = text
        self.count = 0
        self.newest = death.died_ms
        self.newest_id = death.id
        self.first = death.died_ms
        self.half_hours = [0] * HALF_HOURS
        self.shares: dict[str, Counter[str]] = {}
        self.shared = 0

    def add(self, death: Death, now_ms: int) -> None:
        self.count += 1
        self.first = min(self.first, death.died_ms)
        back = max(0, now_ms - death.died_ms) // 1_800_000
        if back < HALF_HOURS:
            self.half_hours[HALF_HOURS - 1 - back] += 1
        if self.shared < SHARED:
            self.shared += 1
            for name, value in (("tenant", death.tenant), ("worker", death.worker), *death.fields().items()):
                if value:
                    self.shares.setdefault(name, Counter())[value] += 1

    def found(self, key_: str) -> Found:
        shares = {
            name: counter.most_common(3) for name, counter in self.shares.items() if self._is_telling(name, counter)
        }
        return Found(
            key_, self.where, self.type, self.text, self.count, self.first, self.newest, self.newest_id,
            tuple(self.half_hours), shares, self.shared,
        )  # fmt: skip

    def _is_telling(self, name: str, counter: Counter[str]) -> bool:
        """Whether a share says something: tenant and worker do, a payload field when one value is in nearly all."""
        if name in {"tenant", "worker"}:
            return len(counter) <= 50
        return counter.most_common(1)[0][1] >= 0.9 * self.shared and self.shared > 1
