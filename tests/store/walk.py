"""A random walk over every verb of flow control: workers that crash, limits that change, replies that get lost."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streamq._core.dedup import DedupPlan, Mode
from streamq._core.flow import Batch, Flow
from streamq._store import desk, lines
from streamq._store.lines import LineRecord
from streamq._store.replies import Taken, place_of
from streamq._store.verbs import Item
from tests.store import lined
from tests.store import stage as tools
from tests.store.lined import Config
from tests.store.snapshot import pending_of
from tests.store.stage import Hand, Lined, Stage

STATIC: dict[str, Config] = {
    "r.slide": {"n": 3, "p": 60},
    "r.bucket": {"n": 5, "p": 100, "b": 2},
    "r.clock": {"n": 4, "p": 50, "o": 13},
    "r.big": {"n": 150, "p": 100},
    "r.keyed": {"n": 2, "p": 40},
    "h.slots": {"c": 3},
    "k.slots": {"c": 2},
    "g": {"c": 4},
    "g:o1": {"c": 1},
    "g:o2": {"c": 1},
}
"""Limits that stay as they are all through a walk, so that it can be told whether one was exceeded."""

LIVE = ("r.live", "h.live", "k.live", "r.other", "g:v1", "g:v2")
"""Gates and classes whose limits change while the walk goes on."""

MOST_DELIVERIES = 3
"""A job that was handed out more often has stalled too often, and is buried unrun."""

PLACES = 6
BACK_UP_MS = 100
"""So much later than the one who was told of an alarm the others look."""


class Start(NamedTuple):
    """A start as a rate gate sees it."""

    at_ms: int
    cost: int


@dataclass
class Worker:
    """One worker: a hand, what it holds, and whether it would take again without being woken."""

    name: str
    hand: Hand
    held: dict[bytes, Taken] = field(default_factory=dict[bytes, Taken])
    awake: bool = True
    alarm_ms: float = math.inf
    """When it looks again by itself, on the server's clock."""


@dataclass
class Job:
    """What the walk knows of a job that was created."""

    body: bytes
    flow: Flow | None
    ends: int = 0
    left: bool = False
    """Whether it was out of its line for a while: parked, because nobody had its handler."""
    seq: int = 0
    """Its place in its line, which it keeps for life."""


