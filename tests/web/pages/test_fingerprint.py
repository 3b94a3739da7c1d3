"""Which dead letters died of the same; and how far a look at them goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq import Queue, Worker
from streamq._core import fingerprint
from streamq._core.fingerprint import Death, Grouping
from tests.worker.helpers import MakeQueue, until

NOW = 1_763_554_160_000


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no answer within 30 s", "no answer within 1.5 s"),
        ("550 <ann@example.com> user unknown", "550 <bob.b+x@mail.example.org> user unknown"),
        ("order 8f14e45f-ceea-467f-a8f3-1a2b3c4d5e6f is gone", "order 019a9c4e7d217c4e9b1a5f0e2d8c41f9 is gone"),
        ("no row for 'ann'", "no row for 'bob'"),
        ("GET https://a.example/x?y=1 failed", "GET http://b.example:8080/ failed"),
        ("at 2026-11-19T14:09:31Z from 10.0.0.1", "at 2025-01-01 00:00:00+02:00 from 192.168.1.77"),
        ("object at 0x7f3a", "object at 0xdeadbeef"),
    ],
)
def test_what_varies_makes_no_other_group(one: str, other: str) -> None:
    assert fingerprint.key("h", "E", one) == fingerprint.key("h", "E", other)


def test_handler_type_and_words_make_another_group() -> None:
    keys = {
        fingerprint.key(*one)
        for one in [("h", "E", "no"), ("g", "E", "no"), ("h", "F", "no"), ("h", "E", "yes"), ("hE", "", "no")]
    }
    assert len(keys) == 5


@given(st.text())
def test_any_message_has_a_key_at_once(message: str) -> None:
    assert len(fingerprint.key("h", "E", message)) == 12


@pytest.mark.parametrize("hostile", ["'" * 5000, "a@" * 3000, "1," * 4000, "x:" * 4000, "0x" * 4000, "a-" * 4000])
def test_a_hostile_message_takes_no_time(hostile: str) -> None:
    assert len(fingerprint.plain(hostile)) <= 4 * fingerprint.MESSAGE


def death(number: int, message: str = "no answer within 1 s", **fields: str) -> Death:
    return Death("send", "Timeout", message, NOW - number * 60_000, f"j{number}", "acme", "w:1", lambda: fields)


def test_groups_know_count_first_newest_and_the_last_day() -> None:
    grouping = Grouping(NOW)
    for number in range(90):
        grouping.add(death(number, f"no answer within {number} s", **{"payload.channel": "sms"}))
    grouping.add(Death("send", "Other", "x", NOW - 200_000_000, "old", "", "", dict))
    first, second = grouping.found()
    assert (first.count, first.newest_id, first.newest_ms - first.first_ms) == (90, "j0", 89 * 60_000)
    assert first.message == "no answer within N s"
    assert first.half_hours[-3:] == (30, 30, 30)
    assert sum(first.half_hours) == 90
    assert first.shares == {"tenant": [("acme", 90)], "worker": [("w:1", 90)], "payload.channel": [("sms", 90)]}
    assert (second.count, sum(second.half_hours), second.shares) == (1, 0, {})


# -- on a server ------------------------------------------------------------------------------------


async def killed(queue: Queue, many: int) -> None:
    """Make so many dead letters, of two errors."""

    @queue.handler("send", max_attempts=1)
    async def send(number: int, channel: str) -> None:
        raise OSError(f"no answer within {number} s") if number % 3 else ValueError(channel)

    async with Worker(queue):
        await queue.enqueue_many([send.job(number, "sms") for number in range(many)])
        await until(lambda: counted(queue, many))


async def counted(queue: Queue, many: int) -> bool:
    return (await queue.counts()).dead == many


async def test_a_queue_tells_its_dead_letters_by_error(make_queue: MakeQueue) -> None:
    queue = make_queue()
    await killed(queue, 30)

    found = await queue.dead_groups()

    assert (found.looked_at, found.total, found.whole) == (30, 30, True)
    assert [(one.type, one.message, one.count) for one in found.groups] == [
        ("OSError", "no answer within N s", 20),
        ("ValueError", "sms", 10),
    ]
    assert found.groups[0].shares["payload.channel"] == [("sms", 20)]


async def test_a_look_that_does_not_come_to_the_end_says_so(make_queue: MakeQueue) -> None:
    queue = make_queue()
    await killed(queue, 30)

    found = await queue.dead_groups(most=10)

    assert (found.looked_at, found.total, found.whole) == (10, 30, False)
    assert sum(one.count for one in found.groups) == 10


async def test_one_group_is_replayed_and_what_died_later_is_left_alone(make_queue: MakeQueue) -> None:
    queue = make_queue()
    await killed(queue, 30)
    found = await queue.dead_groups()
    first = found.groups[0]

    steps = [step async for step in queue.dlq.replay_each(group=first.key, until=found.as_of, step=7)]

    assert [step.replayed for step in steps] == [7, 7, 6]
    counts = await queue.counts()
    assert (counts.waiting, counts.dead) == (20, 10)
    async with Worker(queue):
        await until(lambda: counted(queue, 30))
    later = [step async for step in queue.dlq.replay_each(group=first.key, until=found.as_of)]
    assert later == []


async def test_one_group_is_purged(make_queue: MakeQueue) -> None:
    queue = make_queue()
    await killed(queue, 30)
    found = await queue.dead_groups()

    gone = [number async for number in queue.dlq.purge_each(group=found.groups[1].key, until=found.as_of)]

    assert gone == [10]
    left = await queue.dead_groups()
    assert [(one.type, one.count) for one in left.groups] == [("OSError", 20)]
