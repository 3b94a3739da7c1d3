"""settle/bury: to the dead letters, jobs and entries that are none."""

from streamq._store import desk
from streamq._store.deaths import recount
from tests.store.snapshot import counter, only
from tests.store.stage import Stage, body_of, buried, raw


async def test_a_dead_letter_is_written_with_the_ack(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand("w7")
    item = buried(await hand.one(), "fatal: broken", label=b"send\0OSError\0away")
    assert await hand.settle(item) == "a"
    now = stage.look()
    letter = only(list(now.dead.values()))
    assert letter == {"j": b"a", "d": b"dead:a", "r": b"fatal: broken", "w": b"w7", "g": b"send\0OSError\0away"}
    assert now.place("a") == "dead"
    assert now.records == {"a": b"record:a"}
    assert (counter(now, "dead"), counter(now, "failed")) == (1, 1)
    assert not now.entries


async def test_a_burial_without_a_run_is_no_failed_attempt(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    await hand.settle(buried(await hand.one(), "stalled", failed=False))
    now = stage.look()
    assert (counter(now, "dead"), counter(now, "failed")) == (1, 0)


async def test_an_entry_without_fields_of_ours_is_kept_as_found(stage: Stage) -> None:
    stage.server.command("XADD", stage.keys.lanes[1], "*", "foo", "bar", "big", "x" * 20_000)
    hand = stage.hand()
    job = await hand.one()
    assert job.body is None
    assert await hand.settle(raw(job, "not a job")) == "a"
    now = stage.look()
    letter = only(list(now.dead.values()))
    assert letter["j"] == job.id
    assert letter["r"] == b"not a job"
    assert letter["raw"].startswith(b"foo bar big xxx")
    assert len(letter["raw"]) < 17_000
    assert not now.entries
    assert await hand.settle(raw(job)) == "g"
    assert stage.look().jobs == now.jobs


async def test_a_job_with_an_unreadable_envelope_is_kept_as_found(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    job = await hand.one()
    assert await hand.settle(raw(job, "undecodable envelope")) == "a"
    now = stage.look()
    assert now.place("a") == "dead"
    assert body_of("a") in only(list(now.dead.values()))["raw"]


async def test_an_entry_held_by_somebody_else_is_not_buried(stage: Stage) -> None:
    stage.server.command("XADD", stage.keys.lanes[1], "*", "foo", "bar")
    await stage.enqueue(("a", "0", "0"))
    hand, other = stage.hand("w1"), stage.hand("w2")
    jobs = await hand.fetch()
    before = stage.take()
    answers = await other.settle(*[raw(job) for job in jobs])
    assert answers == "lg"
    assert stage.take().jobs == before.jobs
    assert await hand.settle(raw(jobs[1])) == "a"
    stage.look()


async def test_a_dead_job_is_never_buried_twice(stage: Stage) -> None:
    # A foreign hand put the id among the dead before: the letter there stays, the job leaves its lane.
    await stage.enqueue("a")
    hand = stage.hand()
    job = await hand.one()
    entry = stage.server.command("XADD", stage.keys.dead, "*", "j", "a", "d", "old", "r", "old")
    stage.server.command("HSET", stage.keys.dead_index, "a", entry)
    assert await hand.settle(buried(job)) == "a"
    await recount(stage.store)
    now = stage.look()
    assert list(now.dead) == [entry.decode()]
    assert counter(now, "dead") == 0


async def test_it_can_be_found_by_its_id(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    await hand.settle(buried(await hand.one(), "fatal"))
    found = await desk.look(stage.store, "a")
    assert (found.place, found.fields["r"], found.fields["d"]) == ("dead", b"fatal", b"dead:a")


async def test_an_entry_that_is_no_job_leaves_no_row_behind(stage: Stage) -> None:
    """Who claims an entry gives it a row when it has an id, even one that nobody could name."""
    for fields in (("j", "bodiless"), ("j", b"\xff\xfe", "d", "x"), ("j", "a", "j", "b")):
        stage.server.command("XADD", stage.keys.lanes[2], "*", *fields)
    hand, heir = stage.hand("w1"), stage.hand("w2")
    stage.age(*[job.token for job in await hand.fetch()])
    jobs = (await heir.tick()).stalled
    assert [job.body for job in jobs] == [None] * 3
    assert await heir.settle(*[raw(job) for job in jobs]) == "aaa"
    now = stage.look()
    assert (now.index, len(now.dead)) == ({}, 3)
