"""repid with its Redis Streams server.

Settings: tasks_limit=100; batch_size=100 instead of 10, so that one read fills the slots; claim_interval=5 s, because
at its default (0) nobody takes over the messages of a crashed worker; min_idle_ms 60,000, its default. Acknowledges
after the run; never deletes an entry; has neither delays (on Redis) nor a call for many messages. Source: the docstring
of its RedisServer.
"""

from __future__ import annotations

import peer
from repid import Repid, Router
from repid.connections.redis import RedisServer


def made() -> tuple[Repid, RedisServer]:
    app = Repid()
    server = RedisServer(peer.URL, batch_size=100, claim_interval=5.0)
    app.servers.register_server("redis", server, is_default=True)
    router = Router(channel="bench")
    for name, job in peer.JOBS.items():
        router.actor(name=name)(job)
    app.include_router(router)
    return app, server


class Peer(peer.Peer):
    async def open(self) -> None:
        self.app, server = made()
        await server.connect()

    async def enqueue(self, job: str, number: float, due: float | None = None) -> None:
        if due is not None:
            raise peer.Unsupported("it has no delays on Redis")
        await self.app.send_message_json(
            channel="bench", payload={"number": number, "body": peer.BODY}, headers={"topic": job}
        )

    def work(self) -> None:
        async def work() -> None:
            app, server = made()
            await server.connect()
            await app.run_worker(tasks_limit=peer.CONCURRENCY)

        peer.run(work())


if __name__ == "__main__":
    peer.main(Peer())
