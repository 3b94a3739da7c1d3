"""Any sequence of verbs on jobs in lines keeps every limit, loses nobody and wakes whoever can go on."""

from __future__ import annotations

import os

import pytest

from tests.servers import Server
from tests.store.stage import Stage
from tests.store.walk import Walk

SEEDS = int(os.environ.get("WALK_SEEDS", "4"))
FIRST = int(os.environ.get("WALK_FIRST", "1"))
STEPS = int(os.environ.get("WALK_STEPS", "250"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
async def test_a_random_walk_keeps_every_limit_and_loses_nobody(each_server: Server, prefix: str, seed: int) -> None:
    async with Stage(each_server, prefix) as stage:
        await Walk(stage, seed).go(STEPS)
