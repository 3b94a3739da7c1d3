"""Wrong input, wrong servers, foreign keys, garbage: refused with a message to act on, and the worker survives."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from streamq import Context, Exponential, Fixed, Keep, Linear, Priority, Queue, StreamqError, Worker
from streamq._core import envelope as wire
from streamq.errors import (
    ConfigError,
    InvalidPayload,
    PayloadTooLarge,
    RedisUnavailable,
    ServerUnfit,
    UnknownHandler,
    VersionMismatch,
)
from tests.faults.scene import Scene, until
from tests.servers import Server, StartServer

NOWHERE = "unix:///nonexistent/streamq.sock"


# -- options ------------------------------------------------------------------------------------------

Bad = tuple[str, Callable[[Any], object], list[str]]


def declared() -> Any:
    """A handler that is never run; nothing here may connect."""
    queue = Queue("q", url=NOWHERE)

    @queue.handler("mail")
    async def mail(to: str, copies: int = 1) -> None:
        """Nothing."""

    return mail


def job_option(**options: Any) -> Callable[[Any], object]:
    return lambda mail: mail.with_options(**options)


def queue_option(**options: Any) -> Callable[[Any], object]:
    return lambda _: Queue("q", **options)


def queue_name(name: Any) -> Callable[[Any], object]:
    return lambda _: Queue(name)


def worker_option(**options: Any) -> Callable[[Any], object]:
    return lambda mail: Worker(mail._sender, **options)


NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001 - the mistake itself
AWARE = datetime(2030, 1, 1, tzinfo=UTC)

OPTIONS: list[Bad] = [
    ("a naive at", job_option(at=NAIVE), ["at=", "naive", "replace(tzinfo=UTC)"]),
    ("a naive deadline", job_option(deadline=NAIVE), ["deadline=", "naive", "tzinfo"]),
    ("at as a number", job_option(at=1_900_000_000), ["at=", "aware datetime"]),
    ("a negative delay", job_option(delay=-1), ["delay=-1", "at least 0"]),
    ("a negative timedelta", job_option(delay=timedelta(seconds=-5)), ["delay=", "at least 0"]),
    ("delay that is no number", job_option(delay="5"), ["delay='5'", "seconds as a number, or a timedelta"]),
    ("delay that is not a number", job_option(delay=float("nan")), ["delay=nan", "at least 0"]),
    ("an endless delay", job_option(delay=float("inf")), ["delay=inf", "ten years", "seconds, not milliseconds"]),
    ("milliseconds for seconds", job_option(delay=1_900_000_000_000), ["delay=", "not milliseconds"]),
    ("delay with at", job_option(delay=1, at=AWARE), ["at=", "delay= or at=, not both"]),
    ("a number for a priority", job_option(priority=1), ["priority=1", "Priority.CRITICAL"]),
    ("a text for a priority", job_option(priority="high"), ["priority='high'", "HIGH"]),
    ("no attempts", job_option(max_attempts=0), ["max_attempts=0", "1 to 10,000"]),
    ("half an attempt", job_option(max_attempts=1.5), ["max_attempts=1.5", "whole number"]),
    ("a flag for attempts", job_option(max_attempts=True), ["max_attempts=True", "whole number"]),
    ("a bare number as backoff", job_option(backoff=5), ["backoff=5", "Fixed, Linear or Exponential"]),
    ("a function as a job's backoff", job_option(backoff=float), ["backoff=", "functions belong to handlers"]),
    ("no time at all", job_option(timeout=0), ["timeout=0", "at least 0.001"]),
    ("an empty job id", job_option(job_id=""), ["job_id=''", "1 to 200 printable"]),
    ("a job id with a line break", job_option(job_id="a\nb"), ["job_id='a\\nb'", "printable"]),
    ("a number as a job id", job_option(job_id=7), ["job_id=7", "printable"]),
    ("a long job id", job_option(job_id="x" * 201), ["job_id=", "1 to 200"]),
    ("headers that are no texts", job_option(headers={"a": 1}), ["headers['a']=1", "str"]),
    ("headers as a list", job_option(headers=["a"]), ["headers=", "dict of str to str"]),
    ("huge headers", job_option(headers={"a": "x" * 9000}), ["headers=", "8 KiB", "arguments"]),
    ("an expiry before the delay", job_option(delay=10, expires_in=5), ["expires_in=5", "longer than delay"]),
    ("an unknown job option", job_option(prioritty=1), ["prioritty=1", "no job option", "priority"]),
    ("a queue name with a space", queue_name("my queue"), ["queue='my queue'", "letters, digits"]),
    ("a queue name with braces", queue_name("a{b}"), ["queue='a{b}'", "letters, digits"]),
    ("an empty queue name", queue_name(""), ["queue=''", "1 to 200"]),
    ("a queue name in Greek", queue_name("ουρά"), ["queue='ουρά'", "letters, digits"]),
    ("a queue name with a line break", queue_name("a\n"), ["queue=", "letters, digits"]),
    ("a queue name that is none", queue_name(None), ["queue=None", "letters, digits"]),
    ("a prefix with a slash", queue_option(prefix="a/b"), ["prefix='a/b'", "letters, digits"]),
    ("an unknown queue option", queue_option(uri="redis://x"), ["uri='redis://x'", "no queue option", "url"]),
    ("a tiny payload limit", queue_option(max_payload=1), ["max_payload=1", "64"]),
    ("a negative bound", queue_option(max_pending=-1), ["max_pending=-1", "whole number from 1"]),
    ("nothing kept at all", lambda _: Keep(), ["Keep", "count=, age= or both"]),
    ("a number for Keep", queue_option(keep_dead=5), ["keep_dead=5", "Keep(count=)"]),
    ("a worker without places", worker_option(concurrency=0), ["concurrency=0", "1 to 100,000"]),
    ("a lease that is too short", worker_option(lease=0.1), ["lease=0.1", "at least 1.5"]),
    ("negative stalls", worker_option(max_stalls=-1), ["max_stalls=-1", "0 to 100"]),
    ("no queue", lambda _: Worker([]), ["queues=", "at least one"]),
    ("a queue twice", lambda mail: Worker([mail._sender, mail._sender]), ["queues=", "twice"]),
    ("a negative wait", lambda _: Fixed(-1), ["Fixed(wait)=-1", "at least 0"]),
    ("much jitter", lambda _: Linear(1, jitter=2), ["jitter=2", "0 to 1"]),
    ("a shrinking backoff", lambda _: Exponential(1, factor=0.5), ["factor", "from 1"]),
]


@pytest.mark.parametrize(("_", "call", "said"), OPTIONS, ids=[bad[0] for bad in OPTIONS])
def test_an_option_that_cannot_be_right(_: str, call: Callable[[Any], object], said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        call(declared())
    message = str(caught.value)
    for part in said:
        assert part in message
    assert caught.value.option
    assert caught.value.remedy
    assert "\n" not in message
    assert len(message) < 500


NO_CLASS: Any = {"no_retry": ("a",)}

DECLARATIONS: list[tuple[str, Callable[[Queue], object], list[str]]] = [
    ("a name twice", lambda queue: queue.handler("mail")(_plain), ["handler='mail'", "declared already", "choose"]),
    ("a name with a space", lambda queue: queue.handler("a b")(_plain), ["handler='a b'", "letters, digits"]),
    ("star args", lambda queue: queue.handler("x")(_star), ["handler='x'", "*args", "keyword"]),
    ("positional only", lambda queue: queue.handler("x")(_positional), ["handler='x'", "ordinary or keyword-only"]),
    ("a late Context", lambda queue: queue.handler("x")(_late), ["handler='x'", "Context", "first"]),
    ("a generator", lambda queue: queue.handler("x")(_generator), ["handler='x'", "generator", "coroutine function"]),
    (
        "a pool for a coroutine",
        lambda queue: queue.handler("x", pool="thread")(_plain),
        ["pool='thread'", "event loop"],
    ),
    ("an unknown pool", lambda queue: queue.handler("x", pool="gpu")(_def), ["pool='gpu'", '"process"']),  # type: ignore[arg-type]
    ("an unknown option", lambda queue: queue.handler("x", retries=3)(_plain), ["retries=3", "max_attempts"]),  # type: ignore[call-arg]
    (
        "no_retry that is no class",
        lambda queue: queue.handler("x", **NO_CLASS)(_plain),
        ["no_retry='a'", "classes"],
    ),
]


async def _plain(n: int) -> None:
    """Nothing."""


def _def(n: int) -> None:
    """Nothing."""


async def _star(*args: int) -> None:
    """Nothing."""


async def _positional(n: int, /) -> None:
    """Nothing."""


async def _late(n: int, ctx: Context) -> None:
    """Nothing."""


async def _generator(n: int) -> AsyncIterator[int]:
    yield n


@pytest.mark.parametrize(("_", "declare", "said"), DECLARATIONS, ids=[bad[0] for bad in DECLARATIONS])
def test_a_handler_that_could_not_work(_: str, declare: Callable[[Queue], object], said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        declare(declared()._sender)
    for part in said:
        assert part in str(caught.value)


# -- payloads -----------------------------------------------------------------------------------------

PAYLOADS: list[tuple[str, Callable[[Any], Awaitable[object]], type[StreamqError], list[str]]] = [
    ("a wrong type", lambda mail: mail.enqueue(5), InvalidPayload, ["'mail'", "`str`", "`int`", "$.to"]),
    ("a missing argument", lambda mail: mail.enqueue(), InvalidPayload, ["'mail'", "to"]),
    ("too many arguments", lambda mail: mail.enqueue("a", 1, 2), InvalidPayload, ["takes 2 arguments, 3 given"]),
    ("an unknown argument", lambda mail: mail.enqueue("a", cc="b"), InvalidPayload, ["'cc'", "to, copies"]),
    ("an argument twice", lambda mail: mail.enqueue("a", to="b"), InvalidPayload, ["'to'", "twice"]),
    ("what cannot be encoded", lambda mail: mail.enqueue(object()), InvalidPayload, ["'mail'", "object", "encode"]),
    ("a lone surrogate", lambda mail: mail.enqueue("\udcff"), InvalidPayload, ["'mail'", "surrogate"]),
    ("a huge number", lambda mail: mail.enqueue("a", 2**70), InvalidPayload, ["'mail'", "64"]),
    (
        "over the limit",
        lambda mail: mail.enqueue("x" * 300_000),
        PayloadTooLarge,
        ["'mail'", "max_payload=262,144", "store the data elsewhere", "Queue(max_payload=...)"],
    ),
    (
        "an unknown handler",
        lambda mail: mail._sender.enqueue("mial", {"to": "a"}),
        UnknownHandler,
        ["handler='mial'", "did you mean 'mail'?", "declared: 'mail'"],
    ),
    ("a list as payload", lambda mail: mail._sender.enqueue("mail", ["a"]), InvalidPayload, ["mapping", "list"]),
    ("numbers as names", lambda mail: mail._sender.enqueue("mail", {1: "a"}), InvalidPayload, ["mapping", "names"]),
    (
        "a wrong type by name",
        lambda mail: mail._sender.enqueue("mail", {"to": None}),
        InvalidPayload,
        ["'mail'", "`str`", "`None`", "$.to"],
    ),
]


@pytest.mark.parametrize(("_", "call", "kind", "said"), PAYLOADS, ids=[bad[0] for bad in PAYLOADS])
async def test_arguments_that_do_not_fit(
    _: str, call: Callable[[Any], Awaitable[object]], kind: type[StreamqError], said: list[str]
) -> None:
    """Refused before anything is sent: there is no server at all here."""
    with pytest.raises(kind) as caught:
        await call(declared())
    for part in said:
        assert part in str(caught.value)
    assert len(str(caught.value)) < 1000


async def test_a_bad_job_among_good_ones_of_a_bulk_call(server: Server, prefix: str) -> None:
    """It raises before anything is sent."""
    async with Scene(server, server.url, prefix, max_payload=1000) as scene:
        big = scene.queue.spec("plain", {"n": 1})
        big.args = b"x" * 2000
        with pytest.raises(PayloadTooLarge):
            await scene.queue.enqueue_many([scene.plain.job(1), big, scene.plain.job(2)])
        await scene.add(1)
        assert scene.unsettled() == 1


# -- servers ------------------------------------------------------------------------------------------


async def both_doors(url: str) -> list[StreamqError]:
    """What a producer and a worker say of a server."""
    queue = Queue("q", url=url, prefix="p", enqueue_timeout=2.0)
    found = list[StreamqError]()
    try:
        with pytest.raises(StreamqError) as producer:
            await queue.enqueue("x", {})
        found.append(producer.value)
        with pytest.raises(StreamqError) as worker:
            await Worker(queue, grace=0.1).run(burst=True)
        found.append(worker.value)
        with pytest.raises(StreamqError) as other:
            await queue.counts()
        found.append(other.value)
    finally:
        await queue.aclose()
    return found


@asynccontextmanager
async def fake_server(answer: Callable[[bytes], bytes]) -> AsyncGenerator[str]:
    """A server that answers each piece it reads with what ``answer`` says."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(answer(data))
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    served = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{served.sockets[0].getsockname()[1]}/0"
    finally:
        served.close()


