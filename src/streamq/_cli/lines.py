"""Lines of a screen: pieces of text with a style, cut to a width, written with or without colours. Pure."""

from __future__ import annotations

import itertools
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .say import printable

CODES = {
    "": "",
    "dim": "2",
    "bold": "1",
    "reverse": "7",
    "ok": "32",
    "warning": "33",
    "critical": "1;31",
    "paused": "1",
    "active": "34",
    "retrying": "33",
    "delayed": "35",
    "parked": "36",
    "dead": "1;31",
    "gap": "33",
}
"""Style -> SGR codes; sixteen colours, as every terminal has them."""


class Glyphs(NamedTuple):
    """Signs one cell wide; ASCII where the terminal is not in UTF-8."""

    ok: str = "✓"
    warning: str = "▲"
    critical: str = "◆"
    paused: str = "‖"
    bars: str = "▁▂▃▄▅▆▇█"
    full: str = "█"
    free: str = "░"
    cut: str = "…"
    none: str = "–"  # noqa: RUF001 - a dash for what is not known
    row: str = "▸"


UNICODE = Glyphs()
ASCII = Glyphs("ok", "!", "!!", "||", " .:-=+*#", "#", ".", "~", "-", ">")


def glyphs() -> Glyphs:
    """Return the glyphs that standard output can show."""
    try:
        "".join(UNICODE).encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


class Piece(NamedTuple):
    """Text in a style."""

    text: str
    style: str = ""


Line = Sequence[Piece]


def width(text: str) -> int:
    """Return how many cells ``text`` takes."""
    if text.isascii():
        return len(text)
    return sum(_cells(one) for one in text)


def _cells(one: str) -> int:
    if unicodedata.combining(one):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def fitted(text: str, cells: int, *, right: bool = False, cut: str = UNICODE.cut) -> str:
    """Return ``text`` in exactly so many cells: padded, or cut with a sign that says so."""
    text = printable(text)
    taken = width(text)
    if taken <= cells:
        pad = " " * (cells - taken)
        return pad + text if right else text + pad
    if cells <= len(cut):
        return cut[:cells]
    kept: list[str] = []
    left = cells - len(cut)
    for one in text:
        left -= _cells(one)
        if left < 0:
            break
        kept.append(one)
    short = "".join(kept) + cut
    return short + " " * (cells - width(short))


def drawn(line: Line, cells: int, *, colour: bool) -> str:
    """Return a line as it is written, at most so many cells wide."""
    found: list[str] = []
    left = cells
    for raw, style in line:
        if left <= 0:
            break
        text = printable(raw)  # whatever stands there, a terminal obeys none of it
        shown = text if width(text) <= left else fitted(text, left)
        left -= width(shown)
        found.append(f"\x1b[{CODES[style]}m{shown}\x1b[0m" if colour and CODES[style] else shown)
    return "".join(found)


def plain(lines: Iterable[Line], cells: int) -> list[str]:
    """Return lines without colours and without blanks at their ends."""
    return [drawn(line, cells, colour=False).rstrip() for line in lines]


def bar(part: float, cells: int, signs: Glyphs) -> str:
    """Return a bar that is filled to ``part`` of its cells; never empty for something, never full for less than all."""
    filled = round(part * cells)
    if 0 < part < 1 and cells > 1:
        filled = min(max(filled, 1), cells - 1)
    filled = min(max(filled, 0), cells)
    return signs.full * filled + signs.free * (cells - filled)


def spark(values: Sequence[float], cells: int, signs: Glyphs) -> str:
    """Return a sparkline of ``values``, the latest at the right: from 0 to their highest; blank without any."""
    if not values:
        return " " * cells
    columns = resampled(values, cells)
    top = max(columns)
    if top <= 0:
        return signs.bars[0] * cells
    last = len(signs.bars) - 1
    return "".join(signs.bars[0 if one <= 0 else max(1, round(one / top * last))] for one in columns)


def resampled(values: Sequence[float], cells: int) -> list[float]:
    """Return the means of ``cells`` equal parts of ``values``; fewer values are filled up with 0 at the left."""
    if len(values) <= cells:
        return [0.0] * (cells - len(values)) + [float(one) for one in values]
    edges = [round(at * len(values) / cells) for at in range(cells + 1)]
    return [sum(values[a:b]) / max(1, b - a) for a, b in itertools.pairwise(edges)]


def brief(number: int) -> str:
    """Return a number with thousands separators; from ten million on in millions, so that no digit is ever cut."""
    if number < 10_000_000:
        return f"{number:,}" if number < 1_000_000 else f"{number / 1_000_000:.2f}M"
    return f"{number / 1_000_000:,.1f}M"
