"""What pages stand on: the frame around them, notices, operations, the pulse; one per site."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ..links import segment
from ..site import Site
from ..views import overview, words
from ..views.overview import QueueFacts
from .operations import Operations
from .pulse import Pulse

STATIC = Path(__file__).parents[1] / "static"

NOTICES = 500
"""Messages kept until somebody reads them; each is read once."""

QUEUES_SHOWN = 12


class Page(NamedTuple):
    """What a page came to: template, heading, what the template is given, and the command that says the same."""

    template: str
    title: str
    context: Mapping[str, Any]
    command: str = ""
    here: str = "/"
    charts: bool = False
    status: int = 200


class Notice(NamedTuple):
    """What happened, and the next step."""

    text: str
    failed: bool = False
    href: str = ""
    label: str = ""


Make = Callable[["Ground", Request], Awaitable[Page | Response]]


class Ground:
    """Draws pages of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.pulse: Pulse = Pulse(site)
        self.operations: Operations = Operations()
        self._notices: OrderedDict[str, Notice] = OrderedDict()
        self._is_set = False

    # -- notices ------------------------------------------------------------------------------------

    def note(self, notice: Notice) -> str:
        """Keep a message for the page that comes next; returns what its address carries."""
        key = secrets.token_urlsafe(9)
        self._notices[key] = notice
        while len(self._notices) > NOTICES:
            self._notices.popitem(last=False)
        return key

    def _noted(self, request: Request) -> list[Notice]:
        found = self._notices.pop(request.query_params.get("n", ""), None)
        return [found] if found else []

    # -- drawing ------------------------------------------------------------------------------------

    async def draw(self, request: Request, page: Page) -> HTMLResponse:
        """Return a page in its frame."""
        context = {**await self.context(request, page), "notices": self._noted(request)}
        text = self.templates.get_template(page.template).render(context)
        return HTMLResponse(text, page.status)

    async def parts(self, request: Request, page: Page) -> dict[str, str]:
        """Return the parts of a page that change by themselves, by their ids."""
        context = await self.context(request, page)
        found: dict[str, str] = {}
        for name in ("_frame.html", page.template):
            template = self.templates.get_template(name)
            for block, draw in template.blocks.items():
                if block.startswith("live_"):
                    found[block] = "".join(draw(template.new_context(context)))
        return found

    def piece(self, request: Request, template: str, context: Mapping[str, Any]) -> HTMLResponse:
        """Return a fragment without a frame, for a dialog."""
        return HTMLResponse(self.templates.get_template(template).render({**self.plain(request), **context}))

    async def context(self, request: Request, page: Page) -> dict[str, Any]:
        """Return everything a page's template is given."""
        facts = await self.pulse.look()
        return {
            **self.plain(request),
            "title": page.title,
            "command": page.command,
            "charts": page.charts,
            "feeds": bool(page.here),
            "rail": _rail(overview.ordered(facts), page.here, len(self.site.queues)),
            "operation": self.operations.shown(request.query_params.get("op", "")),
            **page.context,
        }

    def plain(self, request: Request) -> dict[str, Any]:
        """Return what needs no look at any queue."""
        site = self.site

        def url(path: str, /, **query: object) -> str:
            return site.url(request, path, **query)

        def act_url(act: str, pairs: Sequence[tuple[str, object]]) -> str:
            return site.url(request, f"/act/{act}", **{name: value for name, value in pairs})  # noqa: C416 - keys to names

        def queue_url(name: str) -> str:
            return site.url(request, f"/queues/{segment(name)}")

        def asset(name: str) -> str:
            return site.url(request, f"/static/{name}", v=_digest(name))

        query = {name: value for name, value in request.query_params.items() if name not in {"n", "live"}}
        return {
            "site": site,
            "request": request,
            "level": site.level(request),
            "who": site.who(request),
            "token": site.token(request),
            "url": url,
            "act_url": act_url,
            "queue_url": queue_url,
            "asset": asset,
            "here": site.url(request, path_of(request), **query),
            "base": site.url(request, "/").rstrip("/"),
            "theme": _theme(request),
            "wall": request.query_params.get("wall") == "1",
            "environment": site.roster.home.prefix if site.roster.home.prefix != "streamq" else "",
            "now": datetime.now(UTC),
            "notices": [],
            "operation": None,
            "charts": False,
            "feeds": False,
            "command": "",
        }

    @property
    def templates(self) -> jinja2.Environment:
        """The templates of the site, with what ours need."""
        found = self.site.templates
        if not self._is_set:
            found.finalize = _finalized
            found.filters.update(FILTERS)
            self._is_set = True
        return found


