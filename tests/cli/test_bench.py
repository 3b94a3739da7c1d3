"""``streamq bench``: it measures, says so in two ways, and leaves nothing behind."""

from __future__ import annotations

from tests.cli.shell import Shell
from tests.servers import Server

SMALL = ("--jobs", "300", "--samples", "20", "--concurrency", "10", "--size", "10")
RATES = ("enqueue_one", "enqueue_concurrent", "enqueue_bulk", "drain")


def test_figures_of_a_server_that_is_named(shell: Shell, server: Server, prefix: str) -> None:
    found = shell.json("bench", *SMALL)
    assert all(found[name] > 0 for name in RATES), found
    assert 0 < found["start_p50"] <= found["start_p95"] <= found["start_p99"]
    assert (found["where"], found["jobs"], found["concurrency"]) == ("your server", 300, 10)
    assert server.command("KEYS", f"{prefix}*") == []
    assert shell.json("queues") == {"queues": []}


def test_without_a_url_it_is_the_embedded_server(bare: Shell) -> None:
    done = bare.run("bench", *SMALL)
    assert "on an embedded Valkey" in done.stderr
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert rows == [
        "what",
        "enqueue, one by one",
        "enqueue, 50 concurrent",
        "enqueue, bulk",
        "run jobs that do nothing",
        "from enqueue to start, p50",
        "from enqueue to start, p95",
        "from enqueue to start, p99",
        "round trip to the server",
    ]
    assert done.stdout.count(" jobs/s\n") == len(RATES)
    assert not (bare.folder / ".streamq").exists()


def test_an_environment_for_others_gets_no_load(bare: Shell, server: Server) -> None:
    before = server.info("stats")["total_connections_received"]
    assert "on an embedded Valkey" in bare.run("bench", *SMALL, REDIS_URL=server.url).stderr
    assert server.info("stats")["total_connections_received"] == before


def test_what_goes_wrong_is_one_line(bare: Shell) -> None:
    assert "--jobs" in bare.run("bench", "--jobs", "5", code=2).stderr
    bare.run("bench", *SMALL, "--url", "redis://127.0.0.1:1/0", code=4)
