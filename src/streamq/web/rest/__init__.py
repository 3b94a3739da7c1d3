"""REST: operations under ``/api``, and the names of a BullMQ-style controller under ``/queue`` and ``/api/queue``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..site import Site
from . import controller, jobs, letters, live, openapi, queues, schedules
from .table import JSON, Operation
from .table import routes as routes_of

# In the order of the router: what ends in a word comes before what ends in any path.
OPERATIONS: tuple[Operation, ...] = (
    *queues.table.operations,
    *live.table.operations,
    *jobs.table.operations,
    *letters.table.operations,
    *schedules.table.operations,
)

CONTROLLER: tuple[Operation, ...] = tuple(controller.table.operations)

DOCUMENTED: tuple[tuple[str, tuple[Operation, ...]], ...] = (("/api", OPERATIONS), ("/api/queue", CONTROLLER))
"""What the OpenAPI document describes, with the prefix of each."""

PLAIN = ("/health", "/metrics")
"""What is served at its bare path, too: probes and scrapers look there."""


def routes(site: Site) -> list[BaseRoute]:
    """Return the routes of all operations."""

    async def document(request: Request) -> Response:
        root = str(request.scope.get("root_path", ""))
        return Response(openapi.document(DOCUMENTED, title=site.title, root=root), media_type=JSON)

    plain = [one for one in OPERATIONS if one.path in PLAIN]
    return [
        Route("/api/openapi.json", document, methods=["GET"]),
        *routes_of(site, CONTROLLER, "/api/queue"),
        *routes_of(site, CONTROLLER, "/queue"),
        *routes_of(site, OPERATIONS, "/api"),
        *routes_of(site, plain, ""),
    ]
