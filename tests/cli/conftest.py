"""A shell with an app and a server of its own prefix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.servers import Server


@pytest.fixture
def shell(tmp_path: Path, server: Server, prefix: str) -> Iterator[Shell]:
    with Shell(tmp_path, {"STREAMQ_URL": server.url, "STREAMQ_PREFIX": prefix}) as made:
        yield made


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Shell]:
    """A shell that names no server."""
    with Shell(tmp_path, {}) as made:
        yield made
