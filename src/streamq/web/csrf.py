"""Whether a request that changes something was meant by whoever's browser sent it.

Two walls. First, a browser says where a request comes from (Sec-Fetch-Site, Origin): another site's is refused. Second,
a form carries a token that is in a cookie, too: another site can make a browser send the cookie, but cannot read it.
Programs send neither header; a request with a bearer token was never made by a browser on its own.
"""

from __future__ import annotations

import hmac
import re
import secrets
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

COOKIE = "streamq_csrf"
FIELD = "csrf"
HEADER = "x-csrf-token"

FIELDS = 2000
"""Most fields of a form."""

_TOKEN = re.compile(r"[0-9a-f]{64}")


def token_of(request: Request) -> tuple[str, bool]:
    """Return the token of this browser, and whether it is a new one."""
    found = request.cookies.get(COOKIE, "")
    return (found, False) if _TOKEN.fullmatch(found) else (secrets.token_hex(32), True)


def cookie(request: Request, token: str) -> str:
    """Return the Set-Cookie header for a token."""
    path = str(request.scope.get("root_path", "")) or "/"
    secure = "; Secure" if request.url.scheme == "https" else ""
    return f"{COOKIE}={token}; Path={path}; HttpOnly; SameSite=Strict{secure}"


def has_bearer(request: Request) -> bool:
    """Whether a request proves who it is with something that no browser sends by itself."""
    return request.headers.get("authorization", "")[:7].lower() == "bearer "


def foreign(request: Request) -> str:
    """Return where a request comes from if that is another site; '' for our own pages and for programs."""
    site = request.headers.get("sec-fetch-site")
    if site in {"same-origin", "none"}:
        return ""
    origin = request.headers.get("origin")
    if site is not None:
        return origin or site
    if origin is None:
        return ""
    host = _bare(request.headers.get("host", ""))
    return "" if host and _netloc(origin) == host else origin


def token_fits(request: Request, token: str, body: bytes) -> bool:
    """Whether the header or the form (``body``, urlencoded) carries the token of the cookie."""
    given = request.headers.get(HEADER)
    if given is None:
        try:
            fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FIELDS)
        except ValueError:
            return False
        given = fields.get(FIELD, [""])[0]
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _netloc(origin: str) -> str:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return _bare(parts.netloc)


def _bare(netloc: str) -> str:
    """Return host and port without a port that goes without saying; a proxy that ends TLS makes the schemes differ."""
    return netloc.lower().removesuffix(":80").removesuffix(":443")
