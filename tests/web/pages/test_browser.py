"""A real Chromium on a real server: acts are clicked, their effects read back from Redis. Skipped without one."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streamq import Queue, Scheduler, Worker
from tests.servers import Server, StartServer
from tests.worker.helpers import MakeQueue, until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
"""The one on PATH; without it playwright's own, which ``python -m playwright install chromium`` brings."""

pytestmark = pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed")

QUIET = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-quic",
]  # fmt: skip
"""For a machine without a screen; the browser asks nobody but the dashboard."""

LOUD = {"error", "warning"}

MOST = 15_000
"""Milliseconds for a thing to be seen."""


@pytest.fixture
async def shop(make_queue: MakeQueue) -> Queue:
    queue = make_queue("shop")

    @queue.handler("fail", max_attempts=1)
    async def fail(number: int, token: str = "") -> None:
        if number < 100:
            raise OSError(f"no answer within {number} s")

    @queue.handler("work")
    async def work(number: int) -> None:
        await asyncio.sleep(number)

    return queue


@pytest.fixture
async def site(served: Any, shop: Queue) -> str:
    """The address of a dashboard of the queue, served in a thread."""
    await shop.enqueue("work", {"number": 0}, delay=3600)
    started = await asyncio.to_thread(served)
    return str(started.url)


@pytest.fixture
async def chromium() -> AsyncIterator[Any]:
    """A browser."""
    api: Any = importlib.import_module("playwright.async_api")
    async with api.async_playwright() as playwright:
        found = CHROMIUM or await asyncio.to_thread(shutil.which, playwright.chromium.executable_path)
        if found is None:
            pytest.skip("no chromium: none on PATH, none of playwright's (python -m playwright install chromium)")
        browser = await playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        await browser.close()


@pytest.fixture
async def page(chromium: Any, site: str) -> AsyncIterator[Any]:
    """A page that fails the test for anything its console complains about; closed before the site is."""
    assert site
    context = await chromium.new_context(viewport={"width": 1280, "height": 900})
    found = await context.new_page()
    found.set_default_timeout(MOST)
    complaints: list[str] = []

    def said(message: Any) -> None:
        if message.type in LOUD:
            complaints.append(message.text)

    def broke(problem: Any) -> None:
        complaints.append(str(problem))

    found.on("console", said)
    found.on("pageerror", broke)
    yield found
    await context.close()
    assert complaints == []


async def dead(queue: Queue, many: int) -> list[str]:
    async with Worker(queue):
        jobs = await queue.enqueue_many(
            [queue.spec("fail", {"number": number, "token": "s3cret"}) for number in range(many)]
        )
        await until(lambda: has_dead(queue, many))
    return [job.id for job in jobs]


async def has_dead(queue: Queue, many: int) -> bool:
    return (await queue.counts()).dead == many


async def heading(page: Any) -> str:
    return " ".join((await page.locator("main h1").first.inner_text()).split())


async def test_one_group_by_keyboard_and_mouse(page: Any, site: str, shop: Queue) -> None:
    ids = await dead(shop, 4)
    await page.goto(f"{site}/dead")
    assert await heading(page) == "4 dead letters, 1 error"
    async with Worker(shop):
        await page.get_by_role("button", name="Replay one first").click()
        await page.get_by_text("1 replayed, and it died again").wait_for()
    await page.goto(f"{site}/dead")
    await page.get_by_role("link", name="Replay 4…").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("heading", name="Replay 4 dead letters?").wait_for()
    assert await page.evaluate("document.activeElement.textContent") == "Leave as is"
    await page.keyboard.press("Escape")
    await dialog.wait_for(state="hidden")
    await page.get_by_role("link", name="Replay 4…").click()
    await dialog.get_by_text("All at once").click()
    await dialog.get_by_role("button", name="Replay 4 dead letters").click()
    await page.get_by_text("4 dead letters replayed.").wait_for()
    assert {one.id for one in (await shop.jobs("waiting")).jobs} == set(ids)


