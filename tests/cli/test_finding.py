"""Jobs are found by the same filters in the API and on the command line; completion, dashboards, hostile names."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streamq import Arg, Fixed, JobInfo, JobState, Priority, Queue, Worker
from streamq._cli.main import cli
from streamq.errors import ConfigError
from streamq.search import JobFilter, check
from tests.cli.shell import Shell
from tests.servers import Server


@pytest.fixture
async def queue(server: Server, prefix: str) -> AsyncIterator[Queue]:
    async with Queue("demo", url=server.url, prefix=prefix, backoff=Fixed(0)) as found:
        yield found


@pytest.fixture
async def dead(queue: Queue) -> list[str]:
    """Ids of twelve dead jobs: of two tenants, lanes and errors."""

    @queue.handler("send")
    async def send(number: int, country: str) -> None:
        if number % 2:
            raise ConnectionError("provider is away")
        raise ValueError(f"bad number {number}")

    jobs = [
        send.with_options(
            tenant=f"t{number % 3}",
            priority=Priority.HIGH if number % 4 == 0 else Priority.NORMAL,
            max_attempts=1 + number % 2,
        ).job(number, "GR" if number < 6 else "CY")
        for number in range(12)
    ]
    found = await queue.enqueue_many(jobs)
    await Worker(queue).run(burst=True)
    return [job.id for job in found]


def numbers(dead: list[str], found: Any) -> list[int]:
    ids: list[str] = [getattr(one, "id", None) or one["id"] for one in found]
    return sorted(dead.index(one) for one in ids)


EVERYTHING = list(range(12))


async def test_filters_of_the_api(queue: Queue, dead: list[str]) -> None:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    cases: list[tuple[JobFilter, list[int]]] = [
        ({}, EVERYTHING),
        ({"name": "send"}, EVERYTHING),
        ({"name": "sen"}, []),
        ({"tenant": "t1"}, [1, 4, 7, 10]),
        ({"id": dead[3]}, [3]),
        ({"id": dead[3][-12:]}, [3]),
        ({"error": "provider is away"}, [1, 3, 5, 7, 9, 11]),
        ({"error": "ValueError"}, [0, 2, 4, 6, 8, 10]),
        ({"error": "attempts exhausted", "tenant": "t0"}, [0, 3, 6, 9]),
        ({"text": "BAD NUMBER 4"}, [4]),
        ({"text": "t2"}, [2, 5, 8, 11]),
        ({"priority": Priority.HIGH}, [0, 4, 8]),
        ({"attempts": 2}, [1, 3, 5, 7, 9, 11]),
        ({"since": 3600}, EVERYTHING),
        ({"since": hour_ago, "until": timedelta(0)}, EVERYTHING),
        ({"until": hour_ago}, []),
        ({"worker": "nobody"}, []),
        ({"where": Arg("country") == "CY"}, [6, 7, 8, 9, 10, 11]),
        ({"where": Arg("number") < 3, "tenant": "t1"}, [1]),
        ({"name": None, "tenant": None}, EVERYTHING),
    ]
    for wanted, expected in cases:
        page = await queue.jobs("dead", limit=100, **wanted)
        assert numbers(dead, page.jobs) == expected, wanted


async def test_a_filtered_page_goes_on_right_behind_its_last_job(queue: Queue, dead: list[str]) -> None:
    found: list[JobInfo] = []
    cursor = ""
    for _ in range(4):
        page = await queue.jobs("dead", tenant="t1", limit=1, cursor=cursor)
        found += page.jobs
        cursor = page.cursor
        assert len(page.jobs) == 1
    assert numbers(dead, found) == [1, 4, 7, 10]
    assert cursor == ""


async def test_a_selective_page_costs_a_handful_of_reads(queue: Queue, server: Server) -> None:
    specs = [queue.spec("x", {"n": number}, tenant="rare" if number == 1999 else "usual") for number in range(2000)]
    await queue.enqueue_many(specs)
    before = sum(server.commandstats().values())
    page = await queue.jobs("waiting", tenant="rare", limit=1)
    assert [job.args for job in page.jobs] == [{"n": 1999}]
    assert page.looked_at == 2000
    assert sum(server.commandstats().values()) - before < 40


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"handler": "x"}, "is no filter"),
        ({"tenant": 5}, "give text"),
        ({"priority": 1}, "use Priority"),
        ({"attempts": -1}, "whole number"),
        ({"since": datetime(2026, 1, 1)}, "is naive"),  # noqa: DTZ001 - refused
        ({"where": "country"}, "is stored in Redis"),
    ],
)
def test_filters_are_checked(given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(given)


async def streamq(queue: Queue, *words: str, code: int = 0) -> str:
    """Run a command in this process, and return what it prints."""
    environ = {"STREAMQ_URL": (await queue.stores())[0].url, "STREAMQ_PREFIX": queue.prefix}
    done = await asyncio.to_thread(CliRunner().invoke, cli, words, env=environ)
    assert done.exit_code == code, (words, done.output)
    return done.output


async def test_the_command_line_has_the_same(queue: Queue, dead: list[str]) -> None:
    cases: list[tuple[tuple[str, ...], list[int]]] = [
        (("--tenant", "t1"), [1, 4, 7, 10]),
        (("--id", dead[3][-12:]), [3]),
        (("--error", "provider"), [1, 3, 5, 7, 9, 11]),
        (("--search", "bad NUMBER 4"), [4]),
        (("--priority", "high"), [0, 4, 8]),
        (("--attempts", "2", "--tenant", "t0"), [3, 9]),
        (("--since", "1h"), EVERYTHING),
        (("--until", "2020-01-01T00:00:00Z"), []),
        (("--worker", "nobody"), []),
        (("--where", 'country == "CY" and number > 9'), [10, 11]),
    ]
    for words, expected in cases:
        found = json.loads(await streamq(queue, "jobs", "list", "--state", "dead", "--json", *words))
        assert numbers(dead, found["jobs"]) == expected, words
    bulk = ("jobs", "retry", "--all", "--state", "dead", "--error", "provider", "--dry-run", "--json")
    assert json.loads(await streamq(queue, *bulk)) == {"matched": 6, "dry_run": True}
    assert "'urgent' is no priority" in await streamq(queue, "jobs", "list", "--priority", "urgent", code=2)
    assert "write ==" in await streamq(queue, "jobs", "list", "--where", "country = 1", code=2)
    assert "no job matches" in await streamq(queue, "jobs", "list", "--search", "nothing of that kind")


async def test_hostile_text_reaches_no_terminal(queue: Queue) -> None:
    evil = "\x1b]0;owned\x07\x1b[2Jred"

    @queue.handler("evil", max_attempts=1)
    async def raising(text: str) -> None:
        raise ValueError(text)

    job = await raising.with_options(headers={"x-request-id": evil}).enqueue(evil)
    await Worker(queue).run(burst=True)
    assert await job.state() is JobState.DEAD
    for words in (("jobs", "list"), ("jobs", "show", job.id, "--payload"), ("dlq", "list"), ("dlq", "show", job.id)):
        printed = await streamq(queue, *words)
        assert "owned" in printed
        assert "\x1b" not in printed
        assert "\x07" not in printed


# -- completion -------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(bare: Shell, which: str) -> None:
    done = bare.run("completion", which)
    assert f"_STREAMQ_COMPLETE={which}_complete" in done.stdout
    assert "streamq" in done.stdout


def completed(shell: Shell, *words: str) -> list[str]:
    """What bash is offered for the last of these words."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "streamq"],
        env={
            **shell.env,
            "_STREAMQ_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("streamq", *words)),
            "COMP_CWORD": str(len(words)),
        },
        cwd=shell.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_options_queues_and_handlers_are_completed(shell: Shell) -> None:
    shell.env["STREAMQ_COMPLETION_BUDGET"] = "20"  # this machine may be busy
    for name in ("delivery", "events"):
        shell.run("send", "x", "--queue", name)
    assert completed(shell, "gra") == ["grafana"]
    assert {"list", "show", "retry"} <= set(completed(shell, "jobs", ""))
    assert "--tenant" in completed(shell, "jobs", "list", "--te")
    assert completed(shell, "jobs", "list", "--queue", "") == ["delivery", "events"]
    assert completed(shell, "pause", "deli") == ["delivery"]
    shell.worker("app:queue")
    assert completed(shell, "jobs", "list", "--name", "ma") == ["math:add"]


