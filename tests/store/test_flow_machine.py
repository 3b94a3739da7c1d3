"""Any sequence of verbs on jobs with limits, groups and dedup keys leaves what a plain model says; who may go, goes."""

from __future__ import annotations

import itertools
import sys
import time
from typing import Any, cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from streamq._core.dedup import DedupPlan, Mode
from streamq._core.flow import Flow
from streamq._core.limits import OnConflict, OnLimit
from streamq._store import desk
from streamq._store.link import Command
from streamq._store.replies import Taken
from streamq._store.verbs import Item
from tests.servers import Server
from tests.store import lined
from tests.store.flow_model import HOUR, Config, FlowModel, Known
from tests.store.play import Play, run_machine
from tests.store.snapshot import Snapshot, counter
from tests.store.stage import EVERY_OUTCOME, Hand, Lined, limited, parked, refusals, retried

FAR = 10**13
LONG = 10**8
WORKERS = ("w1", "w2")
HANDS = st.sampled_from(WORKERS)
LANES = st.integers(0, 4)
PICKS = st.integers(0, 1000)

LIVE = ("g:a", "g:b", "h.x", "r.s", "k.s")
"""Gates, and a class, whose limits change while jobs wait and run."""

FLOWS: dict[str, tuple[tuple[str, ...], str]] = {
    "plain": ((), ""),
    "group": (("g:a",), ""),
    "group and handler": (("g:b", "h.x"), ""),
    "rate": (("r.s",), ""),
    "group and rate": (("g:a", "r.s"), ""),
    "handler and key": (("h.x", "k.s=1"), ""),
    "other key": (("k.s=2",), ""),
    "ordered": (("g:o", "h.x"), "g:o"),
}
"""Gates and line by name."""

TTL: dict[Mode, int] = {"simple": 0, "throttle": LONG, "debounce": LONG, "keep_last": 0}

OUTCOMES = sorted([*EVERY_OUTCOME, "hand back", "limited", "limited", "retry", "retry"])


def flow_of(name: str, cost: int, on_limit: OnLimit, on_conflict: OnConflict) -> Flow:
    gates, line = FLOWS[name]
    return Flow(gates, line, cost, name == "ordered", None, on_limit, on_conflict)


FLOW = st.builds(
    flow_of,
    name=st.sampled_from(sorted(FLOWS)),
    cost=st.sampled_from([1, 1, 1, 2]),
    on_limit=st.sampled_from(cast("list[OnLimit]", ["wait", "wait", "wait", "drop", "bury"])),
    on_conflict=st.sampled_from(cast("list[OnConflict]", ["queue", "queue", "drop", "cancel_running"])),
)
JOB = st.tuples(FLOW, LANES, st.sampled_from(["now", "now", "now", "due", "far"]), st.sampled_from([0, 0, 0, 1, FAR]))
ENDING = st.tuples(PICKS, st.sampled_from(OUTCOMES), st.booleans())
"""Which attempt, how it ended, and whether it is due again in a long time."""

CHANGES: list[Config] = [
    {"c": 1}, {"c": 2}, {"c": 5}, {"c": 0}, {"c": False}, {"n": 3, "p": HOUR}, {"n": 20, "p": HOUR},
    {"n": 0, "p": HOUR}, {"n": -1, "p": HOUR}, {"x": 1}, {"x": False}, {"w": 2},
]  # fmt: skip


