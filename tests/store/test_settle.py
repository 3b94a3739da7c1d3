"""settle: the batch, its fence and its replay. What each verb of a batch does is in the files of those verbs."""

import asyncio

import pytest

from streamq._store import desk
from streamq._store.dial import open_link
from streamq._store.replies import Taken
from tests.store.snapshot import counter
from tests.store.stage import (
    EVERY_OUTCOME,
    Outcome,
    Refusal,
    Stage,
    buried,
    completed,
    ended,
    parked,
    raw,
    released,
    retried,
    valued,
)

each_outcome = pytest.mark.parametrize("outcome", EVERY_OUTCOME.values(), ids=EVERY_OUTCOME)


async def test_a_batch_of_all_verbs_is_one_call(stage: Stage) -> None:
    ids = ["complete", "value", "retry", "bury", "end", "release", "park"]
    await stage.enqueue(*ids)
    hand = stage.hand()
    items = [outcome(job) for outcome, job in zip(EVERY_OUTCOME.values(), await hand.fetch(), strict=True)]
    assert await hand.settle(*items) == "a" * 7
    now = stage.look()
    assert {job: now.place(job) for job in ids} == {
        "complete": "gone",
        "value": "record",
        "retry": "delayed",
        "bury": "dead",
        "end": "record",
        "release": "waiting",
        "park": "parked",
    }
    assert now.window == ("value", "complete")
    totals = {name: counter(now, name) for name in ("completed", "retried", "failed", "dead", "cancelled", "released")}
    assert totals == {"completed": 2, "retried": 1, "failed": 2, "dead": 1, "cancelled": 1, "released": 1}


@each_outcome
async def test_the_same_batch_again_gets_the_stored_answer_and_does_nothing(stage: Stage, outcome: Outcome) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    items = [outcome(job) for job in await hand.fetch()]
    items.append(completed(Taken(b"nobody", b"25-0:0", None, 1)))
    assert await hand.settle(*items) == "aag"
    before = stage.look()
    assert await hand.again(*items) == "aag"
    assert stage.look() == before
    # Exact whatever happened since: another batch of another worker, and even the same jobs anew.
    other = stage.hand("w2")
    await stage.enqueue("c")
    await other.settle(*[completed(job) for job in await other.fetch()])
    assert await hand.again(*items) == "aag"
    stage.look()


