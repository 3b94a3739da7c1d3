"""settle/retry: back among the delayed, whether it failed, snoozed or was limited."""

import asyncio

import pytest

from streamq._store.dial import open_link
from tests.store.snapshot import counter
from tests.store.stage import Stage, retried


@pytest.mark.parametrize("lane", range(5))
async def test_it_leaves_the_stream_with_its_new_envelope(stage: Stage, lane: int) -> None:
    await stage.enqueue(("a", str(lane), "0"))
    hand = stage.hand()
    fetched = await hand.fetched(1)
    assert await hand.settle(retried(fetched.jobs[0], "+5000", lane)) == "a"
    now = stage.look()
    assert now.place("a") == "delayed"
    assert now.bodies == {"a": b"again:a"}
    assert now.index == {"a": f"d{lane}"}
    assert 0 <= now.delayed["a"] - fetched.now_ms - 5000 < 2000
    assert not now.entries


async def test_an_absolute_time_is_kept_as_it_is(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    await hand.settle(retried(await hand.one(), "@9999999999999"))
    assert stage.look().delayed == {"a": 9999999999999}


@pytest.mark.parametrize(
    ("name", "totals"),
    [
        ("retried", {"retried": 1, "failed": 1}),
        ("snoozed", {"snoozed": 1}),
        ("limited", {"limited": 1}),
    ],
)
async def test_only_a_failure_counts_as_failed(stage: Stage, name: str, totals: dict[str, int]) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    await hand.settle(retried(await hand.one(), counter=name))
    now = stage.look()
    every = ("retried", "failed", "snoozed", "limited", "completed", "dead", "stalled")
    assert {total: counter(now, total) for total in every if counter(now, total)} == totals


async def test_no_wait_at_all_also_goes_by_the_delayed(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    await hand.settle(retried(await hand.one(), "+0"))
    assert stage.look().place("a") == "delayed"
    assert (await hand.promote()).promoted == 1
    job = await hand.one()
    assert (job.id, job.body, job.deliveries) == (b"a", b"again:a", 1)


async def test_the_earliest_due_time_is_told(stage: Stage) -> None:
    await stage.enqueue("a", "b", "c")
    ear = open_link(stage.server.url, "ear")
    await ear.connect()
    await ear.send(b"SSUBSCRIBE", stage.keys.control)
    await ear.receive()
    hand = stage.hand()
    a, b, c = await hand.fetch()
    await hand.settle(retried(a, "@9999999999000"), retried(b, "@9999999998000"))
    await hand.settle(retried(c, "@9999999999500"))
    await stage.enqueue(("d", "2", "@9999999997000"))
    async with asyncio.timeout(5):
        told = [(await ear.receive())[2] for _ in range(2)]
    await ear.close()
    assert told == [b"due 9999999998000", b"due 9999999997000"]
