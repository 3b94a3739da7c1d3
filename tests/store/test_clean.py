"""clean: the oldest completed jobs are forgotten."""

from streamq._store import desk
from tests.store.stage import Stage, completed


async def test_by_age(stage: Stage) -> None:
    await stage.enqueue("old", "young")
    hand = stage.hand()
    old, young = await hand.fetch()
    now_ms = (await hand.tick()).now_ms
    await hand.settle(completed(old, at_ms=now_ms - 100_000), completed(young, at_ms=now_ms))
    assert await desk.clean_window(stage.store, 200_000) == 0
    assert await desk.clean_window(stage.store, 60_000) == 1
    assert stage.look().window == ("young",)
    assert await desk.clean_window(stage.store, 60_000) == 0
    assert await desk.clean_window(stage.store, 0) == 1
    assert stage.look().window == ()


async def test_any_number_in_bounded_steps(stage: Stage) -> None:
    hand = stage.hand(window=10_000)
    for start in range(0, 1200, 200):
        await stage.enqueue(*[f"j{n}" for n in range(start, start + 200)])
        await hand.settle(*[completed(job) for job in await hand.fetch(200)])
    assert await desk.clean_window(stage.store, 0) == 1200
    assert stage.look().window == ()


async def test_a_detail_that_is_gone_does_not_stop_it(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    await hand.settle(*[completed(job) for job in await hand.fetch()])
    stage.server.command("HDEL", stage.keys.window_details, "a")
    assert await desk.clean_window(stage.store, 1000) == 2
    stage.look()
