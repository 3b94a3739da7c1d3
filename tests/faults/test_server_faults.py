"""The server is killed, frozen, paused, flushed or forgets its scripts while workers run."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time

import pytest

from streamq import Worker
from streamq.errors import EnqueueUnknown
from tests.faults.scene import Scene, until
from tests.servers import Server, ServerKind, StartServer

KINDS: list[ServerKind] = ["valkey", "redis7", "redis8"]


async def stream(scene: Scene, over: asyncio.Event) -> None:
    """Enqueue one job after another until told to end."""
    n = 0
    while not over.is_set():
        n += 1
        job = await scene.plain.enqueue(n)
        scene.acked.append(job.id)


@pytest.mark.parametrize("kind", KINDS)
async def test_redis_killed_and_restarted_with_its_file(kind: ServerKind, fresh_server: StartServer) -> None:
    """SIGKILL in the middle of everything: workers and producers are back within seconds, by themselves."""
    server = fresh_server(kind, aof=True)
    async with Scene(server, server.url, "p", enqueue_timeout=20) as scene:
        over = asyncio.Event()
        async with scene.worker(lease=15), scene.worker(lease=15):
            slow = await scene.slow.enqueue(2.0)
            scene.acked.append(slow.id)
            producers = [asyncio.create_task(stream(scene, over)) for _ in range(5)]
            recoveries = list[float]()
            for _ in range(2):
                have = len(scene.ledger.effects)
                await until(lambda have=have: len(scene.ledger.effects) > have + 100, "jobs flow")  # type: ignore[misc]
                server.kill()
                await asyncio.sleep(0.3)
                have = len(scene.ledger.effects)
                server.start()
                recoveries.append(
                    await until(lambda have=have: len(scene.ledger.effects) > have + 100, "jobs flow again")  # type: ignore[misc]
                )
            over.set()
            await asyncio.gather(*producers)
            await scene.settled()
        scene.check()
        scene.check_runs(2)
        assert (scene.ledger.starts[slow.id], scene.ledger.effects[slow.id]) == (1, 1), "its run went on meanwhile"
        assert max(recoveries) < 5


async def test_redis_away_longer_than_the_lease(fresh_server: StartServer) -> None:
    """By its own clock the worker has lost its jobs: their handlers are cancelled, and run again when it is back."""
    server = fresh_server(aof=True)
    async with Scene(server, server.url, "p", enqueue_timeout=20) as scene:
        async with scene.worker(lease=2):
            job = await scene.slow.enqueue(4.0)
            scene.acked.append(job.id)
            await until(lambda: scene.ledger.starts[job.id] == 1, "it runs")
            server.kill()
            await until(lambda: scene.ledger.cancelled[job.id] == 1, "cancelled past its lease", seconds=6)
            server.start()
            await scene.settled()
        scene.check()
        assert scene.ledger.effects[job.id] == 1


async def test_stopping_while_redis_is_away(fresh_server: StartServer) -> None:
    """The worker ends within its grace and the flush, and another one finds its jobs."""
    server = fresh_server(aof=True)
    async with Scene(server, server.url, "p") as scene:
        worker = scene.worker(lease=2, grace=0.5)
        async with worker:
            job = await scene.slow.enqueue(0.7)
            scene.acked.append(job.id)
            await until(lambda: scene.ledger.starts[job.id] == 1, "it runs")
            server.kill()
            began = time.monotonic()
        assert time.monotonic() - began < 0.5 + 3 + 2
        server.start()
        async with scene.worker(lease=2):
            await scene.settled()
        scene.check()


async def test_script_flush(fresh_server: StartServer) -> None:
    server = fresh_server()
    async with Scene(server, server.url, "p") as scene:
        over = asyncio.Event()
        async with scene.worker(lease=15):
            producers = [asyncio.create_task(stream(scene, over)) for _ in range(5)]
            for _ in range(30):
                have = len(scene.ledger.effects)
                await until(lambda have=have: len(scene.ledger.effects) > have, "jobs flow")  # type: ignore[misc]
                server.command("SCRIPT", "FLUSH")
            over.set()
            await asyncio.gather(*producers)
            await scene.settled()
        scene.check()
        scene.check_runs()


async def test_client_kill(fresh_server: StartServer) -> None:
    """All connections, ten times: the fence keeps what was in flight from being doubled."""
    server = fresh_server()
    async with Scene(server, server.url, "p") as scene:
        over = asyncio.Event()
        async with scene.worker(lease=15), scene.worker(lease=15):
            producers = [asyncio.create_task(stream(scene, over)) for _ in range(5)]
            for _ in range(10):
                have = len(scene.ledger.effects)
                await until(lambda have=have: len(scene.ledger.effects) > have + 20, "jobs flow")  # type: ignore[misc]
                server.command("CLIENT", "KILL", "TYPE", "normal")
                server.command("CLIENT", "KILL", "TYPE", "pubsub")
            over.set()
            await asyncio.gather(*producers)
            await scene.settled()
        scene.check()
        scene.check_runs()


@pytest.mark.parametrize("mode", ["WRITE", "ALL"])
async def test_client_pause(mode: str, fresh_server: StartServer) -> None:
    server = fresh_server()
    async with Scene(server, server.url, "p") as scene:
        async with scene.worker(lease=15):
            await scene.add(20)
            server.command("CLIENT", "PAUSE", 2000, mode)
            began = time.monotonic()
            await scene.add(20)
            await until(lambda: len(scene.ledger.effects) == 40, "all ran")
            assert time.monotonic() - began < 5
            await scene.settled()
        scene.check()
        scene.check_runs()


async def test_a_frozen_server(fresh_server: StartServer) -> None:
    """SIGSTOP for three seconds: nobody gives up, nobody runs twice."""
    server = fresh_server()
    async with Scene(server, server.url, "p") as scene:
        async with scene.worker(lease=6):
            slow = [await scene.slow.enqueue(2.0) for _ in range(5)]
            scene.acked += [job.id for job in slow]
            await until(lambda: len(scene.ledger.starts) == 5, "they run")
            os.kill(server.pid, signal.SIGSTOP)
            adding = asyncio.create_task(scene.add(20))
            await asyncio.sleep(3.0)
            os.kill(server.pid, signal.SIGCONT)
            await adding
            took = await scene.settled()
        assert took < 5
        scene.check()
        scene.check_runs()
        assert not scene.ledger.cancelled


async def test_flushall(fresh_server: StartServer) -> None:
    """Everything is gone; what runs is told so, and new jobs run."""
    server = fresh_server()
    async with Scene(server, server.url, "p") as scene:
        async with scene.worker(lease=3):
            slow = await scene.slow.enqueue(1.0)
            await scene.add(20)
            await until(lambda: scene.ledger.starts[slow.id] == 1, "it runs")
            for _ in range(3):
                server.command("FLUSHALL")
                scene.acked.clear()
                await scene.add(20)
                await scene.add(5, scene.flaky)
                await scene.settled()
                assert set(scene.completed()) == set(scene.acked)
            await until(lambda: scene.ledger.effects[slow.id] == 1, "it ended")
            await scene.add(3)
            await scene.settled()
        scene.check()


async def test_a_group_made_anew_does_not_begin_again_what_runs(server: Server, prefix: str) -> None:
    """Its entries are delivered once more, under the very same tokens: who runs them goes on."""
    async with Scene(server, server.url, prefix) as scene, scene.worker(lease=3):
        slow = [(await scene.slow.enqueue(0.5)).id for _ in range(3)]
        await until(lambda: all(scene.ledger.starts[job] for job in slow), "they run")
        server.command("XGROUP", "DESTROY", scene.keys.lanes[2], "w")
        new = await scene.add(5)
        await until(lambda: not scene.entries(), "the lanes are empty")
        assert set(slow) | set(new) <= set(scene.completed())
        assert [scene.ledger.starts[job] for job in slow] == [1, 1, 1]


@pytest.mark.parametrize("key", ["meta", "index", "lane", "bell", "bodies", "window", "workers", "group"])
async def test_a_foreign_hand_deletes_a_key(key: str, server: Server, prefix: str) -> None:
    """DEL of any one key: the worker goes on; what was in that key may be gone, the rest is settled."""
    async with Scene(server, server.url, prefix) as scene, scene.worker(lease=3):
        await scene.add(5)
        await scene.settled()
        slow = [await scene.slow.enqueue(0.5) for _ in range(3)]
        await until(lambda: all(scene.ledger.starts[job.id] for job in slow), "they run")
        keys = scene.keys
        if key == "group":
            server.command("XGROUP", "DESTROY", keys.lanes[2], "w")
        else:
            server.command("DEL", keys.lanes[2] if key == "lane" else getattr(keys, key))
        scene.acked.clear()
        ids = await scene.add(5)
        ids += await scene.add(5, scene.flaky)
        await until(lambda: all(scene.ledger.effects[job] for job in ids), "new jobs run")
        await until(lambda: not scene.entries(), "the lanes are empty")
        assert set(ids) <= set(scene.completed())


async def test_a_restart_does_not_make_workers_kill_each_other(
    fresh_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Client ids begin anew at a restart: the old id of our connection may be a neighbour's now."""
    server = fresh_server(aof=True)
    async with Scene(server, server.url, "p") as scene:
        async with scene.worker(), scene.worker(), scene.worker(), scene.worker():
            await scene.add(10)
            await scene.settled()
            server.kill()
            server.start()
            server.command("CONFIG", "RESETSTAT")
            await scene.add(10)
            await scene.settled()

            def restored() -> bool:
                said = [record for record in caplog.records if getattr(record, "event", "") == "redis.restored"]
                return len(said) >= 4

            await until(restored, "four workers are back")
            assert "client|kill" not in server.commandstats()
        scene.check()


