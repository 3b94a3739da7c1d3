"""Limits as the server hands jobs out: no window holds more starts than its rate, no gate more than its places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from streamq._store import lines
from streamq._store.replies import Taken, place_of
from tests.simulation.book import Book
from tests.simulation.scenarios import MOST_STALLS
from tests.simulation.state import State
from tests.store import lined
from tests.store.lined import Lines


class Start(NamedTuple):
    """A start as a rate gate sees it."""

    at_ms: int
    cost: int
    job: str


class Limits:
    """What was started under which limit. Configurations are those that the server holds, which stay as they are."""

    def __init__(self, state: State, book: Book) -> None:
        self.starts: dict[str, dict[bytes, Start]] = {}
        self.is_torn = False
        """Whether the server forgot starts, or its limits for a while: then nothing here can be judged any more."""
        self._state = state
        self._book = book

    # -- in every state --------------------------------------------------------------------------------

    def check(self, now: Lines, left: set[str]) -> None:
        """Assert that no gate has more inside than it has places, and that ordered lines keep their order."""
        for name, gate in now.gates.items():
            # What was inside when a breaker opened may end there.
            places = (
                lined.config_of(now, name).get("c", -1) if gate.used and not self.is_torn and name[:3] != "cb." else -1
            )
            assert places < 0 or gate.used <= places, f"{name} holds {gate.used}, it has {places} places"
        ordered = {job: record for job, record in now.records.items() if record.ordered}
        if not ordered:
            return
        rows = self._state.rows
        taken = [ordered[job] for job in ordered if rows[job][:1] == b"t"]
        numbers = {line.number: name for name, line in now.lines.items()}
        for record in taken:
            if record.free:
                continue
            for one in now.jobs:
                if numbers.get(one.number) != record.line or (one.lane, one.seq) >= (record.lane, record.seq):
                    continue
                # One that expires is handed over out of its turn; one that was parked was elsewhere.
                late = one.job not in left and not now.records[one.job].expires_ms
                assert not late, f"{one.job} of {record.line} was passed by {record}"

    # -- over time -------------------------------------------------------------------------------------

    def handed(self, verb: str, jobs: Sequence[Taken], now_ms: int) -> None:
        """Note the starts among jobs that were handed out; those before a worker declared the limit do not count."""
        config: Mapping[str, Mapping[str, Any]] = self._state.lines().config if jobs else {}
        for one in jobs:
            record = lines.held(one.token)
            if record is None or record.free or one.deliveries > MOST_STALLS + 1:
                continue
            at = now_ms if one.deliveries > record.stalls + 1 else record.taken_ms
            if verb == "tick" and one.deliveries == record.stalls + 1:
                continue
            for gate in record.gates:
                if gate[0] == "r" and "n" in {**config.get(lined.class_of(gate), {}), **config.get(gate, {})}:
                    key = place_of(one.token) + b"@%d" % at
                    self.starts.setdefault(gate, {})[key] = Start(at, record.cost, one.id.decode())
        if verb in {"fetch", "take"}:
            self._queue(jobs, now_ms)

    def _queue(self, jobs: Sequence[Taken], now_ms: int) -> None:
        """Note what the limits of the whole queue are about: plain jobs are subject to them, too."""
        config = self._state.lines().config.get("q", {})
        if not config:
            return
        fresh = [one for one in jobs if one.mark in {b"", b"batch"} and (b"|" in one.token or one.token[-2:] == b":0")]
        for one in fresh:
            key = place_of(one.token) + b"@%d" % now_ms
            self.starts.setdefault("q", {})[key] = Start(now_ms, 1, one.id.decode())
        if "c" in config and fresh and not any(one.mark for one in jobs):
            running = [e for lane in self._state.lanes.values() for e in lane if e.owner not in {"", "~"}]
            if len(running) > config["c"] >= 0 and not self.is_torn:
                self._book.wrong(f"{len(running)} jobs run at once, limit {config['c']}", fresh[0].id.decode())

    def forget(self, place: bytes) -> None:
        """A start was given back before it began."""
        for starts in self.starts.values():
            for key in [key for key in starts if key.startswith(place + b"@")]:
                del starts[key]

    def torn(self) -> None:
        """The server forgot some of them."""
        self.is_torn = True

    def verdict(self, config: Mapping[str, Mapping[str, Any]]) -> None:
        """Judge all windows of all rates by the limits in force."""
        for gate, starts in () if self.is_torn else self.starts.items():
            rate = {**config.get(lined.class_of(gate), {}), **config.get(gate, {})}
            if rate.get("n", -1) > 0:
                for problem in over(rate, sorted(starts.values())):
                    self._book.wrong(f"F6: {gate}: {problem}", starts[min(starts)].job)


def over(rate: Mapping[str, Any], starts: Sequence[Start]) -> list[str]:
    """Return where these starts are more than the rate allows."""
    count, per = rate["n"], rate["p"]
    if "o" in rate:
        windows = Counter[int]()
        for start in starts:
            windows[(start.at_ms - rate["o"]) // per] += start.cost
        return [f"{spent} starts in window {window}" for window, spent in windows.items() if spent > count]
    found: list[str] = []
    for at, first in enumerate(starts):
        spent = 0
        for other in starts[at:]:
            later = other.at_ms - first.at_ms
            if "b" not in rate and later >= per:
                break
            spent += other.cost
            most = rate["b"] + later * count / per if "b" in rate else count
            if spent > most + 1e-6:
                found.append(f"{spent} starts within {later} ms from {first.at_ms}: {first.job} to {other.job}")
                break
    return found
