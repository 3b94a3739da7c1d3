"""What doctor thinks of servers, queues and machines. Pure: no server."""

from __future__ import annotations

import pytest

from streamq._core import checkup
from streamq._core.checkup import Check, ClientFacts, QueueFacts, ServerFacts

INFO = {
    "redis_version": "7.2.4", "valkey_version": "9.1.0", "maxmemory_policy": "noeviction", "maxmemory": "1000000",
    "used_memory": "100000", "aof_enabled": "1", "role": "master", "connected_slaves": "0", "connected_clients": "5",
    "maxclients": "10000",
}  # fmt: skip
CONFIG = {"appendfsync": "everysec", "busy-reply-threshold": "5000", "timeout": "0", "save": ""}
WELL = ServerFacts(INFO, CONFIG, 3, 0.1, 0.4)
QUEUE = QueueFacts("q", 0, 0, paused=False, alive=1, silent=(), versions=("1",), damage=())


def info(**changes: str) -> ServerFacts:
    return WELL._replace(info={**INFO, **changes})


def config(**changes: str) -> ServerFacts:
    return WELL._replace(config={**CONFIG, **{name.replace("_", "-"): value for name, value in changes.items()}})


def troubles(checks: list[Check]) -> dict[str, str]:
    assert all(one.remedy for one in checks if one.level != "ok"), "a verdict carries its next step"
    return {one.name: one.level for one in checks if one.level != "ok"}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (WELL, {}),
        (info(valkey_version="7.0.0"), {"version": "bad"}),
        (info(cluster_enabled="1"), {"version": "bad"}),
        (info(maxmemory_policy="allkeys-lru"), {"eviction": "bad"}),
        (info(maxmemory_policy="allkeys-lru", maxmemory="0"), {"eviction": "warn", "memory": "warn"}),
        (info(maxmemory_policy="volatile-lru"), {"eviction": "warn"}),
        (info(used_memory="800000"), {"memory": "warn"}),
        (info(used_memory="950000"), {"memory": "bad"}),
        (info(aof_enabled="0"), {"persistence": "bad"}),
        (info(aof_last_write_status="err"), {"persistence": "bad"}),
        (config(appendfsync="no"), {"persistence": "warn"}),
        (config(save="3600 1")._replace(info={**INFO, "aof_enabled": "0"}), {"persistence": "warn"}),
        (info(role="slave"), {"replication": "bad"}),
        (config(min_replicas_to_write="0"), {}),
        (config(min_replicas_to_write="0")._replace(info={**INFO, "connected_slaves": "2"}), {"replication": "warn"}),
        (config(min_replicas_to_write="1")._replace(info={**INFO, "connected_slaves": "1"}), {}),
        (info(connected_clients="9000"), {"clients": "warn"}),
        (info(connected_clients="9900"), {"clients": "bad"}),
        (WELL._replace(ping_p99=20.0), {"latency": "warn"}),
        (WELL._replace(ping_p99=200.0), {"latency": "bad"}),
        (WELL._replace(clock_ms=-5000), {"clock": "warn"}),
        (config(busy_reply_threshold="100"), {"scripts": "warn"}),
        (config(timeout="300"), {"timeout": "warn"}),
        (WELL._replace(config={}), {"config": "warn"}),
    ],
)
def test_a_server(facts: ServerFacts, expected: dict[str, str]) -> None:
    assert troubles(list(checkup.server(facts))) == expected


def test_redis_is_called_redis() -> None:
    old = {name: value for name, value in INFO.items() if name != "valkey_version"}
    assert WELL.title == "Valkey 9.1.0"
    assert WELL._replace(info=old).title == "Redis 7.2.4"
    assert troubles(list(checkup.server(WELL._replace(info={**old, "redis_version": "6.2.1"})))) == {"version": "bad"}


@pytest.mark.parametrize(
    ("facts", "levels"),
    [
        (QUEUE, ["ok"]),
        (QUEUE._replace(waiting=5, alive=0), ["bad"]),
        (QUEUE._replace(waiting=5, alive=0, paused=True), ["ok"]),
        (QUEUE._replace(damage=("job-lost (1)",)), ["bad"]),
        (QUEUE._replace(parked=1), ["warn"]),
        (QUEUE._replace(silent=("w1", "w2"), versions=("1", "2")), ["warn", "warn"]),
        (QUEUE._replace(protocol="another", waiting=5, alive=0), ["bad"]),
    ],
)
def test_a_queue(facts: QueueFacts, levels: list[str]) -> None:
    found = list(checkup.queue(facts))
    assert [one.level for one in found] == levels
    assert all(one.remedy for one in found if one.level != "ok")


def test_a_machine() -> None:
    few = ClientFacts("3.13.1", {"redis": "6.4.0", "uvloop": ""}, 256)
    found = list(checkup.client(few))
    assert troubles(found) == {"open files": "warn"}
    assert found[0].said == "Python 3.13.1, redis 6.4.0"
    assert troubles(list(checkup.client(few._replace(files=0)))) == {}


def test_the_worst_counts() -> None:
    ok, warn, bad = (Check("x", level, "") for level in ("ok", "warn", "bad"))
    assert (checkup.worst([ok]), checkup.worst([ok, warn]), checkup.worst([warn, bad, ok])) == ("ok", "warn", "bad")
