"""The recipes of docs/how-to/alerts.md, run as they stand there: against a mail server and a web server of our own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from streamq import Alert, Queue
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "alerts.md"
AT = datetime(2030, 1, 31, 9, 0, tzinfo=UTC)
FIRING = Alert(
    "mail", "dead > 50", "dead", "firing", "critical", 61, 50,
    "61 dead letters, limit 50; see why: streamq dlq list --queue mail", AT, AT, 2,
)  # fmt: skip
RESOLVED = Alert("mail", "dead > 50", "dead", "resolved", "critical", 3, 50, "3 dead letters, limit 50", AT, AT, 2)


def recipe(name: str, **places: Any) -> Callable[[Alert], None]:
    """The function of the page, with the servers of the test in the place of the page's."""
    names: dict[str, Any] = {"queue": Queue("mail"), "Alert": Alert}
    for block in blocks(PAGE, "python"):
        if any(said in block.code for said in ("def mail(", "def webhook(", "def slack(")):
            exec(compile(block.code, str(block.page), "exec"), names)  # noqa: S102 - our own page
    missing = places.keys() - names.keys()
    assert not missing, f"the page has no {missing}"
    names |= places
    found: Callable[[Alert], None] = names[name]
    return found


class Mails:
    """A mail server that keeps what it is sent."""

    def __init__(self) -> None:
        self.received: list[tuple[str, list[str], str]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - the name it must have
        del server, session
        text = envelope.content.decode()
        self.received.append((envelope.mail_from, envelope.rcpt_tos, text))
        return "250 OK"


@pytest.fixture
def web() -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """A web server: its address, and what was posted: path, content type, JSON."""
    posted: list[tuple[str, str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(500 if self.path == "/broken" else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", posted
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_mail_is_sent() -> None:
    mails = Mails()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mails, hostname="localhost", loop=loop), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        await asyncio.to_thread(recipe("mail", MAIL_HOST="127.0.0.1", MAIL_PORT=port), FIRING)
    finally:
        server.close()
    ((sender, receivers, text),) = mails.received
    assert (sender, receivers) == ("streamq@example.org", ["on-call@example.org"])
    assert "Subject: [critical] mail: 61 dead letters, limit 50" in text
    assert "streamq dlq list --queue mail" in text.replace("=\r\n", ""), "but for soft line breaks"
    assert "since 2030-01-31 09:00 UTC, told 2 times" in text


def test_a_webhook_is_called(web: tuple[str, list[tuple[str, str, Any]]]) -> None:
    url, posted = web
    recipe("webhook", WEBHOOK=f"{url}/alerts")(FIRING)
    ((path, kind, body),) = posted
    assert (path, kind) == ("/alerts", "application/json")
    assert (body["state"], body["severity"], body["value"], body["limit"]) == ("firing", "critical", 61, 50)
    assert body["since"] == "2030-01-31T09:00:00Z"


def test_slack_is_told_in_colour(web: tuple[str, list[tuple[str, str, Any]]]) -> None:
    url, posted = web
    slack = recipe("slack", SLACK=f"{url}/services/T/B/x")
    slack(FIRING)
    slack(RESOLVED)
    first, second = (body["attachments"][0] for _, _, body in posted)
    assert first["color"] == "#a30200"
    assert first["text"].startswith("*mail* firing: 61 dead letters, limit 50; see why: ")
    assert (second["color"], second["text"]) == ("#2eb67d", "*mail* resolved: 3 dead letters, limit 50")


def test_a_server_that_refuses_is_an_error_so_that_it_is_told_again(
    web: tuple[str, list[tuple[str, str, Any]]],
) -> None:
    url, _ = web
    with pytest.raises(OSError, match="500"):
        recipe("webhook", WEBHOOK=f"{url}/broken")(FIRING)
