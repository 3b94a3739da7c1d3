"""The frame around every request: headers, access, CSRF, size, and what becomes of an error."""

from __future__ import annotations

import html
import importlib
import importlib.util
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import RedisUnavailable, ServerUnfit
from . import csrf
from .access import AccessRule, judged, this_machine
from .away import Away, Outage, describe
from .problems import Problem, Refusal, headers_of, problem_of, status_of
from .site import Seat, Site

log: Final = logging.getLogger("streamq.web")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS: Final[dict[str, str]] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: with that a browser says "Origin: null" of our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""On every response that does not say something else itself."""


class Frame:
    """Lets requests in to ``app``, and turns what it raises into answers."""

    def __init__(self, site: Site, app: ASGIApp, *, access: AccessRule | None, max_body: int) -> None:
        self.site = site
        self._app = app
        self._access = access or this_machine
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        sender = _Sender(request, send)
        try:
            redirect = await self._judge(request)
            if redirect is not None:
                await redirect(scope, receive, sender)
                return
            receive = self._limited(request, receive)
            receive = await self._meant(Request(scope, receive), receive)
            if _has_queues(request):
                await self.site.roster.refresh()
            await self._app(scope, receive, sender)
        except ClientDisconnect:
            return
        except Exception as problem:
            if sender.started:
                raise
            await (await self._failed(request, problem))(scope, receive, sender)

    # -- before -------------------------------------------------------------------------------------

    async def _judge(self, request: Request) -> Response | None:
        """Seat a request; a redirect for one that is denied and has somewhere else to go."""
        token, fresh = csrf.token_of(request)
        request.scope["streamq.seat"] = Seat(self.site.nobody, token, fresh)
        access = await judged(self._access, request)
        request.scope["streamq.seat"] = Seat(access, token, fresh)
        if access.level == "deny":
            if access.redirect and not is_program(request):
                return RedirectResponse(access.redirect, 303)
            reason = access.reason or "access is denied"
            if access.challenge:
                raise Refusal(401, "Unauthorized", reason, {"WWW-Authenticate": access.challenge})
            raise Refusal(403, "Denied", reason)
        if request.method not in csrf.SAFE and self.site.level(request) == "read":
            raise Refusal(403, "ReadOnly", "you may look here, and change nothing")
        return None

    async def _meant(self, request: Request, receive: Receive) -> Receive:
        """Refuse what another site made a browser send; return how the app receives the body."""
        if request.method in csrf.SAFE or csrf.has_bearer(request):
            return receive
        where = csrf.foreign(request)
        if where:
            raise Refusal(
                403,
                "ForeignOrigin",
                f"this request comes from {where[:200]!r}, another site. Behind a proxy: pass Host on",
            )
        if is_rest(request):
            return receive  # JSON: a form of another site cannot send it, and a script may not
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind not in {"", "application/x-www-form-urlencoded"}:
            raise Refusal(415, "UnsupportedMediaType", f"forms are application/x-www-form-urlencoded, not {kind[:100]}")
        body = await request.body()
        seat = self.site.seat(request)
        if seat.fresh or not csrf.token_fits(request, seat.token, body):
            raise Refusal(
                403, "TokenMissing", "the form is too old, or its cookie was not kept; load the page once more"
            )
        return _again(body, receive)

    def _limited(self, request: Request, receive: Receive) -> Receive:
        """Return a receive that refuses a body over the limit."""
        most = self._max_body
        told = request.headers.get("content-length", "")
        too_large = Refusal(
            413, "BodyTooLarge", f"a request may have {most:,} bytes; Dashboard(max_body=...) allows more"
        )
        if told.isdecimal() and int(told) > most:
            raise too_large
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise too_large
            return message

        return limited

    # -- after --------------------------------------------------------------------------------------

    async def _failed(self, request: Request, error: Exception) -> Response:
        """Return the answer to what was raised."""
        status, defect = status_of(error), ""
        if status == 500:
            defect = secrets.token_hex(4)
            log.error("%s %s failed (%s)", request.method, request.url.path, defect, exc_info=error)
        away = await self._away(error)
        problem = problem_of(error, instance=request.url.path, away=away, defect=defect)
        if is_program(request):
            response = Response(msgspec.json.encode(problem), status, media_type="application/problem+json")
        else:
            response = await self._page(request, problem)
        for name, value in headers_of(error).items():
            response.headers[name] = value
        return response

    async def _away(self, error: Exception) -> Away | None:
        if not isinstance(error, RedisUnavailable | ServerUnfit):
            return None
        reason = error.reason if isinstance(error, RedisUnavailable) else error.problem
        if isinstance(error, RedisUnavailable):
            if self.site.roster.outage is None:
                self.site.roster.outage = Outage(reason)
            else:
                self.site.roster.outage.once_more(reason)
        return await describe(error.url, reason, self.site.roster.outage)

    async def _page(self, request: Request, problem: Problem) -> Response:
        if importlib.util.find_spec(f"{__package__}.pages") is not None:
            pages = importlib.import_module(f"{__package__}.pages")
            failure: Callable[..., Response | Awaitable[Response]] | None = getattr(pages, "failure", None)
            if failure is not None and request.scope.get("streamq.seat") is not None:
                found = failure(self.site, request, problem)
                return found if isinstance(found, Response) else await found
        title = html.escape(f"{problem.title}: {self.site.title}")
        text = html.escape(problem.detail)
        return HTMLResponse(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><h1>{title}</h1><p>{text}</p>',
            problem.status,
        )


class _Sender:
    """Sends what the app sends, with the headers of the house."""

    def __init__(self, request: Request, send: Send) -> None:
        self.started = False
        self._request = request
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
            there = {name.lower() for name, _ in headers}
            headers += [
                (name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in there
            ]
            seat: Seat | None = self._request.scope.get("streamq.seat")
            kind = dict(headers).get(b"content-type", b"")
            if seat is not None and seat.fresh and kind.startswith(b"text/html"):
                headers.append((b"set-cookie", csrf.cookie(self._request, seat.token).encode()))
            message = {**message, "headers": headers}
        await self._send(message)


def path_of(request: Request) -> str:
    """Return the path below the mount."""
    path, root = str(request.scope["path"]), str(request.scope.get("root_path", ""))
    return path[len(root) :] if root and f"{path}/".startswith(f"{root}/") else path


def is_rest(request: Request) -> bool:
    """Whether a path belongs to programs."""
    path = path_of(request)
    return path in {"/api", "/queue", "/health", "/metrics"} or path.startswith(("/api/", "/queue/"))


def is_program(request: Request) -> bool:
    """Whether problem details are wanted rather than a page."""
    return is_rest(request) or "text/html" not in request.headers.get("accept", "")


def _has_queues(request: Request) -> bool:
    return not path_of(request).startswith("/static/") and path_of(request) != "/api/openapi.json"


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a receive that gives a body that was read already, then goes on."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
