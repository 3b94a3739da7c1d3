"""A call that takes too long is ended; one that is cancelled is cancelled."""

from __future__ import annotations

import asyncio
import time

import pytest

from streamq._store.watchdog import Watchdog


async def call(watchdog: Watchdog, seconds: float, work: float) -> str:
    """Do what a link does with its watchdog."""
    watchdog.start(seconds)
    try:
        await asyncio.sleep(work)
    except asyncio.CancelledError:
        if watchdog.has_fired(asyncio.current_task()):
            return "late"
        raise
    finally:
        watchdog.stop()
    return "done"


async def test_a_call_in_time_is_left_alone() -> None:
    watchdog = Watchdog()
    assert [await call(watchdog, 0.2, 0.001) for _ in range(20)] == ["done"] * 20
    await asyncio.sleep(0.25)  # the timer of the first one comes due: nobody is there to be ended
    assert await call(watchdog, 0.2, 0.001) == "done"
    watchdog.close()


async def test_a_late_call_is_ended_in_time_and_its_task_goes_on() -> None:
    watchdog = Watchdog()
    assert await call(watchdog, 5.0, 0.001) == "done"
    started = time.monotonic()
    assert await call(watchdog, 0.05, 30) == "late", "although the timer was set for a longer one"
    assert time.monotonic() - started < 3
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert await call(watchdog, 0.05, 0.001) == "done"
    watchdog.close()


async def test_later_calls_have_their_own_time() -> None:
    watchdog = Watchdog()
    started = time.monotonic()
    for _ in range(4):
        assert await call(watchdog, 0.2, 0.1) == "done"
    assert time.monotonic() - started >= 0.4, "together they take longer than one may"
    watchdog.close()


async def test_a_cancellation_from_outside_is_not_swallowed() -> None:
    watchdog = Watchdog()
    task = asyncio.create_task(call(watchdog, 30, 30))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    watchdog.close()


async def test_a_cancellation_from_outside_beside_ours_is_not_swallowed() -> None:
    watchdog = Watchdog()
    task = asyncio.create_task(call(watchdog, 0.02, 30))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.02, task.cancel)
    time.sleep(0.06)  # noqa: ASYNC251 - both timers are due in the same turn of the loop
    with pytest.raises(asyncio.CancelledError):
        await task
    watchdog.close()


async def test_it_works_within_a_timeout() -> None:
    watchdog = Watchdog()
    async with asyncio.timeout(5):
        assert await call(watchdog, 0.02, 30) == "late"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await call(watchdog, 5, 30)
    watchdog.close()
