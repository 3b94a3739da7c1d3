"""Every pair of features is refused with a reason, or both hold on a real server with three workers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from streamq._store.verbs import Item
from streamq.errors import ConfigError
from tests.matrix.checks import problems
from tests.matrix.features import FEATURES, FIRST, PAIRS, Feature, twice
from tests.matrix.meanings import REFUSED, refusal
from tests.matrix.play import Stage, play_here
from tests.matrix.world import Book, World, watch
from tests.servers import KINDS, Server, ServerKind, SharedServers, missing_reason

AT_ONCE = 40
"""Plays at a time: most of a play is waiting for windows and due times."""

PLAYED = [pair for pair in PAIRS if refusal(*pair) is None and twice(*pair) is None]
ALONE = [(one,) for one in FEATURES]
Cast = tuple[Feature, ...]


def name_of(actors: Cast) -> str:
    return "-x-".join(one.name for one in actors)


class Plays:
    """All plays that the chosen tests ask for, played side by side before the first of them looks."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}
        self._books: dict[str, Book] = {}

    def settled(self, prefix: str, answers: list[tuple[Item, str]]) -> None:
        book = self._books.get(prefix)
        for item, answer in answers if book is not None else ():
            assert book is not None
            book.note(
                "settled", item.id.decode("utf-8", "replace"), scene=prefix, verb=item.verb.decode(), answer=answer
            )

    async def play(self, server: Server, casts: Sequence[Cast], folder: Path) -> None:
        stem, room = f"t{secrets.token_hex(4)}", asyncio.Semaphore(AT_ONCE)

        async def one(number: int, actors: Cast) -> None:
            prefix = f"{stem}x{number}"
            book = self._books[prefix] = Book()
            async with room:
                try:
                    play = await play_here(server, prefix, [one.name for one in actors], folder, book)
                    self.found[name_of(actors)] = problems(play)
                except Exception as problem:  # noqa: BLE001 - the test of this pair tells it
                    self.found[name_of(actors)] = [f"{type(problem).__name__}: {problem}"]

        await asyncio.gather(*(one(number, actors) for number, actors in enumerate(casts)))
        server.delete_matching(f"{stem}*")


def chosen(request: pytest.FixtureRequest, test: str) -> list[Cast]:
    """The pairs of the tests that are to run."""
    casts: dict[str, Cast] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.path == request.path and item.originalname == test:
            found = cast("Cast", item.callspec.params["actors"])
            casts[name_of(found)] = found
    return list(casts.values())


async def played(server: Server, request: pytest.FixtureRequest, test: str, folder: Path) -> Plays:
    plays = Plays()
    with pytest.MonkeyPatch.context() as patch:
        watch(plays.settled, patch)
        await plays.play(server, chosen(request, test), folder)
    return plays


@pytest.fixture(scope="module")
async def on_valkey(
    request: pytest.FixtureRequest, shared_servers: SharedServers, tmp_path_factory: pytest.TempPathFactory
) -> Plays:
    return await played(shared_servers("valkey"), request, "test_both_hold", tmp_path_factory.mktemp("matrix"))


@pytest.fixture(scope="module", params=[kind for kind in KINDS if kind != "valkey"])
async def elsewhere(
    request: pytest.FixtureRequest, shared_servers: SharedServers, tmp_path_factory: pytest.TempPathFactory
) -> Plays:
    kind: ServerKind = request.param
    reason = missing_reason(kind)
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("matrix")
    return await played(shared_servers(kind), request, "test_both_hold_on_other_servers", folder)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("actors", [*ALONE, *PLAYED], ids=name_of)
async def test_both_hold(actors: Cast, on_valkey: Plays) -> None:
    assert on_valkey.found[name_of(actors)] == []


@pytest.mark.chaos  # which keeps it out of the quick runs
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("actors", [*ALONE, *PLAYED], ids=name_of)
async def test_both_hold_on_other_servers(actors: Cast, elsewhere: Plays) -> None:
    assert elsewhere.found[name_of(actors)] == []


@pytest.mark.parametrize("actors", [pair for pair in PAIRS if refusal(*pair)], ids=name_of)
async def test_the_pair_is_refused(
    actors: tuple[Feature, Feature], server: Server, prefix: str, tmp_path: Path
) -> None:
    refused = refusal(*actors)
    assert refused is not None

    async def ask() -> None:
        world = World(server.url, prefix, [one.name for one in actors], Book().note, tmp_path)
        try:
            await Stage(server, world).enqueue(1, FIRST)
        finally:
            await world.aclose()

    with pytest.raises(ConfigError) as caught:
        await ask()

    assert type(caught.value) is refused.error
    assert refused.words in str(caught.value)


def test_every_refusal_is_of_a_pair() -> None:
    assert REFUSED.keys() <= {frozenset(one.name for one in pair) for pair in PAIRS}
