"""Which dead letters died of the same; and how far a look at them goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq import Queue, Worker
from streamq._core import fingerprint
from streamq._core.envelope import AttemptError
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
    assert fingerprint.label("h", "E", one) == fingerprint.label("h", "E", other)


def test_handler_type_and_words_make_another_group() -> None:
    keys = {
        fingerprint.key(fingerprint.label(*one))
        for one in [("h", "E", "no"), ("g", "E", "no"), ("h", "F", "no"), ("h", "E", "yes"), ("hE", "", "no")]
    }
    assert len(keys) == 5


@given(st.text())
def test_any_message_has_a_label_of_some_bytes_at_once(message: str) -> None:
    label = fingerprint.label("h", "E", message)
    name, kind, text = fingerprint.parted(label)
    assert (name, kind, len(text) <= 2 * fingerprint.MESSAGE) == ("h", "E", True)
    assert len(fingerprint.key(label)) == 12


@given(st.text(), st.text(), st.text())
def test_a_label_can_be_taken_apart_and_is_no_mark_of_the_server(name: str, kind: str, message: str) -> None:
    label = fingerprint.label(name, kind, message)
    assert fingerprint.label(*fingerprint.parted(label)).count(b"\0") == 2
    assert label not in {fingerprint.OTHER, b"#", b""}
    assert len(label) <= 4 * (2 * fingerprint.PART + 2 * fingerprint.MESSAGE) + 2


def test_a_label_is_made_of_the_last_error_or_of_the_reason() -> None:
    error = AttemptError(3, "OSError", "no answer within 30 s", "", 0, 0)
    assert fingerprint.died_of("send", "attempts exhausted", error) == b"send\0OSError\0no answer within N s"
    assert fingerprint.died_of("send", "deadline passed", None) == b"send\0deadline passed\0"
    assert fingerprint.died_of("?", "undecodable envelope: byte 17", None) == b"?\0undecodable envelope\0byte N"


@pytest.mark.parametrize("hostile", ["'" * 5000, "a@" * 3000, "1," * 4000, "x:" * 4000, "0x" * 4000, "a-" * 4000])
def test_a_hostile_message_takes_no_time(hostile: str) -> None:
    assert len(fingerprint.plain(hostile)) <= 4 * fingerprint.MESSAGE


def death(number: int, message: str = "no answer within 1 s", **fields: str) -> Death:
    label = fingerprint.label("send", "Timeout", message)
    return Death(label, NOW - number * 60_000, f"j{number}", "acme", "w:1", "2.14.0", lambda: fields)


def test_groups_know_the_newest_the_last_day_and_what_is_shared() -> None:
    grouping = Grouping(NOW)
    for number in range(90):
        grouping.add(death(number, f"no answer within {number} s", **{"payload.channel": "sms"}))
    grouping.add(Death(b"send\0Other\0x", NOW - 200_000_000, "old", "", "", "", dict))
    found = grouping.found()
    first, second = found[b"send\0Timeout\0no answer within N s"], found[b"send\0Other\0x"]
    assert (first.newest_ms, first.newest_id, first.shared) == (NOW, "j0", 90)
    assert first.half_hours[-3:] == (30, 30, 30)
    assert sum(first.half_hours) == 90
    assert first.shares.pop("release") == [("2.14.0", 90)]
    assert first.shares == {"tenant": [("acme", 90)], "worker": [("w:1", 90)], "payload.channel": [("sms", 90)]}
    assert (second.newest_id, sum(second.half_hours), second.shares) == ("old", 0, {})


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


async def test_counts_are_exact_however_short_the_look(make_queue: MakeQueue) -> None:
    queue = make_queue()
    await killed(queue, 30)

    found = await queue.dead_groups(most=10)

    assert (found.looked_at, found.total, found.whole, found.exact) == (10, 30, False, True)
    assert [one.count for one in found.groups] == [20, 10]
    assert sum(one.shared for one in found.groups) == 10


async def test_a_group_that_was_not_met_knows_its_newest_while_it_is_dead(make_queue: MakeQueue) -> None:
    queue = make_queue()
    await killed(queue, 30)
    newest = {one.type: one.newest_id for one in (await queue.dead_groups()).groups}
    await queue.dlq.purge(newest["ValueError"])

    found = await queue.dead_groups(most=1)

    met = {one.type: (one.count, one.newest_id, one.shared) for one in found.groups}
    if met["OSError"][2]:
        assert met == {"OSError": (20, newest["OSError"], 1), "ValueError": (9, "", 0)}
    else:
        letters = [one.id async for one in queue.dlq.list()]
        assert met == {"OSError": (20, newest["OSError"], 0), "ValueError": (9, letters[0], 1)}


async def test_letters_of_a_group_are_listed_and_read_no_further_than_its_first(make_queue: MakeQueue) -> None:
    queue = make_queue()
    await killed(queue, 30)
    found = {one.type: one for one in (await queue.dead_groups()).groups}

    listed = [one async for one in queue.dlq.list(group=found["OSError"].key)]

    assert {one.errors[-1].type for one in listed} == {"OSError"}
    assert {one.group for one in listed} == {found["OSError"].key}
    assert len(listed) == 20
    assert (await queue.dlq.replay_all(group=found["ValueError"].key, dry_run=True)).replayed == 10
    assert [one async for one in queue.dlq.list(group="0" * 12)] == []
    letter = await queue.dlq.get(listed[0].id)
    assert letter is not None
    assert letter.group == listed[0].group


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