async def test_a_large_purge_waits_for_the_number(page: Any, site: str, shop: Queue) -> None:
    async with Worker(shop):
        await shop.enqueue_many([shop.spec("fail", {"number": number % 50}) for number in range(120)])
        await until(lambda: has_dead(shop, 120))
    await page.goto(f"{site}/dead")
    await page.get_by_role("link", name="Purge 120…").click()
    button = page.get_by_role("button", name="Purge 120 for good")
    await button.wait_for()
    assert await button.is_disabled()
    await page.get_by_label("To confirm").fill("120")
    await button.click()
    await page.get_by_text("120 dead letters purged.").wait_for()
    assert (await shop.counts()).dead == 0


async def test_acts_on_one_job(page: Any, site: str, shop: Queue) -> None:
    (first, second) = await dead(shop, 2)
    await page.goto(f"{site}/job?queue=shop&id={first}")
    await page.get_by_role("button", name="Retry", exact=True).click()
    await page.get_by_text("waits again, with all its attempts").wait_for()
    assert (await shop.counts()).waiting == 1
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_text("is cancelled").wait_for()
    assert (await shop.counts()).waiting == 0
    await page.goto(f"{site}/job?queue=shop&id={second}")
    await page.get_by_role("link", name="Retry with changes…").click()
    field = page.get_by_label("Payload")
    text = await field.input_value()
    assert "s3cret" not in text
    await field.fill(text.replace('"number": 1', '"number": 500'))
    await page.get_by_role("button", name="Retry with these changes").click()
    await page.get_by_text("changed: number").wait_for()
    (made,) = (await shop.jobs("waiting")).jobs
    assert made.args == {"number": 500, "token": "s3cret"}
    await page.get_by_role("link", name="Duplicate…").click()
    await page.get_by_role("button", name="Enqueue it").click()
    await page.get_by_text("nothing changed").wait_for()
    assert (await shop.counts()).waiting == 2
    await page.get_by_role("link", name="Remove…").click()
    await page.get_by_role("button", name="Remove this job").click()
    await page.get_by_text("is removed").wait_for()
    assert (await shop.counts()).waiting == 1
    (delayed,) = (await shop.jobs("delayed")).jobs
    await page.goto(f"{site}/job?queue=shop&id={delayed.id}")
    await page.get_by_role("button", name="Run now").click()
    await page.get_by_text("is in line now").wait_for()
    assert (await shop.counts()).waiting == 2


async def test_a_running_job_is_cancelled_after_a_question(page: Any, site: str, shop: Queue) -> None:
    async with Worker(shop):
        job = await shop.enqueue("work", {"number": 60})
        await until(lambda: is_running(shop))
        await page.goto(f"{site}/job?queue=shop&id={job.id}")
        await page.get_by_role("link", name="Cancel…").click()
        await page.get_by_role("button", name="Cancel this job").click()
        await page.get_by_text("was asked to stop").wait_for()
        await until(lambda: is_cancelled(job))


async def is_running(queue: Queue) -> bool:
    return (await queue.counts()).active == 1


async def is_cancelled(job: Any) -> bool:
    return str(await job.state()) == "cancelled"


async def test_pause_and_resume_with_the_reason_on_the_overview(page: Any, site: str, shop: Queue) -> None:
    await page.goto(f"{site}/queues/shop")
    await page.keyboard.press("p")
    await page.get_by_label("Why").fill("provider down")
    await page.get_by_role("button", name="Pause shop").click()
    await page.get_by_text("shop is paused.").wait_for()
    assert (await shop.counts()).pause_reason == "provider down"
    await page.goto(f"{site}/")
    await page.get_by_text("provider down").wait_for()
    await page.get_by_role("link", name="Resume…").click()
    await page.get_by_role("button", name="Resume shop").click()
    await page.get_by_text("hands out jobs again").wait_for()
    assert not (await shop.counts()).paused


