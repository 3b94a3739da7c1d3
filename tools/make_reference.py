"""Write docs/reference from the code: states, keys, scripts, errors, options and the API.

``python tools/make_reference.py`` writes the pages; with ``--check`` it only says which ones are out of date. A test
asserts that the committed pages are what this writes, so they cannot drift from the code.
"""

import argparse
import ast
import enum
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

import streamq
import streamq.testing
from streamq import HandlerOptions, JobFilter, JobOptions, JobState, QueueOptions, ScheduleOptions, Worker, errors, web
from streamq._core.lifecycle import TRANSITIONS, Transition
from streamq._core.metrics import CATALOGUE as METRICS
from streamq._core.stats import BOUNDS_MS
from streamq._store.keys import CATALOGUE, Keys, registry_key, trail_key
from streamq._store.scripts import LINES, PROTOCOL, VERBS
from streamq.web import rest

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
BY_HAND = "<!-- Written by tools/make_reference.py. Change the code, then run that. -->\n"


# -- states ---------------------------------------------------------------------------------------------------


class Arrow(NamedTuple):
    """How a transition is drawn: the path, and where its label stands."""

    path: str
    at: tuple[int, int]
    label: str = ""


BOXES: dict[JobState, tuple[int, int]] = {
    JobState.DELAYED: (190, 130),
    JobState.WAITING: (190, 300),
    JobState.ACTIVE: (450, 300),
    JobState.PARKED: (450, 440),
    JobState.COMPLETED: (730, 300),
    JobState.DEAD: (730, 130),
    JobState.EXPIRED: (730, 370),
    JobState.CANCELLED: (730, 440),
}
"""Centre of each state's box."""

_S = JobState
ARROWS: dict[tuple[str, JobState | None, JobState], Arrow] = {
    ("enqueue", None, _S.WAITING): Arrow("M 24 300 H 132", (52, 292)),
    ("enqueue", None, _S.DELAYED): Arrow("M 24 130 H 132", (52, 122)),
    ("promote", _S.DELAYED, _S.WAITING): Arrow("M 190 150 V 278", (158, 220)),
    ("fetch", _S.WAITING, _S.ACTIVE): Arrow("M 246 294 H 392", (320, 286)),
    ("release", _S.ACTIVE, _S.WAITING): Arrow("M 394 308 H 248", (320, 325)),
    ("take", _S.WAITING, _S.ACTIVE): Arrow("M 240 282 C 285 250 355 250 398 278", (320, 252)),
    ("divert", _S.ACTIVE, _S.WAITING): Arrow("M 396 316 C 350 347 290 347 247 318", (320, 353)),
    ("limited", _S.ACTIVE, _S.WAITING): Arrow("M 408 321 C 360 392 285 392 228 322", (320, 388)),
    ("renew", _S.ACTIVE, _S.ACTIVE): Arrow("M 462 280 C 462 235 510 235 490 278", (525, 250)),
    ("reclaim", _S.ACTIVE, _S.ACTIVE): Arrow("M 462 320 C 462 365 510 365 490 322", (496, 380)),
    ("complete", _S.ACTIVE, _S.COMPLETED): Arrow("M 506 300 H 672", (590, 293)),
    ("retry", _S.ACTIVE, _S.DELAYED): Arrow("M 425 280 C 400 215 330 150 248 142", (437, 240)),
    ("bury", _S.ACTIVE, _S.DEAD): Arrow("M 500 282 L 690 152", (570, 218)),
    ("end", _S.ACTIVE, _S.EXPIRED): Arrow("M 506 308 C 590 320 620 360 672 368", (622, 335)),
    ("end", _S.ACTIVE, _S.CANCELLED): Arrow("M 500 318 C 560 345 610 420 672 432", (592, 374)),
    ("park", _S.ACTIVE, _S.PARKED): Arrow("M 438 320 V 418", (414, 375)),
    ("unpark", _S.PARKED, _S.ACTIVE): Arrow("M 452 420 V 322", (484, 412)),
    ("cancel", _S.PARKED, _S.CANCELLED): Arrow("M 506 442 H 672", (590, 459)),
    ("cancel", _S.WAITING, _S.CANCELLED): Arrow("M 200 320 C 230 500 560 505 690 462", (240, 432)),
    ("cancel", _S.DELAYED, _S.CANCELLED): Arrow(
        "M 134 140 C 40 220 40 520 420 520 C 560 520 680 500 722 462", (98, 430)
    ),
    ("replay", _S.DEAD, _S.DELAYED): Arrow("M 674 118 C 560 70 360 70 248 118", (460, 76)),
    ("replay", _S.DEAD, _S.WAITING): Arrow("M 674 138 C 560 150 330 190 232 278", (480, 150)),
}

