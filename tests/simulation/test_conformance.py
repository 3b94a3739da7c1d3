"""The broker in memory answers as the real servers do: random commands, random calls of our own scripts.

All of tests/store runs on it as well (its `each_server` has a column for it).
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeVar, cast

import msgspec
import pytest
import redis

from streamq._core.dedup import DedupPlan
from streamq._core.flow import Batch, Flow
from streamq._store import desk, lines
from streamq._store.replies import Taken
from tests.servers import KINDS, Server, SharedServers, missing_reason
from tests.simulation.memory import MemoryServer
from tests.store import snapshot
from tests.store.stage import EVERY_OUTCOME, Hand, Lined, Stage, limited, raw

SEEDS = range(8)


@pytest.fixture(params=KINDS)
def real(request: pytest.FixtureRequest, shared_servers: SharedServers) -> Server:
    reason = missing_reason(request.param)
    if reason is not None:
        pytest.skip(reason)
    return shared_servers(request.param)


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    with MemoryServer() as made:
        yield made


class Names:
    """Entry ids and times of one side, by the order in which they came up."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def plain(self, value: object) -> str:
        """Return a reply as text that is the same on both sides."""
        text = re.sub(r"1[6-9]\d{11}-\d+", self._name, repr(value))
        text = re.sub(r"(?<!\d)3\d{15}(?:\.0)?(?!\d)", "SEQ", text)  # places in lines: ms * 2048
        return re.sub(r"(?<!\d)1[6-9]\d{11}(?:\.0)?(?!\d)", "MS", text)

    def _name(self, found: re.Match[str]) -> str:
        return self.known.setdefault(found[0], f"entry{len(self.known)}")


def next_ms(server: Server) -> None:
    """Wait for a millisecond of its own: entry ids of two streams are then told apart on both sides alike."""
    now: list[bytes] = server.command("TIME")
    while (later := server.command("TIME"))[1][:-3] == now[1][:-3] and later[0] == now[0]:
        pass


# -- commands ----------------------------------------------------------------------------------------------------

WORDS = ["a", "b", "c", "d\0", "é", "10", "-3", "x" * 70, ""]
NUMBERS = ["0", "1", "-1", "2", "-2", "5", "100", "3.5", "inf", "-inf", "+inf", "(2", "nan", "", "1e3", "007"]
LEX = ["-", "+", "[a", "(a", "[b", "(c", "[", "(", "x"]

T = TypeVar("T")
Word = str | Callable[[list[bytes]], bytes]
"""A word of a command, or how to make it of the entry ids there are."""


