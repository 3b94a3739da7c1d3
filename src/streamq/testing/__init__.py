"""streamq.testing: the kit for tests of applications. Its names load on first use.

Queues in memory and time moved by hand need the extra ``testing``; the rest works on any server, too.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asserts import assert_enqueued, assert_not_enqueued, enqueued
    from .calling import overrides, perform
    from .clock import Clock, freeze
    from .faults import Faults
    from .memory import MemoryQueues
    from .report import Attempted, Report
    from .running import run_until_idle

_HOMES = {
    "Attempted": "report",
    "Clock": "clock",
    "Faults": "faults",
    "MemoryQueues": "memory",
    "Report": "report",
    "assert_enqueued": "asserts",
    "assert_not_enqueued": "asserts",
    "enqueued": "asserts",
    "freeze": "clock",
    "overrides": "calling",
    "perform": "calling",
    "run_until_idle": "running",
}

__all__ = [
    "Attempted",
    "Clock",
    "Faults",
    "MemoryQueues",
    "Report",
    "assert_enqueued",
    "assert_not_enqueued",
    "enqueued",
    "freeze",
    "overrides",
    "perform",
    "run_until_idle",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{home}", __name__)
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] != "lupa":
            raise
        remedy = "needs the extra testing: pip install 'streamq[testing]'"
        raise ModuleNotFoundError(f"{__name__}.{name} {remedy}", name=problem.name) from None
    value: Any = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
