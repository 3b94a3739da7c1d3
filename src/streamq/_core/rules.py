"""Rules that were made while jobs ran: which jobs a gate holds that is named in no code (blocks, pauses, breakers)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..errors import ConfigError
from . import condition
from .condition import Condition


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which jobs go through a gate. All that is given must fit; nothing given fits every job.

    ``names``: of handlers. ``where``: a condition on the arguments, as plain data. ``by``, ``reason``, ``at_ms``: who
    made it, why and when, for people.
    """

    names: tuple[str, ...] = msgspec.field(name="n", default=())
    tenant: str | None = msgspec.field(name="t", default=None)
    where: Any = msgspec.field(name="w", default=None)
    by: str = msgspec.field(name="b", default="")
    reason: str = msgspec.field(name="r", default="")
    at_ms: int = msgspec.field(name="a", default=0)


encode: Callable[[Rule], bytes] = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Rule).decode


def decode(data: bytes) -> Rule:
    """Return the rule of these bytes; raises `msgspec.DecodeError`."""
    return _decode(data)


class Rules:
    """The rules in force, by gate, and which gates a job needs for them."""

    def __init__(self, found: Mapping[bytes, bytes]) -> None:
        self._rules: list[tuple[str, Rule, Condition | None]] = []
        self.unreadable: list[str] = []
        for gate, data in sorted(found.items()):
            name = gate.decode("utf-8", "replace")
            try:
                rule = decode(data)
                where = None if rule.where is None else condition.from_wire(rule.where)
            except (msgspec.DecodeError, ConfigError):
                # Of a newer version, or spoilt: a rule that cannot be read holds nothing, but somebody should know.
                self.unreadable.append(name)
            else:
                self._rules.append((name, rule, where))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._rules)

    def gates(self, name: str, tenant: str | None, arguments: Callable[[], object]) -> list[str]:
        """Return the gates a job goes through. ``arguments`` is called only if a condition asks for them."""
        found: list[str] = []
        for gate, rule, where in self._rules:
            if rule.names and name not in rule.names:
                continue
            if rule.tenant is not None and rule.tenant != tenant:
                continue
            if where is not None:
                given = arguments()
                if not isinstance(given, Mapping) or not where.matches(given):  # pyright: ignore[reportUnknownArgumentType] - any mapping
                    continue
            found.append(gate)
        return found
