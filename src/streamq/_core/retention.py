"""How much of the past is kept. Finite by default, both bounds together."""

from __future__ import annotations

import msgspec

from ..errors import ConfigError
from .units import Seconds, millis


class Keep(msgspec.Struct, frozen=True):
    """Keep the latest ``count`` and nothing older than ``age`` (seconds or timedelta); None is no bound of that kind.

    ``Keep(count=0)`` keeps nothing.
    """

    count: int | None = None
    age: Seconds | None = None

    def __post_init__(self) -> None:
        if self.count is not None and (type(self.count) is not int or not 0 <= self.count <= 10_000_000):
            raise ConfigError("Keep(count)", self.count, "must be a whole number from 0 to 10,000,000")
        if self.age is not None:
            millis("Keep(age)", self.age)
        if self.count is None and self.age is None:
            raise ConfigError("Keep", "Keep()", "give count=, age= or both; keeping everything fills the server")

    @property
    def age_ms(self) -> int:
        """Age bound in milliseconds; 0 for none."""
        return 0 if self.age is None else max(1, millis("Keep(age)", self.age))


def checked(option: str, value: object) -> Keep:
    """Return ``value`` if it is a `Keep`; a bare number or duration would leave open which bound it is."""
    if not isinstance(value, Keep):
        raise ConfigError(option, value, "give Keep(count=), Keep(age=) or both")
    return value
