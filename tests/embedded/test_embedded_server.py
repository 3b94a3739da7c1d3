"""The life of an embedded server, with real servers, real processes and real signals.

Every wait is for a fact, with a deadline. `folder` ends whatever a failed test leaves behind, by process id.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from streamq._embedded import EmbeddedServer, EmbeddedServerError, attach, find, launch, server
from streamq._embedded.location import places, socket_name
from streamq._embedded.locks import is_current, is_free, transient, try_lock
from streamq._embedded.place import Place, new_record, read_record
from streamq._embedded.resp import ask, is_ready

pytestmark = [
    pytest.mark.timeout(120),
    # Forking beside threads is what two of these tests are about.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

USER = """
import sys
from pathlib import Path
from streamq._embedded import attach
server = attach(Path(sys.argv[1]), timeout=30)
print(server.pid, server.started, flush=True)
sys.stdin.read()
"""


def until(fact: Callable[[], object], what: str, seconds: float = 15) -> None:
    """Wait for a fact; fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class Process(NamedTuple):
    pid: int
    command: str


def processes(folder: Path) -> list[Process]:
    """Living processes (zombies are dead) of the servers and keepers of a folder, by socket path."""
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,stat=,command="], capture_output=True, text=True, check=True)
    names = [socket_name(place) for place in places(folder)]
    found: list[Process] = []
    for line in listed.stdout.splitlines():
        pid, state, command = line.split(None, 2)
        if not state.startswith("Z") and any(name in command for name in names):
            found.append(Process(int(pid), command))
    return found


def keepers(folder: Path) -> list[int]:
    return [
        one.pid for one in processes(folder) if "streamq._embedded keeper" in one.command and "sh -c" not in one.command
    ]


def servers(folder: Path) -> list[int]:
    # By the name in the title: until it is set, the process is a copy of the shell with all the arguments.
    return [one.pid for one in processes(folder) if "-server" in one.command.split()[0]]


def nothing_left(folder: Path) -> bool:
    return not processes(folder)


class User:
    """A process that attaches to a folder's server and stays until told to leave."""

    def __init__(self, folder: Path) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )

    def answer(self) -> tuple[int, bool]:
        """Server pid, and whether this user started it."""
        assert self.process.stdout is not None
        pid, started = self.process.stdout.readline().split()
        return int(pid), started == "True"

    def leave(self) -> None:
        self.process.communicate(timeout=15)
        assert self.process.returncode == 0

    def live_for(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=15)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("STREAMQ_ENV", raising=False)
    project = tmp_path / "project"
    project.mkdir()
    yield project
    for one in processes(project):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)
    until(lambda: nothing_left(project), "all ended")
    for record in [read_record(place.server) for place in places(project)]:
        if record is not None:
            record.socket.unlink(missing_ok=True)


@pytest.fixture
def place(folder: Path) -> Place:
    return next(places(folder))


def socket_of(attached: EmbeddedServer) -> Path:
    return Path(attached.url.removeprefix("unix://"))


def is_stopped(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return not state.strip() or state.strip().startswith("Z")


# --- start and find ---------------------------------------------------------------------------------------------------


def test_attach_starts_a_server_that_answers(folder: Path) -> None:
    with attach(folder) as attached:
        path = socket_of(attached)
        assert ask(path, "PING") == "+PONG"
        assert attached.started
        assert 0 < attached.started_in < 10
        assert attached.version.split()[0] in {"Valkey", "Redis"}
        assert attached.folder == folder.resolve()
        assert servers(folder) == [attached.pid]
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o777 == 0o700
        assert (folder / ".streamq" / ".gitignore").read_text() == "*\n"
        assert (folder / ".streamq" / "url").read_text().splitlines()[0] == attached.url


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("aof-load-truncated", "yes"),
        ("port", "0"),
        ("maxmemory-policy", "noeviction"),
    ],
)
def test_the_server_keeps_jobs_and_opens_no_port(folder: Path, option: str, value: str) -> None:
    with attach(folder) as attached, socket.socket(socket.AF_UNIX) as link:
        link.connect(str(socket_of(attached)))
        link.sendall(f"CONFIG GET {option}\r\n".encode())
        assert link.recv(1000).decode().split("\r\n")[4] == value


