"""Limits, groups, blocks and dedup keys from the command line, beside workers that run. No app is imported for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from streamq import CircuitBreaker, Dedup, Job, Queue
from tests.cli.shell import Background, Shell, wait_until

APP = """\
from streamq import Group, Queue, RateLimit

queue = Queue("demo", group=Group(concurrency=2, size=100), limits={"twilio": RateLimit(5, per=60)})

@queue.handler("send", concurrency=3)
async def send(n: int, country: str = "GR") -> int:
    return n
"""


@pytest.fixture
def app(shell: Shell) -> Shell:
    (shell.folder / "app.py").write_text(APP)
    return shell


@pytest.fixture
def worker(app: Shell) -> Background:
    """A worker runs, the app itself is gone."""
    started = app.worker("app:queue")
    wait_until(lambda: app.json("limits", "list", "demo")["limits"], "the limits are declared")
    (app.folder / "app.py").unlink()
    return started


def enqueued(shell: Shell, n: int, **options: Any) -> str:
    """Enqueue a job with options the command line has not; returns its id."""

    async def one() -> Job[Any]:
        async with Queue("demo", url=shell.env["STREAMQ_URL"], prefix=shell.env["STREAMQ_PREFIX"]) as queue:
            return await queue.enqueue("send", {"n": n, "country": "GR"}, **options)

    return run(one()).id


def run(call: Coroutine[Any, Any, Job[Any]]) -> Job[Any]:
    return asyncio.run(call)


def gate(shell: Shell, name: str) -> dict[str, Any]:
    found = [one for one in shell.json("limits", "list", "demo")["limits"] if one["gate"] == name]
    assert len(found) == 1
    one: dict[str, Any] = found[0]
    return one


def state(shell: Shell, job_id: str) -> str:
    return str(shell.json("jobs", "show", job_id)["state"])


def test_limits_are_listed_set_and_cleared(app: Shell, worker: Background) -> None:
    del worker
    table = app.run("limits", "list", "demo").stdout.splitlines()
    assert table[0].split() == [
        "gate",
        "at",
        "once",
        "rate",
        "weight",
        "size",
        "running",
        "in",
        "line",
        "state",
        "set",
        "by",
    ]
    assert [line.split()[0] for line in table[1:]] == ["g", "h.send", "r.twilio"]
    assert "5 per 60 s" in table[3]
    done = app.run("limits", "set", "demo", "h.send", "--concurrency", "1", "--rate", "50/s")
    assert done.stdout == "demo h.send: 1 at once, 50 per 1 s\n"
    found = gate(app, "h.send")
    assert (found["concurrency"], found["rate"], found["declared"]) == (1, "50 per 1 s", True)
    assert "@" in found["overridden_by"]
    same = app.json("limits", "set", "demo", "h.send", "--concurrency", "1")
    assert (same["changed"], same["limit"]["rate"]) == (False, "50 per 1 s")
    assert app.json("limits", "set", "demo", "h.send", "--concurrency", "none")["limit"]["concurrency"] is None
    assert app.run("limits", "clear", "demo", "h.send").stdout == "demo h.send: cleared; in force: 3 at once\n"
    assert app.json("limits", "clear", "demo", "h.send")["changed"] is False
    group = app.json("limits", "set", "demo", "g:shop_42", "--weight", "2.5", "--size", "none")["limit"]
    assert (group["weight"], group["size"], group["concurrency"]) == (2.5, None, 2)
    queue = app.json("limits", "set", "demo", "q", "--rate", "1000/1h30m")["limit"]
    assert queue["rate"] == "1000 per 5400 s"


def test_a_queue_without_limits(app: Shell) -> None:
    enqueued(app, 1)
    assert app.run("limits", "list", "demo").stderr == "no limits\n"
    assert app.json("blocks", "demo") == {"queue": "demo", "blocks": []}
    assert app.run("blocks", "demo").stderr == "no blocks\n"
    assert "held" not in app.run("stats", "demo").stdout
    row = app.json("queues")["queues"][0]
    assert (row["paused_groups"], row["paused_handlers"], row["blocks"]) == ([], [], 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "demo", "h.send"), "--concurrency, --rate, --weight or --size"),
        (("set", "demo", "h.send", "--concurrency", "0"), "'0' is no number of jobs; write 1 or more, or none"),
        (("set", "demo", "h.send", "--rate", "50"), "'50' is no rate; write 50/1s"),
        (("set", "demo", "h.send", "--rate", "0/s"), "'0/s' is no rate"),
        (("set", "demo", "h.send", "--weight", "2"), "weight and size are for groups"),
        (("set", "demo", "g:a", "--weight", "0"), "Group(weight)=0.0: give a number from 0.001"),
        (("set", "demo", "send", "--concurrency", "2"), "gate='send': use \"q\" (the queue)"),
        (("set", "dmo", "q", "--concurrency", "2"), "did you mean 'demo'?"),
        (("list", "nope"), "there is no queue 'nope'"),
        (("clear", "demo", "g:"), "gate='g:'"),
    ],
)
def test_wrong_usage_names_option_value_and_remedy(app: Shell, arguments: tuple[str, ...], said: str) -> None:
    enqueued(app, 1)
    assert said in app.run("limits", *arguments, code=2).stderr


def test_a_handler_that_nobody_has_is_told(app: Shell, worker: Background) -> None:
    del worker
    for command in (
        ("pause", "demo", "--handler", "sned"),
        ("limits", "set", "demo", "h.sned", "--concurrency", "1"),
        ("block", "demo", "--name", "sned"),
    ):
        assert "has a handler 'sned'; did you mean 'send'?" in app.run(*command).stderr
    assert app.run("pause", "demo", "--handler", "send").stderr == ""


def test_groups_and_handlers_are_paused(app: Shell, worker: Background) -> None:
    del worker
    assert "--group or --handler" in app.run("pause", "demo", "--group", "a", "--handler", "b", code=2).stderr
    paused = app.run("pause", "demo", "--handler", "send", "--reason", "provider is down").stdout
    assert paused == "demo: handler send paused\n"
    assert app.run("pause", "demo", "--handler", "send").stdout == "demo: handler send is paused already\n"
    job = enqueued(app, 1)
    wait_until(lambda: "provider is down" in app.run("explain", "demo", job).stdout, "it waits for its handler")
    assert gate(app, "h.send")["waiting"] == 1
    assert app.json("pause", "demo", "--group", "shop_42") == {"queues": [{"queue": "demo", "changed": True}]}
    assert "2 paused" not in app.run("queues").stdout
    assert "1 paused group, 1 paused handler" in app.run("queues").stdout
    assert "(g:shop_42, h.send)" in app.run("stats", "demo").stdout
    assert app.run("resume", "demo", "--handler", "send").stdout == "demo: handler send resumed\n"
    assert app.run("resume", "demo", "--handler", "send").stdout == "demo: handler send was not paused\n"
    wait_until(lambda: state(app, job) == "completed", "it went on")
    held = enqueued(app, 2, group="shop_42")
    assert app.json("explain", "demo", held)["parked_at"] in ("", "g:shop_42")
    assert app.json("resume", "--all", "--group", "shop_42") == {"queues": [{"queue": "demo", "changed": True}]}
    wait_until(lambda: state(app, held) == "completed", "it went on")


def test_a_block_holds_what_fits_and_lets_go(app: Shell, worker: Background) -> None:
    del worker
    assert "say which jobs" in app.run("block", "demo", code=2).stderr
    assert "write ==" in app.run("block", "demo", "--where", 'country = "GR"', code=2).stderr
    where = 'country == "GR" and n > 5'
    made = app.run("block", "demo", "--name", "send", "--where", where, "--reason", "wrong sender")
    block = made.stdout.strip()
    assert f"streamq unblock demo {block}" in made.stderr
    held, free = enqueued(app, 7), enqueued(app, 3)
    wait_until(lambda: state(app, free) == "completed", "the other runs")
    wait_until(lambda: app.json("blocks", "demo")["blocks"][0]["held"] == 1, "it waits at the block")
    shown = app.run("blocks", "demo").stdout.splitlines()
    assert shown[1].startswith(f"{block}  jobs of send where country == 'GR' and n > 5 ")
    assert shown[1].endswith("wrong sender")
    told = app.run("explain", "demo", held)
    assert f"parked at x.{block}: blocked: wrong sender" in told.stdout
    assert f"streamq unblock demo {block}" in told.stderr
    assert "1 block" in app.run("stats").stdout
    assert "streamq blocks demo" in app.run("limits", "list", "demo").stderr
    done = app.run("unblock", "demo", block, "nope", code=1)
    assert done.stdout == f"{block} released\n"
    assert "demo has no block nope" in done.stderr
    wait_until(lambda: state(app, held) == "completed", "it went on")
    assert app.json("unblock", "demo", block, code=1)["blocks"] == [{"id": block, "changed": False}]
    assert app.json("block", "demo", "--tenant", "acme")["tenant"] == "acme"


def test_circuit_breakers_are_listed(app: Shell) -> None:
    enqueued(app, 1)
    assert app.run("breakers", "demo").stderr == "no circuit breaker has counted a failure\n"
    assert app.json("breakers", "demo") == {"queue": "demo", "breakers": []}

    async def open_one() -> None:
        async with Queue("demo", url=app.env["STREAMQ_URL"], prefix=app.env["STREAMQ_PREFIX"]) as queue:
            await CircuitBreaker("twilio", handlers=("send",)).open(queue, for_=900, reason="maintenance", by="ann")

    asyncio.run(open_one())
    head, row = app.run("breakers", "demo").stdout.splitlines()
    assert head.split() == ["breaker", "state", "failures", "next", "probe", "jobs", "since", "by", "reason"]
    assert row.split()[:3] == ["twilio", "open", "0"]
    assert " in 1" in row
    assert row.endswith("ann  maintenance")
    assert app.json("breakers", "demo")["breakers"][0]["state"] == "open"
    assert "no queue 'demi'" in app.run("breakers", "demi", code=2).stderr


def test_explain(app: Shell) -> None:
    first, second = (enqueued(app, n, group="a") for n in (1, 2))
    told = app.run("explain", "demo", second).stdout.splitlines()
    assert told[0] == "waits in line g:a; position 2 of 2; ready, its turn comes"
    assert [line.split()[0] for line in told[1:]] == ["limit", "g:a"]
    found = app.json("explain", "demo", first)
    assert (found["queue"], found["state"], found["line"], found["position"]) == ("demo", "waiting", "g:a", 1)
    later = enqueued(app, 3, delay=600)
    assert app.run("explain", "demo", later).stdout.startswith("delayed, due in ")
    app.run("limits", "set", "demo", "q", "--concurrency", "2")
    plain = enqueued(app, 4)
    assert app.run("explain", "demo", plain).stdout.splitlines()[0] == "waits in lane NORMAL"
    unknown = app.run("explain", "demo", "nope", code=1).stderr
    assert unknown.startswith("streamq: no trace of job nope in demo\n")


def test_dedup_keys_are_looked_at_and_released(app: Shell) -> None:
    job = enqueued(app, 1, dedup=Dedup("cart:42"))
    assert app.run("dedup", "get", "demo", "cart:42").stdout.strip() == job
    assert app.json("dedup", "get", "demo", "cart:42") == {
        "queue": "demo", "key": "cart:42", "job": job, "state": "waiting",
    }  # fmt: skip
    assert enqueued(app, 1, dedup=Dedup("cart:42")) == job
    assert app.run("dedup", "release", "demo", "cart:42").stdout == "cart:42 released\n"
    assert app.json("dedup", "release", "demo", "cart:42")["changed"] is False
    assert "has the key cart:42" in app.run("dedup", "get", "demo", "cart:42", code=1).stderr
    assert enqueued(app, 1, dedup=Dedup("cart:42")) != job
