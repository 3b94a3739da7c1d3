"""Counting inside the scripts: exact, once, only what was applied, bounded; on every kind of server."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from streamq._core.dedup import DedupPlan
from streamq._core.flow import Flow
from streamq._core.report import Slots
from streamq._core.stats import StatRow
from streamq._core.tally import BURIED, CANCELLED, COMPLETED, COUNTERS, DIED, RETRIED, WAIT, Fact, arrived
from streamq._store import desk, schedules, statistics
from streamq._store.replies import Taken
from streamq._store.schedules import Row, Tick
from streamq._store.verbs import Item
from tests.core.test_tally import One
from tests.store.stage import Lined, Outcome, Stage, buried, completed, ended, now_ms, raw, released, retried

MINUTE = 3
WAITED, RAN = 1500, 700


def counted(item: Item, name: str = "send", tenant: str | None = None, kind: int = COMPLETED) -> Item:
    """A settlement that is counted."""
    return item._replace(fact=(name, tenant, kind, WAITED, RAN))


async def totals(stage: Stage) -> dict[str, Slots]:
    return (await statistics.ever(stage.store)).handlers


async def rows(stage: Stage, by: str) -> dict[str, StatRow]:
    stats = await statistics.recent(stage.store, 3600, "name" if by == "name" else "tenant")
    return {row.key: row for row in stats.rows}


def some(slots: Slots | StatRow) -> dict[str, int]:
    """Counters that are not 0."""
    row = slots.row("") if isinstance(slots, Slots) else slots
    return {name: getattr(row, name) for name in COUNTERS if getattr(row, name)}


async def enqueued(stage: Stage, *who: One, seq: int = 1, jobs: list[tuple[str, str, str]] | None = None) -> bytes:
    """Enqueue a job for each."""
    ids = jobs or [(f"{one.name}{seq}-{at}", "2", "0") for at, one in enumerate(who)]
    command = stage.enqueue_command(ids, seq=seq, counted=arrived(who, MINUTE))
    reply: bytes = await stage.call(command)
    return reply


# -- arrivals --------------------------------------------------------------------------------------------------------


async def test_who_arrives_is_counted_once_however_often_the_batch_is_sent(stage: Stage) -> None:
    for _ in range(3):
        await enqueued(stage, One("send"), One("send"))
    await enqueued(stage, One("send"), One("sync"), One("sync"), seq=2)
    assert {name: some(slots) for name, slots in (await totals(stage)).items()} == {
        "send": {"arrived": 3},
        "sync": {"arrived": 2},
    }
    now = stage.look()
    [minutes] = now.minutes.values()
    assert minutes == {f"a{MINUTE}send": {1: 3}, f"a{MINUTE}sync": {1: 2}}


async def test_one_batch_of_one_handler_costs_two_commands(stage: Stage) -> None:
    if stage.server.url.startswith("memory"):
        pytest.skip("the broker in memory counts no commands")
    await enqueued(stage, One("send"))  # loads the script, makes the keys
    stage.server.command("CONFIG", "RESETSTAT")
    await enqueued(stage, *[One("send")] * 100, seq=2)
    assert stage.server.commandstats()["hincrby"] == 2
    assert "pexpire" not in stage.server.commandstats()


async def test_duplicates_and_what_is_refused_did_not_arrive(stage: Stage) -> None:
    await enqueued(stage, One("send"), One("send"), jobs=[("a", "2c", "0"), ("b", "2c", "0")])
    await enqueued(stage, *[One("send")] * 3, seq=2, jobs=[("a", "2c", "0"), ("b", "2c", "0"), ("c", "2c", "0")])
    await enqueued(stage, One("send", "ada"), One("sync", "ada"), seq=3, jobs=[("a", "2c", "0"), ("d", "2c", "0")])
    found = await totals(stage)
    assert some(found["send"]) == {"arrived": 3, "deduplicated": 3}
    assert some(found["sync"]) == {"arrived": 1}
    assert some((await rows(stage, "tenant"))["ada"]) == {"arrived": 1, "deduplicated": 1}


async def test_a_full_queue_refuses_uncounted(stage: Stage) -> None:
    command = stage.enqueue_command(
        [(job, "2", "0") for job in "abc"], max_pending=2, counted=arrived([One("send")] * 3, MINUTE)
    )
    await stage.call(command)
    assert some((await totals(stage))["send"]) == {"arrived": 2}


async def test_a_batch_nobody_knows_the_names_of_is_not_counted(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    assert await totals(stage) == {}
    assert stage.look().minutes == {}


async def test_jobs_of_lines_that_meet_another_are_deduplicated(stage: Stage) -> None:
    flow = Flow((), "", dedup=DedupPlan("simple", "k", 0, 0, replace_priority=False))
    jobs = [Lined(job, flow) for job in "abc"]
    await stage.call(stage.lines_command(jobs, counted=arrived([One("send")] * 3, MINUTE)))
    assert some((await totals(stage))["send"]) == {"arrived": 1, "deduplicated": 2}


# -- settlements -----------------------------------------------------------------------------------------------------


async def test_every_settlement_is_counted_once_however_often_it_is_sent(stage: Stage) -> None:
    await stage.enqueue(*"abcdef")
    hand = stage.hand()
    a, b, c, d, e, f = await hand.fetch()
    items = [
        counted(completed(a)),
        counted(completed(b, b"record"), "sync", "ada"),
        counted(retried(c), kind=RETRIED),
        counted(buried(d), kind=DIED, tenant="ada"),
        counted(ended(e), "sync", kind=CANCELLED),
        released(f),
    ]
    assert await hand.settle(*items) == "a" * 6
    before = stage.look()
    for _ in range(2):
        assert await hand.again(*items) == "a" * 6
    assert stage.look() == before
    found = await totals(stage)
    assert some(found["send"]) == {"completed": 1, "failed": 2, "retried": 1, "dead": 1}
    assert some(found["sync"]) == {"completed": 1, "cancelled": 1}
    row = found["send"].row("send")
    assert (row.wait.count, row.wait.sum_ms, row.run.count, row.run.sum_ms) == (3, 4.5, 3, 2.1)
    assert {name: one.count for name, one in row.outcomes.items()} == {"completed": 1, "failed": 2}
    tenants = await rows(stage, "tenant")
    assert {key: some(one) for key, one in tenants.items()} == {"ada": {"completed": 1, "failed": 1, "dead": 1}}
    by_name = await rows(stage, "name")
    assert {key: some(one) for key, one in by_name.items()} == {key: some(slots) for key, slots in found.items()}


async def test_what_was_not_applied_is_not_counted(stage: Stage) -> None:
    await stage.enqueue(*"abc")
    zombie, heir = stage.hand("zombie"), stage.hand("heir")
    jobs = await zombie.fetch()
    stage.age(jobs[0].token)
    [taken] = (await heir.tick()).stalled
    nobody = Taken(b"nobody", b"25-0:0", None, 1)
    items = [counted(completed(jobs[0]), "lost", "eve"), counted(completed(jobs[1]), tenant="ada")]
    items += [counted(completed(nobody), kind=BURIED), counted(completed(jobs[2]))]
    items[2] = items[2]._replace(fact=("send", "ada", COMPLETED, 10**10, -1))  # in the last bucket
    assert await zombie.settle(*items) == "laga"
    found = await totals(stage)
    assert {name: some(slots) for name, slots in found.items()} == {"send": {"completed": 2}, "other": {"stalled": 1}}
    row = found["send"].row("send")
    assert (row.wait.count, row.wait.sum_ms, row.run.count) == (2, 3.0, 2)
    assert row.wait.buckets[1] == 2
    assert {key: some(one) for key, one in (await rows(stage, "tenant")).items()} == {"ada": {"completed": 1}}
    assert await heir.settle(counted(completed(taken), "lost", "eve")) == "a"
    assert some((await totals(stage))["lost"]) == {"completed": 1}


@pytest.mark.parametrize("wait", [0, 1, 1000, 1001, 2000, 4999, 5000, 5001, 10**6, 5 * 10**9, 5 * 10**9 + 1])
async def test_the_script_takes_out_of_the_bucket_the_worker_put_it_into(stage: Stage, wait: int) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    job = await hand.one()
    nobody = Taken(b"nobody", b"25-0:0", None, 1)
    fact: Fact = ("send", None, COMPLETED, wait, wait)
    items = [completed(job)._replace(fact=("send", None, COMPLETED, 0, 0)), completed(nobody)._replace(fact=fact)]
    assert await hand.settle(*items) == "ag"
    slots = (await totals(stage))["send"]
    assert {slot: number for slot, number in slots.found.items() if number} == {
        COUNTERS["completed"]: 1,
        WAIT + 1: 1,
        41: 1,
    }


async def test_a_batch_costs_four_commands_whatever_it_counts(stage: Stage) -> None:
    if stage.server.url.startswith("memory"):
        pytest.skip("the broker in memory counts no commands")

    async def settled(prefix: str, *, count: bool) -> Mapping[str, int]:
        ids = [f"{prefix}{n}" for n in range(60)]
        await stage.enqueue(*ids)
        hand = stage.hand(prefix)
        jobs = await hand.fetch()
        kinds = (COMPLETED, DIED, RETRIED)
        ways: tuple[Outcome, ...] = (completed, buried, retried)
        items = [ways[at % 3](job) for at, job in enumerate(jobs)]
        if count:
            named = [f"h{at % 7}" for at in range(60)]
            items = [counted(item, named[at], kind=kinds[at % 3]) for at, item in enumerate(items)]
        stage.server.command("CONFIG", "RESETSTAT")
        await hand.settle(*items)
        return stage.server.commandstats()

    await settled("warm", count=True)
    plain, more = await settled("plain", count=False), await settled("counted", count=True)
    added = {name: more[name] - plain.get(name, 0) for name in more if name not in {"info", "config|resetstat"}}
    assert {name: by for name, by in added.items() if by} == {"hmget": 2, "hset": 2}


async def test_a_raw_entry_is_dead_for_other(stage: Stage) -> None:
    stage.server.command("XADD", stage.keys.lanes[2], "*", "foreign", "entry")
    hand = stage.hand()
    [job] = await hand.fetch()
    assert await hand.settle(raw(job)._replace(fact=("other", None, BURIED, -1, -1))) == "a"
    assert some((await totals(stage))["other"]) == {"dead": 1}


# -- rare events, told by the envelope -------------------------------------------------------------------------------


def envelope(name: str, tenant: str | None = None) -> bytes:
    return msgspec.msgpack.encode({"n": name, "a": {"x": [1, "2"]}, **({"tn": tenant} if tenant else {})})


async def with_bodies(stage: Stage, *jobs: tuple[str, str, bytes]) -> None:
    """Enqueue jobs (id, when, envelope)."""
    command = list(stage.enqueue_command([(job, "2", when) for job, when, _ in jobs]))
    bodies = iter(body for _, _, body in jobs)
    at = command.index(jobs[0][0])
    for place in range(at + 3, len(command), 4):
        command[place] = next(bodies)
    await stage.call(command)


async def test_stalled_jobs_are_counted_by_handler_and_tenant(stage: Stage) -> None:
    await with_bodies(
        stage, ("a", "0", envelope("send", "ada")), ("b", "0", envelope("send")), ("c", "0", b"\xc1 garbage")
    )
    gone, heir = stage.hand("gone"), stage.hand("heir")
    jobs = await gone.fetch()
    stage.age(*(job.token for job in jobs))
    assert len((await heir.tick()).stalled) == 3
    assert {name: some(slots) for name, slots in (await totals(stage)).items()} == {
        "send": {"stalled": 2},
        "other": {"stalled": 1},
    }
    assert some((await rows(stage, "tenant"))["ada"]) == {"stalled": 1}
    await heir.tick()
    assert some((await totals(stage))["send"]) == {"stalled": 2}


@pytest.mark.parametrize("name", ["send", "a" * 31, "a" * 32, "a" * 200])
async def test_a_job_with_bytes_in_its_arguments_is_counted_by_its_handler(stage: Stage, name: str) -> None:
    # The server's msgpack cannot read them.
    await with_bodies(stage, ("a", "+60000", msgspec.msgpack.encode({"n": name, "a": {"data": b"\xff\x00"}})))
    assert await desk.cancel(stage.store, ["a"], b"record", result_ms=60_000, ask=True) == "c"
    assert {key: some(slots) for key, slots in (await totals(stage)).items()} == {name: {"cancelled": 1}}


@pytest.mark.parametrize(
    "body", [b"", b"\x81\xa1n", b"\x81\xa1n\xc4", b"\x81\xa1n\xd9", b"\x81\xa1n\x05\xc1" + b"x" * 300, b"\xc1n"]
)
async def test_what_is_no_envelope_is_other(stage: Stage, body: bytes) -> None:
    await with_bodies(stage, ("a", "+60000", body))
    assert await desk.cancel(stage.store, ["a"], b"record", result_ms=60_000, ask=True) == "c"
    assert {key: some(slots) for key, slots in (await totals(stage)).items()} == {"other": {"cancelled": 1}}


async def test_cancelled_jobs_are_counted_wherever_they_waited(stage: Stage) -> None:
    await with_bodies(stage, ("a", "0", envelope("send", "ada")), ("b", "+60000", envelope("sync")))
    flow = Flow(("g:g",), "")
    await stage.line_up(Lined("c", flow, body=envelope("send")), producer="other")
    for _ in range(2):  # the second call finds the records of the first
        assert await desk.cancel(stage.store, ["a", "b", "c"], b"record", result_ms=60_000, ask=True) == "ccc"
    assert {name: some(slots) for name, slots in (await totals(stage)).items()} == {
        "send": {"cancelled": 2},
        "sync": {"cancelled": 1},
    }
    assert some((await rows(stage, "tenant"))["ada"]) == {"cancelled": 1}
    stage.look()


async def schedule(stage: Stage) -> Row:
    await schedules.put(stage.store, "upsert", "s", "1", b"spec")
    [row] = (await schedules.some(stage.store, ["s"])).rows
    return row


async def test_the_job_of_a_tick_arrives_once(stage: Stage) -> None:
    row = await schedule(stage)
    at = now_ms() - 5000
    tick = Tick(at, at + 60_000, "job", 2, envelope("report", "ada"))
    assert await schedules.fire(stage.store, row, tick, "w") == "fired"
    assert await schedules.fire(stage.store, row, tick, "w") == "already"
    assert some((await totals(stage))["report"]) == {"arrived": 1}
    assert some((await rows(stage, "tenant"))["ada"]) == {"arrived": 1}
    later = row._replace(last_ms=at)
    again = Tick(at + 1000, at + 60_000, "job", 2, envelope("report"))
    assert await schedules.fire(stage.store, later, again, "w") == "exists"
    assert some((await totals(stage))["report"]) == {"arrived": 1, "deduplicated": 1}


@pytest.mark.parametrize("fires", [True, False])
async def test_a_missed_tick_is_counted_by_the_one_who_moves_the_schedule(stage: Stage, *, fires: bool) -> None:
    await schedule(stage)
    stage.server.command("ZADD", stage.keys.ticks, 1000, "s")
    [row] = (await schedules.some(stage.store, ["s"])).rows
    tick = Tick(now_ms() - 10 if fires else None, now_ms() + 60_000, "job", 2, envelope("report"), missed=True)
    for _ in range(2):
        await schedules.fire(stage.store, row, tick, "w")
    ever = await statistics.ever(stage.store)
    assert (ever.missed, ever.schedules, ever.overdue_ms) == (1, 1, 0)


async def test_an_overdue_schedule_is_told(stage: Stage) -> None:
    assert (await statistics.ever(stage.store)).overdue_ms == 0
    await schedule(stage)
    stage.server.command("ZADD", stage.keys.ticks, now_ms() - 30_000, "s")
    assert 30_000 <= (await statistics.ever(stage.store)).overdue_ms < 90_000


# -- bounds ----------------------------------------------------------------------------------------------------------


async def test_handlers_beyond_the_bound_are_other_and_known_ones_go_on(stage: Stage) -> None:
    for batch in range(3):
        await enqueued(stage, *[One(f"h{batch * 150 + n}") for n in range(150)], seq=batch + 1)
    await enqueued(stage, One("h7"), seq=9)
    found = await totals(stage)
    assert 150 < len(found) <= 202
    assert found["h7"].one("arrived") == 2
    assert sum(slots.one("arrived") for slots in found.values()) == 451
    assert found["other"].one("arrived") > 200
    ids = [f"s{n}" for n in range(300)]
    for some_ids in (ids[:150], ids[150:]):
        await stage.enqueue(*some_ids, producer="x")
    hand = stage.hand()
    jobs = [job for job in await hand.fetch() if job.id.startswith(b"s")] + [
        job for job in await hand.fetch() if job.id.startswith(b"s")
    ]
    items = [counted(completed(job), f"run{at}") for at, job in enumerate(jobs)]
    assert await hand.settle(*items) == "a" * len(items)
    ran = {name: slots for name, slots in (await totals(stage)).items() if slots.one("completed")}
    assert 50 < len(ran) <= 150
    assert sum(slots.one("completed") for slots in ran.values()) == len(items)
    assert "other" in ran
    assert stage.server.command("HLEN", stage.keys.counters) <= 304
    by_name = await rows(stage, "name")
    assert sum(row.completed for row in by_name.values()) == len(items)


async def test_tenants_beyond_the_bound_are_other(stage: Stage) -> None:
    for batch in range(2):
        await enqueued(stage, *[One("send", f"t{batch * 120 + n}") for n in range(120)], seq=batch + 1)
    found = await rows(stage, "tenant")
    assert len(found) == 101
    assert found["other"].arrived == 140
    assert sum(row.arrived for row in found.values()) == 240


async def test_counters_of_minutes_go_after_a_day_and_an_hour(stage: Stage) -> None:
    await enqueued(stage, One("send", "ada"))
    [name] = stage.look().minutes
    assert 90_000_000 < stage.server.command("PTTL", stage.keys.base + name.encode()) <= 90_600_000
    assert stage.server.command("PTTL", stage.keys.counters) == -1


@pytest.mark.parametrize("which", ["counters", "minutes", "both"])
async def test_a_key_of_another_type_stops_no_job(stage: Stage, which: str) -> None:
    keys = stage.keys
    for key in {"counters": [keys.counters], "minutes": [keys.minutes(now_ms())]}.get(
        which, [keys.counters, keys.minutes(now_ms())]
    ):
        stage.spoil(key)
    await enqueued(stage, One("send", "ada"), One("sync"))
    await enqueued(stage, One("send"), seq=2)
    hand = stage.hand()
    jobs = await hand.fetch()
    assert await hand.settle(*[counted(completed(job), tenant="ada") for job in jobs[:2]]) == "aa"
    stage.age(jobs[2].token)
    assert len((await stage.hand("heir").tick()).stalled) == 1
    stage.server.command("DEL", keys.counters, keys.minutes(now_ms()))


@pytest.mark.parametrize("value", [b"\xc1", b"", b"text", msgspec.msgpack.encode({"a": "b", 2: "x"})])
async def test_spoilt_counters_begin_anew(stage: Stage, value: bytes) -> None:
    stage.server.command("HSET", stage.keys.counters, "ssend", value)
    await stage.enqueue("a")
    hand = stage.hand()
    assert await hand.settle(counted(completed(await hand.one()))) == "a"
    assert (await totals(stage))["send"].one("completed") == 1


# -- reading ---------------------------------------------------------------------------------------------------------


async def test_an_empty_queue_has_an_empty_report(stage: Stage) -> None:
    for by in ("name", "tenant"):
        assert await rows(stage, by) == {}
    stats = await statistics.recent(stage.store, 86_400, None)
    assert len(stats.series) == 1441
    assert not any(one.arrived for one in stats.series)
    ever = await statistics.ever(stage.store)
    assert (ever.handlers, ever.schedules, ever.overdue_ms, ever.missed) == ({}, 0, 0, 0)
    assert stage.look().foreign == ()


async def test_a_day_is_read_in_a_few_calls(stage: Stage) -> None:
    if stage.server.url.startswith("memory"):
        pytest.skip("the broker in memory counts no commands")
    await statistics.recent(stage.store, 3600, None)
    stage.server.command("CONFIG", "RESETSTAT")
    await statistics.recent(stage.store, 3600, None)
    assert stage.server.commandstats()["evalsha"] == 1
    stage.server.command("CONFIG", "RESETSTAT")
    await statistics.recent(stage.store, 86_400, None)
    assert stage.server.commandstats()["evalsha"] == 7
