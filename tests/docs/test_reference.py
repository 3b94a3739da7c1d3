"""The generated reference pages are what the generator writes, and the permissions they list are enough."""

import importlib.util
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamq import Arg, Dedup, Priority, Queue, RateLimit, Scheduler, Worker
from streamq._store.deaths import recount
from streamq.errors import JobDead
from tests.servers import KINDS, ServerKind, StartServer

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "tools" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages: dict[str, str] = module.written()
    return pages


def test_committed_pages_are_up_to_date(written: dict[str, str]) -> None:
    stale = [
        name
        for name, text in written.items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text("utf-8") != text
    ]

    assert stale == [], "run: python tools/make_reference.py"


def listed_permissions() -> dict[str, list[str]]:
    page = (REFERENCE / "scripts.md").read_text("utf-8")
    return {role: text.split() for role, text in re.findall(r"\*\*(\w+)\*\* .*?```text\n(.*?)\n```", page, re.DOTALL)}


@pytest.mark.parametrize("kind", KINDS)
async def test_listed_permissions_are_enough(kind: ServerKind, fresh_server: StartServer) -> None:
    server = fresh_server(kind)
    for role, commands in listed_permissions().items():
        # No CLIENT SETINFO before Redis 7.2: the client asks for it and does without.
        known = [one for one in commands if kind != "redis7" or one != "+client|setinfo"]
        server.command("ACL", "SETUSER", role, "on", f">{role}", "resetkeys", "~streamq:*", "&streamq:*", *known)

    def url(role: str) -> str:
        return server.url.replace("unix://", f"unix://{role}:{role}@")

    def declare(role: str) -> Queue:
        return Queue("mail", url=url(role), max_attempts=1)

    producing, working, operating = declare("producer"), declare("worker"), declare("operator")

    @working.handler("send")
    async def send(to: str) -> str:
        if not to:
            raise ValueError("nobody")
        return to

    async with producing, operating, working:
        waiting = await producing.enqueue("send", {"to": "nobody"}, job_id="w", delay=60)
        unlucky = await producing.enqueue("send", {"to": ""})
        async with Worker(working):
            job = await producing.enqueue("send", {"to": "ada"}, priority=Priority.HIGH)
            assert await job.result(timeout=10) == "ada"
            with pytest.raises(JobDead):
                await unlucky.result(timeout=10)
        await operating.pause()
        await operating.resume()
        assert (await operating.counts()).dead == 1
        assert [one.id for one in (await operating.jobs("delayed")).jobs] == [waiting.id]
        for state in ("waiting", "active", "parked", "completed", "dead"):
            await operating.jobs(state)
        assert len(await operating.workers()) <= 1
        assert [one.id async for one in operating.dlq.list()] == [unlucky.id]
        await recount((await operating.stores())[0])
        assert [one.newest_id for one in (await operating.dead_groups()).groups] == [unlucky.id]
        await operating.dlq.replay(unlucky.id)
        handle = await operating.job(unlucky.id)
        assert handle is not None
        await waiting.set_priority(Priority.LOW)
        await handle.set_priority(Priority.LOW)
        await handle.cancel()
        await operating.drain(include_delayed=True)
        await operating.dlq.purge()
        await operating.clean("completed")
        assert (await operating.verify()).sound
        assert (await operating.recover(apply=True)).repairs == []
        await schedule(declare("scheduler"), operating)
        await limit(producing, declare("worker"), operating)

    assert server.command("ACL", "LOG") == []


async def limit(producing: Queue, working: Queue, operating: Queue) -> None:
    @working.handler("narrow", concurrency=1, rate_limit=RateLimit(100))
    async def narrow(n: int) -> int:
        return n

    block = await operating.block(name="narrow", where=Arg("n") == 7, reason="why")
    await operating.limits.set("g:a", concurrency=1, size=10)
    await operating.pause(group="a", reason="why")
    async with working, Worker(working):
        assert await (await narrow.enqueue(3)).result(timeout=10) == 3
        held = await producing.enqueue("narrow", {"n": 7})
        jobs = [await producing.enqueue("narrow", {"n": n}, group="a", dedup=Dedup(f"k{n}")) for n in range(3)]
        assert "paused: why" in str((await operating.explain(jobs[0].id)).gates)
        assert await operating.resume(group="a")
        assert [await job.result(timeout=10) for job in jobs] == [0, 1, 2]
        while not (await operating.blocks())[0].held:
            await operating.ping()
        assert await block.release()
        assert await held.result(timeout=10) == 7
    assert {one.gate for one in await operating.limits.list()} == {"h.narrow", "r.narrow", "g:a"}
    assert await operating.dedup.get("k1") == jobs[1].id
    assert await operating.dedup.release("k1")
    await operating.limits.clear("g:a")


async def schedule(scheduling: Queue, operating: Queue) -> None:
    async with scheduling, Scheduler(scheduling) as scheduler:
        await scheduler.upsert("s", scheduling.spec("send", {"to": "ada"}), at=datetime.now(UTC))
        await scheduler.run(burst=True)
        assert [one.count for one in await Scheduler(operating).list()] == [1]
        await Scheduler(operating).pause("s")
        await Scheduler(operating).remove("s")
