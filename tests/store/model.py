"""What the verbs should do to a queue, in plain Python: the reference of the state machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from streamq._store.replies import Taken

MAX_STALLS = 2
ENDED = {"complete": "gone", "complete with a value": "record", "bury": "dead", "end": "record"}


@dataclass
class Known:
    """One job. ``place``: waiting, released, active, suspect, delayed, parked, dead, record or gone."""

    lane: int
    place: str = "waiting"
    deliveries: int = 0
    token: bytes = b""
    due: int = 0
    marked: bool = False

    @property
    def is_pending(self) -> bool:
        return self.place in {"active", "released", "suspect"}

    @property
    def is_unsettled(self) -> bool:
        return self.place not in {"dead", "record", "gone"}


@dataclass
class Model:
    """All jobs ever, and the waiting ones in order."""

    jobs: dict[str, Known] = field(default_factory=dict[str, Known])
    lanes: list[list[str]] = field(default_factory=lambda: [[] for _ in range(5)])
    paused: bool = False

    def at(self, *places: str) -> list[str]:
        """Return the jobs in these places."""
        return [job for job, known in self.jobs.items() if known.place in places]

    def enqueue(self, job: str, lane: int, due: int) -> str:
        """Add a job; returns why not, or ''."""
        known = self.jobs.get(job)
        if known is not None and known.place != "gone":
            rows = {"delayed": "rowd", "parked": "rowp"}
            if known.is_unsettled:
                return "exists:" + rows.get(known.place, f"row{known.token[:1].decode() or known.lane}")
            return f"exists:{known.place}"
        self.jobs[job] = Known(lane)
        self._wait(job, due)
        return ""

    def fetched(self, want: int, got: Iterable[Taken]) -> None:
        """Check what a fetch handed out, and take note of it."""
        jobs = list(got)
        if self.paused:
            assert not jobs
            return
        released = self.at("released")
        adopted, fresh = jobs[: min(want, len(released))], jobs[min(want, len(released)) :]
        assert {job.id.decode() for job in adopted} <= set(released)
        waiting = [job for lane in self.lanes for job in lane]
        assert [job.id.decode() for job in fresh] == waiting[: want - len(adopted)]
        for job in fresh:
            assert job.deliveries == 1
            self.lanes[self.jobs[job.id.decode()].lane].remove(job.id.decode())
            self.jobs[job.id.decode()].deliveries = 1
        self._take(jobs)

    def swept(self, got: Iterable[Taken]) -> None:
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
            known.deliveries = stalled
            assert jobs[job].deliveries == stalled, (job, known)
        assert len(jobs.keys() & set(suspects)) == min(1, len(suspects))
        self._take(jobs.values())

    def settled(self, job: Taken, outcome: str, due: int) -> str:
        """Settle; returns the answer."""
        known = self.jobs[job.id.decode()]
        if not known.is_unsettled:
            return "g"
        if known.token != job.token or not known.is_pending:
            return "l"
        if outcome == "release":
            known.place, known.token = "released", known.token[:1] + b":released"
        elif outcome == "retry":
            known.place, known.due, known.token, known.deliveries = "delayed", due, b"", 0
        elif outcome == "park":
            known.place, known.token, known.deliveries = "parked", b"", 0
        else:
            known.place, known.marked = ENDED[outcome], False
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
        known.place, known.marked = "record", False
        return "c"

    def unparked(self, want: int, got: Iterable[Taken]) -> None:
        """Check what was taken from the parked, and take note of it."""
        jobs = list(got)
        expected = [] if self.paused else sorted(self.at("parked"))[:want]
        assert [job.id.decode() for job in jobs] == expected
        for job in jobs:
            self.jobs[job.id.decode()].deliveries = 1
        self._take(jobs)

    def replayed(self, job: str, due: int) -> str:
        """Put a dead letter back; returns the answer."""
        known = self.jobs[job]
        if known.place != "dead":
            return "g"
        self.jobs[job] = Known(known.lane)
        self._wait(job, due)
        return "a"

    def _wait(self, job: str, due: int) -> None:
        known = self.jobs[job]
        known.place, known.due, known.token, known.deliveries = "delayed" if due else "waiting", due, b"", 0
        if not due:
            self.lanes[known.lane].append(job)

    def _take(self, jobs: Iterable[Taken]) -> None:
        for job in jobs:
            known = self.jobs[job.id.decode()]
            known.place, known.token = "active", job.token