async def test_a_server_that_needs_a_password(fresh_server: StartServer) -> None:
    server = fresh_server(tcp=True)
    server.command("CONFIG", "SET", "requirepass", "secret")
    for error in await both_doors(server.url):
        assert isinstance(error, ServerUnfit)
        assert "password" in str(error)
        assert str(server.port) in str(error)
        assert "STREAMQ_URL" in error.remedy


@pytest.mark.parametrize("login", [":wr0ng@", "nobody:wr0ng@"])
async def test_a_wrong_password(login: str, fresh_server: StartServer) -> None:
    server = fresh_server(tcp=True)
    server.command("CONFIG", "SET", "requirepass", "secret")
    for error in await both_doors(server.url.replace("redis://", f"redis://{login}")):
        assert isinstance(error, ServerUnfit)
        assert "password" in str(error)
        assert "STREAMQ_URL" in error.remedy
        assert "wr0ng" not in str(error), "a password in a message ends up in a log"


async def test_a_server_that_speaks_http() -> None:
    page = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    async with fake_server(lambda _: page) as url:
        for error in await both_doors(url):
            assert isinstance(error, ServerUnfit), error
            assert "does not speak the Redis protocol" in str(error)
            assert url in str(error)


async def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamq._store.link.CONNECT_TIMEOUT", 0.5)
    async with fake_server(lambda _: b"") as url:
        for error in await both_doors(url):
            assert url in str(error)
            assert "no answer within" in str(error)


