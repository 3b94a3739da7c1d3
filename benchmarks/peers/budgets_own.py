"""The budgets that compare streamq with itself: scale, idle workers, start, a long run. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from benchmarks.peers.figures import by_point, spread

Found = Mapping[str, float]


class Line(NamedTuple):
    """A budget and its answer: what was promised, what was measured; ``holds`` is None where nothing was measured."""

    what: str
    promised: str
    measured: str
    holds: bool | None


class Budget(NamedTuple):
    """What is asked of the figures of one measure; it holds up to ``most``."""

    measure: str
    what: str
    most: float
    unit: str
    ask: Callable[[Found], float]

    def line(self, own: Mapping[str, Found]) -> Line:
        """Return the answer; a measure that failed has no figures."""
        promised = f"<= {self.most:.2f}x" if self.unit == "x" else f"<= {self.most:g} {self.unit}".rstrip()
        try:
            value = self.ask(own.get(self.measure, {}))
        except StopIteration:  # it failed, or was measured at other points
            return Line(self.what, promised, "not measured", None)
        told = f"{value:.2f}x" if self.unit == "x" else f"{value:.4g} {self.unit}".rstrip()
        return Line(self.what, promised, told, value <= self.most)


def lines(own: Mapping[str, Found]) -> list[Line]:
    """Return every such budget with its answer."""
    return [budget.line(own) for budget in BUDGETS]


def _spread(what: str) -> Callable[[Found], float]:
    """Greatest over least of a figure at all its points."""
    return lambda found: spread(list(_points(found, what).values()))


def _rise(what: str) -> Callable[[Found], float]:
    """The greatest of a figure over the first: where it may fall, but not rise."""

    def ask(found: Found) -> float:
        first, *rest = _points(found, what).values()
        return max(first, *rest) / first

    return ask


def _greatest(what: str) -> Callable[[Found], float]:
    return lambda found: max(_points(found, what).values())


def _last(what: str) -> Callable[[Found], float]:
    return lambda found: list(_points(found, what).values())[-1]


def _named(word: str) -> Callable[[Found], float]:
    return lambda found: next(value for name, value in found.items() if name.startswith(word))


def _points(found: Found, what: str) -> Mapping[str, float]:
    return next(points for (name, _), points in by_point(found).items() if name == what)


_WAITING = "10^3 to 10^6 waiting"
_DELAYED = "10^3 to 10^6 delayed"
_SIZES = "100 B to 100 kB, over a bare stream's"
_PING = "longest answer to PING but for waiting for a core"
FLAT = 1.2
BUDGETS: tuple[Budget, ...] = (
    Budget("growth", f"server CPU of an enqueue, {_WAITING}", FLAT, "x", _spread("enqueue, server CPU")),
    Budget("growth", f"commands of an enqueue, {_WAITING}", FLAT, "x", _spread("enqueue, commands")),
    Budget(
        "growth", f"server CPU of a job in a steady flow, {_WAITING}", FLAT, "x", _spread("a job in a flow, server CPU")
    ),
    Budget(
        "growth", f"commands of a job in a steady flow, {_WAITING}", FLAT, "x", _spread("a job in a flow, commands")
    ),
    Budget("delayed", f"server CPU of delaying a job, {_DELAYED}", FLAT, "x", _spread("add one, server CPU")),
    Budget("delayed", f"commands of delaying a job, {_DELAYED}", FLAT, "x", _spread("add one, commands")),
    Budget(
        "delayed", f"server CPU of a job that becomes due, {_DELAYED}", FLAT, "x", _spread("run a due one, server CPU")
    ),
    Budget("delayed", f"commands of a job that becomes due, {_DELAYED}", FLAT, "x", _spread("run a due one, commands")),
    Budget("due", "a million jobs due at once: longest command", 10.0, "ms", _named("longest command, while run")),
    Budget("due", "a million jobs due at once: longest wait for a PING", 10.0, "ms", _named(f"{_PING}, while run")),
    Budget("due", "a million delayed jobs added: longest wait for a PING", 10.0, "ms", _named(f"{_PING}, while added")),
    Budget("crowd", "server CPU of a job, 1 to 32 workers", FLAT, "x", _spread("a job, server CPU")),
    Budget("crowd", "commands of a job, 1 to 32 workers", FLAT, "x", _spread("a job, commands")),
    Budget("payloads", f"server CPU of a job, {_SIZES}", FLAT, "x", _rise("server CPU over bare")),
    Budget("payloads", f"worker CPU of a job, {_SIZES}", FLAT, "x", _rise("worker CPU over bare")),
    Budget("queues", "server CPU of a job, 1 to 200 queues on one worker", FLAT, "x", _spread("server CPU")),
    Budget("queues", "worker CPU of a job, 1 to 200 queues on one worker", FLAT, "x", _spread("worker CPU")),
    Budget("queues", "commands of a job, 1 to 200 queues on one worker", FLAT, "x", _spread("commands")),
    Budget("rest", "idle worker of 1 to 200 queues, calls", 2.0, "a queue and second", _greatest("calls")),
    Budget("rest", "idle worker of one queue, CPU", 0.5, "% of a core", _named("worker CPU at 1 queue,")),
    Budget("rest", "idle worker of 20 queues, CPU", 0.5, "% of a core", _named("worker CPU at 20 queues,")),
    Budget("idlers", "server CPU of a job, 1 to 100 idle workers", FLAT, "x", _spread("server CPU")),
    Budget("idlers", "enqueue to start with 100 idle workers, p50", 0.6, "ms", _last("enqueue to start, p50")),
    Budget(
        "ready",
        "streamq worker: from its process to its first job done",
        500,
        "ms",
        _named("from the process to its first job"),
    ),
    Budget("imports", "import streamq over bare Python", 60, "ms", _named("import streamq")),
    Budget("imports", "streamq --help", 150, "ms", _named("streamq --help")),
    Budget(
        "long",
        "memory of the worker over 3,000,000 jobs, growth after warm-up",
        5,
        "%",
        _named("worker, resident, growth"),
    ),
    Budget(
        "long", "data in the server over 3,000,000 jobs, growth after warm-up", 5, "%", _named("server, data, growth")
    ),
    Budget("blocked", "a loop blocked for 20 s: starts of its job", 1, "", _named("starts")),
)
