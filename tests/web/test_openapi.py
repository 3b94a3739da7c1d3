"""The OpenAPI document is true: every operation is tried with what the document allows, and with what it does not."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from starlette.routing import Route

from streamq import Queue, Scheduler
from streamq.web import Dashboard
from streamq.web.rest import CONTROLLER, DOCUMENTED, OPERATIONS, openapi, routes
from tests.web.asking import Served
from tests.worker.helpers import drain

schemathesis: Any = pytest.importorskip("schemathesis")

DOCUMENT: dict[str, Any] = json.loads(openapi.document(DOCUMENTED, title="streamq", root=""))
ROWS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]


def test_every_operation_is_in_the_document_and_has_a_route() -> None:
    assert len(ROWS) == len(OPERATIONS) + len(CONTROLLER)
    names = [DOCUMENT["paths"][path][method]["operationId"] for path, method in ROWS]
    assert len(set(names)) == len(names)
    app = Dashboard(Queue("q"))
    served = {
        (re.sub(r":\w+\}", "}", route.path), method.lower())
        for route in routes(app.site)
        if isinstance(route, Route)
        for method in route.methods or ()
    }
    assert set(ROWS) <= served


@pytest.mark.parametrize(("path", "method"), ROWS)
def test_every_operation_says_what_it_does_and_how_it_fails(path: str, method: str) -> None:
    row = DOCUMENT["paths"][path][method]
    assert len(row["summary"]) > 10
    assert row["tags"]
    assert {"401", "403", "422", "503"} <= row["responses"].keys()
    assert [one["name"] for one in row["parameters"] if one["in"] == "path"] == re.findall(r"\{(\w+)\}", path)


def test_references_lead_somewhere() -> None:
    known = DOCUMENT["components"]["schemas"]
    used = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)))
    assert used <= known.keys()
    assert all("$defs" not in json.dumps(one) for one in known.values())


async def test_it_names_the_place_it_is_mounted_at(api: httpx.AsyncClient) -> None:
    found = (await api.get("/api/openapi.json")).json()
    assert (found["openapi"], found["servers"]) == ("3.1.0", [{"url": "/"}])
    assert found["paths"] == DOCUMENT["paths"]


# -- every operation, as the document allows it ---------------------------------------------------------

SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
TRIED = [one.ok() for one in SCHEMA.get_all_operations()]
STREAMS = ("/events",)


@pytest.fixture(scope="module")
def alive(shared_servers: Any) -> Iterator[str]:
    """A dashboard over a real socket, with a queue that has something of everything."""
    server = shared_servers("valkey")
    prefix = f"t{secrets.token_hex(4)}"
    asyncio.run(furnish(server.url, prefix))
    with Served(Dashboard(url=server.url, prefix=prefix, submit_rate=None)) as served:
        yield served.url
    server.delete_matching(f"{prefix}*")


async def furnish(url: str, prefix: str) -> None:
    """Make something of everything."""
    async with Queue("q", url=url, prefix=prefix) as queue:

        @queue.handler("fail", max_attempts=1)
        async def fail() -> None:
            raise ValueError("it broke")

        @queue.handler("add")
        async def add(a: int) -> int:
            return a + 1

        for at in range(5):
            await fail.with_options(job_id=f"dead{at}").enqueue()
            await add.with_options(job_id=f"done{at}").enqueue(at)
        await drain(queue)
        for at in range(5):
            await add.with_options(job_id=f"waits{at}").enqueue(at)
            await add.with_options(job_id=f"later{at}", delay=3600).enqueue(at)
        await Scheduler(queue).upsert("s", add.job(1), every=3600)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "operation", [one for one in TRIED if not one.path.endswith(STREAMS)], ids=lambda one: f"{one.method} {one.path}"
)
def test_answers_are_as_documented(operation: Any, alive: str) -> None:
    checks = [
        schemathesis.checks.not_a_server_error,
        schemathesis.specs.openapi.checks.status_code_conformance,
        schemathesis.specs.openapi.checks.content_type_conformance,
        schemathesis.specs.openapi.checks.response_schema_conformance,
    ]
    health = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

    @given(case=operation.as_strategy())
    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=health)
    def conforms(case: Any) -> None:
        if "queue" in case.path_parameters and hash(case.id) % 4:
            case.path_parameters["queue"] = "q"
        response = case.call(base_url=alive, timeout=30)
        if response.status_code == 503:  # a verdict, or a server that is away
            assert msgspec.json.decode(response.content).get("error") != "RedisUnavailable"
            return
        case.validate_response(response, checks=checks)

    conforms()


def takes_something(operation: Any) -> bool:
    row = DOCUMENT["paths"][operation.path][operation.method]
    return "requestBody" in row or any(one["in"] == "query" for one in row["parameters"])


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "operation",
    [one for one in TRIED if takes_something(one) and not one.path.endswith(STREAMS)],
    ids=lambda one: f"{one.method} {one.path}",
)
def test_what_is_not_allowed_is_refused_as_documented(operation: Any, alive: str) -> None:
    health = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
    @settings(max_examples=10, deadline=None, database=None, suppress_health_check=health)
    def refuses(case: Any) -> None:
        response = case.call(base_url=alive, timeout=30)
        documented = DOCUMENT["paths"][operation.path][operation.method]["responses"]
        assert str(response.status_code) in documented, case.as_curl_command()
        assert response.status_code < 500 or operation.path.endswith("/health")

    refuses()
