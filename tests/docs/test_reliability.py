"""The figures of the reliability page are those of the reports, and the reports say what the page promises."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import report as chaos

ROOT = Path(__file__).resolve().parents[2]
CHAOS = ROOT / "benchmarks" / "results" / "chaos"


def test_the_page_says_what_the_reports_say() -> None:
    checked = subprocess.run(
        [sys.executable, "tools/reliability_page.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr or "run: python tools/reliability_page.py"


@pytest.mark.parametrize("rule", ["lost", "fence_broken", "double_enqueue", "unexplained"])
def test_no_chaos_run_that_is_kept_violated_a_rule(rule: str) -> None:
    total = chaos.added(chaos.load_all(CHAOS))
    assert total.jobs >= 100_000
    assert sum(total.faults.values()) >= 2_000
    assert total.wrong.get(rule, 0) == 0, total.examples
