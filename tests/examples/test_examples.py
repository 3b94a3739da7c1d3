"""Each example runs as it is, and ends by itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import Server

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("[!_]*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path, server: Server, prefix: str, tmp_path: Path) -> None:
    env = {**os.environ, "STREAMQ_URL": server.url, "STREAMQ_PREFIX": prefix}

    subprocess.run([sys.executable, path], cwd=tmp_path, env=env, check=True, timeout=50)
