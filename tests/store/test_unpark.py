"""unpark: parked jobs to a worker that has a handler for them."""

import pytest

from streamq._core.flow import Flow
from streamq._store import desk
from streamq._store.replies import Taken
from tests.store.stage import Lined, Refusal, Stage, body_of, completed, parked, released


async def park(stage: Stage, *jobs: tuple[str, str]) -> None:
    """Enqueue jobs and park them under names."""
    hand = stage.hand("parker")
    await stage.enqueue(*[job for job, _ in jobs])
    taken = await hand.fetch()
    await hand.settle(*[parked(one, name) for one, (_, name) in zip(taken, jobs, strict=True)])


async def test_only_jobs_of_the_names_given_are_taken(stage: Stage) -> None:
    await park(stage, ("a", "send"), ("b", "sender"), ("c", "sen"), ("d", "send"), ("e", "other"))
    hand = stage.hand()
    jobs = await hand.unpark("send", "other", "unknown")
    assert {job.id for job in jobs} == {b"a", b"d", b"e"}
    now = stage.look()
    for job in jobs:
        name = job.id.decode()
        assert (job.body, job.deliveries) == (body_of(name), 1)
        assert job.token == now.token(name)
        assert job.token.startswith(b"t")
        assert now.place(name) == "active"
        assert now.entries[name].owner == "w1"
    assert set(now.parked) == {"sender\0b", "sen\0c"}
    assert set(now.bodies) == {"b", "c"}


async def test_no_more_than_wanted(stage: Stage) -> None:
    await park(stage, *[(f"j{n}", "send") for n in range(5)], *[(f"k{n}", "mail") for n in range(5)])
    hand = stage.hand()
    assert len(await hand.unpark("send", "mail", want=7)) == 7
    assert len(stage.look().parked) == 3
    assert len(await hand.unpark("send", "mail", want=7)) == 3
    assert await hand.unpark("send", "mail") == []
    stage.look()


async def test_what_was_taken_settles_like_any_job(stage: Stage) -> None:
    await park(stage, ("a", "send"), ("b", "send"), ("c", "send"))
    hand, heir = stage.hand("w1"), stage.hand("w2")
    a, b, c = await hand.unpark("send")
    assert await hand.settle(completed(a), released(b)) == "aa"
    [again] = await heir.fetch()
    assert (again.id, again.deliveries) == (b"b", 1)
    stage.age(c.token)
    [stalled] = (await heir.tick()).stalled
    assert (stalled.id, stalled.deliveries) == (b"c", 2)
    assert await hand.settle(completed(c)) == "l"
    assert await heir.settle(completed(again), completed(stalled)) == "aa"
    assert not stage.look().index


async def test_stalls_count_on(stage: Stage) -> None:
    """Or a poison job that workers without its handler get now and then would go on for ever."""
    await stage.enqueue("a")
    other, capable = stage.hand("other"), stage.hand("capable")
    job = await capable.one()
    stage.age(job.token)
    [job] = (await other.tick()).stalled
    await other.settle(parked(job))
    [job] = await capable.unpark("send")
    assert (job.deliveries, stage.look().entries["a"].deliveries) == (2, 2)

    stage.age(job.token)
    [job] = (await other.tick()).stalled
    assert job.deliveries == 3
    await other.settle(parked(job))
    assert await capable.unpark("send", suspects=0) == []
    assert stage.look().place("a") == "parked"
    [job] = await capable.unpark("send")
    assert (job.id, job.deliveries, job.token) == (b"a", 3, stage.look().token("a"))

    stage.age(job.token)
    [job] = (await other.tick()).stalled
    assert job.deliveries == 4


async def test_suspects_are_taken_one_at_a_time(stage: Stage) -> None:
    """A poison job is to take nobody along."""
    await stage.enqueue("a", "b", "c")
    other, capable = stage.hand("other"), stage.hand("capable")
    stage.age(*[job.token for job in await capable.fetch()])
    stage.age(*[job.token for job in (await other.tick()).stalled])
    for _ in range(3):
        [job] = (await other.tick()).stalled
        assert await other.settle(parked(job)) == "a"
    [first] = await capable.unpark("send")
    assert first.deliveries == 3
    assert await capable.unpark("send", suspects=0) == []
    [second] = await capable.unpark("send")
    assert second.id != first.id
    assert len(stage.look().parked) == 1


