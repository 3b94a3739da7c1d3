"""What the server holds, read anew only where a command changed it, as the `Snapshot` that the store's tests judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from streamq._memory import commands
from streamq._memory.broker import Broker
from streamq._memory.values import plain
from streamq._store.keys import Keys
from streamq._store.lines import LineRecord
from tests.store import lined
from tests.store.lined import Lines
from tests.store.snapshot import LETTERS, Entry, Snapshot, text

JOBS: Final = frozenset({"i", *(f"l{lane}" for lane in range(5)), "t", "d", "b", "p", "x", "xi", "xd", "w", "wd", "c"})
"""Keys that say where jobs are."""

FLOW: Final = frozenset({"f", "fl", *(f"f{lane}" for lane in range(5)), "fp", "fg", "fc", "fk", "fd", "fr", "fo"})
"""Keys of flow control."""


_lined: Any = lined  # its decoders


class State:
    """One queue partition on a broker. `refresh` reads what was written since the last time."""

    def __init__(self, broker: Broker, keys: Keys) -> None:
        self.keys = keys
        self.rows: dict[str, bytes] = {}
        self.delayed: dict[str, int] = {}
        self.lanes: dict[str, Sequence[Entry]] = dict.fromkeys(LETTERS, ())
        self.orphans: dict[str, Sequence[str]] = dict.fromkeys(LETTERS, ())
        self.wrote = False
        """Whether the last command wrote anything."""
        self._broker = broker
        self._memory: Any = broker
        self._seen = 0
        self._names = {key: name for name, key in self._every(keys).items()}
        self._raw: dict[str, Any] = {}
        self._read: dict[str, Any] = {}

    @staticmethod
    def _every(keys: Keys) -> dict[str, bytes]:
        names = JOBS | FLOW | {"m", "bell"}
        return {name: keys.base + name.encode() for name in names}

    @property
    def now_ms(self) -> int:
        """The server's time."""
        return self._broker.now_us() // 1000

    def refresh(self) -> frozenset[str]:
        """Read what changed; returns the names of the keys that did."""
        journal = self._broker.journal or []
        self.wrote = len(journal) > self._seen
        touched: set[bytes] = set()
        for unit in journal[self._seen :]:
            for verb, *args in unit.writes:
                touched.update(commands.verb_of(verb, args).keys(args))
        self._seen = len(journal)
        names = self._names
        changed = frozenset(names[key] for key in touched if key in names)
        for name in changed:
            self._look(name)
        return changed

    def reread(self) -> None:
        """Read everything: the server is another one."""
        self._seen = len(self._broker.journal or [])
        for name in self._names.values():
            self._look(name)

    def mentioned(self, units: int, ids: Sequence[str]) -> set[str]:
        """Return which of these jobs the last ``units`` of the journal are about."""
        journal = self._broker.journal or []
        text_of = b"\n".join(b" ".join(words) for unit in journal[len(journal) - units :] for words in unit.writes)
        return {job for job in ids if job.encode() in text_of}

    def whereabouts(self) -> dict[str, object]:
        """Return where each job is, and who has it, to be compared."""
        entries = {entry.job: entry for lane in self.lanes.values() for entry in lane}
        return {job: (row, entries.get(job), self.delayed.get(job)) for job, row in self.rows.items()}

    def _look(self, name: str) -> None:
        space: Any = self._memory._space
        value = space.get(self.keys.base + name.encode())
        self._raw[name] = None if value is None else plain(value)
        self._read.pop(name, None)
        self._read.pop(f"text {name}", None)
        if name == "i":
            self.rows = _texts(self._raw["i"])
        elif name == "d":
            self.delayed = {text(job): int(due) for job, due in self._raw["d"] or ()}
        elif name == "t" or name[0] == "l":
            self._lane(name[-1], self._raw[name])

    def _lane(self, letter: str, stream: Any) -> None:
        entries: list[Entry] = []
        pending: dict[str, tuple[str, int]] = {}
        if stream is not None:
            group = stream["groups"].get(b"w")
            for entry, owner, _, count in group["pending"] if group else ():
                pending[str_of(entry)] = (text(owner), count)
            for entry, fields in stream["entries"]:
                known = dict(zip(fields[::2], fields[1::2], strict=True))
                owner, count = pending.pop(str_of(entry), ("", 0))
                entries.append(Entry(str_of(entry), text(known.get(b"j", b"?")), known.get(b"d", b""), owner, count))
        self.lanes[letter] = tuple(entries)
        self.orphans[letter] = [f"{letter}{entry}" for entry in pending]

    # -- readings --------------------------------------------------------------------------------------

    def hash(self, name: str) -> dict[str, bytes]:
        """Return a hash by its name."""
        found: dict[str, bytes] = self._once(name, _texts)
        return found

    def texts(self, name: str) -> dict[str, str]:
        """Return a hash of texts."""
        found: dict[str, str] = self._once(
            f"text {name}", lambda _: {one: text(value) for one, value in self.hash(name).items()}
        )
        return found

    def scored(self, name: str) -> list[tuple[bytes, float]]:
        """Return a sorted set."""
        return list(self._raw.get(name) or ())

    def _once(self, name: str, read: Callable[[Any], Any]) -> Any:
        if name not in self._read:
            self._read[name] = read(self._raw.get(name))
        return self._read[name]

    def _flow(self, name: str, decode: Callable[[bytes], Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._once(name, lambda raw: {one: decode(value) for one, value in _texts(raw).items()})
        return found

    def lines(self) -> Lines:
        """Return what flow control keeps."""
        if not any(self._raw.get(name) for name in FLOW):
            return Lines()
        return Lines(
            jobs=self._once("f", lambda raw: tuple(_lined._waiting(one, number_of(at)) for one, at in raw or ())),
            lines=self._flow("fl", _lined._LINE),
            rings=tuple(
                (lane, text(name), float(tag)) for lane in range(5) for name, tag in self._raw.get(f"f{lane}") or ()
            ),
            park=self._once("fp", lambda raw: tuple(_lined._parked(one) for one, _ in raw or ())),
            gates=self._flow("fg", _lined._GATE),
            config=self._flow("fc", msgspec.msgpack.decode),
            alarms=self._once("fk", lambda raw: {text(name): int(due) for name, due in raw or ()}),
            dedup=self.hash("fd"),
            rules=self.hash("fr"),
            layers=tuple(sorted(self.hash("fo"))),
            records={job: found for job, row in self.rows.items() if (found := record_of(row)) is not None},
            now_ms=self.now_ms,
        )

    def snapshot(self, *, with_lines: bool) -> Snapshot:
        """Return all there is about jobs; without records, memos and what concerns workers."""
        stream = self._raw.get("x")
        dead = {} if stream is None else {str_of(entry): fields_of(fields) for entry, fields in stream["entries"]}
        return Snapshot(
            meta=self.texts("m"),
            index={job: text(lined.place_of(row)) for job, row in self.rows.items()},
            lanes=self.lanes,
            orphans=tuple(one for some in self.orphans.values() for one in some),
            delayed=self.delayed,
            bodies=self.hash("b"),
            parked=tuple(text(one) for one, _ in self.scored("p")),
            dead=dead,
            dead_index=self.texts("xi"),
            deaths=self.hash("xd"),
            window=tuple(text(one) for one in self._raw.get("w") or ()),
            details=self.texts("wd"),
            waiters={},
            cancels=tuple(sorted(self.hash("c"))),
            workers={},
            beats=(),
            bell=min(
                1, len(self._raw.get("bell") or ())
            ),  # workers that have no room give theirs back: now and then two
            records={},
            memos={},
            foreign=(),
            lines=self.lines() if with_lines else Lines(),
            rows=self.rows,
        )


@lru_cache(4096)
def record_of(row: bytes) -> LineRecord | None:
    """Return the record of an index row; most rows are looked at many times."""
    return lined.record_of(row)


def _texts(raw: Mapping[bytes, bytes] | None) -> dict[str, bytes]:
    return {text(one): value for one, value in (raw or {}).items()}


def str_of(entry: Any) -> str:
    """Return an entry id as text."""
    return entry.decode() if isinstance(entry, bytes) else str(entry)


def number_of(score: float) -> bytes:
    """Return a whole score as the server writes it."""
    return b"%d" % int(score)


def fields_of(flat: Sequence[bytes]) -> dict[str, bytes]:
    """Return the fields of an entry."""
    return {text(flat[at]): flat[at + 1] for at in range(0, len(flat), 2)}
