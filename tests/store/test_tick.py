"""tick and its sweep (reclaim): heartbeat, what is due, and the jobs of workers that vanished."""

import pytest

from streamq._store import desk
from streamq._store.replies import Taken, read_ticked
from streamq._store.verbs import TickInput
from tests.store.snapshot import counter, pending_of
from tests.store.stage import Refusal, Stage, body_of, completed, entry_of, parked, released


async def vanished(stage: Stage, *jobs: str, name: str = "dead") -> list[Taken]:
    """Enqueue jobs, let a worker take them and vanish."""
    await stage.enqueue(*jobs)
    taken = await stage.hand(name).fetch(len(jobs))
    stage.age(*[job.token for job in taken])
    return taken


async def stalled_again(stage: Stage, times: int) -> None:
    """Let ``times`` workers vanish with everything that is pending."""
    for number in range(times):
        taken = (await stage.hand(f"dead{number}").tick(free=10_000, suspects=10_000)).stalled
        stage.age(*[job.token for job in taken])


async def test_it_says_what_a_worker_must_know(stage: Stage) -> None:
    await stage.enqueue("a", "b", ("later", "2", "@9999999999999"))
    hand = stage.hand()
    a, _ = await hand.fetch()
    await hand.settle(parked(a))
    found = await hand.tick()
    assert (found.next_due_ms, found.turn, found.pending, found.parked) == (9999999999999, b"w1", 1, 1)
    assert (found.paused, found.stalled, found.marks, found.waiting) == (False, [], [], False)
    now = stage.look()
    assert (now.workers, now.beats) == ({"w1": b"beat"}, ("w1",))


async def test_it_says_whether_a_fetch_would_find_a_job(stage: Stage) -> None:
    hand = stage.hand()
    assert not (await hand.tick()).waiting
    await stage.enqueue("a")
    assert (await hand.tick()).waiting
    job = await hand.one()
    assert not (await hand.tick()).waiting
    await hand.settle(released(job))
    assert (await hand.tick()).waiting


async def test_a_vanished_workers_job_is_taken_over_and_charged_one_stall(stage: Stage) -> None:
    [old] = await vanished(stage, "a")
    [job] = (await stage.hand("heir").tick()).stalled
    assert (job.id, job.body, job.deliveries) == (b"a", body_of("a"), 2)
    assert job.token == old.token[:-1] + b"1"
    now = stage.look()
    assert (now.entries["a"].owner, now.entries["a"].deliveries) == ("heir", 2)
    assert counter(now, "stalled") == 1
    assert (await stage.hand("third").tick()).stalled == []  # its lease is young again


