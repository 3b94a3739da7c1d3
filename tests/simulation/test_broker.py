"""The broker in memory: what it does besides answering as a server does (that: test_conformance.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streamq._memory import broker as brokers
from streamq._memory.broker import Broker, UndeclaredKeyError
from streamq._memory.connection import Blocked, Connection, ConnectionGone
from streamq._memory.link import MemoryLink, SyncMemoryLink
from streamq._memory.transport import Transport
from streamq._store.dial import open_link, open_sync_link
from streamq._store.keys import Keys
from streamq._store.link import Command, LinkDown, Reply, ReplyError
from streamq._store.scripts import script
from tests.worker.helpers import until

START = 1_700_000_000_000_000


class Hand:
    """A broker with a clock that is moved by hand."""

    def __init__(self, *, journal: bool = False) -> None:
        self.now = START
        self.broker = Broker(lambda: self.now, journal=journal)
        self.connection = self.broker.connect("hand")

    def __call__(self, *command: bytes | str | int) -> Any:
        return self.connection.execute(command)

    def error(self, *command: bytes | str | int) -> str:
        reply = self(*command)
        assert isinstance(reply, ReplyError), reply
        return reply.text

    def wait(self, seconds: int = 0, *, by: Connection | None = None) -> tuple[Blocked, list[Any]]:
        """Wait at the key "bell"; returns what waits, and where its answers will be."""
        blocked = (by or self.broker.connect("waiter")).execute((b"BLPOP", b"bell", seconds))
        assert isinstance(blocked, Blocked)
        answers: list[Any] = []
        blocked.on_done = answers.append
        return blocked, answers


@pytest.fixture
def hand() -> Hand:
    return Hand(journal=True)


# -- what it does not know, it says ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("GETDEL", "a"), ("SET", "a", "1", "EX", "5"), ("ZADD", "a", "NX", "1", "b"), ("XTRIM", "a", "MINID", "1"),
        ("XADD", "a", "MAXLEN", "1", "*", "f", "v"),
        ("XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "a", "0"),
        ("ZRANGE", "a", "0", "1", "REV"), ("CLIENT", "LIST"), ("XINFO", "STREAM", "a"), ("SELECT", "1"),
        ("HRANDFIELD", "a"), ("CONFIG", "GET", "maxmemory"), ("BLPOP", "a", "b", "1"),
    ],
)  # fmt: skip
def test_what_it_does_not_know_it_refuses_by_name(hand: Hand, command: tuple[str, ...]) -> None:
    assert hand.error(*command).startswith("streamq memory broker: ")


def test_a_command_of_too_few_words_is_refused(hand: Hand) -> None:
    assert hand.error("HGET", "a") == "wrong number of arguments for 'hget' command"


# -- time --------------------------------------------------------------------------------------------------------


def test_keys_expire_by_the_brokers_clock(hand: Hand) -> None:
    hand("SET", "a", "1", "PX", 1000)
    hand.now += 1_000_000
    assert (hand("GET", "a"), hand("PTTL", "a")) == (b"1", 0)
    hand.now += 1_000
    assert (hand("GET", "a"), hand("EXISTS", "a"), hand("PTTL", "a"), hand.broker.dump()) == (None, 0, -2, {})


def test_time_stands_still_for_a_script(hand: Hand) -> None:
    ticks = iter(range(START, START + 100))
    hand.broker.now_us = lambda: next(ticks)
    first, second = hand("EVAL", "return {redis.call('TIME')[2], redis.call('TIME')[2]}", 0)
    assert first == second


def test_entry_ids_rise_though_the_clock_goes_back(hand: Hand) -> None:
    first = hand("XADD", "s", "*", "f", "v")
    hand.now -= 3_600_000_000
    assert hand("XADD", "s", "*", "f", "v") == first.replace(b"-0", b"-1")


# -- waiting -----------------------------------------------------------------------------------------------------


def test_who_waited_longest_is_served_first_and_once(hand: Hand) -> None:
    (_, first), (_, second) = hand.wait(), hand.wait()
    hand("LPUSH", "bell", "1")
    assert (first, second) == ([[b"bell", b"1"]], [])
    hand("LPUSH", "bell", "2", "3")
    assert (first, second) == ([[b"bell", b"1"]], [[b"bell", b"3"]])
    assert hand("LRANGE", "bell", 0, -1) == [b"2"]


def test_a_script_is_over_before_anybody_is_served(hand: Hand) -> None:
    _, answers = hand.wait()
    assert hand("EVAL", "redis.call('LPUSH', KEYS[1], '1') return redis.call('LLEN', KEYS[1])", 1, "bell") == 1
    assert answers == [[b"bell", b"1"]]


def test_nobody_is_served_whose_time_is_over_or_who_went_away(hand: Hand) -> None:
    leaving = hand.broker.connect("leaving")
    (late, said), (gone, unsaid), (_, nothing) = hand.wait(5), hand.wait(), hand.wait(by=leaving)
    assert late.seconds == 5
    late.time_out()
    gone.cancel()
    leaving.close()
    hand("LPUSH", "bell", "1")
    assert (said, unsaid, nothing) == ([None], [], [])
    assert hand("LLEN", "bell") == 1


def test_a_full_list_is_not_waited_for(hand: Hand) -> None:
    hand("LPUSH", "bell", "1")
    assert hand("BLPOP", "bell", 5) == [b"bell", b"1"]
    assert hand("EXISTS", "bell") == 0


def test_a_killed_connection_tells_whom_it_left(hand: Hand) -> None:
    other = hand.broker.connect("other")
    _, answers = hand.wait(by=other)
    assert hand("CLIENT", "KILL", "ID", other.number) == 1
    assert [type(answer) for answer in answers] == [ConnectionGone]
    with pytest.raises(ConnectionGone):
        other.execute(("PING",))
    assert hand("CLIENT", "KILL", "ID", other.number) == 0


# -- subscriptions -----------------------------------------------------------------------------------------------


def test_messages_reach_those_who_subscribed_until_they_close(hand: Hand) -> None:
    heard: list[Reply] = []
    ear = hand.broker.connect("ear")
    ear.on_push = heard.append
    ear.execute(("SSUBSCRIBE", "a"))
    ear.execute(("SSUBSCRIBE", "b"))
    assert hand("SPUBLISH", "a", "one") == 1
    assert hand("EVAL", "return redis.call('SPUBLISH', 'b', 'two')", 0) == 1
    ear.execute(("SUNSUBSCRIBE", "a"))
    assert hand("SPUBLISH", "a", "three") == 0
    ear.close()
    assert hand("SPUBLISH", "b", "four") == 0
    assert heard == [
        [b"ssubscribe", b"a", 1], [b"ssubscribe", b"b", 2], [b"smessage", b"a", b"one"], [b"smessage", b"b", b"two"],
        [b"sunsubscribe", b"a", 1],
    ]  # fmt: skip


# -- scripts -----------------------------------------------------------------------------------------------------


def test_scripts_are_known_by_their_sha_until_they_are_flushed(hand: Hand) -> None:
    one = script("clean")
    call = one.call((b"w", b"wd"), 0, 1)
    assert hand.error(*call) == "No matching script. Please use EVAL."
    assert hand("SCRIPT", "LOAD", one.source) == one.sha
    assert hand(*call) == 0
    assert hand("SCRIPT", "EXISTS", one.sha, "0" * 40) == [1, 0]
    hand("SCRIPT", "FLUSH")
    assert hand.error(*call) == "No matching script. Please use EVAL."


def test_a_script_that_touches_a_key_it_was_not_given_is_a_defect(hand: Hand) -> None:
    for verb in ("call", "pcall"):
        with pytest.raises(UndeclaredKeyError, match=r"HGET.*b"):
            hand("EVAL", f"redis.{verb}('HSET', KEYS[1], 'f', 'v') return redis.{verb}('HGET', 'b', 'f')", 1, "a")
    assert hand("PING") == b"PONG"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("this is no Lua", "Error compiling script"),
        ("return unheard_of", "nonexistent global variable 'unheard_of'"),
        ("made = 1", "readonly table"),
        ("return redis.call('HGET', KEYS[1], {})", "must be strings or integers"),
        ("return redis.call('GETDEL', KEYS[1])", "unknown command 'GETDEL'"),
        ("return redis.call('LLEN', KEYS[1])", "WRONGTYPE"),
        ("return redis.error_reply('SQVERSION 2')", "SQVERSION 2"),
        ("return io", "nonexistent global"),
        ("return python", "nonexistent global"),
    ],
)
def test_a_script_that_fails_answers_why(hand: Hand, source: str, says: str) -> None:
    hand("HSET", "h", "f", "v")
    assert says in hand.error("EVAL", source, 1, "h")


def test_what_a_script_answers_is_cut_as_the_server_cuts_it(hand: Hand) -> None:
    source = "return {1.9, 'text', true, false, {ok = 'FINE'}, {1, nil, 3}, {a = 1}, nil, 9}"
    assert hand("EVAL", source, 0) == [1, b"text", 1, None, b"FINE", [1], []]
    assert hand("EVAL", "local t = {} for n = 1, 9000 do t[n] = n end return t", 0) == [*range(1, 9001)]


def test_without_memory_only_what_frees_some_goes_on(hand: Hand) -> None:
    hand("LPUSH", "l", "1")
    hand.broker.short_of_memory = True
    adds = "redis.call('HSET', KEYS[1], 'f', 'v')"
    reply = hand("HSET", "h", "f", "v")
    assert (reply.code, reply.text) == ("OOM", "command not allowed when used memory > 'maxmemory'.")
    assert "OOM" in repr(hand("EVAL", adds, 1, "h"))
    assert hand("RPOP", "l") == b"1"
    hand("EVAL", "#!lua flags=allow-oom\n" + adds, 1, "h")
    assert hand("HGET", "h", "f") == b"v"


# -- crashes -----------------------------------------------------------------------------------------------------


def test_every_prefix_of_the_journal_leads_to_what_was_there_then(hand: Hand) -> None:
    _, answers = hand.wait()
    steps: list[Command] = [
        ("HSET", "h", "a", "1"), ("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM"), ("XADD", "s", "*", "f", "v"),
        ("XADD", "s", "*", "f", "w"), ("XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "s", ">"),
        ("LPUSH", "bell", "1", "2"), ("SET", "t", "1", "PX", 60_000), ("ZADD", "z", 1, "m"), ("HDEL", "h", "a"),
        ("EVAL", "redis.call('DEL', KEYS[1]) redis.call('LPUSH', KEYS[1], '3')", 1, "bell"), ("HGET", "h", "a"),
        ("FLUSHALL",), ("LPUSH", "bell", "4"),
    ]  # fmt: skip
    states: list[tuple[int, Any]] = []
    for step in steps:
        assert not isinstance(hand(*step), ReplyError), step
        hand.now += 1_000_000
        states.append((len(hand.broker.journal or ()), hand.broker.dump()))
    assert answers == [[b"bell", b"2"]]
    for units, state in reversed(states):
        hand.broker.replay(units)
        assert hand.broker.dump() == state


def test_a_crash_loses_connections_and_scripts_and_what_it_is_told_to(hand: Hand) -> None:
    _, answers = hand.wait()
    run = hand.broker.run_id
    hand("SCRIPT", "LOAD", "return 1")
    hand("EVAL", "redis.call('HSET', KEYS[1], 'a', '1') redis.call('HSET', KEYS[1], 'b', '2')", 1, "h")
    hand("HSET", "h", "c", "3")
    hand("HSET", "h", "d", "4")
    hand.broker.crash(lost=2)
    assert hand.broker.dump()[b"h"][1] == {b"a": b"1", b"b": b"2"}
    assert [type(answer) for answer in answers] == [ConnectionGone]
    assert hand.broker.run_id != run
    with pytest.raises(ConnectionGone):
        hand("PING")
    hand.connection = hand.broker.connect("again")
    assert hand("SCRIPT", "EXISTS", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db") == [0]
    hand.broker.crash(lost=1)
    assert hand.broker.dump() == {}


# -- links -------------------------------------------------------------------------------------------------------


class Deaf(Transport):
    """Commands arrive, replies do not."""

    async def exchange(
        self,
        connection: Connection,
        commands: Sequence[Command],
        timeout: float,  # noqa: ASYNC109 - as it is given
        meanwhile: Callable[[], None] | None,
    ) -> list[Reply]:
        await super().exchange(connection, commands, timeout, meanwhile)
        return list(await asyncio.Queue[Reply]().get())


async def test_a_link_loads_what_the_broker_forgot(hand: Hand) -> None:
    brokers.put("link-1", hand.broker)
    link = open_link("memory://link-1", "test")
    assert isinstance(link, MemoryLink)
    with pytest.raises(LinkDown, match="not connected"):
        await link.call(b"PING")
    await link.connect()
    keys, told = Keys("p", "q"), list[str]()
    calls = [script("clean").call((keys.window, keys.window_details), 0, 1), (b"PING",)]
    assert await link.call_many(calls, meanwhile=lambda: told.append("sent")) == [0, b"PONG"]
    assert told == ["sent"]
    await link.close()
    assert not link.is_up
    assert [one.name for one in hand.broker.connections.values()] == ["hand"]


async def test_a_lost_reply_takes_the_link_down_and_may_have_been_run(hand: Hand) -> None:
    brokers.put("link-2", hand.broker)
    link = open_link("memory://link-2", "test")
    await link.connect()
    hand.broker.transport = Deaf()
    with pytest.raises(LinkDown, match=r"no answer within 0\.01 s") as caught:
        await link.call(b"HSET", b"h", b"f", b"v", timeout=0.01)
    assert caught.value.sent
    assert not link.is_up
    assert hand("HGET", "h", "f") == b"v"


async def test_a_cancelled_wait_is_over_at_the_broker_too(hand: Hand) -> None:
    brokers.put("link-3", hand.broker)
    link = open_link("memory://link-3", "test")
    await link.connect()
    waiting = asyncio.create_task(link.call(b"BLPOP", b"bell", 60))
    await until(lambda: any(one.waits for one in hand.broker.connections.values()))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    hand("LPUSH", "bell", "1")
    assert hand("LLEN", "bell") == 1
    assert not link.is_up


async def test_a_wait_ends_with_its_time_or_its_token(hand: Hand) -> None:
    brokers.put("link-4", hand.broker)
    link = open_link("memory://link-4", "test")
    await link.connect()
    assert await link.call(b"BLPOP", b"bell", b"0.01") is None
    waiting = asyncio.create_task(link.call(b"BLPOP", b"bell", 60))
    await until(lambda: any(one.waits for one in hand.broker.connections.values()))
    await asyncio.to_thread(hand, "LPUSH", "bell", "1")
    assert await waiting == [b"bell", b"1"]


async def test_a_subscription_ends_loudly_when_the_server_does(hand: Hand) -> None:
    brokers.put("link-5", hand.broker)
    link = open_link("memory://link-5", "test")
    await link.connect()
    await link.send(b"SSUBSCRIBE", b"news")
    assert await link.receive() == [b"ssubscribe", b"news", 1]
    hand("SPUBLISH", "news", "one")
    assert await link.receive() == [b"smessage", b"news", b"one"]
    hand.broker.crash()
    with pytest.raises(LinkDown):
        await link.receive()
    assert not link.is_up


def test_a_thread_has_a_link_without_a_loop(hand: Hand) -> None:
    brokers.put("link-6", hand.broker)
    link = open_sync_link("memory://link-6", "keeper", 1.0)
    assert isinstance(link, SyncMemoryLink)
    assert link.call(script("clean").call((b"w", b"wd"), 0, 1)) == 0
    hand.broker.crash()
    with pytest.raises(LinkDown):
        link.call((b"PING",))
    assert link.call((b"PING",)) == b"PONG"
    link.close()
