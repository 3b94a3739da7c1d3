"""The server's clock is set back by an hour: what waits for a time waits no longer than it was to.

On the broker in memory, the one whose clock can be set; its scripts are those of the servers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamq._core.flow import Batch, Flow
from streamq._memory.broker import Broker
from streamq._store import replies
from streamq._store.replies import Ticked
from streamq._store.verbs import TickInput
from tests.simulation.memory import MemoryServer
from tests.store.stage import Hand, Lined, Stage, completed, limited
from tests.store.test_breaker import GATE, WAITS, Reporter

HOUR_MS = 3_600_000
LONG_MS = 60_000


class Moved:
    """A clock that the test moves; microseconds."""

    def __init__(self) -> None:
        self.us = 1_790_000_000_000_000

    def __call__(self) -> int:
        return self.us

    def by(self, ms: float) -> None:
        """Move it."""
        self.us += int(ms * 1000)


@pytest.fixture
def clock() -> Moved:
    return Moved()


@pytest.fixture
async def stage(clock: Moved, prefix: str) -> AsyncIterator[Stage]:
    with MemoryServer(Broker(clock)) as server:
        async with Stage(server, prefix) as found:
            yield found


async def tick(hand: Hand, stage: Stage) -> Ticked:
    """Tick as workers do, who sweep every two seconds."""
    said = TickInput(b"beat", 15_000, 100, 2, 1, sweep=True)
    return replies.read_ticked(await stage.call(hand.verbs.tick(said)))


async def set_back(stage: Stage, hand: Hand, clock: Moved) -> None:
    """Workers have swept, the clock is set back, and the next of them sweeps again."""
    await tick(hand, stage)
    clock.by(-HOUR_MS)
    await tick(hand, stage)


@pytest.mark.parametrize("limit", [{"n": 1, "p": 1000}, {"n": 1, "p": 1000, "b": 1}, {"n": 1, "p": 1000, "o": 0}])
async def test_a_rate_goes_on(stage: Stage, clock: Moved, limit: dict[str, Any]) -> None:
    await stage.set("r.x", **limit)
    await stage.line_up(*[Lined(f"j{n}", Flow(("r.x",))) for n in range(2)])
    hand = stage.hand()
    [first] = await hand.take()
    await hand.settle(completed(first))
    assert await hand.take() == []
    await set_back(stage, hand, clock)
    clock.by(1100)
    [second] = await hand.take()
    assert second.id == b"j1"


async def test_a_provider_that_said_later(stage: Stage, clock: Moved) -> None:
    await stage.line_up(*[Lined(f"j{n}", Flow(("r.x",))) for n in range(2)])
    hand = stage.hand()
    [job, other] = await hand.take()
    await hand.settle(limited(job, "r.x", LONG_MS), completed(other))
    assert await hand.take() == []
    await set_back(stage, hand, clock)
    clock.by(LONG_MS - 1000)
    assert await hand.take() == [], "and no shorter either"
    clock.by(2000)
    [again] = await hand.take()
    assert again.id == job.id


async def test_what_is_set_between_the_jump_and_the_next_sweep_stays(stage: Stage, clock: Moved) -> None:
    await stage.line_up(Lined("a", Flow(("r.x",))))
    hand = stage.hand()
    await tick(hand, stage)
    clock.by(-HOUR_MS)
    [job] = await hand.take()
    await hand.settle(limited(job, "r.x", LONG_MS))
    await tick(hand, stage)
    clock.by(LONG_MS - 1000)
    assert await hand.take() == []
    clock.by(2000)
    assert len(await hand.take()) == 1


async def test_a_batch_that_is_not_full(stage: Stage, clock: Moved) -> None:
    await stage.line_up(Lined("a", Flow(("h.a",), batch=Batch(10, wait_ms=500))))
    hand = stage.hand()
    assert await hand.take() == []
    await set_back(stage, hand, clock)
    clock.by(600)
    assert [job.id for job in await hand.take()] == [b"a"]


async def test_a_breaker(stage: Stage, clock: Moved) -> None:
    tell = Reporter(stage, failures=1, open_ms=LONG_MS)
    assert (await tell("failed")).word == "opened"
    await stage.line_up(Lined("a", WAITS))
    hand = stage.hand()
    await set_back(stage, hand, clock)
    assert await hand.take() == []
    clock.by(LONG_MS + 1)
    [probe] = await hand.take()
    seen = await tell("succeeded", probe.id.decode())
    assert (seen.word, seen.is_probe) == ("closed", True)
    assert GATE not in stage.look().lines.config


async def test_stalled_jobs_are_still_looked_for(stage: Stage, clock: Moved) -> None:
    hand, other = stage.hand("w1"), stage.hand("w2")
    await set_back(stage, other, clock)
    await stage.enqueue("a")
    [job] = await hand.fetch()
    clock.by(LONG_MS)
    [stalled] = (await tick(other, stage)).stalled
    assert (stalled.id, stalled.deliveries) == (job.id, 2)


async def test_the_turn_of_a_worker_that_is_gone_passes_on(stage: Stage, clock: Moved) -> None:
    gone, other = stage.hand("w1"), stage.hand("w2")
    assert (await tick(gone, stage)).turn == b"w1"
    clock.by(-HOUR_MS)
    assert (await tick(other, stage)).turn == b"w2"
