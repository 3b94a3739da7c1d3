"""counts: how many jobs are where, in one moment, never a scan."""

import pytest

from streamq._store import desk
from streamq.errors import ServerUnfit, VersionMismatch
from tests.store.stage import Stage, buried, completed, ended, parked, released, retried


async def test_every_place_is_counted(stage: Stage) -> None:
    await stage.enqueue(*"abcdefgh", ("later", "2", "+60000"), ("due", "2", "@1"))
    hand = stage.hand()
    a, b, c, d, e, f, *_ = await hand.fetch(7)
    await hand.settle(completed(a), buried(b), retried(c), parked(d), ended(e), released(f))
    await stage.enqueue(("urgent", "0", "0"))
    before = stage.look()
    found = await desk.counts(stage.store)
    assert stage.look() == before
    assert (found.entries, found.pending, found.delayed, found.parked, found.dead) == (4, 2, 3, 1, 1)
    assert (found.unsettled, found.window) == (8, 1)
    assert found.lanes == (1, 0, 3, 0, 0, 0)
    assert found.lanes_pending == (0, 0, 2, 0, 0, 0)
    totals = {name: found.meta[name] for name in ("completed", "dead", "failed", "retried", "cancelled", "released")}
    assert totals == {"completed": "1", "dead": "1", "failed": "2", "retried": "1", "cancelled": "1", "released": "1"}


async def test_the_oldest_is_the_first_that_nobody_took(stage: Stage) -> None:
    assert (await desk.counts(stage.store)).oldest_ms == 0
    await stage.enqueue("active")
    await stage.hand().fetch()
    assert (await desk.counts(stage.store)).oldest_ms == 0
    await stage.enqueue(("a", "3", "0"))
    await stage.enqueue("b")
    now = stage.look()
    found = await desk.counts(stage.store)
    assert found.oldest_ms == int(now.entries["a"].id.split("-")[0])
    assert found.now_ms >= found.oldest_ms


async def test_an_empty_queue(stage: Stage) -> None:
    found = await desk.counts(stage.store)
    assert found[1:10] == ({}, 0, 0, 0, 0, 0, 0, 0, 0)


async def test_a_key_of_another_type_is_an_error(stage: Stage) -> None:
    stage.spoil(stage.keys.parked)
    with pytest.raises(ServerUnfit, match="another type"):
        await desk.counts(stage.store)


async def test_another_protocol_is_refused(stage: Stage) -> None:
    """Its fields may mean something else: no numbers are better than wrong ones."""
    await stage.enqueue("a")
    stage.server.command("HSET", stage.keys.meta, "v", "2")
    with pytest.raises(VersionMismatch, match="protocol 2"):
        await desk.counts(stage.store)
