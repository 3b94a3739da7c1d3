"""Another version of streamq beside that of the tree: that of the last commit, or of CHAOS_ELDER (a tag, say)."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

from tests.chaos.crew import ROOT


def unpack(folder: Path) -> Path | None:
    """Put it into a folder, its chaos actors with it; None where there is no repository."""
    target = folder / "elder"
    if target.exists():
        return target
    commit = os.environ.get("CHAOS_ELDER", "HEAD")
    try:
        done = subprocess.run(
            ["git", "archive", "--format=tar", commit, "src", "tests"], cwd=ROOT, check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(target, filter="data")
    return target
