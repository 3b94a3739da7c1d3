"""The first questions on a new connection get no answer: callers have time for another try."""

from __future__ import annotations

import pytest

from streamq import Queue
from tests.proxy import Fault, Proxy
from tests.servers import Server


@pytest.mark.parametrize("question", ["INFO", "TIME", "SADD"])
async def test_a_producer_whose_first_connection_is_silent_enqueues_all_the_same(
    question: str, server: Server, prefix: str
) -> None:
    async with Proxy(server.socket) as proxy:
        silent = proxy.rule(question, Fault.MUTE_REPLY)
        queue = Queue("q", url=proxy.url, prefix=prefix, enqueue_timeout=6)
        job = await queue.enqueue("work", {})
        assert silent.hits == 1
        assert await queue.job(job.id) is not None
        await queue.aclose()


@pytest.mark.parametrize("question", ["INFO", "TIME"])
async def test_a_rare_call_whose_first_connection_is_silent_is_answered(
    question: str, server: Server, prefix: str
) -> None:
    async with Proxy(server.socket) as proxy:
        silent = proxy.rule(question, Fault.MUTE_REPLY)
        queue = Queue("q", url=proxy.url, prefix=prefix)
        assert (await queue.counts()).waiting == 0
        assert silent.hits == 1
        await queue.aclose()
