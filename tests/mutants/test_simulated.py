"""Would the simulation notice? Mutants of the catalogue that it can see turn it red within a few hundred seeds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.test_mutants import ROOT, copy_source, environment, mutate, slug

SEEDS = "0-399"

SEEN = {
    "settle without fence",
    "renew without fence",
    "plain XADD enqueue",
    "XDEL before XACK, in two calls",
    "promote with ZREM outside of the script",
    "own history read instead of reconcile",
    "group re-created at $ by the tick",
    "group created at $ by the fetch",
    "fence by the pending entry",
}
"""Names of these mutants. The others need what no world has: more leases than one sweep looks at, foreign keys, forks,
commands that the broker in memory does not know."""

CHOSEN = [one for one in MUTANTS if one.name in SEEN]


def played(package: Path) -> tuple[int, str]:
    """Play until a world goes wrong; returns how many did, and what was told."""
    command = [sys.executable, "-m", "tests.simulation.play", "--seeds", SEEDS, "--first"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(package), capture_output=True, text=True, check=False, timeout=280
    )
    return done.returncode, done.stdout + done.stderr[-2000:]


def test_they_are_in_the_catalogue() -> None:
    assert {one.name for one in CHOSEN} == SEEN


@pytest.mark.mutants
@pytest.mark.timeout(300)
def test_the_simulation_is_green_without_a_mutant(tmp_path: Path) -> None:
    ended, said = played(copy_source(tmp_path))
    assert ended == 0, said[-4000:]


@pytest.mark.mutants
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", CHOSEN, ids=slug)
def test_a_mutant_turns_the_simulation_red(mutant: object, tmp_path: Path) -> None:
    chosen = next(one for one in CHOSEN if one is mutant)
    package = copy_source(tmp_path)
    mutate(package, chosen)
    ended, said = played(package)
    assert re.search(r"; wrong: \[\d", said), f"{chosen.name} survives {SEEDS}: {chosen.why}\n{said[-4000:]}"
    assert ended > 0
