"""Every queue of a prefix at a glance, for those who look once a second: `streamq top`, a dashboard's overview."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from . import reading
from ._core.lifecycle import JobState
from ._store.glance import Glanced, Glancer
from ._store.link import redacted
from .info import JobInfo
from .reading import Counts, WorkerInfo


class QueueGlance(msgspec.Struct, frozen=True):
    """One queue in a moment: its counts, its workers (at most 100), its newest dead letters, newest first."""

    name: str
    counts: Counts
    workers: Sequence[WorkerInfo]
    dead: Sequence[JobInfo]

    @property
    def alive(self) -> Sequence[WorkerInfo]:
        """Workers that show signs of life."""
        return [one for one in self.workers if one.alive]


class Glance(msgspec.Struct, frozen=True):
    """Every queue in a moment.

    server: kind and version. now_ms: its clock. seconds: how long the look took. more: queues that are left out, over
    50.
    """

    queues: Sequence[QueueGlance]
    server: str
    now_ms: int
    seconds: float
    more: int = 0


class Overlook:
    """Looks at every queue of a prefix, in one round trip a time however many jobs there are.

    ``dead``: how many of the newest dead letters of each queue to bring along.
    """

    def __init__(self, url: str, prefix: str = "streamq", *, dead: int = 5) -> None:
        self._glancer = Glancer(url, prefix, dead=dead)

    @property
    def where(self) -> str:
        """Url, without credentials."""
        return redacted(self._glancer.url)

    async def look(self, only: Sequence[str] = ()) -> Glance:
        """Return every queue, or ``only`` these.

        Raises `RedisUnavailable` when nothing answers: the next call tries to connect again. Queues that appear
        meanwhile are there from the next look on.
        """
        found = await self._glancer.look(only)
        now_ms = max((one.counted.now_ms for one in found.queues), default=0)
        queues = [_queue(one) for one in found.queues]
        return Glance(queues, _server(found.info), now_ms, found.seconds, found.more)

    async def aclose(self) -> None:
        """Close the connection; another look opens it anew."""
        await self._glancer.aclose()


def _queue(found: Glanced) -> QueueGlance:
    return QueueGlance(
        found.queue,
        reading.as_counts(found.counted),
        reading.as_workers(found.beats, found.counted.now_ms),
        [reading.as_info(found.queue, JobState.DEAD, one) for one in found.dead],
    )


def _server(info: dict[str, str]) -> str:
    version = info.get("valkey_version")
    return f"Valkey {version}" if version else f"Redis {info.get('redis_version', '')}".rstrip()
