"""What stays behind: nothing that was ever seen once."""

from __future__ import annotations

import asyncio

from streamq._core.flow import Flow
from tests.store import lined
from tests.store.stage import Lined, Stage, completed


async def run(stage: Stage, jobs: list[Lined]) -> None:
    hand = stage.hand()
    for first in range(0, len(jobs), 100):
        assert await stage.line_up(*jobs[first : first + 100]) == {}
        while taken := await hand.take(100):
            await hand.settle(*[completed(job) for job in taken])


async def test_gates_without_a_rate_are_gone_with_their_last_job(stage: Stage) -> None:
    await run(stage, [Lined(f"j{n}", Flow((f"k.a={n}", "h.a"))) for n in range(300)])
    now = stage.look().lines
    lined.idle(now)
    assert now.gates == {}


async def test_groups_are_forgotten_when_nobody_waits(stage: Stage) -> None:
    await run(stage, [Lined(f"j{n}", Flow((f"g:{n}",))) for n in range(300)])
    hand = stage.hand()
    calls = 0
    while stage.look().lines.gates:
        await hand.take()
        calls += 1
        assert calls <= 1000
    lined.idle(stage.look().lines)


async def test_rates_are_forgotten_after_their_window(stage: Stage) -> None:
    await stage.set("r.a", n=5, p=30)
    await run(stage, [Lined(f"j{n}", Flow((f"r.a={n}",))) for n in range(100)])
    hand = stage.hand()
    await asyncio.sleep(0.035)
    calls = 0
    while stage.look().lines.gates:
        await hand.take()
        calls += 1
        assert calls <= 500


async def test_a_drained_queue_keeps_its_limits_only(stage: Stage) -> None:
    await stage.set("h.a", c=2)
    await run(stage, [Lined(f"j{n}", Flow(("h.a",))) for n in range(20)])
    now = stage.look()
    assert (now.lines.config, now.lines.alarms, now.bodies, now.index) == ({"h.a": {"c": 2}}, {}, {}, {})
    assert now.lanes["t"] == ()
