"""What flow control should do to a queue, in plain Python: the reference of its state machine.

Which of several jobs goes next is left to the server (fair turns); that it may go, and that nobody stays who could, is
checked here. Rates have a window of an hour: within an example no token comes back.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamq._core.flow import Flow
from streamq._store import lines
from streamq._store.replies import Taken, place_of

MAX_STALLS = 2
SUSPECT = 2
HOUR = 3_600_000
Config = dict[str, Any]

ENDED = {"complete": "gone", "complete with a value": "record", "bury": "dead", "end": "record"}


@dataclass
class Known:
    """One job. ``place``: waiting, released, line, active, suspect, delayed, parked, dead, record or gone.

    ``seq``: its place in its line, 0 while it has none. ``claims``: deliveries of its entry. ``free``: without gates.
    """

    job: str
    lane: int
    body: bytes
    flow: Flow | None = None
    is_expired: bool = False
    place: str = "waiting"
    seq: int = 0
    stalls: int = 0
    claims: int = 0
    takes: int = 0
    free: bool = False
    taken: Taken | None = None
    owner: str = ""
    due: int = 0
    marked: bool = False

    @property
    def gates(self) -> tuple[str, ...]:
        return self.flow.gates if self.flow else ()

    @property
    def line(self) -> str:
        """The line it belongs to; '' for a plain job."""
        return (self.flow.line or ">".join(self.gates)) if self.flow else ""

    @property
    def cost(self) -> int:
        return self.flow.cost if self.flow else 1

    @property
    def waits_for_ever(self) -> bool:
        return self.flow is None or self.flow.on_limit == "wait"

    @property
    def is_ordered(self) -> bool:
        return self.flow is not None and self.flow.ordered

    @property
    def is_pending(self) -> bool:
        return self.place in {"active", "released", "suspect"}

    @property
    def is_unsettled(self) -> bool:
        return self.place not in {"dead", "record", "gone"}

    @property
    def holds(self) -> bool:
        """Whether it has slots of its gates."""
        return self.place in {"active", "suspect"} and not self.free

    @property
    def contested(self) -> str:
        """The gate whose taken places are a conflict: that of its key, else that of its handler."""
        keyed = [gate for gate in self.gates if gate.startswith("k.")]
        own = [gate for gate in self.gates if gate.startswith("h.")]
        return [*own[:1], *keyed][-1] if keyed or own else ""


class FlowModel:
    """All jobs ever, the plain ones that wait in order, limits, what was spent, and lines that are held."""

    def __init__(self) -> None:
        self.jobs: dict[str, Known] = {}
        self.lanes: list[list[str]] = [[] for _ in range(5)]
        self.config: dict[str, Config] = {}
        self.spent = Counter[str]()
        self.shut: set[str] = set()
        self.held: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.stalled = 0
        self.paused = False
        self._seq = 0

    def at(self, *places: str) -> list[Known]:
        """Return the jobs in these places."""
        return [known for known in self.jobs.values() if known.place in places]

    def tokens(self) -> set[bytes]:
        """Return the tokens that count at present."""
        return {one.taken.token for one in self.at("active", "suspect") if one.taken}

    # -- gates --------------------------------------------------------------------------------------------

    def used(self, gate: str) -> int:
        """How many run that hold a gate."""
        return sum(gate in known.gates for known in self.jobs.values() if known.holds)

    def waiting(self, gate: str) -> int:
        """How many wait in lines for a gate."""
        return sum(gate in known.gates for known in self.at("line"))

    def config_of(self, gate: str) -> Config:
        """What is in force."""
        if gate.startswith("d."):
            return {"c": 1}
        return {**self.config.get(gate.partition("=")[0], {}), **self.config.get(gate, {})}

    def rate(self, gate: str) -> int:
        """Starts in an hour, -1 for any number."""
        return int(self.config_of(gate).get("n", -1))

    def lacks(self, gate: str, cost: int) -> bool:
        """Whether a gate is closed by its rate, or shut for a time."""
        rate = self.rate(gate)
        return gate in self.shut or rate == 0 or (rate > 0 and self.spent[gate] + min(cost, rate) > rate)

    def closed(self, gate: str, cost: int) -> str:
        """Why nobody may pass: paused, slots, rate or ''."""
        config = self.config_of(gate)
        if config.get("x") == 1:
            return "paused"
        if 0 <= config.get("c", -1) <= self.used(gate):
            return "slots"
        return "rate" if self.lacks(gate, cost) else ""

    def spend(self, known: Known) -> None:
        """Spend the tokens of a start."""
        for gate in known.gates:
            rate = self.rate(gate)
            self.spent[gate] = self.spent[gate] + min(known.cost, rate) if rate >= 0 else 0

    def refund(self, known: Known) -> None:
        """Give the tokens of a start back that was none."""
        for gate in known.gates:
            if not known.free and self.rate(gate) >= 0:
                self.spent[gate] -= min(known.cost, self.rate(gate), self.spent[gate])

    # -- lines --------------------------------------------------------------------------------------------

    def heads(self) -> list[Known]:
        """Return the first job of each line."""
        first: dict[str, Known] = {}
        for known in sorted(self.at("line"), key=lambda one: (one.lane, one.seq)):
            first.setdefault(known.line, known)
        return list(first.values())

    def startable(self) -> list[str]:
        """Return the heads of lines that could be handed out."""
        heads = self.heads()
        return [one.job for one in heads if one.line not in self.held and self._could_go(one, heads)]

    def _could_go(self, head: Known, heads: Sequence[Known]) -> bool:
        # One that is expired, or waits for no rate, is told so when its line has its turn: closed gates put that off.
        if any(self.closed(gate, head.cost) for gate in head.gates):
            return False
        # Somebody who needs more tokens than there are comes first at his gate, and may keep others behind him.
        dear = [one for one in heads if one is not head and one.line not in self.held]
        return not any(gate in one.gates and self.lacks(gate, one.cost) for gate in head.gates for one in dear)

    def into_line(self, known: Known) -> None:
        """Put a job into its line, at the place it has or behind all."""
        if not known.seq:
            self._seq += 1
            known.seq = self._seq
        known.place, known.free, known.taken = "line", False, None

    def leaves_line(self, known: Known) -> None:
        """Take note that a job is not in its line any more: one that was held for it goes on."""
        if self.held.get(known.line) == known.job:
            del self.held[known.line]

    # -- producing ----------------------------------------------------------------------------------------

    def admitted(self, new: Known, due: int, refusal: str) -> None:
        """Check the answer for one job of a batch, and take note of the job if it was added."""
        reason, _, detail = refusal.partition(":")
        groups = [gate for gate in new.gates if gate.startswith("g:")]
        full = [gate for gate in groups if 0 < self.config_of(gate).get("s", 0) <= self.waiting(gate)]
        assert (reason == "group") == bool(full), (refusal, full)
        if full:
            return
        met = self._met(new)
        assert refusal == f"met:{met.encode().hex()}" if met else reason != "met", (refusal, met)
        if met:
            self._replace(self.jobs[met], new)
            return
        plan = new.flow.dedup if new.flow else None
        if plan is not None and plan.mode == "debounce":
            due = -1  # some time, and only by hand
        if reason:
            assert not due
            self._check_refusal(new, reason, bytes.fromhex(detail).decode())
            return
        if not due:
            self._check_admission(new)
        if plan is not None:
            self.keys[plan.key] = new.job
        self._ask_predecessors(new)
        self.jobs[new.job] = new
        self.wait(new, due)

    def _met(self, new: Known) -> str:
        plan = new.flow.dedup if new.flow else None
        other = None if plan is None else self.jobs.get(self.keys.get(plan.key, ""))
        if plan is None or other is None:
            return ""
        is_met = {
            "simple": other.is_unsettled,
            "throttle": True,
            "debounce": other.place == "delayed",
            "keep_last": other.place in {"line", "delayed"} and not other.takes,
        }[plan.mode]
        return other.job if is_met else ""

    def _replace(self, other: Known, new: Known) -> None:
        """A job met one of its key: with debounce and keep_last it takes its place."""
        assert new.flow is not None
        assert new.flow.dedup is not None
        if new.flow.dedup.mode == "debounce":
            other.flow, other.lane, other.is_expired, other.takes, other.due = new.flow, new.lane, new.is_expired, 0, -1
        if new.flow.dedup.mode in {"debounce", "keep_last"}:
            other.body = new.body

    def _conflict(self, new: Known) -> str:
        gate = new.contested
        if new.flow is None or new.flow.on_conflict != "drop" or not gate:
            return ""
        return gate if 0 <= self.config_of(gate).get("c", -1) <= self.used(gate) + self.waiting(gate) else ""

    def _check_refusal(self, new: Known, reason: str, gate: str) -> None:
        if reason == "conflict":
            assert gate == self._conflict(new)
            return
        assert reason == "limited"
        assert new.flow is not None
        assert new.flow.on_limit == "drop"
        assert "n" in self.config_of(gate)
        assert self.lacks(gate, new.cost) or self.waiting(gate), f"{new.job} was dropped, {gate} was open to it"

    def _check_admission(self, new: Known) -> None:
        assert not self._conflict(new)
        if new.flow is not None and new.flow.on_limit == "drop":
            shut = [gate for gate in new.gates if "n" in self.config_of(gate) and self.lacks(gate, new.cost)]
            assert not shut, f"{new.job} should have been dropped at {shut}"

    def _ask_predecessors(self, new: Known) -> None:
        if new.flow is None or new.flow.on_conflict != "cancel_running":
            return
        for known in self.jobs.values():
            same = known.flow is not None and known.flow.on_conflict == "cancel_running"
            if same and known.holds and known.contested in new.gates and known.contested:
                known.marked = True

    def wait(self, known: Known, due: int) -> None:
        """A job waits for its time or for its turn, behind all others."""
        known.due, known.seq, known.stalls, known.free, known.taken = due, 0, 0, False, None
        if due:
            known.place = "delayed"
        elif known.line:
            self.into_line(known)
        else:
            known.place = "waiting"
            self.lanes[known.lane].append(known.job)

    # -- working ------------------------------------------------------------------------------------------

    def took(self, name: str, want: int, got: Sequence[Taken], why: str) -> None:
        """Check what a take handed out, and take note of it."""
        if self.paused:
            assert (list(got), why) == ([], "paused")
            return
        assert why in {"full", "empty"}
        assert len(got) <= want
        for job in got:
            known = self.jobs[job.id.decode()]
            match known.place:
                case "released":
                    assert job.deliveries == known.claims
                case "line":
                    self._from_line(known, job)
                case _:
                    assert known.place == "waiting", f"{known} was handed out"
                    assert self.lanes[known.lane].pop(0) == known.job
                    known.claims = 1
            self._hold(name, known, job)
        if why == "empty":
            left = [self.jobs[job] for job in self.startable()]
            assert not left, f"left behind, though all their gates are open: {left}; others: {self.heads()}"
            assert not any(self.lanes)
            assert not self.at("released")

    def _from_line(self, known: Known, job: Taken) -> None:
        head = next(one for one in self.heads() if one.line == known.line)
        assert head is known, f"{known.job} passed {head.job}"
        assert known.line not in self.held
        if known.is_expired:
            assert job.mark == b""
        elif job.mark == b"limited":
            assert not known.waits_for_ever
            limits = [gate for gate in known.gates if "n" in self.config_of(gate)]
            assert any(self.lacks(gate, known.cost) or self.waiting(gate) > 1 for gate in limits)
        else:
            shut = {gate: why for gate in known.gates if (why := self.closed(gate, known.cost))}
            assert not shut, f"{known.job} passed {shut}"
            self.spend(known)
        known.free = known.is_expired or job.mark == b"limited"
        record = lines.held(job.token)
        assert record is not None
        assert (record.free, record.stalls, job.deliveries) == (known.free, known.stalls, known.stalls + 1)
        known.claims, known.takes = 1, known.takes + 1

    def _hold(self, name: str, known: Known, job: Taken) -> None:
        assert job.body == known.body
        known.place, known.taken, known.owner = "active", job, name

    def held_by(self, name: str) -> set[bytes]:
        """Return the places of the entries that are pending for a worker."""
        mine = [one.taken for one in self.at("active") if one.owner == name]
        return {place_of(taken.token) for taken in mine if taken}

    def adopted(self, name: str, got: Sequence[Taken]) -> None:
        """Take note of ghosts that a worker took over: nobody is charged anything."""
        for job in got:
            known = self.jobs[job.id.decode()]
            assert known.taken is not None
            assert place_of(job.token) == place_of(known.taken.token)
            assert (job.deliveries, job.token != known.taken.token) == (known.claims, True)
            known.takes += 1
            self._hold(name, known, job)

    def settled(self, job: Taken, outcome: str, due: int, gate: str = "") -> str:
        """Settle; returns the answer."""
        known = self.jobs[job.id.decode()]
        if not known.is_unsettled:
            return "g"
        if known.taken is None or known.taken.token != job.token or not known.is_pending:
            return "l"
        if outcome in ENDED:
            self.end(known, ENDED[outcome])
            return "a"
        if outcome in {"retry", "limited"}:
            known.body = b"again:" + job.id
        if outcome in {"release", "park"}:
            self.refund(known)
        if outcome in {"release", "hand back", "park"}:
            known.stalls = known.claims - 1 + (known.stalls if known.line else 0)
        if outcome == "park":
            known.place, known.taken = "parked", None
        elif outcome == "retry" and not known.is_ordered:
            self.wait(known, due)
        elif known.line:
            self._back_into_line(known, outcome, due, gate)
        else:
            known.place, known.taken = "released", None
        return "a"

    def _back_into_line(self, known: Known, outcome: str, due: int, gate: str) -> None:
        known.stalls = 0 if outcome in {"retry", "limited"} else known.stalls
        self.into_line(known)
        if outcome == "retry" and due > 0:
            self.held[known.line] = known.job
        if outcome == "limited":
            self.shut.add(gate)

    def end(self, known: Known, place: str) -> None:
        """A job is over."""
        known.place, known.marked, known.taken = place, False, None

    def swept(self, name: str, got: Sequence[Taken]) -> None:
        """Check what a sweep of everything that is pending did, and take note of it."""
        jobs = {job.id.decode(): job for job in got}
        if self.paused:
            assert not jobs
            return
        pending = self.at("active", "suspect", "released")
        totals = {one.job: one.claims + (one.place != "released") + (one.stalls if one.line else 0) for one in pending}
        suspects = [one for one in pending if 3 <= totals[one.job] <= MAX_STALLS + 1]
        could = [one for one in suspects if self._can_pay(one)]
        chosen = [one for one in suspects if one.job in jobs]
        assert len(chosen) == min(1, len(could)), (chosen, could)
        for known in pending:
            total, was_released = totals[known.job], known.place == "released"
            if known in suspects and known.job not in jobs:
                known.place = "released" if was_released else "suspect"
                continue
            self.stalled += not was_released
            if known.line and total == 2:  # its first stall
                assert known.job not in jobs
                known.stalls = 1
                self.into_line(known)
                continue
            if known in chosen and known.line and not known.free:
                assert self._can_pay(known)
                self.spend(known)
            assert jobs[known.job].deliveries == total
            known.claims += not was_released
            known.takes += 1
            self._hold(name, known, jobs.pop(known.job))
        assert not jobs, f"nobody had {sorted(jobs)}"

    def _can_pay(self, known: Known) -> bool:
        if known.free or not known.line:
            return True
        return not any(self.config_of(gate).get("x") == 1 or self.lacks(gate, known.cost) for gate in known.gates)

    def renewed(self, job: Taken) -> str:
        """Renew; returns the answer."""
        known = self.jobs[job.id.decode()]
        if not known.is_unsettled:
            return "g"
        if known.is_pending and known.taken is not None and known.taken.token == job.token:
            known.place = "active"
            return "a"
        return "l"

    def unparked(self, name: str, want: int, got: Sequence[Taken]) -> None:
        """Check what was taken from the parked: jobs of lines went back to them, the others are handed out."""
        looked = [] if self.paused else sorted(self.at("parked"), key=lambda one: one.job)[:want]
        suspects = [one.job for one in looked if not one.line and one.stalls >= SUSPECT]
        assert [job.id.decode() for job in got] == [
            one.job for one in looked if not one.line and one.job not in suspects[1:]
        ]
        for known in looked:
            if known.line:
                self.into_line(known)
        for job in got:
            known = self.jobs[job.id.decode()]
            known.claims, known.takes = known.stalls + 1, known.takes + 1
            assert job.deliveries == known.claims
            self._hold(name, known, job)

    # -- at the desk --------------------------------------------------------------------------------------

    def cancelled(self, known: Known) -> str:
        """Cancel; returns the answer."""
        if not known.is_unsettled:
            return "g"
        if known.place in {"active", "suspect"}:
            known.marked = True
            return "a"
        if known.place == "waiting":
            self.lanes[known.lane].remove(known.job)
        self.leaves_line(known)
        self.end(known, "record")
        return "c"

    def replayed(self, known: Known, due: int) -> None:
        """A dead letter comes back, behind all others."""
        back = dataclasses.replace(known, body=b"again", is_expired=False)
        self.jobs[known.job] = back
        self.wait(back, due)

    def gates(self) -> set[str]:
        """Return every gate that any job ever had."""
        return {gate for known in self.jobs.values() for gate in known.gates}