async def test_acts_on_a_whole_queue(page: Any, site: str, shop: Queue) -> None:
    await dead(shop, 2)
    dialog = page.get_by_role("dialog")
    await page.goto(f"{site}/queues/shop")
    await page.get_by_role("link", name="New job…").click()
    await dialog.get_by_label("Handler").fill("work")
    await dialog.get_by_label("Payload").fill('{"number": 7}')
    await dialog.get_by_label("Tenant").fill("acme")
    await dialog.get_by_role("button", name="Enqueue it").click()
    await page.get_by_text("Enqueued.").wait_for()
    (made,) = (await shop.jobs("waiting")).jobs
    assert (made.args, made.tenant) == ({"number": 7}, "acme")

    await page.goto(f"{site}/queues/shop")
    await page.get_by_role("link", name="Drain…").click()
    await dialog.get_by_role("button", name="Remove 1 job").click()
    await page.get_by_text("1 job of shop removed").wait_for()
    assert ((await shop.counts()).waiting, (await shop.counts()).delayed) == (0, 1)

    await page.goto(f"{site}/queues/shop")
    await page.get_by_role("link", name="Clean…").click()
    await dialog.get_by_label("Dead letters").check()
    await dialog.get_by_label("Older than").fill("0s")
    button = dialog.get_by_role("button", name="Forget them")
    assert await button.is_disabled()
    await dialog.get_by_label("To confirm").fill("clean")
    await button.click()
    await page.get_by_text("2 jobs of shop forgotten").wait_for()
    assert (await shop.counts()).dead == 0

    await page.goto(f"{site}/")
    await page.get_by_role("link", name="Pause all…").click()
    await dialog.get_by_label("Why").fill("incident 42")
    await dialog.get_by_label("To confirm").fill("pause")
    await dialog.get_by_role("button", name="Pause 1 queue").click()
    await page.get_by_text("1 queue paused.").wait_for()
    assert (await shop.counts()).pause_reason == "incident 42"


async def test_limits_and_blocks(page: Any, site: str, shop: Queue) -> None:
    await shop.limits.set("g:acme", concurrency=3)
    await shop.block(tenant="acme", reason="unpaid", by="ann")
    await page.goto(f"{site}/limits")
    await page.get_by_role("link", name="Change…").click()
    await page.get_by_label("At a time").fill("7")
    await page.get_by_role("button", name="Change it").click()
    await page.get_by_text("g:acme of shop is changed").wait_for()
    (found,) = [one for one in await shop.limits.list() if one.gate == "g:acme"]
    assert found.concurrency == 7
    await page.get_by_role("button", name="Release").click()
    await page.get_by_text("Released: what it held goes on").wait_for()
    assert await shop.blocks() == []


async def test_a_slow_replay_is_stopped(page: Any, site: str, shop: Queue) -> None:
    await dead(shop, 60)
    await page.goto(f"{site}/dead")
    await page.get_by_role("link", name="Replay 60…").click()
    await page.get_by_label("Spread at 5 a second").check()
    await page.get_by_role("button", name="Replay 60 dead letters").click()
    await page.get_by_text("Replaying 60: ").wait_for()
    await page.get_by_role("button", name="Stop").click()
    await page.get_by_text("Stopped; the others are as they were.").wait_for()
    counts = await shop.counts()
    assert 0 < counts.waiting < 60
    assert counts.waiting + counts.dead == 60


