"""Jobs of lines whose worker vanished: back to the line once, a suspect then, buried in the end."""

from __future__ import annotations

from streamq._core.flow import Batch, Flow
from streamq._store.lines import held
from streamq._store.replies import Taken, read_ticked
from streamq._store.verbs import TickInput
from tests.store.snapshot import counter
from tests.store.stage import Hand, Lined, Outcome, Stage, buried, completed, released, retried

FLOW = Flow(("g:x", "r.x"))


async def vanish(stage: Stage, name: str, want: int = 1) -> list[Taken]:
    """A worker takes jobs and is not heard of again."""
    jobs = await stage.hand(name).take(want)
    stage.age(*[job.token for job in jobs])
    return jobs


def able(stage: Stage, name: str = "w1") -> Hand:
    hand = stage.hand(name)
    hand.verbs.knows_lines = True
    return hand


async def test_back_to_its_place_with_its_slot_free_and_its_token_spent(stage: Stage) -> None:
    await stage.set("g:x", c=1)
    await stage.set("r.x", n=2, p=60_000)
    await stage.line_up(*[Lined(job, FLOW) for job in "abc"])
    [old] = await vanish(stage, "dead")
    hand = able(stage)
    ticked = await hand.tick()
    assert (ticked.stalled, ticked.waiting) == ([], True)
    now = stage.look()
    assert (now.place("a"), now.lines.of("g:x>r.x"), counter(now, "stalled")) == ("in line", ["a", "b", "c"], 1)
    assert (now.lines.gate("g:x").used, now.lines.gate("r.x").log[1::2]) == (0, [1])
    [again] = await hand.take()
    assert (again.id, again.deliveries, again.body) == (b"a", 2, old.body)
    assert sum(stage.look().lines.gate("r.x").log[1::2]) == 2, "another start costs another token"
    assert await able(stage, "dead").settle(completed(old)) == "l"
    assert await hand.settle(completed(again)) == "a"


async def test_a_sweep_that_leaves_them_out_does_not_put_off_the_next(stage: Stage) -> None:
    """A new worker does not know of lines until its first tick is answered."""
    await stage.line_up(Lined("a", FLOW))
    await vanish(stage, "dead")
    await stage.hand("new").tick()
    assert stage.look().place("a") != "in line"
    said = TickInput(b"beat", lease_ms=15_000, free=10, max_stalls=2, suspects=1, sweep=True)
    read_ticked(await stage.call(able(stage).verbs.tick(said)))
    assert stage.look().place("a") == "in line"


async def test_stalled_again_it_is_a_suspect_and_then_over(stage: Stage) -> None:
    await stage.set("g:x", c=1)
    await stage.line_up(Lined("a", FLOW), Lined("b", FLOW))
    hand = able(stage)
    await vanish(stage, "dead1")
    await hand.tick()
    await vanish(stage, "dead2")
    assert (await hand.tick(suspects=0)).stalled == []
    assert stage.look().entries["a"].owner == "!"
    [suspect] = (await able(stage, "dead3").tick(suspects=1)).stalled
    now = stage.look()
    assert (suspect.id, suspect.deliveries, now.lines.gate("g:x").used) == (b"a", 3, 1)
    assert await hand.take() == [], "it holds its slot"
    stage.age(suspect.token)
    [over] = (await hand.tick()).stalled
    assert over.deliveries == 4
    assert await hand.settle(buried(over, "stalled")) == "a"
    assert [job.id for job in await hand.take()] == [b"b"]


async def test_a_suspect_begins_only_when_its_gates_can_pay(stage: Stage) -> None:
    await stage.set("r.x", n=2, p=60_000)
    await stage.line_up(Lined("a", FLOW))
    hand = able(stage)
    await vanish(stage, "dead1")
    await hand.tick()
    await vanish(stage, "dead2")
    assert (await hand.tick()).stalled == [], "both tokens are spent"
    await stage.set("r.x", n=3)
    [suspect] = (await hand.tick()).stalled
    assert suspect.id == b"a"
    assert sum(stage.look().lines.gate("r.x").log[1::2]) == 3


async def test_without_stalls_allowed_it_is_over_at_once(stage: Stage) -> None:
    await stage.line_up(Lined("a", FLOW))
    await vanish(stage, "dead")
    [over] = (await able(stage).tick(max_stalls=0)).stalled
    assert over.deliveries == 2


async def test_a_plain_worker_does_not_sweep_them(stage: Stage) -> None:
    await stage.line_up(Lined("a", FLOW))
    await vanish(stage, "dead")
    hand = stage.hand()
    ticked = await hand.tick()
    assert (ticked.stalled, ticked.epoch) == ([], b"1")
    assert stage.look().entries["a"].owner == "dead"


async def test_a_batch_comes_back_item_by_item(stage: Stage) -> None:
    await stage.set("r.x", n=9, p=60_000)
    flow = Flow(("r.x",), "b.h=1", batch=Batch(3, 60_000))
    await stage.line_up(*[Lined(job, flow) for job in "abc"])
    await vanish(stage, "dead")
    hand = able(stage)
    await hand.tick()
    now = stage.look().lines
    assert (now.of("b.h=1"), now.gate("r.x").used) == (["a", "b", "c"], 0)
    jobs = await hand.take()
    assert [(job.id, job.deliveries) for job in jobs] == [(b"a", 2), (b"b", 2), (b"c", 2)]


async def test_a_release_remembers_a_retry_forgets(stage: Stage) -> None:
    await stage.line_up(Lined("a", FLOW))
    await vanish(stage, "dead")
    hand = able(stage)
    await hand.tick()
    outcomes: list[tuple[Outcome, int]] = [(released, 2), (lambda job: retried(job, "+0"), 1)]
    for settle, deliveries in outcomes:
        [job] = await hand.take()
        assert job.deliveries == 2
        await hand.settle(settle(job))
        await hand.promote()
        [job] = await hand.take()
        assert job.deliveries == deliveries
        await hand.settle(released(job))


async def test_ghosts_of_a_lost_reply_keep_what_they_hold(stage: Stage) -> None:
    await stage.set("g:x", c=1)
    await stage.line_up(Lined("a", FLOW))
    hand = able(stage)
    await hand.take()
    [ghost] = await hand.adopt(*await hand.own_pending())
    record = held(ghost.token)
    assert record is not None
    assert (record.gates, stage.look().lines.gate("g:x").used) == (FLOW.gates, 1)
    assert await hand.settle(released(ghost)) == "a"
    [again] = await hand.take()
    assert int(again.token.split(b":")[1].split(b"|")[0]) > int(ghost.token.split(b":")[1].split(b"|")[0])
    assert await hand.settle(completed(again)) == "a"
