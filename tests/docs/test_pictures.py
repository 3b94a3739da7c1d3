"""Every page of the dashboard has its picture in the documentation, and no picture lies there unseen."""

from __future__ import annotations

import re

from streamq.web.pages import PAGES
from tests.docs.pages import ROOT

FOLDER = ROOT / "docs" / "how-to" / "images"
PAGE = ROOT / "docs" / "how-to" / "use-the-dashboard.md"

PICTURES = {
    "/": "overview", "/jobs": "jobs", "/job": "job", "/dead": "dead-letters", "/schedules": "schedules",
    "/schedule": "schedule", "/workers": "workers", "/limits": "limits", "/server": "server", "/audit": "audit",
    "/keys": "keys", "/queues/{queue:path}": "queue",
}  # fmt: skip


def test_every_page_is_shown_in_the_documentation() -> None:
    assert PICTURES.keys() == PAGES.keys(), "take its picture: tools/make_screenshots.py"
    shown = set(re.findall(r"!\[[^\]]+\]\(images/dashboard-([\w-]+)\.png\)", PAGE.read_text("utf-8")))
    assert set(PICTURES.values()) - shown == set()
    assert {f"dashboard-{name}.png" for name in shown} == {one.name for one in FOLDER.glob("*.png")}


def test_pictures_are_pictures() -> None:
    for one in FOLDER.glob("*.png"):
        data = one.read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n"), one.name
        assert 5_000 < len(data) < 500_000, (one.name, len(data))
