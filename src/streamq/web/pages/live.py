"""Pages as responses: whole, as a stream of what changed, or as what changed when asked."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ...errors import StreamqError
from .ground import Ground, Make, Page

EVERY = 2.0
"""Seconds between two looks of a stream."""

LASTS = 600.0
"""Seconds after which a stream ends; the browser opens another. So no stream outlives a server that stops by long."""

SHARED = 64
"""Pages kept for those who look at the same one at the same time."""

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class Feed:
    """Makes each page once for all who look at it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._pages: OrderedDict[str, tuple[float, Page]] = OrderedDict()

    async def page(self, request: Request, make: Make) -> Page | None:
        """Return a page that is at most `EVERY` old; None for one that has no parts that change."""
        query = sorted((name, value) for name, value in request.query_params.multi_items() if name not in {"live", "n"})
        key = repr((request.scope.get("root_path", ""), request.scope["path"], query))
        found = self._pages.get(key)
        if found is not None and time.monotonic() - found[0] < EVERY * 0.9:
            return found[1]
        page = await make(self._ground, request)
        if isinstance(page, Response):
            return None
        self._pages[key] = (time.monotonic(), page)
        self._pages.move_to_end(key)
        while len(self._pages) > SHARED:
            self._pages.popitem(last=False)
        return page

    async def stream(self, request: Request, make: Make) -> AsyncIterator[bytes]:
        """Yield what changed, each `EVERY` seconds, until Redis is away or `LASTS` are over."""
        before: dict[str, str] = {}
        ends = time.monotonic() + LASTS
        yield b"retry: 3000\n\n"
        while time.monotonic() < ends:
            try:
                page = await self.page(request, make)
                if page is None:
                    return
                parts = await self._ground.parts(request, page)
            except StreamqError:
                return
            changed = {name: html for name, html in parts.items() if before.get(name) != html} if before else {}
            before = parts
            told = msgspec.json.encode({"title": f"{page.title} · {self._ground.site.title}", "parts": changed})
            yield b"event: parts\ndata: " + told + b"\n\n"
            await asyncio.sleep(EVERY)


def served(ground: Ground, feed: Feed, make: Make) -> Endpoint:
    """Return the endpoint of a page."""

    async def endpoint(request: Request) -> Response:
        how = request.query_params.get("live")
        if how == "stream":
            return StreamingResponse(
                feed.stream(request, make), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
            )
        if how == "poll":
            page = await feed.page(request, make)
            parts = {} if page is None else await ground.parts(request, page)
            title = "" if page is None else f"{page.title} · {ground.site.title}"
            return Response(msgspec.json.encode({"title": title, "parts": parts}), media_type="application/json")
        found = await make(ground, request)
        return found if isinstance(found, Response) else await ground.draw(request, found)

    return endpoint
