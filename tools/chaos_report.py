"""Add the reports of the chaos suite up: ``python tools/chaos_report.py [folder]`` prints the tables of the docs."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.chaos.report import added, load_all, page  # noqa: E402 - found by the path above

FOLDER = ROOT / "benchmarks" / "results" / "chaos"


def main() -> int:
    """Print the tables; 1 if a run violated a rule, 2 if there is no report."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    reports = load_all(folder)
    if not reports:
        print(f"no reports in {folder}; nox -s chaos makes them", file=sys.stderr)
        return 2
    print(page(reports))
    total = added(reports)
    for one in total.examples:
        print(f"! {one}", file=sys.stderr)
    return 0 if total.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
