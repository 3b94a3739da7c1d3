"""settle/limited: its provider said "too many": the gate is shut for as long, and the job keeps its place."""

from streamq._core.flow import Flow
from tests.store.snapshot import counter
from tests.store.stage import Lined, Stage, completed, limited


async def test_its_gate_is_shut_and_the_others_go_on(stage: Stage) -> None:
    flow, other = Flow(("g:x", "r.x")), Flow(("g:x", "r.y"))
    await stage.line_up(Lined("a", flow), Lined("b", flow), Lined("c", other))
    hand = stage.hand()
    [a] = await hand.take(1)
    assert await hand.settle(limited(a, "r.x", 60_000)) == "a"
    now = stage.look()
    assert (now.place("a"), now.bodies["a"], counter(now, "limited")) == ("in line", b"again:a", 1)
    assert now.lines.of("g:x>r.x") == ["a", "b"]
    offer = await hand.offered()
    assert [job.id for job in offer.fetched.jobs] == [b"c"]
    assert 59_000 < offer.alarm_ms <= 60_000
    await stage.shut("r.x", 0)
    assert [job.id for job in await hand.take()] == [b"a", b"b"]


async def test_the_longest_time_told_holds(stage: Stage) -> None:
    await stage.line_up(*[Lined(f"j{n}", Flow(("r.x",))) for n in range(2)])
    hand = stage.hand()
    long, short = await hand.take()
    await hand.settle(limited(long, "r.x", 60_000), limited(short, "r.x", 10))
    assert (await hand.offered()).alarm_ms > 59_000


async def test_its_token_stays_spent_and_its_slot_is_free(stage: Stage) -> None:
    await stage.set("r.x", n=2, p=60_000)
    await stage.set("k.x=1", c=1)
    await stage.line_up(*[Lined(f"j{n}", Flow(("r.x", "k.x=1"))) for n in range(3)])
    hand = stage.hand()
    [a] = await hand.take()
    await hand.settle(limited(a, "k.x=1", 1))
    await stage.shut("k.x=1", 0)
    now = stage.look().lines
    assert (now.gate("k.x=1").used, sum(now.gate("r.x").log[1::2])) == (0, 1)
    [again] = await hand.take()
    await hand.settle(completed(again))
    assert await hand.take() == [], "both tokens are spent"


async def test_an_ordered_line_waits_for_its_head(stage: Stage) -> None:
    flow = Flow(("g:o", "r.x"), "g:o", ordered=True)
    await stage.set("g:o", c=1)
    await stage.line_up(Lined("a", flow), Lined("b", flow))
    hand = stage.hand()
    [a] = await hand.take()
    await hand.settle(limited(a, "r.x", 60_000))
    assert await hand.take() == []
    await stage.shut("r.x", 0)
    assert [job.id for job in await hand.take()] == [b"a"]


async def test_stalls_are_forgotten_with_the_attempt(stage: Stage) -> None:
    await stage.line_up(Lined("a", Flow(("r.x",))))
    [dead] = await stage.hand("dead").take()
    stage.age(dead.token)
    hand = stage.hand()
    hand.verbs.knows_lines = True
    await hand.tick()
    [job] = await hand.take()
    assert job.deliveries == 2
    await hand.settle(limited(job, "r.x", 0))
    assert [job.deliveries for job in await hand.take()] == [1]
