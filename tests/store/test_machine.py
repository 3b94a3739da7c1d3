"""Any sequence of verbs by any hands, zombies and lost replies among them, leaves what a plain model says."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from streamq._core import tally
from streamq._core.dedup import DedupPlan
from streamq._core.flow import Flow
from streamq._core.report import Slots
from streamq._core.tally import COUNTERS
from streamq._store import desk
from streamq._store.link import Command
from streamq._store.replies import Taken
from streamq._store.verbs import Item
from tests.servers import Server
from tests.store.model import KINDS, WINDOW, Model, who
from tests.store.play import Play, run_machine
from tests.store.snapshot import Snapshot, counter
from tests.store.stage import EVERY_OUTCOME, Lined, Refusal, parked, refusals, retried

FAR = 10**13
MINUTE = 3
WAITED, RAN = 1500, 700
"""Microseconds of each attempt."""

WORKERS = ("w1", "w2")
HANDS = st.sampled_from(WORKERS)
CUSTOM = st.sampled_from(["c1", "c2", "c3"])
LANES = st.integers(0, 4)
SOON = st.sampled_from(["now", "now", "due", "far"])
PICKS = st.integers(0, 1000)
"""Which of several: modulo their number, so that any number is one."""

OUTCOMES = sorted([*EVERY_OUTCOME, "snooze"])


class Machine(Play):
    """Two workers (and those that vanished), a producer and people at the desk, on one queue."""

    def __init__(self, server: Server, prefix: str) -> None:
        super().__init__(server, prefix, window=WINDOW)
        self.model = Model()
        self.held: list[tuple[str, Taken]] = []
        self.last: dict[str, tuple[Item, str]] = {}
        self.sent: tuple[Command, bytes] | None = None
        self.numbers = itertools.count(1)

    def hold(self, name: str, jobs: list[Taken]) -> None:
        """Remember for ever what was handed out: any of it may be settled later, rightly or not."""
        self.held += [(name, job) for job in jobs]

    def pick(self, number: int) -> tuple[str, Taken]:
        """Return one that was handed out; young ones more often."""
        recent = self.held[-6:] if number % 3 else self.held
        return recent[number % len(recent)]

    def pick_job(self, number: int, *places: str) -> str:
        """Return a job in one of these places; of any place when none is named."""
        jobs = self.model.at(*places) if places else list(self.model.jobs)
        return jobs[number % len(jobs)]

    @initialize(lanes=st.lists(LANES, min_size=6, max_size=6), wants=st.tuples(st.integers(1, 3), st.integers(0, 2)))
    def begin(self, lanes: list[int], wants: tuple[int, int]) -> None:
        """Start in the middle of things: most of what can go wrong needs jobs in many hands."""
        self.enqueue([(lane, "now", None) for lane in lanes] + [(lanes[0], "due", "c1")], bound=None)
        for name, want in zip(WORKERS, wants, strict=True):
            if want:
                self.fetch(name, want)

    # -- producing ----------------------------------------------------------------------------------------

    @rule(
        batch=st.lists(st.tuples(LANES, SOON, st.none() | CUSTOM), min_size=1, max_size=4),
        bound=st.none() | st.integers(0, 2),
    )
    def enqueue(self, batch: list[tuple[int, str, str | None]], bound: int | None) -> None:
        """A batch in one call; ``bound``: so many more jobs have room."""
        most = 0 if bound is None else len(self.model.unsettled) + bound
        jobs: list[tuple[str, str, str]] = []
        expected: dict[int, str] = {}
        for at, (lane, soon, custom) in enumerate(batch):
            number = next(self.numbers)
            due = {"now": 0, "due": number, "far": FAR + number}[soon]
            job, letter = (custom, f"{lane}c") if custom else (f"j{number}", str(lane))
            jobs.append((job, letter, f"@{due}" if due else "0"))
            refused = self.model.enqueue(job, lane, due, most=most)
            if refused:
                expected[at] = refused
        counted = tally.arrived([who(job) for job, _, _ in jobs], MINUTE)
        command = self.stage.enqueue_command(jobs, seq=next(self.seqs), max_pending=most, counted=counted)
        reply = self.run(self.stage.call(command))
        assert refusals(reply) == expected
        self.sent = command, reply

    @rule(lane=LANES, key=st.sampled_from(["k1", "k2"]))
    def enqueue_once(self, lane: int, key: str) -> None:
        """A job that is not added while one of its key is unsettled."""
        job = f"k{next(self.numbers)}"
        one = Lined(job, Flow((), dedup=DedupPlan("simple", key)), str(lane))
        counted = tally.arrived([who(job)], MINUTE)
        command = self.stage.lines_command([one], seq=next(self.seqs), counted=counted)
        reply = self.run(self.stage.call(command))
        assert refusals(reply).get(0, "") == self.model.enqueue(job, lane, 0, key=key)
        self.sent = command, reply

    @rule()
    def enqueue_again(self) -> None:
        """The reply was lost: the same batch gets the same answer and does nothing."""
        if self.sent is not None:
            command, reply = self.sent
            assert self.run(self.stage.call(command)) == reply

    @rule()
    def enqueue_late(self) -> None:
        """A batch that was given up long ago arrives after its successor."""
        if self.sent is not None:
            late = self.stage.enqueue_command([("late", "2", "0")], seq=1)
            if late[3 + int(late[2]) + 1] == self.sent[0][3 + int(self.sent[0][2]) + 1]:
                return  # it is the last one there was
            with pytest.raises(Refusal, match="SQSTALE"):
                self.run(self.stage.call(late))

    # -- working ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.at("waiting", "released"))
    @rule(name=HANDS, want=st.integers(1, 4))
    def fetch(self, name: str, want: int) -> None:
        hand = self.hand(name)
        jobs = self.run(hand.fetch(want))
        self.model.fetched(hand.name, want, jobs)
        self.hold(hand.name, jobs)

    @precondition(lambda self: self.model.at("waiting", "released"))
    @rule(name=HANDS, want=st.integers(1, 3))
    def fetch_unheard(self, name: str, want: int) -> None:
        """The reply is lost: the jobs are this worker's, and it knows nothing of them."""
        hand = self.hand(name)
        self.model.fetched(hand.name, want, self.run(hand.fetch(want)))

    @precondition(lambda self: self.model.at("active"))
    @rule(name=HANDS, pick=PICKS)
    def adopt(self, name: str, pick: int) -> None:
        """A worker finds its ghosts, and takes some of them over."""
        hand = self.hand(name)
        mine = self.model.held_by(hand.name)
        assert self.run(hand.own_pending()) == mine
        known = {job.token for owner, job in self.held if owner == hand.name}
        ghosts = sorted(place for place in mine if not any(token.startswith(place + b":") for token in known))
        some = ghosts[: pick % 4]
        if some:
            jobs = self.run(hand.adopt(*some))
            self.model.adopted(hand.name, some, jobs)
            self.hold(hand.name, jobs)

    @precondition(lambda self: self.held)
    @rule(pick=PICKS, outcome=st.sampled_from(OUTCOMES), far=st.booleans())
    def settle(self, pick: int, outcome: str, far: bool) -> None:  # noqa: FBT001 - drawn by name
        name, job = self.pick(pick)
        lane = self.model.jobs[job.id.decode()].lane
        due = next(self.numbers) + (FAR if far else 0)
        if outcome in {"retry", "snooze"}:
            item = retried(job, f"@{due}", lane, "retried" if outcome == "retry" else "snoozed")
        elif outcome == "park":
            item = parked(job, lane=lane)
        else:
            item = EVERY_OUTCOME[outcome](job)
        if outcome in KINDS:
            one = who(job.id.decode())
            item = item._replace(fact=(one.name, one.tenant, KINDS[outcome], WAITED, RAN))
        answer = self.run(self.hand(name).settle(item))
        assert answer == self.model.settled(job, outcome, due), (job, outcome)
        self.last[name] = item, answer

    @rule(name=HANDS)
    def settle_again(self, name: str) -> None:
        """The reply was lost."""
        hand = self.hand(name)
        if hand.name in self.last:
            item, answer = self.last[hand.name]
            assert self.run(hand.again(item)) == answer

    @precondition(lambda self: self.held)
    @rule(pick=PICKS)
    def renew(self, pick: int) -> None:
        name, job = self.pick(pick)
        for _ in range(2):
            assert self.run(self.hand(name).renew(job)) == self.model.renewed(job)

    @precondition(lambda self: self.model.at("active", "released", "suspect"))
    @rule(name=HANDS)
    def reclaim(self, name: str) -> None:
        time.sleep(0.002)  # a lease of 1 ms has run out then, for everybody
        hand = self.hand(name)
        ticked = self.run(hand.tick(lease_ms=1))
        self.model.swept(hand.name, ticked.stalled)
        self.hold(hand.name, ticked.stalled)
        assert {job.decode() for job in ticked.marks} == {job for job, one in self.model.jobs.items() if one.marked}

    @rule(name=HANDS)
    def vanish(self, name: str) -> None:
        """A worker is killed, and another one takes its place: what it held stays pending for the dead one."""
        self.new_hand(name)

    @rule(name=HANDS)
    def leave(self, name: str) -> None:
        """A worker goes in good order; it may come back."""
        hand = self.hand(name)
        holds = len(self.model.held_by(hand.name))
        assert self.run(hand.leave()) == holds
        if not holds:
            self.last.pop(hand.name, None)  # nothing is remembered of it

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
        hand = self.hand(name)
        jobs = self.run(hand.unpark("send", want=want))
        self.model.unparked(hand.name, want, jobs)
        self.hold(hand.name, jobs)

    # -- at the desk --------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICKS, ask=st.booleans(), again=st.booleans())
    def cancel(self, pick: int, ask: bool, again: bool) -> None:  # noqa: FBT001 - drawn by name
        """Cancel, or remove (``ask`` False): it leaves what runs alone."""
        job = self.pick_job(pick)
        record = b"cancelled %d" % next(self.numbers)
        answer = self.model.cancelled(job, ask=ask)
        for _ in range(1 + again):
            assert self.run(desk.cancel(self.stage.store, [job], record, result_ms=60_000, ask=ask)) == answer

    @precondition(lambda self: self.model.at("delayed"))
    @rule(pick=PICKS)
    def promote_by_hand(self, pick: int) -> None:
        job = self.pick_job(pick, "delayed")
        assert self.run(desk.promote(self.stage.store, [job])) == 1
        self.model.promoted(job)
        assert self.run(desk.promote(self.stage.store, [job])) == 0

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICKS, lane=LANES)
    def reprioritise(self, pick: int, lane: int) -> None:
        job = self.pick_job(pick)
        body = b"moved %d" % next(self.numbers)
        item = (job, lane, self.model.jobs[job].body, body)
        assert self.run(desk.reprioritise(self.stage.store, [item])) == self.model.moved(job, lane, body)

    @precondition(lambda self: self.replayable())
    @rule(pick=PICKS, far=st.booleans())
    def replay(self, pick: int, far: bool) -> None:  # noqa: FBT001 - drawn by name
        jobs = self.replayable()
        job = jobs[pick % len(jobs)]
        due = FAR + next(self.numbers) if far else 0
        item = (job, self.model.jobs[job].lane, f"@{due}" if due else "0", b"again")
        assert self.run(desk.replay(self.stage.store, [item])) == self.model.replayed(job, due)
        assert self.run(desk.replay(self.stage.store, [item])) == "g"

    def replayable(self) -> list[str]:
        """Return the dead jobs without a dedup key: such a key may be forgotten or not while its job is dead."""
        return [job for job in self.model.at("dead") if not self.model.jobs[job].key]

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICKS)
    def purge(self, pick: int) -> None:
        """Take a dead letter away, if it is one."""
        job = self.pick_job(pick)
        for expected in (self.model.purged(job), 0):
            assert self.run(desk.purge(self.stage.store, ids=[job])) == expected

    @precondition(lambda self: self.model.at("record"))
    @rule(pick=PICKS)
    def forget(self, pick: int) -> None:
        """The time of a record is over: its id is free again."""
        job = self.pick_job(pick, "record")
        self.server.command("DEL", self.stage.keys.record(job))
        self.model.jobs[job].place = "gone"

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICKS)
    def look(self, pick: int) -> None:
        job = self.pick_job(pick)
        assert self.run(desk.look(self.stage.store, job, channel="me")).place == self.model.looked(job)

    @precondition(lambda self: self.model.at("waiting", "active"))
    @rule()
    def pause_or_resume(self) -> None:
        self.run(desk.resume(self.stage.store) if self.model.paused else desk.pause(self.stage.store, ""))
        self.model.paused = not self.model.paused

    # -- what holds after every step ----------------------------------------------------------------------

    def compare(self, now: Snapshot) -> None:
        model = self.model
        found = {job: _place(now, job) for job in model.jobs}
        assert found == {job: known.place for job, known in model.jobs.items()}
        assert now.index.keys() == set(model.unsettled)
        for lane, jobs in enumerate(model.lanes):
            assert [entry.job for entry in now.lanes[str(lane)] if not entry.owner] == jobs
        for job, known in model.jobs.items():
            if known.is_pending:
                assert now.entries[job].deliveries == known.deliveries
            if known.place == "active":
                assert (now.entries[job].owner, now.rows[job]) == (known.owner, known.token)
            if known.is_unsettled:
                assert (now.bodies.get(job) or now.entries[job].body) == known.body
        assert set(now.cancels) == {job for job, known in model.jobs.items() if known.marked}
        assert now.waiters.keys() == {job for job, known in model.jobs.items() if known.waited_for}
        assert list(now.window) == model.window
        assert {name: counter(now, name) for name in TOTALS} == {name: model.totals[name] for name in TOTALS}
        assert _counted(now) == model.counted
        counted = self.run(desk.counts(self.stage.store))
        assert int(counted.meta.get("released", 0)) >= len(model.at("released"))
        assert (counted.unsettled, counted.window) == (len(model.unsettled), len(model.window))
        assert (counted.delayed, counted.parked, counted.dead) == tuple(
            len(model.at(place)) for place in ("delayed", "parked", "dead")
        )
        assert counted.pending == len(model.at("active", "released", "suspect"))