async def test_a_long_outage_is_not_taken_for_a_stuck_loop(
    fresh_server: StartServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamq._runtime.keeper.STUCK_AFTER", 1.0)
    server = fresh_server(aof=True)
    async with Scene(server, server.url, "p") as scene:
        async with scene.worker(lease=15):
            slow = await scene.slow.enqueue(4.0)
            scene.acked.append(slow.id)
            await until(lambda: scene.ledger.starts[slow.id] == 1, "it runs")
            keeper = caplog.records
            server.kill()
            await asyncio.sleep(2.5)
            server.start()
            await scene.settled()
            assert "loop_stuck" not in {getattr(record, "event", "") for record in keeper}
        scene.check()


async def test_two_queues_share_the_places_of_a_worker(server: Server, prefix: str) -> None:
    """Jobs that one queue holds ready are started when the other one's jobs end."""
    one = Scene(server, server.url, prefix, "one")
    two = Scene(server, server.url, prefix, "two")
    async with one, two:
        for scene in (one, two):
            jobs = [await scene.slow.enqueue(0.3) for _ in range(30)]
            scene.acked += [job.id for job in jobs]
        async with Worker([one.queue, two.queue], concurrency=10, lease=15):
            await one.settled()
            await two.settled()
        for scene in (one, two):
            scene.check()
            scene.check_runs()


async def test_a_stopping_worker_with_delayed_jobs_due_does_not_spin(server: Server, prefix: str) -> None:
    async with Scene(server, server.url, prefix) as scene:
        worker = scene.worker(grace=2.0)
        async with worker:
            slow = await scene.slow.enqueue(1.2)
            scene.acked.append(slow.id)
            await scene.add(3, delay=0.5)
            await until(lambda: scene.ledger.starts[slow.id] == 1, "it runs")
            worker.stop()
            used = time.process_time()
            await until(lambda: scene.ledger.effects[slow.id] == 1, "it ended")
            used = time.process_time() - used
        assert used < 0.6, f"{used:.2f} s of CPU while waiting for 1.2 s"
        async with scene.worker():
            await scene.settled()
        scene.check()


async def test_redis_away_at_start(fresh_server: StartServer) -> None:
    """A worker waits for its server as long as it is told to."""
    server = fresh_server()
    server.stop()
    async with Scene(server, server.url, "p") as scene:
        worker = scene.worker(wait_for_redis=10)
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(0.3)
        server.start()
        await scene.add(3)
        await scene.settled()
        worker.stop()
        await running
        scene.check()


async def test_a_server_whose_disk_is_full(fresh_server: StartServer) -> None:
    """It refuses writes (MISCONF) until a snapshot succeeds: waited for, no job is run again or charged a stall."""
    server = fresh_server(args=["--save", "3600 1"])
    in_the_way = server.folder / "dump.rdb"
    async with Scene(server, server.url, "p", enqueue_timeout=1.0) as scene:
        async with scene.worker(lease=2):
            slow = [await scene.slow.enqueue(0.5) for _ in range(3)]
            scene.acked += [job.id for job in slow]
            await until(lambda: len(scene.ledger.starts) == 3, "they run")
            (in_the_way / "file").mkdir(parents=True)
            server.command("BGSAVE")
            await until(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err", "the snapshot failed")
            with pytest.raises(EnqueueUnknown) as caught:
                await scene.plain.with_options(job_id="refused").enqueue(1)
            assert "MISCONF" in str(caught.value)
            await until(lambda: len(scene.ledger.effects) == 3, "they ended")
            await asyncio.sleep(2.5)
            assert scene.completed() == {}
            shutil.rmtree(in_the_way)
            server.command("BGSAVE")
            await scene.settled(seconds=6)
        scene.check(unknown=["refused"])
        scene.check_runs()
        assert set(scene.ledger.starts.values()) == {1}


async def test_no_more_connections_allowed(fresh_server: StartServer) -> None:
    """Workers and producers that cannot connect wait for a place, and what is connected goes on."""
    server = fresh_server()
    async with Scene(server, server.url, "p", enqueue_timeout=10) as scene:
        async with scene.worker():
            await scene.add(5)
            await scene.settled()
            server.command("CONFIG", "SET", "maxclients", 3)
            server.command("CLIENT", "KILL", "TYPE", "normal")
            adding = asyncio.create_task(scene.add(20))
            await asyncio.wait([adding], timeout=1)
            server.command("CONFIG", "SET", "maxclients", 1000)
            await adding
            await scene.settled()
        scene.check()
        scene.check_runs()
