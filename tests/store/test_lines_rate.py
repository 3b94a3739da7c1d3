"""Rates: sliding windows, token buckets, windows on the clock; what is given back, and what never is."""

from __future__ import annotations

import asyncio

import pytest

from streamq._core.flow import Batch, Flow
from streamq._core.limits import OnLimit
from streamq._store import desk
from streamq._store.lines import held
from streamq._store.replies import Taken
from streamq._store.verbs import Item
from tests.store.lined import Config
from tests.store.stage import Hand, Lined, Stage, completed, diverted, released, retried

RATED = Flow(("r.x",))


async def starts(stage: Stage, hand: Hand, number: int) -> list[int]:
    """Take so many jobs, each as soon as it can be had; the server's times of their starts."""
    got: list[int] = []
    while len(got) < number:
        offer = await hand.offered()
        got += [offer.fetched.now_ms] * len(offer.fetched.jobs)
        if offer.fetched.jobs:
            await hand.settle(*[completed(job) for job in offer.fetched.jobs])
        elif offer.alarm_ms > 0:
            await asyncio.sleep(offer.alarm_ms / 1000)
    stage.look()
    return got


def most_within(times: list[int], ms: int) -> int:
    return max(len([one for one in times if start <= one < start + ms]) for start in times)


async def test_a_sliding_window_is_never_exceeded_and_well_used(stage: Stage) -> None:
    await stage.set("r.x", n=5, p=60)
    await stage.line_up(*[Lined(f"j{n}", RATED) for n in range(26)])
    times = await starts(stage, stage.hand(), 26)
    assert most_within(times, 60) == 5
    assert times[-1] - times[0] >= 300


async def test_a_large_window_is_never_exceeded(stage: Stage) -> None:
    await stage.set("r.x", n=200, p=100)
    await stage.line_up(*[Lined(f"j{n}", RATED) for n in range(500)])
    times = await starts(stage, stage.hand(), 500)
    assert most_within(times, 100) <= 200


async def test_a_bucket_spreads_what_exceeds_its_burst(stage: Stage) -> None:
    await stage.set("r.x", n=10, p=100, b=3)
    await stage.line_up(*[Lined(f"j{n}", RATED) for n in range(12)])
    times = await starts(stage, stage.hand(), 12)
    assert most_within(times, 1) == 3
    assert all(times[at + 3] - times[0] >= 10 * (at + 1) - 1 for at in range(9))


