"""Write docs/reference/pairs.md from the data by which tests/matrix plays every pair of features."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.matrix.meanings import page  # noqa: E402 - found by the path above

PAGE = ROOT / "docs" / "reference" / "pairs.md"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
