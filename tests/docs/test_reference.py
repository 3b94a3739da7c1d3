"""The generated reference pages are what the generator writes."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def load_generator() -> Callable[[], dict[str, str]]:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "tools" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written: Callable[[], dict[str, str]] = module.written
    return written


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return load_generator()()


def test_committed_pages_are_up_to_date(written: dict[str, str]) -> None:
    stale = [
        name
        for name, text in written.items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text("utf-8") != text
    ]

    assert stale == [], "run: python tools/make_reference.py"
