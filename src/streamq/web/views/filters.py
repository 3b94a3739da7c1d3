"""The filter of the jobs page: one language for the URL, the filter bar and the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from . import words
from .command import line
from .states import LISTED

KEYS = (
    "queue", "state", "name", "tenant", "error", "payload", "since", "until", "priority", "attempts", "worker", "id",
)  # fmt: skip
"""Query parameters, keys of the filter bar and flags of the command line."""

STATES = (*LISTED, "retrying")

LANES = ("critical", "high", "normal", "low", "background")

_TOKEN = re.compile(r'(\w+):(?:"([^"]*)"|(\S*))')
_ID = re.compile(r"(?=.*\d)[0-9A-Za-z_.:-]{16,}")


class JobFilter(msgspec.Struct, frozen=True):
    """Which jobs are wanted; '' for any. ``text``: in id, handler, tenant or error. ``since``: as people wrote it."""

    queue: str = ""
    state: str = ""
    name: str = ""
    tenant: str = ""
    error: str = ""
    payload: str = ""
    since: str = ""
    until: str = ""
    priority: str = ""
    attempts: str = ""
    worker: str = ""
    id: str = ""
    text: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it asks for nothing but a queue and a state."""
        return all(key in {"queue", "state"} for key, _ in self.given())

    def given(self) -> list[tuple[str, str]]:
        """Return what is asked for, key and value, in the order of the bar."""
        pairs = [(key, str(getattr(self, key))) for key in (*KEYS, "text")]
        return [(key, value) for key, value in pairs if value]

    def replaced(self, **changes: str) -> JobFilter:
        """Return it with keys changed."""
        return msgspec.structs.replace(self, **changes)

    def url(self, path: str, **more: str) -> str:
        """Return the address of the page that shows it; bookmarks keep it."""
        pairs = [("q" if key == "text" else key, value) for key, value in self.given()]
        pairs += [(key, value) for key, value in more.items() if value]
        return f"{path}?{urlencode(pairs)}" if pairs else path


class Token(NamedTuple):
    """One part of the filter bar, and the address of the page without it."""

    key: str
    value: str
    without: str


def parsed(params: Mapping[str, str]) -> tuple[JobFilter, list[str]]:
    """Return the filter of a query string, and what in it could not be understood, as sentences.

    ``add``: what was typed into the bar: ``key:value`` pairs, the rest is looked for everywhere.
    """
    found = {key: params.get(key, "").strip()[:500] for key in KEYS}
    found["text"] = params.get("q", "").strip()[:500]
    wrong: list[str] = []
    typed = params.get("add", "").strip()[:2000]
    if typed:
        rest = _TOKEN.sub(lambda one: _taken(one, found), typed).strip()
        if rest and _ID.fullmatch(rest):
            found["id"] = rest
        elif rest:
            found["text"] = rest
    if found["state"] and found["state"] not in STATES:
        wrong.append(f"There is no list of “{found['state']}” jobs; there are {words.listed(list(STATES))}.")
        found["state"] = ""
    for key in ("since", "until"):
        if found[key] and words.seconds_in(found[key]) is None and not _is_instant(found[key]):
            wrong.append(f"“{found[key]}” is no time; write 90s, 5m, 1h30m, 2d, or an instant with its zone.")
            found[key] = ""
    if found["priority"] and found["priority"].lower() not in LANES:
        wrong.append(f"“{found['priority']}” is no priority; there are {words.listed(list(LANES))}.")
        found["priority"] = ""
    if found["attempts"] and not (found["attempts"].isascii() and found["attempts"].isdigit()):
        wrong.append(f"“{found['attempts']}” is no number of attempts.")
        found["attempts"] = ""
    return JobFilter(**found), wrong


def _taken(one: re.Match[str], found: dict[str, str]) -> str:
    key = "text" if one[1] == "q" else one[1]
    if key not in found:
        return one[0]
    found[key] = one[2] if one[2] is not None else one[3]
    return ""


def _is_instant(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def tokens(wanted: JobFilter, path: str) -> list[Token]:
    """Return the parts of the filter bar."""
    return [
        Token("q" if key == "text" else key, value, wanted.replaced(**{key: ""}).url(path))
        for key, value in wanted.given()
    ]


def told(wanted: JobFilter, *, of: str = "") -> str:
    """Return the filter in words: "queue delivery, state dead, error ProviderTimeout"."""
    parts = [f"{'text' if key == 'text' else key} {value}" for key, value in wanted.given() if key != "queue"]
    queue = of or wanted.queue
    return ", ".join(([f"queue {queue}"] if queue else []) + parts) or "all jobs"


def command(wanted: JobFilter, *words_: str) -> str:
    """Return the command line that gives the same jobs."""
    if wanted.id:
        return line("jobs", "show", wanted.id, queue=wanted.queue)
    return line(
        *(words_ or ("jobs", "list")),
        queue=wanted.queue,
        state="delayed" if wanted.state == "retrying" else wanted.state,
        name=wanted.name,
        tenant=wanted.tenant,
        error=wanted.error,
        search=wanted.text,
        where=_where(wanted.payload),
        since=wanted.since,
        until=wanted.until,
        priority=wanted.priority,
        attempts=wanted.attempts or ("1" if wanted.state == "retrying" else ""),
        worker=wanted.worker,
    )


def _where(text: str) -> str:
    """Return a payload filter as a condition."""
    found: list[str] = []
    for one in text.split(","):
        path, _, value = one.partition("=")
        if one.strip():
            found.append(f"{path.strip()} == {json.dumps(value.strip(), ensure_ascii=False)}")
    return " and ".join(found)
