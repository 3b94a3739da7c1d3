"""Which request and which tenant the running code works for, and what of a job's headers its children inherit."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context, ContextVar, Token, copy_context

import msgspec

REQUEST_ID = "x-request-id"
"""Header of a job that names the request it was made for."""

TRACE_HEADERS = ("traceparent", "tracestate", "baggage")
"""Headers that a tracer reads and writes (W3C Trace Context, W3C Baggage)."""

INHERITED = (REQUEST_ID, *TRACE_HEADERS)
"""Headers that jobs inherit from the job whose handler enqueues them. Others say something of that one job only."""


class Correlation(msgspec.Struct, frozen=True):
    """What is handed on: headers (only `INHERITED` ones) and tenant."""

    headers: Mapping[str, str]
    tenant: str | None = None

    @property
    def request_id(self) -> str | None:
        """The request, if one is known."""
        return self.headers.get(REQUEST_ID)


_current: ContextVar[Correlation | None] = ContextVar("streamq_correlation", default=None)

current = _current.get
"""Returns what holds here; None outside of `bind` and of jobs that carry nothing."""


def bind(found: Correlation | None) -> Token[Correlation | None]:
    """Let ``found`` hold in this context; `unbind` with what this returns."""
    return _current.set(found)


def unbind(token: Token[Correlation | None]) -> None:
    """Let hold again what held before."""
    try:
        _current.reset(token)
    except ValueError:  # left in another context than it was entered in, whose end is near
        _current.set(None)


def fresh() -> Context:
    """Return a copy of this context that works for nobody yet: what attempts start from."""
    found = copy_context()
    found.run(bind, None)
    return found


def enter(headers: Mapping[str, str], tenant: str | None) -> None:
    """Let the children of an attempt inherit from its headers and tenant, as long as its context lives."""
    _current.set(Correlation({name: headers[name] for name in INHERITED if name in headers}, tenant))
