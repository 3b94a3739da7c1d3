"""Any sequence of verbs by any hands, zombies among them, leaves what a plain model says."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streamq._store import desk
from streamq._store.replies import Taken
from streamq._store.verbs import Item
from tests.servers import Server
from tests.store.model import Model
from tests.store.snapshot import Snapshot
from tests.store.stage import EVERY_OUTCOME, Hand, Stage, parked, retried

T = TypeVar("T")
FAR = 10**13
HANDS = st.sampled_from(["w1", "w2"])
CUSTOM = st.sampled_from(["c1", "c2", "c3"])
LANES = st.integers(0, 4)
PICKS = st.integers(0, 1000)
"""Which of several: modulo their number, so that any number is one."""

_prefixes = itertools.count()


class Machine(RuleBasedStateMachine):
    """Two workers, a producer and people at the desk, on one queue."""

    def __init__(self, server: Server, prefix: str) -> None:
        super().__init__()
        self.server = server
        self.prefix = f"{prefix}-{next(_prefixes)}"
        self.runner = asyncio.Runner()
        self.stage = self.run(self._open())
        self.hands = {name: self.stage.hand(name) for name in ("w1", "w2")}
        self.model = Model()
        self.held: list[tuple[str, Taken]] = []
        self.last: dict[str, tuple[Item, str]] = {}
        self.numbers = itertools.count(1)

    async def _open(self) -> Stage:
        return await Stage(self.server, self.prefix).__aenter__()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one call."""
        return self.runner.run(work)

    def hand(self, name: str) -> Hand:
        """Return a worker's hand."""
        return self.hands[name]

    def hold(self, name: str, jobs: list[Taken]) -> None:
        """Remember for ever what was handed out: any of it may be settled later, rightly or not."""
        self.held += [(name, job) for job in jobs]

    def pick(self, number: int) -> tuple[str, Taken]:
        """Return one that was handed out; young ones more often."""
        recent = self.held[-6:] if number % 3 else self.held
        return recent[number % len(recent)]

    @initialize(lanes=st.lists(LANES, min_size=6, max_size=6), wants=st.tuples(st.integers(1, 3), st.integers(0, 2)))
    def begin(self, lanes: list[int], wants: tuple[int, int]) -> None:
        """Start in the middle of things: most of what can go wrong needs jobs in many hands."""
        for lane in lanes:
            self.enqueue(lane, "now", None)
        self.enqueue(lanes[0], "due", None)
        for name, want in zip(self.hands, wants, strict=True):
            if want:
                self.fetch(name, want)

    # -- producing ----------------------------------------------------------------------------------------

    @rule(lane=LANES, soon=st.sampled_from(["now", "due", "far"]), custom=st.none() | CUSTOM)
    def enqueue(self, lane: int, soon: str, custom: str | None) -> None:
        number = next(self.numbers)
        due = {"now": 0, "due": number, "far": FAR + number}[soon]
        job, letter = (custom, f"{lane}c") if custom else (f"j{number}", str(lane))
        found = self.run(self.stage.enqueue((job, letter, f"@{due}" if due else "0")))
        assert found.get(0, "") == self.model.enqueue(job, lane, due)

    # -- working ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.at("waiting", "released"))
    @rule(name=HANDS, want=st.integers(1, 4))
    def fetch(self, name: str, want: int) -> None:
        jobs = self.run(self.hand(name).fetch(want))
        self.model.fetched(want, jobs)
        self.hold(name, jobs)

    @precondition(lambda self: self.held)
    @rule(pick=PICKS, outcome=st.sampled_from(sorted(EVERY_OUTCOME)), far=st.booleans())
    def settle(self, pick: int, outcome: str, far: bool) -> None:  # noqa: FBT001 - drawn by name
        name, job = self.pick(pick)
        lane = self.model.jobs[job.id.decode()].lane
        due = next(self.numbers) + (FAR if far else 0)
        item = EVERY_OUTCOME[outcome](job)
        if outcome == "retry":
            item = retried(job, f"@{due}", lane)
        elif outcome == "park":
            item = parked(job, lane=lane)
        answer = self.run(self.hand(name).settle(item))
        assert answer == self.model.settled(job, outcome, due), (job, outcome)
        self.last[name] = item, answer

    @rule(name=HANDS)
    def settle_again(self, name: str) -> None:
        if name in self.last:
            item, answer = self.last[name]
            assert self.run(self.hand(name).again(item)) == answer

    @precondition(lambda self: self.held)
    @rule(pick=PICKS)
    def renew(self, pick: int) -> None:
        name, job = self.pick(pick)
        assert self.run(self.hand(name).renew(job)) == self.model.renewed(job)

    @precondition(lambda self: self.model.at("active", "released", "suspect"))
    @rule(name=HANDS)
    def reclaim(self, name: str) -> None:
        time.sleep(0.002)  # a lease of 1 ms has run out then, for everybody
        jobs = self.run(self.hand(name).tick(lease_ms=1)).stalled
        self.model.swept(jobs)
        self.hold(name, jobs)

    @precondition(lambda self: self.model.at("delayed"))
    @rule(name=HANDS, limit=st.integers(1, 3))
    def promote(self, name: str, limit: int) -> None:
        due = sorted((self.model.jobs[job].due, job) for job in self.model.at("delayed"))
        jobs = [job for at, job in due if at < FAR][:limit]
        assert self.run(self.hand(name).promote(limit)).promoted == len(jobs)
        for job in jobs:
            self.model.promoted(job)

    @precondition(lambda self: self.model.at("parked"))
    @rule(name=HANDS, want=st.integers(1, 3))
    def unpark(self, name: str, want: int) -> None:
        jobs = self.run(self.hand(name).unpark("send", want=want))
        self.model.unparked(want, jobs)
        self.hold(name, jobs)

    # -- at the desk --------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICKS, ask=st.booleans())
    def cancel(self, pick: int, ask: bool) -> None:  # noqa: FBT001 - drawn by name
        job = list(self.model.jobs)[pick % len(self.model.jobs)]
        record = b"cancelled %d" % next(self.numbers)
        answer = self.run(desk.cancel(self.stage.store, [job], record, result_ms=60_000, ask=ask))
        assert answer == self.model.cancelled(job, ask=ask)

    @precondition(lambda self: self.model.at("delayed"))
    @rule(pick=PICKS)
    def promote_by_hand(self, pick: int) -> None:
        jobs = self.model.at("delayed")
        assert self.run(desk.promote(self.stage.store, [jobs[pick % len(jobs)]])) == 1
        self.model.promoted(jobs[pick % len(jobs)])

    @precondition(lambda self: self.model.at("dead"))
    @rule(pick=PICKS, far=st.booleans())
    def replay(self, pick: int, far: bool) -> None:  # noqa: FBT001 - drawn by name
        jobs = self.model.at("dead")
        job = jobs[pick % len(jobs)]
        due = FAR + next(self.numbers) if far else 0
        item = (job, self.model.jobs[job].lane, f"@{due}" if due else "0", b"again")
        assert self.run(desk.replay(self.stage.store, [item])) == self.model.replayed(job, due)

    @precondition(lambda self: self.model.at("waiting", "active"))
    @rule()
    def pause_or_resume(self) -> None:
        self.run(desk.resume(self.stage.store) if self.model.paused else desk.pause(self.stage.store, ""))
        self.model.paused = not self.model.paused

    # -- what holds after every step ----------------------------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        now = self.stage.look()
        found = {job: _place(now, job) for job in self.model.jobs}
        assert found == {job: known.place for job, known in self.model.jobs.items()}
        for lane, jobs in enumerate(self.model.lanes):
            assert [entry.job for entry in now.lanes[str(lane)] if not entry.owner] == jobs
        for job, known in self.model.jobs.items():
            if known.is_pending:
                assert now.entries[job].deliveries == known.deliveries
        assert set(now.cancels) == {job for job, known in self.model.jobs.items() if known.marked}
        counted = self.run(desk.counts(self.stage.store))
        assert int(counted.meta.get("released", 0)) >= len(self.model.at("released"))

    def teardown(self) -> None:
        self.run(self.stage.__aexit__())
        self.runner.close()
        self.server.delete_matching(f"{self.prefix}*")


def _place(now: Snapshot, job: str) -> str:
    row = now.index.get(job, "")
    if not row or row[0] in "dp":
        return now.place(job)
    return {"": "waiting", "~": "released", "!": "suspect"}.get(now.entries[job].owner, "active")


def test_any_sequence_of_verbs_leaves_what_the_model_says(server: Server, prefix: str) -> None:
    factory: Any = lambda: Machine(server, prefix)  # noqa: E731 - a factory works as well as the class it asks for
    run_state_machine_as_test(
        factory,
        # Without shrinking: forty steps can be read, and minutes of shrinking would end in the test's timeout.
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            database=None,
            phases=(Phase.generate,),
        ),
    )
