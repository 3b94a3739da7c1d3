"""Fair turns: by weights between groups, between lines without a group, and no starving of dear jobs."""

from __future__ import annotations

import asyncio
from collections import Counter

from streamq._core.flow import Flow
from tests.store.stage import Lined, Stage, completed


def group(name: str) -> Flow:
    return Flow((f"g:{name}",))


async def test_weights_are_kept_exactly_under_backlog(stage: Stage) -> None:
    for name, weight in (("a", 4), ("b", 2), ("c", 1)):
        await stage.set(f"g:{name}", w=weight)
        await stage.line_up(*[Lined(f"{name}{n}", group(name)) for n in range(400)])
    hand, got = stage.hand(), Counter[str]()
    for _ in range(20):
        jobs = await hand.take(35)
        got.update(job.id.decode()[0] for job in jobs)
        await hand.settle(*[completed(job) for job in jobs])
    assert abs(got["a"] - 400) <= 2
    assert abs(got["b"] - 200) <= 2
    assert abs(got["c"] - 100) <= 2


async def test_a_newcomer_does_not_wait_for_the_hog(stage: Stage) -> None:
    await stage.line_up(*[Lined(f"hog{n}", group("hog")) for n in range(300)])
    hand = stage.hand()
    await hand.take(100)
    await stage.line_up(Lined("light", group("light")))
    assert b"light" in [job.id for job in await hand.take(2)]


async def test_several_lines_of_a_group_share_its_turns(stage: Stage) -> None:
    await stage.line_up(
        *[Lined(f"a{n}", Flow(("g:a", f"r.x={n % 5}"))) for n in range(100)],
        *[Lined(f"b{n}", group("b")) for n in range(100)],
    )
    got = Counter(job.id.decode()[0] for job in await stage.hand().take(60))
    assert abs(got["a"] - got["b"]) <= 5


async def test_lines_without_a_group_take_turns_like_groups(stage: Stage) -> None:
    await stage.line_up(*[Lined(f"{name}{n}", Flow((f"r.x={name}",))) for name in "abc" for n in range(50)])
    await stage.line_up(*[Lined(f"g{n}", group("g")) for n in range(50)])
    got = Counter(job.id.decode()[0] for job in await stage.hand().take(80))
    assert set(got) == {"a", "b", "c", "g"}
    assert max(got.values()) - min(got.values()) <= 2


async def test_lines_at_one_gate_take_turns(stage: Stage) -> None:
    await stage.set("h.a", c=1)
    await stage.line_up(*[Lined(f"{name}{n}", Flow((f"g:{name}", "h.a"))) for name in "ab" for n in range(20)])
    hand, got = stage.hand(), Counter[str]()
    for _ in range(20):
        [job] = await hand.take()
        got[job.id.decode()[0]] += 1
        await hand.settle(completed(job))
    assert got == {"a": 10, "b": 10}


async def test_a_dear_job_is_not_starved_by_cheap_ones(stage: Stage) -> None:
    """It needs all tokens at once; the cheap ones behind it must leave them."""
    await stage.set("r.x", n=3, p=30)
    dear, cheap = Flow(("r.x", "k.a=1"), cost=3), Flow(("r.x",))
    await stage.line_up(*[Lined(f"c{n}", cheap) for n in range(4)])
    hand = stage.hand()
    await stage.line_up(Lined("dear", dear))
    got: list[bytes] = []
    for number in range(60):
        offer = await hand.offered()
        got += [job.id for job in offer.fetched.jobs]
        if b"dear" in got:
            break
        await stage.line_up(Lined(f"d{number}", cheap), Lined(f"e{number}", cheap))
        await asyncio.sleep(0.01)
    assert b"dear" in got
    stage.look()
