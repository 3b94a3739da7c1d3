"""Jobs in lines as people meet them: counts, look, cancel, promote, replay."""

from __future__ import annotations

import pytest

from streamq._core.flow import Flow
from streamq._store import desk
from streamq._store.lines import held
from tests.store.stage import ODD_IDS, Lined, Stage, body_of, buried, completed, parked, retried

GROUP = Flow(("g:x", "h.a"))


async def cancel(stage: Stage, *jobs: str) -> str:
    return await desk.cancel(stage.store, list(jobs), b"cancelled", result_ms=60_000, ask=True)


async def test_counts_tell_them_apart(stage: Stage) -> None:
    await stage.set("h.a", c=1)
    await stage.line_up(*[Lined(f"j{n}", GROUP) for n in range(5)], Lined("d", GROUP, when="+60000"), Lined("p", None))
    await stage.hand().take(2)
    counted = await desk.counts(stage.store)
    assert (counted.in_lines, counted.delayed, counted.pending, counted.unsettled) == (4, 1, 2, 7)


async def test_a_look_at_one_that_waits(stage: Stage) -> None:
    await stage.line_up(Lined("a", GROUP, "1"))
    seen = await desk.look(stage.store, "a")
    assert (seen.place, seen.row, seen.body, seen.deliveries) == ("row", "f1", body_of("a"), 0)
    [job] = await stage.hand().take()
    seen = await desk.look(stage.store, "a")
    assert (seen.place, seen.row, seen.deliveries, seen.consumer) == ("row", job.token.split(b"|")[0].decode(), 1, "w1")


@pytest.mark.parametrize("job", ODD_IDS)
async def test_any_id_and_any_group_goes_the_whole_way(stage: Stage, job: str) -> None:
    flow = Flow((f"g:{job[:120]}".replace("%", "%25"),))
    await stage.line_up(Lined(job, flow), Lined("other", flow))
    hand = stage.hand()
    taken = await hand.take(1)
    assert [one.id.decode() for one in taken] == [job]
    await hand.settle(retried(taken[0], "+0"))
    await hand.promote()
    assert await cancel(stage, job) == "c"
    assert stage.look().lines.waiting == ["other"]


async def test_cancel_takes_a_job_out_of_its_line(stage: Stage) -> None:
    await stage.set("h.a", c=1)
    await stage.line_up(*[Lined(job, GROUP) for job in "abc"])
    hand = stage.hand()
    [a] = await hand.take()
    assert await cancel(stage, "b", "nobody") == "cg"
    assert await cancel(stage, "b") == "c", "the same call again"
    now = stage.look()
    assert (now.lines.waiting, now.lines.gate("g:x").waiting, now.bodies) == (["c"], 1, {"c": body_of("c")})
    assert await cancel(stage, "a") == "a"
    assert stage.look().cancels == ("a",)
    await hand.settle(completed(a))
    assert [job.id for job in await hand.take()] == [b"c"]


async def test_an_emptied_line_is_dropped_wherever_it_is(stage: Stage) -> None:
    await stage.set("h.a", c=1)
    await stage.line_up(Lined("running", Flow(("h.a",))))
    await stage.hand().take()
    await stage.line_up(*[Lined(job, Flow((f"g:{job}", "h.a"))) for job in "abc"], Lined("ready", Flow(("g:r",))))
    await stage.hand().take(1)
    assert await stage.hand().take() == []
    await stage.line_up(Lined("again", Flow(("g:r",))))
    assert await cancel(stage, "a", "b", "c", "again") == "cccc"
    now = stage.look().lines
    assert (now.lines, now.park, now.rings) == ({}, (), ())


async def test_a_cancelled_envoy_hands_the_gate_on(stage: Stage) -> None:
    await stage.set("h.a", c=1)
    await stage.line_up(Lined("running", Flow(("h.a",))))
    hand = stage.hand()
    [running] = await hand.take()
    await stage.line_up(Lined("a", Flow(("g:a", "h.a"))), Lined("b", Flow(("g:b", "h.a"))))
    assert await hand.take() == []
    await hand.settle(completed(running))
    assert stage.look().lines.gate("h.a").envoy == "g:a>h.a"
    stage.server.command("DEL", stage.keys.bell)
    assert await cancel(stage, "a") == "c"
    now = stage.look()
    assert (now.lines.gate("h.a").envoy, now.bell) == ("g:b>h.a", 1)