async def test_a_late_batch_after_its_successor_is_refused(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    first, second = await hand.fetch()
    hand.seq = 7
    await hand.again(completed(first))
    before = stage.look()
    hand.seq = 6
    with pytest.raises(Refusal, match="SQSTALE 7"):
        await hand.again(completed(second))
    assert stage.look() == before


@each_outcome
@pytest.mark.parametrize("wrong", [b"20-1:0", b"0%b:0", b"2%b:1", b"t%b:0", b"2%b:00"])
async def test_a_wrong_token_changes_nothing(stage: Stage, outcome: Outcome, wrong: bytes) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    job = await hand.one()
    entry = job.token[1:].split(b":")[0]
    token = wrong.replace(b"%b", entry)
    before = stage.look().jobs
    assert await hand.settle(outcome(job._replace(token=token))) == "l"
    assert stage.look().jobs == before


@each_outcome
async def test_a_zombie_settles_nothing_after_its_job_was_reclaimed(stage: Stage, outcome: Outcome) -> None:
    await stage.enqueue("a")
    zombie, heir = stage.hand("zombie"), stage.hand("heir")
    old = await zombie.one()
    stage.age(old.token)
    [new] = (await heir.tick()).stalled
    before = stage.look().jobs
    assert await zombie.settle(outcome(old)) == "l"
    assert stage.look().jobs == before
    assert await heir.settle(outcome(new)) == "a"
    before = stage.look().jobs
    assert await zombie.settle(outcome(old)) == ("l" if "a" in before.index else "g")
    assert stage.look().jobs == before


@each_outcome
async def test_a_zombie_settles_nothing_after_release_and_retake_by_itself(stage: Stage, outcome: Outcome) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    old = await hand.one()
    await hand.settle(released(old))
    before = stage.look().jobs
    assert await hand.settle(outcome(old)) == "l"
    assert stage.look().jobs == before
    new = await hand.one()
    assert await hand.settle(outcome(old)) == "l"
    assert await hand.settle(outcome(new)) == "a"
    stage.look()


@each_outcome
async def test_a_job_settled_twice_in_a_batch_is_settled_once(stage: Stage, outcome: Outcome) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    job = await hand.one()
    assert await hand.settle(outcome(job), outcome(job), completed(job)) == "all"
    stage.look()


@pytest.mark.parametrize("lines", [False, True], ids=["plain", "lines"])
async def test_completions_of_every_stream_go_together_with_what_else_there_is(stage: Stage, *, lines: bool) -> None:
    await stage.enqueue(*[(f"{lane}-{number}", str(lane), "0") for lane in (0, 2, 4) for number in range(3)])
    hand = stage.hand()
    first, *others = await hand.fetch()
    jobs = {job.id.decode(): job for job in others}
    await hand.settle(parked(first, lane=0))
    [taken] = await hand.unpark("send")
    lost = jobs["4-2"]._replace(token=jobs["4-2"].token + b"1")
    gone = Taken(b"gone", b"21-1:0", b"", 1)
    hand.verbs.knows_lines = lines
    answers = await hand.settle(
        completed(jobs["2-0"]), retried(jobs["0-1"]), completed(taken), completed(lost), completed(jobs["4-0"]),
        valued(jobs["2-1"]), completed(gone), completed(jobs["0-2"]), completed(jobs["2-0"]), completed(jobs["0-1"]),
    )  # fmt: skip
    assert answers == "aaalaagall"
    now = stage.look()
    assert sorted(now.window) == ["0-0", "0-2", "2-0", "2-1", "4-0"]
    assert now.details.keys() == set(now.window)
    assert (counter(now, "completed"), counter(now, "retried")) == (5, 1)
    assert {job: now.place(job) for job in now.index} == {
        "0-1": "delayed", "2-2": "active", "4-1": "active", "4-2": "active",
    }  # fmt: skip


async def test_another_protocol_is_refused(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    job = await hand.one()
    stage.server.command("HSET", stage.keys.meta, "v", "2")
    before = stage.look()
    with pytest.raises(Refusal, match="SQVERSION 2"):
        await hand.settle(completed(job))
    assert stage.look() == before


async def test_five_hundred_at_once(stage: Stage) -> None:
    for start in range(0, 500, 100):
        await stage.enqueue(*[f"j{n}" for n in range(start, start + 100)])
    hand = stage.hand(window=100)
    jobs = await hand.fetch(500)
    assert len(jobs) == 500
    assert await hand.settle(*[completed(job, b"v") for job in jobs]) == "a" * 500
    now = stage.look()
    assert (counter(now, "completed"), len(now.window), len(now.records), now.index) == (500, 100, 500, {})


async def test_five_hundred_retries_at_once(stage: Stage) -> None:
    for start in range(0, 500, 100):
        await stage.enqueue(*[f"j{n}" for n in range(start, start + 100)])
    hand = stage.hand()
    jobs = await hand.fetch(500)
    assert await hand.settle(*[retried(job) for job in jobs]) == "a" * 500
    assert len(stage.look().delayed) == 500


@pytest.mark.parametrize(
    ("spoilt", "outcome"),
    [
        ("window", completed),
        ("window_details", completed),
        ("delayed", retried),
        ("bodies", retried),
        ("dead", buried),
        ("dead_index", buried),
        ("deaths", buried),
        ("parked", parked),
        ("bodies", parked),
        ("waiters", completed),
        ("cancels", completed),
        ("bell", released),
    ],
)
async def test_a_key_of_another_type_stops_the_batch_before_any_write(
    stage: Stage, spoilt: str, outcome: Outcome
) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    other, job = await hand.fetch()
    stage.server.command("HSET", stage.keys.meta, "cancels", 1)  # so that the marks are looked at
    key: bytes = getattr(stage.keys, spoilt)
    stage.spoil(key)
    watched = [name for name in stage.server.command("KEYS", stage.keys.base + b"*") if name != key]
    before = {name: stage.server.command("DUMP", name) for name in watched}
    with pytest.raises(Refusal, match="WRONGTYPE"):
        await hand.settle(ended(other), outcome(job))
    after = [name for name in stage.server.command("KEYS", stage.keys.base + b"*") if name != key]
    assert sorted(after) == sorted(watched)
    assert before == {name: stage.server.command("DUMP", name) for name in watched}
    # The way is cleared: the same batch goes through.
    stage.server.command("DEL", key)
    stage.server.command("HDEL", stage.keys.meta, "cancels")
    assert await hand.again(ended(other), outcome(job)) == "aa"
    stage.look()


async def test_who_waits_is_told_once_and_forgotten(stage: Stage) -> None:
    ids = ["none", "value", "dead", "cancelled", "foreign", "retried"]
    await stage.enqueue(*ids)
    ear = open_link(stage.server.url, "ear")
    await ear.connect()
    await ear.send(b"SSUBSCRIBE", stage.keys.done + b"me")
    await ear.receive()
    for job in ids:
        await desk.look(stage.store, job, channel="me")
        await desk.look(stage.store, job, channel="somebody")
        await desk.look(stage.store, job, channel="me")
    assert stage.look().waiters == dict.fromkeys(ids, "me,somebody")
    hand = stage.hand()
    none, value, dead, cancelled, foreign, again = await hand.fetch()
    items = [completed(none), completed(value, b"v"), buried(dead), ended(cancelled), raw(foreign), retried(again)]
    assert await hand.settle(*items) == "aaaaaa"
    async with asyncio.timeout(5):
        told = [(await ear.receive())[2] for _ in range(5)]
    await ear.close()
    assert told == [b"nnone", b"rvalue", b"rdead", b"rcancelled", b"rforeign"]
    assert stage.look().waiters == {"retried": "me,somebody"}


@each_outcome
async def test_the_mark_of_a_cancelled_job_goes_with_it(stage: Stage, outcome: Outcome) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    jobs = await hand.fetch()
    for job in ("a", "b"):
        assert await desk.cancel(stage.store, [job], b"r", result_ms=1000, ask=True) == "a"
    assert stage.look().cancels == ("a", "b")
    await hand.settle(outcome(jobs[0]))
    now = stage.look()
    assert now.cancels == (("a", "b") if "a" in now.index else ("b",))
    await hand.settle(completed(jobs[1]))
    assert stage.look().cancels == (("a",) if "a" in now.index else ())
