"""breaker: failures of all workers are counted; it opens, lets one probe through at a time, and closes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from streamq._core import rules
from streamq._core.flow import Flow
from streamq._core.rules import Rule
from streamq._store import breakers, limits
from streamq._store.breakers import Asked, Seen, What
from streamq._store.replies import Taken
from streamq.errors import ServerUnfit, VersionMismatch
from tests.store.stage import ODD_IDS, Hand, Lined, Stage, completed, parked, released, retried

RULE = rules.encode(Rule(names=("send",)))
GATE = "cb.sms"
WAITS = Flow(gates=(GATE,))
LONG = 60_000


class Reporter:
    """Tells a breaker things; each call has a tag of its own, unless it is given one."""

    def __init__(self, stage: Stage, **asked: Any) -> None:
        defaults: dict[str, Any] = {"failures": 3, "window_ms": LONG, "open_ms": 60, "most_ms": 0, "rule": RULE}
        self.asked = Asked("sms", **{**defaults, **asked})
        self._store = stage.store
        self._calls = 0

    async def __call__(self, what: What, job: str = "", *, tag: str | None = None, **options: Any) -> Seen:
        self._calls += 1
        asked = self.asked._replace(**{name: options.pop(name) for name in ("open_ms", "most_ms") if name in options})
        given = f"tag {self._calls}" if tag is None else tag
        return await breakers.breaker(
            self._store, what, asked, by="me", tag="" if what == "look" else given, job_id=job, why="why", **options
        )

    async def look(self, job: str = "") -> Seen:
        return await self("look", job)


async def until(fact: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Wait until ``fact`` returns something true."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = await fact()
        if found:
            return found
        await asyncio.sleep(0.002)
    raise AssertionError(f"not in time: {what}")


async def probe_of(hand: Hand) -> Taken:
    """Take the next probe; there is one only."""
    jobs: list[Taken] = await until(hand.take, "a probe")
    assert len(jobs) == 1
    return jobs[0]


def text(job: Taken) -> str:
    return job.id.decode()


# -- counting --------------------------------------------------------------------------------------------------------


async def test_it_opens_once_at_its_threshold(stage: Stage) -> None:
    tell = Reporter(stage, open_ms=LONG)
    first, second, third, fourth = [await tell("failed", "j", tag=f"j:{n}") for n in range(4)]
    assert [one.word for one in (first, second, third, fourth)] == ["", "", "opened", ""]
    assert [one.is_open for one in (first, second, third, fourth)] == [False, False, True, True]
    assert [one.failures for one in (first, second, third)] == [1, 2, 3]
    assert LONG - 5000 < third.probe_ms - third.now_ms <= LONG
    assert (third.by, third.why, third.changed_ms, third.failed_probes) == ("me", "why", third.now_ms, 0)
    now = stage.look()
    assert now.lines.config == {GATE: {"c": 1, "why": "why"}}
    assert now.lines.rules == {GATE: RULE}
    assert now.lines.layers == (f"o {GATE}",)
    assert now.meta["flow"] == "1", "workers ask for the rules with their next take"
    assert (await limits.layers(stage.store))[1][GATE].by == "me"
    assert now.lines.gate(GATE).shut_ms == third.probe_ms


async def test_failures_leave_the_window(stage: Stage) -> None:
    tell = Reporter(stage, window_ms=40)

    async def forgotten() -> bool:
        return (await tell.look()).failures == 0

    for _ in range(3):
        for count in (1, 2):
            before = time.monotonic()
            seen = await tell("failed")
            if time.monotonic() - before < 0.01:  # else the first of them may have left meanwhile
                assert seen.failures <= count
            assert not seen.is_open
        await until(forgotten, "old failures are forgotten")
    assert (await tell.look()).word == ""
    assert not stage.look().lines.config


async def test_a_report_that_is_sent_again_counts_once(stage: Stage) -> None:
    tell = Reporter(stage, open_ms=LONG)
    for _ in range(5):
        assert (await tell("failed", tag="a")).failures == 1
    await tell("failed", tag="b")
    assert (await tell("failed", tag="c")).word == "opened"
    before = stage.look()
    again = await tell("failed", tag="c")
    assert (again.word, again.is_open) == ("opened", True), "whoever lost the answer learns that it was him"
    assert stage.look() == before
    assert (await tell("failed", tag="b")).word == ""


async def test_breakers_of_other_names_do_not_count_together(stage: Stage) -> None:
    one, other = Reporter(stage), Reporter(stage)
    other.asked = other.asked._replace(name="mail")
    for _ in range(2):
        await one("failed")
        await other("failed")
    assert (await one("failed")).is_open
    assert not (await other.look()).is_open
    assert stage.look().lines.rules.keys() == {GATE}


# -- open, probing, closed -------------------------------------------------------------------------------------------


async def opened(stage: Stage, jobs: int = 3, **asked: Any) -> Reporter:
    """Open a breaker that jobs wait for."""
    tell = Reporter(stage, failures=1, **asked)
    assert (await tell("failed")).is_open
    await stage.line_up(*[Lined(f"j{n}", WAITS) for n in range(jobs)])
    return tell


async def test_nobody_passes_while_it_is_open_then_one(stage: Stage) -> None:
    tell = await opened(stage, open_ms=300)
    hand = stage.hand()
    offer = await hand.offered()
    assert not offer.fetched.jobs
    assert 0 < offer.alarm_ms <= 300, "a worker wakes for the probe"
    seen = await tell.look()
    assert (seen.waiting, seen.used) == (3, 0)
    probe = await probe_of(hand)
    now = await tell.look(text(probe))
    assert now.now_ms >= seen.probe_ms
    assert (now.is_probe, now.used, now.waiting) == (True, 1, 2)
    assert not await hand.take()
    assert not await stage.hand("w2").take()
    stage.look()


async def test_a_success_of_the_probe_closes_it_and_all_go_on(stage: Stage) -> None:
    tell = await opened(stage, jobs=20)
    hand = stage.hand()
    probe = await probe_of(hand)
    stage.server.command("DEL", stage.keys.bell)
    done = await tell("succeeded", text(probe))
    assert (done.word, done.is_open) == ("closed", False)
    now = stage.look()
    assert not now.lines.config
    assert not now.lines.rules
    assert not now.lines.layers
    assert now.bell == 1
    assert now.meta["flow"] == "2", "workers forget the rule"
    jobs = await hand.take()
    assert [text(one) for one in jobs] == [f"j{n}" for n in range(1, 20)]
    await hand.settle(completed(probe), *[completed(one) for one in jobs])
    assert not stage.look().index


async def test_a_failed_probe_keeps_it_open_and_the_next_one_waits_as_long(stage: Stage) -> None:
    tell = await opened(stage, open_ms=80)
    hand = stage.hand()
    for count in (1, 2, 3):
        probe = await probe_of(hand)
        failed = await tell("failed", text(probe))
        assert (failed.word, failed.is_open, failed.failed_probes) == ("shut", True, count)
        assert failed.probe_ms - failed.now_ms == 80
        await hand.settle(retried(probe))
        assert not await hand.take(), "its place is free, but it is shut"
    assert stage.look().meta["flow"] == "1", "nothing changed for the workers"


async def test_it_stays_open_twice_as_long_each_time_up_to_a_bound(stage: Stage) -> None:
    tell = await opened(stage, jobs=6, open_ms=10, most_ms=50)
    hand = stage.hand()
    waits: list[int] = []
    for _ in range(5):
        probe = await probe_of(hand)
        failed = await tell("failed", text(probe))
        waits.append(failed.probe_ms - failed.now_ms)
        await hand.settle(retried(probe))
    assert waits == [20, 40, 50, 50, 50]
    probe = await probe_of(hand)
    assert (await tell("succeeded", text(probe))).word == "closed"
    again = await tell("failed")
    assert again.probe_ms - again.now_ms == 10, "a new opening begins anew"


async def test_a_probe_that_says_nothing_is_followed_by_the_next(stage: Stage) -> None:
    tell = await opened(stage)
    hand = stage.hand()
    seen: list[str] = []
    for _ in range(3):
        probe = await probe_of(hand)
        seen.append(text(probe))
        await hand.settle(completed(probe))
    assert seen == ["j0", "j1", "j2"]
    assert (await tell.look()).is_open


async def test_a_probe_that_is_told_again_changes_nothing_more(stage: Stage) -> None:
    tell = await opened(stage)
    hand = stage.hand()
    probe = await probe_of(hand)
    first = await tell("failed", text(probe), tag="p")
    before = stage.look()
    again = await tell("failed", text(probe), tag="p")
    assert (again.word, again.failed_probes, again.probe_ms) == ("shut", 1, first.probe_ms)
    assert stage.look() == before


async def test_what_began_before_it_opened_is_no_news(stage: Stage) -> None:
    tell = Reporter(stage, failures=1, open_ms=1)
    await stage.line_up(Lined("early", WAITS), Lined("other", Flow(gates=("h.send",))))
    await stage.enqueue("plain")
    hand = stage.hand()
    jobs = await hand.take()
    assert len(jobs) == 3
    assert (await tell("failed")).word == "opened"

    async def half_open() -> bool:
        seen = await tell.look()
        return seen.now_ms > seen.probe_ms

    await until(half_open, "half open")
    for job in jobs:
        for what in ("failed", "succeeded"):
            seen = await tell(what, text(job))
            assert (seen.word, seen.is_open, seen.is_probe) == ("", True, False)
    await hand.settle(*[completed(job) for job in jobs])
    assert (await tell("succeeded", "early")).word == "", "settled"
    assert (await tell("succeeded", "nobody")).word == ""


async def test_a_job_that_waits_is_no_probe(stage: Stage) -> None:
    tell = await opened(stage)
    probe = await probe_of(stage.hand())
    other = "j1" if text(probe) == "j0" else "j0"
    assert (await tell("succeeded", other)).is_open


async def test_a_job_that_runs_now_but_does_not_go_through_its_gate_is_no_probe(stage: Stage) -> None:
    tell = await opened(stage)
    hand = stage.hand()
    await probe_of(hand)
    await stage.line_up(Lined("other", Flow(gates=("h.mail",))))
    assert [text(one) for one in await hand.take()] == ["other"]
    assert not (await tell.look("other")).is_probe
    assert (await tell("succeeded", "other")).is_open


async def test_a_probe_that_was_parked_is_none_any_more(stage: Stage) -> None:
    tell = await opened(stage)
    hand = stage.hand()
    probe = await probe_of(hand)
    await hand.settle(parked(probe))
    assert (await tell("succeeded", text(probe))).is_open
    assert text(await probe_of(hand)) == "j1"


async def test_a_probe_whose_worker_vanished_gives_way_to_the_next(stage: Stage) -> None:
    tell = await opened(stage, jobs=2)
    gone, here = stage.hand("gone"), stage.hand("here")
    probe = await probe_of(gone)
    stage.age(probe.token)
    assert not await here.take()
    await here.tick(lease_ms=15_000)
    following = await probe_of(here)
    assert text(following) == text(probe), "it keeps its place"
    assert (await tell("succeeded", text(following))).word == "closed"
    stage.look()


async def test_a_probe_that_is_handed_back_gives_way_to_the_next(stage: Stage) -> None:
    await opened(stage, jobs=2)
    leaving, here = stage.hand("leaving"), stage.hand("here")
    probe = await probe_of(leaving)
    await leaving.settle(released(probe))
    assert text(await probe_of(here)) == text(probe)
    assert not await leaving.take()


async def test_other_gates_of_a_probe_hold(stage: Stage) -> None:
    tell = Reporter(stage, failures=1, open_ms=10)
    await tell("failed")
    await stage.set("h.send", x=1)
    await stage.line_up(Lined("held", Flow(gates=("h.send", GATE))), Lined("free", WAITS))
    hand = stage.hand()
    probe = await probe_of(hand)
    assert text(probe) == "free", "a line that waits for something else does not take the place of the probe"
    await tell("succeeded", "free")
    assert not await hand.take()
    await stage.set("h.send", x=False)
    assert [text(one) for one in await hand.take()] == ["held"]


# -- by hand ---------------------------------------------------------------------------------------------------------


async def test_opened_and_closed_by_hand(stage: Stage) -> None:
    tell = Reporter(stage)
    await stage.line_up(Lined("j0", WAITS), Lined("j1", WAITS))
    assert (await tell("open", open_ms=LONG, most_ms=LONG)).word == "opened"
    hand = stage.hand()
    assert not await hand.take()
    assert (await tell("close")).word == "closed"
    assert len(await hand.take()) == 2
    assert (await tell("close")).word == ""


async def test_open_again_by_hand_counts_from_now(stage: Stage) -> None:
    tell = await opened(stage, open_ms=LONG)
    hand = stage.hand()
    assert not await hand.take()
    assert (await tell("open", open_ms=30, most_ms=30)).word == "shut"
    assert await probe_of(hand), "the alarm was moved, too"
    assert stage.look().meta["flow"] == "1"


async def test_closing_forgets_failures(stage: Stage) -> None:
    tell = Reporter(stage)
    await tell("failed")
    await tell("failed")
    assert (await tell("close")).word == ""
    assert (await tell.look()).failures == 0


async def test_clearing_the_limits_of_its_gate_closes_it(stage: Stage) -> None:
    tell = Reporter(stage, open_ms=LONG)
    for _ in range(3):
        await tell("failed")
    assert await stage.clear(GATE)
    assert not (await tell.look()).is_open
    assert [(await tell("failed")).word for _ in range(3)] == ["", "", "opened"]
    await stage.clear(GATE)
    assert (await tell("close")).word == "closed"
    await stage.line_up(Lined("j", WAITS))
    assert len(await stage.hand().take()) == 1, "nor is its gate shut any more"


async def test_nobody_is_woken_in_a_paused_queue(stage: Stage) -> None:
    tell = await opened(stage)
    await probe_of(stage.hand())
    stage.server.command("HSET", stage.keys.meta, "paused", "1 ")
    stage.server.command("DEL", stage.keys.bell)
    assert (await tell("close")).word == "closed"
    assert stage.look().bell == 0


# -- habits of a verb ------------------------------------------------------------------------------------------------


async def test_looking_changes_nothing(stage: Stage) -> None:
    tell = Reporter(stage, window_ms=20)
    await tell.look()
    assert not stage.look().meta
    await tell("failed")
    kept = stage.server.command("HGETALL", stage.keys.breakers)

    async def forgotten() -> bool:
        return (await tell.look()).failures == 0

    await until(forgotten, "the failure is too old")
    assert stage.server.command("HGETALL", stage.keys.breakers) == kept
    await opened(stage)
    before = stage.look()
    await tell.look("j0")
    assert stage.look() == before


async def test_one_field_per_breaker_is_all_that_is_left(stage: Stage) -> None:
    tell = await opened(stage, jobs=1)
    hand = stage.hand()
    probe = await probe_of(hand)
    await tell("succeeded", text(probe))
    await hand.settle(completed(probe))
    assert stage.server.command("HKEYS", stage.keys.breakers) == [b"sms"]
    now = stage.look()
    assert not now.index
    assert not now.lines.jobs
    assert not now.lines.gates


@pytest.mark.parametrize("name", ["a.b:c/d@e-f_g", "%s", "=", "x" * 128])
async def test_odd_names_and_jobs(stage: Stage, name: str) -> None:
    tell = Reporter(stage, failures=1, open_ms=10)
    tell.asked = tell.asked._replace(name=name)
    assert (await tell("failed", tag="t" * 300)).word == "opened"
    await stage.line_up(*[Lined(job, Flow(gates=(f"cb.{name}",))) for job in ODD_IDS])
    hand = stage.hand()
    probe = await probe_of(hand)
    assert (await tell("succeeded", text(probe))).word == "closed"
    assert len(await hand.take()) == len(ODD_IDS) - 1


async def test_another_protocol_is_refused(stage: Stage) -> None:
    tell = Reporter(stage, failures=1)
    stage.server.command("HSET", stage.keys.meta, "v", "2")
    before = stage.look()
    with pytest.raises(VersionMismatch):
        await tell("failed")
    assert stage.look() == before


@pytest.mark.parametrize("spoilt", ["index", "breakers", "rules", "limit_layers", "limits", "gates", "bell"])
async def test_a_key_of_another_type_stops_it_before_any_write(stage: Stage, spoilt: str) -> None:
    tell = await opened(stage)
    stage.spoil(getattr(stage.keys, spoilt))
    names = (b"m", b"fb", b"fc", b"fo", b"fr", b"fg", b"fk")
    dump = {name: stage.server.command("DUMP", stage.keys.base + name) for name in names}
    with pytest.raises(ServerUnfit, match="another type"):
        await tell("close")
    assert dump == {name: stage.server.command("DUMP", stage.keys.base + name) for name in names}


async def test_it_works_while_memory_is_short(stage: Stage) -> None:
    tell = Reporter(stage, failures=1)
    stage.server.command("CONFIG", "SET", "maxmemory", "1")
    try:
        assert (await tell("failed")).word == "opened"
        assert (await tell("close")).word == "closed"
    finally:
        stage.server.command("CONFIG", "SET", "maxmemory", "0")


async def test_the_servers_clock_may_go_back(stage: Stage) -> None:
    tell = Reporter(stage)
    await tell("failed")
    data = stage.server.command("HGET", stage.keys.breakers, "sms")
    found = msgspec.msgpack.decode(data)
    found["log"] = [found["log"][0] + 3_600_000, "of the future"]
    stage.server.command("HSET", stage.keys.breakers, "sms", msgspec.msgpack.encode(found))
    assert (await tell("failed")).failures == 2
    found = msgspec.msgpack.decode(stage.server.command("HGET", stage.keys.breakers, "sms"))
    seconds, _ = stage.server.command("TIME")
    assert max(found["log"][::2]) <= (int(seconds) + 1) * 1000, "it counts from now on, not from then"
