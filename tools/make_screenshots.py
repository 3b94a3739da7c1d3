# ruff: noqa: ARG001 - handlers take what their jobs have
"""Take the pictures of the dashboard for the documentation: ``python tools/make_screenshots.py [folder]``.

Starts a server of its own, a small messaging service with something wrong in it, the dashboard, and a headless Chromium
(``chromium`` on PATH, driven by playwright). Needs a good system font, or the pictures look like DejaVu.
"""

from __future__ import annotations

import asyncio
import contextlib
import linecache
import logging
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import httpx  # noqa: E402 - found by the path above
from playwright.async_api import async_playwright  # noqa: E402 - the same
from starlette.requests import Request  # noqa: E402 - the same

from streamq import CircuitBreaker, Exponential, Fixed, Queue, Scheduler, Worker  # noqa: E402 - the same
from streamq.web import Access, Dashboard  # noqa: E402 - the same
from tests.servers import Server  # noqa: E402 - the same
from tests.web.asking import Served  # noqa: E402 - the same

FAMILIES = "".join(
    f'<match target="pattern"><test name="family"><string>{name}</string></test><edit name="family" mode="prepend" '
    'binding="strong"><string>Inter</string></edit></match>'
    for name in ("system-ui", "sans", "sans-serif")
)
FONTS = f'<?xml version="1.0"?><fontconfig><include>/etc/fonts/fonts.conf</include>{FAMILIES}</fontconfig>'
"""What stands for a system font (Debian: fonts-inter)."""

QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]

FOLDER = ROOT / "docs" / "how-to" / "images"


class ProviderTimeout(Exception):
    """A provider that does not answer."""


class RecipientRefused(Exception):
    """An address nobody has."""


ProviderTimeout.__module__ = RecipientRefused.__module__ = "delivery"


SEND = """\
import asyncio


async def send(contact_id: str, channel: str, body: str, token: str, template: dict) -> None:
    await asyncio.sleep(0.02)
    number = int(contact_id.removeprefix("c_"))
    if channel == "whatsapp" and number % 2:
        raise ProviderTimeout(f"whatsapp: no answer within {number % 40} s")
    if number % 41 == 0:
        raise RecipientRefused(f"550 5.1.1 <{contact_id}@example.com> user unknown")
"""


def module(path: str, source: str) -> dict[str, Any]:
    """Return what a file defines that is nowhere but here, so that tracebacks show somebody's code."""
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    found: dict[str, Any] = {"ProviderTimeout": ProviderTimeout, "RecipientRefused": RecipientRefused}
    exec(compile(source, path, "exec"), found)  # noqa: S102 - our own
    return found


def declare(url: str) -> dict[str, Queue]:
    """Return the queues of a small messaging service."""
    queues = {
        name: Queue(name, url=url, backoff=Fixed(0.2))
        for name in ("delivery", "events", "campaigns", "automations", "housekeeping")
    }

    send = module("/app/delivery/handlers.py", SEND)["send"]
    queues["delivery"].handler("delivery:send", max_attempts=3)(send)

    @queues["delivery"].handler("delivery:digest", backoff=Exponential(60), max_attempts=4)
    async def digest(tenant: str) -> None:
        raise ProviderTimeout("sms provider answered 429")

    @queues["events"].handler("events:process")
    async def process(event_id: str) -> None:
        await asyncio.sleep(20)

    @queues["automations"].handler("automations:step")
    async def step(contact_id: str) -> None:
        await asyncio.sleep(0.01)

    @queues["housekeeping"].handler("housekeeping:compact")
    async def compact() -> None:
        await asyncio.sleep(60)

    @queues["campaigns"].handler("campaigns:batch")
    async def batch(campaign: str) -> None:
        await asyncio.sleep(0.01)

    return queues


def everybody(request: Request) -> Access:
    """Let everybody in: it is here for a minute."""
    return Access("full", who=request.headers.get("x-who", "maria"))


def headers(number: int) -> dict[str, str]:
    """Return what a request of a shop left on its job."""
    trace = f"{0x4BF92F3577B34DA6A3CE929D0E0E4736 + number:032x}"
    return {"x-request-id": f"req_{number:05}", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}


def act(url: str, job_id: str) -> None:
    """Do what people do, for the audit trail."""
    for who, method, path, body in (
        ("omar", "POST", "/queues/automations/pause", {"reason": "deploy of 2.14"}),
        ("omar", "POST", "/queues/automations/resume", {}),
        ("ada", "POST", f"/queues/delivery/dead/{job_id}/replay", {}),
        ("maria", "POST", "/queues/housekeeping/schedules/weekly_report/trigger", {}),
        ("maria", "POST", "/queues/delivery/dead/replay", {"error": "RecipientRefused", "rate": 500}),
        ("omar", "POST", "/queues/delivery/clean", {"state": "completed", "older_than": "7d"}),
    ):
        httpx.request(method, f"{url}/api{path}", json=body, headers={"x-who": who}, timeout=60).raise_for_status()


def message(number: int) -> dict[str, Any]:
    """Return the payload of a message."""
    body = "Your order is on its way. It arrives on Thursday between 9 and 12."
    return {
        "contact_id": f"c_{88_000 + number}", "channel": ("whatsapp", "sms", "mail")[number % 3], "body": body,
        "token": "abcdef", "template": {"name": "order_shipped", "locale": "el-GR", "order": 9007199254740993},
    }  # fmt: skip


