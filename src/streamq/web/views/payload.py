"""Payloads as trees and as one line: hidden fields by what they are, big integers exactly, nothing of a size unbounded.

What comes in was cleaned: `Site.redact` put `Hidden` where a value must not be seen.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple, cast

import msgspec

from ..redaction import Hidden
from .words import count, cut, size, visible

DEEP = 2
"""Objects further down are folded."""

LONG = 20
"""Lists with more items are folded."""

MOST = 2000
"""Nodes of a tree; what is beyond is counted."""

TEXT = 4000
"""Characters of one text that are shown."""

KEPT = "[hidden: stays as it is]"
"""Stands for a hidden value in a form; sent back unchanged it means the value that was there."""


class Node(NamedTuple):
    """One line of a tree. ``kind``: text, number, word, object, list, hidden, more."""

    key: str
    kind: str
    text: str
    inside: list[Node]
    folded: bool = False


def tree(value: Any) -> list[Node]:
    """Return the nodes of a payload; [] for one that has none or cannot be read."""
    if value is None:
        return []
    left = [MOST]
    if isinstance(value, Mapping):
        return _members(cast("Mapping[object, object]", value), 0, left)
    return [_node("", value, 0, left)]


def _members(value: Mapping[object, object], depth: int, left: list[int]) -> list[Node]:
    found: list[Node] = []
    for at, (key, inner) in enumerate(value.items()):
        if left[0] <= 0:
            found.append(Node("", "more", f"{count(len(value) - at, 'field')} more", []))
            break
        found.append(_node(cut(str(key), 200), inner, depth, left))
    return found


def _node(key: str, value: Any, depth: int, left: list[int]) -> Node:
    left[0] -= 1
    if isinstance(value, Hidden):
        return Node(key, "hidden", str(value).strip("<>").replace(": ", ", ", 1), [])
    if isinstance(value, Mapping):
        inside = cast("Mapping[object, object]", value)
        if not inside:
            return Node(key, "word", "{}", [])
        members = _members(inside, depth + 1, left)
        return Node(key, "object", count(len(inside), "field"), members, folded=depth >= DEEP)
    if isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        if not items:
            return Node(key, "word", "[]", [])
        inner = _items(items, depth, left)
        return Node(key, "list", count(len(items), "item"), inner, folded=len(items) > LONG or depth >= DEEP)
    return Node(key, *scalar(value), [])


def _items(items: Sequence[object], depth: int, left: list[int]) -> list[Node]:
    found: list[Node] = []
    for at, one in enumerate(items):
        if left[0] <= 0:
            found.append(Node("", "more", f"{count(len(items) - at, 'item')} more", []))
            break
        found.append(_node(str(at), one, depth + 1, left))
    return found


def scalar(value: Any) -> tuple[str, str]:
    """Return the kind of a value without parts, and what is shown of it."""
    if isinstance(value, str):
        more = f" … {len(value) - TEXT:,} characters more" if len(value) > TEXT else ""
        return "text", f'"{value[:TEXT]}"{more}'
    if isinstance(value, bool) or value is None:
        return "word", {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return "number", str(value)
    if isinstance(value, bytes):
        return "word", f"{size(len(value))} of binary data"
    if isinstance(value, datetime | date):
        return "word", value.isoformat()
    return "word", cut(str(value), 200)


def pieces(value: Any, most: int = 4) -> list[tuple[str, str, bool]]:
    """Return a payload in one line: key, value and whether it is hidden, of its first fields."""
    if not isinstance(value, Mapping):
        return []
    found: list[tuple[str, str, bool]] = []
    for key, inner in list(cast("Mapping[object, object]", value).items())[:most]:
        name = cut(str(key), 40)
        if isinstance(inner, Hidden):
            found.append((name, "hidden", True))
        elif isinstance(inner, str):
            found.append((name, cut(inner, 40), False))
        elif isinstance(inner, Mapping | list | tuple):
            found.append((name, "{ … }" if isinstance(inner, Mapping) else "[ … ]", False))
        else:
            found.append((name, cut(scalar(inner)[1], 40), False))
    return found


def kept(value: Any) -> Any:
    """Return a cleaned payload for a form: `KEPT` stands where a value is hidden."""
    if isinstance(value, Hidden):
        return KEPT
    if isinstance(value, Mapping):
        return {key: kept(one) for key, one in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [kept(one) for one in cast("Sequence[object]", value)]
    return value


def restored(edited: Any, before: Any) -> Any:
    """Return an edited payload with what stayed hidden put back from where it was.

    Raises:
        ValueError: A mark stands where nothing was before; it names the place.
    """
    return _restored(edited, before, "payload")


def _restored(edited: Any, before: Any, path: str) -> Any:
    if edited == KEPT:
        if before is _NOTHING:
            raise ValueError(f"{path} says {KEPT}, but there was no such field")
        return before
    if isinstance(edited, Mapping):
        old: Mapping[object, object] = cast("Mapping[object, object]", before) if isinstance(before, Mapping) else {}
        inside = cast("Mapping[object, object]", edited)
        return {key: _restored(one, old.get(key, _NOTHING), f"{path}.{key}") for key, one in inside.items()}
    if isinstance(edited, list):
        items = cast("list[object]", edited)
        was: Sequence[object] = cast("Sequence[object]", before) if isinstance(before, list | tuple) else ()
        return [_restored(one, was[at] if at < len(was) else _NOTHING, f"{path}.{at}") for at, one in enumerate(items)]
    return edited


_NOTHING = object()


def is_plain(value: Any) -> bool:
    """Whether a payload can go through JSON and come back the same, so that it may be edited as text."""
    if isinstance(value, Mapping):
        inside = cast("Mapping[object, object]", value)
        return all(isinstance(key, str) and is_plain(one) for key, one in inside.items())
    if isinstance(value, list):
        return all(is_plain(one) for one in cast("list[object]", value))
    return value is None or isinstance(value, str | bool | int | float)


def as_json(value: Any, *, indent: int = 2) -> str:
    """Return JSON of a payload; big integers exactly, what JSON does not know as text."""
    data = msgspec.json.encode(value, enc_hook=_text)
    return _escaped(msgspec.json.format(data, indent=indent).decode())


def _escaped(text: str) -> str:
    """Return JSON with what cannot be seen as escapes: it reads, and is read back, as what it is."""
    return "".join(one if visible(one) == one else _escape(ord(one)) for one in text) if visible(text) != text else text


def _escape(code: int) -> str:
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _text(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def changed(before: Any, after: Any, path: str = "") -> list[str]:
    """Return the paths of fields that differ."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        old = cast("Mapping[object, object]", before)
        new = cast("Mapping[object, object]", after)
        found: list[str] = []
        for key in [*old, *(key for key in new if key not in old)]:
            name = f"{path}.{key}" if path else str(key)
            found += [name] if (key in old) != (key in new) else changed(old[key], new[key], name)
        return found
    is_same = type(cast("object", before)) is type(cast("object", after)) and before == after
    return [] if is_same else [path or "payload"]
