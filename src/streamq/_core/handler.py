"""Handlers by name: what the worker needs to know of each, and the registry of one queue."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from ..errors import ConfigError, UnknownHandler
from . import names
from .context import Context
from .flow import Flow, HandlerFlow, QueueFlow, plan
from .lifecycle import Policy
from .options import Checked
from .signature import Signature

Kind = Literal["async", "thread", "process"]
CallNext = Callable[[Context], Awaitable[Any]]
Middleware = Callable[[Context, CallNext], Awaitable[Any]]


@runtime_checkable
class Attachable(Protocol):
    """What makes a middleware that knows its queue."""

    def attach(self, queue: Any, /) -> Middleware:
        """Return the middleware for ``queue``."""
        ...


@runtime_checkable
class Learning(Protocol):
    """A middleware that has to know the rules in force: it hears of them before the jobs that came with them begin."""

    def learn(self, rules: Mapping[bytes, bytes]) -> None:
        """Take note of the rules by gate."""
        ...


_UNLIMITED = QueueFlow()


class HandlerSpec:
    """One handler: its function, its signature as a codec, its rules.

    ``kind``: how it runs. ``lane``: default priority of its jobs. ``keep_result``: keep a record even of None.
    ``flow``: what its jobs wait for besides their turn; ``queue_flow``: what all jobs of its queue wait for. ``shape``:
    signature of the function itself, which in a batch handler is another than that of its jobs.
    """

    __slots__ = (
        "flow",
        "function",
        "keep_result",
        "kind",
        "lane",
        "name",
        "plain",
        "policy",
        "queue_flow",
        "shape",
        "signature",
    )

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        signature: Signature,
        policy: Policy,
        *,
        kind: Kind,
        lane: int = 2,
        keep_result: bool = False,
        flow: HandlerFlow | None = None,
    ) -> None:
        self.name: str = name
        self.function: Callable[..., Any] = function
        self.signature: Signature = signature
        self.shape: Signature = signature
        self.policy: Policy = policy
        self.kind: Kind = kind
        self.lane: int = lane
        self.keep_result: bool = keep_result
        self.flow: HandlerFlow | None = flow
        self.queue_flow: QueueFlow = _UNLIMITED  # that of the registry it is added to
        # Nothing to inject: the arguments go straight in. What a handler does not use costs nothing.
        self.plain: bool = kind == "async" and not signature.wants_context and not signature.dependencies

    def plan(self, options: Checked, args: bytes) -> Flow | None:
        """Return what a job with these encoded arguments waits for, None for a plain job; raises as `flow.plan`."""
        arguments = self.signature
        return plan(
            self.queue_flow, self.flow, self.name, options, lambda: msgspec.structs.asdict(arguments.decode(args))
        )


class Registry:
    """The handlers and middleware of one queue, and what all its jobs wait for."""

    def __init__(self, queue: str, flow: QueueFlow = _UNLIMITED) -> None:
        self.queue = queue
        self.flow: QueueFlow = flow
        self.handlers: dict[str, HandlerSpec] = {}
        self.middleware: list[Middleware] = []

    def add(self, spec: HandlerSpec) -> None:
        """Add a handler; a second one of the same name is refused, since only one could run."""
        names.checked("handler", spec.name)
        if spec.name in self.handlers:
            other = self.handlers[spec.name].function
            raise ConfigError(
                "handler",
                spec.name,
                f"is declared already on queue {self.queue!r}, by {other.__module__}.{other.__qualname__}; "
                "names are wire format, so choose another",
            )
        spec.queue_flow = self.flow
        self.handlers[spec.name] = spec

    def get(self, name: str) -> HandlerSpec | None:
        """Return the handler of this name, None if unknown."""
        return self.handlers.get(name)

    def plan(self, name: str, options: Checked, args: bytes) -> Flow | None:
        """Return what a job by name waits for; of a handler that is not declared here, what its options alone say."""
        known = self.handlers.get(name)
        if known is not None:
            return known.plan(options, args)
        return plan(self.flow, None, name, options, lambda: msgspec.msgpack.decode(args))

    def unknown(self, name: str) -> UnknownHandler:
        """Return the error for a name nobody declared, with the nearest one."""
        near = difflib.get_close_matches(name, self.handlers, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return UnknownHandler(self.queue, name, sorted(self.handlers), hint)
