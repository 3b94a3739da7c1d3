"""The dashboard's pages: what is read of Redis for each, and what people do there. How it is said is in ``views``."""

from __future__ import annotations

import weakref
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from ..problems import Problem
from ..site import Site
from ..views import words
from . import acting, acts_dead, acts_job, acts_jobs, acts_queue, dead, finding, job, jobs, overview, queue
from .ground import STATIC, Ground, Make, Page
from .live import Feed, served

ACTS: dict[str, acting.Act] = {**acts_job.ACTS, **acts_jobs.ACTS, **acts_dead.ACTS, **acts_queue.ACTS}

PAGES: dict[str, Make] = {
    "/": overview.home,
    "/jobs": jobs.listed,
    "/job": job.one,
    "/dead": dead.groups,
    "/schedules": dead.timetable,
    "/schedule": dead.schedule,
    "/workers": overview.at_work,
    "/limits": overview.limits,
    "/server": overview.server,
    "/audit": dead.audit,
    "/keys": overview.keys,
    "/queues/{queue:path}": queue.one,
}

_grounds: weakref.WeakValueDictionary[int, Ground] = weakref.WeakValueDictionary()
"""Each lives as long as the routes that hold it."""


class Static(StaticFiles):
    """Files that are named by their content may be kept for ever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file."""
        response = await super().get_response(path, scope)
        is_named = b"v=" in scope.get("query_string", b"")
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if is_named else "no-cache"
        return response


def ground_of(site: Site) -> Ground:
    """Return what the pages of a site stand on."""
    found = _grounds.get(id(site))
    if found is None or found.site is not site:
        found = _grounds[id(site)] = Ground(site)
    return found


def routes(site: Site) -> list[BaseRoute]:
    """Return the routes of all pages."""
    ground = ground_of(site)
    feed = Feed(ground)

    async def ask(request: Request) -> Response:
        found = await acting.asked(ground, ACTS, request)
        return await ground.draw(request, found) if isinstance(found, Page) else found

    async def do(request: Request) -> Response:
        found = await acting.done(ground, ACTS, request)
        return await ground.draw(request, found) if isinstance(found, Page) else found

    async def find(request: Request) -> Response:
        return await finding.find(ground, request)

    async def operation(request: Request) -> Response:
        shown = ground.operations.shown(str(request.path_params["key"]))
        if shown is None:
            return HTMLResponse('<div id="operation"></div>')
        return ground.piece(request, "_operation.html", {"operation": shown})

    async def stop(request: Request) -> Response:
        key = str(request.path_params["key"])
        known = ground.operations.get(key)
        if known is not None:
            known.stop()
        return RedirectResponse(site.url(request, "/", op=key), 303)

    return [
        *(Route(path, served(ground, feed, make), methods=["GET"]) for path, make in PAGES.items()),
        Route("/find", find, methods=["GET"]),
        Route("/act/{act}", ask, methods=["GET"]),
        Route("/act/{act}", do, methods=["POST"]),
        Route("/operations/{key}", operation, methods=["GET"]),
        Route("/operations/{key}/stop", stop, methods=["POST"]),
        Mount("/static", Static(directory=STATIC)),
    ]


def failure(site: Site, request: Request, problem: Problem) -> Response:
    """Return the page for what went wrong: when Redis is away what was dialled and why, else what happened."""
    ground = ground_of(site)
    context: dict[str, Any] = {**ground.plain(request), "problem": problem, "back": ""}
    if problem.away is None:
        context["title"] = _TITLES.get(problem.status, problem.title)
        return HTMLResponse(ground.templates.get_template("problem.html").render(context), problem.status)
    context |= away_facts(ground, request, problem)
    return HTMLResponse(ground.templates.get_template("away.html").render(context), problem.status)


_TITLES = {
    401: "Who are you?",
    403: "You may not do this here",
    404: "There is no such page",
    405: "This cannot be done so",
    409: "It was done already",
    500: "This page broke, jobs are untouched",
}


def away_facts(ground: Ground, request: Request, problem: Problem) -> dict[str, Any]:
    """Return what the page says when Redis is away."""
    away = problem.away
    now = ground.plain(request)["now"]
    seconds = 0.0 if away is None or away.since is None else (now - away.since).total_seconds()
    since = words.duration(seconds) if seconds >= 1 else ""
    means = "" if away is None else away.means.partition(" Workers keep")[0]
    answered = away is not None and away.kind in {"password", "permission", "loading", "full", "readonly", "unfit"}
    return {
        "title": "Redis answers, but refuses" if answered else "Redis is not answering",
        "away": away,
        "since": since,
        "means": means,
        "posted": request.method == "POST",
        "seen": ground.pulse.seen,
    }
