"""Texts of the notifications: one file per type in ``templates/``, with ``Subject`` and ``Short`` above the body."""

import functools
import html
from collections.abc import Mapping
from email import message_from_string
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from string import Template

import msgspec

FOLDER = Path(__file__).parent / "templates"


class Text(msgspec.Struct, frozen=True):
    """A rendered notification. ``short``: for SMS, push and the inbox."""

    subject: str
    short: str
    body: str

    @property
    def html(self) -> str:
        """The body for mail programs that show HTML."""
        paragraphs = html.escape(self.body.strip()).split("\n\n")
        return "<html><body>" + "".join(f"<p>{one}</p>" for one in paragraphs) + "</body></html>"


class UnknownTypeError(LookupError):
    """There is no template of this name."""


def render(notification_type_id: str, data: Mapping[str, str]) -> Text:
    """Fill in a template; raises `UnknownTypeError`, or `KeyError` naming the value that is missing."""
    source = _load(notification_type_id)
    return Text(*(Template(part).substitute(data) for part in (source.subject, source.short, source.body)))


def types() -> list[str]:
    """Names of the templates, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


@functools.cache
def _load(notification_type_id: str) -> Text:
    if notification_type_id not in types():  # also keeps "../" out
        raise UnknownTypeError(f"no notification type {notification_type_id!r}; there are {', '.join(types())}")
    text = (FOLDER / f"{notification_type_id}.txt").read_text(encoding="utf-8")
    parsed: EmailMessage = message_from_string(text, _class=EmailMessage, policy=default)
    return Text(str(parsed["Subject"]), str(parsed["Short"]), parsed.get_content())
