"""What holds for every request: headers, CSRF, sizes, errors, and Redis being away."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from streamq import Queue
from streamq.errors import ConfigError
from streamq.web import Dashboard
from streamq.web.away import meaning
from streamq.web.csrf import COOKIE
from streamq.web.meter import Meter
from tests.servers import StartServer
from tests.web.asking import OPEN, Asking
from tests.worker.helpers import until

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("path", ["/", "/api/queues", "/api/nothing", "/api/openapi.json"])
async def test_headers_of_the_house_are_on_everything(api: httpx.AsyncClient, path: str) -> None:
    headers = (await api.get(path, headers={"accept": "text/html"})).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


async def test_a_program_gets_problem_details(api: httpx.AsyncClient) -> None:
    missing = await api.get("/api/nothing")
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json() == {"status": 404, "title": "Not Found", "detail": "Not Found", "instance": "/api/nothing"}
    wrong = await api.put("/api/queues")
    assert (wrong.status_code, sorted(wrong.headers["allow"].split(", "))) == (405, ["GET", "HEAD"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # a program
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"origin": "http://localhost"}, 200),
        ({"origin": "http://localhost:80"}, 200),
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://other.localhost"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:8000"}, 403),
        ({"origin": "https://evil.example", "authorization": "Bearer x"}, 200),  # no browser sends that by itself
    ],
)
async def test_another_sites_request_changes_nothing(
    queue: Queue, asking: Asking, headers: dict[str, str], status: int
) -> None:
    answer = await asking(Dashboard(queue, **OPEN)).post("/api/queues/q/pause", headers=headers)

    assert answer.status_code == status
    assert (await queue.counts()).paused is (status == 200)


async def test_a_form_carries_the_token_of_its_cookie(api: httpx.AsyncClient) -> None:
    page = await api.get("/no-such-page", headers={"accept": "text/html"})
    assert page.status_code == 404
    cookie = page.headers["set-cookie"]
    assert "HttpOnly; SameSite=Strict" in cookie
    token = api.cookies[COOKIE]

    async def sent(content: bytes, **headers: str) -> int:
        return (await api.post("/no-such-page", content=content, headers={**FORM, **headers})).status_code

    assert await sent(b"a=1") == 403
    assert await sent(b"csrf=" + b"0" * 64) == 403
    assert await sent(b"a=1&csrf=" + token.encode()) == 404  # let through, and there is no such page
    assert await sent(b"a=1", **{"x-csrf-token": token}) == 404
    assert await sent(b"csrf=" + token.encode(), origin="https://evil.example") == 403
    assert await sent(b"&".join(b"a=%d" % at for at in range(5000))) == 403
    multipart = await api.post("/no-such-page", files={"a": b"1"}, headers={"x-csrf-token": token})
    assert multipart.status_code == 415
    api.cookies.clear()
    assert await sent(b"csrf=" + token.encode()) == 403


async def test_a_cookie_is_sent_once_and_only_with_pages(api: httpx.AsyncClient) -> None:
    assert "set-cookie" not in (await api.get("/api/queues")).headers
    assert "set-cookie" in (await api.get("/no-such-page", headers={"accept": "text/html"})).headers
    assert "set-cookie" not in (await api.get("/no-such-page", headers={"accept": "text/html"})).headers


async def test_a_body_over_the_bound_is_refused_told_or_not(queue: Queue, asking: Asking) -> None:
    api = asking(Dashboard(queue, max_body=1000))

    async def pieces() -> AsyncGenerator[bytes]:
        for _ in range(30):
            yield b" " * 100

    kind = {"content-type": "application/json"}
    assert (await api.post("/api/queues/q/jobs", content=b" " * 1001, headers=kind)).status_code == 413
    assert (await api.post("/api/queues/q/jobs", content=pieces(), headers=kind)).status_code == 413
    fits = b'{"name": "any"}'.ljust(1000)
    assert (await api.post("/api/queues/q/jobs", content=fits, headers=kind)).status_code == 202


async def test_a_defect_says_nothing_of_itself_but_where_the_log_has_it(
    queue: Queue, api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(queue, "workers", broken)
    with caplog.at_level(logging.ERROR, "streamq.web"):
        answer = await api.get("/api/queues/q/workers")

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["id"] in caplog.text
    assert "secret inside" in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"root_path": "queues"}, "begins with a slash"),
        ({"root_path": "/queues/"}, "begins with a slash"),
        ({"url": "redis://x"}, "not both"),
    ],
)
def test_a_dashboard_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Dashboard(Queue("q"), **options)
    with pytest.raises(ConfigError, match="different prefixes"):
        Dashboard([Queue("q", prefix="a"), Queue("q", prefix="b")])


# -- Redis is away ------------------------------------------------------------------------------------


async def test_redis_away_is_told_and_recovered_from(fresh_server: StartServer, asking: Asking) -> None:
    server = fresh_server(tcp=True)
    queue = Queue("q", url=server.url)
    app = Dashboard(queue, **OPEN)
    api = asking(app, timeout=30)
    async with queue:
        assert (await api.get("/api/queues")).status_code == 200
        server.stop()

        answer = await api.get("/api/queues")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        problem = answer.json()
        away = problem["away"]
        assert problem["error"] == "RedisUnavailable"
        assert (away["host"], away["port"], away["kind"]) == ("127.0.0.1", server.port, "refused")
        assert str(server.port) in away["means"]
        assert away["resolved"] == ["127.0.0.1"]
        assert any("redis-cli" in one for one in away["commands"])
        again = (await api.get("/api/queues")).json()["away"]
        assert (again["tries"], again["since"]) == (away["tries"] + 1, away["since"])
        page = await api.get("/no-such-page", headers={"accept": "text/html"})
        assert page.status_code == 503
        assert str(server.port) in page.text

        server.start()

        async def back() -> bool:
            return (await api.get("/api/queues")).status_code == 200

        await until(back, "the dashboard is back")


async def test_a_password_is_not_told(asking: Asking) -> None:
    queue = Queue("q", url="redis://ada:hunter2@127.0.0.1:1/0", enqueue_timeout=0.2)
    api = asking(Dashboard(queue, **OPEN), timeout=30)
    answer = await api.get("/api/queues")
    assert answer.status_code == 503
    assert "hunter2" not in answer.text
    await queue.aclose()


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Error 111 connecting to 127.0.0.1:6379. Connection refused.", "refused"),
        ("Error 2 connecting to unix:/tmp/s. No such file or directory.", "refused"),
        ("Error -2 connecting to redis.internal:6379. Name or service not known.", "name"),
        ("no answer within 5 s", "timeout"),
        ("Timeout connecting to server", "timeout"),
        ("Connection closed by server.", "closed"),
        ("it wants a password", "password"),
        ("WRONGPASS invalid username-password pair or user is disabled.", "password"),
        ("the user lacks a permission (NOPERM this user has no permissions)", "permission"),
        ("LOADING Redis is loading the dataset in memory", "loading"),
        ("its memory is full (maxmemory)", "full"),
        ("READONLY You can't write against a read only replica.", "readonly"),
        ("it answered GIBBERISH", "other"),
    ],
)
def test_what_an_answer_means(reason: str, kind: str) -> None:
    found, sentence = meaning(reason, "redis.internal", 6379, "redis")
    assert found == kind
    assert sentence.endswith(".")
    assert "{" not in sentence


# -- the meter ----------------------------------------------------------------------------------------


def test_a_bucket_refills_evenly() -> None:
    now = 0.0
    meter = Meter(2, 10.0, lambda: now)
    assert [meter.take("a"), meter.take("a")] == [0.0, 0.0]
    assert meter.take("a") == pytest.approx(5.0)
    assert meter.take("b") == 0.0
    now = 5.0
    assert meter.take("a") == 0.0
    assert meter.take("a") == pytest.approx(5.0)
    now = 1000.0
    assert [meter.take("a"), meter.take("a")] == [0.0, 0.0]
    assert meter.take("a") > 0


def test_clients_are_forgotten_before_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamq.web.meter.CLIENTS", 3)
    meter = Meter(1, 1000.0, lambda: 0.0)
    assert [meter.take(name) for name in ("a", "b", "c", "d")] == [0.0] * 4
    assert meter.take("d") > 0
    assert meter.take("a") == 0.0  # forgotten, so anew
