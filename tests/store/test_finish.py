"""settle/finish: over without a dead letter."""

import pytest

from tests.store.snapshot import counter
from tests.store.stage import Stage, ended


@pytest.mark.parametrize("state", ["cancelled", "expired"])
async def test_it_leaves_a_record_and_a_count(stage: Stage, state: str) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    assert await hand.settle(ended(await hand.one(), state)) == "a"
    now = stage.look()
    assert now.records == {"a": b"record:a"}
    assert counter(now, state) == 1
    assert (now.index, now.entries, now.dead, now.window) == ({}, {}, {}, ())
