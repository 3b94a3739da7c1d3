"""What a run has come to, counted from what it left: the rows, the mails, the provider's journal, the queues."""

import json
from collections import Counter
from collections.abc import Callable, Collection
from email import message_from_bytes
from pathlib import Path

from streamq import Counts

from .models import Channel, Row, Status
from .store import Store


class Audit:
    """Reads the store and the folder of a run that is over.

    ``before`` and ``stats``: of the queues, at its start and end. Counters of a queue go on from run to run.
    """

    def __init__(self, store: Store, folder: Path, before: Collection[Counts], stats: Collection[Counts]) -> None:
        self._before = before
        self._rows = {status: store.with_status(status) for status in Status}
        self._stats = stats
        self._mails = [str(message_from_bytes(path.read_bytes())["Message-ID"]) for path in folder.glob("spool/*.eml")]
        journal = (folder / "provider.jsonl").read_text(encoding="utf-8").splitlines()
        self._messages = Counter(str(json.loads(line)["key"]) for line in journal)

    def figures(self, *, by_hand: int, duplicates: int) -> dict[str, int]:
        """Return the summary. ``by_hand``: manual retries; ``duplicates``: calls the provider took for repeats."""
        return {
            **{f"{channel} sent": len(self._of(Status.SENT, channel)) for channel in Channel},
            "failed for good": len(self._rows[Status.FAILED]),
            "retried after an error": self._grown(lambda one: one.retried),
            "put off by Retry-After": self._grown(lambda one: one.limited),
            "retried by hand": by_hand,
            "replayed dead letters": self._grown(lambda one: one.replayed),
            "reclaimed from the killed worker": self._grown(lambda one: one.stalled),
            "duplicates refused by idempotency key": duplicates,
            "mails received": len(self._mails),
            "distinct Message-IDs": len(set(self._mails)),
        }

    def complaints(self, count: int) -> list[str]:
        """Return what is wrong with the run's ``count`` notifications; nothing, if all went well."""
        arrived = {mail.strip("<>").partition("@")[0] for mail in self._mails}
        emails = [row for status in Status for row in self._of(status, Channel.EMAIL)]
        missing = sum(row.notification.id not in arrived for row in emails)
        texts = self._of(Status.SENT, Channel.SMS, Channel.PUSH)
        odd = sum(self._messages[row.notification.id] != 1 for row in texts)
        failed, dead = len(self._rows[Status.FAILED]), sum(one.dead for one in self._stats)
        unsettled = sum(one.waiting + one.active + one.delayed + one.parked for one in self._stats)
        final = failed + len(self._rows[Status.SENT])
        told = {
            f"{count - final} rows are not final": final != count,
            f"{missing} mails have not arrived": missing,
            f"{odd} messages were sent never, or more than once": odd,
            f"{unsettled} jobs are left in the queues": unsettled,
            f"{failed} rows are FAILED, but there are {dead} dead letters": failed != dead,
        }
        return [text for text, wrong in told.items() if wrong]

    def _grown(self, counter: Callable[[Counts], int]) -> int:
        return sum(map(counter, self._stats)) - sum(map(counter, self._before))

    def _of(self, status: Status, *channels: Channel) -> list[Row]:
        return [row for row in self._rows[status] if row.notification.channel in channels]
