"""Worlds that once went wrong, each as its plan, so that they stay what they are when the drawing of plans changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.simulation.play import play
from tests.simulation.scenarios import BY_NAME, Fault, Plan


def world(seed: int, features: str, hows: str, faults: Sequence[tuple[float, str, float, float]], **more: Any) -> Plan:
    """A plan: ``hows`` in the order in which the jobs are sent, three a second."""
    ways = tuple(hows.split())
    usual: dict[str, Any] = {"workers": 2, "concurrency": 2, "lease": 1.5, "producers": 2, "loss": 0.05}
    times = tuple(0.2 + n / 3 for n in range(len(ways)))
    names = tuple(BY_NAME[name] for name in features.split(" + "))
    return Plan(
        seed=seed, features=names, hows=ways, times=times, faults=tuple(Fault(*one) for one in faults), **(usual | more)
    )


FOUND: dict[str, Plan] = {
    "a job that waits for its retry is replaced by the next of its dedup key: its attempts begin anew": world(
        77, "dedup-debounce + retries", "flaky flaky ok flaky ok ok flaky fails ok flaky ok ok", [], loss=0.0
    ),
    "a crash forgets that a job was fetched: its lease cannot be renewed, it runs twice and is settled once": world(
        116,
        "cancels + expiry",
        "long ok long ok long long ok ok long ok long ok",
        [(1.1, "crash that loses writes", 0.3, 0.2), (2.6, "crash that loses writes", 0.3, 0.9)],
        loss=0.15,
    ),
    "a settlement sent again after a crash meets its memo, or is settled now": world(
        307,
        "blocks + conflict-drop",
        "ok long ok ok long ok ok ok long ok ok ok",
        [(1.4, "crash that loses writes", 0.2, 0.1), (3.0, "freeze", 3.4, 0.5)],
        loss=0.15,
    ),
    "a crash forgets a schedule: who removes it is told that there is none": world(
        573, "schedules", "ok ok ok ok", [(0.5, "crash that loses writes", 0.3, 0.99)], loss=0.0
    ),
    "the server's clock jumps while a batch without an answer is sent again: its memo is forgotten": world(
        143,
        "max-pending + rate-bury",
        "ok flaky ok ok ok flaky ok ok ok ok ok ok",
        [(2.2, "clock jump", 0.0, 0.1), (3.1, "clock jump", 0.0, 0.9)],
        loss=0.15,
    ),
    "a job that others put back comes to the worker that still runs it: the run that lost it is cancelled": world(
        4641,
        "rate-handler + stalls + audits",
        "long ok ok long deaf ok long long",
        [(1.5, "clock jump", 0.0, 0.37)],
        concurrency=3,
        lease=2.5,
    ),
    "a breaker whose probes fail goes on charging nothing": world(
        157, "breaker + timeouts", "down hang down ok hang ok ok down ok", [(0.9, "kill", 0.0, 0.3)], loss=0.0
    ),
}
"""What went wrong, or was taken for wrong -> its plan."""


@pytest.mark.parametrize("what", FOUND)
def test_it_goes_well_now(what: str) -> None:
    played = play(FOUND[what])
    assert not played.problems, played.told
