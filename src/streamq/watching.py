"""What a queue shows and tells while it runs: its health, alerts, hooks of this process, and the stream of events."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from typing import Literal, TypeVar, overload

from ._core.alerts import Alert, Severity
from ._core.events import Event, EventKind
from ._core.units import Seconds
from ._store.session import Store
from .alerts import AlertHandler, Alerting
from .breaker import BreakerInfo, CircuitBreaker, breakers
from .controls import Controls
from .dlq import DeadLetter
from .events import HOOK_TIMEOUT, Hook, called, follow
from .health import CheckFn, Checks, Health, health
from .reading import Counts, WorkerInfo
from .settings import Watching

HookFn = TypeVar("HookFn", bound=Hook)
AlertFn = TypeVar("AlertFn", bound=AlertHandler)
DeadFn = TypeVar("DeadFn", bound=Callable[[DeadLetter], Awaitable[None] | None])


class Watched(Controls):
    """What can be watched of a queue."""

    def __init__(self) -> None:
        super().__init__()
        self.alerting: Alerting = Alerting(self)
        self.checks: Checks = Checks()
        self.watched: Watching = Watching(None, (), None, 0)
        self.fuses: dict[str, CircuitBreaker] = {}

    @abstractmethod
    async def counts(self) -> Counts:
        """Return how many jobs are where."""

    @abstractmethod
    async def workers(self) -> list[WorkerInfo]:
        """Return the workers of this queue."""

    @abstractmethod
    async def store_of(self, job_id: str) -> Store:
        """Return the partition a job lives in. Not for applications."""

    def watch(self, options: Watching) -> None:
        """Take what the options of the queue say. Not for applications."""
        self.watched = options
        self.alerting.rules = options.alerts
        self.notices.write(options.events or (), options.keep_events)

    # -- health -------------------------------------------------------------------------------------

    async def health(self) -> Health:
        """Return how the queue is: ok, warning or critical, with reasons and what to do about each.

        Judged by ``Queue(health=)``, else by what its workers declared, else by the default `HealthPolicy`; by whether
        workers are there while jobs wait; and by your own checks. A server that does not answer within seconds is a
        reason, not an error.
        """
        return await health(self, self.watched.health, self.checks)

    def health_check(
        self, name: str, *, timeout: Seconds = 2.0, level: Literal["warning", "critical"] = "critical"
    ) -> Callable[[CheckFn], CheckFn]:
        """Look at something else, too, such as a database: a function, async or not, that raises if it is not well.

        So does returning False, or a text that says what is wrong. timeout: seconds it may take. level: what it is
        when it fails. It runs with every `health`, and for a worker's ``/health``.
        """

        def register(fn: CheckFn) -> CheckFn:
            self.checks.add(name, fn, timeout, level)
            return fn

        return register

    async def breakers(self) -> list[BreakerInfo]:
        """Return the circuit breakers, by name: those in use here, and those that ever counted a failure.

        From any process, whether or not workers run. Of one that is not in use here ``failures`` are those of the last
        minute.
        """
        return await breakers(self)

    # -- alerts -------------------------------------------------------------------------------------

    @overload
    def on_alert(self, handler: AlertFn, /) -> AlertFn: ...

    @overload
    def on_alert(self, /, *, severity: Severity = "info") -> Callable[[AlertFn], AlertFn]: ...

    def on_alert(
        self, handler: AlertFn | None = None, /, *, severity: Severity = "info"
    ) -> AlertFn | Callable[[AlertFn], AlertFn]:
        """Tell the decorated function, async or not, when a rule of ``Queue(alerts=)`` fires or is resolved.

        ``@queue.on_alert``, or ``@queue.on_alert(severity="critical")`` for those that are so grave. One worker of the
        queue tells its handlers; if all of them fail it is told again a minute later.
        """

        def register(fn: AlertFn) -> AlertFn:
            self.alerting.on(fn, severity)
            return fn

        return register if handler is None else register(handler)

    async def alerts(self) -> list[Alert]:
        """Return the alerts that fire now, the gravest first, as they were judged last."""
        return await self.alerting.standings()

    async def watch_alerts(self) -> None:
        """Judge the rules until cancelled, by turns with the workers: in a process that lives when they do not."""
        await self.alerting.run()

    # -- hooks and events ---------------------------------------------------------------------------

    def on(self, *kinds: EventKind) -> Callable[[HookFn], HookFn]:
        """Call the decorated function, async or not, with every `Event` of these kinds (none: all) in this process.

        added: a job was enqueued here. active: its handler starts, in this worker. completed. failed: an attempt
        failed. retrying: it will be run again. stalled: it was taken over from a worker that vanished. dead: it is a
        dead letter. cancelled, expired: it ended so. paused, resumed: the queue, a group or a handler, from here. Told
        when the server has applied it, in order, beside the jobs: an error in a hook is logged and harms nobody, and a
        hook that is slow delays the next one only. For workers register before they start.
        """

        def register(fn: HookFn) -> HookFn:
            self.notices.on(kinds, fn)
            return fn

        return register

    def on_dead_letter(self, fn: DeadFn) -> DeadFn:
        """Call the decorated function, async or not, with the `DeadLetter` of each job that dies in this worker."""

        async def told(event: Event) -> None:
            letter = await self.dlq.get(event.job_id)
            if letter is not None:  # else somebody has replayed or removed it already
                await called(fn, HOOK_TIMEOUT, letter)

        self.notices.on(("dead",), told)
        return fn

    def events(
        self,
        *,
        after: str | None = None,
        names: Collection[str] | None = None,
        kinds: Collection[EventKind] | None = None,
    ) -> AsyncGenerator[Event]:
        """Yield what happens in the queue, in all processes that write it (``Queue(events=)``), for ever.

        after: id of the last event seen, "0" for all that are kept, None for those from now on. names: of handlers.
        kinds: of events. A server that is away is waited for. What is older than the ``keep_events`` latest is gone.
        """
        return follow(self, after, names, kinds)
