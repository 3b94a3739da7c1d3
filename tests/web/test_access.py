"""Who is let in, by which rule, and how that is answered."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from streamq import Queue
from streamq.errors import ConfigError
from streamq.web import Access, Dashboard, any_of, basic, bearer
from streamq.web.access import AccessRule, is_loopback, judged, this_machine
from tests.web.asking import Asking


def request(client: str | None = "127.0.0.1", host: str = "localhost:8585", **headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in {"host": host, **headers}.items()]
    address = None if client is None else (client, 1)
    return Request({"type": "http", "method": "GET", "path": "/", "headers": pairs, "client": address})


def password(name: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


async def test_basic_knows_who_may_act_and_who_may_look() -> None:
    rule = basic({"omar": "föö:bar"}, read={"guest": "visit"})

    assert await judged(rule, request(**password("omar", "föö:bar"))) == Access("full", "omar")
    assert await judged(rule, request(**password("guest", "visit"))) == Access("read", "guest")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        password("omar", "wrong"),
        password("guest", "föö:bar"),
        password("", ""),
        {"authorization": "Basic !!!"},
        {"authorization": "Basic " + base64.b64encode(b"\xff:\xfe").decode()},
        {"authorization": "Bearer visit"},
    ],
)
async def test_basic_denies_everybody_else(headers: dict[str, str]) -> None:
    found = await judged(basic({"omar": "föö:bar"}, read={"guest": "visit"}), request(**headers))

    assert (found.level, found.who) == ("deny", "")
    assert found.challenge == 'Basic realm="streamq", charset="UTF-8"'


async def test_bearer_tells_programs_apart() -> None:
    rule = bearer({"ci": "t0ken"}, read={"grafana": "eyes"})

    assert await judged(rule, request(authorization="Bearer t0ken")) == Access("full", "ci")
    assert await judged(rule, request(authorization="bearer eyes")) == Access("read", "grafana")
    assert (await judged(rule, request(authorization="Bearer t0keN"))).level == "deny"
    assert (await judged(rule, request(authorization="Basic t0ken"))).level == "deny"
    assert (await judged(rule, request())).level == "deny"


@pytest.mark.parametrize(
    "rule",
    [basic({"a": "1", "b": "2"}, read={"c": "3"}), bearer({"a": "1", "b": "2", "c": "3"})],
    ids=["basic", "bearer"],
)
async def test_secrets_are_compared_in_constant_time_whoever_is_asked_for(
    rule: AccessRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("streamq.web.access.hmac.compare_digest", compare)
    counts: set[int] = set()
    for name, secret in (("a", "1"), ("c", "3"), ("nobody", "x" * 5000), ("b", "")):
        compared.clear()
        await judged(rule, request(**password(name, secret)))
        await judged(rule, request(authorization=f"Bearer {secret}"))
        counts.add(len(compared))
        assert {one for pair in compared for one in pair} == {32}, "digests, so that no length is told"
    assert len(counts) == 1, "as many comparisons for each"
    assert counts.pop() >= 6


async def test_one_rule_of_several_is_enough_and_the_first_one_denies() -> None:
    rule = any_of(basic({"omar": "secret"}), bearer({"ci": "t0ken"}))

    assert (await judged(rule, request(**password("omar", "secret")))).who == "omar"
    assert (await judged(rule, request(authorization="Bearer t0ken"))).who == "ci"
    assert (await judged(rule, request())).challenge.startswith("Basic")


def test_rules_that_would_let_nobody_or_anybody_in_are_refused() -> None:
    with pytest.raises(ConfigError, match="nobody could come in"):
        basic({})
    with pytest.raises(ConfigError, match="empty secret"):
        bearer({"ci": ""})
    with pytest.raises(ConfigError, match="no names with a colon"):
        basic({"a:b": "c"})
    with pytest.raises(ConfigError, match="at least one"):
        any_of()


async def test_an_access_function_may_be_async_and_must_answer_a_level() -> None:
    async def reader(_: Request) -> str:
        return "read"

    def odd(_: Request) -> Any:
        return True

    rule: Any = reader
    assert (await judged(rule, request())).level == "read"
    with pytest.raises(TypeError, match="access returned True"):
        await judged(odd, request())


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True), ("localhost", True),
        ("app.localhost", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False), ("::", False),
        ("localhost.example.org", False), ("", False), ("example.org", False),
    ],
)  # fmt: skip
def test_what_this_machine_is_called(host: str, *, local: bool) -> None:
    assert is_loopback(host) is local


@pytest.mark.parametrize(
    ("asked", "level"),
    [
        (request(), "full"),
        (request(client="::1", host="[::1]:8585"), "full"),
        (request(client=None), "full"),  # over a unix socket
        (request(client="10.0.0.7"), "deny"),
        (request(host="queues.example.org"), "deny"),  # a name that somebody made lead here
        (request(x_forwarded_for="10.0.0.7"), "deny"),
        (request(forwarded="for=10.0.0.7"), "deny"),
    ],
)
def test_without_a_rule_only_this_machine_is_let_in(asked: Request, level: str) -> None:
    assert this_machine(asked).level == level


async def test_a_denial_is_a_challenge_a_problem_or_a_way_to_the_login(queue: Queue, asking: Asking) -> None:
    challenged = await asking(Dashboard(queue, access=basic({"omar": "x"}))).get("/api/queues")
    assert challenged.status_code == 401
    assert challenged.headers["www-authenticate"].startswith("Basic ")
    assert challenged.headers["content-type"] == "application/problem+json"

    denied = await asking(Dashboard(queue, access=lambda _: "deny")).get("/api/queues")
    assert (denied.status_code, denied.json()["error"]) == (403, "Denied")

    sent = asking(Dashboard(queue, access=lambda _: Access("deny", redirect="/login")))
    answer = await sent.get("/", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert (await sent.get("/api/queues")).status_code == 403


async def test_others_are_denied_without_a_rule(queue: Queue, asking: Asking) -> None:
    answer = await asking(Dashboard(queue), host="10.0.0.7").get("/api/queues")

    assert answer.status_code == 403
    assert "Dashboard(access=...)" in answer.json()["detail"]


async def acting(client: httpx.AsyncClient) -> int:
    return (await client.post("/api/queues/q/pause")).status_code


async def test_who_may_only_look_changes_nothing(queue: Queue, asking: Asking) -> None:
    reader = asking(Dashboard(queue, access=lambda _: "read"))
    assert (await reader.get("/api/queues")).status_code == 200
    assert await acting(reader) == 403

    nobody = asking(Dashboard(queue, access=lambda _: "full", read_only=True))
    assert await acting(nobody) == 403
    assert not (await queue.counts()).paused

    assert await acting(asking(Dashboard(queue, access=lambda _: "full"))) == 200
    assert (await queue.counts()).paused
