"""What people do: each act is asked for in a dialog (or a page) that says what will happen, and done by a POST."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ...errors import ConfigError, EnqueueError, InvalidPayload, JobStateError, ResultError, ScheduleUnknown
from ..site import Site
from .ground import Ground, Notice, Page
from .operations import Operation

TOO_LATE = (JobStateError, ResultError, ScheduleUnknown)
"""What an act meets when somebody, or the job itself, was faster: told, and nothing is done twice."""


class Field(NamedTuple):
    """A field of a dialog. ``kind``: text, json, choice, typed (``value`` has to be typed, shown as ``hint``)."""

    name: str
    label: str
    kind: str = "text"
    value: str = ""
    hint: str = ""
    choices: Sequence[tuple[str, str]] = ()


class Ask(NamedTuple):
    """A dialog: question, what happens, which jobs, what to mind. Without ``button`` there is nothing to do."""

    title: str
    says: str = ""
    which: Sequence[tuple[str, str]] = ()
    inputs: Sequence[Field] = ()
    mind: str = ""
    command: str = ""
    button: str = ""
    danger: bool = False
    fields: Sequence[tuple[str, object]] = ()
    problem: str = ""


class Outcome(NamedTuple):
    """What came of an act. ``path``, ``query``: the page to go to. ``operation``: work that goes on."""

    text: str
    path: str = ""
    query: Mapping[str, str] = {}
    next_path: str = ""
    label: str = ""
    operation: Operation | None = None
    failed: bool = False


@dataclass(frozen=True)
class Form:
    """An act under way: what it was given, and by whom."""

    ground: Ground
    request: Request
    given: Mapping[str, str]
    ids: Sequence[str]

    @property
    def site(self) -> Site:
        """The site."""
        return self.ground.site

    def __getitem__(self, name: str) -> str:
        """Return a field, '' when it was not given."""
        return self.given.get(name, "")


class Wrong(Exception):
    """What was filled in cannot be taken; the dialog is shown again with this text."""


AskFn = Callable[[Form], Awaitable[Ask]]
DoFn = Callable[[Form], Awaitable[Outcome]]


class Act(NamedTuple):
    """An act: how it is asked for (None: it needs no asking), and how it is done."""

    ask: AskFn | None
    do: DoFn | None


async def asked(ground: Ground, acts: Mapping[str, Act], request: Request) -> Page | Response:
    """Show the dialog of an act, as a fragment for htmx and else as a page."""
    name, act = _act(acts, request)
    if ground.site.level(request) != "full":
        raise HTTPException(403, "you may look here, and change nothing")
    if act.ask is None:
        return RedirectResponse(ground.site.url(request, "/"), 303)
    form = Form(ground, request, dict(request.query_params), request.query_params.getlist("id"))
    return _shown(form, name, await act.ask(form))


def _shown(form: Form, name: str, ask: Ask, status: int = 200) -> Page | Response:
    back = form.request.headers.get("referer", "")
    back = back if back.startswith(str(form.request.base_url)) else form.site.url(form.request, "/")
    context = {"ask": ask, "act": name, "back": back}
    if form.request.headers.get("hx-request") == "true":
        return form.ground.piece(form.request, "_ask.html", context)
    return Page("ask.html", ask.title, context, "", "", status=status)


async def done(ground: Ground, acts: Mapping[str, Act], request: Request) -> Page | Response:
    """Do an act, and go to the page that shows what came of it."""
    name, act = _act(acts, request)
    if act.do is None:
        raise HTTPException(405, "this only asks")
    pairs = parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=2000)
    form = Form(ground, request, dict(pairs), [value for key, value in pairs if key == "id"])
    try:
        outcome = await act.do(form)
    except Wrong as problem:
        if act.ask is None:
            raise HTTPException(422, str(problem)) from None
        return _shown(form, name, (await act.ask(form))._replace(problem=str(problem)), 422)
    except (InvalidPayload, ConfigError, EnqueueError) as problem:
        if act.ask is None:
            raise
        return _shown(form, name, (await act.ask(form))._replace(problem=str(problem)), 422)
    except TOO_LATE as problem:
        outcome = Outcome(f"Nothing was done: {problem}.", failed=True)
    ground.pulse.forget()
    return RedirectResponse(_next(form, outcome), 303)


def _next(form: Form, outcome: Outcome) -> str:
    """Return the page to go to: the one the act names, else the one it was done on."""
    ground, request = form.ground, form.request
    more: dict[str, str] = {}
    if outcome.text:
        more["n"] = ground.note(Notice(outcome.text, outcome.failed, outcome.next_path, outcome.label))
    if outcome.operation is not None:
        more["op"] = outcome.operation.id
    if outcome.path:
        return form.site.url(request, outcome.path, **{**outcome.query, **more})
    referer = request.headers.get("referer", "")
    root = str(request.base_url).rstrip("/")
    inside = referer[len(root) :] if referer.startswith(f"{root}/") else "/"
    path, _, query = inside.partition("?")
    path = unquote(path.partition("#")[0])
    kept = {key: value for key, value in parse_qsl(query) if key not in {"n", "op", "live"}}
    if path.startswith("/act/"):
        return form.site.url(request, "/", **more)
    return form.site.url(request, path, **{**kept, **more})


def _act(acts: Mapping[str, Act], request: Request) -> tuple[str, Act]:
    name = str(request.path_params.get("act", ""))
    if name == "jobs":  # one form for what was selected, and a button for each act
        name = request.query_params.get("do", "")
    found = acts.get(name)
    if found is None:
        raise HTTPException(404, "there is no such act")
    return name, found
