"""Which streamq runs: its version, as installed."""

from __future__ import annotations

import importlib.metadata


def _version() -> str:
    try:
        return importlib.metadata.version("streamq")
    except importlib.metadata.PackageNotFoundError:  # run from a folder, never installed
        return "0+unknown"


VERSION: str = _version()
