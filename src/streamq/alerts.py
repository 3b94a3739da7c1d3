"""Alerts: rules judged once for all workers of a queue, and told to whoever asked to hear of them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from ._core import standing as _core
from ._core.alerts import SEVERITIES, Alert, AlertRule, Severity
from ._core.health import Facts
from ._core.standing import Standing, Standings
from ._store import alerts as _store
from ._store.alerts import Turn
from ._store.session import Store
from .errors import StreamqError
from .events import called
from .health import Home, facts

log: Final = logging.getLogger("streamq.alerts")

AlertHandler = Callable[[Alert], Awaitable[None] | None]
"""What is called with an alert: async def, or def, which runs in a thread."""

LOOK: Final = 5.0
"""Seconds between two looks at the numbers."""

PATIENCE: Final = 30.0
"""Seconds a handler may take."""

GOODBYE: Final = 1.0
"""Seconds that a process which ends has to give its turn up."""

_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}


class Alerting:
    """The rules of a queue, and who is told. Not for applications: ``Queue(alerts=)`` and `Queue.on_alert` are.

    errors: handlers that raised or took too long.
    """

    def __init__(self, home: Home) -> None:
        self.rules: tuple[AlertRule, ...] = ()
        self.look_every: float = LOOK
        self.errors: int = 0
        self._home = home
        self._handlers: list[tuple[AlertHandler, Severity]] = []

    def on(self, handler: AlertHandler, least: Severity) -> None:
        """Tell ``handler`` of alerts of a severity or graver ones."""
        self._handlers.append((handler, least))

    async def run(self) -> None:
        """Judge the rules for ever, whenever it is our turn; end by cancellation, which gives the turn up."""
        who, pause = os.urandom(8).hex(), 0.0
        try:
            while True:
                try:
                    pause = await self.look(who)
                except StreamqError as problem:
                    log.debug("alerts of %s are not judged: %s", self._home.name, problem)
                    pause = self.look_every
                except Exception:  # a defect here must not end a worker
                    log.exception("alerts of %s were not judged", self._home.name, extra={"event": "alerts_failed"})
                    pause = self.look_every
                await asyncio.sleep(pause * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
        finally:
            with suppress(StreamqError, TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(GOODBYE):
                    await _store.watch(await self._store(), who, "leave")

    async def look(self, who: str) -> float:
        """Judge the rules once, if it is our turn; returns the seconds until the next look."""
        store = await self._store()
        turn = await _store.watch(store, who, "turn")
        if not turn.is_ours:
            return max(1.0, turn.left_ms / 1000 + 0.5)
        before = _core.decode(turn.rules)
        after = await self._judged(before, turn.now_ms)
        news = [
            (rule, after[rule.name])
            for rule in self.rules
            if _core.is_to_be_told(before.get(rule.name, Standing()), after[rule.name])
        ]
        written: Turn | None = None
        try:
            written = await self._put(store, who, turn, after)
            if written is None:
                return 0.1  # somebody else looked meanwhile
            for rule, standing in news:
                if await self._told(_core.alert(self._home.name, rule, standing, turn.now_ms)):
                    standing.untold = ""
            if any(not standing.untold for _, standing in news):
                await self._put(store, who, written, after)
        except asyncio.CancelledError:
            if news:
                await self._hand_over(store, who, turn, written, after)
            raise
        return self.look_every

    async def standings(self) -> list[Alert]:
        """Return what fires now, the gravest first, as it was judged last."""
        store = await self._store()
        found = _core.decode(await _store.standing(store))
        now = await store.session().server_ms()
        ours = [(rule, found.get(rule.name, Standing())) for rule in self.rules]
        firing = [_core.alert(self._home.name, rule, one, now, told=False) for rule, one in ours if one.level]
        return sorted(firing, key=lambda one: -SEVERITIES.index(one.severity))

    async def _judged(self, before: Mapping[str, Standing], now: int) -> Standings:
        seen: dict[float, Facts] = {}
        for window in {rule.window_seconds for rule in self.rules}:
            seen[window] = await facts(self._home, window)
        ours = {
            rule.name: _core.judged(
                rule, before.get(rule.name, Standing()), seen[rule.window_seconds].value(rule.metric), now
            )
            for rule in self.rules
        }
        return _core.with_what_others_know(dict(before), ours, now)

    async def _put(self, store: Store, who: str, turn: Turn, standings: Standings) -> Turn | None:
        """Write how the rules stand; None when it was not our turn any more."""
        data = _core.encode(standings)
        written = await _store.watch(store, who, "put", version=turn.version, rules=data)
        return written if written.is_ours and written.rules == data else None

    async def _hand_over(self, store: Store, who: str, turn: Turn, written: Turn | None, standings: Standings) -> None:
        """Leave what was written as news and not told to whoever looks next, who else would wait for the next try."""
        with suppress(StreamqError, TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(GOODBYE):
                # The answer to the first writing may be what was cut off: it can be asked for again.
                written = written or await self._put(store, who, turn, standings)
                if written is not None:
                    await self._put(store, who, written, _core.not_tried(standings))

    async def _told(self, alert: Alert) -> bool:
        """Tell all who want to hear it; returns whether anybody did. Without handlers the log is who heard."""
        log.log(
            _LEVELS[alert.severity] if alert.state == "firing" else logging.INFO, "alert %s", alert,
            extra={
                "event": f"alert.{alert.state}", "queue": alert.queue, "rule": alert.rule, "severity": alert.severity,
                "value": alert.value, "limit": alert.limit,
            },
        )  # fmt: skip
        wanting = [handler for handler, least in self._handlers if _core.at_least(alert.severity, least)]
        done = await asyncio.gather(*(self._call(handler, alert) for handler in wanting))
        return any(done) or not wanting

    async def _call(self, handler: AlertHandler, alert: Alert) -> bool:
        try:
            await called(handler, PATIENCE, alert)
        except Exception:
            self.errors += 1
            extra = {"event": "alert_handler_failed", "queue": alert.queue, "rule": alert.rule}
            log.exception("alert handler %s failed", getattr(handler, "__qualname__", handler), extra=extra)
            return False
        return True

    async def _store(self) -> Store:
        return (await self._home.stores())[0]