TOTALS = ("completed", "retried", "snoozed", "failed", "dead", "cancelled", "replayed", "stalled")


def _counted(now: Snapshot) -> dict[str, Counter[str]]:
    """What the server counted of handlers and tenants; ever and by the minute must be the same."""
    ever: dict[str, Slots] = {}
    lately: dict[str, Slots] = {}
    for name, slots in now.counters.items():
        ever.setdefault(name[1:], Slots()).add(slots)
    for minutes in now.minutes.values():
        for name, slots in minutes.items():
            lately.setdefault(name[1 if name[0] == "T" else 2 :], Slots()).add(slots)
    assert {name: slots.found for name, slots in ever.items()} == {
        name: slots.found for name, slots in lately.items() if name != "ada"
    }
    return {name: _numbers(slots) for name, slots in lately.items()}


def _numbers(slots: Slots) -> Counter[str]:
    row = slots.row("")
    assert row.wait.sum_ms * 1000 == row.wait.count * WAITED
    assert row.run.sum_ms * 1000 == row.run.count * RAN
    assert row.wait.count == row.run.count
    numbers = {name: getattr(row, name) for name in COUNTERS} | {"attempts": row.wait.count}
    return Counter({name: number for name, number in numbers.items() if number})


def _place(now: Snapshot, job: str) -> str:
    row = now.index.get(job, "")
    if not row or row[0] in "dp":
        return now.place(job)
    return {"": "waiting", "~": "released", "!": "suspect"}.get(now.entries[job].owner, "active")


@pytest.mark.timeout(3600)
def test_any_sequence_of_verbs_leaves_what_the_model_says(each_server: Server, prefix: str, examples: int) -> None:
    factory: Any = lambda: Machine(each_server, prefix)  # noqa: E731 - a factory works as well as the class it asks for
    run_machine(factory, examples)