class Commands:
    """Random commands, the same for both sides."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.home = {kind: [f"{kind}{n}" for n in range(3)] for kind in ("h", "l", "s", "z", "x", "t")}

    def pick(self, some: Sequence[T]) -> T:
        return self.random.choice(some)

    def key(self, kind: str) -> str:
        """Usually a key of its type, now and then any."""
        homes = self.home[self.pick("hlszxt")] if self.random.random() < 0.06 else self.home[kind]
        return str(self.pick(homes))

    def some(self, words: Sequence[str], most: int = 3) -> list[str]:
        return [self.pick(words) for _ in range(self.random.randint(1, most))]

    def entry(self) -> Word:
        at = self.random.randrange(1000)
        if self.random.random() < 0.1:
            return str(self.pick(["1-1", "0-0", "5", "bad", "99999999999999-0", "-"]))
        return lambda ids: ids[at % len(ids)] if ids else b"1-1"

    def bound(self, *, start: bool) -> Word:
        one = self.entry()
        roll = self.random.random()
        if roll < 0.4:
            return "-" if start else "+"
        if roll < 0.7 or isinstance(one, str):
            return one
        return lambda ids: b"(" + one(ids)

    def number(self) -> str:
        return str(self.pick(NUMBERS))

    def next(self) -> list[Word]:
        make = self.pick([self.of_keys, self.of_hash, self.of_list, self.of_zset, self.of_stream, self.of_group])
        found: list[Word] = make()
        return found

    def of_keys(self) -> list[Word]:
        kind = self.pick("hlszxt")
        return self.pick(
            [
                ["DEL", self.key(kind), self.key(kind)], ["EXISTS", self.key(kind), self.key(kind)],
                ["TYPE", self.key(kind)], ["PTTL", self.key("z")], ["GET", self.key("t")], ["PERSIST", self.key("z")],
                ["SET", self.key("t"), self.pick(WORDS)],
                ["SET", self.key("t"), "v", "PX", self.pick(["100000", "0", "-1", "x"])], ["UNLINK", self.key("t")],
                ["SADD", self.key("s"), *self.some(WORDS)], ["HGET"], ["PEXPIRE", self.key(kind), "1000000"],
            ]
        )  # fmt: skip

    def of_hash(self) -> list[Word]:
        key, pick = self.key("h"), self.pick
        pairs = [part for _ in range(self.random.randint(1, 3)) for part in (pick(WORDS), pick(WORDS + NUMBERS[:7]))]
        return self.pick(
            [
                ["HSET", key, *pairs], ["HSET", key, *pairs], ["HSET", key, "a"], ["HSETNX", key, pick(WORDS), "n"],
                ["HGET", key, pick(WORDS)], ["HMGET", key, *self.some(WORDS)], ["HDEL", key, *self.some(WORDS)],
                ["HEXISTS", key, pick(WORDS)], ["HLEN", key],
                ["HINCRBY", key, pick(WORDS), pick(["1", "-5", "x", "1.5"])],
                ["HINCRBY", key, "n", "9223372036854775807"], ["HGETALL", key], ["HKEYS", key],
                ["HRANDFIELD", key, "100"], ["HRANDFIELD", key, "100", "WITHVALUES"], ["HRANDFIELD", key, "0"],
            ]
        )  # fmt: skip

    def of_list(self) -> list[Word]:
        key, pick, whole = self.key("l"), self.pick, ["0", "1", "-1", "-2", "3", "x", "1.0"]
        return pick(
            [
                ["LPUSH", key, *self.some(WORDS)], ["LPUSH", key, *self.some(WORDS)], ["LLEN", key], ["RPOP", key],
                ["LINDEX", key, pick(whole)], ["LRANGE", key, pick(whole), pick(whole)], ["RPOP", key, pick(whole)],
                ["LPOP", key], ["LPOP", key, pick(whole)], ["LPOS", key, pick(WORDS)],
                ["LREM", key, pick(whole), pick(WORDS)],
            ]
        )  # fmt: skip

    def of_zset(self) -> list[Word]:
        key, lex, pick, number = self.key("z"), "y", self.pick, self.number  # all of one score, or no order by bytes
        tail: list[Word] = pick(
            [[], ["LIMIT", "0", "2"], ["LIMIT", "1", "1"], ["LIMIT", "0", "-1"], ["LIMIT", "9", "1"]]
        )
        scores: list[Word] = pick([[], ["WITHSCORES"]])
        pairs = [part for _ in range(self.random.randint(1, 3)) for part in (number(), pick(WORDS))]
        return pick(
            [
                ["ZADD", key, *pairs], ["ZADD", key, "1", pick(WORDS)], ["ZADD", key, "2.25", pick(WORDS), "7", "m"],
                ["ZADD", key, "LT", "CH", number(), pick(WORDS)], ["ZADD", key, "CH", number(), pick(WORDS)],
                ["ZADD", key, "LT", number(), pick(WORDS)], ["ZREM", key, *self.some(WORDS)], ["ZCARD", key],
                ["ZSCORE", key, pick(WORDS)], ["ZMSCORE", key, *self.some(WORDS)], ["ZRANK", key, pick(WORDS)],
                ["ZCOUNT", key, number(), number()],
                ["ZRANGE", key, number(), number(), "BYSCORE", *tail, *scores],
                ["ZRANGE", key, "-inf", number(), "BYSCORE", *tail, *scores],
                ["ZRANGE", key, pick(["0", "1", "-2"]), pick(["-1", "0", "5", "x"]), *scores],
                ["ZRANGE", lex, pick(LEX), pick(LEX), "BYLEX", *tail], ["ZRANGE", key, "0", "-1", "LIMIT", "0", "1"],
                ["ZLEXCOUNT", lex, pick(LEX), pick(LEX)],
                ["ZADD", lex, "0", pick(WORDS), "0", pick(WORDS)],
            ]
        )  # fmt: skip

    def of_stream(self) -> list[Word]:
        key, pick = self.key("x"), self.pick
        count: list[Word] = pick([[], ["COUNT", "2"], ["COUNT", "1"], ["COUNT", "0"], ["COUNT", "x"], ["NUMBER", "1"]])
        return pick(
            [
                ["XADD", key, "*", "f", pick(WORDS)], ["XADD", key, "*", "f", pick(WORDS), "g", "1"],
                ["XADD", key, "*", "f"], ["XLEN", key], ["XTRIM", key, "MAXLEN", "5"],
                ["XDEL", key, self.entry(), self.entry()],
                ["XRANGE", key, self.bound(start=True), self.bound(start=False), *count],
                ["XREVRANGE", key, self.bound(start=False), self.bound(start=True), *count],
            ]
        )  # fmt: skip

    def of_group(self) -> list[Word]:
        key, pick, group = self.key("x"), self.pick, self.pick(["g", "g", "g", "other"])
        who, idle = pick(["w1", "w2", "~"]), pick(["0", "0", "50000", "x", "-1"])
        just: list[Word] = pick([[], ["JUSTID"]])
        retry: list[Word] = pick([[], ["RETRYCOUNT", "7"]])
        aged: list[Word] = pick([[], ["IDLE", "100000"], ["IDLE", "0"]])
        one = self.entry()
        reads: list[Word] = ["XREADGROUP", "GROUP", group, who, "COUNT", pick(["1", "2", "9"]), "STREAMS", key, ">"]
        return pick(
            [
                ["XGROUP", "CREATE", key, group, pick(["0", "$"])], ["XGROUP", "CREATE", key, group, "0", "MKSTREAM"],
                ["XGROUP", "DELCONSUMER", key, group, who], ["XGROUP", "DESTROY", key, "other"],
                reads, reads, reads,
                ["XACK", key, group, self.entry(), self.entry()], ["XINFO", "GROUPS", key],
                ["XCLAIM", key, group, who, idle, self.entry(), self.entry(), *aged, *retry, *just],
                ["XCLAIM", key, group, who, "0", self.entry(), "IDLE", "100000", "JUSTID"],
                ["XAUTOCLAIM", key, group, who, idle, pick(["0-0", "-"]), "COUNT", pick(["1", "3", "0"]), *just],
                ["XAUTOCLAIM", key, group, who, "50000", one, *just], ["XPENDING", key, group],
                ["XPENDING", key, group, "-", "+", pick(["10", "1", "0", "x"])],
                ["XPENDING", key, group, "IDLE", "50000", self.bound(start=True), self.bound(start=False), "10", who],
                ["XPENDING", key, group, one, one, "1", who],
            ]
        )  # fmt: skip


class Side:
    """One server under a prefix of its own, and the entry ids it gave."""

    def __init__(self, server: Server, prefix: str) -> None:
        self.server, self.prefix, self.names = server, prefix.encode(), Names()
        self.ids: list[bytes] = []

    def run(self, words: Sequence[Word], keys: Sequence[int]) -> str:
        next_ms(self.server)
        made = [word if isinstance(word, str) else word(self.ids) for word in words]
        for at in keys:
            made[at] = self.prefix + str(made[at]).encode()
        try:
            reply = self.server.command(*made)
        except redis.ResponseError as problem:
            return f"error {str(problem).replace(self.prefix.decode(), '')}"
        if words[0] == "XADD":
            self.ids.append(reply)
        return self.names.plain(comparable(words, reply)).replace(self.prefix.decode(), "")


def comparable(words: Sequence[Word], reply: Any) -> Any:
    """A reply without what no server promises: idle times, the order of a hash, and what nobody asks for."""
    if words[0] in {"HGETALL", "HRANDFIELD"} and "WITHVALUES" in {
        *words,
        "WITHVALUES" if words[0] == "HGETALL" else "",
    }:
        return sorted(zip(reply[::2], reply[1::2], strict=True))
    if words[0] in {"HKEYS", "HRANDFIELD"}:
        return sorted(reply)
    if words[0] == "PTTL":
        return round(reply, -5)
    if words[0] == "XPENDING" and len(words) > 3:
        return [[entry, who, idle >= 50_000, count] for entry, who, idle, count in reply]
    if words[:2] == ["XINFO", "GROUPS"]:
        wanted = {b"name", b"pending", b"last-delivered-id"}
        return [[(n, v) for n, v in zip(one[::2], one[1::2], strict=True) if n in wanted] for one in reply]
    return reply


def places_of_keys(words: Sequence[Word]) -> list[int]:
    match words[0]:
        case "DEL" | "EXISTS" | "UNLINK":
            return list(range(1, len(words)))
        case "XGROUP" | "XINFO":
            return [2]
        case "XREADGROUP":
            return [7]
        case _:
            return [1] if len(words) > 1 else []


@pytest.mark.parametrize("seed", SEEDS)
def test_random_commands_get_the_same_replies(real: Server, memory: MemoryServer, prefix: str, seed: int) -> None:
    commands, sides = Commands(seed), [Side(real, f"{prefix}:"), Side(memory, f"{prefix}:")]
    history: list[str] = []
    try:
        for _ in range(600):
            words = commands.next()
            places = places_of_keys(words)
            one, other = [side.run(words, places) for side in sides]
            history.append(f"{[word if isinstance(word, str) else '<id>' for word in words]} -> {one}")
            assert other == one, "\n".join(history[-12:])
    finally:
        real.delete_matching(f"{prefix}*")


# -- Lua ---------------------------------------------------------------------------------------------------------


def literal(value: Any) -> str:
    """A value as it is written in Lua."""
    parts: Any = value
    if value is None or isinstance(value, bool):
        return {None: "nil", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return "'" + "".join(f"\\{byte:03d}" for byte in value.encode()) + "'"
    if isinstance(value, list):
        return "{" + ", ".join(map(literal, parts)) + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{literal(name)}] = {literal(item)}" for name, item in parts.items()) + "}"
    return repr(value) if isinstance(value, int) else f"{value!r}"


def nested(choose: random.Random, depth: int = 0) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: choose.choice(
            [0, 1, 31, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**53, choose.getrandbits(45)]
        ),
        lambda: -choose.choice([1, 32, 33, 127, 128, 129, 32_768, 32_769, 2**31, 2**31 + 1, choose.getrandbits(45)]),
        lambda: choose.choice([0.5, 1.5, -0.25, 0.1, 1e300, 3.4e38, -1e-7, choose.random(), choose.random() * 1e9]),
        lambda: "é\0" * choose.choice([0, 1, 8, 60, 100]),
        lambda: choose.random() < 0.5,
    ]
    if depth < 3:
        kinds += [
            lambda: [nested(choose, depth + 1) for _ in range(choose.choice([0, 1, 3, 15, 16, 20]))],
            lambda: {
                f"n{choose.randrange(99)}": nested(choose, depth + 1) for _ in range(choose.choice([1, 2, 4, 17]))
            },
        ]
    return choose.choice(kinds)()


def alike(one: bytes, other: bytes, real: Server) -> bool:
    """Whether packed values are the same; Valkey orders the fields of a table in a way of its own."""
    if real.kind == "valkey":
        return len(one) == len(other) and bool(msgspec.msgpack.decode(one) == msgspec.msgpack.decode(other))
    return one == other


@pytest.mark.parametrize("seed", SEEDS)
def test_what_scripts_pack_is_the_same_to_the_byte(real: Server, memory: MemoryServer, seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(40):
        value = nested(choose)
        packed = f"return cmsgpack.pack({literal(value)})"
        data: bytes = real.command("EVAL", packed, 0)
        assert alike(memory.command("EVAL", packed, 0), data, real), value
        for text in (data, msgspec.msgpack.encode(value)):
            again = "return cmsgpack.pack(cmsgpack.unpack(ARGV[1]))"
            assert alike(memory.command("EVAL", again, 0, text), real.command("EVAL", again, 0, text), real), value


@pytest.mark.parametrize(
    "source",
    [
        "return {1.9, -1.9, 'text', true, false, {ok = 'FINE'}, {1, nil, 3}, {a = 1}, nil, 9}",
        "return {tostring(1e15), tostring(2^53), tostring(0.1), 7 .. '', string.format('%.17g', 0.1)}",
        "return struct.pack('>I8', 2^52 + 1) .. struct.pack('>d', -1.5)",
        "return redis.sha1hex('é')",
        "return redis.error_reply('SQVERSION 2')",
        "return redis.error_reply('nothing')",
        "return redis.status_reply('FINE')",
        "return {redis.pcall('LLEN', KEYS[1]).err}",
        "return redis.pcall('LLEN', KEYS[1])",
        "local n = 0 for k, v in pairs({a = 1, bb = 2, [1] = 3, ['t'] = 4, ['0'] = 5}) do n = n + v end return n",
        "redis.call('SET', KEYS[2], 1 / 4) return redis.call('GET', KEYS[2])",
        "redis.call('SET', KEYS[2], 2 ^ 53) return redis.call('GET', KEYS[2])",
        "return redis.call('SET', KEYS[2], 'x')",
        "return type(redis.call('GET', KEYS[3]))",
        "return redis.call('HMGET', KEYS[1], 'f', 'g')",
        "return #ARGV .. ARGV[1] .. #KEYS",
    ],
)
def test_scripts_see_and_answer_the_same(real: Server, memory: MemoryServer, prefix: str, source: str) -> None:
    answers: list[Any] = []
    for server in (real, memory):
        server.command("HSET", f"{prefix}h", "f", "v")
        try:
            answers.append(server.command("EVAL", source, 3, f"{prefix}h", f"{prefix}s", f"{prefix}none", "arg"))
        except redis.ResponseError as problem:
            answers.append(str(problem))
    real.delete_matching(f"{prefix}*")
    assert answers[1] == answers[0]


# -- our scripts -------------------------------------------------------------------------------------------------

FAR = 4_000_000_000_000
GATES: dict[str, dict[str, Any]] = {"h.slots": {"c": 2}, "r.day": {"n": 6, "p": 86_400_000}}
"""Two, so that the gates chosen by chance are all of them; the rate is one that no run outlives."""


class Queue:
    """One side of a walk over our verbs."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.names = stage, Names()
        self.hands: dict[str, Hand] = {name: stage.hand(name) for name in ("w1", "w2")}
        self.held: dict[str, tuple[str, Taken]] = {}

    def hold(self, who: str, jobs: Sequence[Taken]) -> list[str]:
        """Note what was handed out; what it says of it, without tokens of one side alone."""
        for job in jobs:
            self.held[job.id.decode()] = (who, job)
        return sorted(f"{job.id!r} {job.body!r} {job.deliveries}" for job in jobs)

    def state(self) -> str:
        """Everything that is kept, times and entry ids by name."""
        now = snapshot.take(self.stage.server, self.stage.keys)
        found = asdict(now)
        for name in ("rows", "memos"):
            del found[name]
        timely = {"fv", "sweep", "swept", "alarm"}
        found["meta"] = {name: value for name, value in now.meta.items() if name not in timely}
        # Starts of the same ms share a place in the log.
        found["lines"]["gates"] = {
            name: (
                msgspec.structs.replace(
                    gate, log=[sum(gate.log[1::2])], holders=sorted(cast("Sequence[str]", gate.holders or ()))
                )
            )
            for name, gate in now.lines.gates.items()
        }
        for letter in found["dead"].values():
            if "f" in letter:
                letter["f"] = msgspec.msgpack.decode(letter["f"])
        found["deaths"] = {label: msgspec.msgpack.decode(row) for label, row in now.deaths.items()}
        del found["lines"]["now_ms"]
        found["lines"]["dedup"] = {key: msgspec.msgpack.decode(data) for key, data in now.lines.dedup.items()}
        return self.names.plain(ordered(found))