class Link(msgspec.Struct, frozen=True):
    """An entry of the rail."""

    name: str
    path: str
    count: int | None
    here: bool


class Tab(NamedTuple):
    """An entry of the phone's bar."""

    name: str
    path: str
    text: str
    here: bool


class RailQueue(NamedTuple):
    """A queue of the rail."""

    name: str
    level: str
    waiting: int
    here: bool


class Rail(NamedTuple):
    """What stands beside every page."""

    pages: list[Link]
    queues: list[RailQueue]
    more: bool
    total: int
    tabs: list[Tab]


def _rail(facts: Sequence[QueueFacts], here: str, total: int) -> Rail:
    dead = sum(one.counts.dead for one in facts if one.counts)
    waiting = sum(_waiting(one) for one in facts)
    workers = len({worker.name for one in facts for worker in one.workers})
    needy = sum(overview.level(one) in {"critical", "warning"} for one in facts)
    pages = [
        Link(name, path, count, here == path)
        for name, path, count in (
            ("Overview", "/", None),
            ("Jobs", "/jobs", None),
            ("Dead letters", "/dead", dead),
            ("Schedules", "/schedules", None),
            ("Workers", "/workers", workers),
            ("Limits", "/limits", None),
            ("Server", "/server", None),
            ("Audit", "/audit", None),
        )
    ]
    queues = [
        RailQueue(one.name, overview.level(one), _waiting(one), here == f"queue:{one.name}")
        for one in facts[:QUEUES_SHOWN]
    ]
    tabs = [
        Tab("Overview", "/", str(needy) if needy else "ok", here == "/"),
        Tab("Waiting", "/jobs", words.short(waiting), here == "/jobs"),
        Tab("Dead", "/dead", words.short(dead), here == "/dead"),
        Tab("Schedules", "/schedules", "…", here == "/schedules"),
        Tab("Workers", "/workers", words.short(workers), here == "/workers"),
    ]
    return Rail(pages, queues, total > QUEUES_SHOWN, total, tabs)


def _waiting(facts: QueueFacts) -> int:
    return facts.counts.waiting + facts.counts.due if facts.counts else 0


def path_of(request: Request) -> str:
    """Return the path of a request below where the app is mounted."""
    path, root = str(request.scope["path"]), str(request.scope.get("root_path", ""))
    return (path[len(root) :] if root and f"{path}/".startswith(f"{root}/") else path) or "/"


@cache
def _digest(name: str) -> str:
    path = STATIC / name
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8] if path.is_file() else ""


def _theme(request: Request) -> str:
    found = request.cookies.get("streamq_theme", "")
    return found if found in {"light", "dark"} else ""


def _finalized(value: object) -> object:
    """Show what would change how text is read; markup of ours goes through as it is."""
    return words.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _rounded(value: float | None) -> str:
    return words.number(value if value is None else round(value, 1) if value < 10 else round(value))


def _of_ms(value: float | None) -> str:
    return words.duration(None if value is None else value / 1000)


def _day(when: datetime) -> str:
    return f"{when:%A} {when.day} {when:%B}"


def _ago(when: datetime | None) -> str:
    return words.ago(when, datetime.now(UTC))


def _until(when: datetime | None) -> str:
    return words.until(when, datetime.now(UTC))


FILTERS: dict[str, Callable[..., Any]] = {
    "number": words.number,
    "number1": _rounded,
    "count": words.count,
    "duration": words.duration,
    "ms": _of_ms,
    "tail": words.tail,
    "worker": words.worker,
    "iso": words.iso,
    "instant": words.instant,
    "clock": words.clock,
    "day": _day,
    "ago": _ago,
    "until": _until,
}