async def test_a_server_that_is_too_old() -> None:
    info = b"# Server\r\nredis_version:6.2.14\r\n"

    def answer(data: bytes) -> bytes:
        replies = b""
        for at in range(data.count(b"*")):
            part = data.split(b"*")[at + 1].upper()
            replies += (
                b"$%d\r\n%b\r\n" % (len(info), info) if b"INFO\r\n" in part and b"SETINFO" not in part else b"+OK\r\n"
            )
        return replies

    async with fake_server(answer) as url:
        for error in await both_doors(url):
            assert isinstance(error, ServerUnfit)
            assert "Redis 6.2.14" in str(error)
            assert "Redis 7.0 or Valkey 7.2" in error.remedy


async def test_no_server_at_all() -> None:
    errors = await both_doors("redis://127.0.0.1:1/0")
    for error in errors:
        assert "redis://127.0.0.1:1/0" in str(error)
    assert isinstance(errors[1], RedisUnavailable)


@pytest.mark.parametrize("url", ["http://localhost:6379", "localhost:6379", "redis://localhost:port/0", ""])
async def test_a_url_that_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMQ_ENV", "production")
    queue = Queue("q", url=url)
    with pytest.raises(ConfigError) as caught:
        await queue.enqueue("x", {})
    assert caught.value.option == "url"
    assert "redis://" in str(caught.value)
    with pytest.raises(ConfigError):
        await Worker(queue).run(burst=True)