def ordered(value: Any) -> Any:
    """Mappings in the order of their names: no server promises another."""
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        return [(name, ordered(part)) for name, part in sorted(found.items(), key=lambda pair: str(pair[0]))]
    return value


class Walk:
    """Random calls of our verbs, the same on both sides."""

    def __init__(self, seed: int, sides: Sequence[Queue]) -> None:
        self.random, self.sides, self.numbers = random.Random(seed), sides, itertools.count(1)
        self.jobs: list[str] = []

    async def step(self) -> tuple[str, list[Any]]:
        acts = [
            self.enqueue, self.enqueue, self.line_up, self.line_up, self.fetch, self.fetch, self.settle, self.settle,
            self.settle, self.tick, self.promote, self.renew, self.cancel, self.pause, self.unpark, self.adopt,
            self.replay, self.reprioritise, self.counts, self.change,
        ]  # fmt: skip
        act = self.random.choice(acts)
        return act.__name__, await act()

    def new(self) -> str:
        self.jobs.append(f"j{next(self.numbers)}")
        return self.jobs[-1]

    async def enqueue(self) -> list[Any]:
        job = (
            self.new(),
            self.random.choice(["0", "2", "2", "4", "2c"]),
            self.random.choice(["0", "0", f"@{FAR}", "@1"]),
        )
        return [await side.stage.enqueue(job) for side in self.sides]

    async def line_up(self) -> list[Any]:
        choose = self.random.choice
        flows = [
            Flow(("h.slots",)), Flow(("r.day",), cost=choose([1, 2])), Flow(("h.slots", "r.day")),
            Flow(("h.slots",), "line", ordered=True), Flow((), "b", batch=Batch(3, 3_600_000)),
            Flow(("r.day",), on_limit=choose(["drop", "bury"])),
            Flow(("h.slots",), on_conflict=choose(["drop", "cancel_running"])),
            Flow((), dedup=DedupPlan("simple", "one")), Flow((), dedup=DedupPlan("throttle", "two", 3_600_000)),
        ]  # fmt: skip
        flow = choose(flows)
        lane = "2" if flow.ordered else choose(["1", "2"])
        one = Lined(self.new(), flow, lane, choose(["0", "0", "0", f"@{FAR}", "@1"]))
        return [await side.stage.line_up(one) for side in self.sides]

    async def fetch(self) -> list[Any]:
        who, want, order = (
            self.random.choice(["w1", "w2"]),
            self.random.randint(1, 4),
            self.random.choice([b"01234", b"43210"]),
        )
        with_lines = self.random.random() < 0.6
        answers: list[Any] = []
        for side in self.sides:
            hand = side.hands[who]
            if with_lines:
                offer = await hand.offered(want, order)
                answers.append((offer.fetched.why, side.hold(who, offer.fetched.jobs)))
            else:
                found = await hand.fetched(want, order)
                answers.append((found.why, side.hold(who, found.jobs)))
        return answers

    def pick(self) -> str | None:
        held = sorted(self.sides[0].held)
        return self.random.choice(held[-8:]) if held else None

    async def settle(self) -> list[Any]:
        job, how = self.pick(), self.random.choice([*EVERY_OUTCOME, "limited", "raw"])
        if job is None:
            return [0, 0]
        again, answers = self.random.random() < 0.2, list[Any]()
        for side in self.sides:
            who, taken = side.held[job]
            if how == "limited" and lines.held(taken.token) is not None:
                item = limited(taken, "r.day", 3_600_000)
            elif how == "raw":
                item = raw(taken)
            else:
                item = EVERY_OUTCOME.get(how, EVERY_OUTCOME["complete"])(taken)
            side.hands[who].verbs.knows_lines = True
            answers.append([await side.hands[who].settle(item), again and await side.hands[who].again(item)])
        return answers

    async def tick(self) -> list[Any]:
        job, who, free = self.pick(), self.random.choice(["w1", "w2"]), self.random.randint(0, 5)
        with_lines = self.random.random() < 0.7
        answers: list[Any] = []
        for side in self.sides:
            taken = side.held[job][1] if job else None
            row = side.stage.server.command("HGET", side.stage.keys.index, job) if job else None
            if taken is not None and row == taken.token:
                side.stage.age(taken.token)
            side.hands[who].verbs.knows_lines = with_lines
            found = await side.hands[who].tick(free=free)
            stalled = side.hold(who, found.stalled)
            answers.append((found.turn, found.pending, found.parked, found.paused, stalled, sorted(found.marks)))
        return answers

    async def promote(self) -> list[Any]:
        by_hand = self.random.choice(self.jobs) if self.jobs and self.random.random() < 0.5 else None
        if by_hand:
            return [await desk.promote(side.stage.store, [by_hand]) for side in self.sides]
        answers: list[Any] = []
        for side in self.sides:
            side.hands["w1"].verbs.knows_lines = True
            found = await side.hands["w1"].promote()
            answers.append((found.promoted, found.turn))
        return answers

    async def renew(self) -> list[Any]:
        job = self.pick()
        return [await side.hands["w1"].renew(side.held[job][1]) if job else "" for side in self.sides]

    async def cancel(self) -> list[Any]:
        job, ask = self.random.choice(self.jobs or ["none"]), self.random.random() < 0.5
        return [await desk.cancel(side.stage.store, [job], b"record", result_ms=60_000, ask=ask) for side in self.sides]

    async def pause(self) -> list[Any]:
        act = desk.pause if self.random.random() < 0.3 else None
        return [await (act(side.stage.store, "why") if act else desk.resume(side.stage.store)) for side in self.sides]

    async def unpark(self) -> list[Any]:
        return [side.hold("w2", await side.hands["w2"].unpark("send", "other", want=2)) for side in self.sides]

    async def adopt(self) -> list[Any]:
        answers: list[Any] = []
        for side in self.sides:
            hand = side.hands["w1"]
            places = sorted(await hand.own_pending())[:2]
            answers.append(side.hold("w1", await hand.adopt(*places)))
        return answers

    async def replay(self) -> list[Any]:
        some = [(job, 2, self.random.choice(["0", f"@{FAR}"]), b"again") for job in self.jobs[-5:]]
        return [await desk.replay(side.stage.store, some) for side in self.sides]

    async def reprioritise(self) -> list[Any]:
        if not self.jobs:
            return [0, 0]
        job, lane = self.random.choice(self.jobs), self.random.randrange(5)
        seen = f"body of {job}".encode()
        return [await desk.reprioritise(side.stage.store, [(job, lane, seen, seen)]) for side in self.sides]

    async def counts(self) -> list[Any]:
        answers: list[Any] = []
        for side in self.sides:
            found = await desk.counts(side.stage.store)
            answers.append(
                (found.entries, found.pending, found.delayed, found.parked, found.dead, found.lanes, found.in_lines)
            )
        return answers

    async def change(self) -> list[Any]:
        slots = self.random.choice([1, 2, 3])
        if self.random.random() < 0.3:
            return [await side.stage.clear("h.slots") for side in self.sides]
        return [await side.stage.set("h.slots", c=slots) for side in self.sides]


@pytest.mark.parametrize("seed", SEEDS)
async def test_random_calls_of_our_scripts_leave_the_same(
    real: Server, memory: MemoryServer, prefix: str, seed: int
) -> None:
    async with Stage(real, prefix) as one, Stage(memory, prefix) as other:
        sides = [Queue(one), Queue(other)]
        if seed % 3:
            for side in sides:
                await side.stage.declare("walk", GATES)
        walk, history = Walk(seed, sides), list[str]()
        try:
            for _ in range(120):
                for side in sides:
                    next_ms(side.stage.server)
                act, answers = await walk.step()
                found = [side.names.plain(answer) for side, answer in zip(sides, answers, strict=True)]
                history.append(f"{act}: {found[0]}")
                assert found[1] == found[0], "\n".join(history[-8:])
                states = [side.state() for side in sides]
                assert states[1] == states[0], "\n".join(history[-8:])
        finally:
            real.delete_matching(f"{prefix}*")
