"""Three workers, killed in turn and restarted, one frozen beyond its lease: every job is accounted for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from streamq import Queue
from streamq.errors import EnqueueTimeout, EnqueueUnknown
from tests.chaos.actor import make_queue
from tests.chaos.checker import Report, check
from tests.chaos.crew import Crew
from tests.faults.scene import Scene, until
from tests.ledger import Ledger
from tests.servers import ServerKind, StartServer

pytestmark = pytest.mark.chaos

LEASE = 3.0
SWEEP = 2.0
NAMES = ("w1", "w2", "w3")


async def produce(queue: Queue, ledger: Ledger, count: int, stem: str) -> None:
    """Enqueue ``count`` jobs of 5 ms, each with an id known before it is sent."""

    async def one(n: int) -> None:
        job_id = f"{stem}-{n}"
        ledger.write("try", job_id)
        try:
            await queue.enqueue("work", {"seconds": 0.005}, job_id=job_id)
        except EnqueueUnknown:
            ledger.write("unknown", job_id)
        except EnqueueTimeout:
            ledger.write("unsent", job_id)
        else:
            ledger.write("ok", job_id)

    for at in range(0, count, 200):
        await asyncio.gather(*(one(n) for n in range(at, min(at + 200, count))))


async def play(kind: ServerKind, start: StartServer, jobs: int, rounds: int) -> Report:
    """Bursts of jobs, and a fault in the middle of each: every worker killed in turn, then one frozen."""
    server = start(kind, aof=True)
    burst = -(-jobs // (rounds * (len(NAMES) + 1)))
    scene = Scene(server, server.url, "chaos", "chaos")
    began = time.monotonic()
    async with make_queue(server.url, "chaos") as queue:
        with Crew(server.url, "chaos", lease=LEASE, concurrency=10) as crew:
            ledger = crew.ledger("producer")
            crew.start(*NAMES)
            for number in range(rounds * 4):
                name = NAMES[number % 4] if number % 4 < 3 else NAMES[number // 4]
                producing = asyncio.create_task(produce(queue, ledger, burst, f"b{number}"))
                await until(lambda name=name: crew.caught(name), f"{name} is in the middle of jobs", every=0.001)  # type: ignore[misc]
                if number % 4 < 3:
                    crew.kill(name)
                    await asyncio.to_thread(crew.start, name)
                else:
                    crew.freeze(name)
                    await until(lambda name=name: not held(scene, crew, name), "others took over")  # type: ignore[misc]
                    crew.thaw(name)
                await producing
            await scene.settled(seconds=30)
            crew.stop()
            lines = crew.lines()
    assert not scene.pending()
    assert not scene.entries()
    assert server.command("ZCARD", scene.keys.delayed) == 0
    report = check(lines, scene.completed(), scene.dead())
    print(f"\n{kind}, {time.monotonic() - began:.1f} s\n{report.table()}")  # noqa: T201 - the point of it
    return report


def held(scene: Scene, crew: Crew, name: str) -> bool:
    """Whether anything is pending for a worker's present process."""
    mine = f"{name}:{crew.pid(name)}:"
    return any(owner.startswith(mine) for owner, _ in scene.pending().values())


def judge(report: Report, jobs: int) -> None:
    assert report.jobs >= jobs
    assert report.unknown == 0
    assert report.lost == []
    assert report.invented == []
    assert report.settled_twice == []
    assert report.unexplained == []
    assert report.dead == []
    assert report.why.total() > 0, "no fault hit a job: the run shows nothing"
    slow = [one for one in report.recoveries if one.seconds > (LEASE + SWEEP) * (1 + one.further) + 1]
    assert slow == []


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Let the table through."""
    yield
    out = capsys.readouterr().out
    with capsys.disabled():
        print(out, end="")  # noqa: T201


@pytest.mark.timeout(60)
async def test_smoke(fresh_server: StartServer, shown: None) -> None:
    report = await play("valkey", fresh_server, 1_000, 1)
    judge(report, 1_000)
    assert report.faults == {"killed": 3, "frozen": 1}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["valkey", "redis7", "redis8"])
async def test_five_thousand_jobs(kind: ServerKind, fresh_server: StartServer, shown: None) -> None:
    report = await play(kind, fresh_server, 5_000, 2)
    judge(report, 5_000)
    assert report.faults == {"killed": 6, "frozen": 2}
