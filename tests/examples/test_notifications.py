"""The notification service: its parts, and all of it on a bad day. The end state is read from what the run left."""

import email
import email.policy
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from examples.notifications.models import Channel, Notification, Status
from examples.notifications.people import notifications
from examples.notifications.provider_server import ProviderServer, fault_of
from examples.notifications.service import CannotRetryError, NotificationNotFoundError, NotificationService
from examples.notifications.settings import Settings
from examples.notifications.store import Run, Store, SupersededError
from examples.notifications.texts import UnknownTypeError, render
from streamq import Queue
from tests.servers import Server

CHECKOUT = Path(__file__).parents[2]
QUEUES = ("email-notifications", "sms-notifications", "push-notifications", "in-app-notifications")
COUNT = 2000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "rows.sqlite3")) as opened:
        yield opened


@pytest.fixture
def notification(store: Store) -> Notification:
    """A notification that is stored and PENDING."""
    one = next(iter(notifications(1)))
    store.add([one])
    return one


def status(store: Store, notification: Notification) -> Status:
    row = store.get(notification.id)
    assert row is not None
    return row.status


# -- the rows


def test_late_write_of_a_zombie_is_refused(store: Store, notification: Notification) -> None:
    zombie, successor = Run(notification.id, 0), Run(notification.id, 1)
    assert store.begin(zombie)
    assert store.begin(successor)

    with pytest.raises(SupersededError):
        store.failed(zombie, "too late", final=True)
    store.sent(successor, "msg-1")
    with pytest.raises(SupersededError):
        store.sent(zombie, "msg-2")

    row = store.get(notification.id)
    assert row is not None
    assert (row.status, row.provider_id, row.error_message) == (Status.SENT, "msg-1", None)


def test_run_that_begins_late_is_refused(store: Store, notification: Notification) -> None:
    assert store.begin(Run(notification.id, 5))

    with pytest.raises(SupersededError):
        store.begin(Run(notification.id, 4))


def test_what_was_sent_is_not_sent_again(store: Store, notification: Notification) -> None:
    assert store.begin(Run(notification.id, 0))
    store.sent(Run(notification.id, 0), "msg-1")

    assert not store.begin(Run(notification.id, 1))


def test_job_that_was_replaced_by_a_retry_writes_nothing(store: Store, notification: Notification) -> None:
    old = Run(notification.id, 7)
    assert store.begin(old)
    store.failed(old, "HTTP 500", final=True)

    assert store.reopen(notification.id, "another-job")
    assert not store.reopen(notification.id, "a-third-job"), "two people may not retry at once"

    with pytest.raises(SupersededError):
        store.begin(Run(notification.id, 8))
    assert store.begin(Run("another-job", 0))


def test_rows_are_stored_all_or_none(store: Store, notification: Notification) -> None:
    new = list(notifications(2))

    with pytest.raises(sqlite3.IntegrityError):
        store.add([*new, notification])

    assert store.count(Status.PENDING) == 1


# -- the service


async def test_only_failed_notifications_can_be_retried(store: Store, notification: Notification) -> None:
    service = NotificationService(store)

    with pytest.raises(NotificationNotFoundError, match="Notification not found: nobody"):
        await service.retry_notification("nobody")
    with pytest.raises(CannotRetryError, match="Cannot retry notification with status PENDING"):
        await service.retry_notification(notification.id)
    store.begin(Run(notification.id, 0))
    store.sent(Run(notification.id, 0), "msg-1")
    with pytest.raises(CannotRetryError, match="Cannot retry notification with status SENT"):
        await service.retry_notification(notification.id)

    assert status(store, notification) is Status.SENT


async def test_what_cannot_be_rendered_is_not_stored(store: Store) -> None:
    service = NotificationService(store)

    with pytest.raises(KeyError, match="firm"):
        await service.queue_notification(
            user_id="usr_001",
            notification_type_id="welcome",
            channel=Channel.SMS,
            to="+12025550100",
            data={"name": "Ada"},
        )

    assert store.count(Status.PENDING) == 0


def test_template_names_are_no_paths() -> None:
    with pytest.raises(UnknownTypeError, match="there are deadline_tomorrow, "):
        render("../recipients", {})


def test_settings_are_those_of_the_environment() -> None:
    settings = Settings.from_environment({"JOB_CONCURRENCY": "7", "JOB_ATTEMPT_LIMIT": "4", "SMTP_PORT": "2525"})

    assert (settings.concurrency, settings.attempt_limit, settings.smtp_port) == (7, 4, 2525)
    assert Settings.from_environment({}).attempt_limit == 3


# -- the provider


def test_provider_sends_once_per_idempotency_key(tmp_path: Path) -> None:
    with ProviderServer(tmp_path / "journal") as provider:
        first = provider.answer("sms", "key-1", "+12025550100", "good day")
        again = provider.answer("sms", "key-1", "+12025550100", "good day")

    assert fault_of("+12025550100", "good day") == ""
    assert first[1]["X-Message-Id"] == again[1]["X-Message-Id"]
    assert provider.duplicates == 1
    assert len((tmp_path / "journal").read_text().splitlines()) == 1


