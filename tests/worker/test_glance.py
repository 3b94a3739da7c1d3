"""Every queue of a prefix at a glance: what is seen, and what it costs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from streamq import Fixed, JobState, Queue, Worker
from streamq.errors import RedisUnavailable
from streamq.glance import Overlook
from tests.servers import Server, StartServer
from tests.worker.helpers import Gate, MakeQueue, drain, until


@pytest.fixture
async def overlook(server: Server, prefix: str) -> AsyncIterator[Overlook]:
    found = Overlook(server.url, prefix, dead=2)
    yield found
    await found.aclose()


async def test_it_shows_what_the_queues_themselves_say(make_queue: MakeQueue, overlook: Overlook) -> None:
    mail, other = make_queue("mail"), make_queue("other")
    gate = Gate()

    @mail.handler("held", timeout=None)
    async def held() -> None:
        await gate.through("held")

    @mail.handler("boom", max_attempts=1)
    async def boom(number: int) -> None:
        raise ValueError(number)

    dead = await mail.enqueue_many([boom.job(number) for number in range(3)])
    await drain(mail)
    await other.enqueue("x", {}, delay=60)
    job = await held.enqueue()
    async with Worker(mail):
        await until(lambda: gate.started)

        async def told() -> bool:
            return any(one.running for one in (await overlook.look()).queues[0].workers)

        await until(told, "a heartbeat names the job")
        found = await overlook.look()
        assert [one.name for one in found.queues] == ["mail", "other"]
        mailed, waiting = found.queues
        assert (mailed.counts.active, mailed.counts.dead) == (1, 3)
        assert waiting.counts.delayed == 1
        assert [(one.id, one.state) for one in mailed.dead] == [(one.id, JobState.DEAD) for one in dead[:0:-1]]
        assert mailed.dead[0].errors[0].message == "2"
        (me,) = mailed.alive
        assert [(one, handler) for one, handler, _ in me.running] == [(job.id, "held")]
        assert [one.name for one in (await overlook.look(["other"])).queues] == ["other"]
        gate.open()


async def test_a_look_costs_the_same_with_many_jobs(fresh_server: StartServer, prefix: str) -> None:
    server = fresh_server("valkey")
    async with Queue("q", url=server.url, prefix=prefix, backoff=Fixed(0)) as queue:
        overlook = Overlook(server.url, prefix)
        costs: list[dict[str, int]] = []
        for _ in range(2):
            await queue.enqueue_many([queue.spec("x", {"n": number}) for number in range(2000)])
            await overlook.look()
            server.command("CONFIG", "RESETSTAT")
            await overlook.look()
            costs.append(server.commandstats())
        await overlook.aclose()
    assert costs[0]["evalsha"] == costs[1]["evalsha"] == 1
    assert sum(costs[0].values()) == sum(costs[1].values()) < 40, costs


async def test_it_says_when_the_server_is_away_and_comes_back(fresh_server: StartServer, prefix: str) -> None:
    server = fresh_server("valkey", aof=True)
    async with Queue("q", url=server.url, prefix=prefix) as queue:
        await queue.enqueue("x")
        overlook = Overlook(server.url, prefix)
        assert (await overlook.look()).server.startswith("Valkey ")
        server.kill()
        with pytest.raises(RedisUnavailable):
            await overlook.look()
        server.start()
        assert (await overlook.look()).queues[0].counts.waiting == 1
        await overlook.aclose()
