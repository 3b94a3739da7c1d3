"""A queue with a job in every place, and every kind of damage that foreign hands can do to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from streamq._core.flow import Flow
from tests.store.snapshot import Snapshot
from tests.store.stage import Hand, Lined, Stage, buried, completed, parked, released

LINE = Flow(("g:x", "h.a"))


class Scene:
    """The jobs: w1, w2 and low wait in lanes, r1 was handed back, a1 runs, f1 runs and f2, f3 wait in its line, d1 and
    d2 are delayed, p1 is parked, c1 completed, x1 dead. ``hand``: a worker that is alive.
    """

    def __init__(self, stage: Stage, hand: Hand, tokens: Mapping[str, bytes]) -> None:
        self.stage = stage
        self.keys = stage.keys
        self.hand = hand
        self.tokens = tokens
        self.do = stage.server.command

    def row(self, job: str) -> bytes:
        """Its index row."""
        found: bytes = self.do("HGET", self.keys.index, job)
        return found

    def entry(self, job: str) -> bytes:
        """Its entry id, of a job in a stream."""
        return self.row(job)[1:].split(b":")[0]

    def gate(self, name: str, **changes: Any) -> None:
        """Change fields of a gate: used, waiting, parked, envoy."""
        places = {"used": 0, "waiting": 1, "parked": 3, "envoy": 4}
        fields = msgspec.msgpack.decode(self.do("HGET", self.keys.gates, name))
        for field, value in changes.items():
            fields[places[field]] = value
        self.do("HSET", self.keys.gates, name, msgspec.msgpack.encode(fields))

    def line(self) -> str:
        """The one line there is."""
        [name] = self.do("HKEYS", self.keys.flow[1])
        return str(name.decode())

    def now_ms(self) -> int:
        """The server's clock."""
        seconds, micros = self.do("TIME")
        return int(seconds) * 1000 + int(micros) // 1000


async def furnished(stage: Stage) -> Scene:
    """Make the scene."""
    hand = stage.hand()
    await stage.enqueue("c1", "x1", "p1", "a1", "r1")
    jobs = {job.id.decode(): job for job in await hand.fetch()}
    await hand.settle(completed(jobs["c1"]), buried(jobs["x1"]), parked(jobs["p1"]))
    await stage.set("h.a", c=1)
    await stage.line_up(*[Lined(job, LINE) for job in ("f1", "f2", "f3")])
    jobs |= {job.id.decode(): job for job in await hand.take()}
    await hand.take()  # the line is parked at h.a now
    await hand.settle(released(jobs["r1"]))
    await stage.enqueue("w1", "w2", ("low", "4", "0"), ("d1", "2", "+600000"), ("d2", "1", "+600000"))
    await hand.tick(sweep=False)
    now = stage.look()
    places = {job: now.place(job) for job in ("c1", "x1", "p1", "a1", "r1", "f1", "f2", "w1", "low", "d1")}
    assert places == {
        "c1": "gone", "x1": "dead", "p1": "parked", "a1": "active", "r1": "waiting", "f1": "active", "f2": "in line",
        "w1": "waiting", "low": "waiting", "d1": "delayed",
    }  # fmt: skip
    return Scene(stage, hand, {job: taken.token for job, taken in jobs.items()})


class Case(NamedTuple):
    """Damage: how it is done, which kinds are found, where jobs are after the recovery ('dead', 'waiting', ...).

    ``lost``: jobs of which nothing is left. ``left``: kinds that recover leaves alone.
    """

    does: Callable[[Scene], Any]
    kinds: Mapping[str, int]
    places: Mapping[str, str]
    lost: tuple[str, ...]
    left: Mapping[str, int]


def _silent(scene: Scene) -> None:
    """A worker that nobody heard of holds r1."""
    scene.do("XCLAIM", scene.keys.lanes[2], "w", "gone", 0, scene.entry("r1"), "IDLE", 120_000, "JUSTID")
    scene.do("HDEL", scene.keys.meta, "released")


def _silent_in_line(scene: Scene) -> None:
    scene.do("XCLAIM", scene.keys.taken, "w", "gone", 0, scene.entry("f1"), "IDLE", 120_000, "JUSTID")


