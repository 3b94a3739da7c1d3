"""Draws the results as an SVG: bars in panels, written by hand, readable on light and on dark.

python benchmarks/peers/chart.py RESULTS.json CHART.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.figures import FIGURES, ranges
from benchmarks.peers.roster import LIMITS, OURS

PANELS = ("drain", "five", "enqueue_one", "enqueue_fifty", "drain_cpu", "bytes_waiting", "start_p50", "late_p50")
COLUMNS = 2
WIDTH = 960
GAP = 28
LABEL = 120
VALUE = 82
ROW = 19
BAR = 12
HEAD = 40

# Greys that can be read on white and on black, for pages that do not tell the picture which of the two they are.
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #6e7681; }
  .title { font-weight: 600; font-size: 13px; }
  .ours { fill: #0d9488; } .peer { fill: #94a3b8; } .limit { fill: none; stroke: #94a3b8; stroke-dasharray: 3 2; }
  .range { stroke: #6e7681; }
  text.ours { fill: #0d9488; font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    text { fill: #9ca3af; } .ours, text.ours { fill: #2dd4bf; } .peer { fill: #64748b; } .limit { stroke: #64748b; }
  }
"""


class Bar(NamedTuple):
    """One bar: who, the median, the least and the greatest of the runs."""

    name: str
    value: float
    least: float
    most: float


def panels(results: Mapping[str, Any]) -> Iterator[tuple[str, list[Bar]]]:
    """Return each panel's figure and its bars, the best first."""
    spans = ranges(results["records"])
    medians: Mapping[str, Mapping[str, float]] = results["medians"]
    for name in PANELS:
        bars = [
            Bar(contender, figures[name], *spans.get(contender, {}).get(name, (figures[name], figures[name])))
            for contender, figures in medians.items()
            if name in figures
        ]
        if bars:
            yield name, sorted(bars, key=lambda bar: bar.value, reverse=FIGURES[name].more)


def number(value: float) -> str:
    """Return a number in about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def kind(name: str) -> str:
    """Return the class of a contender's bar."""
    return "ours" if name in OURS else "limit" if name in LIMITS else "peer"


def draw(results: Mapping[str, Any]) -> str:
    """Return the picture."""
    found = list(panels(results))
    width = (WIDTH - GAP * (COLUMNS - 1)) / COLUMNS
    body: list[str] = []
    top = 0.0
    for first in range(0, len(found), COLUMNS):
        row = found[first : first + COLUMNS]
        for column, (name, bars) in enumerate(row):
            body += _panel(name, bars, column * (width + GAP), top, width)
        top += HEAD + ROW * max(len(bars) for _, bars in row) + GAP
    title = f"{results.get('kind', '')} {results.get('server', '')}, medians; thin lines: range of the runs"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 8:.0f}" role="img" '
        f'aria-label="streamq beside other queues: {escape(title)}">\n<style>{STYLE}</style>\n'
        + "\n".join(body)
        + f'\n<text x="0" y="{top:.0f}">{escape(title)}</text>\n</svg>\n'
    )


def _panel(name: str, bars: Sequence[Bar], left: float, top: float, width: float) -> Iterator[str]:
    figure = FIGURES[name]
    better = "more is better" if figure.more else "less is better"
    yield f'<text class="title" x="{left:.0f}" y="{top + 16:.0f}">{escape(figure.title)}</text>'
    yield f'<text x="{left:.0f}" y="{top + 31:.0f}">{escape(figure.unit)}, {better}</text>'
    room = width - LABEL - VALUE
    greatest = max(max(bar.value, bar.most) for bar in bars) or 1.0

    def across(value: float) -> float:
        return max(0.0, value) / greatest * room

    for at, bar in enumerate(bars):
        y = top + HEAD + at * ROW
        start = left + LABEL
        yield _text(bar.name, start - 8, y, "end", kind(bar.name))
        yield (
            f'<rect class="{kind(bar.name)}" x="{start:.1f}" y="{y:.1f}" width="{max(1.0, across(bar.value)):.1f}" '
            f'height="{BAR}" rx="2"/>'
        )
        if bar.most > bar.least:
            middle = y + BAR / 2
            yield (
                f'<line class="range" x1="{start + across(bar.least):.1f}" x2="{start + across(bar.most):.1f}" '
                f'y1="{middle:.1f}" y2="{middle:.1f}"/>'
            )
        yield _text(number(bar.value), start + across(max(bar.value, bar.most)) + 6, y, "start", kind(bar.name))


def _text(text: str, x: float, y: float, anchor: str, which: str) -> str:
    mark = ' class="ours"' if which == "ours" else ""
    return f'<text{mark} x="{x:.1f}" y="{y + BAR - 2:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:3])
    target.write_text(draw(json.loads(source.read_text())))