async def test_a_server_that_evicts_keys(fresh_server: StartServer, caplog: pytest.LogCaptureFixture) -> None:
    """A worker refuses to start; a producer warns, because refusing would lose what waiting could save."""
    server = fresh_server(args=["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"])
    async with Scene(server, server.url, "p") as scene:
        await scene.add(1)
        assert "allkeys-lru" in caplog.text
        assert "noeviction" in caplog.text
        with pytest.raises(ServerUnfit) as caught:
            await scene.worker().run(burst=True)
        assert "allkeys-lru" in caught.value.problem
        assert "maxmemory-policy noeviction" in caught.value.remedy


async def test_memory_full_at_enqueue(fresh_server: StartServer) -> None:
    """Enqueue says so; workers still drain, retries included; then enqueue works again."""
    server = fresh_server(args=["--maxmemory-policy", "noeviction"])
    async with Scene(server, server.url, "p") as scene:
        await scene.add(50)
        await scene.add(50, scene.flaky)
        await scene.add(5, delay=0.2)
        server.command("CONFIG", "SET", "maxmemory", 1)
        for _ in range(2):
            with pytest.raises(ServerUnfit) as caught:
                await scene.plain.enqueue(1)
            assert "maxmemory" in str(caught.value)
            assert "nothing was enqueued" in str(caught.value)
        with pytest.raises(StreamqError):
            await scene.queue.enqueue_many([scene.plain.with_options(delay=1).job(n) for n in range(3)])
        async with scene.worker():
            await scene.settled()
            server.command("CONFIG", "SET", "maxmemory", 0)
            await scene.add(5)
            await scene.settled()
        scene.check()
        scene.check_runs()


