"""The files of one server, and the record by which others find it. The keeper loads this: keep it light."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple


class Record(NamedTuple):
    """What the ``url`` file says. Its first line is the url alone, for ``head -1``."""

    url: str
    pid: int
    host: str
    boot: str
    version: str

    @property
    def socket(self) -> Path:
        return Path(self.url.removeprefix("unix://"))

    def text(self) -> str:
        return f"{self.url}\npid {self.pid}\nhost {self.host}\nboot {self.boot}\nversion {self.version}\n"


def read_record(path: Path) -> Record | None:
    """The record in ``path``, or None when there is none that can be read."""
    try:
        url, *rest = path.read_text().splitlines()
        fields = dict(line.split(" ", 1) for line in rest)
        pid = int(fields["pid"])
    except (OSError, ValueError, KeyError):
        return None
    if not url.startswith("unix:///"):
        return None
    return Record(url, pid, fields.get("host", ""), fields.get("boot", ""), fields.get("version", ""))


def new_record(path: Path, pid: int = 0, version: str = "") -> Record:
    """A record of this machine for the server at the socket ``path``."""
    return Record(f"unix://{path}", pid, os.uname().nodename, _boot_id(), version)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class Place(NamedTuple):
    """A directory that holds the state of one folder's server."""

    folder: Path
    state: Path
    in_temp: bool = False

    @property
    def users(self) -> Path:
        return self.state / "users.lock"

    @property
    def start(self) -> Path:
        return self.state / "start.lock"

    @property
    def server(self) -> Path:
        return self.state / "server.lock"

    @property
    def keeper(self) -> Path:
        return self.state / "keeper.lock"

    @property
    def url(self) -> Path:
        return self.state / "url"

    @property
    def pid(self) -> Path:
        """The process that holds ``server.lock``; written by whoever started it, before anything else."""
        return self.state / "server.pid"

    @property
    def data(self) -> Path:
        return self.state / "data"

    @property
    def log(self) -> Path:
        return self.state / "server.log"

    def prepare(self) -> None:
        """Make the directories. Raises OSError where that cannot be."""
        if self.in_temp:
            make_private(self.state.parent)
        elif not self.state.parent.exists():
            self.state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.data.mkdir(mode=0o700, exist_ok=True)
        ignore = self.state / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")

    def publish(self, record: Record) -> None:
        """Write the record so that a reader sees the old one or the new one. For the holder of ``start.lock``."""
        draft = self.state / "url.new"
        draft.write_text(record.text())
        draft.replace(self.url)


def make_private(directory: Path) -> None:
    """Make a directory that nobody else can enter.

    Raises:
        OSError: It cannot be made, or somebody else made it first (anyone may, in a shared temp directory).
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(1, "it belongs to somebody else")
    if found.st_mode & 0o077:
        directory.chmod(0o700)
