"""Streams with their groups: entries by id, and who holds which of them since when."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from typing import Final, Generic, TypeVar

from .arguments import CommandError

Id = tuple[int, int]
"""Milliseconds and number."""

MOST: Final = 2**64 - 1
LAST: Final[Id] = (MOST, MOST)
BAD_ID: Final = "ERR Invalid stream ID specified as stream command argument"

_ID = re.compile(rb"([0-9]{1,20})(?:-([0-9]{1,20}))?")

V = TypeVar("V")


class ById(Generic[V]):
    """Values by id, walked in the order of ids."""

    __slots__ = ("_order", "_values")

    def __init__(self) -> None:
        self._values: dict[Id, V] = {}
        self._order: list[Id] = []

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, entry: Id) -> bool:
        return entry in self._values

    def __getitem__(self, entry: Id) -> V:
        return self._values[entry]

    def get(self, entry: Id) -> V | None:
        """Return the value of an id, None for one that is not there."""
        return self._values.get(entry)

    def put(self, entry: Id, value: V) -> None:
        """Set the value of an id."""
        if entry not in self._values:
            if self._order and entry < self._order[-1]:
                insort(self._order, entry)
            else:
                self._order.append(entry)
        self._values[entry] = value

    def drop(self, entry: Id) -> V | None:
        """Take an id out; returns its value, None when it was not there."""
        if entry not in self._values:
            return None
        del self._order[bisect_left(self._order, entry)]
        return self._values.pop(entry)

    def between(self, start: Id, end: Id, count: int | None = None, *, backwards: bool = False) -> list[Id]:
        """Return the ids from ``start`` to ``end``, both included, at most ``count``."""
        low, high = bisect_left(self._order, start), bisect_right(self._order, end)
        if backwards:
            if count is not None:
                low = max(low, high - count)
            return self._order[low:high][::-1]
        if count is not None:
            high = min(high, low + count)
        return self._order[low:high]


class Pending:
    """An entry in somebody's hands: whose, since when (ms), how often it was delivered."""

    __slots__ = ("count", "owner", "since_ms")

    def __init__(self, owner: bytes, since_ms: int, count: int) -> None:
        self.owner = owner
        self.since_ms = since_ms
        self.count = count


class Group:
    """A consumer group. ``last``: what was delivered up to here."""

    __slots__ = ("consumers", "last", "pending")

    def __init__(self, last: Id) -> None:
        self.last = last
        self.consumers: dict[bytes, int] = {}
        """When each was last seen (ms)."""
        self.pending: ById[Pending] = ById()

    def hand(self, entry: Id, consumer: bytes, since_ms: int, count: int) -> None:
        """Put an entry into a consumer's hands, whoever had it."""
        self.consumers.setdefault(consumer, since_ms)
        self.pending.put(entry, Pending(consumer, since_ms, count))

    def forget(self, consumer: bytes) -> int:
        """Take everything from a consumer; returns how many entries it held."""
        held = [one for one in self.pending.between((0, 0), LAST) if self.pending[one].owner == consumer]
        for one in held:
            self.pending.drop(one)
        return len(held)

    def by_consumer(self) -> dict[bytes, int]:
        """Return how many entries each consumer holds that holds any, by name."""
        found: dict[bytes, int] = {}
        for entry in self.pending.between((0, 0), LAST):
            owner = self.pending[entry].owner
            found[owner] = found.get(owner, 0) + 1
        return dict(sorted(found.items()))


class Stream:
    """A stream: fields by id, and its groups. It stays when it is empty."""

    __slots__ = ("entries", "groups", "last")

    def __init__(self) -> None:
        self.entries: ById[tuple[bytes, ...]] = ById()
        self.groups: dict[bytes, Group] = {}
        self.last: Id = (0, 0)

    def __bool__(self) -> bool:
        return True

    def add(self, fields: tuple[bytes, ...], now_ms: int, given: Id | None = None) -> Id:
        """Append an entry under the next id, or the one given."""
        ms, number = self.last
        self.last = given or ((now_ms, 0) if now_ms > ms else (ms, number + 1))
        self.entries.put(self.last, fields)
        return self.last


def id_text(entry: Id) -> bytes:
    """Return an id as it is replied."""
    return b"%d-%d" % entry


def parse_id(text: bytes, number: int = 0) -> Id:
    """Return an id; ``number`` is for one without."""
    found = _ID.fullmatch(text)
    if found is None:
        raise CommandError(BAD_ID)
    entry = int(found[1]), number if found[2] is None else int(found[2])
    if max(entry) > MOST:
        raise CommandError(BAD_ID)
    return entry


def start_of(text: bytes) -> Id:
    """Return the first id of an interval: ``-``, an id, or ``(`` and an id."""
    if text in {b"-", b"+"}:
        return (0, 0) if text == b"-" else LAST
    if text[:1] != b"(":
        return parse_id(text)
    ms, number = parse_id(text[1:])
    if (ms, number) == LAST:
        raise CommandError("ERR invalid start ID for the interval")
    return (ms, number + 1) if number < MOST else (ms + 1, 0)


def end_of(text: bytes) -> Id:
    """Return the last id of an interval: ``+``, an id, or ``(`` and an id."""
    if text in {b"-", b"+"}:
        return (0, 0) if text == b"-" else LAST
    if text[:1] != b"(":
        return parse_id(text, MOST)
    ms, number = parse_id(text[1:], 0)
    if (ms, number) == (0, 0):
        raise CommandError("ERR invalid end ID for the interval")
    return (ms, number - 1) if number else (ms - 1, MOST)