def _group_lost(scene: Scene) -> None:
    scene.do("XGROUP", "DESTROY", scene.keys.lanes[2], "w")
    scene.do("HSET", scene.keys.meta, "swept", scene.now_ms() + 5)


def _group_at_the_end(scene: Scene) -> None:
    scene.do("XGROUP", "DESTROY", scene.keys.lanes[2], "w")
    scene.do("XGROUP", "CREATE", scene.keys.lanes[2], "w", "$")


def _moved(scene: Scene) -> None:
    scene.do("XADD", scene.keys.lanes[3], "*", "j", "w1", "d", b"body of w1")
    scene.do("XDEL", scene.keys.lanes[2], scene.entry("w1"))


def _second_letter(scene: Scene) -> None:
    scene.do("XADD", scene.keys.dead, "*", "j", "x1", "d", b"dead:x1", "r", "again")


def _unparked_line(scene: Scene) -> None:
    [member] = scene.do("ZRANGE", scene.keys.flow[7], 0, -1)
    scene.do("ZREM", scene.keys.flow[7], member)


CASES: dict[str, Case] = {}


def case(
    name: str,
    does: Callable[[Scene], Any],
    kinds: Mapping[str, int],
    places: Mapping[str, str] | None = None,
    lost: tuple[str, ...] = (),
    left: Mapping[str, int] | None = None,
) -> None:
    """Note a case."""
    CASES[name] = Case(does, kinds, places or {}, lost, left or {})