async def test_a_window_on_the_clock_begins_at_its_boundary(stage: Stage) -> None:
    await stage.set("r.x", n=3, p=80, o=7)
    await stage.line_up(*[Lined(f"j{n}", RATED) for n in range(10)])
    times = await starts(stage, stage.hand(), 10)
    windows = [(one - 7) // 80 for one in times]
    assert max(windows.count(one) for one in windows) == 3


async def test_daylight_saving_moves_a_window_and_gives_no_second_quota(stage: Stage) -> None:
    day, hour = 86_400_000, 3_600_000
    seconds, _ = stage.server.command("TIME")
    # A boundary twelve hours ago, so that an hour more or less is the same window.
    offset = (int(seconds) * 1000 - day // 2) % day
    await stage.set("r.x", n=2, p=day, o=offset)
    await stage.line_up(*[Lined(f"j{n}", RATED) for n in range(4)])
    hand = stage.hand()
    assert len(await hand.take()) == 2
    await stage.set("r.x", n=2, p=day, o=(offset + hour) % day)
    offer = await hand.offered()
    assert offer.fetched.jobs == []
    await stage.set("r.x", n=3, p=day, o=(offset - hour) % day)
    assert len(await hand.take()) == 1


async def test_cost_takes_several_tokens_and_is_cut_to_a_lowered_limit(stage: Stage) -> None:
    await stage.set("r.x", n=4, p=60_000)
    dear = Flow(("r.x",), cost=3)
    await stage.line_up(Lined("a", dear), Lined("b", dear))
    hand = stage.hand()
    assert len(await hand.take()) == 1
    await stage.set("r.x", n=7)
    assert len(await hand.take()) == 1
    await stage.set("r.y", n=2, p=60_000)
    await stage.line_up(Lined("c", Flow(("r.y",), cost=9)))
    assert len(await hand.take()) == 1, "a cost above the limit takes all of it"


async def test_a_job_that_never_began_gives_its_token_back(stage: Stage) -> None:
    await stage.set("r.x", n=1, p=60_000)
    await stage.line_up(Lined("a", RATED), Lined("b", RATED))
    hand = stage.hand()
    [a] = await hand.take()
    stage.server.command("DEL", stage.keys.bell)
    await hand.settle(released(a))
    assert stage.look().bell == 1
    [a] = await hand.take()
    assert a.id == b"a"
    await hand.settle(a_began(a))
    assert await hand.take() == [], "one that began does not"


async def test_what_others_of_a_batch_ran_on_is_not_given_back(stage: Stage) -> None:
    """The first of a batch pays for all: it may go elsewhere while the rest has run."""
    await stage.set("r.x", n=1, p=60_000)
    of = Flow(("r.x",), line="b.send=1", batch=Batch(2, wait_ms=60_000))
    await stage.line_up(Lined("a", of), Lined("b", of), Lined("c", of), Lined("d", of))
    hand = stage.hand()
    a, b = await hand.take()
    sent = diverted(a, Flow(("r.x", "x.1")))._replace(verb=b"V")
    await hand.settle(completed(b), sent)
    assert await hand.take() == []
    assert stage.look().lines.gate("r.x").used == 0


def a_began(job: Taken) -> Item:
    return released(job)._replace(verb=b"U")


async def test_a_token_is_not_given_back_after_its_window(stage: Stage) -> None:
    await stage.set("r.x", n=2, p=40)
    await stage.line_up(*[Lined(f"j{n}", RATED) for n in range(5)])
    hand = stage.hand()
    old = (await hand.take(1))[0]
    await asyncio.sleep(0.045)
    assert len(await hand.take(2)) == 2
    await hand.settle(released(old))
    assert stage.look().lines.gate("r.x").log[1::2] in ([2], [1, 1])


async def test_what_flowed_into_a_full_bucket_is_not_given_back(stage: Stage) -> None:
    """Taken at once, released later: meanwhile the bucket filled up as it would have anyway."""
    await stage.set("r.x", n=10, p=1000, b=2)
    await stage.line_up(*[Lined(f"j{n}", RATED) for n in range(9)])
    hand = stage.hand()
    [one] = await hand.take(1)
    await asyncio.sleep(0.11)
    await hand.take(1)
    await hand.settle(released(one))
    level = stage.look().lines.gate("r.x").log[1]
    assert 1 <= level < 1.9, "the token of the second start is spent, that of the first had flowed in again"


async def test_the_oldest_token_is_given_back(stage: Stage) -> None:
    """Not that of the very job: a live start would be forgotten too early."""
    await stage.set("r.x", n=2, p=60_000)
    await stage.line_up(Lined("a", RATED), Lined("b", RATED))
    hand = stage.hand()
    await hand.take(1)
    await asyncio.sleep(0.003)
    [b] = await hand.take(1)
    record = held(b.token)
    assert record is not None
    await hand.settle(released(b))
    assert stage.look().lines.gate("r.x").log == [record.taken_ms, 1]


async def test_who_rests_is_told_of_a_new_alarm(stage: Stage) -> None:
    """It waited for a slot; with the slot free it waits for a token, and nobody has that time on his list."""
    await stage.set("h.a", c=1, n=1, p=60_000)
    await stage.line_up(Lined("a", Flow(("h.a",))), Lined("b", Flow(("h.a",))))
    hand = stage.hand()
    [a] = await hand.take()
    assert (await hand.offered()).alarm_ms == -1
    assert await hand.settle(completed(a)) == "a"
    now = stage.look()
    assert (list(now.lines.alarms), now.bell) == (["rh.a"], 1)


async def test_every_start_spends_again(stage: Stage) -> None:
    await stage.set("r.x", n=2, p=60_000)
    await stage.line_up(Lined("a", RATED))
    hand = stage.hand()
    for _ in range(2):
        [job] = await hand.take()
        await hand.settle(retried(job, "+0"))
        await hand.promote()
    assert await hand.take() == []


async def test_no_token_is_lost_while_a_slot_is_taken(stage: Stage) -> None:
    await stage.set("r.x", n=2, p=60_000)
    await stage.set("k.a=1", c=1)
    flow = Flow(("r.x", "k.a=1"))
    await stage.line_up(Lined("a", flow), Lined("b", flow), Lined("c", RATED))
    hand = stage.hand()
    jobs = await hand.take()
    assert {job.id for job in jobs} == {b"a", b"c"}
    assert sum(stage.look().lines.gate("r.x").log[1::2]) == 2


@pytest.mark.parametrize("policy", ["drop", "bury"])
async def test_who_does_not_wait_is_handed_over_for_that(stage: Stage, policy: OnLimit) -> None:
    await stage.set("r.x", n=1, p=60_000)
    flow = Flow(("r.x",), on_limit=policy)
    await stage.line_up(*[Lined(f"j{n}", flow) for n in range(3)])
    hand = stage.hand()
    jobs = await hand.take()
    assert [job.mark for job in jobs] == [b"", b"limited", b"limited"]
    assert stage.look().lines.gate("r.x").used == 1
    await hand.settle(*[completed(job) for job in jobs])
    refused = await stage.line_up(Lined("late", flow))
    assert refused == ({0: f"limited:{b'r.x'.hex()}"} if policy == "drop" else {})


async def test_a_line_goes_with_its_last_job_also_when_that_is_only_dropped(stage: Stage) -> None:
    await stage.set("r.x", n=1, p=60_000)
    await stage.line_up(*[Lined(f"j{n}", Flow(("r.x",), on_limit="drop")) for n in range(3)])
    hand = stage.hand()
    jobs = await hand.take(3)  # no place is left for a turn in which the line would be found empty
    assert [job.mark for job in jobs] == [b"", b"limited", b"limited"]
    assert (stage.look().lines.lines, stage.look().lines.rings) == ({}, ())


async def test_a_taken_slot_is_no_reason_to_drop(stage: Stage) -> None:
    await stage.set("h.a", c=1)
    flow = Flow(("h.a",), on_limit="drop")
    of = {name: Flow((f"g:{name}", "h.a"), on_limit="drop") for name in "ab"}
    await stage.line_up(*[Lined(f"{name}{n}", of[name]) for n in range(2) for name in "ab"])
    hand = stage.hand()
    for _ in range(4):
        [job] = await hand.take()
        assert job.mark == b""
        await hand.settle(completed(job))
    assert await stage.line_up(Lined("more", flow)) == {}


async def test_an_envoy_at_a_slot_gate_is_no_reason_to_drop(stage: Stage) -> None:
    """Whoever meets it waits behind it: no rate is in the way."""
    await stage.set("h.a", c=1)
    hand = stage.hand()
    await stage.line_up(Lined("first", Flow(("g:one", "h.a"))))
    [first] = await hand.take()
    # The hog's turns are spent, so that its envoy stands behind a newcomer in the ring.
    await stage.line_up(*[Lined(f"x{n}", Flow(("g:hog", f"k.a={n}"))) for n in range(5)])
    await stage.line_up(Lined("hog", Flow(("g:hog", "h.a"))))
    await hand.settle(*[completed(job) for job in await hand.take()], completed(first))
    assert stage.look().lines.gate("h.a").envoy
    await stage.line_up(Lined("new", Flow(("g:new", "h.a"), on_limit="drop")))
    for name in (b"hog", b"new"):
        [job] = await hand.take()
        assert (job.id, job.mark) == (name, b"")
        await hand.settle(completed(job))


async def test_a_dear_job_does_not_put_off_a_cheap_one(stage: Stage) -> None:
    """Each parks with the time that holds for itself; the gate wakes for the earliest."""
    configs: list[Config] = [{"n": 4, "p": 60_000}]
    await stage.set("r.x", **configs[0])
    await stage.line_up(*[Lined(f"j{n}", Flow(("r.x",))) for n in range(4)])
    hand = stage.hand()
    assert len(await hand.take(2)) == 2
    await asyncio.sleep(0.03)
    assert len(await hand.take(2)) == 2
    await stage.line_up(Lined("cheap", Flow(("r.x",))))
    first = (await hand.offered()).alarm_ms
    await stage.line_up(Lined("dear", Flow(("r.x", "k.a=1"), cost=4)))
    assert (await hand.offered()).alarm_ms <= first
    stage.look()


async def test_a_dear_job_that_goes_lets_a_cheap_one_on(stage: Stage) -> None:
    await stage.set("r.x", n=3, p=60_000)
    await stage.line_up(*[Lined(f"j{n}", RATED) for n in range(2)], Lined("dear", Flow(("r.x", "k.a=1"), cost=3), "1"))
    hand = stage.hand()
    [dear] = await hand.take(1)
    await hand.settle(released(dear))
    assert len(await hand.take(2, order=b"2")) == 2
    assert await hand.take() == []
    await stage.line_up(Lined("cheap", RATED))
    assert await hand.take() == [], "the dear one is first"
    assert await desk.cancel(stage.store, ["dear"], b"r", result_ms=1000, ask=True) == "c"
    assert [job.id for job in await hand.take()] == [b"cheap"]


async def test_a_dear_head_that_goes_lets_cheap_ones_of_other_lines_on(stage: Stage) -> None:
    """Its line goes on at once; the gate that stopped it has to wake the next line, too, which was behind."""
    await stage.set("r.x", n=2, p=60_000)
    hand = stage.hand()
    await stage.line_up(Lined("first", RATED))
    assert len(await hand.take()) == 1
    await stage.line_up(Lined("dear", Flow(("r.x",), cost=2), "1"), Lined("next", RATED))
    assert await hand.take() == []
    await stage.line_up(Lined("cheap", Flow(("g:a", "r.x"))))
    assert await hand.take() == [], "the dear one is first"
    assert await desk.cancel(stage.store, ["dear"], b"r", result_ms=1000, ask=True) == "c"
    stage.look()
    assert len(await hand.take()) == 1, "one token is left, for one of the two"
    stage.look()


async def test_a_gate_that_is_shut_for_a_while_drops_nothing_at_enqueue(stage: Stage) -> None:
    """A breaker, or a "too many requests" at a gate without a rate: it opens again."""
    await stage.set("h.a", c=5)
    await stage.shut("h.a", 60_000)
    assert await stage.line_up(Lined("a", Flow(("h.a",), on_limit="drop"))) == {}