async def test_a_delayed_job_joins_its_line_when_due(stage: Stage) -> None:
    await stage.line_up(Lined("a", GROUP, when="+60000"))
    hand = stage.hand()
    hand.verbs.knows_lines = True
    assert (await hand.promote()).promoted == 0
    assert await desk.promote(stage.store, ["a"]) == 1
    now = stage.look()
    assert (now.place("a"), now.lines.of("g:x>h.a"), now.bell) == ("in line", ["a"], 1)


async def test_a_worker_that_knows_no_lines_leaves_them_to_others(stage: Stage) -> None:
    await stage.line_up(Lined("a", GROUP, when="@5"), Lined("b", None, when="@6"))
    hand = stage.hand()
    promoted = await hand.promote()
    assert (promoted.promoted, promoted.left) == (1, 1)
    assert (stage.look().place("a"), stage.look().place("b")) == ("delayed", "waiting")
    hand.verbs.knows_lines = True
    assert (await hand.promote()).promoted == 1


async def test_a_dead_letter_finds_its_line_again(stage: Stage) -> None:
    await stage.set("h.a", x=1)
    await stage.clear("h.a")
    await stage.line_up(Lined("a", GROUP, "1", expires_ms=10**13), Lined("b", GROUP, "1"))
    hand = stage.hand()
    a, _ = await hand.take()
    await hand.settle(buried(a))
    await stage.set("h.a", x=1)
    assert await desk.replay(stage.store, [("a", 1, "0", b"again")]) == "a"
    now = stage.look()
    assert (now.place("a"), now.bodies["a"], now.lines.records["a"].gates) == ("in line", b"again", GROUP.gates)
    assert now.lines.records["a"].expires_ms == 0
    assert await desk.replay(stage.store, [("a", 1, "0", b"again")]) == "g"


async def test_a_dead_letter_comes_back_later(stage: Stage) -> None:
    await stage.line_up(Lined("a", GROUP))
    hand = stage.hand()
    await hand.settle(*[buried(job) for job in await hand.take()])
    await desk.replay(stage.store, [("a", 2, "+60000", b"again")])
    assert stage.look().place("a") == "delayed"
    await desk.promote(stage.store, ["a"])
    assert stage.look().lines.waiting == ["a"]


async def test_a_parked_job_goes_back_to_its_line(stage: Stage) -> None:
    await stage.set("g:x", c=1)
    await stage.line_up(Lined("a", Flow(("g:x",))), Lined("b", Flow(("g:x",))))
    hand = stage.hand()
    [a] = await hand.take()
    await hand.settle(parked(a, "odd|name"))
    now = stage.look()
    assert (now.place("a"), now.lines.gate("g:x").used) == ("parked", 0)
    assert await hand.unpark("odd|name") == [], "it is handed out by its gates, not here"
    now = stage.look()
    assert (now.place("a"), now.lines.of("g:x"), now.bell) == ("in line", ["a", "b"], 1)
    [again] = await hand.take()
    record = held(again.token)
    assert again.id == b"a"
    assert record is not None
    assert record.takes == 2


async def test_a_name_with_a_bar_is_a_name(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    await hand.settle(parked(await hand.one(), "odd|name"))
    assert [job.id for job in await hand.unpark("odd|name")] == [b"a"]
    stage.look()


async def test_an_entry_left_by_a_lost_group_is_cancelled_with_its_slots(stage: Stage) -> None:
    await stage.set("g:x", c=1)
    await stage.line_up(Lined("a", Flow(("g:x",))), Lined("b", Flow(("g:x",))))
    hand = stage.hand()
    await hand.take()
    stage.server.command("XGROUP", "DESTROY", stage.keys.taken, "w")
    assert await cancel(stage, "a") == "c"
    assert stage.look().lines.gate("g:x").used == 0
    assert [job.id for job in await hand.take()] == [b"b"]
