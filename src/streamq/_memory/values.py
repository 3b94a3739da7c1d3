"""The keys of a broker: values of six types, and when they expire."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from .arguments import WRONG_TYPE, CommandError
from .streams import LAST, Stream, id_text


class Text:
    """A string."""

    __slots__ = ("data",)

    def __init__(self, data: bytes = b"") -> None:
        self.data = data


class Hash(dict[bytes, bytes]):
    """Fields and values, in the order they came."""


class List(deque[bytes]):
    """A list."""


class Set(dict[bytes, None]):
    """A set, in the order its members came."""


class SortedSet:
    """Members by score, equal ones by their bytes."""

    __slots__ = ("order", "scores")

    def __init__(self) -> None:
        self.scores: dict[bytes, float] = {}
        self.order: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self.order)

    def put(self, member: bytes, score: float) -> None:
        """Set a member's score."""
        self.remove(member)
        self.scores[member] = score
        insort(self.order, (score, member))

    def remove(self, member: bytes) -> bool:
        """Take a member out; whether it was there."""
        score = self.scores.pop(member, None)
        if score is None:
            return False
        del self.order[self.rank(member, score)]
        return True

    def rank(self, member: bytes, score: float) -> int:
        """Return where a member of this score stands."""
        return bisect_left(self.order, (score, member))


Value = Text | Hash | List | Set | SortedSet | Stream

NAMES: dict[type[Value], str] = {
    Text: "string", Hash: "hash", List: "list", Set: "set", SortedSet: "zset", Stream: "stream",
}  # fmt: skip

K = TypeVar("K", Text, Hash, List, Set, SortedSet, Stream)


def nobody_hears(channel: bytes, message: bytes) -> int:
    """Publish where there are no subscribers."""
    del channel, message
    return 0


class Keyspace:
    """All keys. ``now_us`` stands still for the length of a command or script; ``random`` is for HRANDFIELD."""

    def __init__(self, seed: int = 0) -> None:
        self.now_us = 0
        self.random = random.Random(seed)  # noqa: S311 - the server's choice, repeatable
        self.publish: Callable[[bytes, bytes], int] = nobody_hears
        self._values: dict[bytes, Value] = {}
        self._until: dict[bytes, int] = {}

    @property
    def now_ms(self) -> int:
        """The time in whole milliseconds."""
        return self.now_us // 1000

    def get(self, key: bytes) -> Value | None:
        """Return the value of a key; one whose time is over goes."""
        until = self._until.get(key)
        if until is not None and until < self.now_ms:
            self.delete(key)
        return self._values.get(key)

    def find(self, key: bytes, kind: type[K]) -> K | None:
        """Return the value of a key if it has one, an error if it has another type."""
        value = self.get(key)
        if value is None or isinstance(value, kind):
            return value
        raise CommandError(WRONG_TYPE)

    def open(self, key: bytes, kind: type[K]) -> K:
        """Return the value of a key, a new one if there is none yet; an error if it has another type."""
        value = self.find(key, kind)
        if value is None:
            value = kind()
            self._values[key] = value
        return value

    def put(self, key: bytes, value: Value, until_ms: int | None = None) -> None:
        """Set a key, whatever it was, and when it expires (None: never)."""
        self._values[key] = value
        self._until.pop(key, None)
        if until_ms is not None:
            self._until[key] = until_ms

    def delete(self, key: bytes) -> bool:
        """Delete a key; whether it was there."""
        self._until.pop(key, None)
        return self._values.pop(key, None) is not None

    def clear(self) -> None:
        """Delete every key."""
        self._values.clear()
        self._until.clear()

    def tidy(self, key: bytes, value: Hash | List | Set | SortedSet) -> None:
        """Delete a key whose value has become empty."""
        if not len(value):
            self.delete(key)

    def until(self, key: bytes) -> int | None:
        """Return the ms at which a key expires, None for never."""
        return self._until.get(key)

    def names(self) -> list[bytes]:
        """Return all keys that have not expired, sorted."""
        return sorted(key for key in list(self._values) if self.get(key) is not None)

    def dump(self) -> dict[bytes, tuple[str, Any, int | None]]:
        """Return everything: type, plain value and time of expiry (ms) of each key."""
        return {
            key: (NAMES[type(self._values[key])], plain(self._values[key]), self.until(key)) for key in self.names()
        }


def plain(value: Value) -> Any:
    """Return a value made of bytes, numbers, lists and dicts, to be compared."""
    if isinstance(value, Text):
        return value.data
    if isinstance(value, Hash):
        return dict(value)
    if isinstance(value, List):
        return list(value)
    if isinstance(value, Set):
        return sorted(value)
    if isinstance(value, SortedSet):
        return [(member, score) for score, member in value.order]
    return {
        "entries": [(id_text(one), value.entries[one]) for one in value.entries.between((0, 0), LAST)],
        "last": id_text(value.last),
        "groups": {
            name: {
                "last": id_text(group.last),
                "consumers": sorted(group.consumers),
                "pending": [
                    (id_text(one), group.pending[one].owner, group.pending[one].since_ms, group.pending[one].count)
                    for one in group.pending.between((0, 0), LAST)
                ],
            }
            for name, group in sorted(value.groups.items())
        },
    }
