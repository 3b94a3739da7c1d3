"""Pairs of features while workers are killed: three processes serve all plays at once, and die in their middle."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import pytest

from tests.matrix.actor import Casts
from tests.matrix.checks import problems
from tests.matrix.crew import Crew
from tests.matrix.features import BY_NAME, FIRST, PAIRS, SECOND, Feature, twice
from tests.matrix.meanings import refusal
from tests.matrix.play import Stage
from tests.matrix.world import Book, World
from tests.servers import KINDS, Server, ServerKind, SharedServers, missing_reason

pytestmark = pytest.mark.chaos

WORKERS = ("w1", "w2", "w3")
AT_ONCE = 40
"""Plays that one crew serves."""

Pair = tuple[Feature, Feature]

ISSUE = ("rate-named", "group-ordered", "dedup-simple", "priority", "delay", "schedule")
"""A limited, grouped, deduplicated, prioritised, delayed, scheduled job."""

MORE = (
    ("batch", "retry"), ("batch", "rate-key"), ("batch", "group"), ("batch", "concurrency-key"),
    ("concurrency-key", "retry"), ("concurrency-queue", "rate-queue"), ("concurrency-handler", "group"),
    ("dedup-keep-last", "retry"), ("dedup-debounce", "group"), ("dedup-throttle", "expiry"),
    ("group-ordered", "retry"), ("group-ordered", "cancel-running"), ("group-ordered", "rate-limited"),
    ("group-ordered", "block"), ("pause", "priority"), ("replay", "group-ordered"), ("breaker", "group-ordered"),
    ("conflict-cancel", "group"), ("custom-id", "retry"), ("max-pending", "rate-handler"), ("chunks", "group-ordered"),
)  # fmt: skip


def plays(names: Iterable[tuple[str, str]]) -> list[Pair]:
    pairs = [(BY_NAME[first], BY_NAME[second]) for first, second in names]
    return [pair for pair in pairs if refusal(*pair) is None and twice(*pair) is None]


CHOSEN = plays([*combinations(ISSUE, 2), *MORE])
ALL = plays((first.name, second.name) for first, second in PAIRS)


def name_of(pair: Pair) -> str:
    return "-x-".join(one.name for one in pair)


async def play(server: Server, pairs: Sequence[Pair], folder: Path) -> dict[str, list[str]]:
    """Play pairs side by side on one crew; returns what is wrong with each."""
    stem, book = f"t{secrets.token_hex(4)}", Book()
    names = {f"{stem}x{at}": [one.name for one in pair] for at, pair in enumerate(pairs)}
    stages = [
        Stage(server, World(server.url, prefix, cast, book.note, folder, seconds=0.1)) for prefix, cast in names.items()
    ]
    found = {name_of(pair): list[str]() for pair in pairs}

    async def each(act: str) -> None:
        async def one(stage: Stage, pair: Pair) -> None:
            if found[name_of(pair)]:
                return
            try:
                await ACTS[act](stage)
            except Exception as problem:  # noqa: BLE001 - the test of this pair tells it
                found[name_of(pair)].append(f"{act}: {type(problem).__name__}: {problem}")

        await asyncio.gather(*(one(stage, pair) for stage, pair in zip(stages, pairs, strict=True)))

    try:
        with Crew(folder, Casts(server.url, names)) as crew:
            await perform(crew, stages, each)
            lines = [*crew.lines()]
        for stage, pair in zip(stages, pairs, strict=True):
            done = await stage.finish(lines)
            done.killed = crew.killed
            found[name_of(pair)] += problems(done)
    finally:
        for stage in stages:
            await stage.world.aclose()
    server.delete_matching(f"{stem}*")
    return found


async def perform(crew: Crew, stages: Sequence[Stage], each: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """All acts, with kills in the middle of them."""
    for stage in stages:
        stage.lines = crew.lines
    await each("first wave")
    await crew.start(*WORKERS)
    cancellers = [asyncio.create_task(stage.cancelling()) for stage in stages]
    caught = 0
    for act, victims in (("open", WORKERS), ("second life", ()), ("second wave", WORKERS[:2]), ("second life", ())):
        acting = asyncio.create_task(each(act))
        for victim in victims:
            caught += await crew.kill(victim, holding=max(2, len(stages) // 4))
            await crew.start(victim)
        await acting
    for task in cancellers:
        task.cancel()
    await asyncio.gather(*cancellers, return_exceptions=True)
    await crew.stop()
    assert caught, "no kill hit a job: the run shows nothing"


async def first_wave(stage: Stage) -> None:
    await stage.prepare()
    await stage.enqueue(1, FIRST)
    await stage.after_first()


async def opened(stage: Stage) -> None:
    await stage.release()
    await stage.mend()
    await stage.drained()


async def second_life(stage: Stage) -> None:
    await stage.replay()
    await stage.drained()


async def second_wave(stage: Stage) -> None:
    await stage.enqueue(2, SECOND)
    await stage.drained()


ACTS = {"first wave": first_wave, "open": opened, "second life": second_life, "second wave": second_wave}


async def played(server: Server, request: pytest.FixtureRequest, test: str, folder: Path) -> dict[str, list[str]]:
    wanted: dict[str, Pair] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.path == request.path and item.originalname == test:
            pair = cast("Pair", item.callspec.params["pair"])
            wanted[name_of(pair)] = pair
    found: dict[str, list[str]] = {}
    pairs = list(wanted.values())
    for at in range(0, len(pairs), AT_ONCE):
        part = folder / str(at)
        part.mkdir()
        found |= await play(server, pairs[at : at + AT_ONCE], part)
    return found


@pytest.fixture(scope="module")
async def on_valkey(
    request: pytest.FixtureRequest, shared_servers: SharedServers, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    return await played(shared_servers("valkey"), request, "test_both_hold", tmp_path_factory.mktemp("kills"))


@pytest.fixture(scope="module", params=KINDS)
async def everywhere(
    request: pytest.FixtureRequest, shared_servers: SharedServers, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    kind: ServerKind = request.param
    reason = missing_reason(kind)
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("kills")
    return await played(shared_servers(kind), request, "test_all_pairs_hold", folder)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pair", CHOSEN, ids=name_of)
async def test_both_hold(pair: Pair, on_valkey: dict[str, list[str]]) -> None:
    assert on_valkey[name_of(pair)] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("pair", ALL, ids=name_of)
async def test_all_pairs_hold(pair: Pair, everywhere: dict[str, list[str]]) -> None:
    assert everywhere[name_of(pair)] == []