class Walk:
    """One queue under three workers. Seeded: the choices are the same again, the times are not."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage, self.random = stage, random.Random(seed)
        self.workers = [self._worker(number) for number in range(3)]
        self.numbers = itertools.count(1)
        self.jobs: dict[str, Job] = {}
        self.zombies: list[Taken] = []
        self.starts: dict[str, dict[bytes, Start]] = {}
        """By gate, without those that were given back before they began."""
        self.all_starts: dict[str, list[Start]] = {}
        self.keys: dict[str, tuple[str, int]] = {}
        self.producer_seq = 0
        self.paused = False
        self.queue_limit: Config = {}
        self.queue_starts: list[Start] = []
        self.counts = Counter[str]()

    def _worker(self, number: int) -> Worker:
        hand = self.stage.hand(f"w{number}")
        hand.verbs.knows_lines = True
        return Worker(hand.name, hand)

    def one_in(self, number: int) -> bool:
        return self.random.randrange(number) == 0

    # -- the walk -----------------------------------------------------------------------------------------

    async def go(self, steps: int) -> None:
        """Make so many steps, looking at everything now and then, and drain the queue."""
        await self.stage.declare("walk", {**STATIC, "r.live": {"n": 4, "p": 30}, "h.live": {"c": 2}})
        acts: list[tuple[Any, int]] = [
            (self.enqueue, 22), (self.turn, 34), (self.wake, 16), (self.wait, 8), (self.promote, 6), (self.crash, 3),
            (self.sweep, 6), (self.zombie, 4), (self.cancel, 3), (self.promote_by_hand, 2), (self.reprioritise, 2),
            (self.replay, 3), (self.change, 5), (self.unpark, 3), (self.lose_reply, 2), (self.pause, 1),
            (self.queue_gate, 2), (self.shut, 2),
        ]  # fmt: skip
        for step in range(steps):
            [act] = self.random.choices([act for act, _ in acts], [weight for _, weight in acts])
            self.counts[act.__name__] += 1
            await act()
            self.look_for_sleepers()
            if step % 5 == 0:
                self.look()
        await self.drain()
        self.check_rates()

    def look(self) -> None:
        """Assert every invariant that needs no history."""
        now = self.stage.look().lines
        for name, gate in now.gates.items():
            config = lined.config_of(now, name)
            if name in STATIC or (lined.class_of(name) in STATIC and name not in LIVE):
                assert gate.used <= config.get("c", gate.used), f"{name} holds {gate.used} of {config['c']}"
        self.check_order(now)
        self.check_tokens(now)

    def check_order(self, now: lined.Lines) -> None:
        """Ordered lines: who was taken came before all that wait, and is alone."""
        for job, record in now.records.items():
            known = self.jobs[job]
            if record.ordered and record.seq and not known.left:
                known.seq = known.seq or record.seq
                assert record.seq == known.seq, f"{job} lost its place in {record.line}"
        for name in ("g:o1", "g:o2"):
            if name not in now.lines:
                continue
            waiting = [one for one in now.jobs if one.number == now.lines[name].number]
            taken = [now.records[job] for job, row in self.rows().items() if row[:1] == b"t" and job in now.records]
            for record in taken:
                if record.line == name and not record.free:
                    late = [one for one in waiting if (one.lane, one.seq) < (record.lane, record.seq)]
                    # One that expired was handed over out of its turn; one that was parked was elsewhere.
                    late = [one for one in late if not now.records[one.job].expires_ms]
                    late = [one for one in late if not self.jobs[one.job].left]
                    assert not late, f"{late} of {name} were passed by {record}"

    def check_tokens(self, now: lined.Lines) -> None:
        """No token is spent but by a start."""
        for gate in ("r.slide", "r.keyed=1", "r.keyed=2", "r.keyed=3"):
            config, log = lined.config_of(now, gate), now.gate(gate).log
            since = now.now_ms - config["p"]
            spent = sum(part for at, part in zip(log[::2], log[1::2], strict=True) if at > since)
            began = sum(start.cost for start in self.all_starts.get(gate, []) if start.at_ms > since)
            assert spent <= began, f"{gate}: {spent} tokens are spent, {began} were taken"

    def rows(self) -> dict[str, bytes]:
        flat = self.stage.server.command("HGETALL", self.stage.keys.index)
        return {lined.text(flat[at]): flat[at + 1] for at in range(0, len(flat), 2)}

    def look_for_sleepers(self) -> None:
        """No wake-up is lost: with work that can be had, a token lies in the bell or somebody is on his way."""
        if self.paused or self.queue_limit or any(one.awake for one in self.workers):
            return
        command, keys = self.stage.server.command, self.stage.keys
        if all(len(one.held) >= PLACES for one in self.workers) or command("LLEN", keys.bell):
            return
        assert not self.takeable(), f"work can be had, everybody sleeps: {self.takeable()}"
        for what, due in lined.scored(command("ZRANGE", keys.flow[10], 0, 0, "WITHSCORES")):
            # One that has no room by then has to ring.
            knows = min(one.alarm_ms for one in self.workers)
            late = knows - int(due)
            assert late <= BACK_UP_MS, f"nobody knows of {what!r}, the next one who looks is {late} ms late"

    def takeable(self) -> list[str]:
        """Ready lines, and lanes with entries nobody was given."""
        command, keys = self.stage.server.command, self.stage.keys
        found = [f"ring {lane}" for lane in range(5) if command("ZCARD", keys.flow[2 + lane])]
        for lane, key in enumerate(keys.lanes):
            if command("XLEN", key) > len(pending_of(self.stage.server, key)):
                found.append(f"lane {lane}")
        return found

    # -- producing ----------------------------------------------------------------------------------------

    async def enqueue(self) -> None:
        if self.one_in(3):
            await self.enqueue_dedup()
            return
        batch = [self.make() for _ in range(self.random.randint(1, 6))]
        refused = await self.send(batch)
        for at, one in enumerate(batch):
            if at in refused:
                assert refused[at].split(":")[0] in {"limited", "conflict", "group"}, refused[at]
            else:
                self.jobs[one.id] = Job(one.body or b"", one.flow)

    async def send(self, batch: list[Lined]) -> dict[int, str]:
        self.producer_seq += 1
        command = self.stage.lines_command(batch, seq=self.producer_seq)
        reply = await self.stage.call(command)
        if self.one_in(8):
            assert await self.stage.call(command) == reply
        self.now_ms = int(reply.split(b"|")[0])
        return tools.refusals(reply)

    def make(self) -> Lined:
        job, lane = f"j{next(self.numbers)}", str(self.random.choice([0, 1, 2, 2, 2, 3, 4]))
        flow = self.random.choice([self.plain, self.gated, self.gated, self.gated, self.ordered, self.batched])()
        if flow is not None and flow.ordered:
            lane = "2"
        when = self.random.choice(["0"] * 6 + ["+5", "+40"])
        expires = int(self.stage_ms() + self.random.randint(1, 80)) if flow and self.one_in(6) else 0
        return Lined(job, flow, lane, when, expires, f"body {job}".encode())

    def stage_ms(self) -> int:
        seconds, micros = self.stage.server.command("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def plain(self) -> Flow | None:
        return None

    def gated(self) -> Flow:
        choose, number = self.random.choice, self.random.randint(1, 3)
        groups = [f"g:{choose(['a', 'b', 'c', 'v1', 'v2'])}"]
        handlers = [choose(["h.slots", "h.live", "h.none"])]
        rates = ["r.slide", "r.bucket", "r.clock", "r.big", f"r.keyed={number}", "r.live", f"r.other={number}"]
        rates = [choose(rates)]
        keys = [choose([f"k.slots={number}", f"k.live={number}"])]
        found = [name for some in (groups, handlers, rates, keys) if self.one_in(2) for name in some]
        policy = self.random.random()
        return Flow(
            tuple(found or rates),
            cost=choose([1, 1, 1, 2]),
            on_limit="drop" if policy < 0.1 else "bury" if policy < 0.2 else "wait",
            on_conflict="drop" if 0.2 < policy < 0.3 else "cancel_running" if 0.3 < policy < 0.4 else "queue",
        )

    def ordered(self) -> Flow:
        group = self.random.choice(["g:o1", "g:o2"])
        return Flow((group, *(["h.live"] if group == "g:o2" else [])), group, ordered=True)

    def batched(self) -> Flow:
        key = self.random.choice(["1", "2"])
        batch = Batch(3, 20) if key == "1" else Batch(4, 0, 10, 30)
        return Flow(("r.slide", "k.slots=9") if key == "2" else (), f"b.h={key}", batch=batch)

    async def enqueue_dedup(self) -> None:
        modes: list[Mode] = ["simple", "throttle", "debounce", "keep_last"]
        mode = self.random.choice(modes)
        key, job = f"{mode}-{self.random.randint(1, 2)}", f"j{next(self.numbers)}"
        ttl = {"throttle": 30, "debounce": 20}.get(mode, 0)
        gates: tuple[str, ...] = self.random.choice([(), ("h.live",), ("g:a", "r.slide")])
        line = ""
        if mode == "keep_last":
            gates, line = ("h.slots", f"d.{key}"), f"d.{key}"
        plan = DedupPlan(mode, key, ttl, 50 if mode == "debounce" else 0)
        flow = Flow(gates, line, ordered=bool(line), dedup=plan)
        one = Lined(job, flow, "2", "0", 0, f"body {job}".encode())
        other, until = self.keys.get(key, ("", 0))
        row = self.rows().get(other, b"")
        record = lines.held(row)
        refused = (await self.send([one])).get(0, "")
        met = {
            "simple": bool(row),
            "throttle": self.now_ms < until,
            "debounce": row[:1] == b"d",
            "keep_last": row[:1] in {b"f", b"d"} and record is not None and record.takes == 0,
        }[mode]
        if refused.startswith("group"):
            return
        if abs(self.now_ms - until) > 3:
            assert refused == (f"met:{other.encode().hex()}" if met else ""), (mode, other, row, refused)
        if not refused:
            self.jobs[job] = Job(one.body or b"", flow)
            self.keys[key] = job, self.now_ms + ttl
        elif mode in {"debounce", "keep_last"}:
            self.jobs[other].body = one.body or b""

    # -- working ------------------------------------------------------------------------------------------

    async def turn(self) -> None:
        """A worker settles some of what it holds and takes in the same breath."""
        busy = [one for one in self.workers if one.held] or self.workers
        worker = self.random.choice(busy)
        some = [job for job in list(worker.held.values()) if self.one_in(2)]
        if some:
            await self.settle(worker, some)
        elif not worker.awake:
            return
        await self.take(worker)

    async def wake(self) -> None:
        """Whoever waits longest gets the token; others look when they are awake or their alarm is due."""
        awake = [one for one in self.workers if one.awake]
        sleepers = [one for one in self.workers if len(one.held) < PLACES]
        if awake:
            await self.take(self.random.choice(awake))
        elif sleepers and (self.stage.server.command("LPOP", self.stage.keys.bell) or self.one_in(2)):
            await self.take(self.random.choice(sleepers))

    async def take(self, worker: Worker) -> None:
        want = PLACES - len(worker.held)
        if want <= 0:
            worker.awake = False
            return
        offer = await worker.hand.offered(want, free=want, places=PLACES)
        why = offer.fetched.why
        assert why in {"full", "empty", "gate", "paused"}, why
        worker.awake = why == "full" and len(offer.fetched.jobs) < want
        worker.alarm_ms = offer.fetched.now_ms + offer.alarm_ms if offer.alarm_ms >= 0 else math.inf
        self.hold(worker, offer.fetched.jobs, offer.fetched.now_ms, is_take=True)
        self.check_queue_gate(offer.fetched.jobs, offer.fetched.now_ms)
        if why == "empty":
            assert not self.takeable(), f"left behind: {self.takeable()}"
        worker.awake = worker.awake or (why == "full" and len(worker.held) < PLACES)

    def check_queue_gate(self, jobs: list[Taken], now_ms: int) -> None:
        """The gate of the whole queue: plain jobs are subject to it, too; what was released does not run."""
        fresh = [job for job in jobs if b"|" in job.token or job.token.endswith(b":0")]
        starts = [job for job in fresh if job.mark in {b"", b"batch", b"limited"}]
        limit, keys = self.queue_limit, self.stage.keys
        if starts and "c" in limit:
            owners = [owner for key in (*keys.lanes, keys.taken) for owner, _ in self.pending(key)]
            running = len([owner for owner in owners if owner != "~"])
            followers = len([job for job in fresh if job not in starts])
            assert running - followers <= limit["c"], f"{running} jobs run at once, limit {limit['c']}"
        if "n" in limit and "b" not in limit:
            self.queue_starts += [Start(now_ms, 1) for _ in starts]
            inside = [start for start in self.queue_starts if start.at_ms > now_ms - limit["p"]]
            assert len(inside) <= limit["n"], f"{len(inside)} starts of the queue within {limit['p']} ms"

    def pending(self, key: bytes) -> list[tuple[str, int]]:
        return list(pending_of(self.stage.server, key).values())

    def hold(self, worker: Worker, jobs: list[Taken], now_ms: int, *, is_take: bool = False) -> None:
        for job in jobs:
            name, record = job.id.decode(), lines.held(job.token)
            assert job.body == self.jobs[name].body, f"{name} has the body {job.body!r}"
            worker.held[job.id] = job
            if record is None:
                continue
            if is_take and job.deliveries == 1 + record.stalls:
                expired = 0 < record.expires_ms <= record.taken_ms
                assert not expired or record.free, f"{name} began after its end"
            if not record.free and job.deliveries <= MOST_DELIVERIES:
                self.note_start(job, record, now_ms if job.deliveries > record.stalls + 1 else record.taken_ms)

    def note_start(self, job: Taken, record: LineRecord, at_ms: int) -> None:
        for gate in record.gates:
            if gate[0] == "r":
                start = Start(at_ms, record.cost)
                self.starts.setdefault(gate, {})[place_of(job.token) + b"@%d" % at_ms] = start
                self.all_starts.setdefault(gate, []).append(start)

    def forget_start(self, job: Taken) -> None:
        for starts in self.starts.values():
            for key in [key for key in starts if key.startswith(place_of(job.token) + b"@")]:
                del starts[key]

    async def settle(self, worker: Worker, some: list[Taken]) -> None:
        items = [self.outcome(job) for job in some]
        answers = await worker.hand.settle(*items)
        if self.one_in(6):
            assert await worker.hand.again(*items) == answers
        for item, answer, job in zip(items, answers, some, strict=True):
            del worker.held[job.id]
            assert answer in "al" or item.verb == b"x", (item, answer)
            if answer == "a":
                self.settled(item, job)
        worker.awake = True

    def settled(self, item: Item, job: Taken) -> None:
        known = self.jobs[job.id.decode()]
        if item.verb in b"cCbe":
            known.ends += 1
        known.left = known.left or item.verb == b"p"
        if item.verb in b"upv":
            self.forget_start(job)
        if item.verb == b"r":
            known.body = b"again:" + job.id
        if item.verb == b"l":
            known.body = b"again:" + job.id

    def outcome(self, job: Taken) -> Item:
        """How an attempt ends: as its marks demand, else by chance."""
        record = lines.held(job.token)
        if job.mark == b"limited":
            return tools.ended(job) if record and record.on_limit == "d" else tools.buried(job)
        if record and 0 < record.expires_ms <= record.taken_ms:
            return tools.ended(job, "expired")
        if job.deliveries > MOST_DELIVERIES:
            return tools.buried(job, "stalled")
        lane = record.lane if record else 2
        ways: list[tuple[Callable[[], Item], int]] = [
            (lambda: tools.completed(job), 60),
            (lambda: tools.retried(job, self.random.choice(["+0", "+5", "+30"]), lane), 10),
            (lambda: tools.buried(job), 5),
            (lambda: tools.ended(job), 5),
            (lambda: tools.released(job), 4),
            (lambda: Item(b"U", job.id, job.token), 4),
            (lambda: tools.parked(job, lane=lane), 3),
        ]
        rates = [gate for gate in record.gates if gate[0] in "rh"] if record else []
        if rates:
            ways.append((lambda: tools.limited(job, self.random.choice(rates), self.random.randint(1, 30)), 5))
        if record is None or not (record.ordered or record.batch):
            known = record.gates if record else ()
            gates = self.random.choice([(*known, "x.block"), (*known, "h.slots", "r.keyed=1")])
            ways.append((lambda: tools.diverted(job, Flow(tuple(dict.fromkeys(gates))), lane), 4))
        [way] = self.random.choices([way for way, _ in ways], [weight for _, weight in ways])
        return way()

    async def wait(self) -> None:
        await asyncio.sleep(self.random.choice([0.001, 0.003, 0.01, 0.04]))

    async def promote(self) -> None:
        worker = self.random.choice(self.workers)
        promoted = await worker.hand.promote(self.random.choice([1, 3, 200]))
        worker.awake = worker.awake or promoted.promoted > 0

    async def crash(self) -> None:
        """A worker vanishes; another of that name begins, and its predecessor's attempts go on as zombies."""
        worker = self.random.choice(self.workers)
        number = self.workers.index(worker)
        self.stage.age(*[job.token for job in worker.held.values() if self.rows().get(job.id.decode()) == job.token])
        self.zombies += worker.held.values()
        hand = self.stage.hand(f"v{next(self.numbers)}")
        hand.verbs.knows_lines = True
        self.workers[number] = Worker(hand.name, hand)

    async def sweep(self) -> None:
        worker = self.random.choice(self.workers)
        room = PLACES - len(worker.held)
        ticked = await worker.hand.tick(free=room, suspects=self.random.randint(0, 1))
        self.hold(worker, ticked.stalled, ticked.now_ms)
        worker.awake = worker.awake or (ticked.waiting and room > 0)

    async def zombie(self) -> None:
        """A predecessor's attempt tells its end after all: it counts only while nobody else was given the job."""
        if not self.zombies:
            return
        job = self.random.choice(self.zombies[-12:])
        row, hand = self.rows().get(job.id.decode()), self.stage.hand(f"z{next(self.numbers)}")
        hand.verbs.knows_lines = True
        item = self.outcome(job)
        answer = await hand.settle(item)
        assert answer == ("a" if row == job.token else "l" if row else "g"), (job, row, answer)
        if answer == "a":
            self.settled(item, job)
            self.zombies.remove(job)

    async def lose_reply(self) -> None:
        """A take whose reply gets lost: the jobs are ghosts, found by asking for what is pending."""
        worker = self.random.choice(self.workers)
        want = PLACES - len(worker.held)
        if want <= 0:
            return
        lost = await worker.hand.offered(want, free=want, places=PLACES)
        known = {place_of(job.token) for job in worker.held.values()}
        ghosts = await worker.hand.own_pending() - known
        assert ghosts == {place_of(job.token) for job in lost.fetched.jobs}
        self.hold(worker, await worker.hand.adopt(*ghosts) if ghosts else [], lost.fetched.now_ms)
        worker.awake = True

    async def unpark(self) -> None:
        worker = self.random.choice(self.workers)
        want = PLACES - len(worker.held)
        if want > 0:
            self.hold(worker, await worker.hand.unpark("send", want=want), 0)

    # -- at the desk --------------------------------------------------------------------------------------

    async def cancel(self) -> None:
        rows = self.rows()
        if not rows:
            return
        job = self.random.choice(sorted(rows))
        answer = await desk.cancel(self.stage.store, [job], b"cancelled", result_ms=60_000, ask=True)
        assert answer in "ca", answer
        if answer == "c":
            self.jobs[job].ends += 1

    async def promote_by_hand(self) -> None:
        delayed = sorted(job for job, row in self.rows().items() if row[:1] == b"d")
        if delayed:
            assert await desk.promote(self.stage.store, [self.random.choice(delayed)]) == 1

    async def reprioritise(self) -> None:
        rows = {job: row for job, row in self.rows().items() if row[:1] in b"fd01234"}
        if rows:
            job = self.random.choice(sorted(rows))
            body = self.jobs[job].body
            answer = await desk.reprioritise(self.stage.store, [(job, self.random.randrange(5), body, body)])
            assert answer in "csao", answer

    async def replay(self) -> None:
        # A buried job's dedup key is free, and forgotten some time: it does not hold it again by coming back.
        dead = sorted(job for job in self.stage.take().dead_index if not self.has_key(job))
        if dead:
            job = self.random.choice(dead)
            when = self.random.choice(["0", "+10"])
            assert await desk.replay(self.stage.store, [(job, 2, when, b"replayed")]) == "a"
            self.jobs[job].ends -= 1
            self.jobs[job].body = b"replayed"
            self.jobs[job].seq = 0

    def has_key(self, job: str) -> bool:
        flow = self.jobs[job].flow
        return flow is not None and flow.dedup is not None

    async def change(self) -> None:
        """Somebody changes a limit while everything runs."""
        name, choose = self.random.choice([*LIVE, "x.block"]), self.random.choice
        if self.one_in(3):
            await self.stage.clear(name)
            return
        rate: Config = choose([{"n": 2, "p": 20}, {"n": 5, "p": 30, "b": 2}, {"n": 3, "p": 25, "o": 7}, {"n": -1}])
        options: Config = choose([{"x": 1}, {"x": False}, {"c": choose([0, 1, 3, -1])}, {"w": choose([1, 2, 4])}, rate])
        await self.stage.set(name, **options)
        if self.one_in(4):
            assert not await self.stage.set(name, **options), "the same again is no change"

    async def shut(self) -> None:
        await self.stage.shut(self.random.choice(["r.slide", "r.live", "h.live", "g:v1"]), self.random.choice([0, 10]))

    async def pause(self) -> None:
        await (desk.resume(self.stage.store) if self.paused else desk.pause(self.stage.store, ""))
        self.paused = not self.paused

    async def queue_gate(self) -> None:
        self.queue_starts = []
        if self.queue_limit:
            self.queue_limit = {}
            await self.stage.clear("q")
        else:
            self.queue_limit = self.random.choice([{"c": 5}, {"n": 4, "p": 20}, {"n": 9, "p": 30, "b": 3}])
            await self.stage.set("q", **self.queue_limit)

    # -- the end ------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Open everything, finish everything: each job ends once, and nothing stays behind."""
        for name in (*LIVE, "x.block", "q"):
            await self.stage.clear(name)
        self.queue_limit = {}
        await desk.resume(self.stage.store)
        self.paused = False
        for worker in self.workers:
            worker.awake = True
        async with asyncio.timeout(20):
            while self.rows():
                for worker in self.workers:
                    await self.finish(worker)
                self.look_for_sleepers()
                await asyncio.sleep(0.002)
        now = self.stage.look()
        lined.idle(now.lines)
        assert {job: known.ends for job, known in self.jobs.items() if known.ends != 1} == {}

    async def finish(self, worker: Worker) -> None:
        """One round of a worker that completes all it gets."""
        await worker.hand.promote()
        if worker.held:
            jobs = list(worker.held.values())
            answers = await worker.hand.settle(*[tools.completed(job) for job in jobs])
            for job, answer in zip(jobs, answers, strict=True):
                del worker.held[job.id]
                self.jobs[job.id.decode()].ends += answer == "a"
        await self.take(worker)
        await self.unpark()
        await self.sweep()

    def check_rates(self) -> None:
        """F6: no window holds more starts than its limit."""
        for gate, starts in self.starts.items():
            config = STATIC.get(gate) or STATIC.get(lined.class_of(gate))
            if config is None or "n" not in config:
                continue
            found = sorted(starts.values())
            count, per = config["n"], config["p"]
            if "o" in config:
                windows = Counter[int]()
                for start in found:
                    windows[(start.at_ms - config["o"]) // per] += start.cost
                assert max(windows.values(), default=0) <= count, f"{gate}: {windows}"
                continue
            for first, start in enumerate(found):
                spent = 0
                for other in found[first:]:
                    later = other.at_ms - start.at_ms
                    if "b" not in config and later >= per:
                        break
                    spent += other.cost
                    most = config["b"] + later * count / per if "b" in config else count
                    assert spent <= most + 1e-6, f"{gate}: {spent} starts within {later} ms"