async def test_fresh_leases_are_left_alone(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand("w1")
    await hand.fetch()
    before = stage.look().jobs
    assert (await stage.hand("w2").tick()).stalled == []
    assert stage.look().jobs == before


async def test_all_lanes_and_the_taken_are_swept(stage: Stage) -> None:
    await stage.enqueue(*[(f"j{lane}", str(lane), "0") for lane in range(5)], "p")
    dead = stage.hand("dead")
    jobs = await dead.fetch()
    await dead.settle(*[parked(job) for job in jobs if job.id == b"p"])
    jobs = [job for job in jobs if job.id != b"p"] + await dead.unpark("send")
    stage.age(*[job.token for job in jobs])
    found = (await stage.hand().tick()).stalled
    assert {job.id for job in found} == {job.id for job in jobs}
    stage.look()


async def test_no_more_than_there_are_places_and_the_rest_for_the_next(stage: Stage) -> None:
    await vanished(stage, *[f"j{n}" for n in range(10)])
    one = (await stage.hand("w1").tick(free=3)).stalled
    two = (await stage.hand("w2").tick(free=4)).stalled
    three = (await stage.hand("w3").tick(free=9)).stalled
    assert [len(found) for found in (one, two, three)] == [3, 4, 3]
    assert {job.id.decode() for job in one + two + three} == {f"j{n}" for n in range(10)}
    assert {job.deliveries for job in one + two + three} == {2}
    assert counter(stage.look(), "stalled") == 10


async def test_without_a_free_place_nothing_is_touched(stage: Stage) -> None:
    await vanished(stage, "a")
    before = stage.look().jobs
    assert (await stage.hand().tick(free=0)).stalled == []
    assert stage.look().jobs == before


async def test_a_clock_in_doubt_sweeps_nothing(stage: Stage) -> None:
    await vanished(stage, "a")
    before = stage.look().jobs
    assert (await stage.hand().tick(sweep=False)).stalled == []
    assert stage.look().jobs == before


async def test_a_sweep_of_a_moment_ago_is_not_repeated(stage: Stage) -> None:
    await vanished(stage, "a")
    said = TickInput(b"beat", lease_ms=15_000, free=10, max_stalls=2, suspects=1, sweep=True)
    command = stage.hand().verbs.tick(said)
    await stage.hand("w2").tick(lease_ms=10**9)
    assert read_ticked(await stage.call(command)).stalled == []
    stage.server.command("HINCRBY", stage.keys.meta, "swept", -1000)
    assert len(read_ticked(await stage.call(command)).stalled) == 1


async def test_a_paused_queue_reclaims_nothing_and_says_so(stage: Stage) -> None:
    await vanished(stage, "a")
    await desk.pause(stage.store, "")
    before = stage.look().jobs
    found = await stage.hand().tick()
    assert (found.paused, found.stalled) == (True, [])
    assert stage.look().jobs == before
    await desk.resume(stage.store)
    assert len((await stage.hand().tick()).stalled) == 1


async def test_only_reclaims_are_counted_as_stalls(stage: Stage) -> None:
    [old] = await vanished(stage, "a")
    hand = stage.hand("heir")
    [job] = (await hand.tick()).stalled
    for _ in range(3):
        await hand.renew(job)
        [job] = await hand.adopt(job.token.split(b":")[0])
        await hand.settle(released(job))
        [job] = await hand.fetch()
    await hand.tick()
    assert job.deliveries == 2
    assert pending_of(stage.server, stage.keys.lanes[2])[entry_of(old.token).decode()] == ("heir", 2)
    assert counter(stage.look(), "stalled") == 1


async def test_a_released_entry_that_lay_too_long_is_taken_over_uncharged(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand("w1")
    a, b = await hand.fetch()
    await hand.settle(released(a))
    stage.age(a.token, b.token)
    found = {job.id: job.deliveries for job in (await stage.hand("w2").tick()).stalled}
    assert found == {b"a": 1, b"b": 2}
    assert counter(stage.look(), "stalled") == 1


async def test_a_released_entry_that_found_no_place_is_still_uncharged_later(stage: Stage) -> None:
    await stage.enqueue("a", "b", "c")
    hand = stage.hand("w1")
    jobs = await hand.fetch()
    await hand.settle(*[released(job) for job in jobs])
    stage.age(*[job.token for job in jobs])
    found = [job for number in range(3) for job in (await stage.hand(f"heir{number}").tick(free=1)).stalled]
    assert {job.id: job.deliveries for job in found} == {b"a": 1, b"b": 1, b"c": 1}
    assert counter(stage.look(), "stalled") == 0


async def test_however_many_released_entries_lie_there_none_is_charged(stage: Stage) -> None:
    hand = stage.hand("w1")
    for start in range(0, 600, 200):
        await stage.enqueue(*[f"j{n}" for n in range(start, start + 200)])
    jobs = await hand.fetch(500) + await hand.fetch(500)
    assert len(jobs) == 600
    for start in (0, 300):
        await hand.settle(*[released(job) for job in jobs[start : start + 300]])
    stage.age(*[job.token for job in jobs])
    found = (await stage.hand("w2").tick(free=10_000)).stalled
    assert len(found) == 600
    assert {job.deliveries for job in found} == {1}
    assert counter(stage.look(), "stalled") == 0


# -- suspects ---------------------------------------------------------------------------------------------


async def test_after_the_first_stall_recovery_is_parallel(stage: Stage) -> None:
    await vanished(stage, *[f"j{n}" for n in range(20)])
    found = (await stage.hand().tick(suspects=0)).stalled
    assert len(found) == 20


async def test_after_the_second_stall_they_come_one_at_a_time(stage: Stage) -> None:
    ids = [f"j{n}" for n in range(5)]
    await vanished(stage, *ids)
    await stalled_again(stage, 1)
    hand = stage.hand("heir")
    seen: list[bytes] = []
    for _ in ids:
        [job] = (await hand.tick()).stalled
        assert job.deliveries == 3
        assert (await hand.tick(suspects=0)).stalled == []
        seen.append(job.id)
        assert await hand.settle(completed(job)) == "a"
    assert sorted(job.decode() for job in seen) == ids
    assert (await hand.tick()).stalled == []
    assert not stage.look().index


async def test_waiting_suspects_are_charged_once_however_long_they_wait(stage: Stage) -> None:
    await vanished(stage, "a", "b")
    await stalled_again(stage, 1)
    hand = stage.hand("heir")
    [first] = (await hand.tick()).stalled
    for number in range(10):
        assert (await stage.hand(f"busy{number}").tick(suspects=0)).stalled == []
    await hand.settle(completed(first))
    [second] = (await hand.tick()).stalled
    assert second.deliveries == 3
    assert counter(stage.look(), "stalled") == 4  # two at first, one each after


async def test_two_workers_run_a_suspect_each(stage: Stage) -> None:
    await vanished(stage, "a", "b", "c")
    await stalled_again(stage, 1)
    one = (await stage.hand("w1").tick()).stalled
    two = (await stage.hand("w2").tick()).stalled
    assert (len(one), len(two)) == (1, 1)
    assert one[0].id != two[0].id


async def test_suspects_do_not_hold_up_those_that_stalled_once(stage: Stage) -> None:
    await vanished(stage, *[f"s{n}" for n in range(5)])
    await stalled_again(stage, 1)
    await vanished(stage, *[f"j{n}" for n in range(5)], name="another")
    found = (await stage.hand().tick()).stalled
    assert sorted(job.deliveries for job in found) == [2] * 5 + [3]


async def test_over_max_stalls_a_job_is_handed_out_to_be_buried(stage: Stage) -> None:
    await vanished(stage, "a", "b")
    await stalled_again(stage, 2)
    found = (await stage.hand().tick(max_stalls=2, suspects=0)).stalled
    # To bury one takes no place of a suspect: it is not run.
    assert {job.id: job.deliveries for job in found} == {b"a": 4, b"b": 4}


async def test_with_no_stall_allowed_the_first_is_handed_out_to_be_buried(stage: Stage) -> None:
    await vanished(stage, "a")
    [job] = (await stage.hand().tick(max_stalls=0, suspects=0)).stalled
    assert job.deliveries == 2


# -- the cursor -------------------------------------------------------------------------------------------


async def test_dead_leases_behind_three_hundred_fresh_ones_are_reached(stage: Stage) -> None:
    for start in range(0, 300, 100):
        await stage.enqueue(*[f"fresh{n}" for n in range(start, start + 100)])
    await stage.hand("alive").fetch(300)
    await vanished(stage, *[f"dead{n}" for n in range(100)])
    hand, found = stage.hand("heir"), set[bytes]()
    for _ in range(20):
        found |= {job.id for job in (await hand.tick(free=10)).stalled}
    assert found == {b"dead%d" % n for n in range(100)}
    assert all(entry.owner == "alive" for job, entry in stage.look().entries.items() if job.startswith("fresh"))


async def test_the_cursor_is_kept_over_more_leases_than_one_sweep_can_look_at(stage: Stage) -> None:
    many = 12_000  # XAUTOCLAIM COUNT 100 looks at 1,000 entries, and a sweep calls it ten times
    seed = """
    for n = 1, tonumber(ARGV[1]) do
      local entry = redis.call('XADD', KEYS[1], '*', 'j', 'fresh' .. n, 'd', 'x')
      redis.call('HSET', KEYS[2], 'fresh' .. n, '2' .. entry .. ':0')
    end
    pcall(redis.call, 'XGROUP', 'CREATE', KEYS[1], 'w', '0')
    redis.call('XREADGROUP', 'GROUP', 'w', 'alive', 'COUNT', ARGV[1], 'STREAMS', KEYS[1], '>')
    return 1
    """
    stage.server.command("EVAL", seed, 2, stage.keys.lanes[2], stage.keys.index, many)
    await vanished(stage, "a", "b")
    first = (await stage.hand("w1").tick()).stalled
    second = (await stage.hand("w2").tick()).stalled
    assert {job.id for job in first + second} == {b"a", b"b"}
    assert first == []
    # Round again from the start: the next dead one near the head is found, too.
    stage.server.command(
        "XCLAIM", stage.keys.lanes[2], "w", "alive", 0, stage.take().lanes["2"][5].id, "IDLE", 60000, "JUSTID"
    )
    found = [job.id for _ in range(2) for job in (await stage.hand("w3").tick()).stalled]
    assert found == [b"fresh6"]


async def test_a_dead_lease_is_not_hidden_by_suspects_that_nobody_takes(stage: Stage) -> None:
    await vanished(stage, *[f"s{n}" for n in range(150)])
    await stalled_again(stage, 1)
    await vanished(stage, "last", name="another")
    found = {job.id for _ in range(3) for job in (await stage.hand().tick(suspects=0)).stalled}
    assert found == {b"last"}


# -- the rest ---------------------------------------------------------------------------------------------


async def test_the_same_tick_again_gives_nothing_anew(stage: Stage) -> None:
    [_] = await vanished(stage, "a")
    hand = stage.hand()
    assert len((await hand.tick()).stalled) == 1
    before = stage.look().jobs
    found = await hand.tick()
    assert (found.stalled, found.pending) == ([], 1)  # what a lost reply held is a ghost now
    assert stage.look().jobs == before


async def test_marks_are_told(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    await stage.hand("w1").fetch()
    await desk.cancel(stage.store, ["a"], b"r", result_ms=1000, ask=True)
    assert (await stage.hand("w2").tick()).marks == [b"a"]


async def test_another_protocol_is_refused(stage: Stage) -> None:
    await vanished(stage, "a")
    stage.server.command("HSET", stage.keys.meta, "v", "2")
    before = stage.look()
    with pytest.raises(Refusal, match="SQVERSION 2"):
        await stage.hand().tick()
    assert stage.look() == before


@pytest.mark.parametrize("spoilt", ["lane", "taken", "index", "workers", "beats"])
async def test_a_key_of_another_type_is_an_error_and_no_job_moves(stage: Stage, spoilt: str) -> None:
    keys = stage.keys
    await vanished(stage, "a")
    key: bytes = keys.lanes[4] if spoilt == "lane" else getattr(keys, spoilt)
    stage.spoil(key)
    before = stage.server.command("DUMP", keys.index)
    owner = pending_of(stage.server, keys.lanes[2])
    with pytest.raises(Refusal, match="WRONGTYPE"):
        await stage.hand().tick()
    assert stage.server.command("DUMP", keys.index) == before
    if spoilt != "index":
        assert pending_of(stage.server, keys.lanes[2]) == owner


async def test_a_lost_group_is_made_again_and_the_jobs_come_back(stage: Stage) -> None:
    await stage.enqueue("a", "p")
    dead = stage.hand("dead")
    a, p = await dead.fetch()
    await dead.settle(parked(p))
    await dead.unpark("send")
    for key in (stage.keys.lanes[2], stage.keys.taken):
        stage.server.command("XGROUP", "DESTROY", key, "w")
    hand = stage.hand("heir")
    assert (await hand.tick()).waiting
    jobs = await hand.fetch()
    assert {job.id for job in jobs} == {b"a", b"p"}
    assert await hand.settle(*[completed(job) for job in jobs]) == "aa"
    assert not stage.look().index
    del a


async def test_an_entry_that_was_deleted_by_a_foreign_hand_is_let_go(stage: Stage) -> None:
    [job] = await vanished(stage, "a")
    await stage.enqueue("b")
    stage.server.command("XDEL", stage.keys.lanes[2], entry_of(job.token))
    assert (await stage.hand().tick()).stalled == []
    assert stage.take().orphans == ()


async def test_the_turn_passes_on_when_its_holder_falls_silent(stage: Stage) -> None:
    one, two = stage.hand("w1"), stage.hand("w2")
    assert (await one.tick()).turn == b"w1"
    assert (await two.tick()).turn == b"w1"
    beat = int(stage.server.command("ZSCORE", stage.keys.beats, "w1"))
    stage.server.command("ZADD", stage.keys.beats, beat - 7000, "w1")
    assert (await two.tick()).turn == b"w2"


async def test_a_worker_silent_for_ten_minutes_is_forgotten_unless_it_holds_jobs(stage: Stage) -> None:
    await stage.enqueue("a")
    holder, gone, hand = stage.hand("holder"), stage.hand("gone"), stage.hand("w1")
    await holder.one()
    for one in (holder, gone):
        await one.tick()
        stage.server.command("ZADD", stage.keys.beats, 1, one.name)
    stage.server.command("ZADD", stage.keys.beats, 2, "holder")
    for _ in range(3):
        await hand.tick(sweep=False)
    now = stage.look()
    assert now.beats == ("holder", "w1")
    assert set(now.workers) == {"holder", "w1"}


async def test_a_consumer_whose_beat_was_lost_is_heard_of_again_and_forgotten_in_time(stage: Stage) -> None:
    old = stage.hand("old")
    await old.tick()
    stage.server.command("DEL", stage.keys.beats)
    await stage.enqueue("a")
    dead = stage.hand("dead")
    await dead.settle(completed(await dead.one()))  # and is killed before it ticks
    await stage.enqueue("b", "c")
    for verb in (released, parked):
        await old.settle(verb(await old.one()))  # makes the consumer ~
    await old.tick()
    assert stage.look().beats == ("dead", "old")
    stage.server.command("ZADD", stage.keys.beats, 1, "dead")
    await old.tick()
    assert stage.look().beats == ("old",)
    names = [info[1] for info in stage.server.command("XINFO", "CONSUMERS", stage.keys.lanes[2], "w")]
    assert sorted(names) == [b"old", b"~"]


async def test_only_a_first_tick_asks_who_else_there_is(stage: Stage) -> None:
    hand = stage.hand("w1")
    await hand.tick()
    await stage.enqueue("a")
    other = stage.hand("w2")
    await other.settle(completed(await other.one()))
    await hand.tick()
    assert stage.look().beats == ("w1",)


async def test_the_window_forgets_what_is_too_old(stage: Stage) -> None:
    await stage.enqueue("old", "young")
    hand = stage.hand()
    old, young = await hand.fetch()
    await hand.settle(completed(old, at_ms=1))
    await hand.settle(completed(young, at_ms=99999999999999))
    stage.settings = type(stage.settings)(1000, 1000, 60_000)
    await stage.hand("w2").tick()
    assert stage.look().window == ("young",)