_STYLE = """\
  text { font: 13px system-ui, sans-serif; fill: #24292f; text-anchor: middle; }
  text.verb { font-size: 12px; fill: #57606a; }
  rect { fill: #f6f8fa; stroke: #57606a; } rect.end { fill: #eaeef2; stroke-width: 2; }
  path { fill: none; stroke: #57606a; } marker path { fill: #57606a; stroke: none; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } text.verb { fill: #9da7b3; } rect { fill: #161b22; stroke: #9da7b3; }
    rect.end { fill: #21262d; } path { stroke: #9da7b3; } marker path { fill: #9da7b3; }
  }"""


_TIP = """\
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">\
<path d="M 0 0 L 8 4 L 0 8 z"/></marker></defs>"""


def states_svg() -> str:
    """Draw TRANSITIONS; a row without an arrow here, or an arrow without a row, is an error."""
    rows = {(one.verb, one.source, one.target) for one in TRANSITIONS}
    if rows != set(ARROWS):
        raise SystemExit(f"ARROWS and TRANSITIONS differ: {sorted(map(str, rows ^ set(ARROWS)))}")
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 60 830 480" role="img" aria-label="States of a job">',
        f"<style>\n{_STYLE}\n</style>",
        _TIP,
    ]
    for (verb, _, _), arrow in ARROWS.items():
        x, y = arrow.at
        parts.append(f'<path d="{arrow.path}" marker-end="url(#tip)"/>')
        parts.append(f'<text class="verb" x="{x}" y="{y}">{verb}</text>')
    for state, (x, y) in BOXES.items():
        kind = ' class="end"' if state.is_final else ""
        parts.append(f'<rect{kind} x="{x - 56}" y="{y - 20}" width="112" height="40" rx="8"/>')
        parts.append(f'<text x="{x}" y="{y + 5}">{state}</text>')
    return "\n".join([*parts, "</svg>\n"])