def test_another_process_finds_the_same_server(folder: Path) -> None:
    with attach(folder) as attached:
        user = User(folder)
        assert user.answer() == (attached.pid, False)
        user.leave()


def test_find_starts_nothing_and_finds_what_lives(folder: Path) -> None:
    assert find(folder) is None
    assert list(folder.iterdir()) == []
    with attach(folder) as attached:
        assert find(folder) == attached.url
    until(lambda: find(folder) is None, "the url is gone with the server")


def test_the_working_directory_is_the_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with attach() as attached:
        assert attached.folder == folder.resolve()
        assert find() == attached.url


def test_two_folders_have_two_servers(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with attach(folder) as one, attach(other) as two:
        assert one.pid != two.pid
        assert one.url != two.url
    until(lambda: nothing_left(other), "the other is gone")


def test_a_server_of_the_path_serves_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redis = shutil.which("redis-server")
    if redis is None:
        pytest.skip("no redis-server on PATH")
    monkeypatch.setenv("STREAMQ_SERVER_BIN", redis)
    with attach(folder) as attached:
        assert attached.version.startswith(("Redis ", "Valkey "))
        assert is_ready(socket_of(attached))


# --- the end ----------------------------------------------------------------------------------------------------------


def test_the_server_goes_with_its_last_user(folder: Path, place: Place) -> None:
    users = [User(folder) for _ in range(3)]
    assert len({user.answer()[0] for user in users}) == 1
    record = read_record(place.url)
    assert record is not None
    for user in users[:2]:
        user.leave()
    assert not is_free_for_the_keeper(place)
    users[2].leave()
    until(lambda: nothing_left(folder), "server and keeper are gone", seconds=6)
    assert not place.url.exists()
    assert not record.socket.exists()


def test_the_server_goes_with_users_that_are_killed(folder: Path) -> None:
    users = [User(folder) for _ in range(3)]
    assert len({user.answer()[0] for user in users}) == 1
    for user in users:
        user.kill()
    until(lambda: nothing_left(folder), "server and keeper are gone", seconds=6)


def is_free_for_the_keeper(place: Place) -> bool:
    with transient(place.users) as fd:
        return try_lock(fd, shared=False)


def test_several_attaches_of_one_process_each_count(folder: Path, place: Place) -> None:
    one, two = attach(folder), attach(folder)
    assert one.started
    assert not two.started
    one.release()
    one.release()
    assert not is_free_for_the_keeper(place)
    assert is_ready(socket_of(two))
    two.release()
    until(lambda: nothing_left(folder), "server and keeper are gone")


def test_a_user_that_comes_while_the_server_is_stopped_gets_a_new_one(folder: Path) -> None:
    for _ in range(3):
        with attach(folder) as before:
            assert ask(socket_of(before), "INCR", "visits") is not None
        until(partial(is_stopped, before.pid), "the server is stopped")
        with attach(folder) as after:
            assert after.pid != before.pid
            assert is_ready(socket_of(after))
        until(lambda: nothing_left(folder), "all gone")


def test_data_survives_a_restart(folder: Path) -> None:
    with attach(folder) as first:
        assert ask(socket_of(first), "SET", "greeting", "hello") == "+OK"
    until(lambda: nothing_left(folder), "the first is gone")
    with attach(folder) as second:
        assert second.pid != first.pid
        assert ask(socket_of(second), "GET", "greeting") == "hello"


def test_a_server_outlives_the_thread_that_started_it(folder: Path) -> None:
    attached: list[EmbeddedServer] = []
    thread = threading.Thread(target=lambda: attached.append(attach(folder)))
    thread.start()
    thread.join()
    until(lambda: keepers(folder), "the keeper runs")
    polls = keeper_polls(folder)
    until(lambda: keeper_polls(folder) > polls, "the keeper looked once more")
    assert ask(socket_of(attached[0]), "PING") == "+PONG"
    attached[0].release()


def keeper_polls(folder: Path) -> int:
    """How often the keeper went to sleep; 0 where /proc does not tell (then one look suffices)."""
    for pid in keepers(folder):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return int(time.monotonic())


def test_a_forked_child_takes_no_lock_with_it(folder: Path, place: Place) -> None:
    attached = attach(folder)
    child = os.fork()
    if child == 0:  # pragma: no cover - not seen from here
        attached.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert not is_free_for_the_keeper(place)
    assert is_ready(socket_of(attached))
    attached.release()
    assert is_free_for_the_keeper(place)


def test_a_child_forked_in_the_middle_of_a_start_keeps_no_lock(folder: Path, place: Place) -> None:
    place.prepare()
    ours, theirs = os.pipe()
    with transient(place.start) as fd:
        assert try_lock(fd, shared=False)
        child = os.fork()
        if child == 0:  # pragma: no cover - not seen from here
            os.close(theirs)
            os.read(ours, 1)
            os._exit(0)
    os.close(ours)
    try:
        until(lambda: is_free(place.start), "the lock is free beside a living child", seconds=5)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    finally:
        os.close(theirs)
        os.waitpid(child, 0)
    assert folder.exists()


# --- many at once -----------------------------------------------------------------------------------------------------


def test_a_crowd_with_killed_members_never_has_two_servers(folder: Path) -> None:
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, len(servers(folder)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for round_ in range(3):
            users = [User(folder) for _ in range(12)]
            victims = users[round_::3]
            for victim in victims:  # at whatever point of the start they have come to
                victim.live_for(0.05 * (1 + round_))
                victim.kill()
            living = [user for user in users if user not in victims]
            assert len({user.answer()[0] for user in living}) == 1
            for user in living[:4]:
                user.kill()
            for user in living[4:]:
                user.leave()
        until(lambda: nothing_left(folder), "none is left behind")
    finally:
        done.set()
        watcher.join()
    assert most == 1


# --- accidents --------------------------------------------------------------------------------------------------------


def test_a_killed_server_comes_back_with_its_data(folder: Path) -> None:
    with attach(folder) as attached:
        before = attached.pid, attached.url
        assert ask(socket_of(attached), "SET", "greeting", "hello") == "+OK"
        assert not attached.revive()
        os.kill(attached.pid, signal.SIGKILL)
        until(lambda: is_stopped(before[0]), "the server is dead")
        assert attached.revive()
        assert attached.pid != before[0]
        assert attached.url == before[1]  # its other users find it without asking
        assert ask(socket_of(attached), "GET", "greeting") == "hello"
        until(lambda: len(keepers(folder)) == 1, "one keeper, the new server's")
    until(lambda: nothing_left(folder), "all gone")


def test_whoever_attaches_next_repairs_a_killed_server(folder: Path) -> None:
    with attach(folder) as attached:
        os.kill(attached.pid, signal.SIGKILL)
        until(lambda: is_stopped(attached.pid), "the server is dead")
        user = User(folder)
        pid, started = user.answer()
        assert started
        assert attached.revive()
        assert attached.pid == pid
        user.leave()
        assert servers(folder) == [pid]


def test_release_closes_nothing_but_its_own_lock(folder: Path, place: Place) -> None:
    attached = attach(folder)
    until(lambda: not is_free(place.keeper), "the keeper has made its last file")
    shutil.rmtree(place.state)
    opened = len(list(Path("/dev/fd").iterdir()))
    attached.release()
    assert len(list(Path("/dev/fd").iterdir())) == opened - 1
    attached = attach(folder)
    lock = next(fd for fd in range(3, 1000) if is_current(fd, place.users))
    os.close(lock)  # as becoming a daemon does
    reader, writer = os.pipe()
    assert lock in {reader, writer}
    attached.release()
    os.close(reader)
    os.close(writer)


def test_a_released_one_is_not_revived(folder: Path) -> None:
    attached = attach(folder)
    attached.release()
    with pytest.raises(EmbeddedServerError, match="attach"):
        attached.revive()


def test_a_killed_keeper_is_replaced_by_the_next_user(folder: Path, place: Place) -> None:
    with attach(folder):
        until(lambda: keepers(folder), "the keeper runs")
        until(lambda: not is_free(place.keeper), "the keeper holds its lock")
        [first] = keepers(folder)
        os.kill(first, signal.SIGKILL)
        until(lambda: is_stopped(first), "the keeper is dead")
        os.utime(place.url, (time.time() - 60, time.time() - 60))  # the start was long ago
        attach(folder).release()
        until(lambda: keepers(folder), "another keeper runs")
    until(lambda: nothing_left(folder), "server and keeper are gone")


def test_a_starter_killed_before_it_wrote_the_url_leaves_a_server_that_is_found(folder: Path, place: Place) -> None:
    with attach(folder) as attached:
        place.url.unlink()
        user = User(folder)
        assert user.answer() == (attached.pid, False)
        user.leave()
        assert find(folder) == attached.url


def test_beside_a_server_that_hangs_no_second_one_is_started(folder: Path) -> None:
    with attach(folder) as attached:
        os.kill(attached.pid, signal.SIGSTOP)
        try:
            with pytest.raises(EmbeddedServerError, match=r"server\.pid"):
                attach(folder, timeout=0.5)
            assert servers(folder) == [attached.pid]
        finally:
            os.kill(attached.pid, signal.SIGCONT)


def test_a_deleted_state_directory_is_a_reset(folder: Path, place: Place) -> None:
    with attach(folder) as attached:
        old = attached.pid
        assert ask(socket_of(attached), "SET", "greeting", "hello") == "+OK"
        until(lambda: not is_free(place.keeper), "the keeper has made its last file")
        shutil.rmtree(place.state)
        until(lambda: is_stopped(old), "the server of the deleted directory ends")
        assert attached.revive()
        assert attached.pid != old
        assert ask(socket_of(attached), "EXISTS", "greeting") == ":0"
        assert servers(folder) == [attached.pid]


def test_after_a_reset_the_old_server_does_not_take_the_socket_of_the_new_one(folder: Path, place: Place) -> None:
    with attach(folder) as before:
        until(lambda: not is_free(place.keeper), "the keeper has made its last file")
        shutil.rmtree(place.state)
        with attach(folder) as after:
            assert (socket_of(after), after.pid == before.pid) == (socket_of(before), False)
            until(lambda: is_stopped(before.pid), "the server of the deleted directory ends")
            assert is_ready(socket_of(after))
            assert servers(folder) == [after.pid]
    until(lambda: nothing_left(folder), "all gone")


def test_a_server_whose_socket_was_cleaned_away_makes_room(folder: Path) -> None:
    with attach(folder) as attached:
        old = attached.pid
        assert ask(socket_of(attached), "SET", "greeting", "hello") == "+OK"
        socket_of(attached).unlink()
        assert attached.revive(timeout=15)
        assert attached.pid != old
        assert ask(socket_of(attached), "GET", "greeting") == "hello"


# --- places -----------------------------------------------------------------------------------------------------------


def test_a_long_folder_path_works(folder: Path) -> None:
    deep = folder / ("a" * 100) / ("b" * 100)
    deep.mkdir(parents=True)
    with attach(deep) as attached:
        assert is_ready(socket_of(attached))
        assert attached.state == deep.resolve() / ".streamq"
    until(lambda: nothing_left(deep), "all gone")


def test_a_folder_with_odd_characters_works(folder: Path) -> None:
    odd = folder / "it's a folder; $HOME `x` \\ ä 日"
    odd.mkdir()
    with attach(odd) as attached:
        assert ask(socket_of(attached), "SET", "greeting", "hello") == "+OK"
        assert (odd / ".streamq" / "data" / "appendonlydir").exists()
    until(lambda: nothing_left(odd), "all gone")


def test_a_read_only_folder_uses_the_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):  # the superuser may write anywhere
        prepare = Place.prepare

        def refuse(self: Place) -> None:
            if self.state.parent == folder.resolve():
                raise PermissionError(13, "Permission denied")
            prepare(self)

        monkeypatch.setattr(Place, "prepare", refuse)
    with attach(folder) as attached:
        assert tmp_path / "cache" in attached.state.parents
        assert find(folder) == attached.url
        assert list(folder.iterdir()) == []
    assert len([one for one in caplog.records if one.name == "streamq.embedded"]) == 1
    folder.chmod(0o700)


def test_where_locks_do_not_work_the_temp_directory_is_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    *pretending, temp = places(folder)

    def only_in_temp(path: Path) -> bool:
        return path.parent == temp.state

    monkeypatch.setattr(server, "excludes", only_in_temp)
    with attach(folder) as attached:
        assert attached.state == temp.state
        assert attached.state not in [place.state for place in pretending]
        assert find(folder) == attached.url
    assert len([one for one in caplog.records if "file locks do not work" in one.getMessage()]) == 1
    until(lambda: nothing_left(folder), "all gone")
    shutil.rmtree(temp.state)


def test_a_folder_in_use_on_another_host_is_left_to_it(folder: Path, place: Place) -> None:
    place.prepare()
    record = new_record(folder / "there.sock")._replace(host="another-host")
    place.server.write_text(record.text())
    with transient(place.server) as fd:
        assert try_lock(fd, shared=False)
        with attach(folder) as attached:
            assert attached.state != place.state
            assert is_ready(socket_of(attached))
        until(lambda: nothing_left(folder), "all gone")


# --- files of other servers -------------------------------------------------------------------------------------------


def leave_data(folder: Path) -> Path:
    """Have a server write a job file and end; gives back its snapshot."""
    with attach(folder) as attached:
        assert ask(socket_of(attached), "SET", "greeting", "hello") == "+OK"
    until(lambda: nothing_left(folder), "the writer is gone")
    [snapshot] = (folder / ".streamq" / "data" / "appendonlydir").glob("*.base.rdb")
    return snapshot


def test_the_file_of_a_newer_server_is_moved_aside(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    snapshot = leave_data(folder)
    content = snapshot.read_bytes()
    snapshot.write_bytes(content.replace(b"VALKEY080", b"VALKEY999").replace(b"REDIS0010", b"REDIS0999"))
    with caplog.at_level(logging.WARNING), attach(folder) as attached:
        assert ask(socket_of(attached), "EXISTS", "greeting") == ":0"
        [aside] = attached.state.glob("data-set-aside-*")
        assert (aside / "appendonlydir" / snapshot.name).exists()
        assert str(aside) in caplog.text
        assert servers(folder) == [attached.pid]


def test_the_file_of_another_make_is_moved_aside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redis = shutil.which("redis-server")
    if leave_data(folder).read_bytes()[:6] != b"VALKEY" or redis is None:
        pytest.skip("needs a Valkey 9 and a redis-server")
    monkeypatch.setenv("STREAMQ_SERVER_BIN", redis)
    with attach(folder) as attached:
        if attached.version.startswith("Redis"):
            assert len(list(attached.state.glob("data-set-aside-*"))) == 1


def test_a_damaged_file_is_reported_and_stays(folder: Path) -> None:
    snapshot = leave_data(folder)
    snapshot.write_bytes(b"x" * 100)
    with pytest.raises(EmbeddedServerError, match="Bad file format") as raised:
        attach(folder)
    assert "check-aof" in raised.value.remedy
    assert snapshot.read_bytes() == b"x" * 100


def test_a_torn_end_of_the_file_is_tolerated(folder: Path) -> None:
    snapshot = leave_data(folder)
    [tail] = snapshot.parent.glob("*.incr.aof")
    with tail.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nto")
    with attach(folder) as attached:
        assert ask(socket_of(attached), "GET", "greeting") == "hello"


def test_a_program_that_is_no_server_is_reported(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "fake-server"
    program.write_text("#!/bin/sh\necho cannot do that >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("STREAMQ_SERVER_BIN", str(program))
    with pytest.raises(EmbeddedServerError, match="cannot do that"):
        attach(folder)


def test_a_server_that_is_too_old_is_refused_and_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_long_ago(_path: Path) -> dict[str, str]:
        return {"redis_version": "6.2.14", "process_id": "1"}

    monkeypatch.setattr(launch, "about", of_long_ago)
    with pytest.raises(EmbeddedServerError, match=r"6\.2\.14.*needs Redis 7"):
        attach(folder)
    until(lambda: nothing_left(folder), "the old server is gone")
