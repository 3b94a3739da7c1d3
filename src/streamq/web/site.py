"""Site: what every page and every REST operation is given. One per `Dashboard`.

The interface for those who write pages (``web/pages/*.py``, each ``routes(site) -> list[BaseRoute]``):

    queue = site.queue(request)                 the queue of the path parameter "queue"; QueueUnknown (404)
    site.queues                                 queues by name; looked up anew now and then if only a url was given
    site.level(request)                         "full" or "read"; a POST of a reader never reaches a page
    site.who(request)                           who asks, as the access function said; "" when it did not
    site.url(request, "/jobs", state="dead")    a link below wherever the app is mounted; empty values are left out
    site.url(request, f"/queues/{segment(name)}")   a queue's name may hold slashes (links.segment)
    site.token(request)                         for <input type="hidden" name="csrf">, or the header X-CSRF-Token
    site.redact(value)                          a payload as it may be shown; hidden values are `Hidden`, a str
    site.render(request, "jobs.html", {...})    a template; it also gets site, request, level, who, token, url
    async with site.acting(request, "job.retry", queue.name, {"job": job_id}) as act: ...; act.count = 1
                                                an action; audited however it ends
    await site.audited(request, "job.retry", queue.name, "error=ProviderTimeout", 1240)
                                                the same by hand, after the act
    await site.trail(...)                       pages of the audit trail

Raise what the library raises (``JobStateError``, ``RedisUnavailable``) or ``starlette.exceptions.HTTPException``: the
frame makes it problem details for programs. For browsers it calls ``pages.failure(site, request, problem)`` with a
`problems.Problem`; when Redis is away ``problem.away`` holds the facts of `away.Away`. A page never checks access, CSRF
or sizes: the frame (`frame.py`) did. Static files: ``StaticFiles`` mounted by pages at ``/static``. Paths taken:
``/api`` and ``/queue`` (the names of a BullMQ-style controller).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ..queue import Queue
from ..trail import AuditEntry, AuditPage, Trail
from .access import Access, Level
from .links import SLASH, Links, in_words, link
from .meter import Meter
from .redaction import Redaction
from .roster import Roster

if TYPE_CHECKING:
    import jinja2


class Seat(msgspec.Struct):
    """What the frame found out about one request. ``fresh``: the token is new, its cookie has to be sent."""

    access: Access
    token: str
    fresh: bool


class Act(msgspec.Struct):
    """An action under way: ``count`` and ``outcome`` are what the audit entry will say."""

    count: int = 0
    outcome: str = "done"


class Site:
    """The queues, and the rules for those who look at them.

    title: shown at the top. redaction: which payload fields are hidden. meter: how fast a client may submit. read_only:
    nobody may act here, whatever ``access`` says. links: where pages lead to outside of here.
    """

    def __init__(
        self,
        queues: Sequence[Queue],
        *,
        url: str | None,
        prefix: str | None,
        title: str,
        redaction: Redaction,
        meter: Meter | None,
        read_only: bool,
        links: Links,
    ) -> None:
        self.title = title
        self.redaction = redaction
        self.meter = meter
        self.read_only = read_only
        self.links: Links = links
        self.roster: Roster = Roster(queues, url=url, prefix=prefix)
        self.trail_of: Trail = Trail(self.roster.home)
        self.nobody: Access = Access("deny")

    @property
    def queues(self) -> Mapping[str, Queue]:
        """The queues by name."""
        return self.roster.queues

    # -- per request --------------------------------------------------------------------------------

    def queue(self, request: Request) -> Queue:
        """Return the queue of the path; raises `QueueUnknown`."""
        return self.named(str(request.path_params.get("queue", "")).replace(SLASH, "/"))

    def named(self, name: str) -> Queue:
        """Return a queue by name; raises `QueueUnknown`."""
        return self.roster.named(name)

    def seat(self, request: Request) -> Seat:
        """Return what the frame found out about a request."""
        seat: Seat = request.scope["streamq.seat"]
        return seat

    def level(self, request: Request) -> Level:
        """Return "full" or "read"."""
        return "read" if self.read_only else self.seat(request).access.level

    def who(self, request: Request) -> str:
        """Return who asks; '' when nobody said."""
        return self.seat(request).access.who

    def origin(self, request: Request) -> str:
        """Return the address a request came from."""
        return request.client.host if request.client else "local"

    def token(self, request: Request) -> str:
        """Return what a form carries in ``csrf``."""
        return self.seat(request).token

    def url(self, request: Request, path: str, /, **query: object) -> str:
        """Return a link to ``path``, wherever the app is mounted. A queue's name goes into it as ``segment(name)``."""
        return link(str(request.scope.get("root_path", "")), path, query)

    def redact(self, value: Any) -> Any:
        """Return a payload as it may be shown."""
        return self.redaction.clean(value)

    # -- templates ----------------------------------------------------------------------------------

    @cached_property
    def templates(self) -> jinja2.Environment:
        """The templates; everything that goes into one is escaped."""
        import jinja2  # noqa: PLC0415 - REST alone does not need it

        return jinja2.Environment(
            loader=jinja2.PackageLoader("streamq.web"), autoescape=True, undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip

    def render(
        self, request: Request, template: str, context: Mapping[str, Any] | None = None, *, status: int = 200
    ) -> Response:
        """Return a template as a page."""

        def url(path: str, /, **query: object) -> str:
            return self.url(request, path, **query)

        facts = {
            "site": self, "request": request, "level": self.level(request), "who": self.who(request),
            "token": self.token(request), "url": url,
        }  # fmt: skip
        return HTMLResponse(self.templates.get_template(template).render({**facts, **(context or {})}), status)

    # -- audit --------------------------------------------------------------------------------------

    async def audited(
        self,
        request: Request,
        action: str,
        queue: str,
        filter: str | Mapping[str, Any],  # noqa: A002 - the word of the trail
        count: int,
        *,
        outcome: str = "done",
    ) -> None:
        """Note an action: who, from where, what, on which queue, by which filter, how many, and how it went."""
        await self.trail_of.note(self._entry(request, action, queue, filter, count, outcome))

    def told(
        self,
        request: Request,
        action: str,
        queue: str,
        filter: str | Mapping[str, Any],  # noqa: A002 - the word of the trail
        count: int,
        outcome: str,
    ) -> None:
        """Tell the audit logger alone: of what comes by the thousand, and would push all else out of the trail."""
        self.trail_of.tell(self._entry(request, action, queue, filter, count, outcome))

    def _entry(
        self,
        request: Request,
        action: str,
        queue: str,
        filters: str | Mapping[str, Any],
        count: int,
        outcome: str,
    ) -> AuditEntry:
        words = filters if isinstance(filters, str) else in_words(filters)
        return AuditEntry(
            who=self.who(request), origin=self.origin(request), action=action, queue=queue, filter=words[:1000],
            count=count, outcome=outcome[:500],
        )  # fmt: skip

    @asynccontextmanager
    async def acting(
        self,
        request: Request,
        action: str,
        queue: str,
        filter: str | Mapping[str, Any] = "",  # noqa: A002 - the word of the trail
    ) -> AsyncGenerator[Act]:
        """Note what the block does, however it ends; it sets ``count``, and ``outcome`` if that is not "done"."""
        act = Act()
        try:
            yield act
        except BaseException as problem:
            outcome = f"failed: {type(problem).__name__}: {problem}"
            await self.audited(request, action, queue, filter, act.count, outcome=outcome)
            raise
        await self.audited(request, action, queue, filter, act.count, outcome=act.outcome)

    async def trail(self, **filters: Any) -> AuditPage:
        """Return a page of the audit trail, newest first. See `Trail.page`."""
        return await self.trail_of.page(**filters)

    async def aclose(self) -> None:
        """Close the connections of this event loop that the site opened itself."""
        await self.roster.aclose()