def states() -> str:
    """Return the page of states and transitions."""
    drawn = {state for one in TRANSITIONS for state in (one.source, one.target)}
    unused = [state for state in JobState if state not in drawn and state is not JobState.UNKNOWN]
    final = ", ".join(f"`{state}`" for state in JobState if state.is_final)
    lines = [
        "# States and transitions",
        BY_HAND,
        "The life of a job, from `TRANSITIONS` in `src/streamq/_core/lifecycle.py`. One verb is one Lua script, or one",
        "part of the [settle script](scripts.md#settle).",
        "",
        "![States of a job and the verbs between them](states.svg)",
        "",
        f"Final states: {final}. A final job moves again only by hand: `replay` brings a dead one back.",
        "`unknown` is an answer and not a state: the job has left no trace. "
        + (f"Reserved, not reached yet: {', '.join(f'`{state}`' for state in unused)}." if unused else ""),
        "",
        "| verb | from | to | who | when |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_transition(one) for one in TRANSITIONS), ""])


def _transition(one: Transition) -> str:
    return f"| `{one.verb}` | {one.source or '(nothing)'} | {one.target} | {one.who} | {one.note} |"


# -- keys -----------------------------------------------------------------------------------------------------


def keys() -> str:
    """Return the page of keys."""
    example = Keys("streamq", "emails")
    lines = [
        "# Keys",
        BY_HAND,
        "Every key of a queue, from `CATALOGUE` in `src/streamq/_store/keys.py`. The part in braces is the hash tag:",
        "all keys of one partition share a slot of a cluster. The number is the partition; there is one so far, 0.",
        "",
        f"A full name is prefix, tag, suffix: `{example.meta.decode()}` is the meta hash of queue `emails` under the",
        "prefix `streamq`.",
        "",
        "| suffix | type | lives | holds |",
        "|---|---|---|---|",
        *(f"| `{one.suffix}` | {one.kind} | {one.lifetime} | {one.holds} |" for one in CATALOGUE),
        "",
        f"Beside them, one per prefix: `{registry_key('streamq').decode()}`, a set of the names of all queues,",
        f"and `{trail_key('streamq').decode()}`, a stream of the last 10,000 things people did in the dashboard.",
        "",
        "## Channels",
        "",
        "Sharded publish and subscribe, never needed for correctness:",
        "",
        "| channel | says |",
        "|---|---|",
        f"| `{example.control.decode()}` | `cancel <job id>`: stop; `due <ms>`: earlier; `schedules`: one changed |",
        f"| `{example.done.decode()}<waiter>` | `r<job id>`: ended, left a record; `n<job id>`: returned None |",
        "",
    ]
    return "\n".join(lines)


# -- scripts --------------------------------------------------------------------------------------------------

_SECTION = re.compile(r"(?:^|(?<=[.\s]))(KEYS|ARGV|Reply|Errors|Replay|Fence|Order|Item): ")
_CALL = re.compile(r"redis\.p?call\('(\w+)'(?:, '(GROUPS|CONSUMERS|CREATE|DELCONSUMER)')?")

CONNECTION = ("ping", "info", "time", "client|setname", "client|setinfo", "evalsha", "script|load", "sadd")


class Role(NamedTuple):
    """What one kind of process calls: scripts, and commands beside them."""

    name: str
    does: str
    verbs: tuple[str, ...]
    direct: tuple[str, ...]


ROLES = (
    Role("producer", "enqueues, looks jobs up, waits for results", ("enqueue", "look", "emit"), ("ssubscribe",)),
    Role(
        "worker",
        "runs jobs; handlers that enqueue need the producer's commands as well",
        (
            "fetch",
            "take",
            "settle",
            "renew",
            "tick",
            "reconcile",
            "promote",
            "unpark",
            "purge",
            "leave",
            "counts",
            "stats",
            "limit",
            "breaker",
            "emit",
            "watch",
        ),
        ("blpop", "lpush", "client|id", "client|kill", "ssubscribe"),
    ),
    Role(
        "scheduler",
        "declares schedules and fires their ticks, beside a worker or alone",
        ("schedule", "schedules", "fire"),
        ("ssubscribe",),
    ),
    Role(
        "operator",
        "counts, lists, cancels, moves, replays, pauses: the management commands",
        (
            "look",
            "counts",
            "cancel",
            "promote",
            "reprioritise",
            "replay",
            "purge",
            "clean",
            "pause",
            "emit",
            "limit",
            "explain",
            "breaker",
            "schedule",
            "schedules",
            "stats",
            "verify",
            "slots",
            "deaths",
            "recount",
            "recover",
        ),
        (
            *("smembers", "xinfo|groups", "xpending", "xrange", "xrevrange", "zrange", "lrange", "ssubscribe"),
            *("hget", "hgetall", "hmget", "hdel", "hscan", "zscan", "zmscore", "scan", "exists", "xinfo|consumers"),
            "config|get",
        ),
    ),
)


ALL_VERBS = (*VERBS, *(verb for verb in LINES if verb not in VERBS))


def commands_of(verb: str) -> set[str]:
    """Return the Redis commands that the builds of a script call."""
    return {one for parts in (VERBS.get(verb), LINES.get(verb)) if parts for one in _commands(verb, parts)}


def _commands(verb: str, parts: Sequence[str]) -> set[str]:
    """Return the commands of one build; of the small parts put in front only the functions that it uses."""
    own = "\n".join(_lua(name) for name in (f"{verb}.lua", *parts) if not name.startswith("_"))
    shared = {
        name: body
        for part in parts
        if part.startswith("_")
        for name, body in re.findall(r"^local function (\w+)(.*?)^end", _lua(part), re.MULTILINE | re.DOTALL)
    }
    used = own
    while more := [name for name in shared if re.search(rf"\b{name}\(", used)]:
        used += "".join(shared.pop(name) for name in more)
    found = {f"{name}|{part}".lower() if part else name.lower() for name, part in _CALL.findall(used)}
    # Commands that come from a table instead of a literal.
    return found | ({"hlen", "llen", "xlen", "zcard"} if "redis.call(SIZE[" in used else set())


def _lua(name: str) -> str:
    return resources.files("streamq._store").joinpath("lua", name).read_text("utf-8")


def permissions(role: Role) -> list[str]:
    """Return every command a role needs, sorted."""
    found = {*CONNECTION, *role.direct}
    for verb in role.verbs:
        found |= commands_of(verb)
    return sorted(found)


def scripts() -> str:
    """Return the page of Lua scripts."""
    lines = [
        "# Scripts",
        BY_HAND,
        "The Lua verbs, from the headers of `src/streamq/_store/lua/`. A script is run by its SHA and loaded when the",
        "server does not know it. All keys come in as KEYS; time is the server's; a batch has at most 500 items.",
        f"The protocol version is {PROTOCOL}: two versions of streamq with different ones refuse each other's queues.",
        "",
        "## Permissions",
        "",
        "Commands for an ACL user, those inside of scripts included (Redis checks them too). Keys: `~streamq:*`,",
        "channels: `&streamq:*`, with your prefix. A process that does two things needs both lists.",
        "",
    ]
    for role in ROLES:
        lines += [f"**{role.name}** {role.does}:", "", "```text", " ".join(f"+{one}" for one in permissions(role))]
        lines += ["```", ""]
    for verb in ALL_VERBS:
        lines += _script_section(verb, f"{verb}.lua", "##")
        for name in LINES.get(verb, ()):
            if name.startswith("settle/"):
                lines += _script_section(Path(name).stem, name, "###")
    return "\n".join(lines)


def _script_section(title: str, file: str, level: str) -> Iterator[str]:
    yield from (f"{level} {title}", "")
    for header in _headers(_lua(file)):
        said, *parts = _SECTION.split(header)
        sentence = _escaped(re.sub(r"^\w+: ", "", said).strip())
        yield from (sentence[:1].upper() + sentence[1:], "")
        named = zip(parts[::2], parts[1::2], strict=True)
        yield from (f"- **{name}**: {_escaped(part.strip())}" for name, part in named)
        yield ""
    if level == "##":
        called = (f"`{one.upper().replace('|', ' ')}`" for one in sorted(commands_of(title)))
        yield from (f"Calls {', '.join(called)}.", "")


def _headers(text: str) -> Iterator[str]:
    """Yield the comment at the top of a Lua file and those over its further functions, if they say what an item is."""
    for number, block in enumerate(re.findall(r"(?:^--.*\n)+", text, re.MULTILINE)):
        header = " ".join(line.removeprefix("--").strip() for line in block.splitlines())
        if number == 0 or "Item: " in header:
            yield header


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*")


# -- metrics ------------------------------------------------------------------------------------------------


def metrics() -> str:
    """Return the page of metrics."""
    lines = [
        "# Metrics",
        BY_HAND,
        "Every metric of `streamq metrics` and `streamq.metrics.exposition`, from `CATALOGUE` in",
        "`src/streamq/_core/metrics.py`. How to get and use them: [metrics and reports](../how-to/metrics.md).",
        "",
        "| metric | type | labels | says |",
        "|---|---|---|---|",
        *(
            f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.help} |"
            for one in METRICS
        ),
        "",
        "Labels are bounded: beyond a hundred handlers the rest is `other`. Upper bounds of the buckets in seconds: "
        + ", ".join(f"{bound / 1000:g}" for bound in BOUNDS_MS)
        + ".",
        "",
        "Counters are since the queue began, over all processes. They fall only when the queue is deleted.",
        "",
    ]
    return "\n".join(lines)


