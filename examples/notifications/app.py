"""The queues and what their workers do. Start workers with ``streamq worker examples.notifications.app:queues``."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import closing
from typing import cast

import msgspec

from streamq import Context, Depends, Exponential, Fatal, Handler, Queue, RateLimited, current_context

from .models import Channel, Notification
from .providers import HttpProvider, Mailer
from .settings import Settings
from .store import Run, Store
from .texts import render

settings = Settings.from_environment()


class Resources(msgspec.Struct, frozen=True):
    """What a worker keeps open while it lives."""

    store: Store
    mailer: Mailer
    provider: HttpProvider


async def open_resources() -> AsyncGenerator[Resources, None]:
    """Open the database and the providers' settings with the worker, and close them with it."""
    with closing(Store(settings.database_path)) as store:
        yield Resources(store, Mailer(settings), HttpProvider(settings))


def resources() -> Resources:
    """Return what the lifespan of this worker has opened."""
    return cast("Resources", current_context().state)


def get_store() -> Store:
    """For ``Depends``."""
    return resources().store


def get_mailer() -> Mailer:
    """For ``Depends``."""
    return resources().mailer


def get_provider() -> HttpProvider:
    """For ``Depends``."""
    return resources().provider


async def keep_the_row(ctx: Context, call_next: Callable[[Context], Awaitable[str]]) -> None:
    """Middleware of every channel: the row says PENDING before a run, and SENT or FAILED after it.

    Nothing is returned, so that no result is kept beside the row. A run that was cancelled writes nothing: its
    job either runs again or is found by ``NotificationService.settle_dead_letters``.
    """
    store = resources().store
    run = Run(ctx.job_id, ctx.fence)
    if not await asyncio.to_thread(store.begin, run):
        return  # sent by an earlier run whose worker vanished before it could tell the queue
    try:
        provider_id = await call_next(ctx)
    except RateLimited as limited:
        await asyncio.to_thread(store.failed, run, str(limited), final=False)
        raise
    except Exception as error:
        final = ctx.is_last_attempt or isinstance(error, Fatal)
        await asyncio.to_thread(store.failed, run, f"{type(error).__name__}: {error}", final=final)
        raise
    await asyncio.to_thread(store.sent, run, provider_id)


def channel_queue(name: str) -> Queue:
    """Declare the queue of a channel. All share their rules; each has its own jobs, workers, pause and dead letters."""
    queue = Queue(name, max_attempts=settings.attempt_limit, backoff=Exponential(settings.backoff), timeout=30)
    queue.lifespan(open_resources)
    queue.use(keep_the_row)
    return queue


emails = channel_queue("email-notifications")
sms = channel_queue("sms-notifications")
push = channel_queue("push-notifications")
in_app = channel_queue("in-app-notifications")


@emails.handler("send")
def send_email(ctx: Context, notification: Notification, mailer: Mailer = Depends(get_mailer)) -> str:
    return mailer.send(notification, render(notification.notification_type_id, notification.data), ctx.created_at)


@sms.handler("send")
async def send_sms(notification: Notification, provider: HttpProvider = Depends(get_provider)) -> str:
    return await provider.send(notification, render(notification.notification_type_id, notification.data).short)


@push.handler("send")
async def send_push(notification: Notification, provider: HttpProvider = Depends(get_provider)) -> str:
    return await provider.send(notification, render(notification.notification_type_id, notification.data).short)


@in_app.handler("send")
def send_in_app(notification: Notification, store: Store = Depends(get_store)) -> str:
    text = render(notification.notification_type_id, notification.data)
    return store.deliver(notification, text.subject, text.short)


queues = [emails, sms, push, in_app]
by_channel: dict[Channel, Queue] = dict(zip(Channel, queues, strict=True))
handlers: dict[Channel, Handler[..., str]] = {
    Channel.EMAIL: send_email,
    Channel.SMS: send_sms,
    Channel.PUSH: send_push,
    Channel.IN_APP: send_in_app,
}
