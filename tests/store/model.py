"""What the verbs should do to a queue, in plain Python: the reference of the state machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from streamq._core.tally import CANCELLED, COMPLETED, DIED, OTHER, RETRIED, SNOOZED
from streamq._store.replies import Taken, place_of
from tests.core.test_tally import One
from tests.store.stage import body_of

MAX_STALLS = 2
SUSPECT = 2
"""A job that stalled so often runs alone."""

WINDOW = 5
"""Completed jobs that are remembered: few, so that custom ids come back both within and beyond it."""

ENDED = {"complete": "gone", "complete with a value": "record", "bury": "dead", "end": "record"}
COUNTED = {
    "complete": ("completed",),
    "complete with a value": ("completed",),
    "retry": ("retried", "failed"),
    "snooze": ("snoozed",),
    "bury": ("dead", "failed"),
    "end": ("cancelled",),
}
KINDS = {
    "complete": COMPLETED,
    "complete with a value": COMPLETED,
    "retry": RETRIED,
    "snooze": SNOOZED,
    "bury": DIED,
    "end": CANCELLED,
}
"""What a worker says of each outcome that is counted."""


NOBODY = One(OTHER)
"""Whom the server counts when it cannot read the envelope: those of these tests are none."""


def who(job: str) -> One:
    """The handler of a job, and its tenant if it has one: by its number."""
    number = int(job[1:])
    return One("send" if number % 2 else "sync", None if number % 3 else "ada")


@dataclass
class Known:
    """One job. ``place``: waiting, released, active, suspect, delayed, parked, dead, record or gone.

    ``owner``: whose pending entry it is, when it is active; ``key``: of its deduplication.
    """

    lane: int
    body: bytes
    place: str = "waiting"
    deliveries: int = 0
    token: bytes = b""
    owner: str = ""
    due: int = 0
    key: str = ""
    marked: bool = False
    waited_for: bool = False

    @property
    def is_pending(self) -> bool:
        return self.place in {"active", "released", "suspect"}

    @property
    def is_unsettled(self) -> bool:
        return self.place not in {"dead", "record", "gone"}


@dataclass
class Model:
    """All jobs ever, the waiting ones in order, the window of completed ones, and the totals."""

    jobs: dict[str, Known] = field(default_factory=dict[str, Known])
    lanes: list[list[str]] = field(default_factory=lambda: [[] for _ in range(5)])
    window: list[str] = field(default_factory=list[str])
    keys: dict[str, str] = field(default_factory=dict[str, str])
    totals: Counter[str] = field(default_factory=Counter[str])
    counted: dict[str, Counter[str]] = field(default_factory=dict[str, "Counter[str]"])
    """What was counted of handlers and tenants."""
    paused: bool = False

    def at(self, *places: str) -> list[str]:
        """Return the jobs in these places."""
        return [job for job, known in self.jobs.items() if known.place in places]

    @property
    def unsettled(self) -> list[str]:
        """Return the jobs that have not ended."""
        return [job for job, known in self.jobs.items() if known.is_unsettled]

    # -- producing ----------------------------------------------------------------------------------------

    def enqueue(self, job: str, lane: int, due: int, *, most: int = 0, key: str = "") -> str:
        """Add a job; returns why not, or ''. ``most``: jobs there may be, 0 any number; ``key``: of deduplication."""
        refused = self._enqueue(job, lane, due, most, key)
        if not refused.startswith("full"):
            self._count(who(job), "deduplicated" if refused else "arrived")
        return refused

    def _enqueue(self, job: str, lane: int, due: int, most: int, key: str) -> str:
        known = self.jobs.get(job)
        if known is not None and known.place != "gone":
            rows = {"delayed": "rowd", "parked": "rowp"}
            if known.is_unsettled:
                return "exists:" + rows.get(known.place, f"row{known.token[:1].decode() or known.lane}")
            return f"exists:{known.place}"
        if most and len(self.unsettled) >= most:
            return f"full:{most}"
        if key:
            other = self.jobs.get(self.keys.get(key, ""))
            if other is not None and other.is_unsettled:
                return f"met:{self.keys[key].encode().hex()}"
            self.keys[key] = job
        self.jobs[job] = Known(lane, body_of(job), key=key)
        self._wait(job, due)
        return ""

    # -- working ------------------------------------------------------------------------------------------

    def fetched(self, name: str, want: int, got: Sequence[Taken]) -> None:
        """Check what a fetch handed out, and take note of it."""
        if self.paused:
            assert not got
            return
        released = self.at("released")
        adopted, fresh = got[: min(want, len(released))], got[min(want, len(released)) :]
        assert {job.id.decode() for job in adopted} <= set(released)
        waiting = [job for lane in self.lanes for job in lane]
        assert [job.id.decode() for job in fresh] == waiting[: want - len(adopted)]
        for job in fresh:
            assert job.deliveries == 1
            self.lanes[self.jobs[job.id.decode()].lane].remove(job.id.decode())
            self.jobs[job.id.decode()].deliveries = 1
        self._take(name, got)

    def held_by(self, name: str) -> set[bytes]:
        """Return the places of the entries that are pending for a worker."""
        mine = [known for known in self.jobs.values() if known.place == "active" and known.owner == name]
        return {place_of(known.token) for known in mine}

    def adopted(self, name: str, places: Iterable[bytes], got: Sequence[Taken]) -> None:
        """Check what a worker adopted of its own pending entries, and take note of it."""
        assert {place_of(job.token) for job in got} == set(places)
        for job in got:
            known = self.jobs[job.id.decode()]
            assert job.deliveries == known.deliveries
            assert job.token != known.token, "whoever had it before must be shut out"
        self._take(name, got)

    def swept(self, name: str, got: Iterable[Taken]) -> None:
        """Check what a sweep of everything that is pending handed out, and take note of it."""
        jobs = {job.id.decode(): job for job in got}
        if self.paused:
            assert not jobs
            return
        suspects: list[str] = []
        for job in [job for job, known in self.jobs.items() if known.is_pending]:
            known = self.jobs[job]
            stalled = known.deliveries + (known.place != "released")
            if 3 <= stalled <= MAX_STALLS + 1:
                suspects.append(job)
                if job not in jobs:
                    known.place = "suspect" if known.place != "released" else "released"
                    continue
            self.totals["stalled"] += known.place != "released"
            if known.place != "released":
                self._count(NOBODY, "stalled")
            known.deliveries = stalled
            assert jobs[job].deliveries == stalled, (job, known)
        assert len(jobs.keys() & set(suspects)) == min(1, len(suspects))
        self._take(name, jobs.values())

    def settled(self, job: Taken, outcome: str, due: int) -> str:
        """Settle; returns the answer."""
        name = job.id.decode()
        known = self.jobs[name]
        if not known.is_unsettled:
            return "g"
        if known.token != job.token or not known.is_pending:
            return "l"
        self.totals.update(COUNTED.get(outcome, ()))
        if outcome in COUNTED:
            self._count(who(name), *COUNTED[outcome], "attempts")
        if outcome == "release":
            known.place, known.token = "released", known.token[:1] + b":released"
        elif outcome in {"retry", "snooze"}:
            known.place, known.due, known.token, known.deliveries = "delayed", due, b"", 0
            known.body = b"again:" + job.id
        elif outcome == "park":
            known.place, known.token, known.deliveries = "parked", b"", known.deliveries - 1  # its stalls
        else:
            self._end(name, ENDED[outcome])
            if outcome.startswith("complete"):
                self.window = [name, *(one for one in self.window if one != name)][:WINDOW]
        return "a"

    def renewed(self, job: Taken) -> str:
        """Renew; returns the answer."""
        known = self.jobs[job.id.decode()]
        if not known.is_unsettled:
            return "g"
        if known.is_pending and known.token == job.token:
            known.place = "active"
            return "a"
        return "l"

    def promoted(self, job: str) -> None:
        """Move a delayed job to its lane."""
        self._wait(job, 0)

    def unparked(self, name: str, want: int, got: Sequence[Taken]) -> None:
        """Check what was taken from the parked, and take note of it."""
        looked = [] if self.paused else sorted(self.at("parked"))[:want]
        suspects = [job for job in looked if self.jobs[job].deliveries >= SUSPECT]
        assert [job.id.decode() for job in got] == [job for job in looked if job not in suspects[1:]]
        for taken in got:
            known = self.jobs[taken.id.decode()]
            known.deliveries += 1
            assert taken.deliveries == known.deliveries
        self._take(name, got)

    # -- at the desk --------------------------------------------------------------------------------------

    def cancelled(self, job: str, *, ask: bool) -> str:
        """Cancel; returns the answer."""
        known = self.jobs[job]
        if not known.is_unsettled:
            return "g"
        if known.place in {"active", "suspect"}:
            known.marked = known.marked or ask
            return "a" if ask else "s"
        if known.place == "waiting":
            self.lanes[known.lane].remove(job)
        self.totals["cancelled"] += 1
        self._count(NOBODY, "cancelled")
        self._end(job, "record")
        return "c"

    def moved(self, job: str, lane: int, body: bytes) -> str:
        """Give a job another lane; returns the answer."""
        known = self.jobs[job]
        if not known.is_unsettled:
            return "g"
        at = known.token[:1].decode() if known.is_pending else str(known.lane)
        if at == str(lane):
            return "s"
        if known.place in {"active", "suspect"}:
            return "a"
        known.body = body
        if known.place in {"waiting", "released"}:
            if known.place == "waiting":
                self.lanes[known.lane].remove(job)
            known.lane = lane
            self._wait(job, 0)
        known.lane = lane
        return "c"

    def replayed(self, job: str, due: int) -> str:
        """Put a dead letter back; returns the answer."""
        known = self.jobs[job]
        if known.place != "dead":
            return "g"
        self.totals["replayed"] += 1
        self.jobs[job] = Known(known.lane, b"again")
        self._wait(job, due)
        return "a"

    def purged(self, job: str) -> int:
        """Take a dead letter away; its record tells of it for a while. Returns how many there were."""
        if self.jobs[job].place != "dead":
            return 0
        self.jobs[job].place = "record"
        return 1

    def looked(self, job: str) -> str:
        """Return where a look finds a job; who looks waits for its end."""
        known = self.jobs[job]
        if known.is_unsettled:
            known.waited_for = True
            return "row"
        if known.place != "gone":
            return known.place
        return "window" if job in self.window else "absent"

    # -- inside -------------------------------------------------------------------------------------------

    def _count(self, one: One, *counters: str) -> None:
        for key in (one.name, one.tenant):
            if key:
                self.counted.setdefault(key, Counter()).update(counters)

    def _wait(self, job: str, due: int) -> None:
        known = self.jobs[job]
        known.place, known.due, known.token, known.deliveries = "delayed" if due else "waiting", due, b"", 0
        if not due:
            self.lanes[known.lane].append(job)

    def _take(self, name: str, jobs: Iterable[Taken]) -> None:
        for job in jobs:
            known = self.jobs[job.id.decode()]
            assert job.body == known.body
            known.place, known.token, known.owner = "active", job.token, name

    def _end(self, job: str, place: str) -> None:
        known = self.jobs[job]
        known.place, known.marked, known.waited_for, known.token = place, False, False, b""