# -- errors ---------------------------------------------------------------------------------------------------


def errors_page() -> str:
    """Return the page of errors."""
    head, _, rest = inspect.cleandoc(errors.__doc__ or "").partition("\n\n")
    tree, _, tail = rest.partition("\n\n")
    lines = ["# Errors", BY_HAND, f"{head} Import them from `streamq.errors`.", "", "```text", inspect.cleandoc(tree)]
    lines += ["```", "", tail.replace("\n", " "), ""]
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, Exception):
            known = re.findall(r"self\.(\w+)(?:: [^=]+)? =", inspect.getsource(kind))
            lines += [f"### {name}", "", inspect.cleandoc(kind.__doc__ or ""), ""]
            bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__)
            carries = ", ".join(f"`{one}`" for one in known)
            lines += [f"Bases: {bases}." + (f" Carries {carries}." if carries else ""), ""]
    return "\n".join(lines)


# -- options --------------------------------------------------------------------------------------------------


def options() -> str:
    """Return the page of options."""
    units = "Durations are seconds (a number) or a `timedelta`; instants are aware `datetime`."
    lines = ["# Options", BY_HAND, units, ""]
    for title, kind, used in (
        ("Queue", QueueOptions, 'Queue("name", ...)'),
        ("Handler", HandlerOptions, '@queue.handler("name", ...)'),
        ("Job", JobOptions, "handler.with_options(...), queue.enqueue(name, payload, ...)"),
        ("Schedule", ScheduleOptions, "@scheduler.cron(...), @scheduler.every(...), scheduler.upsert(...)"),
        ("Filter", JobFilter, "queue.jobs(state, ...)"),
    ):
        typed = {name: _annotation(value) for name, value in kind.__annotations__.items()}
        lines += [f"## {title}", "", f"`{used}`", "", *_described(inspect.cleandoc(kind.__doc__ or ""), typed), ""]
    signature = inspect.signature(Worker)
    typed = {name: _annotation(one.annotation) for name, one in signature.parameters.items() if name != "queues"}
    lines += ["## Worker", "", "`Worker(queue, ...)`, or `Worker([queue, other], ...)`", ""]
    defaults = {name: signature.parameters[name].default for name in typed}
    return "\n".join([*lines, *_described(inspect.cleandoc(Worker.__doc__ or ""), typed, defaults), ""])


