"""limit: what gates let through, changed while workers run."""

from __future__ import annotations

import pytest

from streamq._core.flow import Flow
from streamq._store import limits
from streamq._store.limits import Layer
from streamq._store.scripts import script
from tests.store.stage import Lined, Refusal, Stage, completed


async def test_code_declares_and_people_override(stage: Stage) -> None:
    assert await stage.declare("v1", {"g": {"c": 5, "w": 2.0}, "h.send": {"n": 10, "p": 1000}})
    assert not await stage.declare("v1", {"g": {"c": 9}}), "the same digest is the same declaration"
    assert await stage.set("g", c=1)
    assert stage.look().lines.config["g"] == {"c": 1, "w": 2.0}
    assert await stage.clear("g")
    assert stage.look().lines.config["g"] == {"c": 5, "w": 2.0}
    assert not await stage.clear("g")


async def test_another_declaration_replaces_what_it_names(stage: Stage) -> None:
    await stage.declare("v1", {"h.a": {"c": 1}, "h.b": {"c": 2}, "h.c": {"c": 3}})
    assert await stage.declare("v2", {"h.a": {"c": 9}, "h.b": False})
    assert stage.look().lines.config == {"h.a": {"c": 9}, "h.c": {"c": 3}}
    declared, overrides = await limits.layers(stage.store)
    assert (declared.digest, declared.by, overrides) == ("v2", "test", {})


async def test_what_was_declared_before_is_told(stage: Stage) -> None:
    await stage.declare("v1", {"h.a": {"c": 1}})
    changed, before = await limits.declare(stage.store, "v2", {"h.a": {"c": 2}}, "v2 on w1")
    assert changed
    assert before is not None
    assert (before.digest, before.gates, before.by) == ("v1", {"h.a": {"c": 1}}, "test")
    assert before.at > 10**12


async def test_an_override_says_who_and_when(stage: Stage) -> None:
    await stage.set("h.a", c=1)
    _, overrides = await limits.layers(stage.store)
    assert overrides.keys() == {"h.a"}
    assert (overrides["h.a"].conf, overrides["h.a"].by) == ({"c": 1}, "test")
    assert overrides["h.a"].at > 10**12
    assert isinstance(overrides["h.a"], Layer)


async def test_options_are_set_and_taken_away_one_by_one(stage: Stage) -> None:
    await stage.set("h.a", c=1, x=1)
    assert await stage.set("h.a", x=False)
    assert stage.look().lines.config["h.a"] == {"c": 1}
    assert not await stage.set("h.a", c=1)
    assert await stage.set("h.a", c=False)
    now = stage.look().lines
    assert (now.config, now.layers) == ({}, ())


async def test_a_rate_set_live_replaces_the_whole_rate(stage: Stage) -> None:
    await stage.declare("v1", {"r.a": {"n": 5, "p": 1000, "b": 2}, "r.b": {"n": 5, "p": 1000, "o": 0}, "r": {"c": 1}})
    await stage.set("r.a", n=3, p=500)
    await stage.set("r.b=1", n=3, p=500)
    now = stage.look().lines.config
    assert now["r.a"] == {"n": 3, "p": 500}
    await stage.line_up(*[Lined(f"j{n}", Flow(("r.b=1",))) for n in range(5)])
    assert len(await stage.hand().take()) == 3, "the gate's own sliding window, not its class's window on the clock"


async def test_each_change_is_another_epoch_and_takes_the_queue_to_take(stage: Stage) -> None:
    await stage.enqueue("a")
    assert (await stage.hand().fetched(0)).why != "flow"
    await stage.set("h.a", c=1)
    first = stage.look().meta["flow"]
    await stage.set("h.a", c=1)
    assert stage.look().meta["flow"] == first
    await stage.clear("h.a")
    assert int(stage.look().meta["flow"]) == int(first) + 1
    assert (await stage.hand().fetched()).why == "flow"


async def test_a_declaration_without_limits_leaves_the_queue_plain(stage: Stage) -> None:
    assert not await stage.declare("v1", {})
    assert "flow" not in stage.look().meta


async def test_a_paused_gate_holds_and_resumes(stage: Stage) -> None:
    await stage.set("g:x", x=1)
    await stage.line_up(Lined("a", Flow(("g:x",))), Lined("b", Flow(("g:y",))))
    hand = stage.hand()
    assert [job.id for job in await hand.take()] == [b"b"]
    stage.server.command("DEL", stage.keys.bell)
    await stage.clear("g:x")
    assert stage.look().bell == 1
    assert [job.id for job in await hand.take()] == [b"a"]


