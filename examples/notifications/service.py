"""The operations of the notification service: what its API would call."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import msgspec

from streamq import Counts, JobSpec

from .app import by_channel, handlers, queues
from .models import Channel, Notification, Status
from .store import Store
from .texts import render


class NotificationNotFoundError(LookupError):
    """There is no notification of this id."""


class CannotRetryError(ValueError):
    """Only FAILED notifications can be retried."""


class NotificationService:
    """Stores notifications and puts them into their channel's queue."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def queue_notification(
        self,
        *,
        user_id: str,
        notification_type_id: str,
        channel: Channel,
        to: str,
        data: dict[str, str],
        metadata: dict[str, str] | None = None,
    ) -> Notification:
        """Store a notification as PENDING and enqueue it. Raises before anything is stored if it cannot be rendered."""
        notification = Notification(
            id=uuid4().hex,
            user_id=user_id,
            notification_type_id=notification_type_id,
            channel=channel,
            to=to,
            data=data,
            metadata=metadata or {},
        )
        await self.queue_notifications([notification])
        return notification

    async def queue_notifications(self, notifications: Sequence[Notification]) -> None:
        """Store many as PENDING, all or none, and enqueue them.

        What was stored and not enqueued, because the process died in between, `requeue_pending` finds.
        """
        for one in notifications:
            render(one.notification_type_id, one.data)
        await asyncio.to_thread(self._store.add, notifications)
        await self._enqueue([(one, one.id) for one in notifications])

    async def requeue_pending(self) -> int:
        """Enqueue rows whose producer died between the row and the job; returns how many had no job.

        Safe at any time: a job id is taken once, so a row that has its job gets no second one.
        """
        rows = await asyncio.to_thread(self._store.with_status, Status.PENDING)
        return await self._enqueue([(row.notification, row.job_id) for row in rows])

    async def retry_notification(self, notification_id: str) -> None:
        """Send a FAILED notification again, with all its attempts, in place of its dead letter."""
        row = await asyncio.to_thread(self._store.get, notification_id)
        if row is None:
            raise NotificationNotFoundError(f"Notification not found: {notification_id}")
        job_id = f"{notification_id}.retry-{uuid4().hex[:8]}"
        # The row changes hands in one statement, so of two operators who press the button one is refused.
        if row.status is not Status.FAILED or not await asyncio.to_thread(self._store.reopen, notification_id, job_id):
            raise CannotRetryError(f"Cannot retry notification with status {row.status}")
        again = {**row.notification.metadata, "isRetry": "true", "originalJobId": row.job_id}
        await self._enqueue([(msgspec.structs.replace(row.notification, metadata=again), job_id)])
        await by_channel[row.notification.channel].dlq.purge(row.job_id)

    async def replay_dead_letters(self, error: str, *, rate: float | None = None) -> int:
        """Put the jobs that died of ``error`` back, at most ``rate`` a second: for when an outage is over."""
        total = 0
        for queue in queues:
            async for letter in queue.dlq.list(error=error):
                await asyncio.to_thread(self._store.mark, letter.id, Status.FAILED, Status.PENDING, "Replayed")
            total += (await queue.dlq.replay_all(error=error, rate=rate)).replayed
        return total

    async def settle_dead_letters(self) -> int:
        """Mark PENDING rows FAILED whose job was buried where nobody could write: stalled too often, or out of time."""
        marked = 0
        for queue in queues:
            async for letter in queue.dlq.list():
                why = f"Buried: {letter.reason}"
                marked += await asyncio.to_thread(self._store.mark, letter.id, Status.PENDING, Status.FAILED, why)
        return marked

    async def get_queue_stats(self) -> dict[Channel, Counts]:
        """Count the jobs of every queue."""
        counts = await asyncio.gather(*(queue.counts() for queue in by_channel.values()))
        return dict(zip(by_channel, counts, strict=True))

    async def clean_queues(
        self, *, completed: timedelta = timedelta(hours=24), failed: timedelta = timedelta(days=7)
    ) -> int:
        """Forget completed jobs and dead letters older than this; returns how many."""
        done = await asyncio.gather(*(queue.clean("completed", older_than=completed) for queue in queues))
        dead = await asyncio.gather(*(queue.clean("dead", older_than=failed) for queue in queues))
        return sum(done) + sum(dead)

    async def _enqueue(self, jobs: Sequence[tuple[Notification, str]]) -> int:
        specs: dict[Channel, list[JobSpec[str]]] = {channel: [] for channel in Channel}
        for notification, job_id in jobs:
            handler = handlers[notification.channel].with_options(job_id=job_id)
            specs[notification.channel].append(handler.job(notification))
        created = 0
        for channel, some in specs.items():
            created += sum(job.created for job in await by_channel[channel].enqueue_many(some))
        return created
