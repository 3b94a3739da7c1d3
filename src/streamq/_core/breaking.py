"""What counts for a circuit breaker: which errors, of which handlers, and what a cancelled handler meant."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from ..errors import ConfigError, StreamqError
from . import limits, names

log: Final = logging.getLogger("streamq.breaker")

Errors = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]
"""Which errors speak against a provider: classes, or a function that says so of one."""

MOST_FAILURES = 1000
"""Highest threshold: the failures that count are kept one by one."""


def checked_failures(value: object) -> int:
    """Return how many failures open a breaker."""
    count = limits.whole("failures", value)
    if count > MOST_FAILURES:
        raise ConfigError("failures", value, f"give a whole number from 1 to {MOST_FAILURES:,}")
    return count


def checked_handlers(value: object) -> frozenset[str]:
    """Return names of handlers; a single text is refused, for it would be taken letter by letter."""
    given = cast("Any", value)
    if isinstance(value, str) or not isinstance(value, Sequence) or not given:
        raise ConfigError("handlers", given, 'give names of handlers, such as ("sms:send",), or None for all')
    return frozenset(names.checked("handlers", one) for one in given)


def checked_errors(name: str, value: object) -> Callable[[Exception], bool]:
    """Return what says whether an error counts; ``name`` is the breaker's, for the log. It never raises."""
    given = cast("Any", value)
    kinds: tuple[Any, ...] = given if isinstance(value, tuple) else (given,)
    if kinds and all(isinstance(one, type) and issubclass(one, Exception) for one in kinds):
        own = any(issubclass(one, StreamqError) for one in kinds)
        # Our own server being away is a ConnectionError, but says nothing of a provider.
        return lambda error: isinstance(error, kinds) and (own or not isinstance(error, StreamqError))
    if isinstance(value, tuple | type) or not callable(value):
        raise ConfigError("on", given, "give exception classes, such as (ConnectionError, TimeoutError), or a function")

    def asked(error: Exception) -> bool:
        try:
            return bool(given(error))
        except Exception:
            log.exception("on= of circuit breaker %s failed", name, extra={"event": "breaker_on_failed"})
            return False

    return asked
