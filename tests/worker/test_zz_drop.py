from datetime import timedelta
from streamq import CircuitBreaker, Queue, RateLimit, Worker
from tests.worker.helpers import until
from tests.worker.conftest import *
async def in_line_of(breaker, queue, count):
    return (await breaker.state(queue)).waiting == count

async def test_drop(queue: Queue) -> None:
    breaker = CircuitBreaker("provider", failures=1)
    queue.use(breaker)
    @queue.handler("send", rate_limit=RateLimit(3, per=timedelta(days=1)), rate_key="contact", on_limit="drop")
    async def send(contact: str) -> None: ...
    await breaker.open(queue, for_=60)
    jobs = [await send.enqueue("c_1") for _ in range(3)]
    async with Worker(queue):
        await until(lambda: in_line_of(breaker, queue, 3), seconds=3)
        await asyncio.sleep(1)
        print([str(await queue.explain(j.id)) for j in jobs])
        await breaker.close(queue)
        await asyncio.gather(*[job.result(timeout=10) for job in jobs])
import asyncio
