"""The stylesheet, the scripts and the templates: contrast, weight, nothing inline, nothing from elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

from streamq.web.views import states

WEB = Path(__file__).parents[3] / "src" / "streamq" / "web"
STATIC = WEB / "static"
CSS = (STATIC / "streamq.css").read_text()
TEMPLATES = sorted((WEB / "templates").glob("*.html"))

MOST = 55_000
"""Bytes of everything the overview loads, gzipped."""


def tokens(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block))


def themes() -> dict[str, dict[str, str]]:
    light = tokens(CSS.split("@media (prefers-color-scheme: dark)")[0])
    by_system = tokens(CSS.split(':root:not([data-theme="light"])')[1].split("} }")[0])
    by_choice = tokens(CSS.split(':root[data-theme="dark"]')[1].split("}")[0])
    assert by_system == by_choice, "the two dark blocks differ"
    assert light.keys() == by_choice.keys()
    return {"light": light, "dark": by_choice}


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_on_every_ground(theme: str) -> None:
    found = themes()[theme]
    names = [one.name for one in states.STATES]
    texts = ["ink", "ink2", "ink3", *names]
    weak: dict[tuple[str, str], float] = {}
    for text in texts:
        grounds = ["paper", "surface", "sunken", "sel"] + ([f"{text}-tint"] if text in names else [])
        for ground in grounds:
            if (ratio := contrast(found[text], found[ground])) < 4.5:
                weak[text, ground] = round(ratio, 2)
    assert weak == {}
    for control in ("edge", "focus"):
        assert min(contrast(found[control], found[ground]) for ground in ("paper", "surface")) >= 3
    assert contrast(found["paper"], found["ink"]) >= 4.5


def test_every_state_has_its_shape_and_its_colour() -> None:
    sprite = (WEB / "templates" / "_sprite.html").read_text()
    for state in states.STATES:
        assert f'id="g-{state.name}"' in sprite
        assert f".s-{state.name}" in CSS
    for level in states.LEVELS:
        assert f'id="g-{level}"' in sprite
        assert f".s-{level}" in CSS


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_have_nothing_inline_and_switch_no_escaping_off(path: Path) -> None:
    text = path.read_text()
    assert re.search(r"\|\s*safe\b|autoescape\s+false|Markup", text) is None
    assert re.search(r"\sstyle\s*=", text) is None
    assert re.search(r"\son\w+=", text) is None
    assert re.search(r"<script(?![^>]*\bsrc=)", text) is None
    assert "http:" not in re.sub(r"xmlns='http://www.w3.org/2000/svg'", "", text)
    assert "https:" not in text
    assert "hx-on" not in text


def test_our_script_evaluates_nothing() -> None:
    text = (STATIC / "streamq.js").read_text()
    assert re.search(r"\beval\(|new Function|insertAdjacentHTML|outerHTML\s*=|document\.write", text) is None


def test_what_is_vendored_is_what_the_manifest_says() -> None:
    manifest = json.loads((STATIC / "vendored.json").read_text())
    listed = {one["file"]: one for one in manifest}
    ours = {"streamq.css", "streamq.js", "vendored.json"}
    assert set(listed) == {path.name for path in STATIC.iterdir() if path.is_file()} - ours
    for name, one in listed.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == one["sha256"], name
        assert one["package"]
        assert one["version"]
        assert one["license"]


def test_everything_together_is_light() -> None:
    files = [path for path in STATIC.iterdir() if path.suffix in {".css", ".js"}]
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in files}
    assert sum(sizes.values()) < MOST, sizes