@contextlib.asynccontextmanager
async def scene(url: str) -> AsyncIterator[dict[str, Queue]]:
    """Run the service until there is something to see."""
    queues = declare(url)
    delivery, events = queues["delivery"], queues["events"]
    tenants = ("acme", "acme", "acme", "globex", "northwind")
    await delivery.enqueue_many(
        [delivery.spec("delivery:send", message(n), tenant=tenants[n % 5], headers=headers(n)) for n in range(900)]
    )
    await delivery.enqueue_many([delivery.spec("delivery:digest", {"tenant": one}) for one in tenants])
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(Worker(delivery, concurrency=50, name="delivery-1"))
        while (await delivery.counts()).waiting + (await delivery.counts()).active:  # noqa: ASYNC110 - on the server
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        await events.enqueue_many([events.spec("events:process", {"event_id": f"e_{n}"}) for n in range(2480)])
        await queues["campaigns"].enqueue_many(
            [queues["campaigns"].spec("campaigns:batch", {"campaign": f"k_{n}"}) for n in range(820)]
        )
        await queues["campaigns"].pause(reason="WhatsApp template rejected")
        await queues["automations"].enqueue_many(
            [queues["automations"].spec("automations:step", {"contact_id": f"c_{n}"}, delay=3600) for n in range(1431)]
        )
        await queues["housekeeping"].enqueue("housekeeping:compact")
        for name in ("events", "automations"):
            await stack.enter_async_context(Worker(queues[name], concurrency=16, name=f"{name}-1"))
        twilio = CircuitBreaker("twilio", handlers=("delivery:sms",))
        await twilio.open(delivery, for_=900, reason="they announced maintenance", by="maria")
        await CircuitBreaker("sendgrid").open(delivery, by="omar")
        await CircuitBreaker("sendgrid").close(delivery, reason="a probe of delivery:mail got through", by="worker-2")
        await delivery.block(tenant="northwind", reason="unpaid since March", by="omar")
        await delivery.limits.set("g:shop_42", concurrency=5, by="maria")
        await delivery.limits.set("h.delivery:send", concurrency=48, by="omar")
        scheduler = Scheduler(queues["housekeeping"], tz="Europe/Athens")
        job = queues["housekeeping"].spec("housekeeping:compact", {})
        await scheduler.upsert("daily_cleanup", job, cron="0 2 * * *", tz="UTC")
        await scheduler.upsert("weekly_report", job, cron="0 9 * * MON")
        await scheduler.upsert("quiet_hours_release", job, cron="0 8 * * MON-FRI")
        await scheduler.upsert("poll_events", job, every=15)
        await scheduler.upsert("digest", job, cron="30 */2 * * *")
        await scheduler.pause("digest")
        await stack.enter_async_context(
            Worker(queues["housekeeping"], concurrency=16, name="house-1", scheduler=scheduler)
        )
        for number in range(75 * 8):  # so that the charts have a whole minute to show
            tenant, told = tenants[number % 5], headers(1000 + number)
            await delivery.enqueue("delivery:send", message(1000 + number), tenant=tenant, headers=told)
            await asyncio.sleep(0.125)
        yield queues


async def main() -> int:  # noqa: PLR0915 - one picture after the other
    """Take them."""
    logging.getLogger("streamq").setLevel(logging.CRITICAL)  # things go wrong here on purpose
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    socket.gethostname = lambda: "app-1"
    os.environ["STREAMQ_RELEASE"] = "2.14.0"
    fonts = folder / "fonts.conf"
    fonts.write_text(FONTS)
    os.environ["FONTCONFIG_FILE"] = str(fonts)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with Server(tcp=True) as server:
        async with scene(server.url) as queues, async_playwright() as playwright:
            dead, another = (await queues["delivery"].jobs("dead", error="ProviderTimeout", limit=2)).jobs
            browser = await playwright.chromium.launch(executable_path=chromium, args=QUIET)
            traces = "https://jaeger.example/trace/{trace_id}"
            app = Dashboard(url=server.url, title="streamq", access=everybody, trace_url=traces)
            with Served(app) as served:
                await asyncio.to_thread(act, served.url, another.id)
                pages = {
                    "overview": "/", "queue": "/queues/delivery", "jobs": "/jobs?queue=delivery&state=dead",
                    "job": f"/job?queue=delivery&id={dead.id}", "dead-letters": "/dead", "schedules": "/schedules",
                    "schedule": "/schedule?queue=housekeeping&id=weekly_report", "workers": "/workers",
                    "limits": "/limits", "server": "/server", "audit": "/audit", "keys": "/keys",
                }  # fmt: skip
                for theme in ("light", "dark"):
                    context = await browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme=theme)
                    page = await context.new_page()
                    for name, path in pages.items():
                        if theme == "light" or name in {"overview", "job"}:
                            await page.goto(served.url + path)
                            await page.wait_for_timeout(400)
                            suffix = "" if theme == "light" else "-dark"
                            await page.screenshot(path=folder / f"dashboard-{name}{suffix}.png")
                    await page.goto(f"{served.url}/dead")
                    if theme == "light":
                        await page.get_by_role("link", name="Replay").first.click()
                        await page.get_by_role("dialog").wait_for()
                        await page.screenshot(path=folder / "dashboard-confirm.png")
                    await context.close()
                phone = await browser.new_context(viewport={"width": 390, "height": 844}, device_scale_factor=2)
                page = await phone.new_page()
                await page.goto(served.url + "/")
                await page.wait_for_timeout(400)
                await page.screenshot(path=folder / "dashboard-phone.png")
                server.stop()
                page = await (await browser.new_context(viewport={"width": 1280, "height": 760})).new_page()
                await page.goto(served.url + "/jobs")
                await page.screenshot(path=folder / "dashboard-redis-away.png")
                server.start()
            await browser.close()
    fonts.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