async def test_schedules(page: Any, site: str, shop: Queue) -> None:
    scheduler = Scheduler(shop)
    await scheduler.upsert("nightly", shop.spec("work", {"number": 1}), cron="0 2 * * *")
    await page.goto(f"{site}/schedules")
    await page.get_by_role("button", name="Run now").click()
    await page.get_by_text("runs once more").wait_for()
    assert (await shop.counts()).waiting == 1
    await page.get_by_role("button", name="Pause").click()
    await page.get_by_text("nightly is paused").wait_for()
    found = await scheduler.get("nightly")
    assert found is not None
    assert found.paused
    await page.get_by_role("button", name="Resume").click()
    await page.get_by_text("nightly runs again from its next tick on").wait_for()
    found = await scheduler.get("nightly")
    assert found is not None
    assert not found.paused
    await page.goto(f"{site}/schedule?queue=shop&id=nightly")
    await page.get_by_role("link", name="Remove…").click()
    await page.get_by_role("button", name="Remove nightly").click()
    await page.get_by_text("nightly is removed").wait_for()
    assert await scheduler.get("nightly") is None


async def test_selected_jobs_by_keyboard(page: Any, site: str, shop: Queue) -> None:
    await dead(shop, 3)
    await page.goto(f"{site}/jobs?queue=shop&state=dead")
    for key in ("j", "x", "j", "x"):
        await page.keyboard.press(key)
    button = page.get_by_role("button", name="Retry 2…")
    await button.wait_for()
    await page.get_by_text("Held while you select").wait_for()
    await button.click()
    await page.get_by_role("heading", name="Retry 2 dead jobs?").wait_for()
    await page.get_by_text("All at once").click()
    await page.get_by_role("button", name="Retry 2 jobs").click()
    await page.get_by_text("2 jobs retried.").wait_for()
    assert ((await shop.counts()).waiting, (await shop.counts()).dead) == (2, 1)


async def test_many_jobs_run_now_are_cancelled_and_removed(page: Any, site: str, shop: Queue) -> None:
    await shop.enqueue_many([shop.spec("work", {"number": number}, delay=3600) for number in range(4)])
    dialog = page.get_by_role("dialog")
    await page.goto(f"{site}/jobs?queue=shop&state=delayed")
    for key in ("j", "x", "j", "x"):
        await page.keyboard.press(key)
    await page.get_by_role("button", name="Run now 2…").click()
    await page.get_by_role("button", name="Run 2 jobs").click()
    await page.get_by_text("2 jobs in line now.").wait_for()
    assert ((await shop.counts()).waiting, (await shop.counts()).delayed) == (2, 3)

    await page.goto(f"{site}/jobs?queue=shop&state=waiting")
    await page.get_by_role("link", name="Cancel 2…").click()
    await dialog.get_by_role("button", name="Cancel 2 jobs").click()
    await page.get_by_text("2 jobs cancelled.").wait_for()
    assert ((await shop.counts()).waiting, (await shop.counts()).cancelled) == (0, 2)

    await dead(shop, 3)
    await page.goto(f"{site}/jobs?queue=shop&state=dead")
    await page.get_by_role("link", name="Remove 3…").click()
    await dialog.get_by_role("button", name="Remove 3 jobs").click()
    await page.get_by_text("3 jobs removed.").wait_for()
    assert (await shop.counts()).dead == 0


async def test_the_page_lives_and_rows_stay_where_they_are(page: Any, site: str, shop: Queue) -> None:
    await dead(shop, 1)
    await page.goto(f"{site}/dead")
    before = await page.locator("[data-row]").count()
    async with Worker(shop):
        await shop.enqueue("fail", {"number": 7})

        @shop.handler("other", max_attempts=1)
        async def other() -> None:
            raise KeyError("x")

        await shop.enqueue("other")
        await until(lambda: has_dead(shop, 3))
    await page.get_by_text("newer errors").wait_for()
    assert await page.locator("[data-row]").count() == before
    assert await page.locator("[data-row] .big").first.inner_text() == "2"
    await page.get_by_role("link", name="Show them").click()
    await page.get_by_role("heading", name="3 dead letters, 2 errors").wait_for()


async def test_a_screen_on_the_wall_shows_the_overview_alone(page: Any, site: str) -> None:
    await page.goto(f"{site}/")
    assert await page.locator(".rail").is_visible()
    await page.goto(f"{site}/?wall=1")
    await page.locator("main").get_by_text("shop").first.wait_for()
    assert not await page.locator(".rail").is_visible()
    assert not await page.get_by_role("link", name="Pause all…").is_visible()


