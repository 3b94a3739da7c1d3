"""Mounted in other frameworks: no lifespan of its own, links below the mount, the framework's own routes untouched."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streamq import Queue
from streamq.web import Dashboard
from tests.web.asking import OPEN, Asking


async def works(client: Any, queue: Queue, root: str) -> None:
    """Look, act and fail below the mount; then the framework's own route."""
    await queue.enqueue("a", job_id="j/1")
    [listed] = (await client.get(f"{root}/api/queues")).json()["queues"]
    assert listed["url"] == f"{root}/api/queues/q"
    assert (await client.get(f"{listed['url']}/jobs/j/1")).json()["id"] == "j/1"
    sent = await client.post(f"{listed['url']}/jobs", json={"name": "a", "job_id": "j2"})
    assert sent.headers["location"] == f"{root}/api/queues/q/jobs/j2"
    assert (await client.get(sent.headers["location"])).status_code == 200
    assert (await client.post(f"{root}/queue/pause")).json() == {"queue": "q", "paused": True}
    missing = await client.get(f"{root}/api/nothing")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
    assert (await client.put(f"{root}/api/queues")).status_code == 405
    document = (await client.get(f"{root}/api/openapi.json")).json()
    assert document["servers"] == [{"url": root or "/"}]
    page = await client.get(f"{root}/no-such-page", headers={"accept": "text/html"})
    assert page.status_code == 404
    assert f"Path={root or '/'};" in page.headers["set-cookie"]
    home = await client.get(f"{root}/", headers={"accept": "text/html"})
    assert home.status_code == 200
    links = re.findall(r'(?:href|src|action)="(/[^"]*)"', home.text)
    assert f"{root}/jobs" in links
    assert [one for one in links if not one.startswith(f"{root}/")] == []
    own = await client.get("/own")
    assert (own.status_code, own.json()) == (200, {"own": True})
    assert "content-security-policy" not in own.headers


async def test_in_starlette(queue: Queue, asking: Asking) -> None:
    starlette: Any = pytest.importorskip("starlette.applications")
    routing: Any = pytest.importorskip("starlette.routing")
    responses: Any = pytest.importorskip("starlette.responses")
    opened: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[None]:
        opened.append("own")
        yield

    async def own(request: Any) -> Any:
        return responses.JSONResponse({"own": True})

    mounts = [routing.Mount("/deep/queues", Dashboard(queue, **OPEN)), routing.Route("/own", own)]
    app = starlette.Starlette(routes=mounts, lifespan=lifespan)
    await works(asking(app), queue, "/deep/queues")
    assert opened == []  # nothing needed it


async def test_in_fastapi(queue: Queue, asking: Asking) -> None:
    fastapi: Any = pytest.importorskip("fastapi")
    app = fastapi.FastAPI()

    async def own() -> dict[str, bool]:
        return {"own": True}

    async def missing(request: Any, error: Any) -> Any:
        return fastapi.responses.PlainTextResponse("ours", 404)

    app.get("/own")(own)
    app.exception_handler(404)(missing)
    app.mount("/queues", Dashboard(queue, **OPEN))
    client = asking(app)
    await works(client, queue, "/queues")
    assert (await client.get("/nothing")).text == "ours"


async def test_in_litestar(queue: Queue, asking: Asking) -> None:
    litestar: Any = pytest.importorskip("litestar")

    async def own() -> dict[str, bool]:
        return {"own": True}

    dashboard = Dashboard(queue, root_path="/queues", **OPEN)

    async def queues(scope: Any, receive: Any, send: Any) -> None:
        await dashboard(scope, receive, send)

    mounted = litestar.asgi("/queues", is_mount=True, copy_scope=True)(queues)
    app = litestar.Litestar([litestar.get("/own")(own), mounted], logging_config=None)
    await works(asking(app), queue, "/queues")


async def test_in_django(queue: Queue, asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    django: Any = pytest.importorskip("django")
    conf: Any = pytest.importorskip("django.conf")
    if not conf.settings.configured:
        options = {"ROOT_URLCONF": "tests.web.django_urls", "SECRET_KEY": "x", "ALLOWED_HOSTS": ["localhost"]}
        conf.settings.configure(**options, USE_TZ=True, LOGGING_CONFIG=None)
        django.setup()
    asgi: Any = pytest.importorskip("django.core.asgi")
    site = asgi.get_asgi_application()
    dashboard = Dashboard(queue, root_path="/queues", **OPEN)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        ours = scope["type"] == "http" and scope["path"].startswith("/queues/")
        await (dashboard if ours else site)(scope, receive, send)

    await works(asking(application), queue, "/queues")


@pytest.mark.parametrize(
    ("scope", "root", "path"),
    [
        ({"path": "/queues/api/x"}, "/queues", "/queues/api/x"),  # left there
        ({"path": "/api/x", "raw_path": b"/queues/api/x"}, "/queues", "/queues/api/x"),  # cut off
        ({"path": "/queues/q", "raw_path": b"/queues/queues/q"}, "/queues", "/queues/queues/q"),
        ({"path": "/queues/q", "raw_path": b"/queues/q"}, "/queues", "/queues/q"),
        ({"path": "/app/queues/x", "root_path": "/app"}, "/app/queues", "/app/queues/x"),
        ({"path": "/queues/x", "root_path": "/app"}, "/app/queues", "/app/queues/x"),
        ({"path": "/queues/x", "root_path": "/queues"}, "/queues", "/queues/x"),  # the framework said it
    ],
)
async def test_where_it_is_mounted_is_found_out(scope: dict[str, Any], root: str, path: str) -> None:
    seen: list[Any] = []

    async def frame(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    async def nothing(*args: Any) -> Any: ...

    app = Dashboard(Queue("q"), root_path="/queues")
    app.__dict__["_frame"] = frame
    await app({"type": "http", "method": "GET", **scope}, nothing, nothing)
    assert (seen[0]["root_path"], seen[0]["path"]) == (root, path)


async def test_alone_it_answers_the_server_that_runs_it(queue: Queue) -> None:
    said: list[str] = []
    heard = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        return {"type": next(heard)}

    async def send(message: Any) -> None:
        said.append(message["type"])

    await Dashboard(queue)({"type": "lifespan"}, receive, send)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    await Dashboard(queue)({"type": "websocket", "path": "/"}, receive, send)
    assert said[-1] == "websocket.close"
