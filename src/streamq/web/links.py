"""Links and filters in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

SLASH = "\ue000"
"""Stands for a slash in the name of a queue while paths are cut into segments; no name can hold it."""


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
