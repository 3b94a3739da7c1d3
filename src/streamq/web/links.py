"""Links and filters in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict
from urllib.parse import quote, urlencode

from ..errors import ConfigError

SLASH = "\ue000"
"""Stands for a slash in the name of a queue while paths are cut into segments; no name can hold it."""


class Links(TypedDict, total=False):
    """Where the page of a job leads to, outside of here; both may be left out.

    trace_url: where a trace is shown, with ``{trace_id}`` in it: "https://jaeger.example/trace/{trace_id}".
    request_url: the same for a request id, ``{request_id}``: a search of your logs.
    """

    trace_url: str
    request_url: str


_FIELDS = {"trace_url": "{trace_id}", "request_url": "{request_id}"}


def checked_links(given: Links) -> Links:
    """Return what was given; raises `ConfigError` for what is no address, or has no place for the id."""
    for option, value in given.items():
        field = _FIELDS.get(option)
        if field is None:
            raise TypeError(f"Dashboard() got an unexpected keyword argument {option!r}")
        if not isinstance(value, str) or not value.startswith(("https://", "http://")) or field not in value:
            remedy = f'give an address with {field} in it, such as "https://example.org/find/{field}"'
            raise ConfigError(option, value, remedy)
    return given


def outward(links: Links, option: Literal["trace_url", "request_url"], value: str) -> str:
    """Return the address of the page that shows ``value``; '' when there is none."""
    template = links.get(option, "")
    return template.replace(_FIELDS[option], quote(value, safe="")) if template and value else ""


def segment(name: str) -> str:
    """Return the name of a queue as one segment of a path, for `link`."""
    return name.replace("/", SLASH)


def link(base: str, path: str, query: Mapping[str, object]) -> str:
    """Return ``path`` below ``base`` as a link; empty values of ``query`` are left out."""
    words = {name: str(value) for name, value in query.items() if value not in (None, "")}
    quoted = quote(base.rstrip("/") + path, safe="/@:~!$&'()*+,;=-._").replace(quote(SLASH), "%2F")
    return quoted + (f"?{urlencode(words)}" if words else "")


def in_words(filters: Mapping[str, Any]) -> str:
    """Return a filter as the audit trail keeps it: name=value, without what was left open."""
    return " ".join(f"{name}={value}" for name, value in filters.items() if value not in (None, "", [], ()))
