"""What handlers need: opened once per worker by a lifespan, handed to each attempt by ``Depends``."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import closing

from streamq import Context, Depends, Queue, Worker, current_context

# Without a URL in the environment, streamq starts the server it brings along for development.
os.environ.setdefault("STREAMQ_ENV", "development")

queue = Queue("dependencies")


@queue.lifespan
async def database() -> AsyncGenerator[sqlite3.Connection, None]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE visits (page TEXT)")
        print("the worker opens the database")
        yield connection  # this is ctx.state
    print("the worker has closed the database")


def transaction() -> Iterator[sqlite3.Cursor]:
    cursor = current_context().state.cursor()
    cursor.execute("BEGIN")
    try:
        yield cursor
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
    cursor.execute("COMMIT")


@queue.middleware
async def announce(ctx: Context, call_next: Callable[[Context], Awaitable[int]]) -> int:
    visits = await call_next(ctx)
    print(f"  {ctx.name} attempt {ctx.attempt}: {visits} visits")
    return visits


@queue.handler("count")
async def count(page: str, cursor: sqlite3.Cursor = Depends(transaction)) -> int:
    cursor.execute("INSERT INTO visits VALUES (?)", (page,))
    return int(cursor.execute("SELECT count(*) FROM visits WHERE page = ?", (page,)).fetchone()[0])


async def main() -> None:
    async with queue, Worker(queue, concurrency=1):
        jobs = [await count.enqueue(page) for page in ("home", "about", "home")]
        print("results:", [await job.result(timeout=10) for job in jobs])


asyncio.run(main())