def test_completion_is_silent_and_quick_when_there_is_no_server(bare: Shell) -> None:
    assert completed(bare, "pause", "deli") == []
    bare.env["STREAMQ_URL"] = "redis://192.0.2.1:6379/0"  # an address nobody has: nothing ever answers
    assert completed(bare, "pause", "deli") == []


# -- grafana ----------------------------------------------------------------------------------------


def test_the_shipped_dashboards_are_listed_printed_and_written(bare: Shell) -> None:
    listed = bare.json("grafana")["files"]
    names = [one["name"] for one in listed]
    assert any(name.endswith(".json") for name in names)
    assert any(name.endswith((".yml", ".yaml")) for name in names)
    dashboard = next(name for name in names if name.endswith(".json"))
    assert json.loads(bare.run("grafana", dashboard).stdout)["title"]
    written = bare.json("grafana", "--directory", "out")["written"]
    assert sorted(Path(one).name for one in written) == sorted(names)
    bare.run("grafana", "--directory", "out")
    changed = bare.folder / "out" / dashboard
    changed.write_text("{}")
    assert "differs; nothing was written" in bare.run("grafana", "-d", "out", code=1).stderr
    assert changed.read_text() == "{}"
    bare.run("grafana", dashboard, "-d", "out", "--force")
    assert json.loads(changed.read_text())["title"]
    assert "there is no 'nope'" in bare.run("grafana", "nope", code=2).stderr


# -- everything at once -----------------------------------------------------------------------------


def test_every_queue_is_paused_and_resumed(shell: Shell) -> None:
    for name in ("a", "b"):
        shell.run("send", "x", "--queue", name)
    assert shell.json("pause", "--all", "--reason", "incident") == {
        "queues": [{"queue": "a", "changed": True}, {"queue": "b", "changed": True}]
    }
    assert [one["pause_reason"] for one in shell.json("queues")["queues"]] == ["incident"] * 2
    assert shell.run("pause", "--all").stdout == "a is paused already\nb is paused already\n"
    assert [one["pause_reason"] for one in shell.json("queues")["queues"]] == ["incident"] * 2
    assert shell.run("resume", "--all").stdout == "a resumed\nb resumed\n"
    assert not any(one["paused"] for one in shell.json("queues")["queues"])