def _described(doc: str, typed: dict[str, str], defaults: dict[str, Any] | None = None) -> Iterator[str]:
    """Yield a docstring of the shape "name: text. name, other: text." as a list, and the types as a table."""
    text = doc.replace("\n", " ")
    starts = re.compile(rf"(?:(?<=\. )|(?<=\.  )|^)(?=(?:{'|'.join(typed)})\b[ (:,])")
    first, *entries = starts.split(text)
    if first.strip():
        yield from (first.strip(), "")
    for entry in entries:
        name = re.match(r"\w+", entry)
        assert name is not None  # noqa: S101 - the pattern begins with one
        yield f"- `{name[0]}`{entry[name.end() :].rstrip()}"
    yield from ("", "| option | type |" + " default |" * bool(defaults), "|---|---|" + "---|" * bool(defaults))
    for option, kind in typed.items():
        more = f" `{defaults[option]!r}` |" if defaults else ""
        yield f"| `{option}` | `{kind}` |{more}"


def _annotation(value: Any) -> str:
    # Annotations are kept as text in streamq; a TypedDict wraps that into a ForwardRef.
    text: str = value if isinstance(value, str) else value.__forward_arg__
    return text.replace("|", "\\|")


# -- API ------------------------------------------------------------------------------------------------------

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Doors", ("Queue", "Worker", "Handler", "BoundHandler", "Depends")),
    ("Jobs", ("Job", "JobSpec", "JobState", "JobInfo", "AttemptInfo", "JobPage", "Priority")),
    ("In a handler", ("Context", "current_context", "Retry", "Snooze", "RateLimited", "Discard", "Fatal")),
    ("Backoff and retention", ("Fixed", "Linear", "Exponential", "Keep")),
    ("When and how much", ("RateLimit", "Group", "Dedup", "Arg", "CircuitBreaker", "BreakerInfo")),
    ("Limits while workers run", ("Limits", "LimitInfo", "Deduplication", "Block", "Explanation", "GateInfo")),
    ("Batches", ("BatchHandler", "BatchContext", "BatchItem")),
    ("Schedules", ("Scheduler", "ScheduleInfo")),
    ("Dead letters", ("DeadLetters", "DeadLetter", "Replayed")),
    ("Health, alerts, events", ("Health", "HealthPolicy", "Reason", "AlertRule", "Alert", "Event")),
    ("Statistics", ("Stats", "StatRow", "Histogram", "Minute")),
    ("Looking", ("Counts", "WorkerInfo")),
    ("Following a request", ("correlate", "LogContext")),
    ("Verify and recover", ("Verification", "Finding", "Recovery", "Repair")),
    ("Elsewhere", ("QueueOptions", "HandlerOptions", "JobOptions", "ScheduleOptions", "JobFilter", "StreamqError")),
)
ELSEWHERE = {
    "StreamqError": "errors.md",
    **dict.fromkeys(("QueueOptions", "HandlerOptions", "JobOptions", "ScheduleOptions", "JobFilter"), "options.md"),
}
INNER = {"keep", "most_at_once", "offset_ms", "owner", "per_ms", "replay_dead", "send_spec"}
"""Members that other modules of streamq call."""
MADE_BY_OTHERS = {
    *("Handler", "BoundHandler", "BatchHandler", "Job", "JobSpec", "DeadLetters", "Context", "BatchContext"),
    *("Limits", "Deduplication", "Block", "Attempted", "Report"),
}
"""Classes that applications get and do not make."""