# -- all of it


class Outcome(NamedTuple):
    """What the run printed and left."""

    output: str
    folder: Path

    def figure(self, name: str) -> int:
        """A figure of the printed summary."""
        found = re.search(rf"^  {re.escape(name)} +([\d,]+)$", self.output, re.MULTILINE)
        assert found is not None, f"no figure {name!r} in:\n{self.output}"
        return int(found[1].replace(",", ""))


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_bad_day(server: Server, prefix: str, tmp_path: Path) -> None:
    env = {**os.environ, "STREAMQ_URL": server.url, "STREAMQ_PREFIX": prefix}
    outcome = run_service(env, tmp_path / "day")

    with closing(sqlite3.connect(outcome.folder / "notifications.sqlite3")) as database:
        rows = database.execute("SELECT id, channel, status, provider_id, error_message FROM notifications").fetchall()
        inbox = {one for (one,) in database.execute("SELECT notification_id FROM inbox")}
    check_rows(rows)
    check_mails(outcome, {id_ for id_, channel, *_ in rows if channel == "email"})
    check_messages(outcome, rows)
    assert inbox == {id_ for id_, channel, *_ in rows if channel == "in_app"}
    check_story(outcome, Counter(status for _, _, status, *_ in rows))
    await check_queues(server, prefix)


def run_service(env: dict[str, str], folder: Path) -> Outcome:
    command = [sys.executable, "-m", "examples.notifications.run", "--count", str(COUNT), "--dir", str(folder)]
    # A session of its own: if it hangs, its workers go with it.
    with subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=130)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, output
    return Outcome(output, folder)


def check_rows(rows: list[tuple[str, str, str, str | None, str | None]]) -> None:
    assert len(rows) == COUNT
    assert Counter(channel for _, channel, *_ in rows) == dict.fromkeys(Channel, COUNT // 4)
    assert {status for _, _, status, *_ in rows} == {"SENT", "FAILED"}
    for _, channel, status, provider_id, error in rows:
        if status == "SENT":
            assert provider_id
            assert error is None
        else:  # the provider will never take these
            assert channel in {"sms", "push"}
            assert error == "Fatal: HTTP 400"


def check_mails(outcome: Outcome, wanted: set[str]) -> None:
    spool = sorted((outcome.folder / "spool").glob("*.eml"))
    mails = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in spool]
    arrived = Counter(str(mail["Message-ID"]).strip("<>").removesuffix("@notifications.example") for mail in mails)

    assert set(arrived) == wanted
    assert outcome.figure("mails received") == len(spool)
    assert outcome.figure("distinct Message-IDs") == len(wanted) == COUNT // 4
    for mail in mails:
        assert mail["Subject"]
        assert mail["To"].addresses[0].addr_spec.endswith("@example.com")
        assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert {"Jörg", "Eleni"} <= {mail["To"].addresses[0].display_name.split()[0] for mail in mails}


def check_messages(outcome: Outcome, rows: list[tuple[str, str, str, str | None, str | None]]) -> None:
    journal = [json.loads(line) for line in (outcome.folder / "provider.jsonl").read_text().splitlines()]
    sent = {
        id_: provider_id
        for id_, channel, status, provider_id, _ in rows
        if channel in {"sms", "push"} and status == "SENT"
    }

    assert len(journal) == len(sent), "each message once"
    assert {line["key"]: line["id"] for line in journal} == sent


def check_story(outcome: Outcome, statuses: Counter[str]) -> None:
    assert sum(outcome.figure(f"{channel} sent") for channel in Channel) == statuses["SENT"]
    assert outcome.figure("failed for good") == statuses["FAILED"]
    assert "is killed with SIGKILL half way" in outcome.output
    assert "one more is refused: Cannot retry notification with status SENT" in outcome.output
    assert "is asked to stop and ends with exit code 0" in outcome.output
    for name in (
        "failed for good",
        "retried after an error",
        "put off by Retry-After",
        "retried by hand",
        "replayed dead letters",
        "reclaimed from the killed worker",
        "duplicates refused by idempotency key",
    ):
        assert outcome.figure(name) > 0, name
    assert outcome.figure("retried by hand") > outcome.figure("failed for good"), "some retries by hand must help"


async def check_queues(server: Server, prefix: str) -> None:
    for name in QUEUES:
        async with Queue(name, url=server.url, prefix=prefix) as queue:
            counts = await queue.counts()
            assert (counts.waiting, counts.active, counts.delayed, counts.parked, counts.dead) == (0, 0, 0, 0, 0), name
            assert counts.completed > 0
            for state in ("waiting", "active", "delayed", "parked", "dead"):
                assert not (await queue.jobs(state)).jobs, (name, state)
