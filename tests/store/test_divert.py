"""settle/divert: a job that was handed out without gates it needs by now moves to its line; nobody is charged."""

from streamq._core.flow import Flow
from streamq._store.lines import held
from tests.store.snapshot import counter
from tests.store.stage import Lined, Stage, completed, diverted, released

BLOCK = Flow(("x.1",))


async def test_from_a_lane_it_waits_at_its_gate(stage: Stage) -> None:
    await stage.set("x.1", x=1)
    await stage.enqueue("a")
    hand = stage.hand()
    [job] = await hand.take()
    assert await hand.settle(diverted(job, BLOCK)) == "a"
    now = stage.look()
    assert (now.place("a"), now.lines.waiting, now.lanes["2"]) == ("in line", ["a"], ())
    assert counter(now, "failed") == counter(now, "retried") == 0
    assert await hand.take() == []
    await stage.clear("x.1")
    [again] = await hand.take()
    assert (again.id, again.body, again.deliveries) == (job.id, job.body, 1)
    assert await hand.settle(completed(again)) == "a"


async def test_jobs_of_a_lane_keep_their_order_there(stage: Stage) -> None:
    await stage.enqueue(*[f"j{n}" for n in range(6)])
    await stage.set("h.a", c=0)
    one, other = stage.hand("w1"), stage.hand("w2")
    first, second = await one.take(3), await other.take(3)
    await other.settle(*[diverted(job, Flow(("h.a",))) for job in reversed(second)])
    await one.settle(*[diverted(job, Flow(("h.a",))) for job in reversed(first)])
    assert stage.look().lines.of("h.a") == [f"j{n}" for n in range(6)]


async def test_from_a_line_it_keeps_its_other_gates_and_its_place(stage: Stage) -> None:
    await stage.set("r.x", n=1, p=60_000)
    flow = Flow(("g:x", "r.x"))
    await stage.line_up(Lined("a", flow), Lined("b", flow))
    hand = stage.hand()
    [job] = await hand.take()
    assert await hand.settle(diverted(job, Flow(("g:x", "r.x", "x.1")))) == "a"
    now = stage.look().lines
    assert set(now.lines) == {"g:x>r.x", "g:x>r.x>x.1"}
    assert (now.gate("g:x").used, now.records["a"].takes) == (0, 1)
    [b] = await hand.take()
    assert b.id == b"b", "the one that was diverted never began: its token came back"
    await stage.set("r.x", n=2)
    [again] = await hand.take()
    assert again.id == b"a"
    record = held(again.token)
    assert record is not None
    assert record.takes == 2


async def test_only_its_holder_can_divert(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    [old] = await hand.take()
    await hand.settle(released(old))
    [new] = await hand.take()
    assert await hand.settle(diverted(old, BLOCK)) == "l"
    assert await hand.settle(diverted(new, BLOCK)) == "a"
    assert await hand.settle(completed(new)) == "l"
    stage.look()


async def test_the_take_goes_on_rising(stage: Stage) -> None:
    await stage.enqueue("a")
    hand, takes = stage.hand(), list[int]()
    for round_ in range(3):
        [job] = await hand.take()
        takes.append(int(job.token.split(b":")[1].split(b"|")[0]))
        await hand.settle(diverted(job, Flow((f"x.{round_}",))))
    assert takes == [0, 1, 2]


async def test_a_full_lane_of_them_is_one_script(stage: Stage) -> None:
    await stage.set("x.1", x=1)
    await stage.enqueue(*[f"j{n}" for n in range(200)])
    hand = stage.hand()
    assert set(await hand.settle(*[diverted(job, BLOCK) for job in await hand.take()])) == {"a"}
    assert len(stage.look().lines.waiting) == 200
