"""Dashboard: the ASGI app. Mount it anywhere, or run it alone; it opens its connections with the first request.

What is where: `site.py` (what pages and operations are given, and the interface for them), `frame.py` (access, CSRF,
sizes, headers, errors), ``rest/`` (the operations under ``/api``), ``pages/`` (HTML).
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Sequence
from typing import Any, Unpack
from urllib.parse import unquote

from starlette.routing import BaseRoute, Router
from starlette.types import Receive, Scope, Send

from .._core.limits import RateLimit
from .._core.units import seconds
from ..errors import ConfigError
from ..queue import Queue
from . import rest
from .access import AccessRule
from .frame import Frame
from .links import Links, checked_links, segment
from .meter import Meter
from .redaction import SENSITIVE, Redaction
from .site import Site


class Dashboard:
    """REST, dashboard and audit for some queues, as one ASGI app.

    queues: one or several `Queue` objects; without any, those that Redis knows under ``url`` and ``prefix``. access:
    who may do what, a function of the request that returns "full", "read" or "deny" (or `Access`), sync or async;
    `basic` and `bearer` make one. Without it only this very machine is let in. redact: patterns of payload fields to
    hide ("password", "*.token"; case does not matter), instead of `SENSITIVE`. title: shown at the top. read_only:
    nobody may act. root_path: where it is mounted, for frameworks that do not say so (Django). submit_rate: jobs a
    client may submit (`RateLimit`; None: no bound). max_body: bytes of a request. trace_url, request_url: where the
    page of a job leads to, "https://jaeger.example/trace/{trace_id}" and "https://logs.example/?q={request_id}".

    Raises:
        ConfigError: for a value that cannot be right.
    """

    def __init__(  # noqa: PLR0913 - the options of an app, all but the first by name
        self,
        queues: Queue | Sequence[Queue] = (),
        *,
        url: str | None = None,
        prefix: str | None = None,
        access: AccessRule | None = None,
        redact: Sequence[str] = SENSITIVE,
        title: str = "streamq",
        read_only: bool = False,
        root_path: str = "",
        submit_rate: RateLimit | None = RateLimit(100, per=1.0),  # noqa: B008 - frozen
        max_body: int = 1_048_576,
        **links: Unpack[Links],
    ) -> None:
        given = [queues] if isinstance(queues, Queue) else list(queues)
        if given and url is not None:
            raise ConfigError("url", "...", "the queues given have their own; give queues or url=, not both")
        if len({one.prefix for one in given}) > 1:
            raise ConfigError("queues", given, "have different prefixes; make a dashboard for each prefix")
        if root_path and (not root_path.startswith("/") or root_path.endswith("/")):
            raise ConfigError("root_path", root_path, 'begins with a slash and does not end with one: "/queues"')
        meter = None if submit_rate is None else Meter(submit_rate.count, seconds("per", submit_rate.per))
        self.site: Site = Site(
            given, url=url, prefix=prefix, title=title, redaction=Redaction(redact), meter=meter, read_only=read_only,
            links=checked_links(links),
        )  # fmt: skip
        self._frame = Frame(self.site, Router(_routes(self.site)), access=access, max_body=max_body)
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the app where a server runs it alone."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await self._frame(self._placed(scope), receive, send)

    def _placed(self, scope: Scope) -> Scope:
        """Return a scope of our own, with the path we are mounted at."""
        ours: dict[str, Any] = dict(scope)
        root = str(ours.get("root_path", ""))
        if self._root_path and not root.endswith(self._root_path):
            ours["root_path"] = root + self._root_path
            ours["path"] = ours["root_path"] + _below(ours, root, self._root_path)
        ours["path"] = _whole_segment(ours)
        ours["app_root_path"] = ours.get("root_path", "")
        ours["path_params"] = {}
        ours["app"] = self  # so that the router raises what it does not find, for the frame to answer
        ours.pop("router", None)
        ours["starlette.exception_handlers"] = ({}, {})  # those of whoever mounted us are not ours
        return ours

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def aclose(self) -> None:
        """Close what it opened in this event loop. A mounted app need not call it: connections end with the loop."""
        await self.site.aclose()


def _below(scope: Scope, root: str, mounted: str) -> str:
    """Return the path below ``mounted``, which some frameworks cut off and others leave there."""
    path = str(scope["path"])
    raw: bytes | None = scope.get("raw_path")
    whole = path if raw is None else unquote(raw.decode("latin-1"))
    # As it was sent, if it can be told: who cuts may change the end of it as well.
    for prefix in (root + mounted, mounted):
        if f"{whole}/".startswith(f"{prefix}/"):
            return whole[len(prefix) :]
    return path[len(root) :] if root and f"{path}/".startswith(f"{root}/") else path


_SLASHED = re.compile(r"(?P<before>.*?/queues/)(?P<name>[^/]*%2[fF][^/]*)(?P<after>/.*)?")


def _whole_segment(scope: Scope) -> str:
    """Return the path, with a slash in the name of a queue told from one that parts segments."""
    raw: bytes | None = scope.get("raw_path")
    found = None if raw is None else _SLASHED.fullmatch(raw.decode("latin-1"))
    if found is None:
        return str(scope["path"])
    name = unquote(found["name"])
    return str(scope["path"]).replace(f"/queues/{name}", f"/queues/{segment(name)}", 1)


def _routes(site: Site) -> list[BaseRoute]:
    found = rest.routes(site)
    if importlib.util.find_spec(f"{__package__}.pages") is not None:
        pages: Any = importlib.import_module(f"{__package__}.pages")
        found += pages.routes(site)
    return found
