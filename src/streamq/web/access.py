"""Who may do what: the answer of an access function, and functions for passwords and tokens."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import inspect
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, get_args

import msgspec
from starlette.requests import Request

from ..errors import ConfigError

Level = Literal["full", "read", "deny"]
"""full: look and act. read: look. deny: neither."""

LEVELS: tuple[Level, ...] = get_args(Level)


class Access(msgspec.Struct, frozen=True):
    """The answer of an access function.

    who: for the audit trail and the page. redirect: where a browser that is denied is sent, such as a login page.
    challenge: the WWW-Authenticate header of a denial; it makes the answer 401 instead of 403. reason: why it was
    denied, for people.
    """

    level: Level
    who: str = ""
    redirect: str = ""
    challenge: str = ""
    reason: str = ""


AccessRule = Callable[[Request], Access | Level | Awaitable[Access | Level]]
"""An access function, sync or async: what a request may do."""


def basic(users: Mapping[str, str], *, read: Mapping[str, str] | None = None, realm: str = "streamq") -> AccessRule:
    """Return an access function for HTTP Basic: ``users`` (name to password) may act, those of ``read`` may look.

    Compared in constant time, over all names, so that neither a password nor a name can be found by the clock. Use it
    behind TLS only. Raises `ConfigError` for a name with a colon, an empty password, or nobody.
    """
    known = _known("users", users, read)
    if any(":" in name for name in (*users, *(read or {}))):
        raise ConfigError("users", list(users), "HTTP Basic has no names with a colon")
    challenge = f'Basic realm="{_quotable(realm)}", charset="UTF-8"'

    def rule(request: Request) -> Access:
        name, password = _credentials(request.headers.get("authorization", ""))
        found = Access("deny", challenge=challenge, reason="a name and a password are asked for")
        for who, (digest, level) in known.items():
            same_name = hmac.compare_digest(_digest(who), _digest(name))
            if hmac.compare_digest(digest, _digest(password)) and same_name:
                found = Access(level, who)
        return found

    return rule


def bearer(tokens: Mapping[str, str], *, read: Mapping[str, str] | None = None) -> AccessRule:
    """Return an access function for ``Authorization: Bearer``: name to token; those of ``read`` may only look.

    The name is what the audit trail says. Compared in constant time. Raises `ConfigError` for an empty token, or none.
    """
    known = _known("tokens", tokens, read)

    def rule(request: Request) -> Access:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        given = _digest(token.strip() if kind.lower() == "bearer" else "")
        found = Access("deny", challenge='Bearer realm="streamq"', reason="a bearer token is asked for")
        for who, (digest, level) in known.items():
            if hmac.compare_digest(digest, given):
                found = Access(level, who)
        return found

    return rule


def any_of(*rules: AccessRule) -> AccessRule:
    """Return an access function that lets in whom one of ``rules`` lets in: passwords for people, tokens for programs.

    A denial is that of the first rule.
    """
    if not rules:
        raise ConfigError("rules", rules, "give at least one access function")

    async def rule(request: Request) -> Access:
        denials: list[Access] = []
        for one in rules:
            found = await judged(one, request)
            if found.level != "deny":
                return found
            denials.append(found)
        return denials[0]

    return rule


async def judged(rule: AccessRule, request: Request) -> Access:
    """Return what an access function says of a request; raises `TypeError` for an answer that is none."""
    found: Any = rule(request)  # a user's: it may return anything
    if inspect.isawaitable(found):
        found = await found
    if isinstance(found, Access):
        return found
    for level in LEVELS:
        if found == level:
            return Access(level)
    raise TypeError(f'access returned {found!r}; it returns "full", "read", "deny" or Access(...)')


def this_machine(request: Request) -> Access:
    """Let in who comes from this machine and calls it by a local name: the rule where no other was given.

    The name is looked at because a web page can make its own name lead to 127.0.0.1; forwarding headers are, because a
    proxy on this machine speaks for the whole world.
    """
    forwarded = {"forwarded", "x-forwarded-for", "x-real-ip", "x-forwarded-host", "via"} & set(request.headers.keys())
    host = _host_of(request.headers.get("host", ""))
    client = request.client.host if request.client else ""
    if not forwarded and (client in {"", "localhost"} or is_loopback(client)) and is_loopback(host):
        return Access("full")
    reason = "without an access function only this very machine is let in; give Dashboard(access=...)"
    return Access("deny", reason=reason)


def is_loopback(host: str) -> bool:
    """Whether a name or an address means this very machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _host_of(header: str) -> str:
    """Return the name in a Host header, without the port."""
    if header.startswith("["):
        return header.partition("]")[0][1:]
    return header.partition(":")[0].lower()


def _known(
    option: str, full: Mapping[str, str], read: Mapping[str, str] | None
) -> dict[str, tuple[bytes, Literal["full", "read"]]]:
    found: dict[str, tuple[bytes, Literal["full", "read"]]] = {}
    for name, secret in (read or {}).items():
        found[name] = (_digest(secret), "read")
    for name, secret in full.items():
        found[name] = (_digest(secret), "full")
    if not found:
        raise ConfigError(option, {}, "nobody could come in; name at least one")
    empty = [name for name, secret in (*full.items(), *(read or {}).items()) if not secret]
    if empty:
        raise ConfigError(option, empty[0], "has an empty secret; is a variable of the environment missing?")
    return found


def _digest(text: str) -> bytes:
    # Of one length, so that compare_digest does not tell lengths; a defence against clocks, not a password hash.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _credentials(header: str) -> tuple[str, str]:
    kind, _, data = header.partition(" ")
    if kind.lower() != "basic":
        return "", ""
    try:
        name, _, password = base64.b64decode(data.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", ""
    return name, password


def _quotable(text: str) -> str:
    return "".join(one for one in text if one.isprintable() and one not in '"\\' and ord(one) < 127)