async def test_stalls_of_a_job_of_a_line_count_on(stage: Stage) -> None:
    await stage.line_up(Lined("a", Flow(("h.a",))))
    hand = stage.hand()
    [job] = await hand.take()
    stage.age(job.token)
    assert (await hand.tick()).stalled == []  # back in its line
    [job] = await hand.take()
    assert job.deliveries == 2
    await hand.settle(parked(job))
    assert await hand.unpark("send") == []
    [job] = await hand.take()
    assert job.deliveries == 2
    await hand.settle(released(job))
    [job] = await hand.take()
    stage.age(job.token)
    [job] = (await hand.tick()).stalled
    assert job.deliveries == 3
    await hand.settle(parked(job))
    await hand.unpark("send")
    [job] = await hand.take()
    assert job.deliveries == 3


async def test_the_take_goes_on_rising(stage: Stage) -> None:
    """A worker froze with it, another could not run it, a third takes it: the first one's fence stays the lowest."""
    await stage.enqueue("a")
    frozen, other, capable = stage.hand("frozen"), stage.hand("other"), stage.hand("capable")
    takes: list[int] = []

    def take_of(job: Taken) -> int:
        return int(job.token.rsplit(b":", 1)[1])

    job = await frozen.one()
    for deliveries in (2, 3):
        takes.append(take_of(job))
        stage.age(job.token)
        [job] = (await other.tick()).stalled
        takes.append(take_of(job))
        await other.settle(parked(job))
        [job] = await capable.unpark("send")
        assert job.deliveries == deliveries
    takes.append(take_of(job))
    assert takes == sorted(set(takes))
    assert await frozen.settle(completed(job._replace(token=b"2" + job.token[1:]))) == "l"
    assert await capable.settle(completed(job)) == "a"
    stage.look()


async def test_those_of_a_lost_reply_are_ghosts(stage: Stage) -> None:
    await park(stage, ("a", "send"))
    hand = stage.hand()
    await hand.unpark("send")
    assert await hand.unpark("send") == []
    [place] = await hand.own_pending()
    [job] = await hand.adopt(place)
    assert job.id == b"a"
    assert await hand.settle(completed(job)) == "a"
    stage.look()


async def test_a_paused_queue_gives_nothing(stage: Stage) -> None:
    await park(stage, ("a", "send"))
    stage.server.command("HSET", stage.keys.meta, "paused", "1 x")
    before = stage.look()
    assert await stage.hand().unpark("send") == []
    assert stage.look() == before


async def test_another_protocol_is_refused(stage: Stage) -> None:
    await park(stage, ("a", "send"))
    stage.server.command("HSET", stage.keys.meta, "v", "9")
    before = stage.look()
    with pytest.raises(Refusal, match="SQVERSION 9"):
        await stage.hand().unpark("send")
    assert stage.look() == before


@pytest.mark.parametrize("spoilt", ["taken", "bodies", "parked", "index"])
async def test_a_key_of_another_type_stops_it_before_any_write(stage: Stage, spoilt: str) -> None:
    await park(stage, ("a", "send"))
    key: bytes = getattr(stage.keys, spoilt)
    stage.spoil(key)
    dump = {name: stage.server.command("DUMP", getattr(stage.keys, name)) for name in ("bodies", "parked", "index")}
    with pytest.raises(Refusal, match="WRONGTYPE"):
        await stage.hand().unpark("send")
    assert dump == {name: stage.server.command("DUMP", getattr(stage.keys, name)) for name in dump}


async def test_a_group_that_was_lost_is_made_again(stage: Stage) -> None:
    await park(stage, ("a", "send"), ("b", "send"))
    hand = stage.hand()
    await hand.unpark("send", want=1)
    stage.server.command("XGROUP", "DESTROY", stage.keys.taken, "w")
    jobs = await hand.unpark("send")
    ids = {entry.job for entry in stage.look().lanes["t"] if entry.owner}
    assert {job.id.decode() for job in jobs} <= ids


async def test_a_member_without_its_job_is_swept_out(stage: Stage) -> None:
    stage.server.command("ZADD", stage.keys.parked, 0, "send\0nobody")
    assert await stage.hand().unpark("send") == []
    assert stage.look().parked == ()


async def test_a_job_whose_body_was_taken_away_is_told_as_dead(stage: Stage) -> None:
    await park(stage, ("a", "send"), ("b", "send"))
    await desk.look(stage.store, "a", channel="me")
    stage.server.command("HDEL", stage.keys.bodies, "a")
    assert [job.id for job in await stage.hand().unpark("send")] == [b"b"]
    now = stage.look()
    assert (now.place("a"), now.place("b"), now.parked) == ("dead", "active", ())
    assert [letter["r"] for letter in now.dead.values()] == [b"body missing"]
    assert now.waiters == {}
