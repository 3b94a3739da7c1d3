"""settle/complete: the handler returned."""

from tests.store.snapshot import counter
from tests.store.stage import Stage, completed


async def test_a_plain_completion_leaves_its_place_in_the_window_and_nothing_else(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    assert await hand.settle(completed(await hand.one(), at_ms=77)) == "a"
    now = stage.look()
    assert (now.window, now.details) == (("a",), {"a": "77 1 5 send"})
    assert counter(now, "completed") == 1
    assert (now.index, now.records, now.entries, now.dead) == ({}, {}, {}, {})


async def test_a_value_is_kept_as_long_as_results_are(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    assert await hand.settle(completed(await hand.one(), b"the value")) == "a"
    now = stage.look()
    assert now.records == {"a": b"the value"}
    assert now.window == ("a",)
    assert 59_000 < stage.server.command("PTTL", stage.keys.record("a")) <= 60_000


async def test_the_window_keeps_the_newest(stage: Stage) -> None:
    hand = stage.hand(window=3)
    await stage.enqueue(*"abcde")
    jobs = await hand.fetch()
    await hand.settle(*[completed(job) for job in jobs[:2]])
    await hand.settle(*[completed(job) for job in jobs[2:]])
    now = stage.look()
    assert now.window == ("e", "d", "c")
    assert counter(now, "completed") == 5


async def test_without_a_window_nothing_is_left(stage: Stage) -> None:
    hand = stage.hand(window=0)
    await stage.enqueue("a")
    await hand.settle(completed(await hand.one()))
    now = stage.look()
    assert (now.window, counter(now, "completed")) == ((), 1)


async def test_a_window_that_was_made_smaller_shrinks_in_bounded_steps(stage: Stage) -> None:
    wide, narrow = stage.hand("w1"), stage.hand("w2", window=10)
    for start in range(0, 1200, 200):
        await stage.enqueue(*[f"j{n}" for n in range(start, start + 200)])
    for _ in range(3):
        await wide.settle(*[completed(job) for job in await wide.fetch(400)])
    await stage.enqueue("x", "y", "z")
    lengths: list[int] = []
    for job in await narrow.fetch():
        await narrow.settle(completed(job))
        lengths.append(len(stage.look().window))
    assert lengths[-1] == 10
    assert lengths[0] <= 1000


async def test_a_custom_id_that_ran_again_is_in_the_window_once(stage: Stage) -> None:
    """By its last run: as long as that is within the window, its detail is there."""
    hand = stage.hand(window=3)
    for at_ms, job in enumerate(["again", "x", "again", "y", "z", "again", "again"]):
        await stage.enqueue((job, "2c", "0"))
        await hand.settle(completed(await hand.one(), at_ms=at_ms))
        assert stage.look().details[job] == f"{at_ms} 1 5 send"
    now = stage.look()
    assert now.window == ("again", "z", "y")
    assert counter(now, "completed") == 7
    await stage.enqueue("b", "c", ("again", "2c", "0"))
    await hand.settle(*[completed(job) for job in await hand.fetch()])
    assert stage.look().window == ("again", "c", "b")


async def test_of_a_huge_window_not_every_place_is_looked_for(stage: Stage) -> None:
    """A look goes through the whole window; a call makes no more of them than a few milliseconds have room for."""
    hand = stage.hand(window=100_000)
    key, details = stage.keys.window, stage.keys.window_details
    for start in range(0, 60_000, 500):
        ids = [f"j{n}" for n in range(start, start + 500)]
        stage.server.command("LPUSH", key, *ids)
        stage.server.command("HSET", details, *[part for job in ids for part in (job, "1 1 5 send")])
    again = [f"j{n}" for n in range(100)]
    await stage.enqueue(*[(job, "2c", "0") for job in again])
    await hand.settle(*[completed(job, at_ms=2) for job in await hand.fetch()])
    found = stage.server.command("LRANGE", key, 0, -1)
    assert 60_000 + 100 - 17 <= len(found) < 60_000 + 100
    assert [job.decode() for job in found[:100]] == again[::-1]
    assert stage.server.command("HGET", details, "j0") == b"2 1 5 send"
