"""pause and resume: one flag, looked at where jobs are handed out."""

import pytest

from streamq._store import desk
from streamq.errors import ServerUnfit, VersionMismatch
from tests.store.stage import Stage, completed


async def test_from_then_on_no_fetch_hands_out_a_job(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    job = await hand.one()
    assert await desk.pause(stage.store, "provider is down: a b")
    now = stage.look()
    assert (now.meta["paused"], now.bell) == ("provider is down: a b", 0)
    assert (await hand.fetched()).why == "paused"
    assert await hand.settle(completed(job)) == "a"  # running ones go on
    assert await desk.resume(stage.store)
    now = stage.look()
    assert ("paused" in now.meta, now.bell) == (False, 1)
    assert [one.id for one in await hand.fetch()] == [b"b"]


async def test_again_is_no_news(stage: Stage) -> None:
    assert not await desk.resume(stage.store)
    assert await desk.pause(stage.store, "one")
    assert not await desk.pause(stage.store, "two")
    assert stage.look().meta["paused"] == "two"
    before = stage.look()
    assert not await desk.pause(stage.store, "two")
    assert stage.look() == before
    assert await desk.resume(stage.store)
    before = stage.look()
    assert not await desk.resume(stage.store)
    assert stage.look() == before


async def test_another_protocol_is_refused(stage: Stage) -> None:
    await stage.enqueue("a")
    stage.server.command("HSET", stage.keys.meta, "v", "2")
    before = stage.look()
    for act in (desk.pause(stage.store, ""), desk.resume(stage.store)):
        with pytest.raises(VersionMismatch):
            await act
    assert stage.look() == before


async def test_a_key_of_another_type_is_an_error(stage: Stage) -> None:
    stage.spoil(stage.keys.meta)
    with pytest.raises(ServerUnfit, match="another type"):
        await desk.pause(stage.store, "")