case(
    "row of a waiting job",
    lambda s: s.do("HDEL", s.keys.index, "w1"),
    {"row-missing": 1},
    {"w1": "waiting", "w2": "waiting"},
)
case("row of a released job", lambda s: s.do("HDEL", s.keys.index, "r1"), {"row-missing": 1}, {"r1": "waiting"})
case("row of a delayed job", lambda s: s.do("HDEL", s.keys.index, "d1"), {"row-missing": 1}, {"d1": "delayed"})
case(
    "row of a parked job",
    lambda s: s.do("HDEL", s.keys.index, "p1"),
    {"row-missing": 1, "parked-stray": 1},
    {"p1": "waiting"},
)
case(
    "row of a job in line",
    lambda s: s.do("HDEL", s.keys.index, "f2"),
    {"row-missing": 1, "line-stray": 1},
    {"f2": "waiting"},
)
case("row of a job that runs", lambda s: s.do("HDEL", s.keys.index, "a1"), {"row-held": 1}, {}, (), {"row-held": 1})
case(
    "all rows",
    lambda s: s.do("DEL", s.keys.index),
    {"row-missing": 9, "parked-stray": 1, "line-stray": 2, "row-held": 2},
    {"w1": "waiting", "d1": "delayed", "p1": "waiting", "f3": "waiting"},
    (),
    {"row-held": 2},
)
case(
    "row that leads nowhere", lambda s: s.do("HSET", s.keys.index, "w1", "29-9:0"), {"row-wrong": 1}, {"w1": "waiting"}
)
case(
    "row of another version",
    lambda s: s.do("HSET", s.keys.index, "odd", "b2"),
    {"row-unknown": 1},
    {},
    (),
    {"row-unknown": 1},
)
case(
    "row of nothing", lambda s: s.do("HSET", s.keys.index, "odd", "23-3:0"), {"job-lost": 1}, {"odd": "dead"}, ("odd",)
)
case(
    "entry of a waiting job",
    lambda s: s.do("XDEL", s.keys.lanes[2], s.entry("w1")),
    {"job-lost": 1},
    {"w1": "dead"},
    ("w1",),
)
case(
    "entry of a job that runs",
    lambda s: s.do("XDEL", s.keys.lanes[2], s.entry("a1")),
    {"job-lost": 1, "pending-stray": 1},
    {"a1": "dead"},
    ("a1",),
)
case(
    "entry of a job from a line",
    lambda s: s.do("XDEL", s.keys.taken, s.entry("f1")),
    {"job-lost": 1, "pending-stray": 1, "slots-wrong": 2},
    {"f1": "dead", "f2": "in line"},
    ("f1",),
)
case("entry in another lane", _moved, {"row-wrong": 1}, {"w1": "waiting"})
case(
    "second entry",
    lambda s: s.do("XADD", s.keys.lanes[3], "*", "j", "w1", "d", b"twice"),
    {"entry-stray": 1},
    {"w1": "waiting"},
)
case(
    "second entry of a delayed job",
    lambda s: s.do("XADD", s.keys.lanes[3], "*", "j", "d1", "d", b"twice"),
    {"entry-stray": 1},
    {"d1": "delayed"},
)
case(
    "entry of a dead job",
    lambda s: s.do("XADD", s.keys.lanes[3], "*", "j", "x1", "d", b"again"),
    {"entry-stray": 1},
    {"x1": "dead"},
)
case(
    "entry that nobody enqueued",
    lambda s: s.do("XADD", s.keys.lanes[0], "*", "j", "n1", "d", b"body"),
    {"row-missing": 1},
    {"n1": "waiting"},
)
case(
    "entry that nobody took",
    lambda s: s.do("XADD", s.keys.taken, "*", "j", "n1", "d", b"body"),
    {"row-missing": 1},
    {"n1": "waiting"},
)
case("entry that is no job", lambda s: s.do("XADD", s.keys.lanes[2], "*", "foo", "bar"), {"entry-raw": 1})
case(
    "acknowledged by a foreign hand",
    lambda s: s.do("XACK", s.keys.lanes[2], "w", s.entry("a1")),
    {"entry-stuck": 1},
    {"a1": "waiting"},
)
case(
    "acknowledged, from a line",
    lambda s: s.do("XACK", s.keys.taken, "w", s.entry("f1")),
    {"entry-stuck": 1},
    {"f1": "in line"},
)
case("group lost", _group_lost, {"group-missing": 1}, {"a1": "waiting", "r1": "waiting", "w1": "waiting"})
case(
    "group made again at the end",
    _group_at_the_end,
    {"entry-stuck": 4},
    {"a1": "waiting", "r1": "waiting", "w1": "waiting", "w2": "waiting"},
)
case(
    "group of the taken lost",
    lambda s: s.do("XGROUP", "DESTROY", s.keys.taken, "w"),
    {"group-missing": 1, "entry-stuck": 1},
    {"f1": "waiting"},
)
case("held by a worker that is gone", _silent, {"pending-silent": 1}, {"r1": "waiting"})
case("from a line, held by a worker that is gone", _silent_in_line, {"pending-silent": 1}, {"f1": "in line"})
case(
    "envelope of a delayed job",
    lambda s: s.do("HDEL", s.keys.bodies, "d1"),
    {"body-missing": 1},
    {"d1": "dead", "d2": "delayed"},
    ("d1",),
)
case(
    "envelope of a parked job",
    lambda s: s.do("HDEL", s.keys.bodies, "p1"),
    {"body-missing": 1},
    {"p1": "dead"},
    ("p1",),
)
case(
    "envelope of a job in line",
    lambda s: s.do("HDEL", s.keys.bodies, "f2"),
    {"body-missing": 1},
    {"f2": "dead", "f3": "in line"},
    ("f2",),
)
case("envelope left behind", lambda s: s.do("HSET", s.keys.bodies, "w1", b"old"), {"body-stray": 1}, {"w1": "waiting"})
case("envelope of a completed job", lambda s: s.do("HSET", s.keys.bodies, "c1", b"old"), {"body-stray": 1})
case("envelope of nobody", lambda s: s.do("HSET", s.keys.bodies, "n1", b"body"), {"row-missing": 1}, {"n1": "waiting"})
case("due time", lambda s: s.do("ZREM", s.keys.delayed, "d1"), {"row-wrong": 1}, {"d1": "delayed"})
case(
    "due time of nobody",
    lambda s: s.do("ZADD", s.keys.delayed, 1e15, "ghost"),
    {"delayed-stray": 1},
    {"ghost": "gone"},
    ("ghost",),
)
case(
    "due time of a waiting job",
    lambda s: s.do("ZADD", s.keys.delayed, 1e15, "w1"),
    {"delayed-stray": 1},
    {"w1": "waiting"},
)
case("member of the parked", lambda s: s.do("ZREM", s.keys.parked, b"send\0p1"), {"row-wrong": 1}, {"p1": "parked"})
case("parked twice", lambda s: s.do("ZADD", s.keys.parked, 0, b"other\0p1"), {"parked-stray": 1}, {"p1": "parked"})
case(
    "member of a line",
    lambda s: s.do("ZREM", s.keys.lines, s.do("ZRANGE", s.keys.lines, 0, 0)[0]),
    {"row-wrong": 1, "waiting-wrong": 2},
    {"f2": "in line", "f3": "in line"},
)
case(
    "line",
    lambda s: s.do("DEL", s.keys.flow[1]),
    {"line-lost": 2, "gate-stuck": 1},
    {"f2": "in line", "f3": "in line"},
)
case("place of a line", _unparked_line, {"line-stuck": 1, "gate-count": 1}, {"f2": "in line"})
case("gate", lambda s: s.do("HDEL", s.keys.gates, "h.a"), {"slots-wrong": 1, "waiting-wrong": 1}, {"f2": "in line"})
case("slot held by nobody", lambda s: s.gate("h.a", used=2), {"slots-wrong": 1})
case("slot not held", lambda s: s.gate("h.a", used=0), {"slots-wrong": 1, "gate-stuck": 1})
case("waiting jobs that are not there", lambda s: s.gate("g:x", waiting=7), {"waiting-wrong": 1})
case("parked lines that are not there", lambda s: s.gate("h.a", parked=4), {"gate-count": 1})
case("line that goes first", lambda s: s.gate("h.a", envoy="nobody"), {"gate-stuck": 1})
case("index of a dead letter", lambda s: s.do("HDEL", s.keys.dead_index, "x1"), {"letter-unindexed": 1}, {"x1": "dead"})
case(
    "dead letter",
    lambda s: s.do("XTRIM", s.keys.dead, "MAXLEN", 0),
    {"letter-missing": 1, "deaths-count": 1},
    {},
    ("x1",),
)
case("two dead letters", _second_letter, {"letter-unindexed": 1, "deaths-count": 1}, {"x1": "dead"})
case("counts of what letters died of", lambda s: s.do("DEL", s.keys.deaths), {"deaths-count": 1}, {"x1": "dead"})
case("mark of nobody", lambda s: s.do("HSET", s.keys.cancels, "ghost", "1"), {"mark-stray": 1, "cancels-count": 1})
case("number of marks", lambda s: s.do("HSET", s.keys.meta, "cancels", 5), {"cancels-count": 1})
case("number of the released", lambda s: s.do("HDEL", s.keys.meta, "released"), {"released-count": 1})
case("waiter of nobody", lambda s: s.do("HSET", s.keys.waiters, "ghost", "ch"), {"waiter-stray": 1})
case("protocol not said", lambda s: s.do("HDEL", s.keys.meta, "v"), {"protocol-missing": 1})
case("heartbeat of nobody", lambda s: s.do("HSET", s.keys.workers, "ghost", "x"), {"heartbeat-stray": 1})
case(
    "memo of a forgotten worker",
    lambda s: s.do("SET", s.keys.worker_memo(b"ghost"), "1|a", "PX", 300_000),
    {"memo-stray": 1},
)
case("memo that lives for ever", lambda s: s.do("PERSIST", s.keys.producer_memo(b"p")), {"ttl-missing": 1})
case("record that lives for ever", lambda s: s.do("SET", s.keys.record("old"), "x"), {"ttl-missing": 1})
case(
    "completed job outside of the window",
    lambda s: s.do("HSET", s.keys.window_details, "old", "1 1 1 send"),
    {"detail-stray": 1},
)
case(
    "key of somebody else",
    lambda s: s.do("SET", s.keys.base + b"zz", "1"),
    {"key-unknown": 1},
    {},
    (),
    {"key-unknown": 1},
)


def known(now: Snapshot) -> set[str]:
    """Ids of all jobs that are not over, and of the dead; "?" is an entry that is none."""
    lanes = {entry.job for entries in now.lanes.values() for entry in entries}
    return {*now.index, *now.dead_index, *lanes} - {"?"}