async def test_two_incompatible_versions_of_streamq(server: Server, prefix: str) -> None:
    async with Scene(server, server.url, prefix) as scene:
        await scene.add(3)
        server.command("HSET", scene.keys.meta, "v", "999")

        async def work() -> None:
            await scene.worker(grace=0.1).run(burst=True)

        for call in (lambda: scene.plain.enqueue(1), work, scene.queue.pause):
            with pytest.raises(VersionMismatch) as caught:
                await call()
            message = str(caught.value)
            assert "protocol 999" in message
            assert "speaks 1" in message
            assert "upgrade the older side, or use another prefix" in message
        server.command("HSET", scene.keys.meta, "v", "1")
        async with scene.worker():
            await scene.settled()
        scene.check()


async def test_a_version_that_changes_under_a_running_worker(server: Server, prefix: str) -> None:
    """It ends loudly and at once, and takes nothing along."""
    async with Scene(server, server.url, prefix) as scene:
        worker = scene.worker(grace=5)
        running = asyncio.create_task(worker.run())
        await scene.add(3)
        await scene.settled()
        slow = await scene.slow.enqueue(30.0)
        await until(lambda: scene.ledger.starts[slow.id] == 1, "it runs")
        server.command("HSET", scene.keys.meta, "v", "999")
        began = time.monotonic()
        with pytest.raises(VersionMismatch):
            await running
        assert time.monotonic() - began < 2 + 1, "nothing can be settled any more: no grace for what runs"
        assert scene.ledger.cancelled[slow.id] == 1
        assert scene.unsettled() == 1


# -- a key of another type is in our way ---------------------------------------------------------------

