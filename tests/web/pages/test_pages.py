"""Every page against a real server: what it says, what its buttons do, what it shows of hostile names."""

from __future__ import annotations

import html
import re
import shlex
from typing import Any

import click
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from streamq import CircuitBreaker, Queue, RateLimit, Scheduler, Worker
from streamq._cli.main import cli
from streamq.errors import ConfigError
from streamq.grouping import DeadGroups
from streamq.web import Dashboard, Level
from tests.servers import Server, StartServer
from tests.web.asking import OPEN, Asking
from tests.worker.helpers import Gate, MakeQueue, until

HTML = {"accept": "text/html"}
HOSTILE = "<script>alert(1)</script>\"'&\u202e"


def reads(request: Request) -> Level:
    """Everybody may look."""
    del request
    return "read"


class Browser:
    """A client that follows redirects, keeps cookies and fills in forms, as a browser without scripts does."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.url = ""
        self.text = ""
        self.status = 0

    async def get(self, path: str, **headers: str) -> str:
        answer = await self.client.get(path, headers={**HTML, **headers}, follow_redirects=True)
        return self._took(answer)

    def _took(self, answer: httpx.Response) -> str:
        self.url, self.text, self.status = str(answer.url), answer.text, answer.status_code
        return self.text

    @property
    def heading(self) -> str:
        found = re.search(r"<h1>(.*?)</h1>", self.text, re.DOTALL)
        assert found is not None, self.text[:2000]
        return " ".join(html.unescape(re.sub(r"<svg.*?</svg>|<[^>]+>", "", found[1], flags=re.DOTALL)).split())

    def forms(self, action: str) -> list[dict[str, str]]:
        """The fields of every form that posts to an act."""
        found: list[dict[str, str]] = []
        for form in re.findall(rf'<form[^>]*action="[^"]*/act/{action}"[^>]*>(.*?)</form>', self.text, re.DOTALL):
            fields = re.findall(r'<input[^>]*name="([^"]+)"(?:[^>]*value="([^"]*)")?', form)
            areas = re.findall(r'<textarea[^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', form, re.DOTALL)
            checked = re.findall(r'<input type="radio" name="([^"]+)" value="([^"]*)" checked', form)
            found.append({key: html.unescape(value) for key, value in [*fields, *areas, *checked]})
        return found

    def link(self, act: str) -> str:
        """The address of a dialog."""
        found = re.search(rf'href="([^"]*/act/{act}[^"]*)"', self.text)
        assert found is not None, f"no link to {act}"
        return html.unescape(found[1])

    async def press(self, act: str, number: int = 0, **changed: str) -> str:
        """Send a form as it stands, with some fields filled in."""
        fields = {**self.forms(act)[number], **changed}
        headers = {**HTML, "referer": self.url}
        answer = await self.client.post(f"/act/{act}", data=fields, headers=headers, follow_redirects=True)
        return self._took(answer)


@pytest.fixture
async def shop(make_queue: MakeQueue) -> Queue:
    """A queue with a handler that fails, one that works, a limit and a schedule."""
    queue = make_queue("shop", limits={"api": RateLimit(5, per=60)})

    @queue.handler("fail", max_attempts=1)
    async def fail(number: int, token: str = "") -> None:
        if number < 100:
            raise OSError(f"no answer within {number} s")

    @queue.handler("work")
    async def work(number: int) -> int:
        return number

    return queue


@pytest.fixture
async def browser(shop: Queue, asking: Asking) -> Browser:
    return Browser(asking(Dashboard(shop, **OPEN)))


async def dead(queue: Queue, many: int) -> list[str]:
    """Make dead letters; returns their ids."""
    async with Worker(queue):
        jobs = await queue.enqueue_many(
            [queue.spec("fail", {"number": number, "token": "s3cret"}) for number in range(many)]
        )
        await until(lambda: has_dead(queue, many))
    return [job.id for job in jobs]


async def has_dead(queue: Queue, many: int) -> bool:
    return (await queue.counts()).dead == many


PAGES = (
    "/", "/queues/shop", "/jobs", "/jobs?state=dead", "/dead", "/schedules", "/workers", "/limits", "/server", "/audit",
    "/keys",
)  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_there_with_one_heading_and_nothing_inline(
    browser: Browser, shop: Queue, path: str
) -> None:
    await dead(shop, 3)
    await Scheduler(shop).upsert("nightly", shop.spec("work", {"number": 1}), cron="0 2 * * *")
    await browser.get(path)
    assert browser.status == 200
    assert len(re.findall("<h1", browser.text)) == 1
    assert re.search(r"<script(?![^>]*\bsrc=)", browser.text) is None
    assert re.search(r"\sstyle=|\son[a-z]+=", browser.text) is None
    assert "//cdn" not in browser.text
    for source in re.findall(r'(?:src|href)="([^"]*/static/[^"]*)"', browser.text):
        answer = await browser.client.get(html.unescape(source))
        assert (answer.status_code, "immutable" in answer.headers["cache-control"]) == (200, True), source


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_tells_what_changed(browser: Browser, shop: Queue, path: str) -> None:
    await dead(shop, 2)
    joint = "&" if "?" in path else "?"
    answer = await browser.client.get(f"{path}{joint}live=poll")
    told = answer.json()
    assert answer.status_code == 200
    assert "Dead letters" in told["parts"]["live_rail"]
    assert set(re.findall(r'id="(live_\w+)"', await browser.get(path))) <= set(told["parts"])


async def test_the_overview_says_who_needs_you(browser: Browser, shop: Queue) -> None:
    await shop.enqueue("work", {"number": 1})
    await browser.get("/")
    assert browser.heading == "The queue needs you"
    assert "1 job waiting, no worker" in browser.text
    async with Worker(shop):
        await until(lambda: has_none_waiting(shop))
        await until(lambda: is_well(browser))


async def has_none_waiting(queue: Queue) -> bool:
    counts = await queue.counts()
    return counts.waiting + counts.active == 0


async def is_well(browser: Browser) -> bool:
    await browser.get("/")
    return browser.heading == "The queue is well"


async def test_an_empty_dashboard_says_how_to_begin(server: Server, prefix: str, asking: Asking) -> None:
    dashboard = Dashboard(url=server.url, prefix=prefix, **OPEN)
    browser = Browser(asking(dashboard))
    for path in ("/", "/jobs", "/dead", "/schedules", "/workers", "/limits", "/audit"):
        await browser.get(path)
        assert browser.status == 200, path
    await browser.get("/")
    assert browser.heading == "No queue yet"
    assert "Enqueue a first job" in browser.text
    await dashboard.aclose()


async def test_jobs_are_found_by_everything_that_is_told_of_them(browser: Browser, shop: Queue) -> None:
    await shop.enqueue("work", {"number": 7}, tenant="acme")
    job = await shop.enqueue("work", {"number": 8}, tenant="globex", job_id="invoice-0000000000000008")
    for query, many in (
        ("state=waiting", 2), ("state=waiting&tenant=acme", 1), ("state=waiting&name=work", 2), ("q=GLOBEX", 1),
        ("payload=number=8", 1), ("payload=number=9", 0), ("state=dead", 0), ("attempts=1", 0),
    ):  # fmt: skip
        await browser.get(f"/jobs?{query}")
        assert len(re.findall(r'data-row="shop/', browser.text)) == many, query
    await browser.get("/jobs?add=invoice-0000000000000008")
    assert "/job?" in browser.url
    assert job.id in browser.text
    await browser.get("/find?q=shop")
    assert browser.url.endswith("/queues/shop")
    await browser.get("/jobs?payload=token=x")
    assert "token is hidden, and cannot be searched" in browser.text
    await browser.get("/jobs?payload=nonsense")
    assert "write a field and its value" in browser.text


async def test_what_is_hidden_is_not_found_out_by_searching(browser: Browser, shop: Queue) -> None:
    @shop.handler("any")
    async def anything(number: int, token: str, secret_box: dict[str, int]) -> None: ...

    await shop.enqueue("any", {"number": 1, "token": "x", "secret_box": {"number": 7}})
    for query in ("token=x", "number=1,token=x", "secret_box.number=7"):
        await browser.get(f"/jobs?queue=shop&state=waiting&payload={query}")
        assert "is hidden, and cannot be searched" in browser.text, query
        assert 'data-row="shop/' not in browser.text, query
        await browser.get(f"/act/jobs-cancel?queue=shop&state=waiting&payload={query}")
        assert "is hidden, and cannot be searched" in browser.text, query
    await browser.get("/jobs?queue=shop&state=waiting&payload=number=1")
    assert 'data-row="shop/' in browser.text


async def test_a_search_that_looks_at_a_part_says_so(browser: Browser, shop: Queue, monkeypatch: Any) -> None:
    monkeypatch.setattr("streamq.reading.LOOKED_AT", 20)
    monkeypatch.setattr("streamq.reading.STEP", 20)
    await shop.enqueue_many([shop.spec("work", {"number": number}) for number in range(120)])
    await browser.get("/jobs?state=waiting&payload=number=119")
    assert "there may be more" in browser.text
    assert "Look further" in browser.text
    href = re.search(r'data-key="\]" href="([^"]+)"', browser.text)
    assert href is not None
    while href is not None and "data-row" not in browser.text:
        await browser.get(html.unescape(href[1]))
        href = re.search(r'data-key="\]" href="([^"]+)"', browser.text)
    assert len(re.findall(r"data-row", browser.text)) == 1


async def test_a_job_tells_its_story(browser: Browser, shop: Queue) -> None:
    (job_id,) = await dead(shop, 1)
    await browser.get(f"/job?queue=shop&id={job_id}")
    assert browser.heading == "fail is dead after 1 attempt"
    for text in ("OSError", "no answer within 0 s", "Attempt 1", job_id, "hidden, text of 6", "streamq jobs show"):
        assert text in browser.text, text
    assert "s3cret" not in browser.text
    await browser.get("/job?queue=shop&id=nobody")
    assert (browser.status, browser.heading) == (404, "This job is no longer known")


async def test_trace_and_request_lead_to_where_they_are_shown(shop: Queue, asking: Asking) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "x-request-id": 'r 7"><script>'}
    job = await shop.enqueue("work", {"number": 1}, headers=headers)
    spoilt = await shop.enqueue("work", {"number": 2}, headers={"traceparent": "00-javascript:alert(1)-x-01"})
    plain = Browser(asking(Dashboard(shop, **OPEN)))
    links: dict[str, Any] = {
        "trace_url": "https://jaeger.example/trace/{trace_id}",
        "request_url": "https://logs.example/?q={request_id}&since=1d",
    }
    linked = Browser(asking(Dashboard(shop, **OPEN, **links)))
    hiding = Browser(asking(Dashboard(shop, redact=["x-request-id"], **OPEN, **links)))

    await plain.get(f"/job?queue=shop&id={job.id}")
    assert trace in plain.text
    assert "jaeger" not in plain.text
    await linked.get(f"/job?queue=shop&id={job.id}")
    assert f'<a href="https://jaeger.example/trace/{trace}">{trace}</a>' in linked.text
    assert 'href="https://logs.example/?q=r%207%22%3E%3Cscript%3E&amp;since=1d"' in linked.text
    await linked.get(f"/job?queue=shop&id={spoilt.id}")
    assert "jaeger" not in linked.text
    await hiding.get(f"/job?queue=shop&id={job.id}")
    assert "jaeger" in hiding.text
    assert "logs.example" not in hiding.text
    assert "r 7" not in hiding.text


@pytest.mark.parametrize(
    "links",
    [
        {"trace_url": "https://jaeger.example/"},
        {"trace_url": "javascript:alert('{trace_id}')"},
        {"request_url": "https://logs.example/{trace_id}"},
        {"request_url": 5},
    ],
)
def test_what_leads_nowhere_is_refused(links: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="give an address with "):
        Dashboard(Queue("q"), **links)
    misspelt: dict[str, Any] = {"trace": "https://jaeger.example/{trace_id}"}
    with pytest.raises(TypeError, match="unexpected keyword argument 'trace'"):
        Dashboard(Queue("q"), **misspelt)


async def test_a_dead_job_is_retried(browser: Browser, shop: Queue) -> None:
    (job_id,) = await dead(shop, 1)
    await browser.get(f"/job?queue=shop&id={job_id}")
    await browser.press("job-retry")
    assert "waits again, with all its attempts" in browser.text
    assert (await shop.counts()).waiting == 1
    await browser.get("/audit")
    assert "retried 1 job of shop" in browser.text


async def test_nothing_is_done_twice(browser: Browser, shop: Queue) -> None:
    (job_id,) = await dead(shop, 1)
    await browser.get(f"/job?queue=shop&id={job_id}")
    again = browser.forms("job-retry")[0]
    await browser.press("job-retry")
    answer = await browser.client.post("/act/job-retry", data=again, headers=HTML, follow_redirects=True)
    assert "Nothing was done" in answer.text
    assert (await shop.counts()).waiting == 1


async def test_a_job_is_retried_with_changes_and_hidden_fields_stay(browser: Browser, shop: Queue) -> None:
    (job_id,) = await dead(shop, 1)
    await browser.get(f"/job?queue=shop&id={job_id}")
    await browser.get(browser.link("job-edit"))
    text = browser.forms("job-edit")[0]["payload"]
    assert "s3cret" not in browser.text
    assert '"number": 0' in text
    await browser.press("job-edit", payload=text.replace('"number": 0', '"number": 500'))
    assert "changed: number" in browser.text
    page = await shop.jobs("waiting")
    assert [(one.args, one.headers["replay_of"]) for one in page.jobs] == [({"number": 500, "token": "s3cret"}, job_id)]


@pytest.mark.parametrize(
    ("payload", "said"),
    [("{", "no JSON"), ("[1]", "arguments by name"), ('{"number": "x"}', "number"), ('{"nope": 1}', "nope")],
)
async def test_a_payload_that_does_not_fit_is_shown_again(
    browser: Browser, shop: Queue, payload: str, said: str
) -> None:
    (job_id,) = await dead(shop, 1)
    await browser.get(f"/act/job-edit?queue=shop&id={job_id}")
    await browser.press("job-edit", payload=payload)
    assert browser.status == 422
    assert said in browser.text
    assert browser.forms("job-edit")[0]["payload"].strip() == payload
    assert (await shop.counts()).waiting == 0


async def test_duplicate_cancel_promote_remove_and_new(browser: Browser, shop: Queue) -> None:
    job = await shop.enqueue("work", {"number": 1}, delay=3600)
    page = f"/job?queue=shop&id={job.id}"
    await browser.get(page)
    await browser.press("job-promote")
    assert (await shop.counts()).waiting == 1
    await browser.get(page)
    await browser.get(browser.link("job-duplicate"))
    await browser.press("job-duplicate")
    assert (await shop.counts()).waiting == 2
    await browser.get(page)
    await browser.press("job-cancel")
    assert (await shop.counts()).waiting == 1
    await browser.get("/queues/shop")
    await browser.get(browser.link("job-new"))
    await browser.press("job-new", name="work", payload='{"number": 3}', delay="1h")
    assert (await shop.counts()).delayed == 1
    (delayed,) = (await shop.jobs("delayed")).jobs
    await browser.get(f"/act/job-remove?queue=shop&id={delayed.id}")
    await browser.press("job-remove")
    assert (await shop.counts()).delayed == 0


async def ended(browser: Browser, text: str) -> bool:
    """Whether the operation of the page has come to its end."""
    found = re.search(r"op=([\w-]+)", browser.url)
    assert found is not None, browser.url
    answer = await browser.client.get(f"/operations/{found[1]}", headers=HTML)
    return text in html.unescape(answer.text) and "hx-get" not in answer.text


async def test_a_group_is_replayed_one_first_then_the_rest(browser: Browser, shop: Queue) -> None:
    ids = await dead(shop, 4)
    await browser.get("/dead")
    assert browser.heading == "4 dead letters, 1 error"
    assert "no answer within <u>N</u> s" in browser.text
    async with Worker(shop):
        await browser.press("dead-one")
        await until(lambda: ended(browser, "1 replayed, and it died again: OSError"))
    assert (await shop.counts()).dead == 4
    await browser.get("/dead")
    await browser.get(browser.link("dead-replay"))
    assert browser.heading == "Replay 4 dead letters?"
    assert "Frozen at" in browser.text
    assert "What their attempts already did, a replay may do again." in browser.text
    await browser.press("dead-replay", rate="")
    await until(lambda: ended(browser, "4 dead letters replayed."))
    assert {one.id for one in (await shop.jobs("waiting")).jobs} == set(ids)
    await until(lambda: audited(browser, "replayed 4 dead letters of shop"))


async def audited(browser: Browser, text: str) -> bool:
    return text in await browser.get("/audit")


async def test_what_died_after_the_dialog_was_opened_is_left_alone(browser: Browser, shop: Queue) -> None:
    await dead(shop, 2)
    await browser.get("/dead")
    await browser.get(browser.link("dead-purge"))
    page, url = browser.text, browser.url
    await dead_more(shop)
    browser.text, browser.url = page, url
    await browser.press("dead-purge")
    await until(lambda: ended(browser, "2 dead letters purged."))
    assert (await shop.counts()).dead == 3


async def dead_more(queue: Queue) -> None:
    async with Worker(queue):
        await queue.enqueue_many([queue.spec("fail", {"number": number}) for number in range(3)])
        await until(lambda: has_dead(queue, 5))


async def test_a_hundred_are_purged_only_when_the_number_was_typed(browser: Browser, shop: Queue) -> None:
    shop.handler("fail2", max_attempts=1)(always_fails)
    async with Worker(shop):
        await shop.enqueue_many([shop.spec("fail2", {}) for _ in range(100)])
        await until(lambda: has_dead(shop, 100))
    await browser.get("/dead")
    await browser.get(browser.link("dead-purge"))
    await browser.press("dead-purge", typed="99")
    assert browser.status == 422
    assert "Type 100 to confirm." in browser.text
    await browser.press("dead-purge", typed="100")
    await until(lambda: ended(browser, "100 dead letters purged."))


async def test_the_number_on_the_button_is_exact_however_few_were_looked_at(
    browser: Browser, shop: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Queue.dead_groups

    async def short(queue: Queue, **_: Any) -> DeadGroups:
        return await whole(queue, most=10)

    monkeypatch.setattr(Queue, "dead_groups", short)
    shop.handler("fail2", max_attempts=1)(always_fails)
    async with Worker(shop):
        await shop.enqueue_many([shop.spec("fail", {"number": number}) for number in range(30)])
        await shop.enqueue_many([shop.spec("fail2", {}) for _ in range(230)])
        await until(lambda: has_dead(shop, 260))
    await browser.get("/dead")
    assert browser.heading == "260 dead letters, 2 errors"
    assert "Numbers are exact; histories and shares are by the newest 10 of 260." in browser.text
    assert "Replay 230…" in browser.text
    assert "Replay 30…" in browser.text
    await browser.get(browser.link("dead-replay"))
    assert browser.heading == "Replay 230 dead letters?"
    await browser.press("dead-replay", rate="")
    await until(lambda: ended(browser, "230 dead letters replayed."))
    await browser.get("/dead")
    assert browser.heading == "30 dead letters, 1 error"
    assert "Replay 30…" in browser.text


async def always_fails() -> None:
    raise RuntimeError("always")


async def test_all_that_match_are_retried_and_cancelled(browser: Browser, shop: Queue) -> None:
    await dead(shop, 5)
    await browser.get("/jobs?queue=shop&state=dead&error=OSError")
    await browser.get(browser.link("jobs-retry"))
    assert browser.heading == "Retry 5 dead jobs?"
    await browser.press("jobs-retry", rate="")
    await until(lambda: ended(browser, "5 jobs retried."))
    assert (await shop.counts()).waiting == 5
    ids = [one.id for one in (await shop.jobs("waiting")).jobs[:2]]
    await browser.get(f"/act/jobs?queue=shop&state=waiting&do=jobs-cancel&id={ids[0]}&id={ids[1]}")
    assert browser.heading == "Cancel 2 waiting jobs?"
    fields: dict[str, Any] = {**browser.forms("jobs-cancel")[0], "id": ids}
    answer = await browser.client.post("/act/jobs-cancel", data=fields, headers=HTML, follow_redirects=True)
    browser.url = str(answer.url)
    await until(lambda: ended(browser, "2 jobs cancelled."))
    assert (await shop.counts()).waiting == 3


async def test_a_queue_is_paused_with_a_reason_resumed_drained_and_cleaned(browser: Browser, shop: Queue) -> None:
    await shop.enqueue_many([shop.spec("work", {"number": number}) for number in range(3)])
    await browser.get("/queues/shop")
    await browser.get(browser.link("queue-pause"))
    await browser.press("queue-pause", reason="provider <down>")
    counts = await shop.counts()
    assert (counts.paused, counts.pause_reason) == (True, "provider <down>")
    assert "provider &lt;down&gt;" in await browser.get("/")
    await browser.get(browser.link("queue-resume"))
    await browser.press("queue-resume")
    assert not (await shop.counts()).paused
    await browser.get("/queues/shop")
    await browser.get(browser.link("queue-drain"))
    await browser.press("queue-drain")
    assert "3 jobs of shop removed" in browser.text
    await browser.get("/act/queue-clean?queue=shop")
    await browser.press("queue-clean", typed="clean", age="0s")
    assert "0 jobs of shop forgotten" in browser.text
    await browser.get("/act/all-pause")
    await browser.press("all-pause", typed="no")
    assert "Type pause to confirm" in browser.text
    await browser.press("all-pause", typed="pause")
    assert (await shop.counts()).paused


async def test_schedules_run_now_pause_resume_and_go(browser: Browser, shop: Queue) -> None:
    scheduler = Scheduler(shop)
    await scheduler.upsert("nightly", shop.spec("work", {"number": 1}), cron="0 2 * * *", tz="Europe/Athens")
    await browser.get("/schedules")
    assert "Every day at 02:00" in browser.text
    assert "0 2 * * *, Europe/Athens" in browser.text
    await browser.press("schedule-trigger")
    assert (await shop.counts()).waiting == 1
    await browser.press("schedule-pause")
    found = await scheduler.get("nightly")
    assert found is not None
    assert found.paused
    await browser.get("/schedule?queue=shop&id=nightly")
    assert browser.heading == "nightly is paused"
    assert browser.text.count(" in Athens") >= 5
    await browser.press("schedule-resume")
    await browser.get(browser.link("schedule-remove"))
    await browser.press("schedule-remove")
    assert await scheduler.get("nightly") is None
    assert "There is no such page" in await browser.get("/schedule?queue=shop&id=nightly")


async def test_workers_show_their_slots_and_what_they_run(browser: Browser, shop: Queue) -> None:
    gate = Gate()

    @shop.handler("hold")
    async def hold() -> None:
        await gate.through("hold")

    async with Worker(shop, concurrency=7, name="blue"):
        job = await hold.enqueue()

        async def shown() -> bool:
            return job.id in await browser.get("/workers")

        await until(shown, "the heartbeat tells of the job")
        assert browser.heading == "1 worker"
        assert 'aria-label="1 of 7 slots busy"' in browser.text
        row = re.search(rf'<tr data-row="shop/{job.id}">.*?</tr>', browser.text, re.DOTALL)
        assert row is not None
        assert "hold" in row[0]
        assert "blue" in row[0]
        await browser.get(f"/job?queue=shop&id={job.id}")
        assert "hold runs on blue" in browser.heading
        gate.open()
        await job.result(timeout=10)


async def test_the_server_page_says_what_the_doctor_says(browser: Browser, shop: Queue) -> None:
    await shop.enqueue("work", {"number": 1})
    found = await shop.server()
    await browser.get("/server")
    assert browser.heading.startswith(found.title)
    troubles = [one for one in found.checks if one.level != "ok"]
    assert troubles, "a server for tests has no password and no persistence"
    assert f"{len(troubles)} thing{'' if len(troubles) == 1 else 's'} to change" in browser.heading
    text = html.unescape(browser.text)
    assert [one for one in troubles if one.name not in text or one.remedy not in text] == []


async def test_limits_are_changed_and_blocks_released(browser: Browser, shop: Queue) -> None:
    await shop.limits.set("g:acme", concurrency=3)
    await shop.block(name="work", reason="provider down", by="ann")
    await browser.get("/limits")
    assert "provider down" in browser.text
    await browser.get(browser.link("limit-set"))
    await browser.press("limit-set", do="set", concurrency="7")
    (found,) = [one for one in await shop.limits.list() if one.gate == "g:acme"]
    assert found.concurrency == 7
    await browser.get("/limits")
    await browser.press("block-release")
    assert await shop.blocks() == []


async def test_circuit_breakers_are_listed_the_open_ones_first(browser: Browser, shop: Queue) -> None:
    await shop.limits.set("g:acme", concurrency=3)
    shop.use(CircuitBreaker("calm", handlers=("work",)))
    await browser.get("/limits")
    assert re.search(r"<b>calm</b>.*?>closed<", browser.text, re.DOTALL)
    assert browser.heading == "1 limit"
    await CircuitBreaker("twilio", handlers=("fail",)).open(shop, for_=900, reason="maintenance <b>", by="ann")
    await browser.get("/limits")
    assert browser.heading == "1 limit, 1 circuit breaker open"
    row = re.search(r"<b>twilio</b>.*?</tr>", browser.text, re.DOTALL)
    assert row is not None
    assert re.search(r"open, next probe in 1[45] m", row[0])
    assert "maintenance &lt;b&gt; (by ann)" in row[0]
    assert browser.text.index("<b>twilio</b>") < browser.text.index("<b>calm</b>")
    assert browser.text.count("<b>twilio</b>") == 1, "not among the limits as well"
    await CircuitBreaker("twilio").close(shop, by="ann")
    await browser.get("/limits")
    assert browser.heading == "1 limit"
    assert "closed by hand (by ann)" in browser.text


async def test_a_reader_sees_everything_and_no_button(shop: Queue, asking: Asking) -> None:
    await dead(shop, 2)
    browser = Browser(asking(Dashboard(shop, access=reads)))
    (job_id, _) = [one.id for one in (await shop.jobs("dead")).jobs]
    for path in (*PAGES, f"/job?queue=shop&id={job_id}"):
        await browser.get(path)
        assert browser.status == 200
        assert "/act/" not in browser.text, path
        assert "You may look at everything" in browser.text
    assert (await browser.client.get("/act/dead-purge", headers=HTML)).status_code == 403
    assert (await browser.client.post("/act/dead-purge", headers=HTML)).status_code == 403
    assert (await shop.counts()).dead == 2


async def test_hostile_text_is_shown_and_never_more_than_that(browser: Browser, shop: Queue) -> None:
    text = HOSTILE.replace("\u202e", "")

    @shop.handler("evil", max_attempts=1)
    async def evil(text: str, more: dict[str, str]) -> None:
        raise RuntimeError(HOSTILE)

    async with Worker(shop, name=HOSTILE):
        job = await shop.enqueue(
            "evil", {"text": HOSTILE, "more": {HOSTILE: HOSTILE}}, tenant=text, job_id=text, headers={text: text}
        )
        await until(lambda: has_dead(shop, 1))
    await shop.pause(reason=HOSTILE)
    await shop.block(tenant=text, reason=HOSTILE, by=HOSTILE)
    await shop.limits.set(f"g:{text}", concurrency=1, by=HOSTILE)
    await CircuitBreaker("sms").open(shop, for_=900, reason=HOSTILE, by=HOSTILE)
    again = shop.spec("evil", {"text": HOSTILE, "more": {HOSTILE: HOSTILE}}, tenant=text, headers={text: text})
    await Scheduler(shop).upsert("evil", again, every=3600)
    await shop.enqueue("work", {"number": 1}, tenant=text)
    query = httpx.QueryParams({"queue": "shop", "id": job.id})
    search = httpx.QueryParams({"q": HOSTILE, "tenant": text, "add": "", "error": text})
    paths = [*PAGES, f"/job?{query}", f"/jobs?{search}", f"/audit?{search}"]
    paths += [f"/act/job-edit?{query}", f"/act/job-remove?{query}", "/schedule?queue=shop&id=evil"]
    for path in paths:
        await browser.get(path)
        assert browser.status == 200, path
        assert "<script>alert" not in browser.text, path
        assert "\u202e" not in browser.text, path
        assert re.search(r"<[^>]*\balert\(1\)[^>]*>", re.sub(r'="[^"]*"', "", browser.text)) is None, path
    await browser.get(f"/job?{query}")
    assert "U+202E" in browser.text
    assert "&lt;script&gt;" in browser.text
    await browser.press("job-retry")
    assert "<script>alert" not in browser.text


async def test_a_megabyte_of_error_and_of_payload_makes_no_long_page(make_queue: MakeQueue, asking: Asking) -> None:
    queue = make_queue("shop", max_payload=2_000_000)

    @queue.handler("loud", max_attempts=1)
    async def loud(text: str, many: list[int]) -> None:
        del text, many
        raise RuntimeError("y" * 1_000_000)

    async with Worker(queue):
        job = await queue.enqueue("loud", {"text": "x" * 500_000, "many": list(range(50_000))})
        await until(lambda: has_dead(queue, 1))
    browser = Browser(asking(Dashboard(queue, **OPEN)))
    for path in ("/", "/queues/shop", "/jobs?state=dead", "/dead", f"/job?queue=shop&id={job.id}"):
        await browser.get(path)
        assert browser.status == 200, path
        assert len(browser.text) < 250_000, (path, len(browser.text))


async def test_every_page_and_every_dialog_ends_in_a_command_that_exists(browser: Browser, shop: Queue) -> None:
    (job_id, _) = await dead(shop, 2)
    await Scheduler(shop).upsert("nightly", shop.spec("work", {"number": 1}), cron="0 2 * * *")
    await shop.limits.set("g:acme", concurrency=3)
    await shop.limits.set("g:globex", weight=2.0)
    jobs = [await shop.enqueue("work", {"number": 1}, tenant="acme", delay=one) for one in (0, 3600)]
    paths = [f"/job?queue=shop&id={one}" for one in (job_id, *(job.id for job in jobs))]
    paths += [*PAGES, "/schedule?queue=shop&id=nightly", "/jobs?state=dead&error=OSError&tenant=a b&payload=number=1"]
    said, asks = set[str](), set[str]()
    for path in paths:
        said |= echoes(await browser.get(path))
        asks |= {html.unescape(one) for one in re.findall(r'href="([^"]*/act/[^"]*)"', browser.text)}
    assert len(asks) > 12
    for path in sorted(asks):
        said |= echoes(await browser.get(path))
        assert browser.status == 200, path
    assert len(said) > 20
    for one in sorted(said):
        parsed(one)


def echoes(text: str) -> set[str]:
    return {html.unescape(one) for one in re.findall(r'<code id="(?:ask-)?echo">(.+?)</code>', text)}


def parsed(said: str) -> None:
    """Read a command as the command line does, up to where it would be run."""
    name, *words = shlex.split(said)
    assert name == "streamq"
    command: click.Command = cli
    context = click.Context(command, info_name=name)
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, said
        command, context = found, click.Context(found, info_name=words.pop(0), parent=context)
    try:
        read = command.make_context(str(command.name), words)
    except click.UsageError as problem:
        raise AssertionError(f"{said}: {problem.message}") from None
    if "everything" in read.params and "ids" in read.params:
        assert read.params["everything"] or read.params["ids"], said


MISSING = ["/queues/none", "/dead?queue=none", "/jobs?queue=none", "/job?queue=none&id=1", "/nothing", "/act/nothing"]


@pytest.mark.parametrize("path", MISSING)
async def test_what_is_not_there_is_said(browser: Browser, path: str) -> None:
    await browser.get(path)
    assert (browser.status, browser.heading) == (404, "There is no such page")


async def test_the_page_while_redis_is_away_and_back(fresh_server: StartServer, asking: Asking, prefix: str) -> None:
    server = fresh_server(tcp=True)
    queue = Queue("q", url=server.url, prefix=prefix)
    browser = Browser(asking(Dashboard(queue, **OPEN)))
    await queue.enqueue("work", {})
    await browser.get("/")
    server.stop()
    await browser.get("/jobs?state=waiting")
    assert (browser.status, browser.heading) == (503, "Redis is not answering")
    for text in (f"127.0.0.1:{server.port}", "nothing listens on port", "redis-cli", "Try now", "<b>1</b> waiting"):
        assert text in browser.text, text
    server.start()
    await until(lambda: is_back(browser))
    await queue.aclose()


async def is_back(browser: Browser) -> bool:
    await browser.get("/jobs?state=waiting")
    return browser.status == 200


async def test_it_works_below_any_path(shop: Queue, asking: Asking) -> None:
    (job_id, _) = await dead(shop, 2)
    app = Starlette(routes=[Mount("/ops/queues", Dashboard(shop, **OPEN))])
    browser = Browser(asking(app))
    await browser.get("/ops/queues/")
    assert browser.status == 200
    for href in re.findall(r'(?:href|src|action)="(/[^"]*)"', browser.text):
        assert href.startswith("/ops/queues"), href
    await browser.get(f"/ops/queues/job?queue=shop&id={job_id}")
    fields = browser.forms("job-retry")[0]
    answer = await browser.client.post(
        "/ops/queues/act/job-retry", data=fields, headers={**HTML, "referer": browser.url}, follow_redirects=True
    )
    assert "waits again" in answer.text
    assert "/ops/queues/job" in str(answer.url)


async def test_only_pages_that_live_ask_for_a_feed(browser: Browser, shop: Queue) -> None:
    await shop.enqueue("work", {"number": 1})
    assert 'data-feed="1"' in await browser.get("/queues/shop")
    assert "data-feed" not in await browser.get("/act/queue-pause?queue=shop")
    assert "data-feed" not in await browser.get("/nothing")
