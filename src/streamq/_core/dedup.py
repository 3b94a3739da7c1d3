"""Deduplication: what counts as the same job (`Dedup`), and what a second one does to the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, cast

import msgspec

from ..errors import ConfigError, ConflictingOptions, InvalidPayload
from . import gates
from .signature import REFUSED, enc_hook
from .units import Seconds, millis, seconds

Mode = Literal["simple", "throttle", "debounce", "keep_last"]
_MODES: tuple[Mode, ...] = ("simple", "throttle", "debounce", "keep_last")

Arguments = Mapping[str, Any]
"""A job's arguments by name."""


@dataclass(frozen=True, slots=True, repr=False)
class Dedup:
    """Jobs with the same key are one. Decided when a job is enqueued, in the same step; ``job.created`` tells.

    ``Dedup("cart:42", mode="debounce", ttl=5, max_wait=60)`` names the key; ``Dedup(by=("contact_id",))`` makes it of
    the handler's name and these arguments, defaults included.

    Attributes:
        key: The key: 1 to 128 bytes of printable text, one for all handlers of the queue.
        by: Names of arguments instead of a key.
        mode: What becomes of a second job:
            ``"simple"``: nothing is added while the first is unsettled (waiting, running or to be retried);
            ``"throttle"``: nothing is added for ``ttl`` after the first, whether it has ended or not;
            ``"debounce"``: each one takes the place of the one before it and puts it off by ``ttl``, so that the last
            one runs once it has been quiet for ``ttl``;
            ``"keep_last"``: one runs, one waits; a new one takes the place of the waiting one. They run one by one.
        ttl: Seconds or timedelta; for throttle and debounce, and needed there.
        max_wait: Seconds or timedelta after the first one when a debounced job runs, come what may (None: no bound).
        scope: ``"queue"``: the key is one for the whole queue; ``"group"``: each group has its own.
        replace_priority: With simple and throttle, a second job of a better priority gives that to the first (False).

    Raises:
        ConfigError: for a value that cannot be right; names option, value and remedy.
    """

    key: str | None = None
    _: KW_ONLY
    by: tuple[str, ...] | None = None
    mode: Mode = "simple"
    ttl: Seconds | None = None
    max_wait: Seconds | None = None
    scope: Literal["queue", "group"] = "queue"
    replace_priority: bool = False

    def __post_init__(self) -> None:
        if (self.key is None) == (self.by is None):
            raise ConfigError("Dedup(key)", self.key, 'give a key, or by=("argument",) to make one of arguments')
        if self.key is not None:
            gates.checked("Dedup(key)", self.key)
        else:
            _checked_by(self.by)
        if self.mode not in _MODES:
            raise ConfigError("Dedup(mode)", self.mode, f"use {', '.join(_MODES[:3])} or {_MODES[3]}")
        if self.scope not in ("queue", "group"):
            raise ConfigError("Dedup(scope)", self.scope, 'use "queue" or "group"')
        if not isinstance(self.replace_priority, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a checker
            raise ConfigError("Dedup(replace_priority)", self.replace_priority, "give True or False")
        self._check_times()
        if self.replace_priority and self.mode not in ("simple", "throttle"):
            raise ConfigError(
                "Dedup(replace_priority)",
                self.replace_priority,
                f'belongs to "simple" and "throttle"; {self.mode} keeps the last job',
            )

    def _check_times(self) -> None:
        timed = self.mode in ("throttle", "debounce")
        if timed and self.ttl is None:
            raise ConfigError("Dedup(ttl)", None, f"{self.mode} needs it: seconds or a timedelta")
        if not timed and self.ttl is not None:
            raise ConfigError("Dedup(ttl)", self.ttl, f'belongs to "throttle" and "debounce", not to {self.mode}')
        if self.max_wait is not None and self.mode != "debounce":
            raise ConfigError("Dedup(max_wait)", self.max_wait, f'belongs to "debounce", not to {self.mode}')
        for name in ("ttl", "max_wait"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, seconds(f"Dedup({name})", given, least=0.001))
        if self.max_wait is not None and self.ttl is not None:
            ttl = seconds("Dedup(ttl)", self.ttl)
            if seconds("Dedup(max_wait)", self.max_wait) < ttl:
                raise ConfigError("Dedup(max_wait)", self.max_wait, f"must be at least ttl ({ttl:g} s)")

    def __repr__(self) -> str:
        """As it was written, without defaults: Dedup('cart:42', mode='throttle', ttl=5.0)."""
        parts = [repr(self.key)] if self.key is not None else []
        options: dict[str, object] = {"by": None, "mode": "simple", "ttl": None, "max_wait": None, "scope": "queue"}
        options["replace_priority"] = False
        parts += [f"{name}={getattr(self, name)!r}" for name in options if getattr(self, name) != options[name]]
        return f"Dedup({', '.join(parts)})"


class DedupPlan(msgspec.Struct, frozen=True):
    """Deduplication of one job: the key it has, times in milliseconds (0: none)."""

    mode: Mode
    key: str
    ttl_ms: int = 0
    max_wait_ms: int = 0
    replace_priority: bool = False


def checked(option: str, value: object) -> Dedup:
    """Return ``value`` if it is a `Dedup`; a bare key would leave open what becomes of a second job."""
    if not isinstance(value, Dedup):
        raise ConfigError(option, value, 'give Dedup("key"), or Dedup(by=("argument",))')
    return value


def plan(dedup: Dedup, name: str, group: str | None, arguments: Callable[[], Arguments]) -> DedupPlan:
    """Return what ``dedup`` means for a job of handler ``name``; ``arguments`` is called only for ``by=``."""
    key = dedup.key if dedup.key is not None else key_of(name, dedup.by or (), arguments())
    if dedup.scope == "group":
        if group is None:
            raise ConflictingOptions(
                ("dedup", "group"), 'Dedup(scope="group") needs a group: give group=, or leave scope out.'
            )
        # A slash cannot be told from one in the names, hence the length: no two pairs give one key.
        key = gates.shortened(f"{len(group)}:{group}/{key}")
    return DedupPlan(
        dedup.mode,
        key,
        0 if dedup.ttl is None else millis("Dedup(ttl)", dedup.ttl),
        0 if dedup.max_wait is None else millis("Dedup(max_wait)", dedup.max_wait),
        dedup.replace_priority,
    )


def key_of(name: str, by: tuple[str, ...], arguments: Arguments) -> str:
    """Return the key of these arguments: ``send(contact_id="c_1")``, shortened by a digest beyond 128 bytes."""
    missing = [one for one in by if one not in arguments]
    if missing:
        given = ", ".join(sorted(arguments)) or "none"
        raise InvalidPayload(name, f"Dedup(by) needs {missing[0]!r}, which is not among them ({given})")
    try:
        # JSON with sorted keys: the same text whether a value came as a model, a struct or plain data.
        parts = [
            f"{one}={msgspec.json.encode(arguments[one], enc_hook=enc_hook, order='sorted').decode()}"
            for one in sorted(set(by))
        ]
    except REFUSED as problem:
        raise InvalidPayload(name, f"no key can be made of {', '.join(by)}: {problem}") from None
    return gates.shortened(f"{name}({','.join(parts)})")


def _checked_by(by: object) -> None:
    if not _are_names(by):
        raise ConfigError("Dedup(by)", by, 'give a tuple of argument names, such as ("contact_id",)')


def _are_names(by: object) -> bool:
    names = cast("tuple[object, ...]", by) if isinstance(by, tuple) else ()
    return bool(names) and all(isinstance(one, str) and one.isidentifier() for one in names)
