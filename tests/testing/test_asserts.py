"""What is enqueued, and messages that say what is there instead."""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import ANY

import msgspec
import pytest

from streamq import Priority, Queue
from streamq.errors import ConfigError
from streamq.testing import (
    Clock,
    MemoryQueues,
    assert_enqueued,
    assert_not_enqueued,
    enqueued,
    freeze,
    run_until_idle,
)
from tests.servers import Server

NOON = datetime(2031, 3, 4, 12, tzinfo=UTC)


class Channel(enum.Enum):
    """How to reach somebody."""

    MAIL = "mail"


class Contact(msgspec.Struct):
    """Whom to reach."""

    id: str
    channel: Channel


@pytest.fixture
def queue(memory_queue: MemoryQueues) -> Queue:
    made = memory_queue("delivery")

    @made.handler("delivery:send")
    async def send(contact_id: str, text: str = "hello") -> None: ...

    @made.handler("delivery:sync")
    async def sync(contact: Contact) -> None: ...

    return made


async def said_by(queue: Queue, *args: Any, **options: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        await assert_enqueued(queue, *args, **options)
    return str(caught.value)


async def test_a_job_is_found_by_name_and_some_arguments(queue: Queue) -> None:
    job = await queue.enqueue("delivery:send", {"contact_id": "c_1", "text": "hi"})
    found = await assert_enqueued(queue, "delivery:send", contact_id="c_1")
    assert [one.id for one in found] == [job.id]
    await assert_enqueued(queue, "delivery:send")
    await assert_enqueued(queue, "delivery:send", contact_id="c_1", text="hi", count=1)
    await assert_enqueued(queue, "delivery:send", {"text": ANY}, contact_id=ANY)


async def test_a_handler_names_itself_and_values_travel(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()

    @queue.handler("sync")
    async def sync(contact: Contact, since: datetime) -> None: ...

    await sync.enqueue(Contact("c_1", Channel.MAIL), NOON)
    await assert_enqueued(queue, sync, contact=Contact("c_1", Channel.MAIL), since=NOON)
    await assert_enqueued(queue, sync, contact={"id": "c_1", "channel": "mail"})
    assert [one.args for one in await enqueued(queue, sync)] == [
        {"contact": {"id": "c_1", "channel": "mail"}, "since": ANY}
    ]


async def test_the_message_lists_what_is_there_closest_first(queue: Queue) -> None:
    await queue.enqueue("delivery:sync", {"contact": {"id": "c_9", "channel": "mail"}})
    await queue.enqueue("delivery:send", {"contact_id": "c_2", "text": "hi"})
    await queue.enqueue("delivery:send", {"contact_id": "c_1", "text": "bye"})
    lines = (await said_by(queue, "delivery:send", contact_id="c_1", text="hi", size=1)).splitlines()
    assert lines[0] == (
        "no job 'delivery:send' with contact_id='c_1', text='hi', size=1 in queue 'delivery'; closest first, there are:"
    )
    assert lines[1:] == [
        "  delivery:send(contact_id='c_2', text='hi') waiting: contact_id='c_2', has no size",
        "  delivery:send(contact_id='c_1', text='bye') waiting: text='bye', has no size",
        "  delivery:sync(contact={'id': 'c_9', 'channel': 'mail'}) waiting: is 'delivery:sync'",
    ]


async def test_a_long_list_is_cut(queue: Queue) -> None:
    for n in range(8):
        await queue.enqueue("delivery:send", {"contact_id": str(n)})
    lines = (await said_by(queue, "delivery:send", contact_id="c_1")).splitlines()
    assert len(lines) == 7
    assert lines[-1] == "  and 3 more"


async def test_an_empty_queue_says_so(queue: Queue) -> None:
    assert await said_by(queue, "delivery:send") == (
        "no job 'delivery:send' in queue 'delivery'; nothing is enqueued there"
    )


async def test_the_count_must_be_exact(queue: Queue) -> None:
    for _ in range(2):
        await queue.enqueue("delivery:send", {"contact_id": "c_1"})
    await assert_enqueued(queue, "delivery:send", contact_id="c_1", count=2)
    await assert_enqueued(queue, "delivery:send", contact_id="c_2", count=0)
    assert (await said_by(queue, "delivery:send", count=3)).startswith(
        "2 jobs 'delivery:send' in queue 'delivery', not 3"
    )


async def test_when_it_is_due(memory_queue: MemoryQueues) -> None:
    clock = freeze(NOON)
    async with MemoryQueues(clock=clock) as memory:
        queue = memory()
        await queue.enqueue("remind", delay=timedelta(days=1))
        await assert_enqueued(queue, "remind", delay=86_400)
        await assert_enqueued(queue, "remind", at=NOON + timedelta(days=1), within=0)
        await assert_enqueued(queue, "remind", delay=86_300, within=100)
        said = await said_by(queue, "remind", delay=86_300)
        assert "due at 2031-03-05T11:58:20.000+00:00" in said
        assert "remind() delayed: due at 2031-03-05T12:00:00.000+00:00" in said
        await queue.enqueue("now")
        assert "is not delayed" in await said_by(queue, "now", at=NOON)
        with pytest.raises(ConfigError, match="give one of them"):
            await assert_enqueued(queue, "remind", delay=1, at=NOON)


async def test_its_priority(queue: Queue) -> None:
    await queue.enqueue("delivery:send", {"contact_id": "c_1"}, priority=Priority.HIGH)
    await assert_enqueued(queue, "delivery:send", priority=Priority.HIGH)
    assert "priority HIGH" in await said_by(queue, "delivery:send", priority=Priority.LOW)


async def test_arguments_called_like_options_go_into_the_mapping(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()
    await queue.enqueue("repeat", {"count": 3, "delay": 5})
    await assert_enqueued(queue, "repeat", {"count": 3, "delay": 5}, count=1)
    assert "count=3" in await said_by(queue, "repeat", {"count": 4})


async def test_nothing_is_enqueued(queue: Queue) -> None:
    await assert_not_enqueued(queue)
    await queue.enqueue("delivery:send", {"contact_id": "c_1"})
    await assert_not_enqueued(queue, "delivery:sync")
    await assert_not_enqueued(queue, "delivery:send", contact_id="c_2")
    with pytest.raises(AssertionError) as caught:
        await assert_not_enqueued(queue, "delivery:send", contact_id="c_1")
    assert str(caught.value) == "enqueued in queue 'delivery':\n  delivery:send(contact_id='c_1') waiting"
    with pytest.raises(AssertionError, match="c_1"):
        await assert_not_enqueued(queue)


async def test_only_jobs_that_have_not_ended_count(queue: Queue, memory_queue: MemoryQueues) -> None:
    await queue.enqueue("delivery:send", {"contact_id": "c_1"})
    await run_until_idle(queue)
    await assert_not_enqueued(queue)
    await memory_queue("delivery").enqueue("nobody.knows.it")
    await run_until_idle(queue)
    assert [str(one.state) for one in await enqueued(queue)] == ["parked"]


async def test_many_jobs_are_paged(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()
    await queue.enqueue_many([queue.spec("work", {"n": n}) for n in range(700)])
    await queue.enqueue_many([queue.spec("later", {"n": n}, delay=60) for n in range(600)])
    assert len(await enqueued(queue)) == 1300
    assert [one.args for one in await enqueued(queue, "work")] == [{"n": n} for n in range(700)]
    await assert_enqueued(queue, "later", n=599)


async def test_it_works_on_a_server(server: Server, prefix: str, streamq_clock: Clock) -> None:
    del streamq_clock
    async with Queue("q", url=server.url, prefix=prefix) as queue:
        await queue.enqueue("work", {"n": 1}, delay=60)
        await assert_enqueued(queue, "work", n=1, delay=60, within=10)
        await assert_not_enqueued(queue, "work", n=2)
