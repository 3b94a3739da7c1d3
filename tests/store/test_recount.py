"""recount: what dead letters died of is counted anew, page by page, while letters come and go."""

import itertools

import pytest

from streamq._store import desk
from streamq._store.deaths import deaths, recount
from streamq._store.scripts import script
from streamq.errors import ServerUnfit
from streamq.verify import recover, verify
from tests.store.snapshot import died_of
from tests.store.stage import Stage, buried

HANDS = itertools.count()


async def bury(stage: Stage, *jobs: str) -> None:
    """Bury jobs, each of what its first letter says."""
    hand = stage.hand(f"digger{next(HANDS)}")
    await stage.enqueue(*jobs)
    items = [buried(job, label=b"send\0%b\0" % job.id[:1]) for job in await hand.fetch()]
    assert await hand.settle(*items) == "a" * len(jobs)


async def page(stage: Stage, size: int, *, begin: bool = False) -> bool:
    """Count one page; whether it was the last."""
    return bool(await stage.call(script("recount").call((stage.keys.deaths, stage.keys.dead), int(begin), size)))


async def test_it_comes_to_what_was_counted_all_along(stage: Stage) -> None:
    await bury(stage, *[f"{letter}{n}" for n in range(90) for letter in "abcde"])
    before = stage.look()
    await recount(stage.store)
    assert stage.look() == before
    stage.server.command("DEL", stage.keys.deaths)
    await recount(stage.store)
    assert stage.look() == before


async def test_where_nothing_died_nothing_is_left(stage: Stage) -> None:
    stage.server.command("HSET", stage.keys.deaths, "old", "junk")
    await recount(stage.store)
    assert not stage.server.command("EXISTS", stage.keys.deaths)
    assert await page(stage, 10), "nobody began"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 500])
async def test_letters_come_and_go_meanwhile(stage: Stage, size: int) -> None:
    await bury(stage, *[f"{letter}{n}" for n in range(6) for letter in "ab"])
    stage.server.command("HSET", stage.keys.deaths, "send\0a\0", "junk")
    number, done = 0, await page(stage, size, begin=True)
    goes = ["a5", "b0", "a0", "b5", "a3", "b3", "a2"]
    while not done or goes:
        found = await deaths(stage.store)
        assert found.exact == done
        await bury(stage, f"a{number + 100}", f"c{number}")
        gone = goes.pop() if goes else f"c{number}"
        if number % 2:
            assert await desk.replay(stage.store, [(gone, 2, "+60000", b"new")]) == "a"
        else:
            assert await desk.purge(stage.store, ids=[gone]) == 1
        number += 1
        done = await page(stage, size * 3 if number > 3 else size) or done
    stage.look()


async def test_a_page_whose_reply_was_lost_changes_nothing(stage: Stage) -> None:
    await bury(stage, *[f"a{n}" for n in range(10)])
    assert not await page(stage, 3, begin=True)
    assert not await page(stage, 3, begin=True)
    assert not await page(stage, 3)
    assert not await page(stage, 3)
    assert await page(stage, 3)
    assert await page(stage, 3)
    assert died_of(stage.look()) == {"send\0a\0": 10}


async def test_two_that_count_at_a_time_do_not_count_twice(stage: Stage) -> None:
    await bury(stage, *[f"a{n}" for n in range(10)])
    assert not await page(stage, 4, begin=True)
    assert not await page(stage, 3, begin=True)
    await page(stage, 4)
    await page(stage, 3)
    assert await page(stage, 4)
    assert died_of(stage.look()) == {"send\0a\0": 10}


async def test_one_that_was_not_ended_is_found_and_ended(stage: Stage) -> None:
    await bury(stage, *[f"a{n}" for n in range(10)])
    await page(stage, 4, begin=True)
    seen = await verify([stage.store], limit=0, examples=5)
    assert [(one.kind, one.examples) for one in seen.findings] == [
        ("deaths-count", ["4 of 10 are counted anew: that was begun and not ended"])
    ]
    done = await recover([stage.store], apply=True, limit=0)
    assert [(one.kind, one.outcome) for one in done.repairs] == [("deaths-count", "mended")]
    stage.look()


@pytest.mark.parametrize("spoilt", ["dead", "deaths"])
async def test_a_key_of_another_type_stops_it_before_any_write(stage: Stage, spoilt: str) -> None:
    await bury(stage, "a")
    stage.spoil(getattr(stage.keys, spoilt))
    dump = {name: stage.server.command("DUMP", stage.keys.base + name) for name in (b"x", b"xd")}
    with pytest.raises(ServerUnfit, match="another type"):
        await recount(stage.store)
    assert dump == {name: stage.server.command("DUMP", stage.keys.base + name) for name in (b"x", b"xd")}