class FlowMachine(Play):
    """Two workers, a producer and people who change limits, on one queue."""

    def __init__(self, server: Server, prefix: str) -> None:
        super().__init__(server, prefix)
        self.model = FlowModel()
        self.held: list[tuple[str, Taken]] = []
        self.last: dict[str, tuple[list[Item], str]] = {}
        self.sent: tuple[Command, bytes] | None = None
        self.numbers = itertools.count(1)

    def hand(self, name: str) -> Hand:
        """Return a hand that knows of lines."""
        found = super().hand(name)
        found.verbs.knows_lines = True
        return found

    def pick(self, number: int) -> tuple[str, Taken]:
        """Return one that was handed out; more often one that still runs, so that it counts what becomes of it."""
        running = [one for one in self.held if one[1].token in self.model.tokens()] if number % 4 else []
        some = running or self.held
        return some[number % len(some)]

    def pick_job(self, number: int, *places: str) -> Known:
        """Return a job in one of these places; of any place when none is named."""
        jobs = self.model.at(*places) if places else list(self.model.jobs.values())
        return jobs[number % len(jobs)]

    @initialize(batch=st.lists(JOB, min_size=4, max_size=8), rate=st.integers(1, 4), places=st.integers(1, 2))
    def begin(self, batch: list[tuple[Flow, int, str, int]], rate: int, places: int) -> None:
        """Start with some limits and some jobs that wait for them."""
        self.configure("g:o", {"c": 1})
        self.configure("g:b", {"s": 3})
        self.configure("h.x", {"c": places})
        self.configure("k.s", {"c": 1})
        self.configure("r.s", {"n": rate, "p": HOUR})
        self.enqueue(batch)
        self.take("w1", 3)

    # -- producing ----------------------------------------------------------------------------------------

    @rule(batch=st.lists(JOB, min_size=1, max_size=4))
    def enqueue(self, batch: list[tuple[Flow, int, str, int]]) -> None:
        jobs: list[Lined] = []
        dues: list[int] = []
        for flow, lane, soon, expires_ms in batch:
            number = next(self.numbers)
            dues.append({"now": 0, "due": number, "far": FAR + number}[soon])
            whole = flow if flow.gates else None
            lane_of_line = 2 if flow.ordered else lane
            when = f"@{dues[-1]}" if dues[-1] else "0"
            jobs.append(Lined(f"j{number}", whole, str(lane_of_line), when, expires_ms if whole else 0, None))
        self.send(jobs, dues)

    @rule(mode=st.sampled_from(sorted(TTL)), key=st.integers(1, 2), flow=FLOW, lane=LANES)
    def enqueue_once(self, mode: Mode, key: int, flow: Flow, lane: int) -> None:
        """A job with a dedup key."""
        name = f"{mode}-{key}"
        plan = DedupPlan(mode, name, TTL[mode])
        gates, line, ordered = flow.gates, "", False
        if flow.ordered:
            gates = ()
        if mode == "keep_last":
            gates, line, ordered, lane = (*gates, f"d.{name}"), f"d.{name}", True, 2
        made = Flow(gates, line, flow.cost, ordered, None, flow.on_limit, flow.on_conflict, plan)
        self.send([Lined(f"j{next(self.numbers)}", made, str(lane), "0", 0, None)], [0])

    def send(self, jobs: list[Lined], dues: list[int]) -> None:
        """Send a batch, and check each answer."""
        jobs = [job._replace(body=b"body of " + job.id.encode()) for job in jobs]
        command = self.stage.lines_command(jobs, seq=next(self.seqs))
        reply = self.run(self.stage.call(command))
        refused = refusals(reply)
        for at, (job, due) in enumerate(zip(jobs, dues, strict=True)):
            known = Known(job.id, int(job.lane), job.body or b"", job.flow, job.expires_ms == 1)
            self.model.admitted(known, due, refused.get(at, ""))
        self.sent = command, reply

    # -- working ------------------------------------------------------------------------------------------

    @rule(name=HANDS, want=st.sampled_from([1, 2, 3, 50, 50]))
    def take(self, name: str, want: int) -> None:
        hand = self.hand(name)
        offer = self.run(hand.offered(want, free=want, places=want))
        self.model.took(hand.name, want, offer.fetched.jobs, offer.fetched.why)
        self.held += [(hand.name, job) for job in offer.fetched.jobs]

    @rule(name=HANDS, want=st.integers(1, 3))
    def take_unheard(self, name: str, want: int) -> None:
        """The reply is lost; the worker finds what it was given by asking for what is pending."""
        hand = self.hand(name)
        offer = self.run(hand.offered(want, free=want, places=want))
        self.model.took(hand.name, want, offer.fetched.jobs, offer.fetched.why)
        assert self.run(hand.own_pending()) == self.model.held_by(hand.name)
        ghosts = [job.token.split(b":", 1)[0] for job in offer.fetched.jobs]
        if ghosts:
            jobs = self.run(hand.adopt(*ghosts))
            assert len(jobs) == len(ghosts)
            self.model.adopted(hand.name, jobs)
            self.held += [(hand.name, job) for job in jobs]

    @precondition(lambda self: self.held)
    @rule(batch=st.lists(ENDING, min_size=1, max_size=4))
    def settle(self, batch: list[tuple[int, str, bool]]) -> None:
        """A worker tells how some of its attempts ended."""
        picked = [(*self.pick(pick), outcome, far) for pick, outcome, far in batch]
        name, items, expected = picked[0][0], dict[bytes, Item](), ""
        for owner, job, outcome, far in picked:
            known = self.model.jobs[job.id.decode()]
            item, due, gate = self.item(job, known, outcome, far=far)
            if owner == name and job.id not in items and item is not None:
                items[job.id] = item
                expected += self.model.settled(job, outcome, due, gate)
        if items:
            answers = self.run(self.hand(name).settle(*items.values()))
            assert answers == expected, items
            self.last[name] = list(items.values()), answers

    @precondition(lambda self: self.held)
    @rule(batch=st.lists(ENDING, min_size=1, max_size=4), name=HANDS)
    def turn(self, batch: list[tuple[int, str, bool]], name: str) -> None:
        """What workers do most of the time: some attempts end, and their places are filled again."""
        self.settle(batch)
        self.take(name, 50)

    @rule(batch=st.lists(JOB, min_size=1, max_size=4), name=HANDS)
    def come_and_go(self, batch: list[tuple[Flow, int, str, int]], name: str) -> None:
        """Jobs come, and are taken at once if they may begin."""
        self.enqueue(batch)
        self.take(name, 50)

    def item(self, job: Taken, known: Known, outcome: str, *, far: bool) -> tuple[Item | None, int, str]:
        """Return a settlement that a worker could send, when the job is due, the gate it is limited by."""
        due, gate = next(self.numbers) + (FAR if far else 0), ""
        match outcome:
            case "retry" if not known.free:
                due = 0 if known.is_ordered and not far else due
                return retried(job, f"@{due or 1}", known.lane), due, gate
            case "park" if not known.is_ordered:
                return parked(job, lane=known.lane), 0, gate
            case "hand back":
                return Item(b"U", job.id, job.token), 0, gate
            case "limited" if known.line and not known.free:
                gate = known.gates[-1]
                return limited(job, gate, LONG), 0, gate
            case "retry" | "park" | "limited":
                return None, 0, gate
            case _:
                return EVERY_OUTCOME[outcome](job), 0, gate

    @precondition(lambda self: self.held)
    @rule(name=HANDS, pick=PICKS)
    def again(self, name: str, pick: int) -> None:
        """Replies were lost: the same is sent again, gets the same answer, and does nothing. Leases are renewed."""
        if self.sent is not None:
            command, reply = self.sent
            assert self.run(self.stage.call(command)) == reply
        hand = self.hand(name)
        if hand.name in self.last:
            items, answers = self.last[hand.name]
            assert self.run(hand.again(*items)) == answers
        owner, job = self.pick(pick)
        for _ in range(2):
            assert self.run(self.hand(owner).renew(job)) == self.model.renewed(job)

    @precondition(lambda self: self.model.at("active", "released", "suspect"))
    @rule(name=HANDS)
    def reclaim(self, name: str) -> None:
        time.sleep(0.002)  # a lease of 1 ms has run out then, for everybody
        hand = self.hand(name)
        ticked = self.run(hand.tick(lease_ms=1))
        self.model.swept(hand.name, ticked.stalled)
        self.held += [(hand.name, job) for job in ticked.stalled]
        assert {job.decode() for job in ticked.marks} == {job for job, one in self.model.jobs.items() if one.marked}

    @rule(name=HANDS)
    def vanish(self, name: str) -> None:
        """A worker is killed, and another one takes its place."""
        self.new_hand(name)

    @precondition(lambda self: self.model.at("delayed"))
    @rule(name=HANDS, limit=st.integers(1, 3))
    def promote(self, name: str, limit: int) -> None:
        due = sorted((one.due, one.job) for one in self.model.at("delayed") if 0 < one.due < FAR)[:limit]
        assert self.run(self.hand(name).promote(limit)).promoted == len(due)
        for _, job in due:
            self.model.wait(self.model.jobs[job], 0)

    @precondition(lambda self: self.model.at("parked"))
    @rule(name=HANDS, want=st.integers(1, 3))
    def unpark(self, name: str, want: int) -> None:
        hand = self.hand(name)
        jobs = self.run(hand.unpark("send", want=want))
        self.model.unparked(hand.name, want, jobs)
        self.held += [(hand.name, job) for job in jobs]

    # -- at the desk --------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        known = self.pick_job(pick)
        record = b"cancelled %d" % next(self.numbers)
        answer = self.run(desk.cancel(self.stage.store, [known.job], record, result_ms=60_000, ask=True))
        assert answer == self.model.cancelled(known)

    @precondition(lambda self: self.model.at("delayed") or self.model.held)
    @rule(pick=PICKS)
    def promote_by_hand(self, pick: int) -> None:
        """A delayed job, or an ordered line that is held for the backoff of its head."""
        jobs = [one.job for one in self.model.at("delayed")] + list(self.model.held.values())
        self.hasten(jobs[pick % len(jobs)])

    def hasten(self, job: str) -> None:
        """Let a job go on now."""
        known = self.model.jobs[job]
        before = self.stage.look()
        line = before.lines.lines.get(known.line)
        assert self.run(desk.promote(self.stage.store, [job])) == 1, (known, before.index.get(job), line)
        if known.place == "delayed":
            self.model.wait(known, 0)
        else:
            self.model.leaves_line(known)

    @precondition(lambda self: self.replayable())
    @rule(pick=PICKS, far=st.booleans())
    def replay(self, pick: int, far: bool) -> None:  # noqa: FBT001 - drawn by name
        jobs = self.replayable()
        known = jobs[pick % len(jobs)]
        due = FAR + next(self.numbers) if far else 0
        item = (known.job, known.lane, f"@{due}" if due else "0", b"again")
        assert self.run(desk.replay(self.stage.store, [item])) == "a"
        self.model.replayed(known, due)

    def replayable(self) -> list[Known]:
        """Return the dead jobs without a dedup key: such a key may be forgotten or not while its job is dead."""
        return [one for one in self.model.at("dead") if one.flow is None or one.flow.dedup is None]

    @rule(
        gate=st.sampled_from(LIVE), what=st.sampled_from(["set", "set", "clear", "shut", "open", "open all"]), to=PICKS
    )
    def fiddle(self, gate: str, what: str, to: int) -> None:
        """Somebody sets or clears a limit, or a provider said "too many" for longer than the play."""
        match what:
            case "set":
                self.configure(gate, CHANGES[to % len(CHANGES)])
            case "clear":
                self.clear(gate)
            case "shut" if gate != "k.s":
                self.shut(gate, LONG)
            case "open":
                self.shut(gate, 0)
            case _:
                for one in sorted(self.model.shut):
                    self.shut(one, 0)

    def configure(self, gate: str, options: Config) -> None:
        """Set options of a gate or class, and learn what its rates remember."""
        self.run(self.stage.set(gate, **options))
        config = {**self.model.config.get(gate, {}), **options}
        self.model.config[gate] = {name: value for name, value in config.items() if value is not False}
        self.learn()

    def clear(self, gate: str) -> None:
        """Take a limit away."""
        self.run(self.stage.clear(gate))
        self.model.config.pop(gate, None)
        self.learn()

    def shut(self, gate: str, ms: int) -> None:
        """Shut a gate, or open it."""
        self.run(self.stage.shut(gate, ms))
        (self.model.shut.add if ms else self.model.shut.discard)(gate)

    def learn(self) -> None:
        """A gate without a rate, or without jobs, may forget what was spent there; never the reverse."""
        now = self.stage.look().lines
        for gate in list(self.model.spent):
            found = _spent(now, gate)
            assert found <= self.model.spent[gate] or self.model.rate(gate) < 0
            self.model.spent[gate] = found

    @rule(name=HANDS)
    def pause_and_resume(self, name: str) -> None:
        """Nobody is given anything meanwhile, whatever is open."""
        self.run(desk.pause(self.stage.store, ""))
        self.model.paused = True
        self.take(name, 50)
        self.reclaim(name)
        self.run(desk.resume(self.stage.store))
        self.model.paused = False

    # -- the end ------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.drain()
        finally:
            super().teardown()

    def drain(self) -> None:
        """Open everything, finish everything: each job ends, and nothing stays behind."""
        model = self.model
        for gate in sorted(model.shut):
            self.shut(gate, 0)
        for gate in (*LIVE, "g:o"):
            self.clear(gate)
        for job in [*(one.job for one in model.at("delayed")), *model.held.values()]:
            self.hasten(job)
        for _ in range(200):
            if model.at("suspect"):
                self.reclaim("w1")
            if model.at("parked"):
                self.unpark("w1", 50)
            self.take("w1", 50)
            for known in model.at("active"):
                assert known.taken is not None
                item = EVERY_OUTCOME["complete"](known.taken)
                assert self.run(self.hand("w1").settle(item)) == model.settled(known.taken, "complete", 0)
            if not [one for one in model.jobs.values() if one.is_unsettled]:
                break
        now = self.stage.look()
        assert not now.index
        lined.idle(now.lines)

    # -- what holds after every step ----------------------------------------------------------------------

    def compare(self, now: Snapshot) -> None:
        model = self.model
        assert {job: _place(now, job) for job in model.jobs} == {job: known.place for job, known in model.jobs.items()}
        assert now.index.keys() == {job for job, known in model.jobs.items() if known.is_unsettled}
        for lane, jobs in enumerate(model.lanes):
            assert [entry.job for entry in now.lanes[str(lane)] if not entry.owner] == jobs
        for job, known in model.jobs.items():
            if known.is_pending:
                assert now.entries[job].deliveries == known.claims, known
            if known.taken is not None:
                assert now.rows[job] == known.taken.token, known
            if known.is_unsettled:
                assert (now.bodies.get(job) or now.entries[job].body) == known.body, known
        assert set(now.cancels) == {job for job, known in model.jobs.items() if known.marked}
        assert counter(now, "stalled") == model.stalled
        for gate in model.gates():
            state = now.lines.gate(gate)
            assert (state.used, state.waiting) == (model.used(gate), model.waiting(gate)), gate
            if model.rate(gate) >= 0:
                assert _spent(now.lines, gate) == model.spent[gate], gate


def _spent(now: lined.Lines, gate: str) -> int:
    return int(sum(now.gate(gate).log[1::2]))


def _place(now: Snapshot, job: str) -> str:
    row = now.index.get(job, "")
    if row[:1] == "f":
        return "line"
    if not row or row[0] in "dp":
        return now.place(job)
    return {"": "waiting", "~": "released", "!": "suspect"}.get(now.entries[job].owner, "active")


@pytest.mark.timeout(3600)
def test_any_sequence_of_verbs_with_limits_leaves_what_the_model_says(
    each_server: Server, prefix: str, examples: int
) -> None:
    factory: Any = lambda: FlowMachine(each_server, prefix)  # noqa: E731 - a factory works as well as a class
    run_machine(factory, examples, steps=50)
