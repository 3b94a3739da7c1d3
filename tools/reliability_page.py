"""Write the tables of docs/explanation/reliability.md from the reports: ``python tools/reliability_page.py``.

``--check`` writes nothing and fails if the page is not what the reports say.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.chaos import report as chaos  # noqa: E402 - found by the path above
from tests.mutants.catalogue import MUTANTS  # noqa: E402 - found by the path above
from tests.simulation import report as simulation  # noqa: E402 - found by the path above

PAGE = ROOT / "docs" / "explanation" / "reliability.md"
RESULTS = ROOT / "benchmarks" / "results"
NOTHING = "No report yet.\n"


def of_simulation() -> str:
    """Return what the simulated seeds found."""
    reports = simulation.load_all(RESULTS / "simulation")
    return simulation.page(reports) if reports else NOTHING


def of_chaos() -> str:
    """Return what the runs on real processes found."""
    reports = chaos.load_all(RESULTS / "chaos")
    return chaos.page(reports) if reports else NOTHING


def of_mutants() -> str:
    """Return the defects, why each is one, and who notices."""
    lines = ["| defect | what it would do | tests that notice |", "|---|---|---|"]
    lines += [f"| {one.name} | {one.why} | {len(one.killers)} |" for one in MUTANTS]
    return "\n".join(lines) + "\n"


SECTIONS: Mapping[str, Callable[[], str]] = {"simulation": of_simulation, "chaos": of_chaos, "mutants": of_mutants}


def filled(page: str) -> str:
    """Return the page with its tables."""
    for name, section in SECTIONS.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        page, count = re.subn(
            f"{re.escape(begin)}.*?{re.escape(end)}",
            lambda _, begin=begin, end=end, section=section: f"{begin}\n{section().strip()}\n\n{end}",
            page,
            flags=re.DOTALL,
        )
        if count != 1:
            raise SystemExit(f"{PAGE.name}: {count} places for {name}")
    return page


def main() -> int:
    """Write the page; with ``--check`` 1 if it is not up to date."""
    page = PAGE.read_text("utf-8")
    wanted = filled(page)
    if "--check" in sys.argv[1:]:
        return int(page != wanted)
    PAGE.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