FOREIGN = [
    "meta", "index", "lanes", "taken", "delayed", "bodies", "parked", "dead", "dead_index", "window", "window_details",
    "waiters", "cancels", "workers", "beats", "bell", "deaths",
]  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
async def test_a_foreign_key_is_in_the_way(
    kind: str, server: Server, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever needs it says so clearly; nothing is lost or doubled; all goes on when it is removed."""
    async with Scene(server, server.url, prefix) as scene:
        keys = scene.keys
        key = keys.lanes[2] if kind == "lanes" else getattr(keys, kind)
        server.command("SET", key, "foreign")
        refused = list[StreamqError]()
        for options in ({}, {"delay": 0.1}, {"job_id": "custom"}):
            try:
                await scene.add(2 if "job_id" not in options else 1, **options)
            except StreamqError as problem:
                refused.append(problem)
        for error in refused:
            assert isinstance(error, ServerUnfit)
            assert "a key of another type is in the way of queue 'q'" in error.problem
            assert "STREAMQ_PREFIX" in error.remedy
        assert bool(refused) == (kind in {"meta", "index", "lanes", "delayed", "bodies", "dead_index", "bell"})

        @scene.queue.handler("doomed", max_attempts=1)
        async def doomed(n: int) -> None:
            raise RuntimeError("doomed")

        async with scene.worker(lease=6):
            doomed_ids = list[str]()
            with suppress(ServerUnfit):
                await scene.add(3)
                await scene.add(3, scene.flaky)
                doomed_ids = await scene.add(3, doomed)
            await asyncio.sleep(1.0)  # it shall run into the key, and go on running
            server.command("DEL", key)
            await scene.add(5)
            await scene.settled(seconds=25)
        scene.check(also_dead=doomed_ids)
        assert set(scene.dead().values()) <= {"attempts exhausted"}
        scene.check_runs()
        if kind not in {"taken", "parked", "waiters", "cancels", "dead_index", "index"}:
            assert refused or "another type" in caplog.text


async def test_a_foreign_key_where_a_promotion_leads(server: Server, prefix: str) -> None:
    """Two lanes, one of them foreign: the jobs of the other one are not added again and again."""
    async with Scene(server, server.url, prefix) as scene:
        server.command("SET", scene.keys.lanes[4], "foreign")
        await scene.add(3, delay=0.2)
        await scene.add(3, delay=0.25, priority=Priority.BACKGROUND)
        async with scene.worker():
            await asyncio.sleep(2.5)
            server.command("DEL", scene.keys.lanes[4])
            await scene.settled()
        scene.check()
        scene.check_runs()
        assert set(scene.ledger.starts.values()) == {1}


# -- garbage -------------------------------------------------------------------------------------------

GOOD = wire.encode(wire.Envelope("plain", args=msgspec.Raw(msgspec.msgpack.encode({"n": 1}))))


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


def envelope(**changes: Any) -> bytes:
    fields: dict[str, Any] = {"n": "plain", "a": {"n": 1}}
    return msgspec.msgpack.encode({**fields, **changes})


BOMB = zlib.compress(b"\0" * 10_000_000, 9)
MALFORMED_HEADER = b"\x82\xa1n\xa5plain\xa2hd\x81\xa1a\xa2\xff\xfe"

GARBAGE: list[tuple[str, list[bytes], str]] = [
    ("no fields of ours", [b"hello", b"world"], "fields j and d are missing"),
    ("no envelope", [b"j", b"g1"], "fields j and d are missing"),
    ("no id", [b"d", GOOD], "fields j and d are missing"),
    ("an empty id", [b"j", b"", b"d", GOOD], "fields j and d are missing"),
    ("a huge id", [b"j", b"x" * 5000, b"d", GOOD], "fields j and d are missing"),
    ("an envelope that is no msgpack", [b"j", b"g2", b"d", b"\xc1garbage"], "undecodable envelope"),
    ("an envelope that is no map", [b"j", b"g3", b"d", b"\x93\x01\x02\x03"], "undecodable envelope"),
    ("an envelope without a name", [b"j", b"g4", b"d", b"\x80"], "undecodable envelope"),
    ("an envelope cut off", [b"j", b"g5", b"d", GOOD[:-3]], "undecodable envelope"),
    ("10,000 levels", [b"j", b"g6", b"d", nested(10_000)], "undecodable envelope"),
    ("10,000 levels in the arguments", [b"j", b"g7", b"d", b"\x82\xa1n\xa5plain\xa1a" + nested(10_000)], "undecodable"),
    ("a name that is not UTF-8", [b"j", b"g8", b"d", b"\x81\xa1n\xa4\xff\xfe\xfd\xfc"], "undecodable envelope"),
    ("an id that is not UTF-8", [b"j", b"\xff\xfe", b"d", GOOD], "fields j and d are missing"),
    ("an empty name", [b"j", b"g14", b"d", envelope(n="")], "invalid name"),
    ("a name with a NUL", [b"j", b"g15", b"d", envelope(n="plain\x00b")], "invalid name"),
    ("a name of 100 kB", [b"j", b"g16", b"d", envelope(n="n" * 100_000)], "invalid name"),
    ("2 MB of nothing", [b"j", b"g9", b"d", b"\x00" * 2_000_000], "undecodable envelope"),
    ("2 MB of foreign fields", [b"big", b"\x00" * 2_000_000], "fields j and d are missing"),
    ("a wrong type of a field", [b"j", b"g10", b"d", envelope(k="three")], "undecodable envelope"),
    ("arguments that are no map", [b"j", b"g11", b"d", envelope(a=[1, 2])], "invalid payload"),
    ("arguments that do not fit", [b"j", b"g12", b"d", envelope(a={"n": "text"})], "invalid payload"),
    ("2 MB of arguments", [b"j", b"g13", b"d", envelope(a={"n": "x" * 2_000_000})], "invalid payload"),
    ("a million levels", [b"j", b"g17", b"d", nested(1_000_000)], "undecodable envelope"),
    ("a million maps in each other", [b"j", b"g18", b"d", b"\x81\xa1a" * 1_000_000 + b"\xc0"], "undecodable envelope"),
    ("10 kB that would be 10 MB", [b"j", b"g19", b"d", BOMB], "undecodable envelope"),
    ("arguments that would be 10 MB", [b"j", b"g20", b"d", envelope(a={"n": BOMB})], "invalid payload"),
    ("a list that says it has 4 billion items", [b"j", b"g21", b"d", b"\xdd\xff\xff\xff\xff"], "undecodable envelope"),
    ("a text that says it has 4 GB", [b"j", b"g22", b"d", b"\x81\xa1n\xdb\xff\xff\xff\xff"], "undecodable envelope"),
    ("headers that are no texts", [b"j", b"g23", b"d", envelope(hd={"a": 1})], "undecodable envelope"),
    ("headers that are no map", [b"j", b"g24", b"d", envelope(hd=["a"])], "undecodable envelope"),
    ("a header that is not UTF-8", [b"j", b"g25", b"d", MALFORMED_HEADER], "undecodable envelope"),
    ("a version that is no number", [b"j", b"g26", b"d", envelope(v="two")], "undecodable envelope"),
    ("a history that is none", [b"j", b"g27", b"d", envelope(er="none")], "undecodable envelope"),
    ("an extension type", [b"j", b"g28", b"d", b"\xc7\x04\x05evil"], "undecodable envelope"),
]


@pytest.mark.parametrize(("_", "fields", "reason"), GARBAGE, ids=[bad[0] for bad in GARBAGE])
async def test_garbage_in_a_lane(_: str, fields: list[bytes], reason: str, server: Server, prefix: str) -> None:
    """It ends as a dead letter with its reason; its neighbours run, and the worker survives."""
    async with Scene(server, server.url, prefix) as scene:
        await scene.add(3)
        server.command("XADD", scene.keys.lanes[2], "*", *fields)
        await scene.add(3)
        async with scene.worker():
            await scene.settled(seconds=8)
            await scene.add(3)
            await scene.settled()
            dead = scene.dead()
            assert len(dead) == 1
            ((job, why),) = dead.items()
            assert reason in why
            letters = [letter async for letter in scene.queue.dlq.list()]
            assert [letter.reason for letter in letters] == [why]
            assert (await scene.queue.counts()).dead == 1
        scene.check(also_dead=[job])
        await scene.queue.dlq.purge()
        assert await scene.queue.dlq.count() == 0


PARKED: list[tuple[str, bytes, str]] = [
    ("a newer version", envelope(v=2), "~v2"),
    ("a newer version of another shape", envelope(v=7, k="three", a=[1]), "~v7"),
    ("an unknown name", envelope(n="nobody"), "nobody"),
    ("the newest version there can be", envelope(v=2**63), f"~v{2**63}"),
]


@pytest.mark.parametrize(("_", "body", "name"), PARKED, ids=[bad[0] for bad in PARKED])
async def test_what_nobody_here_can_run_is_parked(_: str, body: bytes, name: str, server: Server, prefix: str) -> None:
    async with Scene(server, server.url, prefix) as scene:
        entry = server.command("XADD", scene.keys.lanes[2], "*", "j", "strange", "d", body)
        server.command("HSET", scene.keys.index, "strange", b"2%b:0" % entry)
        async with scene.worker():
            await scene.add(3)
            await until(lambda: server.command("ZCARD", scene.keys.parked) == 1, "parked")
            await until(lambda: scene.unsettled() == 1 and not scene.entries(), "the others are done")
            (member,) = server.command("ZRANGE", scene.keys.parked, 0, -1)
            assert member == name.encode() + b"\0strange"
            assert (await scene.queue.counts()).parked == 1
            (info,) = (await scene.queue.jobs("parked")).jobs
            assert info.id == "strange"
            job = await scene.queue.job("strange")
            assert job is not None
            assert str(await job.state()) == "parked"
            assert await job.cancel()
            assert scene.unsettled() == 0
        scene.check()


STRANGE: list[tuple[str, dict[str, Any]]] = [
    ("a lane that does not exist", {"l": 77}),
    ("a negative lane", {"l": -1}),
    ("a time far away", {"c": 10**18}),
    ("a negative timeout", {"t": -5}),
    ("an endless timeout", {"t": 2**62}),
    ("a deadline far away", {"dl": 2**62}),
    ("an expiry far away", {"x": 2**62}),
    ("no attempts allowed", {"m": -3}),
    ("more attempts than allowed", {"k": 10**6}),
    ("a huge hop", {"h": 2**62}),
    ("a history from another age", {"er": [[1, "E", "m", "t", 10**18, 10**18, "w"]]}),
]


@pytest.mark.parametrize(("_", "changes"), STRANGE, ids=[bad[0] for bad in STRANGE])
@pytest.mark.parametrize("name", ["plain", "flaky", "nobody"])
async def test_an_envelope_with_strange_numbers(
    _: str, changes: dict[str, Any], name: str, server: Server, prefix: str
) -> None:
    """It ends somehow; it can be looked at in any place; the worker survives."""
    async with Scene(server, server.url, prefix) as scene:
        entry = server.command("XADD", scene.keys.lanes[2], "*", "j", "strange", "d", envelope(n=name, **changes))
        server.command("HSET", scene.keys.index, "strange", b"2%b:0" % entry)
        job = await scene.queue.job("strange")
        assert job is not None
        await job.info()
        assert len((await scene.queue.jobs("waiting")).jobs) == 1
        async with scene.worker():
            await scene.add(3)
            await until(lambda: not scene.entries() and scene.unsettled() <= (name == "nobody"), "all ended")
            await scene.add(3)
            await until(lambda: not scene.entries() and scene.unsettled() <= (name == "nobody"), "all ended")
        await job.info()
        for state in ("parked", "dead", "completed"):
            await scene.queue.jobs(state)
        assert [letter.id async for letter in scene.queue.dlq.list()] == list(scene.dead())


async def test_a_foreign_entry_that_looks_like_a_job_runs(server: Server, prefix: str) -> None:
    """Another client's XADD without an index row: it is run and settled, if perhaps twice."""
    async with Scene(server, server.url, prefix) as scene:
        server.command("XADD", scene.keys.lanes[2], "*", "j", "foreign", "d", GOOD)
        async with scene.worker():
            await until(lambda: scene.completed()["foreign"] == 1, "settled")
            await until(lambda: not scene.entries(), "gone")
        assert scene.ledger.effects["foreign"] == 1
        assert not scene.unsettled()


MEGABYTES: list[tuple[str, bytes, str]] = [
    ("nothing", b"\x00" * 64 * 1024 * 1024, "undecodable envelope"),
    ("arguments", envelope(a={"n": "x" * 64 * 1024 * 1024}), "invalid payload"),
]


@pytest.mark.parametrize(("_", "body", "reason"), MEGABYTES, ids=[bad[0] for bad in MEGABYTES])
async def test_64_megabytes(_: str, body: bytes, reason: str, server: Server, prefix: str) -> None:
    """A hundred times what any streamq lets through: a dead letter, and the worker goes on."""
    async with Scene(server, server.url, prefix) as scene:
        server.command("XADD", scene.keys.lanes[2], "*", "j", "huge", "d", body)
        async with scene.worker(lease=15):
            await scene.add(3)
            await scene.settled(seconds=30)
            await scene.add(3)
            await scene.settled()
        assert scene.dead().keys() == {"huge"}
        assert reason in scene.dead()["huge"]
        scene.check(also_dead=["huge"])
        scene.check_runs()
        assert await scene.queue.dlq.purge() == 1


HEADERS: list[tuple[str, dict[str, str]]] = [
    ("one of a megabyte", {"a": "x" * 1_000_000}),
    ("a hundred thousand", {f"h{n}": "v" for n in range(100_000)}),
]


@pytest.mark.parametrize(("_", "headers"), HEADERS, ids=[bad[0] for bad in HEADERS])
@pytest.mark.parametrize("name", ["plain", "doomed", "nobody"])
async def test_megabytes_of_headers(_: str, headers: dict[str, str], name: str, server: Server, prefix: str) -> None:
    """Foreign, for no producer of ours sends so many: they travel with their job, wherever it goes."""
    async with Scene(server, server.url, prefix) as scene:

        @scene.queue.handler("doomed", max_attempts=1)
        async def doomed(n: int) -> None:
            raise RuntimeError("doomed")

        entry = server.command("XADD", scene.keys.lanes[2], "*", "j", "strange", "d", envelope(n=name, hd=headers))
        server.command("HSET", scene.keys.index, "strange", b"2%b:0" % entry)
        async with scene.worker():
            await scene.add(3)
            await until(lambda: not scene.entries() and scene.unsettled() <= (name == "nobody"), "all ended")
        job = await scene.queue.job("strange")
        assert job is not None
        assert str(await job.state()) == {"plain": "completed", "doomed": "dead", "nobody": "parked"}[name]
        if name == "doomed":
            assert (await job.info()).headers == headers
            assert [letter.reason async for letter in scene.queue.dlq.list()] == ["attempts exhausted"]
        if name == "nobody":
            assert await job.cancel()


async def test_garbage_among_the_delayed(server: Server, prefix: str) -> None:
    """What was promoted is looked at as anything else that comes in a lane."""
    async with Scene(server, server.url, prefix) as scene:
        await scene.add(3, delay=0.2)
        for n, body in enumerate((b"\xc1garbage", nested(10_000), b"")):
            server.command("HSET", scene.keys.bodies, f"d{n}", body)
            server.command("HSET", scene.keys.index, f"d{n}", "d2")
            server.command("ZADD", scene.keys.delayed, 1, f"d{n}")
        async with scene.worker():
            await scene.settled(seconds=8)
        assert set(scene.dead()) == {"d0", "d1", "d2"}
        scene.check(also_dead=["d0", "d1", "d2"])
        scene.check_runs()
