"""attempt -> seconds to wait before the next one. Pure; the random part comes in as a number.

Source of the shapes: River ``internal/retrypolicy`` and Oban ``backoff``; jitter spreads retries of jobs that failed
together, so that a provider that comes back is not hit by all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec

from ..errors import ConfigError
from .units import Seconds, seconds


class Fixed(msgspec.Struct, frozen=True, tag="f", array_like=True):
    """Wait ``wait`` seconds after every failed attempt, plus or minus ``jitter`` (share of the wait, 0 to 1)."""

    wait: Seconds
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _keep_seconds(self, "wait")
        _check_jitter(self.jitter)

    def delay(self, attempt: int, noise: float) -> float:
        """Return seconds to wait after failed ``attempt`` (from 1); ``noise`` is uniform in [0, 1)."""
        del attempt
        return _jittered(seconds("wait", self.wait), self.jitter, noise)


class Linear(msgspec.Struct, frozen=True, tag="l", array_like=True):
    """Wait ``step`` seconds after the first failed attempt, twice that after the second, at most ``max``."""

    step: Seconds
    max: Seconds = 3600.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _keep_seconds(self, "step")
        _keep_seconds(self, "max")
        _check_jitter(self.jitter)

    def delay(self, attempt: int, noise: float) -> float:
        """Return seconds to wait after failed ``attempt`` (from 1); ``noise`` is uniform in [0, 1)."""
        step, most = seconds("step", self.step), seconds("max", self.max)
        return min(_jittered(min(step * attempt, most), self.jitter, noise), most)


class Exponential(msgspec.Struct, frozen=True, tag="e", array_like=True):
    """Wait ``base`` * ``factor`` ** (attempt - 1) seconds, at most ``max``.

    ``Exponential(1)`` waits 1, 2, 4, 8, ... Jitter of 0.1 (the default) moves each wait by up to a tenth.
    """

    base: Seconds
    factor: float = 2.0
    max: Seconds = 3600.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        _keep_seconds(self, "base")
        _keep_seconds(self, "max")
        if not _is_number(self.factor) or not 1 <= self.factor <= 1_000_000:
            raise ConfigError("Exponential(factor)", self.factor, "must be a number from 1 to 1,000,000")
        _check_jitter(self.jitter)

    def delay(self, attempt: int, noise: float) -> float:
        """Return seconds to wait after failed ``attempt`` (from 1); ``noise`` is uniform in [0, 1)."""
        base, most = seconds("base", self.base), seconds("max", self.max)
        try:
            wait = base * self.factor ** (attempt - 1)
        except OverflowError:
            wait = most if base else 0.0
        return min(_jittered(min(wait, most), self.jitter, noise), most)


Wire = Fixed | Linear | Exponential
"""The backoffs that can travel with a job."""

Backoff = Wire | Callable[[int], Seconds]
"""Any backoff: one of the three, or a function from the failed attempt (from 1) to seconds or a timedelta.

A function stays with the handler that declares it; it cannot travel with a single job."""


def delay_ms(backoff: Backoff, attempt: int, noise: float) -> int:
    """Return whole milliseconds to wait after failed ``attempt``."""
    if isinstance(backoff, Fixed | Linear | Exponential):
        wait = backoff.delay(attempt, noise)
    else:
        wait = seconds("backoff", backoff(attempt))
    return max(0, round(wait * 1000))


def checked(option: str, value: object) -> Backoff:
    """Return ``value`` if it is a backoff; a bare number is refused because its meaning would be a guess."""
    if isinstance(value, Fixed | Linear | Exponential):
        return value
    # A class is callable, too: Exponential for Exponential(1) would show only when a job fails.
    if callable(value) and not isinstance(value, type):
        return cast("Callable[[int], Seconds]", value)
    raise ConfigError(option, value, "give Fixed(s), Linear(s), Exponential(s), or a function of the attempt")


def _jittered(wait: float, jitter: float, noise: float) -> float:
    return wait * (1 + jitter * (2 * noise - 1))


def _keep_seconds(backoff: Wire, field: str) -> None:
    value = seconds(f"{type(backoff).__name__}({field})", getattr(backoff, field))
    msgspec.structs.force_setattr(backoff, field, value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_jitter(jitter: float) -> None:
    if not _is_number(jitter) or not 0 <= jitter <= 1:
        raise ConfigError("jitter", jitter, "is a share of the wait, 0 to 1")
