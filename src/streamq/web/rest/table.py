"""The table of operations: each is a typed coroutine function, and everything else is read off its signature.

    @table.post("/queues/{queue}/jobs", status=202, also=(200,), errors=(404, 409))
    async def submit(call: Call, body: Submission) -> Receipt:
        '''Enqueue a job. Idempotent by ``job_id``.'''

``query`` and ``body`` are msgspec structs, checked before the call; what is returned is encoded. The route, the checks
and the OpenAPI document come from the same row, so they cannot disagree.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ...queue import Queue
from ..links import segment
from ..problems import Refusal
from ..site import Site

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

JSON = "application/json"
EVENTS = "text/event-stream"
TEXT = "text/plain"

ALWAYS = (401, 403, 422, 503)
"""Answers every operation may give: not let in, denied, a value that cannot be right, Redis is away."""


class Call:
    """One call of an operation. ``status`` and ``headers`` change the answer from what the table says."""

    def __init__(self, site: Site, request: Request) -> None:
        self.site = site
        self.request = request
        self.status: int | None = None
        self.headers: dict[str, str] = {}

    @property
    def queue(self) -> Queue:
        """The queue of the path; raises `QueueUnknown`."""
        return self.site.queue(self.request)

    def path(self, name: str) -> str:
        """Return a parameter of the path."""
        return str(self.request.path_params[name])

    def job_url(self, queue: str, job_id: str) -> str:
        """Return the link to a job."""
        return self.site.url(self.request, f"/api/queues/{segment(queue)}/jobs/{job_id}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table. ``path`` below the prefix of its table, as the router reads it ({id:path} included)."""

    name: str
    method: str
    path: str
    tag: str
    run: Callable[..., Awaitable[Any]]
    query: Any = None
    body: Any = None
    answer: Any = None
    status: int = 200
    also: Sequence[int] = ()
    errors: Sequence[int] = ()
    media: str = JSON
    summary: str = ""
    description: str = ""
    body_required: bool = True


@dataclass(slots=True)
class Table:
    """Operations of one kind, in the order in which the router tries them."""

    tag: str
    operations: list[Operation] = field(default_factory=list[Operation])

    def get(self, path: str, **options: Any) -> Callable[[F], F]:
        """Add an operation that reads."""
        return self._add("GET", path, options)

    def post(self, path: str, **options: Any) -> Callable[[F], F]:
        """Add an operation that acts."""
        return self._add("POST", path, options)

    def put(self, path: str, **options: Any) -> Callable[[F], F]:
        """Add an operation that creates or changes."""
        return self._add("PUT", path, options)

    def delete(self, path: str, **options: Any) -> Callable[[F], F]:
        """Add an operation that removes."""
        return self._add("DELETE", path, options)

    def _add(self, method: str, path: str, options: dict[str, Any]) -> Callable[[F], F]:
        def register(fn: F) -> F:
            hints = get_type_hints(fn, include_extras=True)
            text = inspect.getdoc(fn) or ""
            summary, _, rest = text.partition("\n")
            row = Operation(
                name=str(getattr(fn, "__name__", "")), method=method, path=path, tag=self.tag, run=fn,
                query=hints.get("query"), body=hints.get("body"), answer=hints.get("return"),
                summary=summary.rstrip("."), description=" ".join(rest.split()), **options,
            )  # fmt: skip
            self.operations.append(row)
            return fn

        return register


def routes(site: Site, operations: Sequence[Operation], prefix: str) -> list[BaseRoute]:
    """Return a route for each path, so that a wrong method is answered with those that are right."""
    paths: dict[str, dict[str, Operation]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method] = one
    return [
        Route(prefix + path, _endpoint(site, rows), methods=list(rows), include_in_schema=False)
        for path, rows in paths.items()
    ]


def _endpoint(site: Site, rows: Mapping[str, Operation]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await perform(site, rows["GET" if request.method == "HEAD" else request.method], request)

    return endpoint


async def perform(site: Site, operation: Operation, request: Request) -> Response:
    """Check a request, run the operation, encode what it returned."""
    call = Call(site, request)
    given: dict[str, Any] = {}
    if operation.query is not None:
        given["query"] = _query(request, operation.query)
    if operation.body is not None:
        given["body"] = await _body(request, operation)
    answer = await operation.run(call, **given)
    if isinstance(answer, Response):
        answer.headers.update(call.headers)
        return answer
    status = call.status or operation.status
    content = b"" if status == 204 else encode(answer)
    return Response(content, status, call.headers, media_type=None if status == 204 else operation.media)


def encode(value: Any) -> bytes:
    """Return a value as JSON; what JSON does not know becomes text."""
    return msgspec.json.encode(value, enc_hook=str)


def _query(request: Request, kind: Any) -> Any:
    words = dict(request.query_params)
    try:
        return msgspec.convert(words, kind, strict=False)
    except msgspec.ValidationError as problem:
        raise Refusal(422, "InvalidQuery", f"query: {problem}") from None


async def _body(request: Request, operation: Operation) -> Any:
    data = await request.body()
    if not data and not operation.body_required:
        return operation.body()
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != JSON and not media.endswith("+json"):
        raise Refusal(415, "UnsupportedMediaType", f"send application/json, not {media[:100] or 'nothing'}")
    try:
        return msgspec.json.decode(data, type=operation.body)
    except msgspec.ValidationError as problem:
        raise Refusal(422, "InvalidBody", f"body: {problem}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise Refusal(400, "Malformed", f"the body is no JSON: {problem}") from None
