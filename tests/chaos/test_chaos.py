"""The smoke version of the chaos suite: every kind of fault once. The long one is `nox -s chaos` (run.py).

CHAOS_SEED, CHAOS_JOBS, CHAOS_FAULTS and CHAOS_KIND make another run of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.chaos.arena import Plan
from tests.chaos.nemesis import KINDS
from tests.chaos.play import play
from tests.chaos.report import table
from tests.servers import ServerKind, missing_reason

pytestmark = pytest.mark.chaos


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Let the table through."""
    yield
    out = capsys.readouterr().out
    with capsys.disabled():
        print(out, end="")  # noqa: T201


@pytest.mark.timeout(300)
async def test_smoke(shown: None, tmp_path: Path) -> None:
    kind = cast("ServerKind", os.environ.get("CHAOS_KIND", "valkey"))
    reason = missing_reason(kind)
    if reason is not None:
        pytest.skip(reason)
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


def test_every_fault_of_the_plan_is_there() -> None:
    """All but 10 and 11, which need more than one server."""
    assert {kind.number for kind in KINDS} == set(range(1, 19)) - {10, 11}
    assert len({kind.name for kind in KINDS}) == len(KINDS)
