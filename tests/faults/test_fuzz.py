"""Envelopes nobody would write, through all a worker does with them: each is settled somehow, and soon.

No server: the table of a worker, its decisions, its executor. FUZZ_INPUTS says how many (10,000): bytes gone wrong,
and for each fifty of them a value that hypothesis made up. A million take a quarter of an hour.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamq import Context, Queue
from streamq._runtime.attempt import Attempt
from streamq._runtime.slots import Slots
from streamq._runtime.vitals import Vitals
from streamq._store.link import pack
from streamq._store.replies import Taken
from streamq._store.session import Store
from streamq._store.verbs import Item, Settings, WorkerVerbs
from streamq.joint import Joint

INPUTS = int(os.environ.get("FUZZ_INPUTS", "10000"))
pytestmark = pytest.mark.timeout(60 + INPUTS // 500)

NOWHERE = "unix:///nonexistent/streamq.sock"
SLOW = 2.0
"""Seconds one input may take at most: a second more, and a lease is in danger."""


class Owner:
    """What a joint asks of its worker."""

    name = "fuzz"
    vitals = Vitals("here", {})
    started_ms = 0
    concurrency = 10
    lease = 15.0
    max_stalls = 2
    log_payload = True

    def keep(self) -> None:
        """Nothing is leased."""


class Bench:
    """A worker's table, with what is joined to it, and a settler that only collects."""

    def __init__(self) -> None:
        queue = Queue("q", url=NOWHERE, prefix="p")

        @queue.handler("plain", max_attempts=1)
        async def plain(n: int) -> int:
            return n

        @queue.handler("rich", timeout=5)
        async def rich(ctx: Context, to: str, tags: list[str], data: bytes = b"", rate: float = 0.0) -> dict[str, str]:
            return {"to": to, "fence": str(ctx.fence), **ctx.headers}

        @queue.handler("any")
        async def anything(value: Any = None) -> Any:
            return value

        store = Store(NOWHERE, "p", "q")
        self._slots = Slots(10)
        self._verbs = WorkerVerbs(store.keys, Settings(60_000, 1000, 0), b"fuzz")
        self.joint = Joint(Owner(), queue, store, self._slots)
        self.table = self.joint.exchange.table
        self.table._settler = self  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        self.items: list[Item] = []
        self._seq = 0

    @staticmethod
    @cache
    def shared() -> Bench:
        """One for many inputs."""
        return Bench()

    def add(self, attempt: Attempt, item: Item) -> None:
        """Collect a settlement."""
        attempt.settling = True
        self.items.append(item)

    async def through(self, body: bytes | None, deliveries: int = 1) -> Item:
        """Take an entry and return how it was settled."""
        began = time.monotonic()
        self.table.take(Taken(b"job", b"21-0:0", body, deliveries), began)
        while not self.items:
            await asyncio.sleep(0)
            assert time.monotonic() - began < SLOW, f"not settled: {body!r:.500}"
        (item,) = self.items
        self.items.clear()
        self._seq += 1
        pack(self._verbs.settle(self._seq, [item]))
        self.table.forget([item])
        assert self.table.is_empty
        assert self._slots.used == 0
        assert time.monotonic() - began < SLOW, f"settled late: {body!r:.500}"
        return item


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    """Each input is worth a log record, and none of them is worth keeping."""
    logger = logging.getLogger("streamq")
    level, logger.propagate = logger.level, False
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.NullHandler())
    yield
    logger.propagate = True
    logger.setLevel(level)


@pytest.fixture(scope="module")
def loop(quiet: None) -> Iterator[asyncio.Runner]:
    """One event loop for many inputs."""
    with asyncio.Runner() as runner:
        yield runner


SEEDS: tuple[dict[str, Any], ...] = (
    {"n": "plain", "a": {"n": 1}},
    {"n": "rich", "a": {"to": "x", "tags": ["a", "b"]}, "hd": {"traceparent": "00-1"}, "k": 1, "h": 2, "m": 3},
    {"n": "any", "a": {"value": {"deep": [[[]]]}}, "t": 1000, "x": 2**41, "dl": 2**41, "tn": "shop"},
    {"n": "nobody", "v": 1, "l": 4, "c": 1_700_000_000_000, "kr": True, "o": "x"},
    {"n": "plain", "er": [[1, "E", "m", "t", 1, 2, "w"]], "b": ["f", 1.0], "v": 2},
    {"n": "plain", "a": {"n": 1}, "x": 10**12},
    {"n": "any"},
)


def mutated(chance: random.Random) -> bytes:
    """An envelope with some bytes changed, cut, repeated or put elsewhere."""
    body = bytearray(msgspec.msgpack.encode(chance.choice(SEEDS)))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 6))):
        at = chance.randrange(len(body) + 1)
        match chance.randrange(6):
            case 0 if at < len(body):
                body[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(body):
                body[at] = chance.randrange(256)
            case 2:
                del body[at : at + chance.randint(1, 4)]
            case 3:
                body[at:at] = chance.randbytes(chance.randint(1, 4))
            case 4:
                body[at:at] = body[at : at + chance.randint(1, 20)] * chance.randint(1, 50)
            case _:
                body += msgspec.msgpack.encode(chance.choice(SEEDS))[chance.randrange(5) :]
    return bytes(body)


async def test_bytes_gone_wrong(quiet: None) -> None:
    bench, chance = Bench(), random.Random(7)
    verbs = set[bytes]()
    for _ in range(INPUTS):
        verbs.add((await bench.through(mutated(chance), chance.choice((1, 1, 1, 2, 9)))).verb)
    assert verbs >= {b"c", b"C", b"b", b"x", b"p", b"e"}, "the inputs do not reach what they should"


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
leaves = scalars | st.text(max_size=20) | st.binary(max_size=20)
keys = st.text(max_size=5) | st.integers(-5, 5)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=10
)
names = st.sampled_from(["plain", "rich", "any", "nobody", ""]) | st.text(max_size=10) | values
arguments = st.fixed_dictionaries({}, optional={"n": values, "to": values, "tags": values, "value": values}) | values
envelopes = st.fixed_dictionaries(
    {"n": names},
    optional={"a": arguments}
    | dict.fromkeys(("v", "k", "h", "m", "b", "t", "hd", "tn", "x", "dl", "kr", "er", "c", "o", "l", "zz"), values),
)


def encoded(value: Any) -> bytes:
    """Whatever msgpack can say."""
    return msgspec.msgpack.encode(value)


@settings(
    max_examples=max(INPUTS // 50, 50),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    database=None,
)
@given(
    body=envelopes.map(encoded) | values.map(encoded) | st.binary(max_size=60), deliveries=st.sampled_from([1, 2, 9])
)
def test_values_nobody_expects(loop: asyncio.Runner, body: bytes, deliveries: int) -> None:
    loop.run(Bench.shared().through(body, deliveries))


async def test_an_entry_without_any_field_of_ours(quiet: None) -> None:
    assert (await Bench().through(None)).verb == b"x"
