"""verify, recover and doctor from the command line."""

from __future__ import annotations

import pytest

from streamq._store.keys import Keys
from tests.cli.shell import Shell
from tests.servers import Server, StartServer


@pytest.fixture
def keys(shell: Shell, prefix: str) -> Keys:
    del shell
    return Keys(prefix, "demo")


def sent(shell: Shell, number: int = 1) -> list[str]:
    return [shell.run("send", "x", f"n={n}", "--queue", "demo").stdout.strip() for n in range(number)]


def test_a_sound_queue(shell: Shell) -> None:
    assert "no queue yet" in shell.run("verify").stderr
    assert shell.json("verify") == {"sound": True, "queues": []}
    sent(shell, 3)
    done = shell.run("verify", "demo")
    assert done.stdout == "demo  sound\n"
    assert "looked at entries 3, jobs 3, keys " in done.stderr
    found = shell.json("verify")
    assert (found["sound"], found["queues"][0]["findings"]) == (True, [])
    assert found["queues"][0]["looked_at"]["jobs"] == 3
    assert "demo: nothing to mend" in shell.run("recover", "demo").stderr
    assert "did you mean 'demo'?" in shell.run("verify", "dmo", code=2).stderr
    assert "name the queues, or say --all" in shell.run("recover", code=2).stderr


def test_damage_is_told_and_mended(shell: Shell, server: Server, keys: Keys) -> None:
    jobs = sent(shell, 3)
    server.command("HDEL", keys.index, jobs[1])
    server.command("HSET", keys.index, "gone", "29-9:0")

    done = shell.run("verify", "demo", code=1)
    lines = done.stdout.splitlines()
    assert lines[0] == "demo  2 kinds of damage"
    assert lines[1].split() == ["kind", "things", "what", "it", "is", "recover"]
    assert [line.split()[:2] for line in lines[2:4]] == [["row-missing", "1"], ["job-lost", "1"]]
    assert lines[4].startswith(f"  row-missing  job {jobs[1]}: lane 2, entry ")
    assert "to mend it: streamq recover demo --apply" in done.stderr
    found = shell.json("verify", "demo", code=1)
    assert [(one["kind"], one["count"]) for one in found["queues"][0]["findings"]] == [
        ("row-missing", 1), ("job-lost", 1),
    ]  # fmt: skip

    would = shell.run("recover", "demo", code=1)
    assert f"demo  row-missing  job {jobs[1]}: lane 2" in would.stdout
    assert "(would be indexed, waits again)" in would.stdout
    assert "demo: 2 things to mend; to do it: streamq recover demo --apply" in would.stderr
    assert shell.json("recover", "demo", code=1)["queues"][0]["applied"] is False
    assert server.command("HEXISTS", keys.index, jobs[1]) == 0

    mended = shell.run("recover", "--all", "--apply")
    assert "(indexed, waits again)" in mended.stdout
    assert "demo  nothing that could run is left of job gone" in mended.stdout
    assert "demo: 2 things mended" in mended.stderr
    assert shell.run("verify").stdout == "demo  sound\n"
    assert shell.json("recover", "demo", "--apply")["queues"][0]["repairs"] == []
    assert [one["id"] for one in shell.json("dlq", "list")["dead"]] == ["gone"]


def test_what_cannot_be_mended_is_left(shell: Shell, server: Server, keys: Keys) -> None:
    sent(shell)
    server.command("SET", keys.base + b"zz", "1")
    done = shell.run("recover", "demo", "--apply", code=1)
    assert "demo: left as it is" in done.stderr
    assert "key-unknown  zz" in done.stdout
    assert shell.json("verify", code=1)["queues"][0]["findings"][0]["examples"] == ["zz"]


def test_verify_without_a_server(bare: Shell) -> None:
    assert "cannot reach Redis" in bare.run("verify", "--url", "redis://127.0.0.1:1/0", code=4).stderr
    assert "cannot reach Redis" in bare.run("doctor", "--url", "redis://127.0.0.1:1/0", code=4).stderr


def test_doctor_says_what_to_change(shell: Shell, server: Server, keys: Keys) -> None:
    jobs = sent(shell, 2)
    done = shell.run("doctor", code=1)
    head, *lines = done.stdout.splitlines()
    assert head.startswith("Valkey ")
    assert head.endswith(" things to change")
    assert "bad   persistence: none: a restart loses every job" in lines
    assert "bad   queue demo: 2 waiting, no worker" in lines
    assert "      start a worker: streamq worker app:queue" in lines
    assert any(line.startswith("warn  memory: ") and line.endswith("no maxmemory") for line in lines)
    assert any(line.startswith("ok    latency: PING p50") for line in lines)
    assert any(line.startswith("ok    client: Python 3.") and "redis " in line for line in lines)

    server.command("HDEL", keys.index, jobs[0])
    found = shell.json("doctor", code=1)
    assert found["level"] == "bad"
    said = {(one["name"], one["said"]) for one in found["checks"]}
    assert ("queue demo", "damaged: row-missing (1)") in said
    assert ("eviction", "noeviction") in said


def test_doctor_with_workers(shell: Shell) -> None:
    sent(shell)
    shell.worker("app:queue")
    shell.run("send", "math:add", "a=1", "b=2", "--queue", "demo", "--wait")
    found = {one["name"]: one for one in shell.json("doctor", code=1)["checks"]}
    assert found["queue demo"]["said"] == "1 parked: no worker has their handler"
    assert found["queue demo"]["level"] == "warn"


def test_a_server_that_is_well(bare: Shell, fresh_server: StartServer) -> None:
    server = fresh_server(aof=True, args=("--maxmemory", "100mb", "--maxmemory-policy", "noeviction"))
    done = bare.run("doctor", "--url", server.url)
    assert "ok    persistence: append-only file, appendfsync everysec" in done.stdout
    assert "bad" not in done.stdout


def test_a_queue_of_another_protocol(shell: Shell, server: Server, keys: Keys) -> None:
    sent(shell)
    server.command("HSET", keys.meta, "v", "99")
    found = shell.json("verify", "demo", code=1)["queues"][0]
    assert [one["kind"] for one in found["findings"]] == ["protocol"]
    assert "protocol 99" in shell.run("recover", "demo", "--apply", code=4).stderr
    told = {one["name"]: one for one in shell.json("doctor", code=1)["checks"]}
    assert told["queue demo"]["level"] == "bad"
