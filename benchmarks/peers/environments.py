"""One environment per contender: a venv or a folder with node_modules, made once and kept outside the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.roster import HERE, Contender

ROOT = HERE.parent.parent
INSTALL_SECONDS = 900


class MissingError(Exception):
    """This contender cannot be installed here; the text is the installer's own."""


def default_folder() -> Path:
    """Return the cache folder of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamq-benchmarks"


class Environment:
    """Where a contender's packages are, and how its program is started."""

    def __init__(self, contender: Contender, folder: Path, python: str) -> None:
        self.contender = contender
        self.home = folder / contender.file
        self._python = python

    def prepare(self) -> None:
        """Install what is pinned, unless that has happened; raises `MissingError`."""
        wanted = self._wanted()
        done = self.home / "installed"
        if done.exists() and done.read_text() == wanted:
            return
        print(f"installing {self.contender.base} into {self.home}", file=sys.stderr)
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        (self._install_node if self.contender.is_node else self._install_python)()
        done.write_text(wanted)

    def command(self, what: str) -> list[str]:
        """Return the command of the contender's program: ``what`` is produce or work."""
        if self.contender.is_node:
            return [_tool("node"), str(HERE / "contenders" / f"{self.contender.file}.mjs"), what]
        module = self.contender.file if self.contender.base == "bare" else f"contenders.{self.contender.file}"
        return [str(self.home / "venv" / "bin" / "python"), "-m", module, what]

    def tool(self, *arguments: str) -> list[str]:
        """Return the command of a module of its Python, with arguments."""
        return [str(self.home / "venv" / "bin" / "python"), "-m", *arguments]

    def variables(self) -> dict[str, str]:
        """Return the environment variables its program needs, beside those of the measure."""
        return {
            # Contenders are called like the packages they use: their folder must not come first, PYTHONPATH decides.
            "PYTHONSAFEPATH": "1",
            "PYTHONPATH": str(HERE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PEER_LOOP": "uvloop" if self.contender.variant == "uvloop" else "asyncio",
            "PEER_VARIANT": self.contender.variant,
            "PEER_MODULES": str(self.home),
            "NODE_ENV": "production",
        }

    def versions(self) -> dict[str, str]:
        """Return name -> version of everything installed; of Node itself too."""
        if self.contender.is_node:
            listed = json.loads(_run([_tool("npm"), "ls", "--all", "--json"], self.home))
            found = {"node": _run([_tool("node"), "--version"], self.home).strip()}
            return found | {name: one["version"] for name, one in listed["dependencies"].items()}
        program = (
            "import importlib.metadata as m, json, platform;"
            "d = {x.name: x.version for x in m.distributions()};"
            "print(json.dumps({'python': platform.python_version(), **d}))"
        )
        listed = json.loads(_run([str(self.home / "venv" / "bin" / "python"), "-c", program], self.home))
        return {name: version for name, version in sorted(listed.items()) if name not in {"pip", "setuptools"}}

    def _requirements(self) -> Path:
        folder = HERE / "requirements"
        return (
            folder / self.contender.file / "package.json"
            if self.contender.is_node
            else folder / f"{self.contender.file}.txt"
        )

    def _wanted(self) -> str:
        return f"{self._python}\n{self._requirements().read_text()}"

    def _install_python(self) -> None:
        _run([self._python, "-m", "venv", str(self.home / "venv")], self.home)
        pip = [str(self.home / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        _run([*pip, "--disable-pip-version-check", "-r", str(self._requirements())], self.home)
        if self.contender.base == "streamq":
            _run([*pip, "--disable-pip-version-check", "-e", f"{ROOT}[fast]"], self.home)

    def _install_node(self) -> None:
        shutil.copy(self._requirements(), self.home)
        _run([_tool("npm"), "install", "--no-audit", "--no-fund", "--no-package-lock"], self.home)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingError(f"no {name} on PATH")
    return found


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode != 0:
        raise MissingError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout
