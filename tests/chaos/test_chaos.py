"""The smoke version of the chaos suite: every kind of fault once. The long one is `nox -s chaos` (run.py).

CHAOS_SEED, CHAOS_JOBS, CHAOS_FAULTS and CHAOS_KIND make another run of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.chaos import elder, faults_process, faults_server
from tests.chaos.arena import Plan
from tests.chaos.checker import Terms
from tests.chaos.crew import environment
from tests.chaos.kinds import Kind
from tests.chaos.nemesis import KINDS
from tests.chaos.play import play
from tests.chaos.report import Report, table
from tests.servers import ServerKind, missing_reason

pytestmark = pytest.mark.chaos

SECONDS = 10.0
"""So long after any fault at most until some job is settled and some enqueue acknowledged; with a lease of three."""

TROUBLES = {
    "kill -9 and restart with AOF": "server killed",
    "power-loss tail": "power loss",
    "FLUSHALL": "FLUSHALL",
    "SCRIPT FLUSH": "scripts flushed",
    "out of memory": "out of memory",
    "a wrong eviction policy": "wrong eviction policy",
    "CLIENT PAUSE": "clients paused",
    "CLIENT KILL": "connections killed",
    "maxclients": "no connections left",
    "clock jumps": "clock jump",
    "an event loop blocked beyond the lease": "event loop blocked beyond the lease",
    "a rolling deploy every two seconds": "rolling deploy, a worker every two seconds",
    "two versions side by side": "two versions in a rolling deploy",
}
"""What may befall one server and its workers, and the fault that brings it about."""


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Let the table through."""
    yield
    out = capsys.readouterr().out
    with capsys.disabled():
        print(out, end="")  # noqa: T201


def server_kind() -> ServerKind:
    kind = cast("ServerKind", os.environ.get("CHAOS_KIND", "valkey"))
    reason = missing_reason(kind)
    if reason is not None:
        pytest.skip(reason)
    return kind


def late(report: Report) -> dict[str, float]:
    """Return the faults after which somebody was not back in time."""
    spans = [*report.back.items(), *report.sent.items()]
    return {name: max(some) for name, some in spans if max(some, default=0.0) > SECONDS}


@pytest.mark.timeout(300)
async def test_smoke(shown: None, tmp_path: Path) -> None:
    kind = server_kind()
    plan = Plan(
        kind,
        seed=int(os.environ.get("CHAOS_SEED", "1")),
        jobs=int(os.environ.get("CHAOS_JOBS", "2500")),
        faults=int(os.environ.get("CHAOS_FAULTS", str(len(KINDS)))),
    )
    report = await play(plan, keep=tmp_path)
    print(f"\n{kind}, {report.seconds:.0f} s\n{table(report)}")  # noqa: T201 - the point of it
    assert report.wrong == {}, f"{report.examples}; ledger in {tmp_path}"
    assert report.jobs >= plan.jobs * 0.9
    assert sum(report.faults.values()) >= plan.faults
    assert len(report.faults) >= len(KINDS) - 3, f"occasions that did not come: {report.unmet}"
    assert sum(report.why.values()) > 0, "no fault hit a job: the run shows nothing"
    assert report.calm > 0, "no job waited in calm: nothing is known of their order"
    assert set(report.back) == set(report.sent) == set(report.faults)
    assert late(report) == {}


@pytest.mark.timeout(120)
async def test_a_rolling_deploy_every_two_seconds_charges_nobody(tmp_path: Path) -> None:
    """Nothing but deploys: no stall is counted, no job runs twice."""
    kinds = tuple(kind for kind in faults_process.KINDS if "deploy" in kind.name)
    assert len(kinds) == 2
    plan = Plan(server_kind(), seed=1, jobs=500, faults=3)
    report = await play(plan, kinds=kinds, keep=tmp_path)
    assert (report.wrong, report.stalls) == ({}, 0), report.examples
    assert report.effects_twice == 0
    assert set(report.why) <= {"retried by its handler", "handed back at stop"}
    assert late(report) == {}


@pytest.mark.timeout(120)
async def test_a_clock_an_hour_ahead(tmp_path: Path) -> None:
    """The server's clock jumps an hour forward and stays there: no job is lost, all go on within seconds.

    Not among the faults of a play: the ticks of that hour are fired at once, and delayed jobs start an hour early.
    """
    ahead = Kind(12, "clock an hour ahead", faults_server.clock_ahead)
    plan = Plan(server_kind(), seed=1, jobs=500, faults=3, terms=Terms(lease=3.0, sweep=2.0, max_stalls=2))
    report = await play(plan, kinds=(ahead,), keep=tmp_path)
    assert report.wrong == {}, report.examples
    assert sum(report.faults.values()) == 3
    assert late(report) == {}


def test_another_version_is_really_another(tmp_path: Path) -> None:
    home = elder.unpack(tmp_path)
    if home is None:
        pytest.skip("no repository to take another version from")
    program = "import streamq, tests.ledger as one; print(streamq.__file__); print(one.__file__)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=home, env=environment(home), capture_output=True, text=True, check=True)
    assert all(Path(line).is_relative_to(home) for line in done.stdout.split())


def test_every_fault_of_the_plan_is_there() -> None:
    """All but 10 and 11, which need more than one server."""
    assert {kind.number for kind in KINDS} == set(range(1, 19)) - {10, 11}
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_every_trouble_of_one_server_is_among_them() -> None:
    assert set(TROUBLES.values()) <= {kind.name for kind in KINDS}
