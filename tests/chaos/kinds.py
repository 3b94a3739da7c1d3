"""What a kind of fault is."""

from __future__ import annotations

from typing import NamedTuple

from tests.chaos.arena import Act, Arena, NotMetError


class Kind(NamedTuple):
    """``number`` in the plan, ``name`` in reports, ``act`` brings it about, heals it, and returns.

    ``weight``: how often, against the others, once each kind had its turn. ``explains``: whether it may cost leases of
    processes that it does not name; those it does name tell so themselves (killed, frozen).
    """

    number: int
    name: str
    act: Act
    weight: int = 2
    explains: bool = True


def moves_clock(arena: Arena) -> None:
    """Raise `NotMetError` where the server's clock cannot be moved: there is no C compiler."""
    if not arena.has_clock:
        raise NotMetError("no C compiler for the clock of the server")