def api() -> str:
    """Return the page of public names."""
    listed = [name for _, names in GROUPS for name in names]
    if sorted(listed) != sorted(streamq.__all__):
        raise SystemExit(f"GROUPS and streamq.__all__ differ: {sorted(set(listed) ^ set(streamq.__all__))}")
    lines = ["# API", BY_HAND, "Everything `from streamq import ...` gives. What is not here is not public.", ""]
    for title, names in GROUPS:
        lines += [f"## {title}", ""]
        for name in names:
            if name in ELSEWHERE:
                lines += [f"- `{name}`: see [{ELSEWHERE[name].removesuffix('.md')}]({ELSEWHERE[name]})"]
            else:
                lines += _public(name, getattr(streamq, name))
        lines += [""]
    return "\n".join(lines)


def _public(name: str, value: Any) -> Iterator[str]:
    yield from (f"### {name}", "")
    found: type[Any] = value
    if not isinstance(value, type):
        kind = "async " if inspect.iscoroutinefunction(found) else ""
        yield from (
            "```python",
            f"{kind}def {name}{_signature(found)}",
            "```",
            "",
            inspect.cleandoc(found.__doc__ or ""),
            "",
        )
        return
    if issubclass(found, enum.Enum):
        yield from (inspect.cleandoc(found.__doc__ or ""), "")
        members = cast("Sequence[enum.Enum]", list(found))
        yield from ("Members: " + ", ".join(f"`{one.name}`" for one in members) + ".", "")
        return
    if issubclass(found, msgspec.Struct):
        fields = msgspec.structs.fields(found)
        shown = ", ".join(one.name if one.required else f"{one.name}={_default(one.default)}" for one in fields)
        yield from ("```python", f"class {name}({shown})", "```", "")
    elif name not in MADE_BY_OTHERS:
        yield from ("```python", f"class {name}{_signature(found)}", "```", "")
    yield from (inspect.cleandoc(found.__doc__ or ""), "")
    # Queue is made of two classes; what it inherits is as public as what it declares.
    own = [vars(kind) for kind in (found, *found.__bases__) if kind.__module__.startswith("streamq")]
    members = [line for one in own for member, value in one.items() for line in _member(member, value)]
    yield from (*members, "") if members else ()


def _default(value: Any) -> str:
    return f"{type(value).__name__}.{value.name}" if isinstance(value, enum.Enum) else repr(value)


def _member(name: str, value: Any) -> Iterator[str]:
    doc = inspect.cleandoc(getattr(value, "__doc__", None) or "").replace("\n\n", " ").replace("\n", " ")
    if (name.startswith("_") and name != "__call__") or not doc or name in INNER or "Not for applications" in doc:
        return
    if isinstance(value, property):
        yield f"- **`{name}`** (property): {doc}"
    elif inspect.isfunction(value):
        kind = "async " if inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value) else ""
        yield f"- **`{kind}{name}{_signature(value, bound=True)}`**: {doc}"