async def test_a_raised_limit_wakes_who_may_pass_now(stage: Stage) -> None:
    await stage.set("h.a", c=1)
    await stage.line_up(*[Lined(f"j{n}", Flow(("h.a",))) for n in range(4)])
    hand = stage.hand()
    assert len(await hand.take()) == 1
    await stage.set("h.a", c=3)
    assert len(await hand.take()) == 2
    await stage.set("h.a", c=-1)
    assert len(await hand.take()) == 1, "a negative number is no limit, whatever the class says"


async def test_a_lowered_limit_stops_nobody_who_runs(stage: Stage) -> None:
    await stage.line_up(*[Lined(f"j{n}", Flow(("h.a",))) for n in range(4)])
    hand = stage.hand()
    jobs = await hand.take(3)
    await stage.set("h.a", c=1)
    assert await hand.take() == []
    await hand.settle(*[completed(job) for job in jobs[:2]])
    assert await hand.take() == []
    await hand.settle(completed(jobs[2]))
    assert len(await hand.take()) == 1


async def test_a_gate_is_shut_for_a_time_and_opened_by_hand(stage: Stage) -> None:
    await stage.line_up(Lined("a", Flow(("r.x",))))
    await stage.shut("r.x", 60_000)
    hand = stage.hand()
    offer = await hand.offered()
    assert offer.fetched.jobs == []
    assert 59_000 < offer.alarm_ms <= 60_000
    await stage.shut("r.x", 10)
    assert await hand.take() == [], "a shorter time opens nothing"
    await stage.shut("r.x", 0)
    assert len(await hand.take()) == 1


async def test_five_thousand_groups_resume_five_hundred_a_call(stage: Stage) -> None:
    await stage.set("g", x=1)
    for first in range(0, 5000, 500):
        await stage.line_up(*[Lined(f"j{n}", Flow((f"g:{n}",))) for n in range(first, first + 500)])
    hand = stage.hand()
    takes = 0
    while (await hand.offered()).fetched.why == "full":
        takes += 1
    assert takes <= 5000 // 4000 + 1
    assert len(stage.look().lines.park) == 5000
    before = stage.server.commandstats()
    await stage.clear("g")
    spent = {name: count - before.get(name, 0) for name, count in stage.server.commandstats().items()}
    assert spent["zrange"] <= 1100
    now = stage.look().lines
    assert len(now.rings) == 500
    assert [name[0] for name in now.alarms] == ["c"]
    got = 0
    while True:
        offer = await hand.offered()
        got += len(offer.fetched.jobs)
        if offer.fetched.why == "empty" and offer.alarm_ms < 0:
            break
    assert got == 5000
    assert not stage.look().lines.alarms


async def test_a_class_wakes_no_other_class(stage: Stage) -> None:
    names = ["g:a", "g:=", "r.a=1", "r.ab=1", "k.a=1"]
    for name in names:
        await stage.set(name, x=1)
    await stage.line_up(*[Lined(f"j{n}", Flow((name,))) for n, name in enumerate(names)])
    hand = stage.hand()
    assert await hand.take() == []
    for name in ("g", "r.a", "k"):
        await stage.set(name, c=9)
    assert await hand.take() == []
    for at, name in enumerate(names):
        await stage.clear(name)
        assert [job.id for job in await hand.take()] == [b"j%d" % at]


async def test_overrides_have_a_number(stage: Stage) -> None:
    flat = [part for n in range(10_001) for part in (f"o g:{n}", b"\x81\xa4conf\x80")]
    for first in range(0, len(flat), 2000):
        stage.server.command("HSET", stage.keys.limit_layers, *flat[first : first + 2000])
    with pytest.raises(Exception, match=r"SQLIMITS|10000|10,000"):
        await stage.set("g:new", c=1)
    await stage.set("g:5", c=1)


async def test_another_protocol_is_refused(stage: Stage) -> None:
    stage.server.command("HSET", stage.keys.meta, "v", "9")
    call = script("limit").call([stage.keys.meta, *stage.keys.flow], 1, stage.keys.control, "me", "clear", "h.a")
    with pytest.raises(Refusal, match="SQVERSION 9"):
        await stage.call(call)
