"""Those who deliver: mail over SMTP, SMS and push over HTTP. What they answer is put in streamq's words here."""

import asyncio
import smtplib
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, parseaddr
from urllib.parse import urlsplit

import msgspec

from streamq import Fatal, RateLimited

from .models import Notification
from .settings import Settings
from .texts import Text


class ProviderError(Exception):
    """The provider could not do it this time; worth another attempt."""


class Mailer:
    """Sends MIME mail. Blocking: for def handlers, which streamq runs in threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def send(self, notification: Notification, text: Text, created_at: datetime | None) -> str:
        """Send one mail and return its Message-ID: the same for every attempt, so that readers see a repeat once."""
        message = EmailMessage(policy=SMTP)
        domain = parseaddr(self._settings.smtp_from)[1].partition("@")[2]
        message["Message-ID"] = f"<{notification.id}@{domain}>"
        message["Date"] = formatdate(created_at.timestamp() if created_at else None, localtime=True)
        message["From"] = self._settings.smtp_from
        message["To"] = notification.to
        message["Subject"] = text.subject
        message.set_content(text.body)
        message.add_alternative(text.html, subtype="html")
        try:
            host, port = self._settings.smtp_host, self._settings.smtp_port
            with smtplib.SMTP(host, port, timeout=self._settings.provider_timeout) as smtp:
                smtp.send_message(message)
        except smtplib.SMTPRecipientsRefused as refused:
            code, reason = next(iter(refused.recipients.values()))
            raise _refusal(code, reason) from None
        except smtplib.SMTPResponseException as refused:
            raise _refusal(refused.smtp_code, refused.smtp_error) from None
        return str(message["Message-ID"])


def _refusal(code: int, reason: bytes | str) -> Exception:
    text = f"SMTP {code}: {reason.decode(errors='replace') if isinstance(reason, bytes) else reason}"
    return Fatal(text) if code >= 500 else ProviderError(text)


class HttpProvider:
    """Sends short messages through an HTTP API that knows idempotency keys."""

    def __init__(self, settings: Settings) -> None:
        parts = urlsplit(settings.provider_url)
        self._host, self._port = parts.hostname or "localhost", parts.port or 80
        self._timeout = settings.provider_timeout

    async def send(self, notification: Notification, text: str) -> str:
        """Send one message and return the provider's id for it."""
        # Not ctx.idempotency_key: that names the job, and a manual retry is another job but no other message.
        body = msgspec.json.encode({"to": notification.to, "text": text})
        async with asyncio.timeout(self._timeout):
            status, headers, answer = await self._post(f"/{notification.channel}", notification.id, body)
        if status == 429:
            raise RateLimited(after=float(headers.get("retry-after", "1")))
        if status >= 500:
            raise ProviderError(f"HTTP {status}")
        if status >= 400:
            raise Fatal(f"HTTP {status}")
        return msgspec.json.decode(answer, type=dict[str, str])["id"]

    async def _post(self, path: str, key: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\nIdempotency-Key: {key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(head.encode() + body)
            answer = await reader.read()
        finally:
            writer.close()
        lines, _, content = answer.partition(b"\r\n\r\n")
        if not content:
            raise ProviderError("the connection broke before an answer")
        status, *fields = lines.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        return int(status.split(" ")[1]), headers, content