async def test_the_page_asks_again_and_again_where_there_is_no_feed(page: Any, site: str, shop: Queue) -> None:
    await page.add_init_script("delete window.EventSource")
    await page.goto(f"{site}/queues/shop")
    await shop.enqueue_many([shop.spec("work", {"number": 0}, delay=3600) for _ in range(41)])
    await page.get_by_text("Live, asking every 5 s").wait_for()
    await page.locator("#live_counts").get_by_text("42", exact=True).wait_for()


async def test_theme_and_keys_and_find(page: Any, site: str, shop: Queue) -> None:
    job = await shop.enqueue("work", {"number": 1}, job_id="invoice-0000000000000001")
    await page.goto(f"{site}/")
    await page.keyboard.press("t")
    assert await page.evaluate("document.documentElement.dataset.theme") == "light"
    await page.keyboard.press("t")
    await page.reload()
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
    await page.keyboard.press("g")
    await page.keyboard.press("w")
    await page.wait_for_url("**/workers")
    await page.keyboard.press("/")
    await page.keyboard.type(job.id)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/job?**")
    assert job.id in await page.content()
    await page.keyboard.press("?")
    await page.wait_for_url("**/keys")


PATHS = (
    "/", "/queues/shop", "/jobs?state=dead", "/dead", "/schedules", "/workers", "/limits", "/server", "/audit",
)  # fmt: skip


OVER = """[...document.querySelectorAll("table")]
  .filter((one) => one.getBoundingClientRect().right > one.parentElement.getBoundingClientRect().right + 1)
  .map((one) => one.textContent.slice(0, 80))"""
"""Tables that stick out of what they are in."""


@pytest.mark.parametrize("width", [320, 390, 900, 1280])
async def test_nothing_scrolls_sideways(page: Any, site: str, shop: Queue, width: int) -> None:
    (job_id, _) = await dead(shop, 2)

    @shop.handler("a_handler.with:a/long-name_" + "x" * 100, max_attempts=1)
    async def long(text: str) -> None:
        raise OSError(text[:9] + "no answer, " * 20 + "y" * 200)

    async with Worker(shop):
        await long.with_options(tenant="z" * 150).enqueue("w" * 500)
        await until(lambda: has_dead(shop, 3))
    await page.set_viewport_size({"width": width, "height": 800})
    for path in (*PATHS, f"/job?queue=shop&id={job_id}"):
        await page.goto(f"{site}{path}")
        wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, (path, width, wide)
        assert await page.evaluate(OVER) == [], (path, width)


async def test_without_scripts_everything_works(chromium: Any, site: str, shop: Queue) -> None:
    await dead(shop, 2)
    context = await chromium.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{site}/dead")
    await page.get_by_role("link", name="Replay 2…").click()
    await page.get_by_role("button", name="Replay 2 dead letters").click()
    await until(lambda: has_dead(shop, 0))
    await context.close()


async def test_redis_goes_away_and_comes_back(
    chromium: Any, fresh_server: StartServer, prefix: str, tmp_path: Path
) -> None:
    from streamq.web import Dashboard  # noqa: PLC0415 - needs the extra
    from tests.web.asking import Served  # noqa: PLC0415 - the same

    del tmp_path
    server: Server = fresh_server(tcp=True, aof=True)
    queue = Queue("q", url=server.url, prefix=prefix)
    await queue.enqueue("work", {})
    page = await (await chromium.new_context()).new_page()
    page.set_default_timeout(MOST)
    with Served(Dashboard(url=server.url, prefix=prefix)) as app:
        await page.goto(f"{app.url}/jobs?state=waiting")
        server.stop()
        await page.reload()
        await page.get_by_role("heading", name="Redis is not answering").wait_for()
        server.start()
        await page.get_by_role("heading", name="1 waiting job").wait_for()
    await queue.aclose()
