"""The bell wakes; it delivers nothing. Jobs come from the fetch alone, where the gates are."""

from __future__ import annotations

from tests.faults.scene import Scene, until
from tests.servers import Server


def waits_at_the_bell(scene: Scene) -> bool:
    clients = scene.server.command("CLIENT", "LIST").decode().splitlines()
    return any("name=streamq:bell" in one and "flags=b" in one for one in clients)


def beat(scene: Scene) -> bytes:
    (_, score) = scene.server.command("ZRANGE", scene.keys.beats, 0, 0, "WITHSCORES")
    return bytes(score)


async def test_an_idle_worker_is_handed_nothing_of_a_paused_queue(server: Server, prefix: str) -> None:
    """A worker that waits already when the queue is paused: no job becomes pending, not even for a moment's reading."""
    async with Scene(server, server.url, prefix) as scene:
        async with scene.worker():
            await scene.add(1)
            await scene.settled()
            await until(lambda: waits_at_the_bell(scene), "it waits")
            assert await scene.queue.pause()
            await scene.add(3)
            for _ in range(2):
                last = beat(scene)
                await until(lambda last=last: beat(scene) != last, "it ticked")  # type: ignore[misc]
            assert scene.pending() == {}
            assert scene.entries() == 3
            assert sum(scene.ledger.starts.values()) == 1
            assert await scene.queue.resume()
            await scene.settled()
        scene.check()
        scene.check_runs()