def _signature(found: Callable[..., Any], *, bound: bool = False) -> str:
    signature = inspect.signature(found)
    given = list(signature.parameters.values())[1:] if bound else list(signature.parameters.values())
    signature = signature.replace(parameters=given)
    if isinstance(found, type):
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    # Annotations are kept as text in streamq; without their quotes they read as written.
    return re.sub(r"(?<=: )'([^']*)'|(?<=-> )'([^']*)'", r"\1\2", str(signature))


# -- REST -----------------------------------------------------------------------------------------------------


def rest_page() -> str:
    """Return the page of REST operations, and of what makes the app."""
    about = "Operations of `streamq.web.Dashboard`, an ASGI app (extra `dashboard`). Types are in its OpenAPI document,"
    lines = ["# REST", BY_HAND, about]
    lines += ["`/api/openapi.json`; how to use them is in [REST](../how-to/rest-api.md).", ""]
    for name in ("Dashboard", "Access", "basic", "bearer", "any_of"):
        lines += [*_public(name, getattr(web, name)), ""]
    titles: dict[str, list[str]] = {}
    for prefix, operations in rest.DOCUMENTED:
        for one in operations:
            path = re.sub(r":\w+\}", "}", prefix + one.path)
            said = f"{one.summary}. {one.description}".strip()
            codes = ", ".join(str(code) for code in (one.status, *one.also))
            titles.setdefault(one.tag, []).append(f"| `{one.method}` | `{path}` | {said} | {codes} |")
    for title, rows in titles.items():
        lines += [f"## {title.capitalize()}", "", "| | path | does | answers |", "|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


# -- testing kit ----------------------------------------------------------------------------------------------

KIT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Queues in memory, and their time", ("MemoryQueues", "Clock", "freeze")),
    ("Running jobs", ("run_until_idle", "Report", "Attempted", "Faults")),
    ("What is enqueued", ("assert_enqueued", "assert_not_enqueued", "enqueued")),
    ("One attempt", ("perform", "overrides")),
)


def testing() -> str:
    """Return the page of the testing kit: fixtures and public names."""
    listed = sorted(name for _, names in KIT for name in names)
    if listed != sorted(streamq.testing.__all__):
        raise SystemExit(f"KIT and streamq.testing differ: {sorted(set(listed) ^ set(streamq.testing.__all__))}")
    lines = [
        "# Testing kit",
        BY_HAND,
        "What `from streamq.testing import ...` gives, and the fixtures of its pytest plugin. How to use them:",
        "[Test your application](../how-to/test-your-application.md).",
        "",
        "## Fixtures",
        "",
        "| fixture | scope | gives |",
        "|---|---|---|",
        *_fixtures(),
        "",
    ]
    for title, names in KIT:
        lines += [f"## {title}", ""]
        for name in names:
            lines += _public(name, getattr(streamq.testing, name))
    return "\n".join(lines)


def _fixtures() -> Iterator[str]:
    plugin = resources.files("streamq.testing").joinpath("plugin.py").read_text("utf-8")
    for node in ast.parse(plugin).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            scope = "session" if "session" in ast.dump(node.decorator_list[0]) else "test"
            yield f"| `{node.name}` | {scope} | {(ast.get_docstring(node) or '').replace(chr(10), ' ')} |"


# -- all ------------------------------------------------------------------------------------------------------

PAGES: dict[str, Callable[[], str]] = {
    "states.svg": states_svg,
    "states.md": states,
    "keys.md": keys,
    "scripts.md": scripts,
    "metrics.md": metrics,
    "rest.md": rest_page,
    "errors.md": errors_page,
    "options.md": options,
    "api.md": api,
    "testing.md": testing,
}


def written() -> dict[str, str]:
    """Return every page by file name, as it must be."""
    return {name: make() for name, make in PAGES.items()}


def main() -> int:
    """Write the pages, or with ``--check`` say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; the exit status tells")
    only_check: bool = parser.parse_args().check
    stale = 0
    for name, text in written().items():
        path = REFERENCE / name
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale += 1
        print(f"{'out of date' if only_check else 'written'}: docs/reference/{name}")
        if not only_check:
            path.write_text(text, "utf-8")
    return stale if only_check else 0


if __name__ == "__main__":
    sys.exit(main())
