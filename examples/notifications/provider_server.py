"""The outside world on loopback: an HTTP provider for SMS and push, and an SMTP server. Both have bad days.

What a message meets is decided by its recipient and text, so every run of the example meets the same. In reality these
servers belong to somebody else; nothing in the service imports this file.
"""

import asyncio
import json
import threading
import zlib
from collections import Counter
from contextlib import suppress
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from aiosmtpd.smtp import SMTP, Envelope, Session

FAULTS = (  # (share of the messages in percent, fault)
    (5, "too fast"),  # 429 with Retry-After, twice
    (5, "broken once"),  # 500, once
    (2, "silent once"),  # the message is sent, but no answer comes
    (2, "broken for long"),  # 500, three times: more than the attempts of a job
    (1, "refused"),  # 400: the provider will never take it
    (10, "outage"),  # push only: 503 as long as `outage` is set
)
MAIL_FAULTS = ((5, "greylisted"), (2, "reply lost"))
WORK = 0.02
"""Seconds the provider takes for a message."""


def fault_of(to: str, text: str, faults: tuple[tuple[int, str], ...] = FAULTS) -> str:
    """Return what a message meets, '' for nothing."""
    bucket = zlib.crc32(f"{to} {text}".encode()) % 100
    for share, fault in faults:
        if bucket < share:
            return fault
        bucket -= share
    return ""


class ProviderServer(ThreadingHTTPServer):
    """``POST /sms`` and ``/push`` with an Idempotency-Key and ``{"to": ..., "text": ...}``.

    A key is good for one message: called again with it, the server answers as before and counts a duplicate. Every
    message it really sent is a line of ``journal``.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, journal: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.outage = threading.Event()
        self.closing = threading.Event()
        self.duplicates = 0
        self.answers: Counter[int] = Counter()
        self._journal = journal.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._sent: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        self._journal.close()

    def answer(self, channel: str, key: str, to: str, text: str) -> tuple[int, dict[str, str]]:
        """Take a call; returns status and headers. The id of a message is in the header ``X-Message-Id``."""
        self.closing.wait(WORK)
        with self._lock:
            self._calls[key] += 1
            calls, fault = self._calls[key], fault_of(to, text)
            if key in self._sent:
                self.duplicates += 1
                return 200, {"X-Message-Id": self._sent[key], "Idempotent-Replayed": "true"}
            if fault == "refused":
                return 400, {}
            if fault == "too fast" and calls <= 2:
                return 429, {"Retry-After": "1"}
            if fault == "outage" and channel == "push" and self.outage.is_set():
                return 503, {}
            if (fault == "broken once" and calls == 1) or (fault == "broken for long" and calls <= 3):
                return 500, {}
            self._sent[key] = f"msg-{len(self._sent) + 1:06d}"
            line = {"id": self._sent[key], "channel": channel, "key": key, "to": to, "text": text}
            print(json.dumps(line), file=self._journal, flush=True)
            return (0 if fault == "silent once" else 200), {"X-Message-Id": self._sent[key]}


class _Call(BaseHTTPRequestHandler):
    server: ProviderServer  # pyright: ignore[reportIncompatibleVariableOverride] - made by no other

    def do_POST(self) -> None:
        """Answer a call, or be silent."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        channel = self.path.strip("/")
        status, headers = self.server.answer(channel, self.headers["Idempotency-Key"], body["to"], body["text"])
        self.server.answers[status] += 1
        if status == 0:
            self.server.closing.wait(60)  # longer than anybody's patience
            return
        content = json.dumps({"id": headers["X-Message-Id"]} if status == 200 else {"error": str(status)}).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        with suppress(ConnectionError):  # the caller has been killed
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Say nothing."""


class MailServer:
    """An SMTP server that stores every mail it takes as a file of ``spool``."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._seen: set[str] = set()
        self._server: asyncio.Server | None = None
        self.received = 0

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        if self._server is None:
            raise RuntimeError("the mail server has not been started")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._spool.mkdir()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: SMTP(self, hostname="localhost", loop=loop), "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Take a mail, or not."""
        del session
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        message_id = str(message_from_bytes(content)["Message-ID"])
        first = message_id not in self._seen
        self._seen.add(message_id)
        fault = fault_of(envelope.rcpt_tos[0], _subject(content), MAIL_FAULTS)
        if first and fault == "greylisted":
            return "451 4.7.1 Greylisted, please try again"
        self.received += 1
        (self._spool / f"{self.received:06d}.eml").write_bytes(content)
        if first and fault == "reply lost" and isinstance(server.transport, asyncio.WriteTransport):
            server.transport.abort()
        return "250 2.0.0 Taken"


def _subject(content: bytes) -> str:
    return str(message_from_bytes(content)["Subject"])
