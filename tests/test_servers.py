"""The fixtures themselves: what every other test stands on."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from tests.servers import Server, ServerKind, StartServer

MAJOR: dict[ServerKind, int] = {"valkey": 9, "redis7": 7, "redis8": 8}


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_each_kind_answers_with_its_version(each_server: Server) -> None:
    info = each_server.info("server")
    version = info["valkey_version"] if each_server.kind == "valkey" else info["redis_version"]

    assert each_server.command("PING") == b"PONG"
    assert int(version.split(".")[0]) == MAJOR[each_server.kind]
    assert int(info["process_id"]) == each_server.pid


def test_each_kind_claims_stalled_entries(each_server: Server, prefix: str) -> None:
    key = f"{prefix}:stream"
    entry = each_server.command("XADD", key, "*", "j", "1")
    each_server.command("XGROUP", "CREATE", key, "workers", "0")
    each_server.command("XREADGROUP", "GROUP", "workers", "dead", "STREAMS", key, ">")

    reply = each_server.command("XAUTOCLAIM", key, "workers", "alive", 0, "0")

    assert reply == [b"0-0", [[entry, [b"j", b"1"]]], []]


def test_each_kind_runs_lua(each_server: Server, prefix: str) -> None:
    script = "redis.call('SET', KEYS[1], cmsgpack.pack({1, 2})) return redis.call('TIME')"

    seconds, _ = each_server.command("EVAL", script, 1, f"{prefix}:packed")

    assert abs(int(seconds) - time.time()) < 60
    assert each_server.command("GET", f"{prefix}:packed") == b"\x92\x01\x02"


async def test_the_url_is_for_redis_py(each_server: Server, prefix: str) -> None:
    untyped: Any = redis.asyncio.Redis  # redis-py leaves from_url half typed
    async with untyped.from_url(each_server.url) as client:
        await client.set(f"{prefix}:a", "1")

    assert each_server.command("GET", f"{prefix}:a") == b"1"


def test_command_statistics_are_the_tests_own(server: Server, prefix: str) -> None:
    server.command("CONFIG", "RESETSTAT")
    server.command("EVAL", "return redis.call('INCR', KEYS[1])", 1, f"{prefix}:n")

    assert server.commandstats() == {"config|resetstat": 1, "eval": 1, "incr": 1}


def test_a_prefix_leaves_no_keys(server: Server) -> None:
    server.command("SET", "tgone:a", "1")
    server.command("SET", "stays", "1")

    server.delete_matching("tgone*")

    assert server.command("EXISTS", "tgone:a", "stays") == 1
    server.command("DEL", "stays")


def test_an_append_only_file_survives_a_kill(fresh_server: StartServer) -> None:
    server = fresh_server(aof=True, args=("--appendfsync", "always"))
    server.command("SET", "kept", "1")
    before = server.pid

    server.kill()
    assert not is_running(before)
    server.start()

    assert server.command("GET", "kept") == b"1"


def test_a_restart_keeps_the_tcp_port(fresh_server: StartServer) -> None:
    server = fresh_server(tcp=True)
    url = server.url

    server.restart()

    assert server.url == url
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"PING\r\n")
        assert client.recv(64) == b"+PONG\r\n"


def test_wrong_arguments_are_told(fresh_server: StartServer) -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        fresh_server(args=("--maxmemory-policy", "nonsense"))


def test_a_server_goes_with_its_process() -> None:
    program = (
        "import tests.servers as s, time; x = s.Server(); x.start(); print(x.pid, x.folder, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        owner.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 5
    while (is_running(int(pid)) or Path(folder).exists()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(int(pid))
    assert not Path(folder).exists()
